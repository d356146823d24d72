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
from mmcv.transforms import BaseTransform
from mmengine.config import Config
from mmseg.apis import init_model
from mmseg.registry import TRANSFORMS
from mmseg.structures import SegDataSample
from seeded import build_checkpoint, seeded_array, seeded_image
from torch import Tensor

from ovseg_mm.inference import PixelRefiner
from ovseg_mm.models.backbones.last_blocks import calibrated
from ovseg_mm.models.backbones.last_blocks.outliers import (
    DETECTORS,
    repair,
)
from ovseg_mm.utils.paths import resource

# Models are built here, from a CLIP file, not by the runner.
BUILDS_MODELS = True
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
WIDTH_OF_OUTLIERS = 40


def run(case: Mapping, model: None) -> dict[str, np.ndarray]:
    """All outputs of a case, whole, by the names that the case uses."""
    outputs = {}
    with tempfile.TemporaryDirectory() as folder:
        weights = _write_weights(case, Path(folder))
        for entry in case['runs']:
            method = entry['method']
            run_one = {
                'pamr': _run_pamr,
                'maskclip_original': _run_original,
            }.get(method, _run_protocol)
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


def build_config(case: Mapping, entry: Mapping, weights: Path) -> Config:
    """Our shipped config with the sizes and settings of a run."""
    method, settings = entry['method'], dict(entry['settings'])
    clip = case['config']['clip']
    text_width = clip.get('text_width', 64)
    vision = dict(
        image_size=clip['image_resolution'],
        layers=clip['vision_layers'],
        width=clip['vision_width'],
        patch_size=clip['vision_patch_size'],
    )
    if 'layer_norm_eps' in case['config']:
        vision['norm_kwargs'] = dict(eps=case['config']['layer_norm_eps'])
    arch = dict(
        embed_dim=clip['embed_dim'],
        vision_cfg=vision,
        text_cfg=dict(
            width=text_width,
            heads=text_width // 64,
            layers=clip.get('text_layers', 1),
        ),
        quick_gelu=case['config']['activation'] == 'quick_gelu',
    )
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
        deep = method == 'scclip' and vision['layers'] == 24
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


def _write_weights(case: Mapping, folder: Path) -> Path:
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


class _Taps:
    """What passes some modules of the image tower, all windows together."""

    def __init__(self, backbone: torch.nn.Module) -> None:
        blocks = backbone.transformer.resblocks
        self.blocks, self.parts = blocks, {}
        for index, block in enumerate(blocks[:-1]):
            self._keep(block, f'block{index}')
        blocks[0].register_forward_pre_hook(
            lambda _module, inputs: self._add('block-1', inputs[0])
        )
        last = blocks[-1]
        last.ln_1.register_forward_pre_hook(
            lambda _module, inputs: self._add('last_input', inputs[0])
        )
        self._keep(last.attn.out_proj, 'attention_out')
        backbone.ln_post.register_forward_pre_hook(
            lambda _module, inputs: self._add('before_ln_post', inputs[0])
        )

    def _keep(self, module: torch.nn.Module, name: str) -> None:
        module.register_forward_hook(
            lambda _module, _inputs, output: self._add(name, output)
        )

    def _add(self, name: str, value: Tensor) -> None:
        self.parts.setdefault(name, []).append(value)

    def clear(self) -> None:
        self.parts.clear()

    def all(self, name: str, call: int = 0, calls: int = 1) -> Tensor:
        """Of all batches, where each batch passes ``calls`` times."""
        return torch.cat(self.parts[name][call::calls])

    def tokens(self) -> dict[int, Tensor]:
        return {
            index: self.all(f'block{index}')
            for index in range(-1, len(self.blocks) - 1)
        }


