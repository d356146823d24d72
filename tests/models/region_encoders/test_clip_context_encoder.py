# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
import torch.nn.functional as F

from ovseg_mm.models.region_encoders import CLIPContextEncoder


@pytest.fixture
def encoder(tiny_arch):
    torch.manual_seed(0)
    clip = dict(type='CLIPViT', arch=tiny_arch, out_indices=(0, 2))
    return CLIPContextEncoder(clip).eval()


def test_image_is_normalised_padded_and_squeezed(encoder):
    img = torch.rand(2, 3, 40, 50) * 255
    context = encoder(img, (64, 64))
    x = F.pad((img - encoder.mean) / encoder.std, (0, 14, 0, 24))
    # The nearest pixel, rounded down.
    x = x[:, :, ::2, ::2]
    features = encoder.clip(x)
    torch.testing.assert_close(context.embedding, features.cls)
    assert context.tokens.keys() == {0, 2}
    for tokens, layer in zip(context.tokens.values(), features.layers):
        torch.testing.assert_close(tokens, layer)
    second = context.class_tokens(slice(1, 2))
    torch.testing.assert_close(second[2], features.layers[1][1:, 0])


def test_image_of_clips_own_size_stays(encoder):
    img = torch.rand(1, 3, 32, 32) * 255
    expected = encoder.clip((img - encoder.mean) / encoder.std).cls
    torch.testing.assert_close(encoder(img).embedding, expected)


def test_blocks_that_are_not_given(encoder):
    encoder.check_blocks((2, 0), 'a head')
    with pytest.raises(ValueError, match=r'a head needs .* blocks \[1\]'):
        encoder.check_blocks((0, 1), 'a head')


def test_nothing_but_the_tower_is_saved(encoder):
    assert all(name.startswith('clip.') for name in encoder.state_dict())
