# SPDX-License-Identifier: Apache-2.0
"""Published checkpoints into ours, on disk or straight into a model."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.paths import check_destination, expanded, find_config

from .files import (
    WeightFile,
    check_finite,
    file_sha256,
    read_weights,
    save_atomically,
)
from .fuse import shifted_clip_towers
from .layouts import Layout, method_of, recognise
from .rename import SHARDED, Renamed, plain_name

# Buffers that are not learned: files may have them or not.
_DERIVED = ('num_batches_tracked', 'relative_position_index')


@dataclass(frozen=True)
class ConversionReport:
    """What became of the tensors of a file.

    Attributes:
        source (Path): The file that was read.
        layout (str): Name of its layout.
        method (str): Method that it belongs to.
        converted (int): Number of tensors under our names.
        used (tuple[str, ...]): Names in the file that they were made from.
        dropped (dict[str, str]): Names that are not wanted, and why.
        unused (tuple[str, ...]): Names that the layout does not know.
        checked (bool): Whether names and shapes were held against a model.
        fused (int): Number of tensors that another file has replaced.
    """

    source: Path
    layout: str
    method: str
    converted: int
    used: tuple[str, ...]
    dropped: dict[str, str]
    unused: tuple[str, ...]
    checked: bool
    fused: int = 0


def convert(
    src: str | Path,
    dst: str | Path,
    config: str | Path | Config | None = None,
    fuse_clip: str | Path | None = None,
) -> ConversionReport:
    """Write a published checkpoint or CLIP archive as one of ours.

    The result is an MMEngine checkpoint with ``state_dict`` and ``meta``
    (where it came from, and in ``dataset_meta`` the class names it was
    trained on, if they are known). It loads with ``weights_only=True``.

    Args:
        src (str | Path): Any weight file of a known layout.
        dst (str | Path): File to write; its folder must exist.
        config (str | Path | Config, optional): Model config. If given, the
            result must fill every learned tensor of that model, else nothing
            is written.
        fuse_clip (str | Path, optional): Checkpoint whose towers replace
            those of the source, see :func:`shifted_clip_towers`.

    Returns:
        ConversionReport: See there.

    Raises:
        FileNotFoundError: If the source, the config or the folder of the
            destination does not exist.
        ValueError: If the source is not of a known layout, is not finite or
            does not fit the config, or the destination is the source or in
            its folder, or ``fuse_clip`` does not fit the source.
        OSError: If the destination cannot be written.
    """
    src, dst = expanded(src), expanded(dst)
    named = [src, fuse_clip, None if isinstance(config, Config) else config]
    _check_destination(dst, *(expanded(p) for p in named if p))
    cfg = None if config is None else _read_config(config)
    file = read_weights(src)
    model = None if cfg is None else _build(cfg)
    layout = _layout_for(model, file.tensors, str(src))
    renamed = layout.convert(file.tensors)
    _check_used(file.tensors, renamed, str(src))
    towers = {}
    if fuse_clip is not None:
        towers = shifted_clip_towers(fuse_clip, renamed.state_dict, str(src))
        check_finite(towers, str(fuse_clip))
        renamed.state_dict.update(towers)
    if model is not None:
        renamed = _without_text_tower(renamed, model)
        _check_against(model, layout, renamed, str(src))
    content = dict(
        state_dict=renamed.state_dict,
        meta=_meta(file, layout, cfg),
    )
    if fuse_clip is not None:
        content['meta']['fused_clip'] = Path(fuse_clip).name
    save_atomically(content, dst)
    report = _report(file, layout, renamed, checked=cfg is not None)
    return replace(report, fused=len(towers))


def load_checkpoint_into(
    model: nn.Module, path: str | Path
) -> ConversionReport:
    """Load a checkpoint, ours or a published one, into a model.

    Args:
        model (nn.Module): A segmentor of this package.
        path (str | Path): Any weight file of a known layout.

    Returns:
        ConversionReport: See there.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is a checkpoint of another method, or a learned
            tensor is missing, misshapen, not finite or has no place in the
            model.
    """
    file = read_weights(path)
    layout, renamed = fit_to_model(model, file.tensors, str(file.path))
    model.load_state_dict(renamed.state_dict, strict=False)
    return _report(file, layout, renamed, checked=True)


def fit_to_model(
    model: nn.Module, tensors: Mapping[str, Tensor], where: str
) -> tuple[Layout, Renamed]:
    """Bring tensors under the names of a model.

    Tensors whose names and shapes are the model's are ours and stay as they
    are; others are renamed by the known layout that they have.

    Args:
        model (nn.Module): A segmentor of this package.
        tensors (Mapping[str, Tensor]): By the names of their file.
        where (str): What to call the file in messages.

    Returns:
        tuple[Layout, Renamed]: The layout that was found, and the tensors:
        all that the model learns, and no others.

    Raises:
        ValueError: As :func:`load_checkpoint_into`.
    """
    layout = _layout_for(model, tensors, where)
    renamed = _without_text_tower(layout.convert(tensors), model)
    _check_against(model, layout, renamed, where)
    _check_used(tensors, renamed, where)
    return layout, renamed


def check_fit(
    model: nn.Module, tensors: Mapping[str, Tensor], where: str
) -> None:
    """Make sure that tensors fill a model as they are.

    Args:
        model (nn.Module): A segmentor of this package.
        tensors (Mapping[str, Tensor]): What is about to be loaded.
        where (str): What to call it in messages.

    Raises:
        ValueError: As :func:`load_checkpoint_into`, and for the layout of a
            published checkpoint.
    """
    layout, renamed = fit_to_model(model, tensors, where)
    if not renamed.state_dict.keys() <= tensors.keys():
        raise InputError(
            f'{where} has the names of a published checkpoint of '
            f'{layout.method}; turn its file into one of ours with `python '
            '-m ovseg_mm convert SRC DST` and load that'
        )


def _layout_for(
    model: nn.Module | None, tensors: Mapping[str, Tensor], where: str
) -> Layout:
    """Layout of tensors; the identity if they fit the model as they are."""
    if model is None:
        return recognise(tensors, where)
    expected = _shapes(model)
    as_they_are = Renamed(dict(tensors), [], {}, [])
    found = _without_text_tower(as_they_are, model).state_dict
    misfits = _misfits(expected, found)
    if not misfits:
        return Layout('ovseg_mm', _method(model), (), [('.*', r'\g<0>')])
    if method_of(tensors) is None and expected.keys() & tensors.keys():
        raise _misfit_error(where, misfits)
    return recognise(tensors, where)


def _check_used(
    tensors: Mapping[str, Tensor], renamed: Renamed, where: str
) -> None:
    """Refuse NaN and infinity in the tensors of a file that are used."""
    used = {name: tensors[name] for name in renamed.used if name in tensors}
    check_finite(used, where)


def _check_destination(dst: Path, *inputs: Path) -> None:
    """Refuse a destination that cannot be written, or is read from."""
    if dst.is_dir():
        raise InputError(
            f'{dst} is a folder; give the name of the file to write'
        )
    check_destination(dst)
    for source in filter(Path.exists, inputs):
        if dst.exists() and source.samefile(dst):
            raise InputError(
                f'{dst} is the source itself, which would be overwritten; '
                'give another name for the result'
            )
        # The files that an index names lie beside it.
        listed = source.name.endswith('.index.json')
        folder = source.parent if listed else source
        if folder.resolve() in dst.resolve().parents:
            raise InputError(
                f'{dst} lies in the folder of the source {source}; give a '
                'path outside of it for the result'
            )


def _read_config(config: str | Path | Config) -> Config:
    if isinstance(config, Config):
        return config
    return Config.fromfile(find_config(config))


def _build(cfg: Config) -> nn.Module:
    from mmseg.registry import MODELS

    init_default_scope(cfg.get('default_scope', 'mmseg'))
    return MODELS.build(cfg.model)


def _without_text_tower(renamed: Renamed, model: nn.Module) -> Renamed:
    """Leave the text tower out for a model that reads its embeddings."""
    if getattr(model, 'text_encoder', None) is not None:
        return renamed
    state_dict = {
        name: tensor
        for name, tensor in renamed.state_dict.items()
        if not name.startswith('text_encoder.')
    }
    return renamed._replace(state_dict=state_dict)


def _check_against(
    model: nn.Module, layout: Layout, renamed: Renamed, where: str
) -> None:
    """Raise unless the tensors fill the model, and nothing else."""
    method = _method(model)
    if method != layout.method:
        remedy = (
            'name it as clip.custom_clip_weights of the model instead'
            if layout.method == 'CLIP'
            else f'take a config of {layout.method} or another file'
        )
        raise InputError(
            f'{where} is a checkpoint of {layout.method}, but the model is '
            f'{method}; {remedy}'
        )
    misfits = _misfits(_shapes(model), renamed.state_dict)
    if misfits:
        raise _misfit_error(where, misfits)


def _method(model: nn.Module) -> str:
    """Method of a model for messages; its class where none is known."""
    return method_of(_shapes(model)) or f'a {type(model).__name__}'


def _misfit_error(where: str, misfits: list[str]) -> InputError:
    shown = '; '.join(misfits[:3])
    more = f' and {len(misfits) - 3} more' if len(misfits) > 3 else ''
    return InputError(
        f'{where} does not fit the model: {shown}{more}; take the config '
        'that the weights were trained with'
    )


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...] | None]:
    """Shape by name of what a model saves; None where it holds a shard."""
    names = {name for name, _ in model.named_modules()}
    if not any(name.endswith(SHARDED) for name in names):
        return {
            name: tuple(tensor.shape)
            for name, tensor in model.state_dict().items()
        }
    shapes = {}
    for prefix, module in model.named_modules():
        saved = set(module._parameters) | set(module._buffers)
        for name in saved - module._non_persistent_buffers_set:
            if getattr(module, name) is not None:
                shapes[plain_name(f'{prefix}.{name}')] = None
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


def _meta(file: WeightFile, layout: Layout, cfg: Config | None) -> dict:
    from ovseg_mm.version import __version__

    meta = dict(
        ovseg_mm_version=__version__,
        source=file.path.name,
        source_sha256=file_sha256(file.path),
        layout=layout.name,
        method=layout.method,
    )
    dataset_meta = _dataset_meta(file, layout, cfg)
    if dataset_meta:
        meta['dataset_meta'] = dataset_meta
    return meta


def _dataset_meta(
    file: WeightFile, layout: Layout, cfg: Config | None
) -> dict | None:
    """Class names and colours of the training vocabulary, if known."""
    from ovseg_mm.vocabulary import load_vocabulary

    vocabulary = layout.vocabulary
    if cfg is not None:
        model = cfg.model
        vocabulary = model.get('train_vocabulary') or model.get('vocabulary')
    if vocabulary is None:
        return file.meta.get('dataset_meta')
    return load_vocabulary(vocabulary).metainfo


def _report(
    file: WeightFile, layout: Layout, renamed: Renamed, checked: bool
) -> ConversionReport:
    return ConversionReport(
        source=file.path,
        layout=layout.name,
        method=layout.method,
        converted=len(renamed.state_dict),
        used=tuple(renamed.used),
        dropped=dict(renamed.dropped),
        unused=tuple(renamed.unused),
        checked=checked,
    )
