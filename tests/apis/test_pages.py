# SPDX-License-Identifier: Apache-2.0
"""The snippets of the pages about Python, and the notebook, run."""

import re
from pathlib import Path

import numpy as np
import pytest

from ovseg_mm.toy.scenes import make_scene
from ovseg_mm.utils.image_files import write_image

DOCS = Path(__file__).parents[2] / 'docs'
_BLOCK = re.compile(r'^```python\n(.*?)^```$', re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the picture that the pages begin with."""
    scene = make_scene(
        np.random.default_rng(0), (96, 96), ['striped red', 'dotted blue']
    )
    write_image(tmp_path / 'scene.png', scene.image)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize('page', ['python.md', 'words.md'])
def test_snippets_run_in_their_order(page, folder, capsys, monkeypatch):
    # Refinement takes most of the time, and is not what this is about.
    monkeypatch.setattr(
        'ovseg_mm.models.segmentors.prediction.PixelRefiner',
        lambda *_, **__: lambda scores: scores,
    )
    blocks = _BLOCK.findall((DOCS / page).read_text(encoding='utf-8'))
    assert len(blocks) >= 5
    names: dict = {}
    for number, block in enumerate(blocks):
        code = compile(block, f'{page}, snippet {number}', 'exec')
        exec(code, names)
    # Something was found, which the reader is to see.
    assert '%' in capsys.readouterr().out or page == 'python.md'
    if page == 'python.md':
        written = {path.name for path in (folder / 'results').iterdir()}
        assert 'val_0000_masks' in written and 'val_0001_labels.png' in written


def test_notebook_runs(folder):
    nbformat = pytest.importorskip('nbformat')
    nbclient = pytest.importorskip('nbclient')
    notebook = nbformat.read(DOCS / 'notebook.ipynb', as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get('outputs') for cell in notebook.cells)
    nbclient.NotebookClient(
        notebook, timeout=120, resources={'metadata': {'path': str(folder)}}
    ).execute()
    outputs = [
        kind
        for cell in notebook.cells
        for output in cell.get('outputs', ())
        for kind in output.get('data', ())
    ]
    assert outputs.count('image/png') == 3, outputs
    assert len(list((folder / 'results').iterdir())) == 4
