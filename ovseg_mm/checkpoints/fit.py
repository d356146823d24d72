# SPDX-License-Identifier: Apache-2.0
"""Comparison of the tensors of a checkpoint with the tensors of a model."""

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from ovseg_mm.utils.errors import InputError

from .files import check_finite
from .layouts import LAYOUTS, Layout, recognise
from .rename import SHARDED, Renamed, unsharded_name

# Buffers that are computed, not learned: files may lack them.
_DERIVED = ('num_batches_tracked', 'relative_position_index')
_LOGIT_SCALE = 'logit_scale'
# Modules of our models; no model has all of them.
_TEXT_TOWERS = {'text_encoder', 'region_text_encoder'}
_MODULES = _TEXT_TOWERS | {
    'backbone',
    'context_encoder',
    'decode_head',
    'image_encoder',
    _LOGIT_SCALE,
    'neck',
    'region_encoder',
}


def fit_to_model(
    model: nn.Module, tensors: Mapping[str, Tensor], where: str
) -> tuple[Layout | None, Renamed]:
    """Rename the tensors of a checkpoint to the names of a model.

    If the tensors already have the names and shapes of the model, they keep
    their names. Otherwise, the :class:`Layout` of the checkpoint is
    recognised and renames them.

    Args:
        model (nn.Module): Model of this package, or of a package that extends
            it.
        tensors (Mapping[str, Tensor]): Tensors of the checkpoint by name.
        where (str): Name of the checkpoint, used in messages.

    Returns:
        tuple[Layout | None, Renamed]: Layout of the checkpoint (None if the
        tensors kept their names), and the renamed tensors.

    Raises:
        InputError: If the checkpoint belongs to another method; if a learned
            tensor of the model is missing; or if a tensor of the checkpoint
            has another shape than in the model, contains NaN or infinity, or
            is not in the model.
    """
    expected = _shapes(model)
    layout, renamed = None, filling(model, unrenamed(tensors))
    misfits = _misfits(expected, renamed.state_dict)
    if misfits:
        layout = LAYOUTS.find(tensors)
        if layout is None and expected.keys() & tensors.keys():
            raise _misfit_error(where, misfits)
        layout = layout or recognise(tensors, where)
        renamed = filling(model, layout.convert(tensors))
        check_against(model, layout, renamed, where)
    used = {name: tensors[name] for name in renamed.used if name in tensors}
    check_finite(used, where)
    return layout, renamed


def check_fit(
    model: nn.Module, tensors: Mapping[str, Tensor], where: str
) -> None:
    """Check that the tensors of a checkpoint have the names of a model.

    Shapes and values are checked as in :func:`fit_to_model`.

    Args:
        model (nn.Module): Model of this package, or of a package that extends
            it.
        tensors (Mapping[str, Tensor]): Tensors of the checkpoint by name.
        where (str): Name of the checkpoint, used in messages.

    Raises:
        InputError: If :func:`fit_to_model` raises an error for these tensors,
            or renames them.
    """
    layout, renamed = fit_to_model(model, tensors, where)
    if layout and not renamed.state_dict.keys() <= tensors.keys():
        raise InputError(
            f'{where} is a published checkpoint of {layout.method} with other '
            'tensor names than the model; convert it with '
            '`python -m ovseg_mm convert SRC DST` and load DST'
        )


def check_against(
    model: nn.Module, layout: Layout | None, renamed: Renamed, where: str
) -> None:
    """Check that renamed tensors have the names and shapes of a model.

    Args:
        model (nn.Module): Model of this package, or of a package that extends
            it.
        layout (Layout, optional): Layout of the checkpoint, used for the
            advice in the message. None: unknown.
        renamed (Renamed): Tensors of the checkpoint, from :func:`filling`.
        where (str): Name of the checkpoint, used in messages.

    Raises:
        InputError: If a learned tensor of the model is missing, or a tensor
            of the checkpoint has another shape than in the model or is not in
            the model.
    """
    expected, found = _shapes(model), renamed.state_dict
    misfits = _misfits(expected, found)
    if not misfits:
        return
    method = method_of(model)
    same_head = any(
        name.startswith('decode_head.')
        for name in expected.keys() & found.keys()
    )
    if layout is None or layout.method == method or same_head:
        raise _misfit_error(where, misfits)
    remedy = (
        'set clip.custom_clip_weights of the model to this file instead'
        if layout.method == 'CLIP'
        else f'use a config of {layout.method}, or another checkpoint'
    )
    raise InputError(
        f'{where} is a checkpoint of {layout.method}, but the model is '
        f'{method}; {remedy}'
    )


