# SPDX-License-Identifier: Apache-2.0
"""Runs SCAN's parity cases through our config."""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmseg.structures import SegDataSample
from seeded import seeded_image

from ovseg_mm.inference import resize
from ovseg_mm.models.text_encoder import tokenize_prompts
from ovseg_mm.models.utils import patches_with_mask, region_masks
from ovseg_mm.paths import resource

CONFIG = '_base_/models/scan_clip-vit-l14_swin-b.py'
RUNTIME = '_base_/default_runtime.py'


def build_config(case: Mapping) -> Config:
    """Our shipped config with the sizes of a case."""
    sizes = case['config']
    swin, pixel = sizes['swin'], sizes['pixel_decoder']
    decoder, clip = sizes['transformer_decoder'], sizes['clip']
    sim, adapter = sizes['sim'], sizes['adapter']
    widths = tuple(swin['embed_dim'] * 2**stage for stage in range(4))
    sim_blocks = tuple(layer - 1 for layer in sim['clip_layers'])
    shift_blocks = tuple(layer - 1 for layer in adapter['replace_layers'])
    mean, std = (
        [255 * value for value in sizes[f'clip_pixel_{key}']]
        for key in ('mean', 'std')
    )
    model = dict(
        data_preprocessor=dict(
            mean=sizes['backbone_pixel_mean'], std=sizes['backbone_pixel_std']
        ),
        clip=dict(_delete_=True, arch=clip_arch(clip), finetune='none'),
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
        ),
        region_encoder=dict(
            mean=mean,
            std=std,
            mask_threshold=adapter['mask_threshold'],
            region_size=clip['image_size'],
            shift=dict(blocks=shift_blocks, ratio=adapter['replace_ratio']),
        ),
        test_cfg=dict(keep_scores=True),
    )
    cfg = Config.fromfile(resource('configs', CONFIG))
    runtime = Config.fromfile(resource('configs', RUNTIME))
    cfg.merge_from_dict(runtime.to_dict())
    cfg.merge_from_dict(dict(model=model))
    return cfg


def clip_arch(clip: Mapping) -> dict:
    """The CLIP of a case as open_clip describes it."""
    return dict(
        embed_dim=clip['embed_dim'],
        vision_cfg=dict(
            image_size=clip['image_size'],
            layers=clip['vision_layers'],
            width=clip['vision_width'],
            head_width=clip['vision_width'] // clip['vision_heads'],
            patch_size=clip['patch_size'],
        ),
        text_cfg=dict(
            context_length=clip['context_length'],
            vocab_size=clip['vocab_size'],
            width=clip['text_width'],
            heads=clip['text_heads'],
            layers=clip['text_layers'],
        ),
        quick_gelu=clip['quick_gelu'],
    )


def _vocabulary(case: Mapping) -> dict:
    return dict(_delete_=True, class_texts=list(case['class_texts']))


def run(case: Mapping, model: torch.nn.Module) -> dict[str, np.ndarray]:
    """All outputs of a case, thinned out as the case says."""
    outputs = _inference(case, model)
    return {
        name: value.detach().float().numpy()
        for name, value in outputs.items()
        if name in case['outputs']
    }


@torch.no_grad()
def _inference(case: Mapping, model: torch.nn.Module) -> dict:
    steps = case['strides']
    chosen = torch.from_numpy(case['golden']['replaced_patches'])
    # The smallest numbers are chosen.
    model.region_encoder.shift.draw = lambda shape: (1.0 - chosen).view(shape)
    taps, handles = _tap(model)
    entry = case['inputs']['image']
    (sample,) = model.test_step(_batch(entry, case['config']['output_size']))
    for handle in handles:
        handle.remove()
    outputs = dict(
        **_pixels(steps, taps),
        **_decoder(case, model, taps),
        **_context(case, model, taps),
        **_texts(case, model),
        in_vocabulary_logits=taps['predictions'][0].class_logits[-1, 0],
        **_regions(case, model, taps),
        scores=_spatial(sample.seg_logits.data, steps.get('scores', 1)),
        labels=sample.pred_sem_seg.data[0],
    )
    return outputs


def _tap(model: torch.nn.Module) -> tuple[dict, list]:
    """Keep what modules give, a list a name, and what they are given."""
    head, taps = model.decode_head, {}
    decoder, sim = head.proposals.decoder, head.integration
    handles = []
    for name, module in dict(
        backbone=model.backbone,
        pixel=model.neck,
        states=decoder.norm,
        filtered=sim.filter,
        memory=sim.memory_proj,
        enriched=sim,
        context=model.context_encoder,
        predictions=head,
        regions=model.region_encoder,
    ).items():
        handles.append(
            module.register_forward_hook(
                lambda _, args, out, name=name: taps.setdefault(
                    name, []
                ).append(out)
            )
        )
    for name, module in dict(
        crops=model.region_encoder, encoder=sim.encoder
    ).items():
        handles.append(
            module.register_forward_pre_hook(
                lambda _, args, name=name: taps.setdefault(name, args)
            )
        )
    for layer in decoder.layers:
        handles.append(
            layer.register_forward_pre_hook(
                lambda _, args: taps.setdefault('forbidden', []).append(
                    args[4]
                )
            )
        )
    return taps, handles


