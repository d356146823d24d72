# SPDX-License-Identifier: Apache-2.0
"""Measure where predictions spend CPU time and memory, a table a model.

Each model runs in a fresh process. Times are CPU seconds, user and system, of
all threads: other work on the machine changes them less than elapsed seconds.
"Of the matrix rate" compares the multiply-adds of the model with those of
large matrix products in the same process. Ratios to an earlier run (--against)
come first. Weights are random unless CLIP's are all that the model needs.
"""

import argparse
import json
import multiprocessing
import sys
import tempfile
from pathlib import Path
from typing import Any

from common_options import add_cfg_options, add_debug_option


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'configs',
        nargs='+',
        metavar='config',
        help='config files, or bare names of shipped ones',
    )
    add_cfg_options(parser)
    parser.add_argument(
        '--classes',
        help='class texts: a file, a shipped vocabulary such as ade150, or '
        'texts separated by ";" (default: those of the config)',
    )
    parser.add_argument(
        '--image-size',
        nargs=2,
        type=int,
        default=(480, 640),
        metavar=('HEIGHT', 'WIDTH'),
        help='size of the image file (default: 480 640)',
    )
    parser.add_argument(
        '--repeats',
        type=int,
        default=3,
        help='predictions after the first one (default: %(default)s)',
    )
    parser.add_argument(
        '--threads', type=int, default=1, help='threads (default: %(default)s)'
    )
    parser.add_argument(
        '--json', type=Path, metavar='FILE', help='write all figures'
    )
    parser.add_argument(
        '--against',
        type=Path,
        metavar='FILE',
        help='figures of an earlier run (--json) to compare with',
    )
    add_debug_option(parser)
    return parser.parse_args()


def main() -> int:
    """Print the tables; 2 for bad input."""
    args = parse_args()
    from ovseg_mm.utils.errors import InputError, report_errors
    from ovseg_mm.utils.paths import write_text

    results = {}
    with report_errors():
        if min(args.repeats, args.threads, *args.image_size) < 1:
            raise InputError(
                '--repeats, --threads and --image-size are at least 1'
            )
        earlier = json.loads(args.against.read_text()) if args.against else {}
        # A fresh process a model: its memory is its own.
        context = multiprocessing.get_context('spawn')
        for config in args.configs:
            with context.Pool(1) as pool:
                figures = pool.apply(measure, (config, args))
            results[config] = figures
            print('\n'.join(report(config, figures, earlier.get(config))))
        if args.json:
            write_text(args.json, json.dumps(results, indent=1) + '\n')
    return 0


def measure(config: str, args: argparse.Namespace) -> dict[str, Any]:
    """Measure one model.

    Args:
        config (str): Its config.
        args (argparse.Namespace): Options of the command line.

    Returns:
        dict[str, Any]: ``first`` and ``later``, costs of the stages of the
        first prediction, which encodes the class texts, and means of those
        after it; ``memory``, peak bytes above the model; ``flops``,
        multiply-adds of a prediction; ``rate``, multiply-adds per CPU second
        of matrix products.
    """
    import torch
    from mmengine.dataset import Compose

    from ovseg_mm.analysis.flops import count_image
    from ovseg_mm.analysis.stages import (
        PeakMemory,
        matrix_rate,
        mean_costs,
        measure_prediction,
    )
    from ovseg_mm.apis.array_pipeline import image_steps
    from ovseg_mm.engine.launch import build_model
    from ovseg_mm.vocabulary import parse_classes

    torch.set_num_threads(args.threads)
    rate = matrix_rate()
    options = argparse.Namespace(config=config, cfg_options=args.cfg_options)
    model = build_model(options, device='cpu')
    if args.classes:
        model.set_vocabulary(parse_classes([args.classes]))
    pipeline = Compose(image_steps(model.cfg.test_pipeline))
    with tempfile.TemporaryDirectory() as folder:
        file = draw_image(Path(folder) / 'image.png', args.image_size)
        with PeakMemory() as memory:
            clocks = [
                measure_prediction(model, pipeline, file)
                for _ in range(1 + args.repeats)
            ]
        size = tuple(pipeline(dict(img_path=str(file)))['inputs'].shape[1:])
    return dict(
        first=mean_costs(clocks[:1]),
        later=mean_costs(clocks[1:]),
        memory=memory.above,
        flops=count_image(model, size).flops,
        rate=rate,
    )


def draw_image(file: Path, size: tuple[int, int]) -> Path:
    """Write an image of smooth random colours.

    Args:
        file (Path): File to write.
        size (tuple[int, int]): Height and width.

    Returns:
        Path: The file.
    """
    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (9, 12, 3))
    image = Image.fromarray(noise.astype(np.uint8))
    image.resize((size[1], size[0]), Image.Resampling.BICUBIC).save(file)
    return file


def report(
    config: str, figures: dict[str, Any], earlier: dict[str, Any] | None
) -> list[str]:
    """Lines that say what was measured, ratios first.

    Args:
        config (str): Name of the model.
        figures (dict[str, Any]): Result of :func:`measure`.
        earlier (dict[str, Any], optional): That of an earlier run.

    Returns:
        list[str]: The lines.
    """
    stages = figures['later']
    cpu = {
        name: cost['user'] + cost['system'] for name, cost in stages.items()
    }
    total = sum(cpu.values())
    system = sum(cost['system'] for cost in stages.values())
    used = figures['flops'] / total / figures['rate']
    lines = [f'\n{Path(config).stem}']
    if earlier:
        before = sum(
            cost['user'] + cost['system'] for cost in earlier['later'].values()
        )
        lines.append(
            f'  CPU time x {total / before:.2f}, memory x '
            f'{figures["memory"] / earlier["memory"]:.2f} of the earlier run'
        )
    lines.append(
        f'  {total:.2f} CPU s a prediction, {system / total:.1%} system; '
        f'{used:.0%} of the matrix rate; '
        f'{figures["memory"] / 2**20:.0f} MiB above the model; '
        f'{figures["flops"] / 1e9:.1f} G multiply-adds'
    )
    lines.append(f'  {"stage":16}{"CPU s":>9}{"share":>8}{"page faults":>13}')
    for name in sorted(cpu, key=cpu.__getitem__, reverse=True):
        lines.append(
            f'  {name:16}{cpu[name]:9.3f}{cpu[name] / total:8.1%}'
            f'{stages[name]["faults"]:13.0f}'
        )
    text = figures['first'].get('text')
    if text:
        lines.append(
            f'  first prediction: {text["user"] + text["system"]:.2f} CPU s '
            'for the class texts'
        )
    return lines


if __name__ == '__main__':
    sys.exit(main())
