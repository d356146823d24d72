# SPDX-License-Identifier: Apache-2.0
"""Layouts of ResNet checkpoints from detectron2 and torchvision.

Our models have the tensor names of MMSegmentation and torchvision.
"""

from ..rename import Drop, Row
from .layout import LAYOUTS, Layout

_NORM = r'(weight|bias|running_mean|running_var)'
_CLASSIFIER = Drop('the classifier of ImageNet')


def detectron2_rows(source: str = '', target: str = '') -> list[Row]:
    """Return the rows that rename the tensors of detectron2's ResNet.

    The stem of this ResNet has three convolutions. For a ResNet with a basic
    stem, put the rows of :func:`basic_stem_rows` before these rows.

    Args:
        source (str): Regular expression of the name prefix in the file.
        target (str): Name prefix in our model.

    Returns:
        list[Row]: Rows of the renaming table.
    """
    stem = rf'{source}stem\.conv'
    rows: list[Row] = []
    for number, place in ((1, 0), (2, 3), (3, 6)):
        rows += [
            (rf'{stem}{number}\.weight', f'{target}stem.{place}.weight'),
            (
                rf'{stem}{number}\.norm\.{_NORM}',
                rf'{target}stem.{place + 1}.\1',
            ),
        ]
    for stage in range(2, 6):
        block = rf'{source}res{stage}\.(\d+)\.'
        into = rf'{target}layer{stage - 1}.\1.'
        rows += [
            (rf'{block}conv(\d)\.weight', rf'{into}conv\2.weight'),
            (rf'{block}conv(\d)\.norm\.{_NORM}', rf'{into}bn\2.\3'),
            (rf'{block}shortcut\.weight', rf'{into}downsample.0.weight'),
            (rf'{block}shortcut\.norm\.{_NORM}', rf'{into}downsample.1.\2'),
        ]
    return rows


def basic_stem_rows(source: str = '', target: str = '') -> list[Row]:
    """Return the rows that rename the basic stem of detectron2's ResNet.

    A basic stem has a single convolution.

    Args:
        source (str): Regular expression of the name prefix in the file.
        target (str): Name prefix in our model.

    Returns:
        list[Row]: Rows to put before the rows of :func:`detectron2_rows`.
    """
    return [
        (rf'{source}stem\.conv1\.weight', f'{target}conv1.weight'),
        (rf'{source}stem\.conv1\.norm\.{_NORM}', rf'{target}bn1.\1'),
    ]


_HEAD = [(r'(?:stem\.)?fc\.(?:weight|bias)', _CLASSIFIER)]
_DETECTRON2 = [*detectron2_rows(), *_HEAD]


@LAYOUTS.register
class Detectron2ResNetLayout(Layout):
    """Layout of detectron2's ResNet checkpoints with a basic stem."""

    name = 'resnet_detectron2'
    method = 'ResNet'
    signature = (r'stem\.conv1\.weight', r'res2\.0\.conv1\.weight')
    table = (*basic_stem_rows(), *_DETECTRON2)


@LAYOUTS.register
class Detectron2DeepLabResNetLayout(Layout):
    """Layout of detectron2's ResNet checkpoints with a stem of three layers.

    DeepLab uses this stem.
    """

    name = 'resnet_detectron2_deeplab'
    method = 'ResNet'
    signature = (
        r'stem\.conv1\.weight',
        r'stem\.conv3\.weight',
        r'res2\.0\.conv1\.weight',
    )
    table = _DETECTRON2


@LAYOUTS.register
class TorchvisionResNetLayout(Layout):
    """Layout of torchvision's ResNet checkpoints.

    Our models have the same tensor names.
    """

    name = 'resnet_torchvision'
    method = 'ResNet'
    signature = (
        r'layer1\.0\.conv1\.weight',
        r'layer1\.0\.bn1\.running_var',
    )
    table = (
        (r'(?:conv1|bn1|stem\.\d+|layer\d\.\d+)\..*', r'\g<0>'),
        *_HEAD,
    )
