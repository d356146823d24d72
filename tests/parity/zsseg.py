# SPDX-License-Identifier: Apache-2.0
"""Runs ZSSeg's parity cases through our config."""

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from seeded import (
    build_checkpoint,
    seeded_array,
    seeded_image,
    seeded_labels,
)

from ovseg_mm.checkpoints import convert, load_checkpoint_into, recognise
from ovseg_mm.models.utils import mask_targets, masked_crop
from ovseg_mm.utils.paths import resource

CONFIGS = {
    'basic': '_base_/models/zsseg_clip-vit-b16_r50.py',
    'deeplab': '_base_/models/zsseg_clip-vit-b16_r101c.py',
}
PROMPT_CONFIG = '_base_/models/zsseg-prompts_clip-vit-b16.py'
RUNTIME = '_base_/default_runtime.py'
OURS = dict(zip('res2 res3 res4 res5'.split(), range(4)))
CLIP_MEAN = 255 * torch.tensor([0.48145466, 0.4578275, 0.40821073])
CLIP_STD = 255 * torch.tensor([0.26862954, 0.26130258, 0.27577711])


def build_config(case: Mapping) -> Config:
    """Our shipped config with the sizes of a case."""
    sizes = case['config']
    clip, backbone = sizes['clip'], sizes['backbone']
    pixel, decoder = sizes['pixel_decoder'], sizes['transformer']
    embedding, branch = sizes['embedding_head'], sizes['clip_branch']
    widths = tuple(backbone['res2_channels'] * 2**stage for stage in range(4))
    flags = sizes['ensemble']['seen_flags']
    texts = dict(class_texts=[text.strip() for text in case['class_texts']])
    unseen = {}
    if flags is not None:
        unseen['unseen'] = [i for i, seen in enumerate(flags) if not seen]
    arch = dict(
        embed_dim=clip['embed_dim'],
        vision_cfg=dict(
            image_size=clip['image_resolution'],
            layers=clip['vision_layers'],
            width=clip['vision_width'],
            patch_size=clip['vision_patch_size'],
        ),
        text_cfg=dict(
            context_length=clip['context_length'],
            vocab_size=clip['vocab_size'],
            width=clip['transformer_width'],
            heads=clip['transformer_heads'],
            layers=clip['transformer_layers'],
        ),
        quick_gelu=True,
    )
    model = dict(
        data_preprocessor=dict(
            mean=sizes['pixel_mean'], std=sizes['pixel_std']
        ),
        clip=dict(_delete_=True, arch=arch, finetune='none'),
        vocabulary=dict(_delete_=True, **texts, **unseen),
        train_vocabulary=dict(_delete_=True, **texts),
        size_divisor=sizes['size_divisor'],
        backbone=dict(
            depth=backbone['depth'],
            stem_channels=backbone['stem_channels'],
            base_channels=backbone['bottleneck_channels'],
            multi_grid=tuple(backbone['res5_multi_grid']),
        ),
        neck=dict(
            in_channels=widths,
            embed_dims=pixel['conv_dim'],
            mask_channels=pixel['mask_dim'],
            norm_cfg=dict(type='GN', num_groups=pixel['groups']),
        ),
        decode_head=dict(
            text_channels=clip['embed_dim'],
            temperature=sizes['temperature'],
            ensemble_weight=(
                sizes['ensemble']['weight']
                if sizes['ensemble']['enabled']
                else None
            ),
            proposals=dict(
                mask_channels=pixel['mask_dim'],
                embedding_channels=embedding['embedding_dim'],
                hidden_channels=embedding['hidden_dim'],
                decoder=dict(
                    in_channels=widths[-1],
                    num_queries=decoder['num_queries'],
                    embed_dims=decoder['hidden_dim'],
                    num_heads=decoder['heads'],
                    num_layers=decoder['decoder_layers'],
                    feedforward_dims=decoder['ffn_dim'],
                    dropout=sizes['loss']['dropout'],
                ),
            ),
            loss_decode=dict(
                class_weight=sizes['loss']['class_weight'],
                mask_weight=sizes['loss']['mask_weight'],
                dice_weight=sizes['loss']['dice_weight'],
                no_object_weight=sizes['loss']['no_object_weight'],
            ),
        ),
        region_encoder=dict(
            mask_threshold=branch['mask_threshold'],
            region_size=branch['region_size'],
            fill=branch['mask_fill'],
            expand_ratio=branch['box_expand_ratio'],
            matting=branch['matting'],
        ),
        # The reference labels every pixel, of one class as of several.
        test_cfg=dict(keep_scores=True, threshold=float('-inf')),
    )
    model.update(_text_side(case, sizes['prompt']))
    if sizes['region_prompt'] is not None:
        own = _text_side(case, sizes['region_prompt'])
        model['region_prompts'] = own.get('prompts', {})
        tower = own.get('text_encoder', dict(type='CLIPTextTransformer'))
        model['region_text_encoder'] = tower
    cfg = Config.fromfile(resource('configs', CONFIGS[backbone['stem']]))
    cfg.merge_from_dict(
        Config.fromfile(resource('configs', RUNTIME)).to_dict()
    )
    cfg.merge_from_dict(dict(model=model))
    return cfg


