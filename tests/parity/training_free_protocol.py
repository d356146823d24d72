# SPDX-License-Identifier: Apache-2.0
"""The protocol that the methods without training share."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from common import Taps, as_read, output_size
from mmcv.transforms import BaseTransform
from mmengine.config import Config
from mmseg.apis import init_model
from mmseg.registry import TRANSFORMS
from mmseg.structures import SegDataSample
from seeded import seeded_image
from torch import Tensor
from training_free_config import build_config

from ovseg_mm.models.backbones.last_blocks import calibrated
from ovseg_mm.models.backbones.last_blocks.outliers import (
    DETECTORS,
    repair,
)

WIDTH_OF_OUTLIERS = 40


def run_protocol(case: Mapping, entry: Mapping, weights: Path) -> dict:
    """Outputs of a run, from the resized image to the labels."""
    model = init_model(build_config(case, entry, weights), device='cpu')
    outputs = {}
    (image,) = (item for item in case['inputs'] if item['name'] == 'image')
    size = output_size(image)
    img = read_image(model.cfg, image, case['seed'], entry.get('resize'))
    if 'resize' in entry:
        outputs['resized'] = img.numpy()
    batch = dict(
        inputs=[img],
        data_samples=[SegDataSample(metainfo=dict(ori_shape=size))],
    )
    outputs['input'] = model.data_preprocessor(batch)['inputs'][0]
    vocabulary = model.scored_vocabulary
    outputs['text_features'] = model.text_embeddings(vocabulary)[:, 0]
    with _tap(model) as taps:
        result = predicted(model, batch, size)
    outputs['window_similarity'] = torch.cat(taps['head'])
    dense = [features.dense for features in taps['tower']]
    features = torch.cat(dense).flatten(2).transpose(1, 2)
    outputs['dense_features'] = features / features.norm(dim=2, keepdim=True)
    grid = outputs['window_similarity'].shape[2:]
    outputs.update(_inside(entry['method'], model.backbone, taps, grid))
    probabilities = result.seg_logits.data
    if entry['method'] == 'naclip':
        # Stored so by the authors, after labels are made.
        probabilities = probabilities / probabilities.sum(dim=0)
    outputs['probabilities'] = probabilities
    outputs['labels'] = result.pred_sem_seg.data[0]
    outputs.update(_cosines(model, batch, size))
    return outputs


def _tap(model: torch.nn.Module) -> Taps:
    backbone = model.backbone
    blocks = backbone.transformer.resblocks
    taps = Taps().inputs(
        first=blocks[0],
        last_input=blocks[-1].ln_1,
        before_ln_post=backbone.ln_post,
    )
    taps.outputs(
        tower=backbone,
        head=model.decode_head,
        attention_out=blocks[-1].attn.out_proj,
    )
    for index, block in enumerate(blocks[:-1]):
        taps.outputs(**{f'block{index}': block})
    return taps


def predicted(
    model: torch.nn.Module, batch: dict, size: tuple[int, int]
) -> SegDataSample:
    """Result at a size of its own."""
    sample = SegDataSample(metainfo=dict(ori_shape=size))
    with torch.no_grad():
        return model.test_step(
            dict(inputs=batch['inputs'], data_samples=[sample])
        )[0]


def _cosines(
    model: torch.nn.Module, batch: dict, size: tuple[int, int]
) -> dict:
    """Cosines of all texts, each of them a label of its own."""
    texts = [name for (name,) in model.vocabulary.class_texts]
    refine = model.test_cfg['refine']
    model.test_cfg.update(logit_scale=None, prob_thd=0.0, area_thd=None)
    model.set_vocabulary(texts)
    outputs = {}
    test_size = tuple(batch['inputs'][0].shape[1:])
    for name, steps, to in (
        ('scores', refine, size),
        ('scores_before_pamr', None, size),
        ('fused', None, test_size),
    ):
        model.test_cfg['refine'] = steps
        outputs[name] = predicted(model, batch, to).seg_logits.data
    return outputs


def _inside(
    method: str, backbone: torch.nn.Module, taps: Taps, grid: tuple
) -> dict:
    """What the last block is made of, as far as cases store it."""
    block, blocks = backbone.replacement, backbone.transformer.resblocks
    last, tokens = blocks[-1], {-1: _first_arguments(taps['first'])}
    for index in range(len(blocks) - 1):
        tokens[index] = torch.cat(taps[f'block{index}'])
    # Each batch of windows passes the last block once or twice.
    calls = 2 if method in ('scclip', 'sfp') else 1
    inputs, outs = [], []
    for call in range(calls):
        inputs.append(_first_arguments(taps['last_input'][call::calls]))
        outs.append(torch.cat(taps['attention_out'][call::calls]))
    outputs = dict(
        tokens=tokens[len(blocks) - 2],
        attention_out=outs[0],
        before_ln_post=_first_arguments(taps['before_ln_post']),
    )
    with torch.no_grad():
        parts = [last.attn.heads(last.ln_1(x)) for x in inputs]
        # The maps are what becomes of the unit matrix.
        units = [
            torch.eye(q.shape[2]).expand(*q.shape[:2], -1, -1)
            for q, *_ in parts
        ]
        if calls == 1:
            (q, k, _), (unit,) = *parts, units
            outputs['attention'] = block.mix(q, k, unit, grid)
            return outputs
        outputs['before_ln_post'] = outputs['before_ln_post'][:, 1:]
        outputs.update(_calibrated(block, blocks, tokens, grid, outs))
        extra = outputs.pop('extra')
        (q, k, _), (q2, k2, _) = parts
        outputs.update(
            aggregated=inputs[0],
            attention=block.mix(q, k, units[0], extra),
            attention_second=block.mix_again(q2, k2, units[1], extra),
            attention_second_out=outs[1],
        )
    return outputs


def _calibrated(
    block: calibrated.SCCLIPBlock,
    blocks: torch.nn.ModuleList,
    tokens: dict[int, Tensor],
    grid: tuple,
    outs: list[Tensor],
) -> dict:
    depth = len(blocks)
    plan, detector = block.plan(depth), DETECTORS[block.outliers]
    last = tokens[depth - 2]
    found = detector(blocks, tokens)
    similarity = calibrated.cosines(
        repair(tokens[plan.mid][:, 1:], found, grid)
    )
    mid = calibrated.cut(similarity, block.min_similarity)
    early = calibrated.cosines(tokens[plan.early][:, 1:])
    early = calibrated.cut(early, block.min_similarity)
    summed = sum(tokens[i] for i in range(plan.first, plan.end))
    weight = plan.cls_weight
    outputs = dict(
        outliers=_listed(found),
        repaired=repair(last[:, 1:], found, grid),
        similarity_mid_cut=mid,
        similarity_early_cut=early,
        extra=block.extra_map(similarity, mid),
        last_block_aggregated=calibrated.gather(
            early, outs[0] + weight * last[:, :1]
        ),
        second_pass_aggregated=calibrated.gather(
            early, outs[1] + weight * summed[:, :1]
        ),
    )
    if block.outliers == 'lof':
        outputs['outlier_scores'] = detector.factor(last[:, 1:])
    elif block.outliers == 'norm':
        outputs['outlier_scores'] = detector.norms(last[:, 1:])
    else:
        by_cls, by_self = detector.attention(blocks[-2], tokens[depth - 3])
        outputs['cls_to_patch'] = detector.factor * by_cls
        outputs['patch_self'] = by_self
    return outputs


def _listed(found: Tensor) -> Tensor:
    """Indices of marked patches, ascending, the rest -1."""
    listed = torch.full((len(found), WIDTH_OF_OUTLIERS), -1)
    for row, marks in zip(listed, found):
        indices = marks.nonzero()[:, 0]
        row[: len(indices)] = indices
    return listed


def _first_arguments(calls: list) -> Tensor:
    """Of all calls of a module, along the batch."""
    return torch.cat([args[0] for args in calls])


def read_image(
    cfg: Config, spec: Mapping, seed: int, resize: Mapping | None
) -> Tensor:
    """An image of a case, BGR (3, H, W).

    With ``resize`` it is resized by the config's pipeline with that scale.
    """
    img = seeded_image(spec['name'], spec['height'], spec['width'], seed)
    img = as_read(img)
    if resize is None:
        return img
    (step,) = (s for s in cfg.test_pipeline if s['type'] == 'Resize')
    transform: BaseTransform = TRANSFORMS.build(
        {**step, 'scale': tuple(resize['scale'])}
    )
    pixels = np.ascontiguousarray(img.permute(1, 2, 0).numpy())
    pixels = transform(dict(img=pixels))['img']
    return torch.from_numpy(pixels).permute(2, 0, 1)
