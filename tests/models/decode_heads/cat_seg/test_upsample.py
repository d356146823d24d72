# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from ovseg_mm.models.decode_heads.cat_seg.upsample import UpsampleBlock


@pytest.mark.parametrize(('out', 'groups'), [(32, 2), (64, 4), (8, 1)])
def test_guidance_is_concatenated_after_the_map(
    randomise, assert_same, out, groups
):
    block = randomise(UpsampleBlock(24, out, 6))
    assert block.conv[1].num_groups == groups
    x, guidance = torch.randn(2, 3, 24, 4, 5), torch.randn(2, 6, 8, 10)
    actual = block(x, *block.prepare(guidance))
    for image in range(2):
        for text in range(3):
            maps = torch.cat(
                [block.up(x[image, text, None]), guidance[image, None]], dim=1
            )
            assert_same(actual[image, text], block.conv(maps)[0])