def _text_side(case: Mapping, prompt: Mapping | str) -> dict:
    """Text tower and prompts of the model, for one text side of a case."""
    shared = dict(synonyms='whole', average_templates=True)
    if isinstance(prompt, str):
        prompt = dict(learner=prompt)
    if prompt['learner'] == 'learnable':
        return dict(
            text_encoder=dict(
                type='CLIPPromptedTextTransformer',
                finetune='prompt',
                prefix_length=prompt['prefix_tokens'],
                suffix_length=prompt['suffix_tokens'],
            ),
            prompts=dict(templates=['{}'], **shared),
        )
    templates = prompt.get('templates') or case.get('templates')
    main = case['config']['prompt']
    if templates == main.get('templates') and prompt is not main:
        templates = None  # those of the other text side
    templates = templates or prompt['learner']
    return dict(prompts=dict(templates=templates, **shared))


def run(case: Mapping, model: torch.nn.Module) -> dict[str, np.ndarray]:
    """All outputs of a case, thinned out as the case says."""
    parts = dict(
        inference=_inference,
        crops=_crops,
        training=_training,
        prompt_stage=_prompt_stage,
    )
    outputs = {}
    for part in case['parts']:
        outputs.update(parts[part](case, model))
    thinned = {}
    for name, value in outputs.items():
        if name in case['outputs']:
            what = case['outputs'][name]['what']
            value = value.detach()[_strides(what)]
            thinned[name] = value.float().numpy()
    return thinned


def _strides(what: str) -> tuple[slice, ...]:
    """The slices that the description of an output names at its end."""
    found = re.search(r'\[(:[:\d, ]*)\](?:;.*)?$', what)
    if not found:
        return ()
    steps = [part.strip().strip(':') for part in found[1].split(',')]
    return tuple(slice(None, None, int(step or 1)) for step in steps)


def _inference(case: Mapping, model: torch.nn.Module) -> dict:
    entry = case['inputs']['images'][0]
    taps: dict = {}
    handles = [
        _keep(taps, 'net_input', model.backbone, inputs=True),
        _keep(taps, 'features', model.backbone),
        _keep(taps, 'pixel', model.neck),
        _keep(taps, 'predictions', model.decode_head),
        _keep(taps, 'regions', model.region_encoder),
    ]
    (sample,) = _predict(model, entry)
    for handle in handles:
        handle.remove()
    pixel, predictions = taps['pixel'], taps['predictions']
    outputs = dict(
        text_features=_text_rows(model),
        net_input=taps['net_input'][0][0],
        mask_features=pixel.mask_features[0],
        mask_logits=predictions.mask_logits[-1, 0],
        class_logits=predictions.class_logits[-1, 0],
        mask_logits_up=model._full_size(
            predictions.mask_logits[-1, 0], (entry['height'], entry['width'])
        ),
        scores_ens=sample.seg_logits.data,
        labels_ens=sample.pred_sem_seg.data[0],
        **_all_states(model, pixel),
    )
    if 'regions' in taps:  # not where proposals alone decide
        regions = taps['regions']
        outputs['region_valid'] = regions.valid
        outputs['region_logits'] = _region_logits(
            case, model, regions.embeddings
        )
    for name, index in OURS.items():
        outputs[f'features_{name}'] = taps['features'][index][0]
    with torch.no_grad():
        batch = model.data_preprocessor(_batch(entry), False)
        outputs['scores_input'] = model.encode_decode(batch['inputs'])[0]
    for ending, weight in (('noens', None), ('cliponly', 0)):
        with _changed(model.decode_head, ensemble_weight=weight):
            (sample,) = _predict(model, entry)
        outputs[f'scores_{ending}'] = sample.seg_logits.data
        outputs[f'labels_{ending}'] = sample.pred_sem_seg.data[0]
    return outputs


@torch.no_grad()
def _all_states(model: torch.nn.Module, pixel) -> dict:
    """What evaluation does not compute: the states of all layers."""
    proposals = model.decode_head.proposals
    proposals.train()
    states = proposals.decoder(pixel.maps, None)[:, 0]
    proposals.eval()
    return dict(
        decoder_states=states,
        mask_embeddings=proposals.mask_embed(states),
        query_embeddings=proposals.class_embed(states),
    )


