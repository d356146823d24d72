# SPDX-License-Identifier: Apache-2.0
"""Convert checkpoints on disk, and load them into models."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from ovseg_mm.utils.config_file import read_config_file
from ovseg_mm.utils.errors import InputError, config_errors
from ovseg_mm.utils.paths import check_destination, expanded, file_sha256

from .files import (
    WeightFile,
    check_finite,
    read_weights,
    save_atomically,
)
from .fit import fit_to_model, has_own_names, method_of, unrenamed
from .fuse import shifted_clip_towers
from .layouts import LAYOUTS, Layout, recognise
from .rename import Renamed

# Layout of files whose names and shapes are those of the model.
_OWN = 'ovseg_mm'
_VERSION = 'ovseg_mm_version'


@dataclass(frozen=True)
class ConversionReport:
    """Numbers of converted, fused and dropped tensors of a file.

    Attributes:
        source (Path): File that was read.
        layout (str): Name of its layout; ``'ovseg_mm'`` if its tensors are
            used as they are.
        method (str): Method of the layout or the model; empty if unknown.
        converted (int): Number of tensors under our names.
        used (tuple[str, ...]): Names in the file that these were made from.
        dropped (dict[str, str]): Names that are left out on purpose, and why.
        unused (tuple[str, ...]): Names that the layout does not know.
        checked (bool): Whether names and shapes were compared with a model.
        fused (int): Number of tensors replaced by tensors of another file.
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

    The result is an MMEngine checkpoint with ``state_dict`` and ``meta``: the
    source, and in ``dataset_meta`` the class names of training if they are
    known. It loads with ``weights_only=True``.

    Args:
        src (str | Path): Checkpoint of a known layout, or one of ours.
        dst (str | Path): File to write; its folder must exist.
        config (str | Path | Config, optional): Model config. The result must
            fill every learned tensor of this model, else nothing is written.
        fuse_clip (str | Path, optional): Checkpoint whose towers replace
            the towers of the source, see :func:`shifted_clip_towers`.

    Returns:
        ConversionReport: Numbers of tensors.

    Raises:
        FileNotFoundError: If the source, the config or the folder of the
            destination does not exist.
        InputError: If the source has no known layout, is not finite or does
            not fit the config; if the destination is the source or in its
            folder; or if ``fuse_clip`` does not fit the source.
        OSError: If the destination cannot be written.
    """
    src, dst = expanded(src), expanded(dst)
    file_of_config = config.filename if isinstance(config, Config) else config
    named = [src, fuse_clip, file_of_config]
    _check_destination(dst, *(expanded(p) for p in named if p))
    cfg = None if config is None else _read_config(config)
    file = read_weights(src)
    model = None if cfg is None else _build(cfg)
    layout, renamed = _rename_file(file, model, str(src))
    towers: dict[str, Tensor] = {}
    if fuse_clip is not None:
        towers = shifted_clip_towers(fuse_clip, renamed.state_dict, str(src))
        check_finite(towers, str(fuse_clip))
        renamed.state_dict.update(towers)
    report = _report(file, layout, renamed, model)
    meta = _meta(file, layout, report, cfg)
    if fuse_clip is not None:
        meta['fused_clip'] = Path(fuse_clip).name
    content = dict(state_dict=renamed.state_dict, meta=meta)
    save_atomically(content, dst)
    return replace(report, fused=len(towers))


def load_checkpoint_into(
    model: nn.Module, path: str | Path
) -> ConversionReport:
    """Load a checkpoint, ours or a published one, into a model.

    Args:
        model (nn.Module): Model of this package or of one that extends it.
        path (str | Path): Checkpoint that fits the model, or a published one
            of a known layout.

    Returns:
        ConversionReport: Numbers of tensors.

    Raises:
        FileNotFoundError: If the file does not exist.
        InputError: If it is a checkpoint of another method; or if a learned
            tensor is missing, has another shape, is not finite or is not in
            the model.
    """
    file = read_weights(path)
    layout, renamed = fit_to_model(model, file.tensors, str(file.path))
    model.load_state_dict(renamed.state_dict, strict=False)
    return _report(file, layout, renamed, model)


def _rename_file(
    file: WeightFile, model: nn.Module | None, where: str
) -> tuple[Layout | None, Renamed]:
    """Rename the tensors of a file, for a model if there is one."""
    if model is not None:
        return fit_to_model(model, file.tensors, where)
    layout = LAYOUTS.find(file.tensors)
    is_own = _VERSION in file.meta or has_own_names(file.tensors)
    if layout is None and is_own:
        renamed = unrenamed(file.tensors)
    else:
        layout = layout or recognise(file.tensors, where)
        renamed = layout.convert(file.tensors)
    used = {
        name: file.tensors[name]
        for name in renamed.used
        if name in file.tensors
    }
    check_finite(used, where)
    return layout, renamed


def _check_destination(dst: Path, *inputs: Path) -> None:
    """Raise if a destination cannot be written, or is the source."""
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
        # The files that an index names are in its folder.
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
    return read_config_file(config)


def _build(cfg: Config) -> nn.Module:
    from mmseg.registry import MODELS

    init_default_scope(cfg.get('default_scope', 'mmseg'))
    with config_errors():
        return MODELS.build(cfg.model)


def _meta(
    file: WeightFile,
    layout: Layout | None,
    report: ConversionReport,
    cfg: Config | None,
) -> dict[str, Any]:
    from ovseg_mm.version import __version__

    meta: dict[str, Any] = {
        _VERSION: __version__,
        'source': file.path.name,
        'source_sha256': file_sha256(file.path),
        'layout': report.layout,
        'method': report.method,
    }
    dataset_meta = _dataset_meta(file, layout, cfg)
    if dataset_meta:
        meta['dataset_meta'] = dataset_meta
    return meta


def _dataset_meta(
    file: WeightFile, layout: Layout | None, cfg: Config | None
) -> dict | None:
    """Class names and colours of the training vocabulary, if known."""
    from ovseg_mm.vocabulary import load_vocabulary

    vocabulary = layout.vocabulary if layout else None
    if cfg is not None:
        model = cfg.model
        vocabulary = model.get('train_vocabulary') or model.get('vocabulary')
    if vocabulary is None:
        return file.meta.get('dataset_meta')
    return load_vocabulary(vocabulary).metainfo


def _report(
    file: WeightFile,
    layout: Layout | None,
    renamed: Renamed,
    model: nn.Module | None,
) -> ConversionReport:
    if layout is not None:
        method = layout.method
    elif model is not None:
        method = method_of(model)
    else:
        method = str(file.meta.get('method', ''))
    return ConversionReport(
        source=file.path,
        layout=layout.name if layout else _OWN,
        method=method,
        converted=len(renamed.state_dict),
        used=tuple(renamed.used),
        dropped=dict(renamed.dropped),
        unused=tuple(renamed.unused),
        checked=model is not None,
    )
