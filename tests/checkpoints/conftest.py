# SPDX-License-Identifier: Apache-2.0
"""A tiny CLIP, built by open_clip, in every layout that CLIPs come in."""

import warnings
from copy import deepcopy

import pytest
import torch
from torch import nn

from ..tiny import clip_arch

ARCH = clip_arch(
    width=64,
    heads=1,
    patch_size=16,
    text=dict(context_length=9, vocab_size=50, width=64, heads=1, layers=3),
    quick_gelu=True,
)


@pytest.fixture
def tiny_arch():
    return deepcopy(ARCH)


@pytest.fixture(scope='session')
def open_clip_weights():
    """State dict of open_clip's own model, rounded to half precision."""
    return _build_open_clip('CLIP')


@pytest.fixture(scope='session')
def custom_text_weights():
    """The same of its class whose text names begin with ``text.``."""
    return _build_open_clip('CustomTextCLIP')


@pytest.fixture(scope='session')
def our_weights(open_clip_weights):
    """The same under our names."""
    return _split_in_proj(open_clip_weights)


@pytest.fixture(scope='session')
def huggingface_weights(open_clip_weights):
    """The same as transformers' CLIPModel names and lays them out."""
    return _huggingface_names(open_clip_weights)


@pytest.fixture
def openai_archive(tmp_path, open_clip_weights):
    """The same in a TorchScript archive as OpenAI publishes them."""
    path = tmp_path / 'ViT-B-16.pt'
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', FutureWarning)
        _save_archive(open_clip_weights, path)
    return path


def _build_open_clip(kind):
    import open_clip

    torch.manual_seed(0)
    vision = open_clip.CLIPVisionCfg(**ARCH['vision_cfg'])
    text = open_clip.CLIPTextCfg(**ARCH['text_cfg'])
    model = getattr(open_clip, kind)(
        ARCH['embed_dim'], vision, text, quick_gelu=True
    )
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    return {
        name: tensor.half().float()
        for name, tensor in model.state_dict().items()
    }


def _split_in_proj(state_dict):
    ours = {}
    for name, tensor in state_dict.items():
        if name.endswith('in_proj_weight'):
            stem = name.removesuffix('in_proj_weight')
            for key, part in zip('qkv', tensor.split(64)):
                ours[f'{stem}{key}_proj_weight'] = part
        else:
            ours[name] = tensor
    return ours


def _huggingface_names(state_dict):
    blocks = {
        'ln_1': 'layer_norm1',
        'ln_2': 'layer_norm2',
        'attn.out_proj': 'self_attn.out_proj',
        'mlp.c_fc': 'mlp.fc1',
        'mlp.c_proj': 'mlp.fc2',
    }
    stems = {
        'visual.class_embedding': 'vision_model.embeddings.class_embedding',
        'visual.conv1.weight': (
            'vision_model.embeddings.patch_embedding.weight'
        ),
        'visual.positional_embedding': (
            'vision_model.embeddings.position_embedding.weight'
        ),
        'visual.ln_pre.weight': 'vision_model.pre_layrnorm.weight',
        'visual.ln_pre.bias': 'vision_model.pre_layrnorm.bias',
        'visual.ln_post.weight': 'vision_model.post_layernorm.weight',
        'visual.ln_post.bias': 'vision_model.post_layernorm.bias',
        'token_embedding.weight': (
            'text_model.embeddings.token_embedding.weight'
        ),
        'positional_embedding': (
            'text_model.embeddings.position_embedding.weight'
        ),
        'ln_final.weight': 'text_model.final_layer_norm.weight',
        'ln_final.bias': 'text_model.final_layer_norm.bias',
        'logit_scale': 'logit_scale',
    }
    theirs = {}
    for name, tensor in state_dict.items():
        if name == 'visual.proj':
            theirs['visual_projection.weight'] = tensor.t().contiguous()
        elif name == 'text_projection':
            theirs['text_projection.weight'] = tensor.t().contiguous()
        elif name in stems:
            theirs[stems[name]] = tensor
        else:
            tower = 'vision' if name.startswith('visual.') else 'text'
            index, _, leaf = name.partition('resblocks.')[2].partition('.')
            prefix = f'{tower}_model.encoder.layers.{index}.'
            if 'in_proj' in leaf:
                kind = leaf.rpartition('_')[2]
                for key, part in zip('qkv', tensor.split(64)):
                    theirs[f'{prefix}self_attn.{key}_proj.{kind}'] = part
            else:
                leaf, _, kind = leaf.rpartition('.')
                theirs[f'{prefix}{blocks[leaf]}.{kind}'] = tensor
    for tower, length in (('vision', 5), ('text', 9)):
        name = f'{tower}_model.embeddings.position_ids'
        theirs[name] = torch.arange(length)[None]
    return theirs


def _save_archive(state_dict, path):
    root = _Holder()
    for name, tensor in state_dict.items():
        *parents, leaf = name.split('.')
        module = root
        for parent in parents:
            if not hasattr(module, parent):
                module.add_module(parent, _Holder())
            module = getattr(module, parent)
        half = tensor.half() if tensor.ndim else tensor
        setattr(module, leaf, nn.Parameter(half, requires_grad=False))
    for name, size in dict(
        input_resolution=32, context_length=9, vocab_size=50
    ).items():
        root.register_buffer(name, torch.tensor(size))
    torch.jit.script(root).save(str(path))


class _Holder(nn.Module):
    def forward(self) -> int:
        return 0
