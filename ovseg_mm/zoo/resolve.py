# SPDX-License-Identifier: Apache-2.0
"""From the argument that names a model to its config and weights."""

import argparse
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovseg_mm.utils.errors import InputError, nearest
from ovseg_mm.utils.model_index import list_models
from ovseg_mm.utils.paths import find_checkpoint, find_config

from .table import DEFAULT_MODEL, ZooModel, zoo_models

if TYPE_CHECKING:
    from mmengine.config import Config

# Prefixes of CLIPs that are named by their address.
_PLACES = ('hf-hub:', 'local-dir:')


@dataclass(frozen=True)
class ModelSource:
    """Config and weights of a model.

    Attributes:
        name (str): Name of the model or of its config file, without
            characters that file names cannot have.
        config (Path | Config): Path of the config file, or the config.
        options (dict[str, Any]): Settings that the name stands for, to be
            merged into the config before those of the user.
        checkpoint (Path, optional): Checkpoint that was named.
        model (ZooModel, optional): Row of the table; None for a config.
    """

    name: str
    config: 'Path | Config'
    options: dict[str, Any] = field(default_factory=dict)
    checkpoint: Path | None = None
    model: ZooModel | None = None

    def fetch(self) -> Path | None:
        """Return the checkpoint; that of a named model is downloaded first.

        Returns:
            Path | None: The checkpoint; None for CLIP's weights alone.

        Raises:
            InputError: If only a person can download the file, or if it is
                not the file that the table of models describes.
            OSError: If the file cannot be downloaded or stored.
        """
        if self.checkpoint is not None or self.model is None:
            return self.checkpoint
        if self.model.file is None:
            return None
        from .store import fetch_checkpoint

        return fetch_checkpoint(self.model)


def resolve_model(
    model: 'str | Path | Config | ModelSource' = DEFAULT_MODEL,
    checkpoint: str | Path | None = None,
) -> ModelSource:
    """Find the config and the weights that a model argument stands for.

    Nothing is downloaded before :meth:`ModelSource.fetch`.

    Args:
        model (str | Path | Config | ModelSource): Name of the table
            (``'sc-clip'``), also with a CLIP
            (``'sc-clip:ViT-L-14-336/openai'``); path of a config file; bare
            name of a shipped config; a config; or a source, which is
            returned as it is.
        checkpoint (str | Path, optional): Weights, instead of those of the
            name. ``'none'``: CLIP's weights alone.

    Returns:
        ModelSource: Config, settings and weights.

    Raises:
        FileNotFoundError: If there is no such model, config or checkpoint.
        InputError: If the name of the CLIP has another form.
    """
    if isinstance(model, ModelSource):
        return model
    weights = find_checkpoint(checkpoint)
    if not isinstance(model, (str, Path)):
        stem = Path(model.filename or 'model').stem
        return ModelSource(stem, model, {}, weights)
    known = zoo_models()
    name, colon, clip = str(model).partition(':')
    if name not in known:
        path = _find_config(model, known)
        return ModelSource(path.stem, path, {}, weights)
    row = known[name]
    options = dict(row.options)
    if colon:
        options.update(_clip_options(row, clip))
    return ModelSource(
        re.sub(r'[^\w.-]+', '_', str(model)),
        row.config,
        options,
        weights,
        # A given checkpoint replaces the weights of the table's row.
        None if checkpoint is not None else row,
    )


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--model``, ``--config`` and ``--checkpoint`` to a parser.

    :func:`model_of_arguments` reads them.

    Args:
        parser (argparse.ArgumentParser): Parser of a command.
    """
    parser.add_argument(
        '--model',
        metavar='NAME',
        help="name of a model that 'python -m ovseg_mm models' lists, its "
        'weights are downloaded once; or a config file, or the bare name of '
        f'a shipped one (default: {DEFAULT_MODEL})',
    )
    parser.add_argument(
        '--config', help='config file, or the bare name of a shipped one'
    )
    parser.add_argument(
        '--checkpoint',
        help='weights, ours or a published file of the method; leave it out '
        "for a model with a name, and for methods that use only CLIP's "
        'weights',
    )


def model_of_arguments(args: argparse.Namespace) -> ModelSource:
    """Find the model that a command line names.

    Args:
        args (argparse.Namespace): With the options of
            :func:`add_model_arguments`.

    Returns:
        ModelSource: See :func:`resolve_model`.

    Raises:
        FileNotFoundError: If there is no such model, config or checkpoint.
        InputError: If two of the options exclude each other.
    """
    if args.model is not None and args.config is not None:
        raise InputError(
            f'--model {args.model} and --config {args.config} name two '
            'models; give one of them'
        )
    name = args.model if args.config is None else args.config
    if name is None and args.checkpoint is not None:
        raise InputError(
            f'--checkpoint {args.checkpoint} needs the model that it belongs '
            'to; add --model NAME or --config CONFIG'
        )
    return resolve_model(name or DEFAULT_MODEL, args.checkpoint)


def _find_config(name: str | Path, known: dict[str, ZooModel]) -> Path:
    try:
        return find_config(name)
    except FileNotFoundError as error:
        names = [*known, *(entry.name for entry in list_models())]
        near = nearest(str(name).partition(':')[0], names)
        raise FileNotFoundError(
            f'{name}: there is no such model, and no such config file, here '
            f'or among the shipped ones{near}; '
            "'python -m ovseg_mm models' lists the models, with --configs "
            'the shipped configs'
        ) from error


def _clip_options(row: ZooModel, clip: str) -> dict[str, Any]:
    """Settings for a model with the CLIP ``ARCH/PRETRAINED`` or an address."""
    name = f'{row.name}:{clip}'
    if not row.any_clip:
        raise InputError(
            f'{name}: {row.name} has its own weights, so its CLIP cannot be '
            f'chosen; write {row.name}'
        )
    if clip.startswith(_PLACES):
        arch, pretrained = clip, None
    else:
        arch, slash, pretrained = clip.partition('/')
        if not arch or not slash or not pretrained:
            raise InputError(
                f'{name} names no CLIP; write {row.name}:ARCH/PRETRAINED with '
                f"open_clip's names, such as {row.name}:ViT-L-14-336/openai, "
                f'or {row.name}:hf-hub:ORG/NAME'
            )
    return {'model.clip.arch': arch, 'model.clip.pretrained': pretrained}
