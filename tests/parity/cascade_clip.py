# SPDX-License-Identifier: Apache-2.0
"""Runs Cascade-CLIP's parity cases through our config."""

import atexit
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from common import Taps, as_read, clip_arch, image_batch, shipped_config
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmseg.structures import SegDataSample
from seeded import seeded_array, seeded_image, seeded_labels

from ovseg_mm.checkpoints import LAYOUTS
from ovseg_mm.datasets import OpenVocabDataset
from ovseg_mm.evaluation import OpenVocabIoUMetric
from ovseg_mm.evaluation.scores import (
    averages,
    class_scores,
    zero_shot_averages,
)
from ovseg_mm.models.text_encoder import tokenize_prompts
from ovseg_mm.utils.image_files import read_label_map, write_image

FOLDER = 'cascade_clip/cascadeclip_clip-vit-b16_'
INDUCTIVE = f'{FOLDER}4xb4-80k_coco-stuff164k-156-15-512x512.py'
TRANSDUCTIVE = (
    f'{FOLDER}4xb4-40k_coco-stuff164k-156-15-transductive-512x512.py'
)


def build_config(case: Mapping) -> Config:
    """Our shipped config with the sizes of a case."""
    config = case['config']
    clip, head, test = config['backbone'], config['head'], config['test']
    width, groups = clip['width'], (3, 3, 1)
    out_indices = tuple(clip['out_indices'])
    arch = clip_arch(dict(clip, image_size=224))
    if 'text_encoder' in config:
        arch['text_cfg'] = dict(config['text_encoder'])
    vocabulary = dict(class_texts=case['class_texts'], unseen=config['novel'])
    train_vocabulary = vocabulary
    if config['novel'] and not config['self_training']:
        train_vocabulary = dict(vocabulary, subset='seen')
    dropout = {} if case['kind'] == 'predict' else dict(dropout=0.0)
    side = head['img_size']
    loss = config['loss']
    model = dict(
        clip=dict(_delete_=True, arch=arch, finetune='none'),
        prompts=_prompts(case),
        data_preprocessor=dict(size=(side, side)),
        backbone=dict(
            out_indices=out_indices,
            pos_image_size=clip['input_resolution'],
            prompts=dict(
                depth=clip['total_d_layer'] + 1,
                length=clip['num_tokens'],
                **dropout,
            ),
        ),
        neck=dict(
            in_channels=width,
            out_channels=clip['output_dim'],
            num_levels=len(out_indices),
        ),
        decode_head=dict(
            embed_dims=head['embed_dims'],
            group_sizes=groups,
            num_layers=head['num_layers'],
            num_heads=head['num_heads'],
            loss_decode=[
                dict(
                    type='DenseFocalLoss',
                    alpha=loss['focal_alpha'],
                    gamma=loss['focal_gamma'],
                    loss_weight=loss['focal_weight'],
                ),
                dict(type='DenseDiceLoss', loss_weight=loss['dice_weight']),
            ],
            **dropout,
        ),
        test_cfg=dict(
            mode='slide',
            crop_size=(test['crop_size'],) * 2,
            stride=(test['stride'],) * 2,
            score_size=(side, side),
            keep_scores=True,
            # The reference labels every pixel, of one class as of several.
            threshold=float('-inf'),
        ),
    )
    if not config['self_training']:
        model['test_cfg']['seen_penalty'] = config['seen_penalty']
    if 'text_encoder' not in config:
        model['text_encoder'] = None
    name = TRANSDUCTIVE if config['self_training'] else INDUCTIVE
    cfg = shipped_config(name, model)
    cfg.model.vocabulary = vocabulary
    cfg.model.train_vocabulary = train_vocabulary
    return cfg


def _prompts(case: Mapping) -> dict:
    spec = case['inputs']['text_embeddings']
    if spec['kind'].startswith('text_encoder'):
        return dict(templates=case['templates'], average_templates=True)
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    file = Path(folder.name, 'embeddings.npy')
    rows = seeded_array(spec['name'], spec['shape'], spec['seed'])
    rows = rows.astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    np.save(file, rows.astype(spec['dtype']))
    return dict(
        embeddings=dict(file=str(file), vocabulary=case['class_texts'])
    )


def run(case: Mapping, model: torch.nn.Module) -> dict[str, np.ndarray]:
    """All outputs of a case, whole, by the names that the case uses."""
    if case['kind'] == 'train':
        outputs = _train_both(case, model)
    else:
        outputs = _predict(case, model)
    text = model.text_embeddings(model.vocabulary)[:, 0]
    outputs['text_embeddings'] = text
    return {
        name: value.detach().double().numpy()
        if isinstance(value, torch.Tensor)
        else np.asarray(value)
        for name, value in outputs.items()
    }


