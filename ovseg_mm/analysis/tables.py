# SPDX-License-Identifier: Apache-2.0
"""Format the numbers from workloads as lines of text.

The numbers, called figures, come from :mod:`ovseg_mm.analysis.workloads`.
"""

from collections.abc import Mapping
from typing import Any

_MIB = 1 << 20


def ratios(
    name: str, other: Mapping[str, Any], own: Mapping[str, Any]
) -> list[str]:
    """Format the ratios of another measurement to this one.

    Args:
        name (str): Name of the other measurement.
        other (Mapping[str, Any]): Figures of the other measurement.
        own (Mapping[str, Any]): Figures of this measurement.

    Returns:
        list[str]: One line. A ratio above 1 means that the other measurement
        took more time or memory.
    """
    pairs = {
        'CPU time': (
            _sum(other, 'user', 'system'),
            _sum(own, 'user', 'system'),
        ),
        'user alone': (_sum(other, 'user'), _sum(own, 'user')),
        'memory': (other['memory'], own['memory']),
        'class texts': (_text(other), _text(own)),
    }
    found = ', '.join(
        f'{key} x {more / less:.2f}'
        for key, (more, less) in pairs.items()
        if less > 0
    )
    return [f'  {name} / this path: {found}']


def stages(figures: Mapping[str, Any]) -> list[str]:
    """Format the cost of a prediction or training step, and of its stages.

    Args:
        figures (Mapping[str, Any]): Figures of ``predict`` or ``train``.

    Returns:
        list[str]: The lines, the longest stage first.
    """
    total = _sum(figures, 'user', 'system')
    parts = [
        f'{total:.2f} CPU s',
        f'{_sum(figures, "system") / total:.1%} system',
        f'{_sum(figures, "faults"):.0f} page faults',
        f'{figures["memory"] / _MIB:.0f} MiB above the model',
    ]
    if 'flops' in figures:
        share = figures['flops'] / total / figures['rate']
        parts += [
            f'{figures["flops"] / 1e9:.1f} G multiply-adds',
            f'{share:.0%} of the matrix rate',
        ]
    lines = [f'  {"; ".join(parts)}', *_table(figures['later'])]
    if _text(figures):
        lines.append(f'  class texts, once: {_text(figures):.2f} CPU s')
    return lines


def loading(figures: Mapping[str, Any]) -> list[str]:
    """Format the cost of loading the images of a training set.

    Args:
        figures (Mapping[str, Any]): Figures of ``load``.

    Returns:
        list[str]: The lines, the longest transform first.
    """
    images = figures['images']
    return [
        f'  {images:.1f} images a CPU second and worker, '
        f'{4 * images:.0f} with 4 workers',
        *_table(figures['later']),
    ]


def folder(figures: Mapping[int, Mapping[str, Any]]) -> list[str]:
    """Format the cost of predicting a folder, for each batch size.

    Args:
        figures (Mapping[int, Mapping[str, Any]]): Figures of ``folder``, by
            batch size. All sizes are compared with the first one.

    Returns:
        list[str]: One line for each size.
    """
    first, *_ = figures.values()
    return [
        f'  batches of {size}: {part["images"] / first["images"]:.2f} x the '
        f'images a second; {part["images"]:.2f} images/s, '
        f'{part["cpu"]:.3f} CPU s an image, '
        f'{part["memory"] / _MIB:.0f} MiB above the model'
        for size, part in figures.items()
    ]


def _table(costs: Mapping[str, Mapping[str, float]]) -> list[str]:
    cpu = {name: cost['user'] + cost['system'] for name, cost in costs.items()}
    total = sum(cpu.values())
    lines = [f'  {"stage":24}{"CPU s":>9}{"share":>8}{"page faults":>13}']
    for name in sorted(cpu, key=cpu.__getitem__, reverse=True):
        lines.append(
            f'  {name:24}{cpu[name]:9.4f}{cpu[name] / total:8.1%}'
            f'{costs[name]["faults"]:13.0f}'
        )
    return lines


def _sum(figures: Mapping[str, Any], *keys: str) -> float:
    return sum(cost[key] for cost in figures['later'].values() for key in keys)


def _text(figures: Mapping[str, Any]) -> float:
    """CPU seconds that the class texts took before the first result."""
    cost = figures['first'].get('text', dict(user=0.0, system=0.0))
    later = figures['later'].get('text', dict(user=0.0, system=0.0))
    return sum(cost[key] - later[key] for key in ('user', 'system'))