@torch.no_grad()
def _crops(case: Mapping, model: torch.nn.Module) -> dict:
    spec, head = case['inputs']['fixed_masks'], model.decode_head
    encoder = model.region_encoder
    size = spec['height'], spec['width']
    entry = case['inputs']['images'][0]
    img = torch.from_numpy(seeded_image(entry['name'], *size, entry['seed']))
    img = img.permute(2, 0, 1).float()
    masks = _fixed_masks(spec)
    regions = encoder(img, masks)
    crops, valid, boxes = encoder.crop(img, masks)
    inside = masks[valid]
    if not encoder.matting:
        inside = inside > encoder.mask_threshold
    number, fill = spec['raw_crop'], CLIP_MEAN
    if encoder.fill == 'zero':
        fill = None
    raw = masked_crop(img, inside[number], boxes[number], fill)
    logits = seeded_array(
        'proposal_logits',
        (len(masks), len(case['class_texts']) + 1),
        case['seed'],
        4.0,
    )
    outputs = dict(
        crop_valid=valid,
        crop_boxes=boxes,
        crop_raw=raw.round(),
        crop_regions=crops,
        crop_features=F.normalize(regions.embeddings, dim=1),
        crop_logits=_region_logits(case, model, regions.embeddings),
    )
    with _changed(encoder, matting=True):
        outputs['crop_regions_matting'] = encoder.crop(img, masks)[0]
    outputs['crop_region_expanded'] = _expanded_crop(encoder, img)
    for name, weight, factor in (
        ('ens', head.ensemble_weight, 1),
        ('noens', None, 1),
        ('cliponly', 0, 1),
        ('allinvalid', head.ensemble_weight, 0.2),
    ):
        with _changed(head, ensemble_weight=weight):
            outputs[f'crop_scores_{name}'] = _scores(
                model, img, masks * factor, torch.from_numpy(logits)
            )
    return outputs


def _fixed_masks(spec: Mapping) -> torch.Tensor:
    """The masks that a case lists: block by block, then four of its own."""
    size = spec['height'], spec['width']
    blocks = torch.from_numpy(
        seeded_labels(
            spec['name'],
            *size,
            spec['blocks'],
            spec['seed'],
            spec['ignore_every'],
        )
    )
    inside = [blocks == block for block in range(spec['blocks'])]
    pixel = torch.zeros(size, dtype=torch.bool)
    pixel[tuple(spec['pixel'])] = True
    inside += [pixel & False, pixel | True, pixel, blocks == 255]
    inside = torch.stack(inside)
    return torch.where(inside, spec['inside'], spec['outside'])


