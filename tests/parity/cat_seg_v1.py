# SPDX-License-Identifier: Apache-2.0
"""Runs the parity cases of CAT-Seg's first version.

A case holds the model config of MMSegmentation's project; it is brought
into ours by the compatibility module.
"""

from collections.abc import Mapping

import numpy as np
import torch
from common import (
    RUNTIME,
    Taps,
    clip_arch,
    image_batch,
    labelled_batch,
)
from mmengine.config import Config

from ovseg_mm.checkpoints import LAYOUTS
from ovseg_mm.compat.cat_seg import translate
from ovseg_mm.models.decode_heads.cat_seg.cat_seg_cost_head import (
    cost_volume,
)
from ovseg_mm.utils.paths import resource


def build_config(case: Mapping) -> Config:
    """The case's model under our runtime, on random weights of its sizes."""
    clip, model = case['config']['clip'], case['config']['model']
    texts = case['class_texts']
    backbone = dict(
        model['backbone'],
        train_class_json=case.get('train_class_texts') or texts,
        test_class_json=texts,
    )
    model = translate(dict(model, backbone=backbone))
    quick_gelu = model['clip']['pretrained'] == 'openai'
    model['clip'] = dict(arch=clip_arch(clip, quick_gelu))
    model['backbone']['clip'].pop('pos_image_size', None)
    cfg = Config.fromfile(resource('configs', RUNTIME))
    cfg.model = model
    return cfg


def run(case: Mapping, model: torch.nn.Module) -> dict[str, np.ndarray]:
    """All outputs of a case, whole, by the names that the case uses."""
    runner = _train if case['run']['kind'] == 'train' else _predict
    return {
        name: np.asarray(
            value.detach() if torch.is_tensor(value) else value, np.float32
        )
        for name, value in runner(case, model).items()
    }


def not_compared(case: Mapping) -> set[str]:
    """Outputs that the reference has wrong and stores corrected as well.

    Its order of guidance gives one image's guidance to another.
    """
    images = case['inputs'].get('images', [None])
    names = set(case['outputs'])
    return {
        name
        for name in names
        if name.startswith('published/')
        and len(images) > 1
        and name.replace('published/', 'image/', 1) in names
    }


def _tap(model: torch.nn.Module) -> Taps:
    head = model.decode_head
    taps = Taps().outputs(
        features=model.backbone,
        cost_embedding=head.cost_embedding,
        appearance_guidance=head.appearance_projection,
        decoder1=head.upsample_blocks[0],
        decoder2=head.upsample_blocks[1],
        logits=head,
    )
    if model.backbone.guidance is not None:
        taps.outputs(maps=model.backbone.guidance)
    if head.text_projection is not None:
        taps.outputs(text_guidance=head.text_projection)
    for index, layer in enumerate(head.layers):
        taps.outputs(
            **{f'spatial_{index}': layer.spatial, f'class_{index}': layer}
        )
    return taps


def _intermediate(taps: Taps) -> dict:
    """What was seen, in the reference's shapes; class chunks are joined."""
    embedding = taps['cost_embedding'][0]
    outputs = dict(
        clip_image=taps['features'][0].image,
        cost_embedding=embedding[None].transpose(1, 2),
        appearance_guidance=taps['appearance_guidance'][0].relu(),
        logits=taps['logits'][0],
    )
    if 'text_guidance' in taps:
        outputs['text_guidance'] = taps['text_guidance'][0].relu()
    for index, part in enumerate(taps['maps'][0]):
        outputs[f'appearance_{index}'] = part
    for name in ('decoder1', 'decoder2'):
        outputs[name] = torch.cat(taps[name], dim=1).flatten(0, 1)
    for name, (maps, *_) in taps.calls.items():
        if name.startswith(('spatial_', 'class_')):
            outputs[name] = maps.permute(0, 4, 1, 2, 3)
    return outputs


@torch.no_grad()
def _predict(case: Mapping, model: torch.nn.Module) -> dict:
    entry = case['inputs']['image']
    size = entry['height'], entry['width']
    batch = image_batch(entry, size=case['inputs'].get('ori_shape', size))
    (result,) = model.test_step(batch)
    labels = result.pred_sem_seg.data[0]
    scores = result.seg_logits.data
    if len(scores) == 1:  # the reference: 1 where the class is, else 0
        labels, scores = (labels == 0).float(), scores.sigmoid()
    inputs = model.data_preprocessor(batch)['inputs'].float()
    views, _ = model.cut_views(inputs[0])
    text = model.text_embeddings(model.vocabulary)
    with _tap(model) as taps:
        model.encode_decode(views[:1])
    outputs = _intermediate(taps)
    outputs.update(
        scores=scores,
        labels=labels,
        windows=len(views),
        text_test=text,
        cost=cost_volume(outputs['clip_image'], text).transpose(1, 2),
        slide_logits=model.inference(inputs),
    )
    return outputs


def _train(case: Mapping, model: torch.nn.Module) -> dict:
    batch = labelled_batch(case['inputs']['images'], case['inputs']['labels'])
    model.train()
    batch = model.data_preprocessor(batch, training=True)
    with Taps().outputs(logits=model.decode_head) as taps:
        losses = model(**batch, mode='loss')
    model.parse_losses(losses)[0].backward()
    computed = dict(
        loss_ce=losses['decode.loss_ce'],
        acc_seg=losses['decode.acc_seg'].squeeze(),
        logits=taps['logits'][0],
    )
    buffers = dict(model.named_buffers())
    table = _Parameters(case, model)
    outputs = dict(frozen=table.count(False), trainable=table.count(True))
    for name, spec in case['outputs'].items():
        key = name.split('/', 1)[-1]
        if key.startswith('grad:'):
            outputs[name] = table.grad_norm(key.removeprefix('grad:'))
        elif key == 'bn_running_mean':
            (own,) = table.own_names(spec['what'].split()[0])
            outputs[name] = buffers[own]
        elif key in computed:
            outputs[name] = computed[key]
    return outputs


class _Parameters:
    """Our parameters by the reference's names."""

    def __init__(self, case: Mapping, model: torch.nn.Module) -> None:
        self.shapes = {
            entry['name']: entry['shape'] for entry in case['parameters']
        }
        self.ours = dict(model.named_parameters())

    def own_names(self, name: str) -> list[str]:
        """Names that a tensor of the reference has here."""
        tensors = {name: torch.empty(self.shapes[name])}
        return list(LAYOUTS['cat_seg_v1'].convert(tensors).state_dict)

    def grad_norm(self, name: str) -> torch.Tensor:
        """L2 norm of the gradient; parts without one count as zero."""
        grads = [self.ours[own].grad for own in self.own_names(name)]
        norms = [grad.norm() for grad in grads if grad is not None]
        return torch.stack(norms).norm()

    def count(self, trainable: bool) -> int:
        """Number of trainable or frozen values in the reference's terms."""
        total = 0
        for name, shape in self.shapes.items():
            owned = [self.ours.get(own) for own in self.own_names(name)]
            if any(parameter is None for parameter in owned):
                continue  # a buffer
            # What we do not have is never trained (CLIP's temperature).
            state = bool(owned) and owned[0].requires_grad
            if state == trainable:
                total += int(np.prod(shape, dtype=np.int64))
        return total
