# SPDX-License-Identifier: Apache-2.0
import json
import math
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner, load_checkpoint
from mmseg.apis import inference_model, init_model
from mmseg.models import EncoderDecoder
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from PIL import Image

from ovseg_mm.compat import cat_seg as compat
from ovseg_mm.models import OpenVocabSegmentor

PARITY = Path(__file__).parents[1] / 'parity'
WORDS = ['wall', 'building, edifice', 'sky']
TEST_WORDS = ['water', 'tree']

# A config as the project's users have it; custom_imports alone is ours.
CONFIG = """
default_scope = 'mmseg'
custom_imports = dict(imports=['ovseg_mm.compat.cat_seg'])
env_cfg = dict(dist_cfg=dict(backend='nccl'))
log_processor = dict(by_epoch=False)
tta_model = dict(type='SegTTAModel')
visualizer = dict(
    type='SegLocalVisualizer',
    vis_backends=[dict(type='LocalVisBackend')],
    name='visualizer',
)
model = {model}
dataset = dict(
    type='BaseSegDataset',
    metainfo=dict(classes=('wall', 'building', 'sky')),
    data_prefix=dict(img_path='images', seg_map_path='labels'),
    img_suffix='.png',
)
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(200, 72), keep_ratio=True),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations'),
            dict(type='RandomCrop', crop_size=(64, 64)),
            dict(type='PackSegInputs'),
        ],
        **dataset,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(pipeline=test_pipeline, **dataset),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-4, weight_decay=1e-4),
    paramwise_cfg=dict(
        custom_keys={{
            'backbone.feature_extractor': dict(lr_mult=0.01),
            'backbone.clip_model.visual': dict(lr_mult=0.1),
        }}
    ),
)
train_cfg = dict(type='IterBasedTrainLoop', max_iters=1, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
"""


@pytest.fixture(autouse=True)
def scope(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    init_default_scope('mmseg')


@pytest.fixture(scope='module')
def case():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PARITY)
        from seeded import load_case

        return load_case(PARITY / 'cases' / 'cat_seg_v1' / 'tiny_resnet_slide')


@pytest.fixture
def model(case, tmp_path, monkeypatch):
    """The project's model of a parity case, on windows of 64 pixels."""
    clip = case['config']['clip']
    arch = dict(
        embed_dim=clip['embed_dim'],
        vision_cfg=dict(
            image_size=clip['vision_grid'] * clip['patch_size'],
            layers=clip['vision_layers'],
            width=clip['vision_width'],
            patch_size=clip['patch_size'],
        ),
        text_cfg=dict(
            width=clip['text_width'],
            heads=clip['text_width'] // 64,
            layers=clip['text_layers'],
        ),
        quick_gelu=True,
    )
    monkeypatch.setitem(compat._CLIPS, 'ViT-B/16', (arch, None, 64, False))
    model = deepcopy(case['config']['model'])
    for name, words in (('train', WORDS), ('test', WORDS)):
        path = tmp_path / f'{name}.json'
        path.write_text(json.dumps(words))
        model['backbone'][f'{name}_class_json'] = str(path)
    model['data_preprocessor']['size'] = (64, 64)
    model['test_cfg'] = dict(mode='slide', stride=(64, 64), crop_size=(64, 64))
    return model