def _expanded_crop(encoder: torch.nn.Module, img: torch.Tensor):
    height, width = img.shape[1:]
    mask = torch.full((1, height, width), 0.05)
    rows = slice(height // 3, height // 2)
    mask[:, rows, width // 4 : width // 2 - 3] = 0.95
    with _changed(encoder, expand_ratio=1.5, fill='zero'):
        return encoder.crop(img, mask)[0]


def _scores(model, img, masks, class_logits) -> torch.Tensor:
    head, weights = model.decode_head, None
    if head.uses_regions:
        regions = model.region_encoder(img, masks)
        text = model.region_text_embeddings(model.vocabulary)
        weights = head.class_weights(
            class_logits,
            head.region_logits(regions.embeddings, text),
            regions.valid,
            model._seen('cpu'),
        )
    else:
        weights = head.class_weights(class_logits)
    return torch.einsum('qt,qhw->thw', weights, masks)


def _training(case: Mapping, model: torch.nn.Module) -> dict:
    batch = dict(inputs=[], data_samples=[])
    entries = case['inputs']['images'], case['inputs']['targets']
    for image, target in zip(*entries):
        single = _batch(image)
        labels = seeded_labels(
            target['name'],
            target['height'],
            target['width'],
            target['num_classes'],
            target['seed'],
            target['ignore_every'],
        )
        labels = PixelData(data=torch.from_numpy(labels)[None])
        single['data_samples'][0].gt_sem_seg = labels
        for key, value in single.items():
            batch[key] += value
    taps: dict = {}
    handle = _keep(taps, 'predictions', model.decode_head)
    model.train()
    batch = model.data_preprocessor(batch, training=True)
    losses = model(**batch, mode='loss')
    loss, _ = model.parse_losses(losses)
    loss.backward()
    handle.remove()
    order = case['outputs']['losses']['what'].partition('order ')[2].split()
    outputs = dict(
        losses=torch.stack([losses[f'decode.{name}'] for name in order]),
        total_loss=loss[None],
        **_gradients(case, model),
        **_assignments(model, batch, taps['predictions']),
    )
    model.zero_grad()
    model.eval()
    return outputs


def _assignments(model, batch: Mapping, predictions) -> dict:
    outputs, loss = {}, model.decode_head.loss_decode
    for image, sample in enumerate(batch['data_samples']):
        target = mask_targets(sample.gt_sem_seg.data[0], 255)
        for layer in range(len(predictions.class_logits)):
            pairs = loss.matcher(
                predictions.class_logits[layer, image],
                predictions.mask_logits[layer, image],
                target,
                loss.draw,
            )
            outputs[f'assign_layer{layer}_image{image}'] = torch.stack(pairs)
    return outputs


def _gradients(case: Mapping, model: torch.nn.Module) -> dict:
    names = [entry['name'] for entry in case['parameters']]
    layout = recognise(names)
    ours = dict(model.named_parameters())
    what = case['outputs']['grad_norms']['what']
    norms = []
    for name in what.partition(' for ')[2].split():
        (shape,) = (
            e['shape'] for e in case['parameters'] if e['name'] == name
        )
        (renamed,) = layout.convert({name: torch.empty(shape)}).state_dict
        norms.append(ours[renamed].grad.norm())
    every = [p.grad.norm() for p in ours.values() if p.grad is not None]
    return dict(
        grad_norms=torch.stack(norms),
        grad_norm_all=torch.stack(every).norm()[None],
    )


def _prompt_stage(case: Mapping, model: torch.nn.Module) -> dict:
    classifier, spec = _classifier(case), case['inputs']['prompt_stage']
    size = spec['height'], spec['width']
    images, samples = [], []
    for index, label in enumerate(spec['classes']):
        img = seeded_image(
            f'{spec["image_name"]}_{index}', *size, spec['seed']
        )
        images.append(_as_read(img))
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


def _classifier(case: Mapping) -> torch.nn.Module:
    """Model of the first stage, from its part of the checkpoint."""
    segmenter = build_config(case).model
    cfg = Config.fromfile(resource('configs', PROMPT_CONFIG))
    model = dict(
        clip=dict(_delete_=True, arch=segmenter.clip.arch),
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


@contextmanager
def _changed(module: torch.nn.Module, **settings: object) -> Iterator[None]:
    """Other settings for a while."""
    before = {name: getattr(module, name) for name in settings}
    try:
        vars(module).update(settings)
        yield
    finally:
        vars(module).update(before)


def _text_rows(model: torch.nn.Module) -> torch.Tensor:
    no_object = F.normalize(model.decode_head.no_object_embedding, dim=1)
    text = model.text_embeddings(model.vocabulary)[:, 0]
    return torch.cat([text, no_object]).detach()


def _region_logits(
    case: Mapping, model: torch.nn.Module, embeddings: torch.Tensor
) -> torch.Tensor:
    """Logits of regions with the column for no object, which nobody uses."""
    text = model.region_text_embeddings(model.vocabulary)[:, 0]
    no_object = model.decode_head.no_object_embedding
    for entry in case['parameters']:
        if entry['name'] == '_region_clip_adapter.non_object_embedding':
            no_object = torch.from_numpy(
                seeded_array(
                    entry['name'],
                    entry['shape'],
                    case['seed'],
                    entry['scale'],
                    entry['offset'],
                )
            )
    text = torch.cat([text, F.normalize(no_object, dim=1)])
    return model.decode_head.region_logits(embeddings, text[:, None])


def _keep(
    taps: dict, name: str, module: torch.nn.Module, inputs: bool = False
):
    def hook(_module, given, output) -> None:
        taps[name] = given if inputs else output

    return module.register_forward_hook(hook)


def _predict(model: torch.nn.Module, entry: Mapping) -> list:
    with torch.no_grad():
        return model.test_step(_batch(entry))


def _batch(entry: Mapping) -> dict:
    """One image and its sample."""
    size = entry['height'], entry['width']
    img = seeded_image(entry['name'], *size, entry['seed'])
    out = entry.get('out_height', size[0]), entry.get('out_width', size[1])
    sample = SegDataSample(metainfo=dict(ori_shape=out, img_shape=size))
    return dict(inputs=[_as_read(img)], data_samples=[sample])


def _as_read(img: np.ndarray) -> torch.Tensor:
    """RGB (H, W, 3) to what MMSegmentation reads: BGR, (3, H, W)."""
    return torch.from_numpy(img[..., ::-1].copy()).permute(2, 0, 1)