@torch.no_grad()
def _predict(case: Mapping, model: torch.nn.Module) -> dict:
    inputs, seed = case['inputs'], case['seed']
    outputs = {}
    if 'tokens' in case['outputs']:
        prompts = [
            template.format(text)
            for text in case['class_texts']
            for template in case['templates']
        ]
        tokens = tokenize_prompts(prompts, 77)
        padding = (0, 77 - tokens.shape[1])
        outputs['tokens'] = torch.nn.functional.pad(tokens, padding)
    if 'slide' in inputs:
        result = _predict_image(model, inputs['slide'], seed)
        outputs['slide_scores'] = result.seg_logits.data[None]
        outputs['slide_labels'] = result.pred_sem_seg.data
    model.test_cfg['mode'] = 'whole'
    if 'whole' in inputs:
        result = _predict_image(model, inputs['whole'], seed)
        outputs['whole_scores'] = result.seg_logits.data[None]
    if 'window' in inputs:
        outputs.update(_window(case, model))
    if 'clip_positional_embedding' in inputs:
        spec = inputs['clip_positional_embedding']
        table = seeded_array(spec['name'], spec['shape'], spec['seed'])
        outputs['resized_positional_embedding'] = model.backbone.fit_position(
            torch.from_numpy(table)
        )
    return outputs


def _predict_image(
    model: torch.nn.Module, spec: Mapping, seed: int
) -> SegDataSample:
    return model.test_step(image_batch(spec, seed, spec['ori_shape']))[0]


def _window(case: Mapping, model: torch.nn.Module) -> dict:
    """Scores of a batch of windows, and all that leads to them."""
    spec = case['inputs']['window']
    size = spec['height'], spec['width']
    images = [
        as_read(seeded_image(name, *size, spec['seed']))
        for name in spec['names']
    ]
    img = model.data_preprocessor(dict(inputs=images))['inputs']
    img = torch.stack(list(img)) if isinstance(img, (list, tuple)) else img
    outputs, head = {}, model.decode_head
    text = model.text_embeddings(model.vocabulary)
    outputs['normalized_window'] = img
    with _tap(model) as taps:
        outputs['logits_sum'] = head(model.extract_feat(img), text)
    length = model.backbone.prompts.length
    for index, block in enumerate(model.backbone.transformer.resblocks):
        # The tower puts prompts last, and needs no output of them.
        tokens = block(*taps.last(f'block_{index}'))
        outputs[f'block_{index}_tokens'] = torch.cat(
            [tokens[:, :1], tokens[:, -length:], tokens[:, 1:-length]], dim=1
        )
    feats, grid = taps.last('levels'), outputs['logits_sum'].shape[2:]
    names = [*model.backbone.out_indices, 'last']
    for name, level in zip(names, feats.levels):
        outputs[f'feature_{name}'] = level
    outputs['global_embedding'] = feats.cls
    for index, decoder in enumerate(head.decoders):
        queries, patches = taps.last(f'matched_{index}')
        logits, stage = taps.last(f'decoder_{index}'), f's{index + 1}'
        first = [*decoder.layers, decoder][0].similarity
        outputs[f'query_{stage}'] = queries
        outputs[f'lateral_{stage}'] = patches
        outputs[f'logits_{stage}'] = logits.unflatten(2, grid)
        outputs[f'logits_{stage}_first_layer'] = first(
            queries, patches
        ).unflatten(2, grid)
    outputs['window_scores'] = model.inference(img)
    return outputs


def _tap(model: torch.nn.Module) -> Taps:
    taps = Taps().outputs(levels=model.neck)
    for index, block in enumerate(model.backbone.transformer.resblocks):
        taps.inputs(**{f'block_{index}': block})
    for index, decoder in enumerate(model.decode_head.decoders):
        taps.inputs(**{f'matched_{index}': decoder})
        taps.outputs(**{f'decoder_{index}': decoder})
    return taps


def _train_both(case: Mapping, model: torch.nn.Module) -> dict:
    from runner import load_model

    outputs = _evaluate(case, model)
    for kind in ('inductive', 'transductive'):
        self_training = kind == 'transductive'
        config = {**case['config'], 'self_training': self_training}
        model = load_model({**case, 'config': config})
        outputs.update(_train(case, model, kind))
    return outputs


