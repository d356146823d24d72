# SPDX-License-Identifier: Apache-2.0
"""Hook that draws predictions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmengine.visualization import Visualizer
from mmseg.registry import HOOKS
from mmseg.structures import SegDataSample

from ovseg_mm.utils.image_files import read_image, sample_name
from ovseg_mm.utils.paths import path_inside


@HOOKS.register_module()
class OpenVocabVisualizationHook(Hook):
    """Hook that draws the predictions of tests and validations.

    Each drawing shows the image, the ground truth and the prediction.

    - Test: the drawing of each image is saved as
      ``<save_dir of the visualizer>/<image name>.png``. With several
      processes, each process draws its own images. The main process also
      adds its drawings to visualizer backends such as TensorBoard.
    - Validation: the drawing of the first image of every ``interval``-th
      batch is added to the visualizer backends.

    Args:
        draw (bool): Whether to draw. False: the hook does nothing.
        interval (int): Number of validation batches for each drawing.
        show (bool): Whether to show drawings on the screen. A test then
            saves no files.
        wait_time (float): Seconds to show each drawing.
        backend_args (dict, optional): Options of MMEngine's file backend for
            reading the images.
        outline_errors (bool): Whether to draw red outlines around the wrong
            pixels of the prediction.
    """

    def __init__(
        self,
        draw: bool = False,
        interval: int = 50,
        show: bool = False,
        wait_time: float = 0.0,
        backend_args: dict | None = None,
        outline_errors: bool = False,
    ) -> None:
        self._visualizer = Visualizer.get_current_instance()
        self.draw = draw
        self.interval = interval
        self.show = show
        self.wait_time = wait_time
        self.backend_args = backend_args
        self.outline_errors = outline_errors

    def before_test(self, runner: Runner) -> None:
        """Create the folder of drawings.

        If the folder cannot be written, the test fails before it starts.
        """
        if self.draw and not self.show:
            self._folder(runner).mkdir(parents=True, exist_ok=True)

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence[SegDataSample] = (),
    ) -> None:
        """Draw the first image of every ``interval``-th batch."""
        due = self.draw and batch_idx % self.interval == 0
        if due and outputs and is_main_process():
            name = f'val_{sample_name(outputs[0])}'
            self._add(name, outputs[0], step=runner.iter)

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence[SegDataSample] = (),
    ) -> None:
        """Draw all images of a batch."""
        if not self.draw:
            return
        for sample in outputs:
            name = sample_name(sample)
            file = None
            if not self.show:
                file = path_inside(self._folder(runner), f'{name}.png')
            self._add(name, sample, out_file=file)

    def after_test(self, runner: Runner) -> None:
        """Log the folder of the drawings."""
        if self.draw and not self.show:
            print_log(f'Drawings are in {self._folder(runner)}', 'current')

    def _folder(self, runner: Runner) -> Path:
        return Path(getattr(self._visualizer, 'save_dir', runner.log_dir))

    def _add(self, name: str, sample: SegDataSample, **target: Any) -> None:
        """Draw the image, ground truth and prediction of a sample."""
        if self.outline_errors:
            target['outline_errors'] = True
        self._visualizer.add_datasample(
            name,
            self._read(sample),
            data_sample=sample,
            show=self.show,
            wait_time=self.wait_time,
            with_image=True,
            **target,
        )

    def _read(self, sample: SegDataSample) -> np.ndarray:
        """Read the RGB image of a sample, (H, W, 3).

        The EXIF rotation is applied if the data set has also applied it.
        """
        path, size = sample.img_path, sample.get('ori_shape')
        turn = sample.get('exif_applied', True)
        image = read_image(path, turn, self.backend_args)
        # Samples of MMSegmentation lack exif_applied; the size shows it.
        if size is not None and image.shape[:2] != tuple(size[:2]):
            image = read_image(path, not turn, self.backend_args)
        return image
