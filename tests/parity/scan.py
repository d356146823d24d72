# SPDX-License-Identifier: Apache-2.0
"""Runs SCAN's parity cases through our config."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from seeded import seeded_image, seeded_labels

from ovseg_mm.checkpoints import recognise
from ovseg_mm.evaluation import OpenVocabIoUMetric
from ovseg_mm.evaluation.scores import class_scores
from ovseg_mm.models.text_encoder import tokenize_prompts
from ovseg_mm.models.utils import (
    mask_targets,
    patches_with_mask,
    region_masks,
    uncertain_points,
)
from ovseg_mm.utils.paths import resource
from ovseg_mm.utils.resize import resize

CONFIG = '_base_/models/scan_clip-vit-l14_swin-b.py'
CLIP_CONFIG = '_base_/models/scan-clip_vit-l14.py'
RUNTIME = '_base_/default_runtime.py'


def build_config(case: Mapping) -> Config:
    """Our shipped config with the sizes of a case."""
    build = _clip_config if case.get('kind') == 'finetune' else _config
    cfg = Config.fromfile(
        resource('configs', CLIP_CONFIG if build is _clip_config else CONFIG)
    )
    runtime = Config.fromfile(resource('configs', RUNTIME))
    cfg.merge_from_dict(runtime.to_dict())
    cfg.merge_from_dict(dict(model=build(case)))
    return cfg


def _clip_config(case: Mapping) -> dict:
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


def _config(case: Mapping) -> dict:
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
        test_cfg=dict(keep_scores=True, threshold=float('-inf')),
    )


def _shift_blocks(clip: Mapping, layers: Sequence[int]) -> tuple[int, ...]:
    """Blocks from 0 of layers from 1, those that the tower has."""
    return tuple(n - 1 for n in layers if n <= clip['vision_layers'])


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


def run(case: Mapping, model: torch.nn.Module | None) -> dict[str, np.ndarray]:
    """All outputs of a case, thinned out as the case says."""
    parts = dict(train=_training, finetune=_finetuning, sgiou=_class_relations)
    outputs = parts.get(case.get('kind'), _inference)(case, model)
    return {
        name: np.asarray(torch.as_tensor(value).detach().double())
        for name, value in outputs.items()
        if name in case['outputs']
    }


def not_compared(case: Mapping) -> set[str]:
    """Outputs that are given to the run."""
    return {name for name in case['outputs'] if name.startswith('draw_')}


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


def _training(case: Mapping, model: torch.nn.Module) -> dict:
    head, loss = model.decode_head, model.decode_head.loss_decode
    batch, taps = _training_batch(case), {}
    handle = model.neck.register_forward_hook(
        lambda _, args, out: taps.update(pixel=out)
    )
    model.train()
    batch = model.data_preprocessor(batch, training=True)
    loss.draw = _Draws(case)
    losses = model(**batch, mode='loss')
    total, _ = model.parse_losses(losses)
    total.backward()
    handle.remove()
    names = case['loss_names']
    weighted = torch.stack([losses[f'decode.{name}'] for name in names])
    weights = {
        name: case['config']['loss'][f'{name}_weight']
        for name in ('class', 'mask', 'dice')
    }
    weights['ce'] = weights.pop('class')
    weights = torch.tensor([weights[name.split('_')[1]] for name in names])
    outputs = dict(
        losses=weighted,
        unweighted_losses=weighted / weights,
        total_loss=total[None],
        **_gradients(case, model),
    )
    with torch.no_grad():
        # The state that has no loss is asked for as well.
        head.proposals.decoder.skip_penultimate = False
        feats = model.extract_feat(batch['inputs'])
        text = model.text_embeddings(model.train_vocabulary)
        outputs.update(_matches(case, loss, head(feats, text), batch))
    return outputs


class _Draws:
    """The random numbers of a case in the order of their use."""

    def __init__(self, case: Mapping) -> None:
        golden, images = case['golden'], len(case['inputs']['images'])
        aux = sum(name.startswith('loss_ce_') for name in case['loss_names'])
        self.draws = iter(
            torch.from_numpy(golden[f'draw_{part}'])
            for state in ('final', *(f'aux{i}' for i in range(aux + 1)))
            for part in (
                *(f'matcher_{state}_image{i}' for i in range(images)),
                f'candidates_{state}',
                f'random_{state}',
            )
        )

    def __call__(self, shape: tuple[int, ...]) -> torch.Tensor:
        draw = next(self.draws)
        assert tuple(draw.shape) == tuple(shape)
        return draw


def _training_batch(case: Mapping) -> dict:
    batch = dict(inputs=[], data_samples=[])
    for image, target in zip(
        case['inputs']['images'], case['inputs']['labels']
    ):
        size = target['height'], target['width']
        single = _batch(image, size)
        labels = seeded_labels(
            target['name'],
            *size,
            target['num_classes'],
            target['seed'],
            target['ignore_every'],
        )
        single['data_samples'][0].gt_sem_seg = PixelData(
            data=torch.from_numpy(labels)[None]
        )
        for key, value in single.items():
            batch[key] += value
    return batch


def _matches(case: Mapping, loss, predictions, batch: Mapping) -> dict:
    """Assignments and points of all states, the last one first."""
    targets = [
        mask_targets(sample.gt_sem_seg.data[0], 255)
        for sample in batch['data_samples']
    ]
    draw, (logits, masks) = _Draws(case), predictions
    order = [-1, *range(len(logits) - 1)]
    outputs = dict(class_logits=logits[order][:, :, ::2])
    first = torch.from_numpy(case['golden']['draw_matcher_final_image0'])
    outputs['cost_final'] = loss.matcher.costs(
        logits[-1, 0], masks[-1, 0], targets[0], lambda shape: first
    )
    for state in order:
        name = 'final' if state < 0 else f'aux{state}'
        pairs = [
            loss.matcher(*image, draw)
            for image in zip(logits[state], masks[state], targets)
        ]
        outputs[f'match_{name}'] = torch.cat(
            [
                F.pad(torch.stack(pair, dim=1), (1, 0), value=image)
                for image, pair in enumerate(pairs)
            ]
        )
        points = uncertain_points(
            torch.cat(
                [
                    mask[queries]
                    for mask, (queries, _) in zip(masks[state], pairs)
                ]
            ),
            loss.num_points,
            draw,
            loss.oversample_ratio,
            loss.importance_ratio,
        )
        by_x = points[..., 0].argsort(dim=1)[..., None].expand(-1, -1, 2)
        outputs[f'points_{name}'] = points.gather(1, by_x)
    return outputs


def _gradients(case: Mapping, model: torch.nn.Module) -> dict:
    """Norms of gradients by the names of the reference."""
    shapes = {entry['name']: entry['shape'] for entry in case['parameters']}
    layout = recognise(shapes)
    ours = dict(model.named_parameters())
    norms = []
    for name in case['gradient_names']:
        renamed = layout.convert({name: torch.empty(shapes[name])})
        parts = [ours[part].grad.norm() for part in renamed.state_dict]
        norms.append(torch.stack(parts).norm())
    every = [p.grad.norm() for p in ours.values() if p.grad is not None]
    return dict(
        gradient_norms=torch.stack(norms),
        total_gradient_norm=torch.stack(every).norm()[None],
    )


def _finetuning(case: Mapping, model: torch.nn.Module) -> dict:
    chosen = torch.from_numpy(case['golden']['replaced_patches'])
    encoder, captions = model.region_encoder, list(case['class_texts'])
    encoder.shift.draw = lambda shape: (1.0 - chosen).view(shape)
    crops, masks, images = [], [], []
    for pair in case['inputs']['pairs']:
        side = encoder.region_size
        for part, name in ((crops, 'crop'), (images, 'whole')):
            img = seeded_image(pair[name], side, side, pair['seed'])
            part.append(torch.from_numpy(img).permute(2, 0, 1))
        labels = seeded_labels(
            pair['mask'],
            side,
            side,
            pair['mask_classes'],
            pair['seed'],
            ignore_every=side * side,
        )
        masks.append(torch.from_numpy(labels == 0))
    pairs = tuple(map(torch.stack, (crops, masks, images)))
    model.train()
    (loss,) = model(*pairs, captions, mode='loss').values()
    loss.backward()
    outputs = _gradients(case, model)
    with torch.no_grad():
        image, text = model(*pairs, captions), model._texts(captions)
        tokens = model.context_encoder(pairs[2].float()).class_tokens()
        patches = patches_with_mask(pairs[1], encoder.clip.patch_size)
        replaced = encoder.shift(patches, tokens)
        length = model.text_encoder.context_length
        ids = tokenize_prompts(captions, length)
        outputs.update(
            foreground_patches=patches,
            replaced_patches=torch.stack([w for w, _ in replaced.values()]),
            tokens=F.pad(ids, (0, length - ids.shape[1])),
            image_features=image,
            text_features=text,
            logits=model.similarities(image, text),
            loss=loss[None],
        )
    learned = {name for name, p in model.named_parameters() if p.requires_grad}
    layout = recognise(entry['name'] for entry in case['parameters'])
    expected = set()
    for entry in case['parameters']:
        if entry['name'] in case['trainable']:
            tensor = {entry['name']: torch.empty(entry['shape'])}
            expected |= layout.convert(tensor).state_dict.keys()
    assert learned == expected
    return outputs


def _class_relations(case: Mapping, model: None) -> dict:
    """SG-IoU beside plain IoU, through the metric."""
    sizes = case['config']
    size, ignore = sizes['num_classes'], sizes['ignore_index']
    meta = dict(classes=[f'class {i}' for i in range(size)])
    with tempfile.TemporaryDirectory() as folder:
        relations = Path(folder, 'parents.json')
        relations.write_text(json.dumps(sizes['parents']))
        metric = OpenVocabIoUMetric(relations=relations)
        metric.dataset_meta = meta
    ignored = np.zeros((size + 1, 1))
    for entry in case['inputs']['pairs']:
        truth, found = _label_pair(entry, sizes['parents'])
        ignored[:, 0] += np.bincount(
            found[truth == ignore], minlength=size + 1
        )
        sample = dict(
            gt_sem_seg=dict(data=torch.from_numpy(truth)[None]),
            pred_sem_seg=dict(data=torch.from_numpy(found)[None]),
        )
        metric.process({}, [sample])
    confusion = metric._add_up(metric.results)
    figures = metric.compute_metrics(metric.results)
    outputs = dict(confusion=np.hstack([confusion.T, ignored]))
    for name, prefix, parents in (
        ('plain', '', None),
        ('sg', 'SG_', metric._parents),
    ):
        scores = class_scores(confusion, parents)
        scores['IoU'][np.isnan(scores['Acc'])] = np.nan
        for ours, theirs in (('IoU', 'iou'), ('Acc', 'acc')):
            outputs[f'{name}_{theirs}'] = np.nan_to_num(
                100 * scores[ours], nan=-1
            )
        outputs[f'{name}_summary'] = [
            figures[f'{prefix}{key}']
            for key in ('mIoU_union', 'fwIoU', 'mAcc', 'aAcc')
        ]
    return outputs


def _label_pair(entry: Mapping, parents: Mapping) -> tuple:
    """Truth and prediction of an image of the metric's case."""
    height, width, seed = entry['height'], entry['width'], entry['seed']
    truth = seeded_labels(
        entry['gt'], height, width, entry['gt_classes'], seed, ignore_every=11
    )
    found = seeded_labels(
        entry['pred'],
        height,
        width,
        entry['pred_classes'],
        seed,
        ignore_every=height * width,
    )
    found[found == 255] = 0
    left, middle = slice(0, width // 3), slice(width // 3, 2 * width // 3)
    found[:, left] = np.where(truth == 255, 2, truth)[:, left]
    taken = truth.copy()
    for child, others in parents.items():
        taken[truth == int(child)] = others[0]
    found[:, middle] = np.where(truth == 255, 1, taken)[:, middle]
    return truth, found


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
