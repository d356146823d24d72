# SPDX-License-Identifier: Apache-2.0
"""Runs the parity cases of CAT-Seg's first version.

A case holds the model config of MMSegmentation's project; it is brought
into ours by the compatibility module.
"""

from collections import defaultdict
from collections.abc import Mapping

import numpy as np
import torch
from cat_seg import _as_read
from mmengine.config import Config
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from seeded import seeded_image, seeded_labels

from ovseg_mm.checkpoints.layouts.cat_seg_v1 import LAYOUTS
from ovseg_mm.compat.cat_seg import translate
from ovseg_mm.models.decode_heads.cat_seg.cat_seg_cost_head import (
    cost_volume,
)
from ovseg_mm.utils.paths import resource

RUNTIME = ('configs', '_base_', 'default_runtime.py')


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
    text_width = clip['text_width']
    arch = dict(
        embed_dim=clip['embed_dim'],
        vision_cfg=dict(
            image_size=clip['vision_grid'] * clip['patch_size'],
            layers=clip['vision_layers'],
            width=clip['vision_width'],
            patch_size=clip['patch_size'],
        ),
        text_cfg=dict(
            width=text_width,
            heads=text_width // 64,
            layers=clip['text_layers'],
            context_length=clip['context_length'],
            vocab_size=clip['vocab_size'],
        ),
        quick_gelu=model['clip']['pretrained'] == 'openai',
    )
    model['clip'] = dict(arch=arch)
    model['backbone']['clip'].pop('pos_image_size', None)
    cfg = Config.fromfile(resource(*RUNTIME))
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


class _Taps:
    """Outputs of modules by name; those of class chunks are joined."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.kept = defaultdict(list)
        head = model.decode_head
        self.handles = [
            module.register_forward_hook(self._keeper(name))
            for name, module in [
                ('features', model.backbone),
                ('maps', model.backbone.guidance),
                ('cost_embedding', head.cost_embedding),
                ('appearance_guidance', head.appearance_projection),
                ('text_guidance', head.text_projection),
                ('decoder1', head.upsample_blocks[0]),
                ('decoder2', head.upsample_blocks[1]),
                ('logits', head),
                *(
                    pair
                    for index, layer in enumerate(head.layers)
                    for pair in (
                        (f'spatial_{index}', layer.spatial),
                        (f'class_{index}', layer),
                    )
                ),
            ]
            if module is not None
        ]

    def _keeper(self, name: str):
        def keep(_module, _inputs, output):
            self.kept[name].append(output)

        return keep

    def outputs(self) -> dict:
        """What was seen, in the reference's shapes; the taps are removed."""
        for handle in self.handles:
            handle.remove()
        single = {
            name: values[0]
            for name, values in self.kept.items()
            if not name.startswith('decoder')
        }
        outputs = dict(
            clip_image=single['features'].image,
            cost_embedding=single['cost_embedding'][None].transpose(1, 2),
            appearance_guidance=single['appearance_guidance'].relu(),
            logits=single['logits'],
        )
        if 'text_guidance' in single:
            outputs['text_guidance'] = single['text_guidance'].relu()
        for index, part in enumerate(single['maps']):
            outputs[f'appearance_{index}'] = part
        for name in ('decoder1', 'decoder2'):
            outputs[name] = torch.cat(self.kept[name], dim=1).flatten(0, 1)
        for name, maps in single.items():
            if name.startswith(('spatial_', 'class_')):
                outputs[name] = maps.permute(0, 4, 1, 2, 3)
        return outputs


@torch.no_grad()
def _predict(case: Mapping, model: torch.nn.Module) -> dict:
    entry = case['inputs']['image']
    size = entry['height'], entry['width']
    img = seeded_image(entry['name'], *size, entry['seed'])
    ori_shape = tuple(case['inputs'].get('ori_shape', size))
    sample = SegDataSample(metainfo=dict(ori_shape=ori_shape, img_shape=size))
    batch = dict(inputs=[_as_read(img)], data_samples=[sample])
    (result,) = model.test_step(batch)
    labels = result.pred_sem_seg.data[0]
    scores = result.seg_logits.data
    if len(scores) == 1:  # the reference: 1 where the class is, else 0
        labels, scores = (labels == 0).float(), scores.sigmoid()
    inputs = model.data_preprocessor(batch)['inputs'].float()
    views, _ = model._cut_views(inputs[0])
    text = model.text_embeddings(model.vocabulary)
    taps = _Taps(model)
    model.encode_decode(views[:1])
    outputs = taps.outputs()
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
    images, samples = [], []
    for image, label in zip(
        case['inputs']['images'], case['inputs']['labels']
    ):
        size = image['height'], image['width']
        img = seeded_image(image['name'], *size, image['seed'])
        size = label['height'], label['width']
        labels = seeded_labels(
            label['name'],
            *size,
            label['num_classes'],
            label['seed'],
            label.get('ignore_every', 11),
            label.get('ignore_index', 255),
        )
        labels = PixelData(data=torch.from_numpy(labels)[None])
        images.append(_as_read(img))
        samples.append(
            SegDataSample(metainfo=dict(img_shape=size), gt_sem_seg=labels)
        )
    model.train()
    batch = dict(inputs=images, data_samples=samples)
    batch = model.data_preprocessor(batch, training=True)
    kept = []
    tap = model.decode_head.register_forward_hook(
        lambda _module, _inputs, output: kept.append(output)
    )
    losses = model(**batch, mode='loss')
    tap.remove()
    model.parse_losses(losses)[0].backward()
    computed = dict(
        loss_ce=losses['decode.loss_ce'],
        acc_seg=losses['decode.acc_seg'].squeeze(),
        logits=kept[0],
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
        return list(LAYOUTS[0].convert(tensors).state_dict)

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