def filling(model: nn.Module, renamed: Renamed) -> Renamed:
    """Remove from a checkpoint the tensors that a model does not use.

    The text tower is removed if the model has none, for example because the
    model reads text embeddings from a file. CLIP's ``logit_scale`` is removed
    if the model is a segmentor.

    Args:
        model (nn.Module): Model of this package, or of a package that extends
            it.
        renamed (Renamed): Tensors of the checkpoint, renamed to the names in
            our models.

    Returns:
        Renamed: The tensors that are kept.
    """
    unwanted = []
    if getattr(model, 'text_encoder', None) is None:
        unwanted.append('text_encoder.')
    if hasattr(model, 'decode_head'):
        unwanted.append(_LOGIT_SCALE)
    state_dict = {
        name: tensor
        for name, tensor in renamed.state_dict.items()
        if not name.startswith(tuple(unwanted))
    }
    return renamed._replace(state_dict=state_dict)


def unrenamed(tensors: Mapping[str, Tensor]) -> Renamed:
    """Return a :class:`Renamed` in which all tensors keep their names."""
    return Renamed(dict(tensors), list(tensors), {}, [])


def has_own_names(names: Iterable[str]) -> bool:
    """Return whether a file has the tensor names of this package's models.

    All tensor names must begin with the name of a module in our models. At
    least one of them must begin with the name of a text tower. This check is
    for files that are read without a model; without a model, shapes cannot be
    compared.
    """
    parts = {name.partition('.')[0] for name in names}
    return parts <= _MODULES and not parts.isdisjoint(_TEXT_TOWERS)


def method_of(model: nn.Module) -> str:
    """Return the name of a model's method, such as ``'CAT-Seg'``.

    If the model names no method, the name is ``'a '`` and the class of the
    model, such as ``'a Linear'``.
    """
    for part in (model, getattr(model, 'decode_head', None)):
        method = getattr(part, 'method', None)
        if isinstance(method, str):
            return method
    return f'a {type(model).__name__}'


def _misfit_error(where: str, misfits: list[str]) -> InputError:
    shown = '; '.join(misfits[:3])
    more = f' and {len(misfits) - 3} more' if len(misfits) > 3 else ''
    return InputError(
        f'{where} does not fit the model: {shown}{more}; use the config that '
        'the weights were trained with'
    )


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...] | None]:
    """Return the shape of each tensor of a model, by name.

    In a model that FSDP shards, the shapes are unknown and None.
    """
    names = {name for name, _ in model.named_modules()}
    if not any(name.endswith(SHARDED) for name in names):
        return {
            name: tuple(tensor.shape)
            for name, tensor in model.state_dict().items()
        }
    shapes: dict[str, tuple[int, ...] | None] = {}
    for prefix, module in model.named_modules():
        saved = set(module._parameters) | set(module._buffers)
        for name in saved - module._non_persistent_buffers_set:
            if getattr(module, name) is not None:
                shapes[unsharded_name(f'{prefix}.{name}')] = None
    return shapes


def _misfits(
    expected: Mapping[str, tuple[int, ...] | None],
    found: Mapping[str, Tensor],
) -> list[str]:
    misfits = []
    for name, shape in expected.items():
        if name.endswith(_DERIVED):
            continue
        if name not in found:
            misfits.append(f'{name} is missing')
        elif shape is not None and tuple(found[name].shape) != shape:
            misfits.append(
                f'{name} is {tuple(found[name].shape)} in the file and '
                f'{shape} in the model'
            )
    for name in found:
        if name not in expected and not name.endswith(_DERIVED):
            misfits.append(f'{name} has no place in the model')
    return misfits