def _run_protocol(case: Mapping, entry: Mapping, weights: Path) -> dict:
    model = init_model(build_config(case, entry, weights), device='cpu')
    taps, outputs = _Taps(model.backbone), {}
    (image,) = (item for item in case['inputs'] if item['name'] == 'image')
    img = seeded_image('image', image['height'], image['width'], case['seed'])[
        ..., ::-1
    ].copy()
    size = _output_size(image)
    if 'resize' in entry:
        img = _resized(model.cfg, entry['resize'], img)
        outputs['resized'] = img.transpose(2, 0, 1)
    batch = dict(
        inputs=[torch.from_numpy(img).permute(2, 0, 1)],
        data_samples=[SegDataSample(metainfo=dict(ori_shape=size))],
    )
    outputs['input'] = model.data_preprocessor(batch)['inputs'][0]
    vocabulary = model.scored_vocabulary
    outputs['text_features'] = model.text_embeddings(vocabulary)[:, 0]
    heads = []
    hook = model.decode_head.register_forward_hook(
        lambda _module, _inputs, output: heads.append(output)
    )
    dense = []
    tower_hook = model.backbone.register_forward_hook(
        lambda _module, _inputs, output: dense.append(output.dense)
    )
    result = _predicted(model, batch, size)
    hook.remove()
    tower_hook.remove()
    outputs['window_similarity'] = torch.cat(heads)
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


def _output_size(image: Mapping) -> tuple[int, int]:
    """Original size of an image, that of its scores."""
    return tuple(
        image.get(f'out_{side}', image[side]) for side in ('height', 'width')
    )


def _predicted(
    model: torch.nn.Module, batch: dict, size: tuple[int, int]
) -> SegDataSample:
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
        outputs[name] = _predicted(model, batch, to).seg_logits.data
    return outputs


def _inside(
    method: str, backbone: torch.nn.Module, taps: _Taps, grid: tuple
) -> dict:
    """What the last block is made of, as far as cases store it."""
    block, last = backbone.replacement, backbone.transformer.resblocks[-1]
    tokens = taps.tokens()
    calls = 2 if method in ('scclip', 'sfp') else 1
    inputs = [taps.all('last_input', i, calls) for i in range(calls)]
    outs = [taps.all('attention_out', i, calls) for i in range(calls)]
    outputs = dict(
        tokens=tokens[len(taps.blocks) - 2],
        attention_out=outs[0],
        before_ln_post=taps.all('before_ln_post'),
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
        outputs.update(_calibrated(block, taps, tokens, grid, outs))
        extra = outputs.pop('extra')
        (q, k, _), (q2, k2, _) = parts
        outputs.update(
            aggregated=inputs[0],
            attention=block.mix(q, k, units[0], extra),
            attention_second=block.mix_again(q2, k2, units[1], extra),
            attention_second_out=outs[1],
        )
    taps.clear()
    return outputs


def _calibrated(
    block: calibrated.SCCLIPBlock,
    taps: _Taps,
    tokens: dict[int, Tensor],
    grid: tuple,
    outs: list[Tensor],
) -> dict:
    depth = len(taps.blocks)
    plan, detector = block.plan(depth), DETECTORS[block.outliers]
    last = tokens[depth - 2]
    found = detector(taps.blocks, tokens)
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
        by_cls, by_self = detector.attention(
            taps.blocks[-2], tokens[depth - 3]
        )
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


def _resized(cfg: Config, spec: Mapping, img: np.ndarray) -> np.ndarray:
    """The resize of the config's pipeline with the scale of the case."""
    (step,) = (s for s in cfg.test_pipeline if s['type'] == 'Resize')
    resize: BaseTransform = TRANSFORMS.build(
        {**step, 'scale': tuple(spec['scale'])}
    )
    return resize(dict(img=img))['img']


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
    outputs = {}
    model.backbone.ln_post.register_forward_hook(
        lambda _module, _inputs, output: outputs.update(values=output)
    )
    model.decode_head.register_forward_hook(
        lambda _module, _inputs, output: outputs.update(logits=output[0])
    )
    img = seeded_image(
        image['name'], image['height'], image['width'], case['seed']
    )
    img = img[..., ::-1].copy()
    size = _output_size(image)
    if 'resize' in entry:
        img = _resized(model.cfg, entry['resize'], img)
    img = torch.from_numpy(img).permute(2, 0, 1)
    result = _predicted(model, dict(inputs=[img]), size)
    grid = outputs['logits'].shape[1:]
    values = outputs.pop('values')[:, 1:].transpose(1, 2)
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
