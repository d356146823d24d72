# SPDX-License-Identifier: Apache-2.0
import torch
import torch.nn.functional as F

from ovseg_mm.models import FPNPixelDecoder


def build():
    torch.manual_seed(0)
    return FPNPixelDecoder(
        (4, 8, 12, 16), 8, 6, norm_cfg=dict(type='GN', num_groups=2)
    ).eval()


def test_against_plain_steps():
    neck = build()
    feats = [
        torch.randn(2, c, s, s + 1)
        for c, s in ((4, 17), (8, 9), (12, 5), (16, 3))
    ]
    out = neck(feats)

    def step(module, x, padding):
        x = F.conv2d(x, module.conv.weight, padding=padding)
        return F.group_norm(x, 2, module.gn.weight, module.gn.bias)

    x = step(neck.outputs[3], feats[3], 1).relu()
    for level in (2, 1, 0):
        lateral = step(neck.laterals[level], feats[level], 0)
        x = lateral + F.interpolate(x, lateral.shape[2:], mode='nearest')
        x = step(neck.outputs[level], x, 1).relu()
    torch.testing.assert_close(
        out.mask_features, neck.mask_features(x), rtol=1e-4, atol=1e-5
    )
    (memory,) = out.maps
    assert memory is feats[3]


def test_initial_weights_survive_mmengine():
    neck = build()
    before = {k: v.clone() for k, v in neck.state_dict().items()}
    neck.init_weights()
    for name, tensor in neck.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert not neck.mask_features.bias.any()
    bound = (3 / (8 * 9)) ** 0.5
    assert 0.9 * bound < neck.mask_features.weight.abs().max() <= bound
