# SPDX-License-Identifier: Apache-2.0
"""The stage of ZSSeg's cases that learns prompts."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from common import as_read
from mmengine.config import Config
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from seeded import build_checkpoint, seeded_image, seeded_labels

from ovseg_mm.checkpoints import convert, load_checkpoint_into
from ovseg_mm.utils.paths import resource

PROMPT_CONFIG = '_base_/models/zsseg-prompts_clip-vit-b16.py'


def run(case: Mapping, arch: Mapping) -> dict:
    """Logits, loss and gradient of the prompt on crops."""
    spec, classifier = case['inputs']['prompt_stage'], _classifier(case, arch)
    size = spec['height'], spec['width']
    images, samples = [], []
    for index, label in enumerate(spec['classes']):
        img = seeded_image(
            f'{spec["image_name"]}_{index}', *size, spec['seed']
        )
        images.append(as_read(img))
        blocks = seeded_labels(
            f'{spec["mask_name"]}_{index}', *size, 3, spec['seed']
        )
        mask = torch.from_numpy(blocks == 0).long()[None]
        samples.append(
            SegDataSample(
                metainfo=dict(crop_label=label, img_shape=size),
                gt_sem_seg=PixelData(data=mask),
            )
        )
    classifier.train()
    batch = classifier.data_preprocessor(
        dict(inputs=images, data_samples=samples), training=True
    )
    logits = classifier(**batch, mode='tensor')
    loss, _ = classifier.parse_losses(classifier(**batch, mode='loss'))
    loss.backward()
    text = classifier.text_encoder
    prompt = text.suffix_prompt
    if text.prefix_prompt is not None:
        prompt = text.prefix_prompt
    return dict(
        prompt_logits=logits,
        prompt_loss=loss[None],
        prompt_grad=prompt.grad,
    )


def _classifier(case: Mapping, arch: Mapping) -> torch.nn.Module:
    """Model of the first stage, from its part of the checkpoint."""
    cfg = Config.fromfile(resource('configs', PROMPT_CONFIG))
    model = dict(
        clip=dict(_delete_=True, arch=arch),
        vocabulary=dict(_delete_=True, class_texts=case['class_texts']),
        train_vocabulary=None,
        text_encoder=dict(
            prefix_length=case['config']['prompt']['prefix_tokens'],
            suffix_length=case['config']['prompt']['suffix_tokens'],
        ),
    )
    cfg.merge_from_dict(dict(model=model))
    part = [e for e in case['parameters'] if 'clip_adapter' in e['name']]
    part = [e for e in part if 'non_object' not in e['name']]
    weights = build_checkpoint(dict(case, parameters=part))
    weights = {name: torch.from_numpy(w) for name, w in weights.items()}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, 'prompts.pth')
        torch.save(dict(model=weights), source)
        convert(source, Path(folder, 'converted.pth'), config=cfg)
        classifier = MODELS.build(cfg.model)
        load_checkpoint_into(classifier, Path(folder, 'converted.pth'))
    return classifier
