# SPDX-License-Identifier: Apache-2.0
"""The shipped configs and what their metafiles say of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from .paths import resource


@dataclass(frozen=True)
class ModelEntry:
    """One config of the index.

    Attributes:
        name (str): Stem of the config file.
        method (str): Method, as its collection is called.
        config (str): Config file, relative to the project's root.
        clip (str): CLIP that it is built on; empty if the file is silent.
        training_data (str): Data set; empty if the file is silent.
        miou (dict[str, float]): Published mIoU in percent by test set.
        weights (str): Address of weights; empty if there are none.
    """

    name: str
    method: str
    config: str
    clip: str
    training_data: str
    miou: dict[str, float]
    weights: str


def list_models() -> list[ModelEntry]:
    """Read all metafiles of the shipped configs.

    Returns:
        list[ModelEntry]: Sorted by method, then in the order of the file.

    Raises:
        ValueError: If a metafile is not of the expected form.
    """
    entries = []
    for metafile in sorted(Path(resource('configs')).glob('*/metafile.yaml')):
        entries.extend(_entries_of(metafile))
    return sorted(entries, key=lambda entry: entry.method)


def _entries_of(metafile: Path) -> Iterator[ModelEntry]:
    content = yaml.safe_load(metafile.read_text(encoding='utf-8')) or {}
    for model in content.get('Models') or []:
        try:
            facts = model.get('Metadata') or {}
            yield ModelEntry(
                name=model['Name'],
                method=model['In Collection'],
                config=model['Config'],
                clip=_text(facts.get('CLIP')),
                training_data=_text(facts.get('Training Data')),
                miou=_miou(model.get('Results') or []),
                weights=_text(model.get('Weights')),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(
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
