# SPDX-License-Identifier: Apache-2.0
"""Index of the shipped configs, read from their metafiles."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import InputError
from .paths import find_config, resource

# Test set of each benchmark: the name of a file in configs/_base_/test_sets,
# which metafiles have under `Test Set`.
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
    """Find the config file of a benchmark that is not in ``BENCHMARKS``.

    Args:
        key (str): Key of :data:`BENCHMARKS`; or path or name of the config
            file of another benchmark.

    Returns:
        Path | None: The config file; None for a key of :data:`BENCHMARKS`.

    Raises:
        FileNotFoundError: If there is no such key or config file.
    """
    if key in BENCHMARKS:
        return None
    try:
        return find_config(key)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'{key!r} is neither a benchmark nor a config file; choose from '
            f'{", ".join(BENCHMARKS)}, or give the path of a config file'
        ) from error


@dataclass(frozen=True)
class ModelEntry:
    """Entry of one config in the index of models.

    An attribute of type ``str`` is empty if the metafile has no value for it.

    Attributes:
        name (str): Name of the config file without ``.py``.
        method (str): Name of the method, which is the metafile's collection.
        config (str): Path of the config file, relative to the project.
        clip (str): Name of the CLIP model.
        family (str): Name that the config shares with all configs that use
            the same weights and differ only in the test set.
        training_data (str): Name of the training set.
        test_set (str): Name of a file in ``configs/_base_/test_sets`` without
            ``.py``. If there is no such file, a description of the test set.
        miou (dict[str, float]): Published mIoU in percent, by test set.
        weights (str): URL of the weights. If there is no URL, a sentence that
            says how to get the weights.
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
    """List the models in the metafiles of all shipped configs.

    Returns:
        list[ModelEntry]: One entry per config, sorted by method. Entries of
        one method have the order of the metafile.

    Raises:
        InputError: If a metafile cannot be read, or an entry lacks a key or
            has a value of the wrong type.
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
        InputError: If a metafile cannot be read, or is not a YAML dict.
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
                f'{path} contains a {type(content).__name__}; expected a dict '
                'with the keys Collections, Models and Zoo'
            )
        found.append((path, content or {}))
    return tuple(found)


def find_config_of_family(config: str | Path, test_set: str) -> Path | None:
    """Find a shipped config with the same weights for another test set.

    Args:
        config (str | Path): Path of a config file.
        test_set (str): Name of the test set, see
            :attr:`ModelEntry.test_set`.

    Returns:
        Path | None: Path of a config with this test set in the family of
        ``config``, see :attr:`ModelEntry.family`. It may be ``config``
        itself. None if there is no such config.
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
                f'{metafile} has a wrong entry below Models ({error!r}); '
                'expected the keys Name, In Collection, Config, Metadata and '
                'Results'
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
