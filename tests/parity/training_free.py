# SPDX-License-Identifier: Apache-2.0
"""Runs the parity cases of methods without training through our configs.

OpenAI-layout CLIP file -> ``model.clip.custom_clip_weights`` of our config
-> outputs. A case has several runs, each a model of its own.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from common import Taps, output_size
from mmseg.apis import init_model
from seeded import seeded_array, seeded_image
from training_free_config import build_config, write_weights
from training_free_protocol import predicted, read_image, run_protocol

from ovseg_mm.inference import PixelRefiner

# Models are built here, from a CLIP file, not by the runner.
BUILDS_MODELS = True


def run(case: Mapping, model: None) -> dict[str, np.ndarray]:
    """All outputs of a case, whole, by the names that the case uses."""
    outputs = {}
    with tempfile.TemporaryDirectory() as folder:
        weights = write_weights(case, Path(folder))
        for entry in case['runs']:
            method = entry['method']
            run_one = {
                'pamr': _run_pamr,
                'maskclip_original': _run_original,
            }.get(method, run_protocol)
            prefix = f'{entry["name"]}.' if entry['name'] else ''
            for name, value in run_one(case, entry, weights).items():
                if f'{prefix}{name}' in case['outputs']:
                    outputs[f'{prefix}{name}'] = value
                elif name in case['outputs']:
                    outputs[name] = value
    return {
        name: np.asarray(
            value.detach().float() if torch.is_tensor(value) else value
        )
        for name, value in outputs.items()
    }


def _run_original(case: Mapping, entry: Mapping, weights: Path) -> dict:
    inputs = {entry['name']: entry for entry in case['inputs']}
    image, text = inputs['image'], inputs['text_embeddings']
    rows = seeded_array(text['name'], text['shape'], case['seed'])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    table = weights.with_name('texts.npy')
    np.save(table, rows)
    texts = [f'text {i}' for i in range(len(rows))]
    cfg = build_config(case, entry, weights)
    settings = entry['settings']
    cfg.merge_from_dict(
        dict(
            model=dict(
                text_encoder=None,
                vocabulary=texts,
                prompts=dict(
                    embeddings=dict(file=str(table), vocabulary=texts)
                ),
                decode_head=dict(
                    denoise_below=settings.get('pd_thresh'),
                    smooth_below=settings.get('ks_thresh'),
                ),
                test_cfg=dict(keep_scores=True),
            )
        )
    )
    model = init_model(cfg, device='cpu')
    size = output_size(image)
    img = read_image(model.cfg, image, case['seed'], entry.get('resize'))
    taps = Taps().outputs(
        values=model.backbone.ln_post, logits=model.decode_head
    )
    with taps:
        result = predicted(model, dict(inputs=[img]), size)
    outputs = dict(logits=taps.last('logits')[0])
    grid = outputs['logits'].shape[1:]
    values = taps.last('values')[:, 1:].transpose(1, 2)
    outputs['value_features'] = values.unflatten(2, grid)
    outputs['scores'] = result.seg_logits.data
    outputs['labels'] = result.pred_sem_seg.data[0]
    return outputs


def _run_pamr(case: Mapping, entry: Mapping, weights: Path) -> dict:
    inputs = {entry['name']: entry for entry in case['inputs']}
    image, maps = inputs['image'], inputs['maps']
    config, settings = case['config'], entry['settings']
    img = seeded_image(
        image['name'], image['height'], image['width'], case['seed']
    )
    mean, std = (np.array(config[key], np.float32) for key in ('mean', 'std'))
    img = (img.astype(np.float32) - mean) / std
    img = torch.from_numpy(img).permute(2, 0, 1)
    maps = seeded_array(
        maps['name'], maps['shape'], case['seed'], maps.get('scale', 1.0)
    )
    maps = torch.nn.functional.interpolate(
        torch.from_numpy(maps)[None],
        img.shape[1:],
        mode='bilinear',
        align_corners=True,
    )[0]
    steps = settings.get('pamr_steps', 10)
    dilations = settings.get('pamr_dilations', (8, 16))
    refine = PixelRefiner(img, steps, dilations)
    return dict(
        affinity=refine.weights,
        after_1_step=PixelRefiner(img, 1, dilations)(maps),
        refined=refine(maps),
    )
