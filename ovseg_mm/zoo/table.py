# SPDX-License-Identifier: Apache-2.0
"""List of the named models, read from the metafiles."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ovseg_mm.utils.errors import InputError, nearest
from ovseg_mm.utils.model_index import (
    BENCHMARKS,
    ModelEntry,
    list_models,
    read_metafiles,
)
from ovseg_mm.utils.paths import resource

DEFAULT_MODEL = 'catseg-vitb16'
# Kinds of repositories on the hub.
_KINDS = ('model', 'space', 'dataset')


@dataclass(frozen=True)
class WeightsFile:
    """Published weight file of a model.

    Attributes:
        name (str): File name; empty if unknown.
        repository (str): Repository on the Hugging Face hub, ``'ORG/NAME'``;
            empty if the file must be downloaded by hand.
        kind (str): Kind of repository: ``'model'``, ``'space'`` or
            ``'dataset'``.
        revision (str): Commit of the repository; empty for the newest commit.
        num_bytes (int): Size in bytes; 0 if unknown.
        about (str): Approximate size in words, such as ``'about 1.2 GB'``;
            empty if ``num_bytes`` is known.
        sha256 (str): SHA-256 as 64 hexadecimal digits; empty if unknown.
        page (str): Web page from which the user must download the file; empty
            if the file is on the hub.
        note (str): Advice for the download from ``page``; may be empty.
    """

    name: str
    repository: str
    kind: str
    revision: str
    num_bytes: int
    about: str
    sha256: str
    page: str
    note: str


@dataclass(frozen=True)
class ZooModel:
    """Model that users can choose by its name.

    Attributes:
        name (str): Name of the model.
        entry (ModelEntry): Entry of the model's config in the metafiles.
        good_for (str): Use of the model, in a few words.
        code_licence (str): Licence of the authors' code.
        weights_licence (str): Licence of the weights.
        file (WeightsFile, optional): Published weight file. None: the model
            uses only the weights of CLIP.
        any_clip (bool): Whether users can choose another CLIP, by writing
            ``NAME:ARCH/PRETRAINED`` instead of the name.
        options (dict[str, Any]): Settings that override settings of the
            config.
        miou (dict[str, float]): Published mIoU in percent, by the key of the
            benchmark, such as ``'ade150'``.
    """

    name: str
    entry: ModelEntry
    good_for: str
    code_licence: str
    weights_licence: str
    file: WeightsFile | None = None
    any_clip: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    miou: dict[str, float] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        """Path of the config file."""
        return resource(self.entry.config)

    @property
    def size(self) -> str:
        """Size of the download, such as ``'1.2 GB'``.

        Some models have a word instead of the size:

        - ``'none'``: nothing is downloaded.
        - ``"CLIP's"``: only the weights of CLIP are downloaded.
        - ``'by hand'``: the user must download the file.
        - ``'unknown'``: the metafile does not list the size.
        """
        if self.file is None:
            shipped = self.entry.clip.startswith('data/')
            return 'none' if shipped else "CLIP's"
        if not self.file.repository:
            return 'by hand'
        size = self.file.num_bytes
        known = f'{size / 1e9:.1f} GB' if size else 'unknown'
        return self.file.about or known

    @property
    def is_free(self) -> bool:
        """Whether the weights may be used for commercial purposes."""
        licence = self.weights_licence.lower()
        return bool(licence) and not any(
            word in licence for word in ('-nc', 'non-commercial', 'unknown')
        )


def zoo_models() -> dict[str, ZooModel]:
    """Read the list of named models from the metafiles.

    Returns:
        dict[str, ZooModel]: Models by name. The default model is first;
        models whose file must be downloaded by hand are last.

    Raises:
        InputError: If a metafile cannot be read, or has a wrong entry.
    """
    return dict(_models_below(resource('configs')))


def find_model(name: str) -> ZooModel:
    """Find a model by its name.

    Args:
        name (str): Name of the model.

    Returns:
        ZooModel: The model.

    Raises:
        InputError: If there is no model of this name, or if a metafile cannot
            be read or has a wrong entry.
    """
    models = zoo_models()
    if name not in models:
        raise InputError(
            f'{name}: there is no such model{nearest(name, models)}; '
            "'python -m ovseg_mm models' lists the models"
        )
    return models[name]


@functools.cache
def _models_below(folder: Path) -> dict[str, ZooModel]:
    entries = {entry.name: entry for entry in list_models()}
    models: dict[str, ZooModel] = {}
    for path, content in read_metafiles(folder):
        for row in content.get('Zoo') or []:
            try:
                model = _model_of(row, entries)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise InputError(
                    f'{path}: an entry of the list Zoo cannot be read '
                    f'({error!r}); write the keys Name, Config, Good For and '
                    'Licence, and optionally File, Any CLIP, Options and mIoU'
                ) from error
            models[model.name] = model
    return dict(sorted(models.items(), key=lambda item: _place(item[1])))


def _place(model: ZooModel) -> tuple[bool, bool]:
    """Return the key for sorting models in the order of zoo_models()."""
    by_hand = model.file is not None and not model.file.repository
    return model.name != DEFAULT_MODEL, by_hand


def _model_of(row: dict[str, Any], entries: dict[str, ModelEntry]) -> ZooModel:
    entry = entries[row['Config']]
    return ZooModel(
        name=row['Name'],
        entry=entry,
        good_for=row['Good For'],
        code_licence=row['Licence']['Code'],
        weights_licence=row['Licence']['Weights'],
        file=_file_of(row['File']) if 'File' in row else None,
        any_clip=bool(row.get('Any CLIP', False)),
        options=dict(row.get('Options') or {}),
        miou={
            **dict(_miou_of_family(entry, entries)),
            **{key: float(v) for key, v in (row.get('mIoU') or {}).items()},
        },
    )


def _file_of(row: dict[str, Any]) -> WeightsFile:
    kind = row.get('Type', 'model')
    if kind not in _KINDS:
        raise ValueError(
            f'Type of the repository is {kind!r}; expected one of '
            f'{", ".join(_KINDS)}'
        )
    if 'Repository' not in row and 'Page' not in row:
        raise KeyError('Repository')
    return WeightsFile(
        name=row.get('Name', ''),
        repository=row.get('Repository', ''),
        kind=kind,
        revision=row.get('Revision', ''),
        num_bytes=int(row.get('Bytes', 0)),
        about=row.get('Size', ''),
        sha256=row.get('SHA256', ''),
        page=row.get('Page', ''),
        note=row.get('Note', ''),
    )


def _miou_of_family(
    entry: ModelEntry, entries: dict[str, ModelEntry]
) -> Iterator[tuple[str, float]]:
    """Iterate over the published mIoU of the weights of a model.

    Several configs can use the same weights, for different benchmarks.

    Args:
        entry (ModelEntry): Config of the model.
        entries (dict[str, ModelEntry]): All shipped configs.

    Yields:
        tuple[str, float]: Key of the benchmark, and mIoU in percent.
    """
    keys = {test_set: key for key, test_set in BENCHMARKS.items()}
    for other in entries.values():
        if other.family == entry.family and other.test_set in keys:
            yield from (
                (keys[other.test_set], value) for value in other.miou.values()
            )