def _pixels(steps: Mapping, taps: Mapping) -> dict:
    (pixel,), (maps,) = taps['pixel'], taps['backbone']
    outputs = dict(
        mask_features=_spatial(
            pixel.mask_features[0], steps.get('mask_features', 1)
        )
    )
    for stage, x in enumerate(maps, 2):
        name = f'res{stage}'
        outputs[f'backbone_{name}'] = _spatial(x[0], steps.get(name, 1))
    for level, x in enumerate(pixel.maps):
        step = steps.get('multi_scale_channels', 1)
        outputs[f'multi_scale_{level}'] = x[0, ::step]
    return outputs


def _decoder(case: Mapping, model: torch.nn.Module, taps: Mapping) -> dict:
    steps, proposals = case['strides'], model.decode_head.proposals
    (pixel,), states = taps['pixel'], torch.stack(taps['states'])
    kept = steps.get('decoder_outputs', range(len(states)))
    chosen = states[list(kept)]
    masks = proposals.mask_logits(chosen, pixel.mask_features)[:, 0]
    embeddings = proposals.class_embed(chosen)[:, 0]
    empty = []
    for index, state in enumerate(states[:-1]):
        size = pixel.maps[index % len(pixel.maps)].shape[2:]
        logits = proposals.mask_logits(
            state, resize(pixel.mask_features, size)
        )
        empty.append((logits < 0).flatten(2).all(dim=2).sum())
    outputs = dict(
        decoder_class_embeddings=embeddings[
            ..., :: steps.get('embed_channels', 1)
        ],
        decoder_masks=_spatial(masks, steps.get('masks', 1)),
        all_masked_rows=torch.stack(empty),
    )
    for index, forbidden in enumerate(taps['forbidden']):
        outputs[f'attention_mask_{index}'] = forbidden[0]
    return outputs


def _context(case: Mapping, model: torch.nn.Module, taps: Mapping) -> dict:
    steps, (context,) = case['strides'], taps['context']
    blocks = model.region_encoder.shift.blocks
    weight = model.decode_head.integration.context_weight
    image = F.normalize(context.embedding, dim=1)
    fused = taps['encoder'][0] - weight * image[:, None]
    filtered = torch.cat(taps['filtered']).transpose(1, 2)
    side = round(filtered.shape[2] ** 0.5)
    filtered = filtered[:, :: steps.get('lfm_channels', 1)]
    return dict(
        clip_final_cls=context.embedding,
        clip_layer_cls=torch.cat([context.tokens[b][:, 0] for b in blocks]),
        frequency_module=filtered.unflatten(2, (side, side)),
        sim_memory=taps['memory'][0][0, :: steps.get('memory_tokens', 1)],
        sim_fused=fused[0, :, :: steps.get('fused_channels', 1)],
        sim_output=taps['enriched'][0][-1, 0],
    )


def _texts(case: Mapping, model: torch.nn.Module) -> dict:
    tower = model.text_encoder
    tokens = []
    for template in case['templates']:
        prompts = [template.format(text) for text in case['class_texts']]
        ids = tokenize_prompts(prompts, tower.context_length)
        tokens.append(F.pad(ids, (0, tower.context_length - ids.shape[1])))
    return dict(tokens=torch.stack(tokens), text_features=_text_rows(model))


def _text_rows(model: torch.nn.Module) -> torch.Tensor:
    no_object = F.normalize(model.decode_head.no_object_embedding, dim=1)
    text = model.text_embeddings(model.vocabulary)[:, 0]
    return torch.cat([text, no_object])


def _regions(case: Mapping, model: torch.nn.Module, taps: Mapping) -> dict:
    encoder, (regions,) = model.region_encoder, taps['regions']
    img, masks, class_tokens = taps['crops']
    crops, valid, boxes = encoder.crop(img, masks)
    inside = region_masks(
        masks[valid] > encoder.mask_threshold, boxes, encoder.region_size
    )
    patches = patches_with_mask(inside, encoder.clip.patch_size)
    replaced = encoder.shift(patches, class_tokens)
    logits = model.decode_head.region_logits(
        regions.embeddings, _text_rows(model)[:, None]
    )
    step = case['strides'].get('region_step', 1)
    return dict(
        valid_masks=valid,
        region_boxes=boxes,
        regions=crops[::step, :, 16::32, 16::32],
        region_foreground_patches=patches,
        replaced_patches=torch.stack([w for w, _ in replaced.values()]),
        region_features=regions.embeddings,
        region_logits=logits,
    )


def _spatial(x: torch.Tensor, step: int) -> torch.Tensor:
    return x[..., ::step, ::step]


def _batch(entry: Mapping, size: tuple[int, int]) -> dict:
    """One image as MMSegmentation reads it: BGR, (3, H, W)."""
    shape = entry['height'], entry['width']
    img = seeded_image(entry['name'], *shape, entry['seed'])
    img = torch.from_numpy(img[..., ::-1].copy()).permute(2, 0, 1)
    sample = SegDataSample(
        metainfo=dict(ori_shape=tuple(size), img_shape=shape)
    )
    return dict(inputs=[img], data_samples=[sample])
