# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from ovseg_mm.cli import main

NAMES = (
    'sem_seg_head.predictor.clip_model.visual.conv1.weight',
    'sem_seg_head.predictor.clip_model.logit_scale',
    'sem_seg_head.predictor.transformer.conv1.weight',
    'sem_seg_head.predictor.transformer.layers.0.swin_block.'
    'guidance_norm.weight',
    'upsample1.weight',
    'ema.decay',
)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / 'model_base.pth'
    torch.save({'model': {name: torch.ones(2) for name in NAMES}}, path)
    return path


def test_report(tmp_path, source, capsys):
    target = tmp_path / 'ours.pth'
    assert main(['convert', str(source), str(target)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f'read     {source} (CAT-Seg, layout cat_seg)' in lines
    assert 'used     4 tensors' in lines
    assert any(line.startswith('dropped  1 tensor: ') for line in lines)
    at = lines.index('unused   1 tensor')
    assert lines[at + 1].strip() == 'ema.decay'
    assert f'wrote    {target} (4 tensors)' in lines
    assert set(torch.load(target, weights_only=True)['state_dict']) == {
        'backbone.conv1.weight',
        'decode_head.cost_embedding.weight',
        'decode_head.layers.0.spatial.guidance_norm.weight',
        'neck.upsamples.0.weight',
    }


def test_errors_are_one_sentence(tmp_path, source, capsys):
    for arguments, message in (
        ([source, source], 'is an input and would be'),
        ([tmp_path / 'gone.pth', tmp_path / 'x.pth'], 'does not exist'),
        ([source, tmp_path / 'no' / 'x.pth'], 'does not exist'),
        (
            [source, tmp_path / 'x.pth', '--config', tmp_path / 'gone.py'],
            'there is no such model',
        ),
    ):
        assert main(['convert', *map(str, arguments)]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert len(error.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ['model_base.pth']


def test_config_that_does_not_fit(tmp_path, source, capsys):
    config = tmp_path / 'model.py'
    config.write_text(
        "default_scope = 'mmseg'\n"
        "model = dict(type='EncoderDecoder', "
        "backbone=dict(type='ResNetV1c', depth=18, out_indices=(3,), "
        "norm_cfg=dict(type='BN')), "
        "decode_head=dict(type='FCNHead', in_channels=512, channels=8, "
        'num_classes=2))\n'
    )
    arguments = [source, tmp_path / 'x.pth', '--config', config]
    assert main(['convert', *map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert 'checkpoint of CAT-Seg, but the model is a EncoderDecoder' in error
    assert not (tmp_path / 'x.pth').exists()


def test_a_config_that_cannot_be_read_is_one_sentence(tmp_path, capsys):
    (tmp_path / 'clip.pth').write_bytes(b'')
    config = tmp_path / 'broken.py'
    config.write_text('model = dict(\n')
    paths = [str(tmp_path / name) for name in ('clip.pth', 'out.pth')]
    assert main(['convert', *paths, '--config', str(config)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f'error: {config} ') and error.count('\n') == 1
