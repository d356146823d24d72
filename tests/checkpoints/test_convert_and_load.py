# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import save_checkpoint
from mmseg.apis import init_model

from ovseg_mm.checkpoints import (
    convert,
    load_checkpoint_into,
    read_weights,
)
from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.paths import file_sha256
from ovseg_mm.version import __version__

from ..tiny import clip_arch
from .published import published_cat_seg

PREDICTOR = 'sem_seg_head.predictor.'
PUBLISHED = f'{PREDICTOR}transformer.'


@pytest.fixture(scope='module')
def config():
    """CAT-Seg at a tiny size."""
    arch = clip_arch(
        width=64,
        heads=1,
        patch_size=16,
        text=dict(vocab_size=60, width=64, heads=1, layers=1),
    )
    model = dict(
        type='OpenVocabSegmentor',
        clip=dict(arch=arch),
        vocabulary=['cat', 'sky'],
        backbone=dict(
            type='CLIPViT', last_block='value_cls', out_indices=(0, 1)
        ),
        text_encoder=dict(type='CLIPTextTransformer'),
        neck=dict(
            type='CLIPTokenPyramid', in_channels=64, out_channels=(256, 128)
        ),
        decode_head=dict(
            type='CATSegCostHead',
            text_channels=16,
            appearance_channels=16,
            loss_decode=dict(type='DenseBCELoss'),
        ),
    )
    return Config(dict(model=model, default_scope='mmseg'))


@pytest.fixture(scope='module')
def model(config):
    from mmseg.registry import MODELS

    return MODELS.build(config.model)


@pytest.fixture
def published(model):
    """Random weights of the model's shapes under the published names."""
    torch.manual_seed(3)
    weights = published_cat_seg(model.state_dict())
    return {name: torch.randn(t.shape) for name, t in weights.items()}


@pytest.fixture
def source(tmp_path, published):
    """A file as detectron2 writes it, with NumPy values."""
    path = tmp_path / 'model_base.pth'
    arrays = {name: tensor.numpy() for name, tensor in published.items()}
    torch.save(dict(model=arrays, trainer=dict(), iteration=79999), path)
    return path


def assert_holds(model, published):
    state_dict = model.state_dict()
    for ours, theirs in (
        ('backbone.proj', f'{PREDICTOR}clip_model.visual.proj'),
        ('decode_head.head.weight', f'{PUBLISHED}head.weight'),
        (
            'decode_head.layers.1.spatial.blocks.1.mlp.2.bias',
            f'{PUBLISHED}layers.1.swin_block.block_2.mlp.fc2.bias',
        ),
        ('neck.upsamples.1.weight', 'upsample2.weight'),
    ):
        assert torch.equal(state_dict[ours], published[theirs])
    assert torch.equal(
        state_dict['decode_head.layers.0.classwise.padding_token'],
        published[f'{PUBLISHED}layers.0.attention.padding_tokens'][0, 0],
    )


def test_convert_with_config(tmp_path, config, source, published):
    target = tmp_path / 'ours.pth'
    report = convert(source, target, config)
    assert (report.method, report.layout) == ('CAT-Seg', 'cat_seg')
    assert report.checked and not report.unused
    assert len(report.dropped) == 2
    assert report.converted == len(report.used) == len(published) - 2

    content = torch.load(target, weights_only=True)
    assert content.keys() == {'state_dict', 'meta'}
    meta = content['meta']
    assert meta['source'] == 'model_base.pth'
    assert meta['source_sha256'] == file_sha256(source)
    assert meta['layout'] == 'cat_seg'
    assert meta['ovseg_mm_version'] == __version__
    assert meta['dataset_meta']['classes'] == ['cat', 'sky']
    loaded = init_model(config.copy(), str(target), device='cpu')
    assert_holds(loaded, published)
    assert loaded.dataset_meta['classes'] == ['cat', 'sky']


def test_convert_without_config_knows_the_training_words(tmp_path, source):
    report = convert(str(source), str(tmp_path / 'ours.pth'))
    assert not report.checked
    meta = read_weights(tmp_path / 'ours.pth').meta['dataset_meta']
    assert len(meta['classes']) == len(meta['palette']) == 171


def test_convert_our_own_checkpoint_keeps_its_words(
    tmp_path, model, our_weights
):
    path = tmp_path / 'epoch_1.pth'
    dataset_meta = dict(classes=['a', 'b'], palette=[[0, 0, 0], [1, 1, 1]])
    content = dict(
        meta=dict(dataset_meta=dataset_meta, epoch=1),
        state_dict=model.state_dict(),
        optimizer=dict(state={}, param_groups=[]),
    )
    save_checkpoint(content, str(path))
    convert(path, tmp_path / 'slim.pth')
    slim = torch.load(tmp_path / 'slim.pth', weights_only=True)
    assert slim.keys() == {'state_dict', 'meta'}
    assert slim['meta']['dataset_meta'] == dataset_meta
    assert slim['state_dict'].keys() == model.state_dict().keys()


