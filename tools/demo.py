# SPDX-License-Identifier: Apache-2.0
"""Demo: train a small model, test it, and segment an image with words.

The image is segmented twice: first by a method that needs no training, and
at the end by the trained model. Every step runs a public command. Finished
steps are skipped, so that the same command continues after an interruption.
"""

import argparse
import json
import os
import random
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from common_options import add_debug_option

CONFIG = 'catseg_clip-toy_1xb4-400_toy-world-64x64.py'
# Seed of the image that is segmented.
PICTURE_SEED = 7
# Lines of a log that the terminal shows: progress, results and errors.
TELLING = re.compile(r'Iter\(|mIoU_seen|_overlay\.png|rror:')


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('work_dirs/demo'),
        metavar='FOLDER',
        help='folder of all outputs (default: %(default)s)',
    )
    parser.add_argument(
        '--iters',
        type=int,
        default=400,
        help='number of training iterations (default: %(default)s)',
    )
    parser.add_argument(
        '--num-val',
        type=int,
        default=96,
        help='number of validation scenes (default: %(default)s)',
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='seed of scenes and training'
    )
    add_debug_option(parser)
    return parser.parse_args()


class Demo:
    """Steps of the demo; each step runs a command and writes a log.

    Args:
        out (Path): Folder of all outputs.
        iters (int): Number of training iterations.
        num_val (int): Number of validation scenes, used for the test.
        seed (int): Seed of scenes and training.
    """

    def __init__(self, out: Path, iters: int, num_val: int, seed: int) -> None:
        from ovseg_mm.utils.paths import find_config, resource

        self.out = out
        self.iters = iters
        self.num_val = num_val
        self.seed = seed
        self.config = find_config(CONFIG)
        self.tools = resource('tools')
        self.data = out / 'toy_world'
        self.checkpoint = out / 'train' / f'iter_{iters}.pth'

    def make_data(self) -> None:
        """Draw the scenes of the data set."""
        self._run(
            'data',
            *(sys.executable, self.tools / 'dataset_converters/toy_world.py'),
            *(self.data, '--num-val', self.num_val, '--seed', self.seed),
        )

    def train(self) -> None:
        """Train a model; an interrupted training continues."""
        if self.checkpoint.is_file():
            return
        self._run(
            'train',
            *('mim', 'train', 'ovseg_mm', self.config, '--gpus', 0),
            *('--work-dir', self.out / 'train', '--resume', '--cfg-options'),
            f'train_dataloader.dataset.data_root={self.data}',
            f'val_dataloader.dataset.data_root={self.data}',
            f'train_cfg.max_iters={self.iters}',
            f'param_scheduler.0.T_max={self.iters}',
            f'param_scheduler.0.end={self.iters}',
            # No validation, because the next step of the demo is a test.
            f'train_cfg.val_begin={self.iters + 1}',
            f'randomness.seed={self.seed}',
        )

    def test(
        self, name: str, options: Sequence = (), settings: Sequence = ()
    ) -> dict[str, float]:
        """Test the trained model, unless this test has a result already.

        Args:
            name (str): Name of the folder of the result, and of the log.
            options (Sequence): Additional options of the command.
            settings (Sequence): Additional settings of the config.

        Returns:
            dict[str, float]: Metrics of the test, by name of the metric.
        """
        if self._metrics(name) is None:
            self._run(
                name,
                *('mim', 'test', 'ovseg_mm', self.config, '--gpus', 0),
                *('--checkpoint', self.checkpoint),
                *('--work-dir', self.out / name),
                *options,
                '--cfg-options',
                f'test_dataloader.dataset.data_root={self.data}',
                *settings,
            )
        return self._metrics(name)

    def shuffled_words(self) -> Path:
        """Write the class texts to a file, in a wrong order.

        No label keeps its own class text.

        Returns:
            Path: Path of the file.
        """
        from ovseg_mm.vocabulary import load_vocabulary

        names = load_vocabulary('toy_world').names
        rng = random.Random(self.seed)
        shuffled = list(names)
        while any(old == new for old, new in zip(names, shuffled)):
            rng.shuffle(shuffled)
        path = self.out / 'shuffled.json'
        # Without label_names, class texts in a wrong order are an error.
        words = dict(class_texts=shuffled, label_names=names)
        path.write_text(json.dumps(words))
        return path

    def draw_picture(self) -> Path:
        """Draw an image with objects that do not occur in the training set.

        Returns:
            Path: Path of the image.
        """
        import numpy as np

        from ovseg_mm.datasets import write_image
        from ovseg_mm.toy.scenes import UNSEEN, make_scene

        picture = self.out / 'picture.png'
        rng = np.random.default_rng(PICTURE_SEED)
        scene = make_scene(rng, (288, 384), rng.permutation(UNSEEN).tolist())
        write_image(picture, scene.image)
        return picture

    def predict(self, name: str, model: Sequence) -> Path:
        """Segment the image of :meth:`draw_picture` with new class texts.

        None of these class texts belongs to a training label.

        Args:
            name (str): Name of the folder of the result, and of the log.
            model (Sequence): Options that name the model.

        Returns:
            Path: Path of the overlay.
        """
        from ovseg_mm.toy.captions import GROUND_SYNONYMS
        from ovseg_mm.toy.scenes import UNSEEN

        overlay = self.out / name / 'picture_overlay.png'
        if not overlay.is_file():
            self._run(
                name,
                *(sys.executable, '-m', 'ovseg_mm', 'predict'),
                *(self.draw_picture(), *model, '--out', self.out / name),
                '--classes',
                '; '.join((*UNSEEN, *GROUND_SYNONYMS.values())),
            )
        return overlay

    def _metrics(self, name: str) -> dict[str, float] | None:
        """Read the metrics of a test, by name of the metric.

        Args:
            name (str): Name of the folder of the result.

        Returns:
            dict[str, float] | None: The metrics. None if the test is not
            finished.
        """
        for file in sorted((self.out / name).glob('*/*.json')):
            metrics = json.loads(file.read_text())
            if 'mIoU_unseen' in metrics:
                return metrics
        return None

    def _run(self, name: str, *command: object) -> None:
        """Run a command, write its output to a log and show important lines.

        Args:
            name (str): Name of the log.
            *command (object): The command and its arguments.

        Raises:
            RuntimeError: If the command fails.
        """
        command = [str(part) for part in command]
        print('$ ' + shlex.join(command), flush=True)
        log = self.out / 'logs' / f'{name}.log'
        log.parent.mkdir(parents=True, exist_ok=True)
        process = subprocess.Popen(
            command,
            env=_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        with process, open(log, 'w') as file:
            for line in process.stdout:
                file.write(line)
                if TELLING.search(line):
                    print(line.rstrip()[:160], flush=True)
        if process.returncode:
            raise RuntimeError(
                f'the command above failed with status {process.returncode}; '
                f'see its output in {log}'
            )


def _environment() -> dict[str, str]:
    """Environment variables for the commands of the demo."""
    folder = os.path.dirname(sys.executable)
    return {
        # Threads that wait without sleeping slow other threads down if other
        # programs use the machine too.
        'GOMP_SPINCOUNT': '3000',
        **os.environ,
        'PATH': f'{folder}{os.pathsep}{os.environ.get("PATH", "")}',
    }


def keep_options(out: Path, options: dict) -> None:
    """Check that a folder has no outputs of a run with other options.

    The options of this run are saved in the folder.

    Args:
        out (Path): Folder of all outputs.
        options (dict): Options of this run.

    Raises:
        InputError: If the outputs were made with other options.
    """
    from ovseg_mm.utils.errors import InputError

    path = out / 'options.json'
    if path.is_file():
        found = json.loads(path.read_text())
        if found != options:
            raise InputError(
                f'{out} contains a demo with the options {found}, not '
                f'{options}; give another folder with --out, or remove this '
                'folder'
            )
    path.write_text(json.dumps(options))


def show_table(rows: dict[str, dict[str, float]]) -> None:
    """Print a table of metrics, with one row for each test."""
    keys = dict(seen='mIoU_seen', unseen='mIoU_unseen', harmonic='hIoU')
    print(f'{"mIoU in percent":24}' + ''.join(f'{key:>10}' for key in keys))
    for title, metrics in rows.items():
        values = (metrics[key] for key in keys.values())
        print(f'{title:24}' + ''.join(f'{x:10.1f}' for x in values))


def main() -> int:
    """Run all steps. Return the exit status, which is 1 if a command fails."""
    args = parse_args()
    from ovseg_mm.engine.launch import check_writable
    from ovseg_mm.utils.errors import InputError, report_errors

    started = time.monotonic()
    options = dict(iters=args.iters, num_val=args.num_val, seed=args.seed)
    with report_errors():
        if args.iters < 1:
            raise InputError(f'--iters {args.iters} must be at least 1')
        check_writable(args.out, '--out')
        keep_options(args.out, options)
    demo = Demo(args.out, **options)
    pictures = args.out / 'test' / 'pictures'
    try:
        print('1/6 Segmenting an image without training')
        first = demo.predict('without_training', ['--model', 'toy'])
        print(f'result: {first}')
        print(f'2/6 Drawing the data set: {demo.data}')
        demo.make_data()
        print('3/6 Training CAT-Seg on the seen classes')
        demo.train()
        print('4/6 Testing on seen and unseen classes')
        metrics = demo.test('test', ['--show-dir', pictures])
        print('5/6 Control: testing with class texts in a wrong order')
        words = demo.shuffled_words()
        control = demo.test('control', settings=[f'model.vocabulary={words}'])
        print('6/6 Segmenting the image with the trained model')
        overlay = demo.predict(
            'predict',
            ['--config', demo.config, '--checkpoint', demo.checkpoint],
        )
    except RuntimeError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    print(f'\nDone in {time.monotonic() - started:.0f} s')
    show_table({'test': metrics, 'shuffled class texts': control})
    print(
        f'predictions of the test: {pictures}\n'
        f'the image, segmented without training: {first}\n'
        f'the image, segmented by the trained model: {overlay}'
    )
    return 0


if __name__ == '__main__':
    sys.exit(main())
