# SPDX-License-Identifier: Apache-2.0
"""Format the measured numbers of the benchmark as lines of text.

The numbers come from the functions of :mod:`ovseg_mm.analysis.workloads`.
"""

from collections.abc import Mapping
from typing import Any

_MIB = 1 << 20


def ratios(
    name: str, other: Mapping[str, Any], own: Mapping[str, Any]
) -> list[str]:
    """Format the ratios of another measurement to this measurement.

    Args:
        name (str): Text that names the two measurements, such as
            ``'earlier run / this run'``.
        other (Mapping[str, Any]): Numbers of the other measurement, as
            returned by ``workloads.predict`` or ``workloads.train``.
        own (Mapping[str, Any]): Numbers of this measurement.

    Returns:
        list[str]: One line. A ratio above 1 means that the other measurement
        took more time or memory.
    """
    pairs = {
        'CPU time': (
            _sum(other, 'user', 'system'),
            _sum(own, 'user', 'system'),
        ),
        'user CPU time': (_sum(other, 'user'), _sum(own, 'user')),
        'memory': (other['memory'], own['memory']),
        'class texts': (_text(other), _text(own)),
    }
    found = ', '.join(
        f'{key} x {more / less:.2f}'
        for key, (more, less) in pairs.items()
        if less > 0
    )
    return [f'  {name}: {found}']


def stages(figures: Mapping[str, Any]) -> list[str]:
    """Format the cost of a prediction or training step, and of its stages.

    Args:
        figures (Mapping[str, Any]): Measured numbers, as returned by
            ``workloads.predict`` or ``workloads.train``.

    Returns:
        list[str]: The lines. The stages are sorted by CPU time, the slowest
        stage first.
    """
    total = _sum(figures, 'user', 'system')
    parts = [
        f'{total:.2f} CPU s',
        f'{_sum(figures, "system") / total:.1%} system',
        f'{_sum(figures, "faults"):.0f} page faults',
        f'peak memory {figures["memory"] / _MIB:.0f} MiB above the model',
    ]
    if 'flops' in figures:
        share = figures['flops'] / total / figures['rate']
        parts += [
            f'{figures["flops"] / 1e9:.1f} G multiply-adds',
            f'{share:.0%} of the speed of matrix products',
        ]
    lines = [f'  {"; ".join(parts)}', *_table(figures['later'])]
    if _text(figures):
        lines.append(f'  class texts, only once: {_text(figures):.2f} CPU s')
    return lines


def loading(figures: Mapping[str, Any]) -> list[str]:
    """Format the cost of loading the images of a training set.

    Args:
        figures (Mapping[str, Any]): Measured numbers, as returned by
            ``workloads.load``.

    Returns:
        list[str]: The lines. The transforms are sorted by CPU time, the
        slowest transform first.
    """
    images = figures['images']
    return [
        f'  {images:.1f} images per CPU second of a worker, about '
        f'{4 * images:.0f} images per second with 4 workers',
        *_table(figures['later']),
    ]


def folder(figures: Mapping[int, Mapping[str, Any]]) -> list[str]:
    """Format the cost of predictions of an image folder, for each batch size.

    The speed of each batch size is divided by the speed of the first one.

    Args:
        figures (Mapping[int, Mapping[str, Any]]): Measured numbers of each
            batch size, as returned by ``workloads.folder``. The keys are the
            batch sizes.

    Returns:
        list[str]: One line for each batch size.
    """
    smallest, first = next(iter(figures.items()))
    return [
        f'  batches of {size}: {part["images"] / first["images"]:.2f} x the '
        f'speed of batches of {smallest}; {part["images"]:.2f} images/s, '
        f'{part["cpu"]:.3f} CPU s per image, '
        f'peak memory {part["memory"] / _MIB:.0f} MiB above the model'
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
    """CPU seconds of encoding the class texts, in the first prediction."""
    cost = figures['first'].get('text', dict(user=0.0, system=0.0))
    later = figures['later'].get('text', dict(user=0.0, system=0.0))
    return sum(cost[key] - later[key] for key in ('user', 'system'))