@pytest.mark.parametrize('kind', ['published', 'converted', 'trained'])
def test_load_into_a_model(tmp_path, config, source, published, model, kind):
    from mmseg.registry import MODELS

    path = source
    if kind != 'published':
        path = tmp_path / 'ours.pth'
        convert(source, path)
    if kind == 'trained':
        load_checkpoint_into(model, path)
        content = dict(state_dict=model.state_dict(), meta=dict(iter=3))
        save_checkpoint(content, str(path))
    fresh = MODELS.build(config.model)
    report = load_checkpoint_into(fresh, path)
    assert report.method == 'CAT-Seg' and report.checked
    assert_holds(fresh, published)


def test_mmseg_names_the_command_for_published_files(config, source, tmp_path):
    content = read_weights(source)
    path = tmp_path / 'tensors.pth'
    torch.save(dict(state_dict=content.tensors, meta={}), path)
    with pytest.raises(
        ValueError, match='`python -m ovseg_mm convert SRC DST'
    ):
        init_model(config.copy(), str(path), device='cpu')


def corrupt(source, change):
    content = torch.load(source, weights_only=False)
    change(content['model'])
    torch.save(content, source)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            lambda w: w.pop(f'{PUBLISHED}head.bias'),
            r'decode_head\.head\.bias is missing',
        ),
        (
            lambda w: w.update({'upsample1.bias': w['upsample1.bias'][:9]}),
            r'upsamples\.0\.bias is \(9,\) in the file and \(256,\) in the mo',
        ),
        (
            lambda w: w.update(
                {
                    name.replace('resblocks.1', 'resblocks.2'): value
                    for name, value in list(w.items())
                    if 'visual.transformer.resblocks.1' in name
                }
            ),
            r'resblocks\.2\..* has no place in the model.* and \d+ more',
        ),
    ],
)
def test_misfits_write_nothing(
    tmp_path, config, model, source, change, message
):
    corrupt(source, change)
    with pytest.raises(ValueError, match=message):
        convert(source, tmp_path / 'ours.pth', config)
    assert [path.name for path in tmp_path.iterdir()] == ['model_base.pth']
    with pytest.raises(ValueError, match=message):
        load_checkpoint_into(model, source)
    report = convert(source, tmp_path / 'ours.pth')
    assert not report.checked


def test_unknown_names_are_reported_and_left_out(tmp_path, config, source):
    corrupt(source, lambda w: w.update({'ema.decay': w['upsample1.bias']}))
    report = convert(source, tmp_path / 'ours.pth', config)
    assert report.unused == ('ema.decay',)
    weights = read_weights(tmp_path / 'ours.pth').tensors
    assert not any('ema' in name for name in weights)


def test_checkpoint_of_another_method(tmp_path, config, model, our_weights):
    path = tmp_path / 'ViT.pt'
    torch.save(our_weights, path)
    message = (
        'is a checkpoint of CLIP, but the model is CAT-Seg; set '
        'clip.custom_clip_weights'
    )
    with pytest.raises(ValueError, match=message):
        load_checkpoint_into(model, path)
    with pytest.raises(ValueError, match=message):
        convert(path, tmp_path / 'out.pth', config)
    names = (
        'fusion_decoder.multiattn.0.in_proj_weight',
        'clip_adapter.original_clip.conv1.weight',
    )
    torch.save({name: torch.ones(1) for name in names}, path)
    with pytest.raises(ValueError, match='is a checkpoint of SCAN'):
        load_checkpoint_into(model, path)


def test_model_of_another_kind(source):
    with pytest.raises(ValueError, match='the model is a Linear'):
        load_checkpoint_into(torch.nn.Linear(2, 2), source)


def test_clip_archive(tmp_path, openai_archive, our_weights):
    report = convert(openai_archive, tmp_path / 'clip.pth')
    assert report.method == 'CLIP'
    assert set(report.dropped) == {
        'input_resolution',
        'context_length',
        'vocab_size',
    }
    weights = read_weights(tmp_path / 'clip.pth').tensors
    assert torch.equal(
        weights['backbone.transformer.resblocks.1.attn.v_proj_weight'].float(),
        our_weights['visual.transformer.resblocks.1.attn.v_proj_weight'],
    )
    assert 'text_encoder.token_embedding.weight' in weights


def test_numbers_that_are_not_finite_are_not_converted(tmp_path, source):
    weights = dict(read_weights(source).tensors)
    name = next(n for n in weights if n.endswith('conv1.weight'))
    weights[name] = torch.full_like(weights[name], float('nan'))
    torch.save({'model': weights}, source)
    with pytest.raises(ValueError, match=f'not finite .* of {name}'):
        convert(source, tmp_path / 'x.pth')
    assert not (tmp_path / 'x.pth').exists()


