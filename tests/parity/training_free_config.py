# SPDX-License-Identifier: Apache-2.0
"""Our configs for the runs of methods without training, and their CLIP."""

from collections.abc import Mapping
from pathlib import Path

import torch
from common import clip_arch
from mmengine.config import Config
from seeded import build_checkpoint
from torch import Tensor

from ovseg_mm.utils.paths import resource

CONFIGS = dict(
    maskclip='maskclip_clip-vit-b16_pascal-voc21-448x448.py',
    maskclip_original='maskclip-original_clip-vit-b16_pascal-voc20-512x2048.py',
    sclip='sclip_clip-vit-b16_pascal-voc21-224x224.py',
    clearclip='clearclip_clip-vit-b16_pascal-voc21-448x448.py',
    naclip='naclip_clip-vit-b16_pascal-context-60-224x224.py',
    scclip='scclip_clip-vit-b16_pascal-voc21-224x224.py',
    sfp='sfp_clip-vit-b16_pascal-voc21-224x224.py',
)
# Settings of a case by the names that our last blocks have for them.
BLOCK_OPTIONS = (
    'keep_residual_and_mlp',
    'gaussian_std',
    'outliers',
    'mid_layer',
    'early_layer',
    'sum_layers',
    'cls_weight',
)
# What the authors' code has whatever the depth of the tower is.
FIXED = dict(mid_layer=8, early_layer=3, sum_layers=(3, 10), cls_weight=0.3)
FIXED_24 = dict(
    mid_layer=16, early_layer=6, sum_layers=(8, 19), cls_weight=0.1
)


def build_config(case: Mapping, entry: Mapping, weights: Path) -> Config:
    """Our shipped config with the sizes and settings of a run."""
    method, settings = entry['method'], dict(entry['settings'])
    clip = case['config']['clip']
    arch = clip_arch(clip, case['config']['activation'] == 'quick_gelu')
    if 'layer_norm_eps' in case['config']:
        eps = case['config']['layer_norm_eps']
        arch['vision_cfg']['norm_kwargs'] = dict(eps=eps)
    model = dict(
        clip=dict(_delete_=True, arch=arch, custom_clip_weights=str(weights)),
    )
    if 'class_texts' in case:
        texts = case['class_texts']
        model['vocabulary'] = dict(
            _delete_=True,
            class_texts=texts,
            # The authors call label 0 background in all data sets.
            label_names=[
                'background',
                *(f'label {i + 1}' for i in range(len(texts) - 1)),
            ],
        )
        model['prompts'] = dict(templates=case['templates'])
    block = {
        key: settings.pop(key) for key in BLOCK_OPTIONS if key in settings
    }
    if method in ('scclip', 'sfp'):
        deep = method == 'scclip' and clip['vision_layers'] == 24
        block = {**(FIXED_24 if deep else FIXED), **block}
    model['backbone'] = dict(last_block=block)
    model['test_cfg'] = _test_options(method, settings)
    cfg = Config.fromfile(
        resource('configs', 'training_free', CONFIGS[method])
    )
    if method != 'maskclip_original':
        # Of the config's own data set; cases name theirs.
        for key in ('prob_thd', 'area_thd'):
            cfg.model.test_cfg.pop(key, None)
    cfg.merge_from_dict(dict(model=model))
    if 'mean' in case['config']:
        assert cfg.model.data_preprocessor.mean == case['config']['mean']
        assert cfg.model.data_preprocessor.std == case['config']['std']
    return cfg


def _test_options(method: str, settings: dict) -> dict:
    """``test_cfg`` of the settings of a run."""
    if method == 'maskclip_original':
        return {}
    default_scale = 50 if method in ('clearclip', 'maskclip') else 40
    options = dict(
        logit_scale=settings.pop('logit_scale', default_scale),
        prob_thd=settings.pop('prob_thd', 0.0),
        area_thd=settings.pop('area_thd', None),
        keep_scores=True,
        others=[],
    )
    steps = settings.pop('pamr_steps', 10 if method == 'naclip' else 0)
    options['refine'] = dict(
        steps=steps, dilations=settings.pop('pamr_dilations', (8, 16))
    )
    crop = settings.pop('crop', None)
    stride = settings.pop('stride', None)
    if crop == 0:
        options['mode'] = 'whole'
        if method == 'naclip':
            options['score_size'] = 'input'
        else:
            # The others resize once, and skip refinement then.
            options['refine'] = dict(steps=0)
    elif crop is not None:
        options.update(crop_size=(crop, crop), stride=(stride, stride))
    assert not settings, f'settings that nothing here knows: {settings}'
    return options


def write_weights(case: Mapping, folder: Path) -> Path:
    """The CLIP of a case as a file; its text tower is 0 if it has none."""
    path = folder / 'clip.pt'
    weights = {
        name: torch.from_numpy(array)
        for name, array in build_checkpoint(case).items()
    }
    if weights and 'token_embedding.weight' not in weights:
        weights.update(_text_tower(case['config']['clip']['embed_dim']))
    torch.save(weights, path)
    return path


def _text_tower(embed_dim: int, width: int = 64) -> dict[str, Tensor]:
    shapes = {
        'token_embedding.weight': (49408, width),
        'positional_embedding': (77, width),
        'text_projection': (width, embed_dim),
        'ln_final.weight': (width,),
        'ln_final.bias': (width,),
        'logit_scale': (),
    }
    block = 'transformer.resblocks.0.'
    for name, shape in {
        'attn.in_proj_weight': (3 * width, width),
        'attn.in_proj_bias': (3 * width,),
        'attn.out_proj.weight': (width, width),
        'attn.out_proj.bias': (width,),
        'ln_1.weight': (width,),
        'ln_1.bias': (width,),
        'mlp.c_fc.weight': (4 * width, width),
        'mlp.c_fc.bias': (4 * width,),
        'mlp.c_proj.weight': (width, 4 * width),
        'mlp.c_proj.bias': (width,),
        'ln_2.weight': (width,),
        'ln_2.bias': (width,),
    }.items():
        shapes[block + name] = shape
    return {name: torch.zeros(shape) for name, shape in shapes.items()}
