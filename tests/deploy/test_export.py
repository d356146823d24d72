# SPDX-License-Identifier: Apache-2.0
"""The command, its files and its errors."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ovseg_mm.apis import OpenVocabInferencer
from ovseg_mm.cli import main
from ovseg_mm.deploy import graphs
from ovseg_mm.deploy.facts import vocabulary_facts
from ovseg_mm.toy.scenes import make_scene

WORDS = ['striped red', 'dotted blue', 'water', 'sand']
EXAMPLE = Path(__file__).parents[2] / 'tools' / 'onnx_example.py'
pytestmark = pytest.mark.skipif(
    not hasattr(torch.compiler, 'is_exporting'),
    reason='torch.export of this PyTorch cannot be noticed',
)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope='module')
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp('picture') / 'scene.png'
    scene = make_scene(np.random.default_rng(7), (96, 128), WORDS[:2])
    Image.fromarray(scene.image).save(path)
    return path


@pytest.fixture(scope='module')
def folder(tmp_path_factory, picture):
    """An ONNX file of `toy` for any words, and embeddings of some."""
    for name in ('onnx', 'onnxruntime', 'onnxscript'):
        pytest.importorskip(name)
    folder = tmp_path_factory.mktemp('export')
    model, words = folder / 'toy.onnx', folder / 'words.npz'
    command = ['export', 'toy', str(model), '--image', str(picture)]
    assert main(command) == 0
    command = ['export', 'toy', str(words), '--format', 'embeddings']
    assert main([*command, '--classes', *WORDS]) == 0
    return folder


def test_labels_with_several_texts_have_one_name_and_colour():
    model = OpenVocabInferencer('toy').model
    model.set_vocabulary('voc20b')  # many words of the background
    facts = vocabulary_facts(model)
    assert len(facts['names']) == len(facts['palette']) == model.num_classes
    assert len(facts['labels']) > model.num_classes
    assert facts['names'] == list(model.dataset_meta['classes'])


def test_files(folder):
    assert names_in(folder) == ['toy.onnx', 'toy.onnx.json', 'words.npz']
    facts = json.loads((folder / 'toy.onnx.json').read_text())
    assert facts['input']['dynamic'] == ['batch', 'height', 'width']
    assert facts['protocol']['window'] == [64, 64]
    assert facts['licence_of_weights'] == 'Apache-2.0'
    assert facts['compared']['labels_equal'] >= 0.999
    assert facts['vocabulary'] is None
    import onnx

    model = onnx.load(folder / 'toy.onnx')
    (inside,) = (p for p in model.metadata_props if p.key == graphs.INSIDE)
    assert json.loads(inside.value)['model'] == 'toy'
    axes = model.graph.input[0].type.tensor_type.shape.dim
    names = [axis.dim_param or axis.dim_value for axis in axes]
    assert names == ['batch', 3, 'height', 'width']


def test_onnx_takes_other_batches_words_and_sizes(folder):
    run = graphs.load(folder / 'toy.onnx')
    text = np.load(folder / 'words.npz')['text']
    images = 255 * np.random.default_rng(0).random((2, 3, 80, 48), np.float32)
    both = run(images, text)
    assert both.shape == (2, 4, 80, 48)
    one = run(images[1:], text[1:2])
    np.testing.assert_allclose(one[0, 0], both[1, 1], atol=1e-5)


def test_the_example_needs_no_pytorch(folder, picture, tmp_path):
    result = tmp_path / 'result.png'
    code = (
        'import runpy, sys; sys.modules["torch"] = None; '
        'sys.modules["ovseg_mm"] = None; sys.argv = sys.argv[1:]; '
        'runpy.run_path(sys.argv[0])'
    )
    files = [folder / 'toy.onnx', picture, result, folder / 'words.npz']
    subprocess.run(
        [sys.executable, '-c', code, EXAMPLE, *files],
        check=True,
        cwd=tmp_path,
    )
    options = {'model.test_cfg.refine': None}
    inferencer = OpenVocabInferencer('toy', cfg_options=options, device='cpu')
    wanted = inferencer(picture, WORDS)
    colours = np.array(wanted.palette, np.uint8)[wanted.labels]
    found = np.asarray(Image.open(result))
    assert (found == colours).all(axis=2).mean() > 0.995
    assert len(np.unique(wanted.labels)) > 1
    assert len(EXAMPLE.read_text().splitlines()) <= 40


def test_words_in_the_graph(tmp_path, capsys):
    path = tmp_path / 'scene.pt2'
    command = ['export', 'toy', str(path), '--format', 'torch-export']
    assert main([*command, '--classes', *WORDS]) == 0
    assert '100.00% of the pixels have the same' in capsys.readouterr().out
    facts = json.loads((tmp_path / 'scene.pt2.json').read_text())
    assert facts['vocabulary']['names'] == WORDS
    assert facts['vocabulary']['labels'] == [0, 1, 2, 3]
    run = graphs.load(path)
    images = np.full((1, 3, 64, 96), 100, np.float32)
    assert run(images, None).shape == (1, 4, 64, 96)
    # A second export takes the place of the first, and fails as a whole.
    path.write_bytes(b'changed')
    assert main([*command, '--classes', *WORDS]) == 2
    assert 'was not written by export' in capsys.readouterr().err
    assert path.read_bytes() == b'changed'


def test_labels_that_differ(tmp_path, monkeypatch, capsys):
    def wrong(path):
        return lambda images, text: right(path)(images, text)[:, ::-1]

    right = graphs.load
    monkeypatch.setattr(graphs, 'load', wrong)
    path = tmp_path / 'toy.pt2'
    assert main(['export', 'toy', str(path), '--format', 'torch-export']) == 2
    error = capsys.readouterr().err
    assert 'toy.pt2 is not written' in error
    assert len(error.splitlines()) == 1
    assert names_in(tmp_path) == []


def test_errors_are_one_sentence(tmp_path, monkeypatch, capsys):
    (tmp_path / 'mine.onnx').write_text('mine')
    (tmp_path / 'mine.npz').write_text('mine')
    monkeypatch.setattr(graphs, 'check_packages', lambda kind: None)
    for model, name, options, message in (
        ('toy', 'mine.onnx', [], 'mine.onnx exists and was not written by'),
        ('toy', 'mine.npz', ['--format', 'embeddings'], 'mine.npz exists'),
        ('toy', 'toy.pt2', [], 'ends with .onnx; name it toy.onnx'),
        ('toy', 'no/toy.onnx', [], 'does not exist'),
        ('toys', 'toy.onnx', [], 'there is no such model'),
        ('scan_clip-toy_1xb4-1000_toy-world-96x96', 'x.onnx', [], 'regions'),
        ('zsseg_clip-toy_1xb8-1600_toy-world-96x96', 'x.onnx', [], 'regions'),
    ):
        path = str(tmp_path / name)
        assert main(['export', model, path, *options]) == 2, message
        error = capsys.readouterr().err
        assert message in error
        assert len(error.splitlines()) == 1
    assert names_in(tmp_path) == ['mine.npz', 'mine.onnx']


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setattr(graphs.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(ValueError, match=r'ovseg_mm\[export\]'):
        graphs.check_packages('onnx')
    graphs.check_packages('torch-export')


def test_large_weights_lie_in_a_second_file(tmp_path, monkeypatch):
    pytest.importorskip('onnxscript')
    onnxruntime = pytest.importorskip('onnxruntime')
    from torch.onnx._internal.exporter import _onnx_program

    monkeypatch.setattr(_onnx_program, '_LARGE_MODEL_THRESHOLD', 0)
    path = tmp_path / 'toy.onnx'
    command = ['export', 'toy', str(path), '--classes', 'sand;water']
    assert main(command) == 0
    assert names_in(tmp_path) == [
        'toy.onnx',
        'toy.onnx.data',
        'toy.onnx.json',
    ]
    session = onnxruntime.InferenceSession(path)
    assert [i.name for i in session.get_inputs()] == ['images']
