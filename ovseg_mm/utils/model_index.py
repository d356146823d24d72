# SPDX-License-Identifier: Apache-2.0
"""Index of the shipped configs, read from their metafiles."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import InputError
from .paths import find_config, resource

# Test set of each benchmark: a file of configs/_base_/test_sets, and a
# `Test Set` of the metafiles.
BENCHMARKS = {
    'ade150': 'ade20k',
    'ade847': 'ade20k-847',
    'pc59': 'pascal_context_59',
    'pc459': 'pascal_context_459',
    'voc20': 'pascal_voc20',
    'voc20b': 'pascal_voc20b',
    'coco': 'coco-stuff164k',
    'stuff': 'coco-stuff164k',
    'voc21': 'pascal_voc21',
    'pc60': 'pascal_context_60',
    'object': 'coco-object',
    'cityscapes': 'cityscapes',
}


def config_of_benchmark(key: str) -> Path | None:
    """Config that a benchmark of the command line names, if it is one.

    Args:
        key (str): Key of :data:`BENCHMARKS`, or a config file by path or
            bare name.

    Returns:
        Path | None: The config file; None for a key.

    Raises:
        FileNotFoundError: If it is neither.
    """
    if key in BENCHMARKS:
        return None
    try:
        return find_config(key)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'{key!r} is neither a benchmark ({", ".join(BENCHMARKS)}) '
            'nor a config file'
        ) from error


@dataclass(frozen=True)
class ModelEntry:
    """One config of the index.

    Attributes:
        name (str): Name of the config file without ``.py``.
        method (str): Name of the metafile's collection.
        config (str): Config file, relative to the project's root.
        clip (str): CLIP of the model; empty if the metafile has none.
        family (str): Name shared by the configs that take the same weights
            and differ in the test set; empty if the metafile has none.
        training_data (str): Data set; empty if the metafile has none.
        test_set (str): File of ``configs/_base_/test_sets``, without
            ``.py``, or a description; empty if the metafile has none.
        miou (dict[str, float]): Published mIoU in percent by test set.
        weights (str): Address of weights, or how to get them; empty if the
            metafile has none.
    """

    name: str
    method: str
    config: str
    clip: str
    family: str
    training_data: str
    test_set: str
    miou: dict[str, float]
    weights: str


def list_models() -> list[ModelEntry]:
    """Read the metafiles of all shipped configs.

    Returns:
        list[ModelEntry]: Sorted by method; within a method, in the order of
        the metafile.

    Raises:
        InputError: If a metafile cannot be read, one of its entries lacks a
            key, or a value has another type than expected.
    """
    return list(_entries_below(resource('configs')))


@functools.cache
def _entries_below(folder: Path) -> tuple[ModelEntry, ...]:
    entries: list[ModelEntry] = []
    for metafile, content in read_metafiles(folder):
        entries.extend(_entries_of(metafile, content))
    return tuple(sorted(entries, key=lambda entry: entry.method))


def read_metafiles(folder: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Read the metafiles of all methods.

    Args:
        folder (Path): Folder of the configs.

    Returns:
        list[tuple[Path, dict]]: Path and content of each metafile, sorted by
        path.

    Raises:
        InputError: If a file is not readable as a YAML dict.
    """
    return list(_metafiles(folder))


@functools.cache
def _metafiles(folder: Path) -> tuple[tuple[Path, dict[str, Any]], ...]:
    # Imported here, since `doctor` must run without PyYAML.
    import yaml

    found = []
    # libyaml's loader is ten times as fast.
    loader = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)
    for path in sorted(folder.glob('*/metafile.yaml')):
        try:
            content = yaml.load(path.read_text(encoding='utf-8'), loader)
        except (OSError, ValueError, yaml.YAMLError) as error:
            reason = ' '.join(str(error).split())
            raise InputError(
                f'{path} cannot be read as YAML: {reason}; correct it or '
                'install the package again'
            ) from error
        if content is not None and not isinstance(content, dict):
            raise InputError(
                f'{path} is a {type(content).__name__}, expected the keys '
                'Collections, Models and Zoo'
            )
        found.append((path, content or {}))
    return tuple(found)


def find_config_of_family(config: str | Path, test_set: str) -> Path | None:
    """Find the shipped config that tests the same weights on a test set.

    Args:
        config (str | Path): Config file.
        test_set (str): As in :attr:`ModelEntry.test_set`.

    Returns:
        Path | None: Path of the config, which may be ``config`` itself; None
        if ``config`` is not a shipped one, or none of its family has this
        test set.
    """
    given = Path(config).resolve()
    entries = list_models()
    families = {
        entry.family
        for entry in entries
        if entry.name == given.stem
        and resource(entry.config).resolve() == given
    }
    for entry in entries:
        if entry.family in families - {''} and entry.test_set == test_set:
            return resource(entry.config)
    return None


def _entries_of(
    metafile: Path, content: dict[str, Any]
) -> Iterator[ModelEntry]:
    for model in content.get('Models') or []:
        try:
            facts = model.get('Metadata') or {}
            yield ModelEntry(
                name=model['Name'],
                method=model['In Collection'],
                config=model['Config'],
                clip=_text(facts.get('CLIP')),
                family=_text(facts.get('Family')),
                training_data=_text(facts.get('Training Data')),
                test_set=_text(facts.get('Test Set')),
                miou=_miou(model.get('Results') or []),
                weights=_text(model.get('Weights')),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f'{metafile} has a model of another form than expected '
                f'(Name, In Collection, Config, Metadata, Results): {error!r}'
            ) from error


def _miou(results: list[dict] | dict) -> dict[str, float]:
    if isinstance(results, dict):
        results = [results]
    return {
        result['Dataset']: float(result['Metrics']['mIoU'])
        for result in results
        if 'mIoU' in (result.get('Metrics') or {})
    }


def _text(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ', '.join(map(str, value))
    return '' if value is None else str(value)