def _train(case: Mapping, model: torch.nn.Module, kind: str) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        dataset = _write_dataset(case, Path(folder), kind)
        samples = [dataset[index] for index in range(len(dataset))]
        raw = [
            read_label_map(sample['data_samples'].seg_map_path)
            for sample in samples
        ]
    model.train()
    batch = model.data_preprocessor(pseudo_collate(samples), training=True)
    with Taps().inputs(loss=model.decode_head.loss_decode[0]) as taps:
        losses = model(**batch, mode='loss')
    logits, labels = taps.last('loss')[:2]
    total, _ = model.parse_losses(losses)
    total.backward()
    grads = _grads(case, model)
    norms = [grads[name].norm() for name in case['inputs']['grad_names']]
    return {
        'labels': np.stack(raw)[:, None],
        f'{kind}_loss_mask': losses['decode.loss_mask'][None],
        f'{kind}_loss_dice': losses['decode.loss_dice'][None],
        f'{kind}_acc_seg': losses['decode.acc_seg'].view(1),
        f'{kind}_total': total[None],
        f'{kind}_pred_masks': logits,
        f'{kind}_target_labels': labels[:, None],
        f'{kind}_grad_norms': torch.stack(norms),
        f'{kind}_grad_weights_s1': grads['decode_head.weights_s1'],
        f'{kind}_grad_weights_s2': grads['decode_head.weights_s2'],
    }


def _write_dataset(case: Mapping, folder: Path, kind: str) -> OpenVocabDataset:
    """The images and whole labels of a case as a data set."""
    images, labels = case['inputs']['images'], case['inputs']['labels']
    novel = case['config']['novel']
    unseen_labels = 'ignore' if kind == 'inductive' else 'mark'
    for index, name in enumerate(images['names']):
        size = images['height'], images['width']
        img = seeded_image(name, *size, images['seed'])
        write_image(folder / 'images' / f'{index}.png', img)
        label_map = seeded_labels(
            labels['names'][index],
            labels['height'],
            labels['width'],
            labels['num_classes'],
            labels['seed'],
            labels['ignore_every'][index],
        )
        write_image(
            folder / 'labels' / f'{index}.png', label_map.astype(np.uint8)
        )
    return OpenVocabDataset(
        vocabulary=dict(class_texts=case['class_texts'], unseen=novel),
        data_prefix=dict(
            img_path=str(folder / 'images'),
            seg_map_path=str(folder / 'labels'),
        ),
        img_suffix='.png',
        unseen_labels=unseen_labels if novel else 'keep',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadOpenVocabAnnotations'),
            dict(type='PackSegInputs'),
        ],
    )


def _grads(case: Mapping, model: torch.nn.Module) -> dict:
    """Gradients by the reference's names and shapes."""
    names = [entry['name'] for entry in case['parameters']]
    # Three rows, for the tensors that are cut into q, k and v.
    numbers = {name: torch.full((3,), i) for i, name in enumerate(names)}
    renamed = LAYOUTS['cascade_clip'].convert(numbers).state_dict
    own_names = {names[int(n[0])]: own for own, n in renamed.items()}
    grads = {
        name: model.get_parameter(own).grad for name, own in own_names.items()
    }
    prompts = model.backbone.prompt_tokens.grad
    grads['backbone.prompt_embeddings'] = prompts[:1]
    grads['backbone.deep_prompt_embeddings'] = prompts[1:]
    return grads


def _evaluate(case: Mapping, model: torch.nn.Module) -> dict:
    """Figures of the metric on label maps that are given."""
    spec = case['inputs']['eval']
    size = spec['height'], spec['width']
    count = model.vocabulary.num_labels
    metric = OpenVocabIoUMetric()
    metric.dataset_meta = model.vocabulary.metainfo
    for names in zip(spec['gt_names'], spec['pred_names']):
        truth, drawn = (
            seeded_labels(name, *size, count, spec['seed']) for name in names
        )
        kept = (np.arange(truth.size).reshape(size) // 7) % 3 > 0
        prediction = np.where(kept & (truth != 255), truth, drawn % count)
        sample = dict(
            pred_sem_seg=dict(data=torch.from_numpy(prediction)[None]),
            gt_sem_seg=dict(data=torch.from_numpy(truth)[None]),
        )
        metric.process({}, [sample])
    confusion = metric._add_up(metric.results)
    scores = class_scores(confusion)
    figures = {
        **averages(confusion, scores),
        **zero_shot_averages(
            scores['IoU'], model.vocabulary.seen, model.vocabulary.unseen
        ),
    }
    keys = 'mIoU_union', 'mIoU_seen', 'mIoU_unseen', 'hIoU', 'aAcc', 'mAcc'
    return dict(
        eval_iou=scores['IoU'],
        eval_summary=np.array([figures[key] for key in keys]) / 100,
    )
