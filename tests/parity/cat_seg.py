# SPDX-License-Identifier: Apache-2.0
"""Runs CAT-Seg's parity cases (CVPR 2024 version) through our config.

What the reference does to images that our models do otherwise is done here:
without windows it pads them to multiples of 32 pixels and leaves that in.
"""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from common import (
    Taps,
    clip_arch,
    image_batch,
    labelled_batch,
    shipped_config,
)
from mmengine.config import Config
from mmseg.structures import SegDataSample

from ovseg_mm.checkpoints import LAYOUTS
from ovseg_mm.models.decode_heads.cat_seg.cat_seg_cost_head import (
    cost_volume,
    select_classes,
)

CANVAS = 640, 640
# Four times the 24x24 tokens that every case has.
MAP = 96, 96
CONFIG = 'cat_seg/catseg_clip-vit-b16_4xb1-80k_coco-stuff164k-384x384.py'


def build_config(case: Mapping) -> Config:
    """Our shipped config with the sizes of a case."""
    clip, head = case['config']['clip'], case['config']['aggregator']
    pooling = tuple(head['pooling_sizes'])
    model = dict(
        clip=dict(_delete_=True, arch=clip_arch(clip), finetune='attention'),
        prompts=dict(templates=case['templates'], synonyms='first'),
        vocabulary=case['class_texts'],
        train_vocabulary=case['class_texts'],
        backbone=dict(
            out_indices=tuple(case['config']['layer_indexes']),
            input_size=tuple(case['config']['clip_resolution']),
        ),
        neck=dict(in_channels=clip['vision_width']),
        decode_head=dict(
            text_channels=clip['embed_dim'],
            appearance_channels=clip['embed_dim'],
            prompt_channels=len(case['templates']),
            embed_dims=head['hidden_dim'],
            num_layers=head['num_layers'],
            # There, 0 means neither padding nor a cut.
            pad_len=case['config']['pad_len'] or None,
            spatial=dict(
                guidance_dims=head['appearance_guidance_proj_dim'],
                num_heads=head['num_heads'],
            ),
            classwise=dict(
                guidance_dims=head['text_guidance_proj_dim'],
                num_heads=head['num_heads'],
                attention=head.get('attention_type', 'linear'),
                pooling=pooling,
                test_pooling=pooling,
            ),
            decoder=dict(
                guidance_dims=tuple(head['decoder_guidance_proj_dims']),
                dims=tuple(head['decoder_dims']),
            ),
            # The reference has no threshold, not for a single class either.
            threshold=float('-inf'),
        ),
        test_cfg=dict(keep_scores=True),
    )
    cfg = shipped_config(CONFIG, model)
    if not case['config']['sliding_window']:
        cfg.model.test_cfg = dict(mode='whole', keep_scores=True)
    return cfg


def run(case: Mapping, model: torch.nn.Module) -> dict[str, np.ndarray]:
    """All outputs of a case, whole, by the names that the case uses."""
    with _tap(model) as taps:
        if 'labels' in case['inputs'][0]:
            outputs = _train(case, model)
        else:
            outputs = _predict(case, model)
    outputs.update(_intermediate(model, taps))
    return {
        name: value.detach().float().numpy() for name, value in outputs.items()
    }


def _tap(model: torch.nn.Module) -> Taps:
    head = model.decode_head
    taps = Taps().outputs(
        features=model.backbone,
        pyramid=model.neck,
        cost_embed=head.cost_embedding,
        window_logits=head,
    )
    for index, layer in enumerate(head.layers):
        taps.outputs(
            **{f'layer{index}_swin': layer.spatial, f'layer{index}': layer}
        )
    return taps


def _intermediate(model: torch.nn.Module, taps: Taps) -> dict:
    features, head = taps.last('features'), model.decode_head
    pyramid, embedded = taps.last('pyramid'), taps.last('cost_embed')
    text = model.text_embeddings(model.vocabulary).detach()
    cost = cost_volume(features.dense, text)
    patches = features.dense.flatten(2).transpose(1, 2)
    outputs = dict(
        image_tokens=torch.cat([features.cls[:, None], patches], dim=1),
        guidance_48=pyramid.decoder[0],
        guidance_96=pyramid.decoder[1],
        text_features=text[:, 0],
        cost_volume=cost[:, :, 0],
        cost_embed=embedded.unflatten(0, (len(cost), -1)),
        window_logits=taps.last('window_logits'),
    )
    for name in taps.calls:
        if name.startswith('layer'):  # (B, T, h, w, E)
            outputs[name] = taps.last(name).permute(0, 4, 1, 2, 3)
    if len(text) > (head.pad_len or len(text)):
        kept = select_classes(cost, head.pad_len)
        outputs['selected_classes'] = kept
        outputs['kept_logits'] = torch.stack(
            [view[i] for view, i in zip(outputs['window_logits'], kept)]
        )
    return outputs


