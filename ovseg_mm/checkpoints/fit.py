# SPDX-License-Identifier: Apache-2.0
"""Match the tensors of a checkpoint with the tensors of a model."""

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

    Tensors that have the names and shapes of the model are used as they are.
    Others are renamed by the layout that they have.

    Args:
        model (nn.Module): Model of this package or of one that extends it.
        tensors (Mapping[str, Tensor]): Tensors by the names of their file.
        where (str): Name of the file in messages.

    Returns:
        tuple[Layout | None, Renamed]: The layout, or None if the tensors fit
        as they are; and the renamed tensors, which are all those that the
        model learns, and no others.

    Raises:
        InputError: If the tensors belong to another method; or if a learned
            tensor is missing, has another shape, is not finite or has no
            place in the model.
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
    """Make sure that tensors fill a model without being renamed.

    Args:
        model (nn.Module): See :func:`fit_to_model`.
        tensors (Mapping[str, Tensor]): Tensors that are about to be loaded.
        where (str): Name of their file in messages.

    Raises:
        InputError: As :func:`fit_to_model`, and if the tensors have the
            names of a published checkpoint.
    """
    layout, renamed = fit_to_model(model, tensors, where)
    if layout and not renamed.state_dict.keys() <= tensors.keys():
        raise InputError(
            f'{where} is a published checkpoint of {layout.method}, whose '
            'tensors have other names than the model; convert it with '
            '`python -m ovseg_mm convert SRC DST` and load DST'
        )


def check_against(
    model: nn.Module, layout: Layout | None, renamed: Renamed, where: str
) -> None:
    """Check that renamed tensors fill a model, and that none is left over.

    Args:
        model (nn.Module): See :func:`fit_to_model`.
        layout (Layout, optional): Layout of the file.
        renamed (Renamed): Its tensors, as :func:`filling` returns them.
        where (str): Name of the file in messages.

    Raises:
        InputError: See :func:`fit_to_model`.
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
        'name it as clip.custom_clip_weights of the model instead'
        if layout.method == 'CLIP'
        else f'take a config of {layout.method} or another file'
    )
    raise InputError(
        f'{where} is a checkpoint of {layout.method}, but the model is '
        f'{method}; {remedy}'
    )


def filling(model: nn.Module, renamed: Renamed) -> Renamed:
    """Remove tensors that a checkpoint may have and a model never needs.

    Args:
        model (nn.Module): See :func:`fit_to_model`.
        renamed (Renamed): Tensors by our names.

    Returns:
        Renamed: The tensors, without the text tower if the model reads its
        text embeddings from a file, and without CLIP's ``logit_scale`` for
        a segmentor.
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
    """Return tensors under their own names."""
    return Renamed(dict(tensors), list(tensors), {}, [])


def has_own_names(names: Iterable[str]) -> bool:
    """Return whether tensor names look like the names in our models.

    For files that are read without a model. All names must begin with a
    module of our models, and one of the modules must be a text tower.
    """
    parts = {name.partition('.')[0] for name in names}
    return parts <= _MODULES and not parts.isdisjoint(_TEXT_TOWERS)


def method_of(model: nn.Module) -> str:
    """Name of a model's method; its class if it does not name one."""
    for part in (model, getattr(model, 'decode_head', None)):
        method = getattr(part, 'method', None)
        if isinstance(method, str):
            return method
    return f'a {type(model).__name__}'


def _misfit_error(where: str, misfits: list[str]) -> InputError:
    shown = '; '.join(misfits[:3])
    more = f' and {len(misfits) - 3} more' if len(misfits) > 3 else ''
    return InputError(
        f'{where} does not fit the model: {shown}{more}; take the config '
        'that the weights were trained with'
    )


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...] | None]:
    """Shape by name of the saved tensors; None for sharded tensors."""
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
