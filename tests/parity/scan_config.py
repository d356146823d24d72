# SPDX-License-Identifier: Apache-2.0
"""Our config's options for the sizes of SCAN's cases."""

from collections.abc import Mapping, Sequence

from common import clip_arch


def clip_model(case: Mapping) -> dict:
    """Model options of the finetuning of CLIP."""
    sizes = case['config']
    blocks = _shift_blocks(sizes['clip'], sizes['replace_layers'])
    return dict(
        clip=dict(_delete_=True, arch=clip_arch(sizes['clip'])),
        vocabulary=_vocabulary(case),
        region_encoder=dict(
            shift=dict(blocks=blocks, ratio=sizes['replace_ratio'])
        ),
        context_encoder=dict(clip=dict(out_indices=blocks)),
    )


def segmentor_model(case: Mapping) -> dict:
    """Model options of the segmentor."""
    sizes = case['config']
    swin, pixel = sizes['swin'], sizes['pixel_decoder']
    decoder, clip = sizes['transformer_decoder'], sizes['clip']
    sim, adapter = sizes['sim'], sizes['adapter']
    widths = tuple(swin['embed_dim'] * 2**stage for stage in range(4))
    sim_blocks = tuple(layer - 1 for layer in sim['clip_layers'])
    shift_blocks = _shift_blocks(clip, adapter['replace_layers'])
    mean, std = (
        [255 * value for value in sizes[f'clip_pixel_{key}']]
        for key in ('mean', 'std')
    )
    loss = sizes.get('loss', {})
    if loss:
        loss = dict(
            class_weight=loss['class_weight'],
            mask_weight=loss['mask_weight'],
            dice_weight=loss['dice_weight'],
            no_object_weight=loss['no_object_weight'],
            num_points=loss['num_points'],
            oversample_ratio=loss['oversample_ratio'],
            importance_ratio=loss['importance_sample_ratio'],
        )
    return dict(
        data_preprocessor=dict(
            mean=sizes['backbone_pixel_mean'], std=sizes['backbone_pixel_std']
        ),
        clip=dict(_delete_=True, arch=clip_arch(clip), finetune='none'),
        prompts=dict(templates=case['templates']),
        vocabulary=_vocabulary(case),
        train_vocabulary=_vocabulary(case),
        size_divisor=sizes['size_divisibility'],
        backbone=dict(
            embed_dims=swin['embed_dim'],
            depths=tuple(swin['depths']),
            num_heads=tuple(swin['heads']),
            window_size=swin['window'],
            drop_path_rate=0.0,
        ),
        neck=dict(
            in_channels=widths,
            embed_dims=pixel['channels'],
            mask_channels=pixel['mask_channels'],
            num_heads=pixel['heads'],
            num_points=pixel['points'],
            num_layers=pixel['encoder_layers'],
            feedforward_dims=pixel['encoder_ffn'],
        ),
        context_encoder=dict(
            mean=mean,
            std=std,
            clip=dict(out_indices=tuple(sorted({*sim_blocks, *shift_blocks}))),
        ),
        decode_head=dict(
            text_channels=clip['embed_dim'],
            temperature=sizes['similarity_scale'],
            ensemble_weight=adapter['ensemble_weight'],
            keep_no_object=adapter['log_ensemble'],
            proposals=dict(
                mask_channels=pixel['mask_channels'],
                embedding_channels=clip['embed_dim'],
                hidden_channels=decoder['class_embed_hidden'],
                decoder=dict(
                    num_queries=decoder['queries'],
                    embed_dims=decoder['channels'],
                    num_heads=decoder['heads'],
                    num_layers=decoder['layers'],
                    feedforward_dims=decoder['ffn'],
                ),
            ),
            integration=dict(
                in_channels=clip['vision_width'],
                embed_dims=clip['embed_dim'],
                blocks=sim_blocks,
                sigmas=tuple(sim['sigmas']),
                num_heads=sim['heads'],
                num_fusion_layers=sim['fusion_layers'],
                num_encoder_layers=sim['encoder_layers'],
                feedforward_dims=sim['encoder_ffn'],
                dropout=0.0,
            ),
            loss_decode=loss,
        ),
        region_encoder=dict(
            mean=mean,
            std=std,
            mask_threshold=adapter['mask_threshold'],
            region_size=clip['image_size'],
            shift=dict(blocks=shift_blocks, ratio=adapter['replace_ratio']),
        ),
        # The reference labels every pixel, of one class as of several.
        test_cfg=dict(keep_scores=True, threshold=float('-inf'), others=[]),
    )


def _shift_blocks(clip: Mapping, layers: Sequence[int]) -> tuple[int, ...]:
    """Blocks from 0 of layers from 1, those that the tower has."""
    return tuple(n - 1 for n in layers if n <= clip['vision_layers'])


def _vocabulary(case: Mapping) -> dict:
    return dict(_delete_=True, class_texts=list(case['class_texts']))
