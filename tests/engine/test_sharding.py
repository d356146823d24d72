# SPDX-License-Identifier: Apache-2.0
import pytest
from mmengine.registry import FUNCTIONS, STRATEGIES
from torch import nn

from ovseg_mm.engine import ResumableFSDPStrategy, is_clip_block
from ovseg_mm.models.layers import CLIPBlock


def test_found_by_name():
    assert FUNCTIONS.get('is_clip_block') is is_clip_block
    assert STRATEGIES.get('ResumableFSDPStrategy') is ResumableFSDPStrategy


@pytest.mark.parametrize('recurse', [False, True])
def test_blocks_alone_are_chosen(recurse):
    block = CLIPBlock(8, 2, 16, True)
    assert is_clip_block(block, recurse, 100)
    assert is_clip_block(nn.Sequential(block), recurse, 100) == recurse
    assert is_clip_block(block) and not is_clip_block(block.mlp)
