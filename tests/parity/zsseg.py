# SPDX-License-Identifier: Apache-2.0
"""Runs ZSSeg's parity cases through our config, each part by its module."""

import re
from collections.abc import Mapping

import numpy as np
import torch
import zsseg_crops
import zsseg_inference
import zsseg_prompts
import zsseg_training
from common import clip_arch, shipped_config
from mmengine.config import Config

CONFIGS = {
    'basic': '_base_/models/zsseg_clip-vit-b16_r50.py',
    'deeplab': '_base_/models/zsseg_clip-vit-b16_r101c.py',
}


def build_config(case: Mapping) -> Config:
    """Our shipped config with the sizes of a case."""
    sizes = case['config']
    clip, backbone = sizes['clip'], sizes['backbone']
    pixel, decoder = sizes['pixel_decoder'], sizes['transformer']
    embedding, branch = sizes['embedding_head'], sizes['clip_branch']
    widths = tuple(backbone['res2_channels'] * 2**stage for stage in range(4))
    flags = sizes['ensemble']['seen_flags']
    texts = dict(class_texts=[text.strip() for text in case['class_texts']])
    unseen = {}
    if flags is not None:
        unseen['unseen'] = [i for i, seen in enumerate(flags) if not seen]
    model = dict(
        data_preprocessor=dict(
            mean=sizes['pixel_mean'], std=sizes['pixel_std']
        ),
        clip=dict(_delete_=True, arch=clip_arch(clip), finetune='none'),
        vocabulary=dict(_delete_=True, **texts, **unseen),
        train_vocabulary=dict(_delete_=True, **texts),
        size_divisor=sizes['size_divisor'],
        backbone=dict(
            depth=backbone['depth'],
            stem_channels=backbone['stem_channels'],
            base_channels=backbone['bottleneck_channels'],
            multi_grid=tuple(backbone['res5_multi_grid']),
        ),
        neck=dict(
            in_channels=widths,
            embed_dims=pixel['conv_dim'],
            mask_channels=pixel['mask_dim'],
            norm_cfg=dict(type='GN', num_groups=pixel['groups']),
        ),
        decode_head=dict(
            text_channels=clip['embed_dim'],
            temperature=sizes['temperature'],
            ensemble_weight=(
                sizes['ensemble']['weight']
                if sizes['ensemble']['enabled']
                else None
            ),
            proposals=dict(
                mask_channels=pixel['mask_dim'],
                embedding_channels=embedding['embedding_dim'],
                hidden_channels=embedding['hidden_dim'],
                decoder=dict(
                    in_channels=widths[-1],
                    num_queries=decoder['num_queries'],
                    embed_dims=decoder['hidden_dim'],
                    num_heads=decoder['heads'],
                    num_layers=decoder['decoder_layers'],
                    feedforward_dims=decoder['ffn_dim'],
                    dropout=sizes['loss']['dropout'],
                ),
            ),
            loss_decode=dict(
                class_weight=sizes['loss']['class_weight'],
                mask_weight=sizes['loss']['mask_weight'],
                dice_weight=sizes['loss']['dice_weight'],
                no_object_weight=sizes['loss']['no_object_weight'],
            ),
        ),
        region_encoder=dict(
            mask_threshold=branch['mask_threshold'],
            region_size=branch['region_size'],
            fill=branch['mask_fill'],
            expand_ratio=branch['box_expand_ratio'],
            matting=branch['matting'],
        ),
        # The reference labels every pixel, of one class as of several.
        test_cfg=dict(keep_scores=True, threshold=float('-inf'), others=[]),
    )
    model.update(_text_side(case, sizes['prompt']))
    if sizes['region_prompt'] is not None:
        own = _text_side(case, sizes['region_prompt'])
        model['region_prompts'] = own.get('prompts', {})
        tower = own.get('text_encoder', dict(type='CLIPTextTransformer'))
        model['region_text_encoder'] = tower
    return shipped_config(CONFIGS[backbone['stem']], model)


def _text_side(case: Mapping, prompt: Mapping | str) -> dict:
    """Text tower and prompts of the model, for one text side of a case."""
    shared = dict(synonyms='whole', average_templates=True)
    if isinstance(prompt, str):
        prompt = dict(learner=prompt)
    if prompt['learner'] == 'learnable':
        return dict(
            text_encoder=dict(
                type='CLIPPromptedTextTransformer',
                finetune='prompt',
                prefix_length=prompt['prefix_tokens'],
                suffix_length=prompt['suffix_tokens'],
            ),
            prompts=dict(templates=['{}'], **shared),
        )
    templates = prompt.get('templates') or case.get('templates')
    main = case['config']['prompt']
    if templates == main.get('templates') and prompt is not main:
        templates = None  # those of the other text side
    templates = templates or prompt['learner']
    return dict(prompts=dict(templates=templates, **shared))


def run(case: Mapping, model: torch.nn.Module) -> dict[str, np.ndarray]:
    """All outputs of a case, thinned out as the case says."""
    parts = dict(
        inference=zsseg_inference.run,
        crops=zsseg_crops.run,
        training=zsseg_training.run,
        prompt_stage=lambda case, _: zsseg_prompts.run(
            case, build_config(case).model.clip.arch
        ),
    )
    outputs = {}
    for part in case['parts']:
        outputs.update(parts[part](case, model))
    thinned = {}
    for name, value in outputs.items():
        if name in case['outputs']:
            what = case['outputs'][name]['what']
            value = value.detach()[_strides(what)]
            thinned[name] = value.float().numpy()
    return thinned


def _strides(what: str) -> tuple[slice, ...]:
    """The slices that the description of an output names at its end."""
    found = re.search(r'\[(:[:\d, ]*)\](?:;.*)?$', what)
    if not found:
        return ()
    steps = [part.strip().strip(':') for part in found[1].split(',')]
    return tuple(slice(None, None, int(step or 1)) for step in steps)
