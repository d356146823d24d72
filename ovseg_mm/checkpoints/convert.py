# SPDX-License-Identifier: Apache-2.0
"""Conversion of checkpoint files, and loading of checkpoints into models."""

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

# Layout of files with the names and shapes of our models.
_OWN = 'ovseg_mm'
_VERSION = 'ovseg_mm_version'


@dataclass(frozen=True)
class ConversionReport:
    """Report about the tensors of a file that was converted or loaded.

    The result is the converted file, or the tensors loaded into the model.

    Attributes:
        source (Path): File that was read.
        layout (str): Name of the :class:`Layout` (naming scheme of the
            tensors) of the file; ``'ovseg_mm'`` if the tensors already had
            the names of this package.
        method (str): Name of the segmentation method, such as ``'CAT-Seg'``;
            empty if unknown.
        converted (int): Number of tensors in the result.
        used (tuple[str, ...]): Names of the tensors in the file from which
            the result was made.
        dropped (dict[str, str]): Names of the tensors in the file that were
            left out on purpose, each with the reason.
        unused (tuple[str, ...]): Names of the tensors in the file that the
            layout does not know. They are not in the result.
        checked (bool): Whether the names and shapes of the result were
            compared with a model.
        fused (int): Number of tensors in the result that were taken from the
            checkpoint given as argument ``fuse_clip`` of :func:`convert`.
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
    """Convert a published checkpoint or CLIP to a checkpoint of this package.

    The result is an MMEngine checkpoint with ``state_dict`` and ``meta``.
    ``meta`` contains the name of the source file and, under
    ``dataset_meta``, the names of the training classes if they are known. The
    result can be loaded with ``torch.load(..., weights_only=True)``.

    Args:
        src (str | Path): Published checkpoint, CLIP weights, or checkpoint of
            this package.
        dst (str | Path): File to write; its folder must exist.
        config (str | Path | Config, optional): Config of a model with which
            the names and shapes of the result are compared. If they differ,
            nothing is written. None: the result is not compared with a model.
        fuse_clip (str | Path, optional): Checkpoint of a fine-tuned CLIP,
            only for SCAN. Its region tower and its text tower replace these
            towers of ``src``.

    Returns:
        ConversionReport: Which tensors of ``src`` were used and which were
        not, and how many tensors were written.

    Raises:
        FileNotFoundError: If ``src``, ``config``, ``fuse_clip`` or the folder
            of ``dst`` does not exist.
        InputError: If the tensor names of ``src`` belong to no known method;
            if ``src`` contains NaN or infinity, or does not fit ``config`` or
            ``fuse_clip``; or if ``dst`` would overwrite an input.
        OSError: If ``dst`` cannot be written.
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
    """Load a checkpoint of this package, or a published one, into a model.

    Args:
        model (nn.Module): Model to fill, of this package or of a package that
            extends it.
        path (str | Path): Checkpoint with the tensor names of the model, or
            checkpoint published by the authors of a supported method.

    Returns:
        ConversionReport: Which tensors of the file were loaded and which were
        not.

    Raises:
        FileNotFoundError: If the file does not exist.
        InputError: If the checkpoint belongs to another method; if a learned
            tensor of the model is missing; or if a tensor of the file has
            another shape than in the model, contains NaN or infinity, or is
            not in the model.
    """
    file = read_weights(path)
    layout, renamed = fit_to_model(model, file.tensors, str(file.path))
    model.load_state_dict(renamed.state_dict, strict=False)
    return _report(file, layout, renamed, model)


def _rename_file(
    file: WeightFile, model: nn.Module | None, where: str
) -> tuple[Layout | None, Renamed]:
    """Rename the tensors of a file to the names in our models.

    Args:
        file (WeightFile): File that was read.
        model (nn.Module, optional): Model that the tensors must fit. None:
            they are not compared with a model.
        where (str): Name of the file, used in messages.

    Returns:
        tuple[Layout | None, Renamed]: Layout of the file (None if the tensors
        kept their names), and the renamed tensors.
    """
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
    """Raise if ``dst`` cannot be written, or would overwrite an input."""
    if dst.is_dir():
        raise InputError(
            f'{dst} is a folder; give the name of the file to write'
        )
    check_destination(dst)
    for source in filter(Path.exists, inputs):
        if dst.exists() and source.samefile(dst):
            raise InputError(
                f'{dst} is an input and would be overwritten by the result; '
                'give another name for the result'
            )
        # An index file lists the weight files beside it.
        listed = source.name.endswith('.index.json')
        folder = source.parent if listed else source
        if folder.resolve() in dst.resolve().parents:
            raise InputError(
                f'{dst} is inside the folder of the input {source}; give a '
                'path outside this folder for the result'
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
    """Return names and colours of the training classes; None if unknown."""
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
