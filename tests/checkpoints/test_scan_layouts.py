# SPDX-License-Identifier: Apache-2.0
"""SCAN's files and Swin Transformers of others, under our names."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmseg.models.backbones.swin import SwinTransformer
from mmseg.models.utils.embed import PatchMerging

from ovseg_mm.checkpoints import LAYOUTS, convert, recognise
from ovseg_mm.checkpoints.layouts.swin import _reorder
from ovseg_mm.cli import main

CASES = Path(__file__).parents[1] / 'parity' / 'cases' / 'scan'


def read(case, **extra):
    """Tensors of a case's file, all different, and others by shape."""
    content = json.loads((CASES / case / 'case.json').read_text())
    shapes = {e['name']: e['shape'] for e in content['parameters']}
    torch.manual_seed(len(shapes))
    return {
        name: torch.randn(shape) for name, shape in {**shapes, **extra}.items()
    }


@pytest.fixture(scope='module')
def published():
    """A segmentor with the leftovers of the released file."""
    visual = 'clip_adapter.clip_model.visual.'
    extra = {
        f'{visual}learnable_weight': (1,),
        f'{visual}cxt_decoder.layers.0.self_attn.in_proj_weight': (9, 3),
        f'{visual}cxt_decoder.layers.1.norm3.bias': (3,),
        'criterion.empty_weight': (7,),
        'clip_adapter.pixel_mean': (1, 3, 1, 1),
        'clip_adapter.pixel_std': (1, 3, 1, 1),
    }
    index = 'backbone.layers.{}.blocks.{}.attn.relative_position_index'
    extra.update(
        {index.format(i, j): (16, 16) for i in range(4) for j in range(2)}
    )
    return read('tiny_eval', **extra)


@pytest.fixture(scope='module')
def published_clip():
    """A CLIP of the sizes of ``published``, as the fine-tuning saves it."""
    tensors = read('tiny_eval')
    towers = {}
    for name, tensor in tensors.items():
        for theirs, ours in (
            ('clip_adapter.clip_model.', 'module.clip_model.'),
            ('clip_adapter.original_clip.', 'module.original_clip_visual.'),
        ):
            if name.startswith(theirs):
                towers[name.replace(theirs, ours)] = tensor + 1
    return towers


def test_segmentor(published):
    layout = recognise(published)
    assert (layout.name, layout.method) == ('scan', 'SCAN')
    converted = layout.convert(published)
    assert converted.unused == []
    assert len(converted.dropped) == 7
    unused = [n for n, why in converted.dropped.items() if 'SCAN' in why]
    assert len(unused) == 3
    ours = converted.state_dict
    assert LAYOUTS.find(ours) is None


@pytest.mark.parametrize('name', ['vitL', 'vitB'])
def test_released_names(name):
    """Where each part of the released files goes, by the module."""
    blocks = dict(vitL=24, vitB=12)[name]
    shapes = {
        f'clip_adapter.original_clip.transformer.resblocks.{i}.ln_1.weight': i
        for i in range(blocks)
    }
    layout = recognise(
        {**read('tiny_eval'), **dict.fromkeys(shapes, torch.ones(1))}
    )
    converted = layout.convert(dict.fromkeys(shapes, torch.ones(1)))
    assert list(converted.state_dict) == [
        f'context_encoder.clip.transformer.resblocks.{i}.ln_1.weight'
        for i in range(blocks)
    ]


def test_value_part_of_the_light_encoder(published):
    layer = 'lightweight_transformer.layers.3.self_attn.'
    ours = recognise(published).convert(published).state_dict
    for kind in ('weight', 'bias'):
        packed = published[f'{layer}in_proj_{kind}']
        value = ours[f'decode_head.integration.encoder.3.value.{kind}']
        assert torch.equal(value, packed[128:])


def test_region_and_context_towers_are_told_apart(published):
    ours = recognise(published).convert(published).state_dict
    for theirs, tower in (
        ('clip_adapter.clip_model.visual', 'region_encoder.clip'),
        ('clip_adapter.original_clip', 'context_encoder.clip'),
    ):
        assert torch.equal(ours[f'{tower}.proj'], published[f'{theirs}.proj'])


