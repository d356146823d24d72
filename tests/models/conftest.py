# SPDX-License-Identifier: Apache-2.0
"""open_clip's own towers with random weights, to compare ours with."""

import pytest
import torch

import ovseg_mm  # noqa: F401  registers the models

from ..tiny import clip_arch


@pytest.fixture
def tiny_arch():
    """A CLIP of two small towers."""
    return clip_arch(
        embed_dim=24,
        width=32,
        layers=3,
        text=dict(
            context_length=10, vocab_size=40, width=32, heads=2, layers=2
        ),
        quick_gelu=True,
    )


@pytest.fixture
def build_open_clip():
    """Function from an architecture to open_clip's model of it."""

    def build(arch):
        import open_clip

        torch.manual_seed(0)
        model = open_clip.CLIP(
            arch['embed_dim'],
            open_clip.CLIPVisionCfg(**arch['vision_cfg']),
            open_clip.CLIPTextCfg(**arch['text_cfg']),
            quick_gelu=arch['quick_gelu'],
        )
        # Norms and biases start as ones and zeros, which would hide faults.
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
        return model.eval().requires_grad_(False)

    return build


@pytest.fixture
def split_in_proj():
    """Function from open_clip's names to q, k and v weights apart."""

    def split(state_dict):
        ours = {}
        for name, tensor in state_dict.items():
            if name.endswith('in_proj_weight'):
                stem = name.removesuffix('in_proj_weight')
                for key, part in zip('qkv', tensor.chunk(3)):
                    ours[f'{stem}{key}_proj_weight'] = part.clone()
            else:
                ours[name] = tensor.clone()
        return ours

    return split
