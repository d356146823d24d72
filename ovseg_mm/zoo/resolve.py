# SPDX-License-Identifier: Apache-2.0
"""Finding the config and the weights of the model that a user selects."""

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
    """Config and weights of a model, found by :func:`resolve_model`.

    Attributes:
        name (str): Name of the model or config file. It contains only
            characters that are allowed in a file name.
        config (Path | Config): Path of the config file, or the config itself.
        options (dict[str, Any]): Settings of the named model that override
            settings of the config. Settings of the user (``--cfg-options``)
            override ``options``.
        checkpoint (Path, optional): Checkpoint that the user has selected.
            None: the weights of ``model`` are used, if it is set.
        model (ZooModel, optional): Named model whose published weights
            :meth:`fetch` downloads. None: no weights are downloaded, because
            the user has selected a config or a checkpoint.
    """

    name: str
    config: 'Path | Config'
    options: dict[str, Any] = field(default_factory=dict)
    checkpoint: Path | None = None
    model: ZooModel | None = None

    def fetch(self) -> Path | None:
        """Return the checkpoint of the model.

        The weights of a named model are downloaded at the first call, and
        read from the cache later.

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
    """Find the config and the weights of a model.

    Weights are not downloaded here, but by :meth:`ModelSource.fetch`.

    Args:
        model (str | Path | Config | ModelSource): One of

            - name of a model (``'sc-clip'``); for some models, a CLIP can
              follow (``'sc-clip:ViT-L-14-336/openai'``);
            - path of a config file;
            - name of a config in this package, without folder and ``.py``;
            - config;
            - result of this function, which is returned unchanged.
        checkpoint (str | Path, optional): Checkpoint to use instead of the
            published weights of a named model. ``'none'``: no checkpoint, only
            the weights of CLIP. None: the published weights of a named model;
            for a config, the same as ``'none'``.

    Returns:
        ModelSource: Config, settings and weights.

    Raises:
        FileNotFoundError: If there is no such model, config or checkpoint.
        InputError: If the name of the CLIP is not valid, or the model cannot
            use another CLIP.
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
        # The checkpoint replaces the published weights of the model.
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
        help="name of a model that 'python -m ovseg_mm models' lists (its "
        'weights are downloaded once), path of a config file, or name of a '
        f'shipped config without folder and .py (default: {DEFAULT_MODEL})',
    )
    parser.add_argument(
        '--config',
        help='path of a config file, or name of a shipped config without '
        'folder and .py',
    )
    parser.add_argument(
        '--checkpoint',
        help='checkpoint of this package, or file published by the authors '
        'of the method; not needed if the method uses only the weights of '
        "CLIP, or if 'python -m ovseg_mm models' lists the model: its "
        'published weights are then used',
    )


def model_of_arguments(args: argparse.Namespace) -> ModelSource:
    """Find the model that the command-line options select.

    If there is neither ``--model`` nor ``--config``, this is the default
    model.

    Args:
        args (argparse.Namespace): Parsed command line, with the options of
            :func:`add_model_arguments`.

    Returns:
        ModelSource: Config, settings and weights of the model.

    Raises:
        FileNotFoundError: If there is no such model, config or checkpoint.
        InputError: If ``--model`` and ``--config`` are both set; if
            ``--checkpoint`` is set without a model; or if ``--model`` contains
            a CLIP (``NAME:ARCH/PRETRAINED``) that cannot be used.
    """
    if args.model is not None and args.config is not None:
        raise InputError(
            f'--model {args.model} and --config {args.config} select two '
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
            f'{name}: there is no such model, config file or shipped '
            f"config{near}; 'python -m ovseg_mm models' lists the models, "
            "'python -m ovseg_mm models --configs' lists the shipped configs"
        ) from error


def _clip_options(row: ZooModel, clip: str) -> dict[str, Any]:
    """Return config settings for the CLIP in a name ``MODEL:CLIP``.

    Args:
        row (ZooModel): Named model.
        clip (str): Text after the colon, such as ``'ViT-B-16/openai'``.

    Returns:
        dict[str, Any]: Values of ``arch`` and ``pretrained``, by their keys in
        the config.

    Raises:
        InputError: If the model cannot use another CLIP, or the text is not
            the name of a CLIP.
    """
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
