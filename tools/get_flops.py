# SPDX-License-Identifier: Apache-2.0
"""Count FLOPs (multiply-adds) and parameters of a segmentor."""

import argparse
import sys

from common_options import add_model_arguments


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_model_arguments(parser)
    return parser.parse_args()


def main() -> int:
    """Print FLOPs and parameters; exit with status 2 for bad input."""
    args = parse_args()
    from ovseg_mm.analysis.flops import (
        count_image,
        count_parameters,
        count_text,
        count_view,
        window_size,
    )
    from ovseg_mm.engine.launch import build_model
    from ovseg_mm.utils.errors import report_errors

    with report_errors():
        model = build_model(args)
        size = tuple(args.shape or window_size(model))
        slides = model.test_cfg['mode'] == 'slide'
        window = window_size(model) if slides else size
    view = count_view(model, window)
    image = count_image(model, size)
    texts = count_text(model)
    vocabulary = model.vocabulary
    print(f'vocabulary: {vocabulary.num_texts} texts ({vocabulary.source})')
    print(f'one view of {_pixels(window)}: {_giga(view.flops)}')
    for name, flops in view.parts.items():
        print(f'  {name}: {_giga(flops)}')
    print(f'an image of {_pixels(size)}: {_giga(image.flops)}')
    for text in texts:
        print(
            f'text tower, once per vocabulary: {_giga(text.flops)} '
            f'({text.prompts} prompts of {text.tokens} tokens)'
        )
    for name, (total, trained) in count_parameters(model).items():
        print(
            f'{f"  {name}" if name else "parameters"}: {total / 1e6:.2f} M, '
            f'trained {trained / 1e6:.2f} M'
        )
    listed = ', '.join(
        f'{name.removeprefix("aten::")} {count}'
        for name, count in sorted(image.unsupported.items())
    )
    print(f'operators that are not counted: {listed or "none"}')
    return 0


def _pixels(size: tuple[int, int]) -> str:
    return f'{size[0]}x{size[1]} pixels'


def _giga(flops: float) -> str:
    return f'{flops / 1e9:.2f} GFLOPs'


if __name__ == '__main__':
    sys.exit(main())