def _predict(case: Mapping, model: torch.nn.Module) -> dict:
    (entry,) = case['inputs']
    size = entry['height'], entry['width']
    sliding = case['config']['sliding_window']
    default = CANVAS if sliding else size
    out = tuple(
        entry.get(key, side)
        for key, side in zip(('out_height', 'out_width'), default)
    )
    batch = image_batch(entry, case['seed'], out)
    with torch.no_grad():
        if sliding:
            (result,) = model.test_step(batch)
        else:
            inputs = _padded(model.data_preprocessor(batch)['inputs'])
            if min(size) < min(MAP):
                return _predict_small(model, inputs, size, out)
            (result,) = model.predict(inputs, batch['data_samples'])
    return dict(
        scores=result.seg_logits.data, labels=result.pred_sem_seg.data[0]
    )


def _predict_small(
    model: torch.nn.Module,
    inputs: torch.Tensor,
    size: tuple[int, int],
    out: tuple[int, int],
) -> dict:
    """Of an image that is smaller than the map of its scores.

    The reference means to cut padding off, but cuts the map.
    """
    sample = SegDataSample(metainfo=dict(ori_shape=MAP))
    (result,) = model.predict(inputs, [sample])
    scores = result.seg_logits.data[:, : size[0], : size[1]]
    scores = F.interpolate(scores[None], out, mode='bilinear')[0]
    return dict(scores=scores, labels=scores.argmax(dim=0))


def _padded(inputs: torch.Tensor) -> torch.Tensor:
    """Normalised images (B, 3, H, W) with zeros to multiples of 32."""
    height, width = inputs.shape[2:]
    return F.pad(inputs, (0, -width % 32, 0, -height % 32))


def _train(case: Mapping, model: torch.nn.Module) -> dict:
    entries = case['inputs']
    batch = labelled_batch(
        entries, [entry['labels'] for entry in entries], case['seed']
    )
    model.train()
    batch = model.data_preprocessor(batch, training=True)
    batch['inputs'] = _padded(batch['inputs'])
    losses = model(**batch, mode='loss')
    loss, _ = model.parse_losses(losses)
    loss.backward()
    grads = _grads(case, model)
    norms = torch.stack([grad.norm() for grad in grads.values()])
    outputs = dict(loss=loss[None], total_grad_norm=norms.norm()[None])
    for name in case['outputs']:
        kind, _, parameter = name.partition(':')
        if kind == 'grad':
            outputs[name] = grads[parameter]
        elif kind == 'grad_norm':
            outputs[name] = grads[parameter].norm()[None]
    return outputs


def _grads(case: Mapping, model: torch.nn.Module) -> dict:
    """Gradients by the reference's names and shapes."""
    ours = dict(model.named_parameters())
    grads = {}
    for entry in case['parameters']:
        name, shape = entry['name'], entry['shape']
        renamed = (
            LAYOUTS['cat_seg'].convert({name: torch.empty(shape)}).state_dict
        )
        for own_name in renamed:
            if ours[own_name].grad is not None:
                grads[name] = ours[own_name].grad.view(shape)
    return grads


def optimizer_table(case: Mapping, model: torch.nn.Module) -> dict:
    """Learning rate and weight decay of each trained parameter.

    Returns:
        dict[str, tuple[float, float]]: By the reference's names.
    """
    from mmengine.optim import build_optim_wrapper

    wrapper = build_optim_wrapper(model, build_config(case).optim_wrapper)
    rates = {
        id(parameter): (group['lr'], group['weight_decay'])
        for group in wrapper.optimizer.param_groups
        for parameter in group['params']
    }
    ours = dict(model.named_parameters())
    table = {}
    for entry in case['parameters']:
        tensors = {entry['name']: torch.empty(entry['shape'])}
        for own_name in LAYOUTS['cat_seg'].convert(tensors).state_dict:
            if id(ours[own_name]) in rates:
                table[entry['name']] = rates.pop(id(ours[own_name]))
    if rates:
        raise ValueError('parameters are trained that the reference has not')
    return table