def test_patch_merging_is_the_same_function():
    """Neighbours down the columns first, then all channels of each."""
    torch.manual_seed(0)
    x, size = torch.randn(2, 4 * 6, 5), (4, 6)
    weight, scale, shift = torch.randn(10, 20), *torch.randn(2, 20)
    grid = x.unflatten(1, size)
    blocks = [grid[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
    expected = torch.cat(blocks, dim=-1).flatten(1, 2)
    expected = F.layer_norm(expected, (20,), scale, shift) @ weight.t()
    merge = PatchMerging(5, 10)
    with torch.no_grad():
        merge.norm.weight.copy_(_reorder(scale))
        merge.norm.bias.copy_(_reorder(shift))
        merge.reduction.weight.copy_(_reorder(weight))
        found, _ = merge(x, size)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_swin_of_its_authors(tmp_path, published):
    weights = {
        name.removeprefix('backbone.'): tensor
        for name, tensor in published.items()
        if name.startswith('backbone.')
    }
    weights.pop('norm0.weight')
    weights['head.weight'] = torch.ones(3, 256)
    weights['norm.bias'] = torch.ones(256)
    weights['layers.0.blocks.1.attn_mask'] = torch.zeros(4, 16, 16)
    path = tmp_path / 'swin.pth'
    torch.save(dict(model=weights), path)
    report = convert(path, tmp_path / 'ours.pth')
    assert (report.layout, report.unused) == ('swin', ())
    assert len(report.dropped) == 3
    model = SwinTransformer(
        embed_dims=32, num_heads=(2, 4, 8, 16), depths=(2,) * 4, window_size=4
    )
    ours = torch.load(tmp_path / 'ours.pth', weights_only=True)['state_dict']
    missing, unexpected = model.load_state_dict(ours, strict=False)
    assert missing == ['norm0.weight'] and unexpected == []


@pytest.fixture
def files(tmp_path, published, published_clip):
    torch.save(dict(model=published), tmp_path / 'Seg_model.pth')
    content = dict(epoch=1, name='run', state_dict=published_clip)
    torch.save(content, tmp_path / 'CS_CLIP.pt')
    return tmp_path


def test_fusion_by_the_command(files, published, published_clip, capsys):
    source, target = files / 'Seg_model.pth', files / 'SCAN.pth'
    clip = files / 'CS_CLIP.pt'
    command = ['convert', source, target, '--fuse-clip', clip]
    assert main([str(part) for part in command]) == 0
    ours = torch.load(target, weights_only=True)['state_dict']
    clip_model = 'module.clip_model.'
    proj = published_clip[f'{clip_model}visual.proj']
    assert torch.equal(ours['region_encoder.clip.proj'], proj)
    text = published_clip[f'{clip_model}text_projection']
    assert torch.equal(ours['text_encoder.text_projection'], text)
    # The tower of whole images was not trained.
    frozen = published['clip_adapter.original_clip.proj']
    assert torch.equal(ours['context_encoder.clip.proj'], frozen)
    plain = convert(source, files / 'plain.pth')
    assert plain.fused == 0
    lines = capsys.readouterr().out.splitlines()
    (line,) = (line for line in lines if line.startswith('fused'))
    towers = [n for n in ours if n.startswith(('region_enc', 'text_enc'))]
    assert (
        line == f'fused    {len(towers)} tensors replaced by tensors of {clip}'
    )
    unfused = torch.load(files / 'plain.pth', weights_only=True)['state_dict']
    assert unfused.keys() == ours.keys()
    changed = {n for n in ours if not torch.equal(ours[n], unfused[n])}
    assert changed == set(towers)


def test_fusion_with_our_own_file(files, published_clip):
    ours = recognise(
        {n.removeprefix('module.'): t for n, t in published_clip.items()}
    )
    assert ours.name == 'scan_clip'
    convert(files / 'CS_CLIP.pt', files / 'clip.pth')
    report = convert(
        files / 'Seg_model.pth',
        files / 'SCAN.pth',
        fuse_clip=files / 'clip.pth',
    )
    assert report.fused == 97


def test_fusion_of_what_does_not_fit(files, published, published_clip):
    source, target = files / 'Seg_model.pth', files / 'SCAN.pth'
    with pytest.raises(ValueError, match='is a checkpoint of SCAN, expected'):
        convert(source, target, fuse_clip=source)
    convert(source, files / 'ours.pth')
    with pytest.raises(ValueError, match='is a checkpoint of a segmentor, ex'):
        convert(source, target, fuse_clip=files / 'ours.pth')
    with pytest.raises(FileNotFoundError, match='gone.pt'):
        convert(source, target, fuse_clip=files / 'gone.pt')
    name = 'module.clip_model.visual.proj'
    torch.save({**published_clip, name: torch.ones(3, 3)}, files / 'other.pt')
    with pytest.raises(
        ValueError, match=r'proj is \(3, 3\) in the CLIP and \(64'
    ):
        convert(source, target, fuse_clip=files / 'other.pt')
    assert not target.exists()