@pytest.fixture
def published(case, tmp_path):
    """A checkpoint under the project's names, as MMEngine saves it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PARITY)
        from seeded import build_checkpoint

        weights = build_checkpoint(case)
    weights = {name: torch.from_numpy(w) for name, w in weights.items()}
    # The text embeddings of another class list.
    weights['backbone.text_features_test'] = torch.randn(150, 80, 64)
    path = tmp_path / 'catseg_vitb-r101.pth'
    meta = dict(dataset_meta=dict(classes=['a'], palette=[[0, 0, 0]]))
    torch.save(dict(state_dict=weights, meta=meta), path)
    return path


def own(model):
    return MODELS.build(model)


def test_other_segmentors_are_left_alone():
    model = MODELS.build(
        dict(
            type='EncoderDecoder',
            backbone=dict(
                type='ResNet', depth=18, base_channels=4, stem_channels=4
            ),
            decode_head=dict(
                type='FCNHead', in_channels=32, channels=4, num_classes=2
            ),
        )
    )
    assert type(model) is EncoderDecoder


def test_a_project_config_trains_validates_and_tests(model, tmp_path):
    rng = np.random.default_rng(0)
    for index in range(2):
        for folder, top, shape in (
            ('images', 255, (70, 90, 3)),
            ('labels', 3, (70, 90)),
        ):
            path = tmp_path / 'data' / folder / f'{index}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, top, shape, dtype=np.uint8)
            Image.fromarray(pixels).save(path)
    path = tmp_path / 'config.py'
    path.write_text(CONFIG.format(model=model))
    cfg = Config.fromfile(path)
    cfg.work_dir = str(tmp_path / 'work')
    for name in ('train', 'val', 'test'):
        cfg[f'{name}_dataloader'].dataset.data_root = str(tmp_path / 'data')
    runner = Runner.from_cfg(cfg)
    assert isinstance(runner.model, OpenVocabSegmentor)
    runner.train()
    assert 0 <= runner.test()['mIoU'] <= 100
    rates = {
        id(parameter): group['lr']
        for group in runner.optim_wrapper.optimizer.param_groups
        for parameter in group['params']
    }
    for name, parameter in runner.model.named_parameters():
        if not parameter.requires_grad:
            continue
        factor = {'backbone.g': 0.01, 'backbone.c': 0.1}.get(name[:10], 1)
        assert rates[id(parameter)] == pytest.approx(2e-4 * factor), name


def test_its_checkpoint_is_loaded_and_words_are_encoded_anew(
    model, published, case
):
    model['backbone']['test_class_json'] = 'test_words.json'
    Path('test_words.json').write_text(json.dumps(TEST_WORDS))
    segmentor = own(model).eval()
    load_checkpoint(segmentor, str(published), map_location='cpu')
    weights = torch.load(published)['state_dict']
    ours = segmentor.state_dict()
    for name, theirs in (
        ('backbone.guidance.conv1.weight', 'backbone.feature_extractor.conv1'),
        ('backbone.clip.conv1.weight', 'backbone.clip_model.visual.conv1'),
        ('text_encoder.ln_final.weight', 'backbone.clip_model.ln_final'),
        ('decode_head.cost_embedding.weight', 'neck.conv1'),
        ('decode_head.head.weight', 'decode_head.conv_seg'),
    ):
        assert torch.equal(ours[name], weights[f'{theirs}.weight']), name
    qk = weights['neck.layers.1.spatial_agg.block_2.attn.w_msa.qk.weight']
    attn = segmentor.decode_head.layers[1].spatial.blocks[1].attn
    assert torch.equal(torch.cat([attn.q.weight, attn.k.weight]), qk)
    text = segmentor.text_embeddings(segmentor.vocabulary)
    assert text.shape == (2, 80, 64)


def test_a_checkpoint_that_does_not_fit_is_refused(model, published):
    content = torch.load(published)
    content['state_dict'].pop('neck.conv1.bias')
    torch.save(content, published)
    with pytest.raises(ValueError, match='cost_embedding.bias is missing'):
        load_checkpoint(own(model), str(published))


def test_mmseg_apis(model, published):
    Path('config.py').write_text(CONFIG.format(model=model))
    segmentor = init_model('config.py', str(published), device='cpu')
    image = np.random.default_rng(0).integers(0, 255, (80, 130, 3), np.uint8)
    result = inference_model(segmentor, image)
    assert result.pred_sem_seg.data.shape == (1, 80, 130)
    assert result.seg_logits.data.shape == (3, 80, 130)
    assert segmentor.dataset_meta['classes'] == ['wall', 'building', 'sky']


def test_whole_images_as_mmsegmentation_segments_them(model):
    """Logits go to the size of the input, then to the original one."""
    model['test_cfg'] = dict(mode='whole')
    segmentor = own(model).eval()
    img = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    sample = SegDataSample(metainfo=dict(ori_shape=(37, 101)))
    batch = dict(inputs=[img], data_samples=[sample])
    with torch.no_grad():
        (result,) = segmentor.test_step(batch)
        inputs = segmentor.data_preprocessor(batch)['inputs']
        logits = segmentor.encode_decode(inputs.float())
        scores = segmentor.inference(inputs.float())
    assert logits.shape[2:] != (64, 64)
    logits = F.interpolate(logits, (64, 64), mode='bilinear')
    torch.testing.assert_close(scores, logits)
    logits = F.interpolate(logits, (37, 101), mode='bilinear')
    torch.testing.assert_close(result.seg_logits.data, logits[0])


def test_windows_that_the_grid_does_not_fill(model):
    model['neck']['window_size'] = 10
    for layer in own(model).decode_head.layers:
        for block in layer.spatial.blocks:
            assert block.window_size == 10 and not block.mask_padding


def test_own_checkpoints_are_loaded_as_they_are(model):
    first, second = own(model), own(model)
    second.load_state_dict(first.state_dict())
    for a, b in zip(first.parameters(), second.parameters()):
        assert torch.equal(a, b)


def test_a_test_file_of_null_means_the_training_words(model):
    Path('null.json').write_text('null')
    model['backbone']['test_class_json'] = 'null.json'
    segmentor = own(model)
    assert segmentor.vocabulary.names == ('wall', 'building', 'sky')


def test_missing_class_lists(model):
    model['backbone']['train_class_json'] = 'data/coco.json'
    with pytest.warns(UserWarning, match="class list 'coco' of this package"):
        translated = compat.translate(model)
    assert translated['train_vocabulary'] == 'coco'
    model['backbone']['train_class_json'] = 'data/mine.json'
    with pytest.raises(FileNotFoundError, match='mine.json'):
        own(model)


@pytest.mark.parametrize(
    ('mode', 'trained'),
    [
        ('attention', ['attn', 'positional_embedding']),
        ('full', ['']),
        ('prompt', ['prompt_tokens']),
        ('nothing', []),
    ],
)
def test_finetune_modes(model, mode, trained):
    model['backbone'].update(
        clip_finetune=mode, prompt_depth=2, prompt_length=3
    )
    segmentor = own(model)
    for name, parameter in segmentor.backbone.clip.named_parameters():
        expected = any(part in name for part in trained)
        assert parameter.requires_grad == expected, name
    assert not any(
        p.requires_grad for p in segmentor.text_encoder.parameters()
    )
    assert all(p.requires_grad for p in segmentor.decode_head.parameters())
    assert all(
        p.requires_grad for p in segmentor.backbone.guidance.parameters()
    )


def test_visual_prompts_begin_as_in_the_project(model):
    model['backbone'].update(prompt_depth=2, prompt_length=30)
    prompts = own(model).backbone.clip.prompt_tokens
    assert prompts.shape == (2, 30, 128)
    bound = math.sqrt(6 / ((2 + 30) * 128))
    assert 0.95 * bound < prompts.abs().max() <= bound


def test_multiplier_of_zero_freezes_the_guidance(model):
    model['backbone']['backbone_multiplier'] = 0
    guidance = own(model).backbone.guidance
    assert not any(p.requires_grad for p in guidance.parameters())


@pytest.mark.parametrize('name', ['ViT-H', 'ViT-G'])
def test_clips_of_open_clip(model, name):
    model['backbone'].update(
        clip_pretrained=name,
        custom_clip_weights='~/not/there',
        prompt_depth=3,
        prompt_length=2,
    )
    model['neck']['text_guidance_dim'] = 1024
    translated = compat.translate(model)
    clip = translated['backbone']['clip']
    assert translated['clip']['custom_clip_weights'] is None
    assert clip['pos_image_size'] == 336 and clip['input_size'] == (336, 336)
    assert clip['prompts']['depth'] == 0


def test_custom_weights_that_exist(model, tmp_path):
    (tmp_path / 'clip').mkdir()
    model['backbone']['custom_clip_weights'] = str(tmp_path / 'clip')
    clip = compat.translate(model)['clip']
    assert clip['custom_clip_weights'] == str(tmp_path / 'clip')


@pytest.mark.parametrize(
    ('part', 'changes', 'message'),
    [
        ('backbone', dict(clip_pretrained='RN50'), "'RN50'.*ViT-B/16"),
        ('backbone', dict(clip_weights='x'), 'no option clip_weights'),
        ('neck', dict(prompt_channel=8), 'prompt_channel=8 must be 80'),
        ('neck', dict(type='FPN'), "must be 'CATSegAggregator'"),
        ('neck', dict(embed_dims=64), 'embed_dims=32 must be 64'),
        ('decode_head', dict(ignore_index=0), 'ignore_index=0 must be 255'),
        (
            'decode_head',
            dict(align_corners=True),
            'align_corners=True must be False: this package supports no',
        ),
        (
            'decode_head',
            dict(sampler=dict(type='OHEMPixelSampler')),
            r'sampler=\{.*\} must be None: the loss cannot sample',
        ),
        (
            'decode_head',
            dict(out_channels=1, num_classes=2),
            'out_channels=1 must be 2: each class has one channel',
        ),
        ('decode_head', dict(threshold=30), 'threshold=30 must be between'),
        ('backbone', dict(prompt_ensemble_type='all'), "template set 'all'"),
    ],
)
def test_wrong_options(model, part, changes, message):
    model[part].update(changes)
    with pytest.raises(ValueError, match=message):
        compat.translate(model)


def test_options_as_mmsegmentation_has_them_by_default(model):
    head = model['decode_head']
    expected = compat.translate(model)['decode_head']
    assert expected['threshold'] == pytest.approx(math.log(0.3 / 0.7))
    head.update(
        threshold=None,
        align_corners=False,
        sampler=None,
        out_channels=head['num_classes'],
        loss_decode=[head['loss_decode']],
    )
    assert compat.translate(model)['decode_head'] == expected
    head['threshold'] = 0.5
    assert compat.translate(model)['decode_head']['threshold'] == 0


def test_missing_options(model):
    del model['backbone']['clip_finetune']
    with pytest.raises(ValueError, match='lacks the options clip_finetune'):
        compat.translate(model)


def test_double_normalisation_is_refused(model):
    model['data_preprocessor'].update(mean=[1.0] * 3, std=[2.0] * 3)
    with pytest.raises(ValueError, match='remove mean and std'):
        own(model)