def test_what_is_read_is_not_overwritten(tmp_path, config, source):
    folder = tmp_path / 'clip'
    folder.mkdir()
    index = folder / 'model.safetensors.index.json'
    index.write_text('{}')
    for place in (folder, index):
        with pytest.raises(ValueError, match='is inside the folder of the in'):
            convert(place, folder / 'part.safetensors')
    other = tmp_path / 'other.pth'
    torch.save({}, other)
    with pytest.raises(ValueError, match='is an input and would be'):
        convert(source, other, fuse_clip=other)
    config.dump(tmp_path / 'cfg.py')
    with pytest.raises(ValueError, match='is an input and would be'):
        convert(source, tmp_path / 'cfg.py', tmp_path / 'cfg.py')
    assert other.exists() and index.read_text() == '{}'


def test_a_device_stays_a_device(source, tmp_path):
    (tmp_path / 'link').symlink_to('/dev/null')
    for target in ('/dev/null', tmp_path / 'link'):
        with pytest.raises(OSError, match='it is a device, not a file'):
            convert(source, target)
    assert Path('/dev/null').is_char_device()
    assert (tmp_path / 'link').is_symlink()


def test_destinations(tmp_path, source, monkeypatch):
    before = source.read_bytes()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match='is an input and would be'):
        convert(source, Path('model_base.pth'))
    with pytest.raises(ValueError, match='is a folder'):
        convert(source, tmp_path)
    with pytest.raises(FileNotFoundError, match=r'no/where does not exist'):
        convert(source, tmp_path / 'no' / 'where' / 'x.pth')
    with pytest.raises(FileNotFoundError, match='gone.py'):
        convert(source, tmp_path / 'x.pth', tmp_path / 'gone.py')
    with pytest.raises(FileNotFoundError, match='gone.pth does not exist'):
        convert(tmp_path / 'gone.pth', tmp_path / 'x.pth')
    assert source.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ['model_base.pth']
    monkeypatch.setenv('HOME', str(tmp_path))
    convert(source, '~/x.pth')
    assert (tmp_path / 'x.pth').is_file()


@pytest.fixture(scope='module')
def config_without_layout(config):
    """A model whose tensor names are those of no known layout."""
    model = dict(
        type='OpenVocabSegmentor',
        clip=config.model.clip,
        vocabulary=['cat', 'sky'],
        backbone=dict(
            type='ResNet',
            depth=18,
            base_channels=4,
            stem_channels=4,
            norm_cfg=dict(type='BN'),
        ),
        text_encoder=dict(type='CLIPTextTransformer'),
        neck=dict(
            type='FPNPixelDecoder',
            in_channels=(4, 8, 16, 32),
            embed_dims=8,
            mask_channels=8,
            norm_cfg=dict(type='GN', num_groups=2),
        ),
        decode_head=dict(
            type='PixelTextHead',
            in_channels=8,
            text_channels=16,
            loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
        ),
    )
    return Config(dict(model=model, default_scope='mmseg'))


def test_what_fits_the_model_is_ours_whatever_its_layout(
    tmp_path, config_without_layout
):
    from mmseg.registry import MODELS

    cfg = config_without_layout
    model = MODELS.build(cfg.model)
    trained = tmp_path / 'iter_1.pth'
    content = dict(state_dict=model.state_dict(), meta={}, optimizer={})
    save_checkpoint(content, str(trained))
    slim = tmp_path / 'slim.pth'
    assert convert(trained, slim, cfg).layout == 'ovseg_mm'
    for path in (trained, slim):
        fresh = MODELS.build(cfg.model)
        report = load_checkpoint_into(fresh, path)
        assert report.checked and report.converted == len(model.state_dict())
        loaded = init_model(cfg.copy(), str(path), device='cpu')
        for found in (fresh, loaded):
            torch.testing.assert_close(
                found.state_dict(), model.state_dict(), rtol=0, atol=0
            )


def test_what_does_not_fit_such_a_model_is_told_by_tensor(
    tmp_path, config_without_layout
):
    from mmseg.registry import MODELS

    model = MODELS.build(config_without_layout.model)
    path = tmp_path / 'iter_1.pth'
    tensors = model.state_dict()
    del tensors['decode_head.projection.bias']
    torch.save(dict(state_dict=tensors), path)
    for load in (
        lambda: load_checkpoint_into(model, path),
        lambda: convert(path, tmp_path / 'x.pth', config_without_layout),
        lambda: model.load_state_dict(tensors),
    ):
        with pytest.raises(
            InputError, match=r'fit the model: decode_head\.projection\.bias '
        ):
            load()
    assert not (tmp_path / 'x.pth').exists()
