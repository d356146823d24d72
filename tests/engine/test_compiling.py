# SPDX-License-Identifier: Apache-2.0
"""One graph for all blocks, sizes and numbers of words."""

import copy
import shutil

import pytest
import torch
from torch._dynamo.utils import counters

from ovseg_mm.engine.compiling import compile_towers
from ovseg_mm.engine.launch import build_runner

from ..models.methods import build_method

pytestmark = pytest.mark.skipif(
    not hasattr(torch.compiler, 'is_compiling'),
    reason='compile needs PyTorch 2.3',
)


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def predict(model, count, size):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(count, 3, *size, generator=generator)
    return [s.pred_sem_seg.data for s in model.predict(list(images))]


# Kinds of calls of a block: of whole sequences, of values alone, of the class
# token alone; regions replace tokens between two blocks.
@pytest.mark.parametrize(
    ('name', 'graphs'), [('cat_seg', 2), ('cascade_clip', 1), ('zsseg', 2)]
)
def test_other_sizes_are_not_compiled_again(name, graphs):
    model = build_method(name)
    expected = copy.deepcopy(model)
    assert compile_towers(model, dict(backend='eager')) >= 2
    for count, size, words in (
        (2, (64, 64), 4),
        (2, (64, 80), 4),
        (3, (96, 64), 4),
        (2, (80, 112), 9),
    ):
        for each in (model, expected):
            each.set_vocabulary([f'word {i}' for i in range(words)])
        with torch.no_grad():
            found = predict(model, count, size)
            wanted = predict(expected, count, size)
        assert all(map(torch.equal, found, wanted))
        assert counters['stats']['unique_graphs'] == graphs
        assert not counters['graph_break']


def test_the_text_tower_is_not_compiled():
    model = build_method('cat_seg')
    names = {id(module) for module in model.text_encoder.modules()}
    compile_towers(model, dict(backend='eager'))
    compiled = [m for m in model.modules() if m._compiled_call_impl]
    assert compiled and not names & {id(module) for module in compiled}
    assert compile_towers(model, False) == 0


def test_a_compiled_model_trains():
    model = build_method('cat_seg').train()
    parameter = model.backbone.transformer.resblocks[0].attn.q_proj_weight
    gradients = []
    for backend in (None, 'aot_eager'):
        if backend:
            compile_towers(model, dict(backend=backend))
        model.zero_grad()
        img = torch.randn(1, 3, 64, 64, generator=torch.Generator())
        feats = model.extract_feat(img)
        feats.image.square().sum().backward()
        gradients.append(parameter.grad.clone())
    torch.testing.assert_close(*gradients)


def test_what_cannot_be_compiled(monkeypatch):
    with pytest.raises(ValueError, match='compile has no effect'):
        compile_towers(build_method('per_pixel'))
    monkeypatch.setattr(shutil, 'which', lambda name: None)
    with pytest.raises(ValueError, match=r'needs a C\+\+ compiler'):
        compile_towers(build_method('cat_seg'))


def test_compile_is_a_key_of_configs(tiny_cfg):
    tiny_cfg.compile = dict(backend='eager')
    runner = build_runner(tiny_cfg)
    blocks = runner.model.backbone.transformer.resblocks
    assert all(block._compiled_call_impl for block in blocks)
    # MMEngine would compile the whole step.
    assert 'compile' not in runner.cfg
