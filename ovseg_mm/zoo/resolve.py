# SPDX-License-Identifier: Apache-2.0
"""Resolution of a model argument to a config and weights."""

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

# Prefixes of CLIPs that are named by an address instead of open_clip's names.
_PLACES = ('hf-hub:', 'local-dir:')


@dataclass(frozen=True)
class ModelSource:
    """Config and weights that a model argument stands for.

    Attributes:
        name (str): Name of the model, or of the config file, usable as a file
            name.
        config (Path | Config): Path of the config file, or the config.
        options (dict[str, Any]): Settings that belong to the name of the
            model and override the config. Settings of the user override both.
        checkpoint (Path, optional): Given checkpoint. None: :meth:`fetch`
            finds the weights.
        model (ZooModel, optional): Named model whose weights are used. None:
            the argument was a config, or a checkpoint was given.
    """

    name: str
    config: 'Path | Config'
    options: dict[str, Any] = field(default_factory=dict)
    checkpoint: Path | None = None
    model: ZooModel | None = None

    def fetch(self) -> Path | None:
        """Return the checkpoint; weights of a named model are downloaded once.

        Returns:
            Path | None: Path of the checkpoint; None if only the weights of
            CLIP are used.

        Raises:
            InputError: If the file must be downloaded by hand, or the
                downloaded file is not the published file of the model.
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

    Weights are downloaded later, by :meth:`ModelSource.fetch`.

    Args:
        model (str | Path | Config | ModelSource): Name of a model
            (``'sc-clip'``), also with a CLIP
            (``'sc-clip:ViT-L-14-336/openai'``); path of a config file; bare
            name of a shipped config; a config; or a source, which is
            returned unchanged.
        checkpoint (str | Path, optional): Checkpoint to use instead of the
            weights of a named model. ``'none'``: only the weights of CLIP.

    Returns:
        ModelSource: Config, settings and weights.

    Raises:
        FileNotFoundError: If there is no such model, config or checkpoint.
        InputError: If a CLIP is given that cannot be used.
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
    """Add the options ``--model``, ``--config`` and ``--checkpoint``.

    Args:
        parser (argparse.ArgumentParser): Parser of a command.
    """
    parser.add_argument(
        '--model',
        metavar='NAME',
        help="name of a model that 'python -m ovseg_mm models' lists, whose "
        'weights are downloaded once; or a config file, or the bare name of '
        f'a shipped config (default: {DEFAULT_MODEL})',
    )
    parser.add_argument(
        '--config', help='config file, or the bare name of a shipped config'
    )
    parser.add_argument(
        '--checkpoint',
        help='checkpoint of this package, or file published by the authors '
        'of the method; leave it out for a model with a name, and for '
        'methods that use only the weights of CLIP',
    )


def model_of_arguments(args: argparse.Namespace) -> ModelSource:
    """Find the model given by the options of a command.

    Args:
        args (argparse.Namespace): Options, as added by
            :func:`add_model_arguments`.

    Returns:
        ModelSource: Config, settings and weights of the model.

    Raises:
        FileNotFoundError: If there is no such model, config or checkpoint.
        InputError: If two options contradict each other, or a checkpoint is
            given without a model.
    """
    if args.model is not None and args.config is not None:
        raise InputError(
            f'--model {args.model} and --config {args.config} name two '
            'models; give one of them'
        )
    name = args.model if args.config is None else args.config
    if name is None and args.checkpoint is not None:
        raise InputError(
            f'--checkpoint {args.checkpoint} is given without a model; add '
            '--model NAME or --config CONFIG'
        )
    return resolve_model(name or DEFAULT_MODEL, args.checkpoint)


def _find_config(name: str | Path, known: dict[str, ZooModel]) -> Path:
    try:
        return find_config(name)
    except FileNotFoundError as error:
        names = [*known, *(entry.name for entry in list_models())]
        near = nearest(str(name).partition(':')[0], names)
        raise FileNotFoundError(
            f'{name}: there is no such model and no such config file or '
            f"shipped config{near}; 'python -m ovseg_mm models' lists the "
            'models, and with --configs the shipped configs'
        ) from error


def _clip_options(row: ZooModel, clip: str) -> dict[str, Any]:
    """Config settings for the CLIP that is given after the model name."""
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
                f'{name} has no valid name of a CLIP after the colon; write '
                f'{row.name}:ARCH/PRETRAINED with names of open_clip, such as '
                f'{row.name}:ViT-L-14-336/openai, or '
                f'{row.name}:hf-hub:ORG/NAME'
            )
    return {'model.clip.arch': arch, 'model.clip.pretrained': pretrained}
