# SPDX-License-Identifier: Apache-2.0
"""Runs a parity case through the public path and compares its outputs.

Reference-layout checkpoint -> ``convert`` -> model from our config with the
sizes of the case -> outputs.
"""

import importlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from mmseg.apis import init_model
from mmseg.models import BaseSegmentor
from mmseg.registry import MODELS
from seeded import build_checkpoint, load_case, relative_error

from ovseg_mm.checkpoints import convert, load_checkpoint_into
from ovseg_mm.utils.errors import InputError


class Comparison(NamedTuple):
    """One output of a case against the golden one."""

    name: str
    error: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the error is within the tolerance."""
        return self.error <= self.tolerance


def compare_case(folder: Path) -> Iterator[Comparison]:
    """Run a case and compare every output that it stores.

    Args:
        folder (Path): Holds ``case.json`` and ``golden.npz``.
    """
    case = load_case(folder)
    method = load_method(case)
    model = None
    if case['parameters'] and not getattr(method, 'BUILDS_MODELS', False):
        model = load_model(case)
    outputs = method.run(case, model)
    not_compared = getattr(method, 'not_compared', lambda case: set())(case)
    for name, spec in case['outputs'].items():
        if name in not_compared:
            continue
        if name not in outputs:
            yield Comparison(name, float('inf'), spec['tolerance'])
            continue
        value = outputs[name]
        if 'stride' in spec:
            value = value[tuple(slice(None, None, s) for s in spec['stride'])]
        elif 'slice' in spec:
            value = value[_parse_slice(spec['slice'])]
        error = _error(name, value, case['golden'][name])
        yield Comparison(name, error, spec['tolerance'])


def find_cases(folder: Path) -> list[Path]:
    """Case folders at or below a folder, looked at but not run.

    Raises:
        ValueError: If there are none, or one is damaged or of a method that
            nothing here runs.
    """
    cases = sorted(file.parent for file in folder.rglob('case.json'))
    if not cases:
        raise InputError(f'no case.json in {folder}')
    for case in cases:
        if not (case / 'golden.npz').is_file():
            raise InputError(f'no golden.npz beside {case / "case.json"}')
        try:
            method = json.loads((case / 'case.json').read_text())['method']
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f'{case / "case.json"} is no description of a case: {error!r}'
            ) from error
        if not (Path(__file__).parent / f'{method}.py').is_file():
            raise InputError(
                f'{case / "case.json"} is of the method {method!r}, which '
                'nothing here runs'
            )
    return cases


def _error(name: str, value: np.ndarray, golden: np.ndarray) -> float:
    """Relative error, of label maps the share of other labels."""
    if np.shape(value) != golden.shape:
        return float('inf')
    if name == 'labels' or name.endswith('.labels'):
        return float(np.mean(value != golden))
    return relative_error(value, golden)


def _parse_slice(text: str) -> tuple[slice, ...]:
    """Such as ``'[:, ::2]'``."""
    parts = (part.strip() for part in text.strip('[]').split(','))
    return tuple(
        slice(*(int(number) if number else None for number in part.split(':')))
        for part in parts
    )


def load_method(case: Mapping):
    """The module that knows how to run the cases of a method."""
    return importlib.import_module(case['method'])


def load_model(case: Mapping) -> torch.nn.Module:
    """Model of a case with its seeded weights, in evaluation mode."""
    cfg = load_method(case).build_config(case)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, 'reference.pth')
        converted = Path(folder, 'converted.pth')
        weights = {
            name: torch.from_numpy(array)
            for name, array in build_checkpoint(case).items()
        }
        torch.save(dict(model=weights), source)
        del weights
        convert(source, converted, config=cfg)
        if not issubclass(MODELS.get(cfg.model.type), BaseSegmentor):
            model = MODELS.build(cfg.model)
            load_checkpoint_into(model, converted)
            return model.eval()
        return init_model(cfg, str(converted), device='cpu')
