# SPDX-License-Identifier: Apache-2.0
"""Table of the models that have a name, read from the metafiles."""

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
    """Published file of a model.

    Attributes:
        name (str): Name of the file; empty if unknown.
        repository (str): Repository of the hub, ``'ORG/NAME'``; empty if the
            file cannot be downloaded by a program.
        kind (str): ``'model'``, ``'space'`` or ``'dataset'``.
        revision (str): Commit; empty for the newest one.
        num_bytes (int): Size; 0 if unknown.
        about (str): Size in words; empty unless only that is known.
        sha256 (str): 64 hexadecimal digits; empty if unknown.
        page (str): Page where a person can download the file; empty if the
            hub has it.
        note (str): Advice about the page.
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
    """Model that has a name.

    Attributes:
        name (str): The name.
        entry (ModelEntry): Its config in the index.
        good_for (str): Use of the model, in a few words.
        code_licence (str): Licence of the authors' code.
        weights_licence (str): Licence of the weights.
        file (WeightsFile, optional): None: CLIP's weights alone.
        any_clip (bool): Whether ``NAME:ARCH/PRETRAINED`` is possible.
        options (dict[str, Any]): Settings to override in the config.
        miou (dict[str, float]): Published mIoU in percent by benchmark.
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
        """Size of the download, as a phrase for tables."""
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
    """Read the table of models.

    Returns:
        dict[str, ZooModel]: Models by name; the default one first, those
        whose file a person must download last.

    Raises:
        InputError: If a metafile is damaged.
    """
    return dict(_models_below(resource('configs')))


def find_model(name: str) -> ZooModel:
    """Find a model of the table.

    Args:
        name (str): Its name.

    Returns:
        ZooModel: The model.

    Raises:
        InputError: If there is none of this name, or a metafile is damaged.
    """
    models = zoo_models()
    if name not in models:
        raise InputError(
            f'{name}: there is no such model{nearest(name, models)}; '
            "'python -m ovseg_mm models' lists them"
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
                    f'{path} has a model in Zoo of another form than '
                    'expected (Name, Config, Good For, Licence and '
                    f'optionally File, Options, mIoU): {error!r}'
                ) from error
            models[model.name] = model
    return dict(sorted(models.items(), key=lambda item: _place(item[1])))


def _place(model: ZooModel) -> tuple[bool, bool]:
    """Sort key: the default first, files that a person must get last."""
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
        raise ValueError(f'Type {kind!r} is not one of {", ".join(_KINDS)}')
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
    """Published mIoU of the configs that take the same weights."""
    keys = {test_set: key for key, test_set in BENCHMARKS.items()}
    for other in entries.values():
        if other.family == entry.family and other.test_set in keys:
            yield from (
                (keys[other.test_set], value) for value in other.miou.values()
            )
