# SPDX-License-Identifier: Apache-2.0
"""Commands, snippets and links of README.md and docs/ work.

The blocks of a page run in order, in one folder. Commands run in this process,
where they start faster, and names of published models stand for ``toy``,
whose weights need no download. A block that cannot run has the reason in a
comment above it: ``<!-- not run: REASON -->``. A block below a line with a
file name is the content of that file.
"""

import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from ovseg_mm.cli import main
from ovseg_mm.toy.scenes import make_scene

from .conftest import forget_runs

ROOT = Path(__file__).parents[1]
README = ROOT / 'README.md'
DOCS = sorted((ROOT / 'docs').glob('*.md'))
# The package that this page builds has a test file of its own.
PAGES = [README, *(p for p in DOCS if p.name != 'add_a_method.md')]
BLOCK = re.compile(
    r'(?:^<!-- not run: (?P<reason>[^\n]+) -->\n)?'
    r'(?:^`(?P<file>[\w/]+\.\w+)`:\n\n)?'
    r'^```(?P<language>\w+)\n(?P<text>.*?)^```',
    re.S | re.M,
)
# Names that would be downloaded.
PUBLISHED = re.compile(
    r'\b(?:catseg-\w+|sc-clip|sclip|sfp|naclip|maskclip)(?:-[\w-]+)?(?::[\w/.-]+)?(?=[\s\'",)]|$)'
)


class Block(NamedTuple):
    """A fenced block; ``reason`` says why it is not run."""

    reason: str | None
    file: str | None
    language: str
    text: str


def blocks_of(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding='utf-8')
    yield from (Block(*m.groups()) for m in BLOCK.finditer(text))


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A checkout's folders, and the images that the pages name."""
    for name in ('configs', 'docs', 'tools'):
        (tmp_path / name).symlink_to(ROOT / name)
    rng = np.random.default_rng(7)
    words = ('striped red', 'dotted blue')
    for name in ('street.jpg', 'scene.png', 'photos/a.jpg', 'photos/b.jpg'):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        scene = make_scene(rng, (96, 128), words)
        Image.fromarray(scene.image).save(path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('LOCAL_RANK', '0')  # launchers set it for good
    monkeypatch.syspath_prepend(ROOT / 'tools')
    # Refinement takes most of the time of `toy`.
    monkeypatch.setattr(
        'ovseg_mm.models.segmentors.prediction.PixelRefiner',
        lambda *_, **__: lambda scores: scores,
    )
    return tmp_path


def run_line(line: str, monkeypatch) -> None:
    """Run a command, those of this package in this process."""
    words = shlex.split(line, comments=True)
    if not words:
        return
    forget_runs()
    if words[:3] == ['python', '-m', 'ovseg_mm']:
        if words[3] == 'predict' and not {'--model', '--config'} & {*words}:
            words += ['--model', 'toy']
        status = main(words[3:])
    elif words[0] == 'python':
        status = run_script(words[1:], monkeypatch)
    elif words[:1] == ['mim']:
        status = run_script(script_of(words), monkeypatch)
    else:
        status = subprocess.run(line, shell=True).returncode
    assert status in (None, 0), f'{line}: exit status {status}'


def script_of(words: list[str]) -> list[str]:
    """The script that a mim command runs, with its arguments."""
    _, task, package, *options = words
    assert package == 'ovseg_mm'
    gpus = options.index('--gpus')
    assert options[gpus + 1] == '0', 'other numbers need GPUs'
    del options[gpus : gpus + 2]
    if '--checkpoint' in options:  # the script's second argument
        options.remove('--checkpoint')
    return [f'tools/{task}.py', *options]


def run_script(argv: list[str], monkeypatch) -> int | str | None:
    monkeypatch.setattr(sys, 'argv', argv)
    try:
        runpy.run_path(argv[0], run_name='__main__')
    except SystemExit as end:
        return end.code
    return 0


@pytest.mark.slow
@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
def test_page(page, home, monkeypatch):
    names: dict = {}
    for block in blocks_of(page):
        text = PUBLISHED.sub('toy', block.text)
        if block.file:
            (home / block.file).write_text(block.text)
        elif block.reason is None and block.language == 'python':
            exec(compile(text, f'{page.name}: {text[:40]}', 'exec'), names)
        elif block.reason is None and block.language == 'bash':
            for line in text.replace('\\\n', ' ').splitlines():
                run_line(line, monkeypatch)


@pytest.mark.slow
def test_notebook(home):
    nbformat = pytest.importorskip('nbformat')
    nbclient = pytest.importorskip('nbclient')
    notebook = nbformat.read(ROOT / 'docs' / 'notebook.ipynb', as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get('outputs') for cell in notebook.cells)
    nbclient.NotebookClient(
        notebook, timeout=120, resources={'metadata': {'path': str(home)}}
    ).execute()
    outputs = [
        kind
        for cell in notebook.cells
        for output in cell.get('outputs', ())
        for kind in output.get('data', ())
    ]
    assert outputs.count('image/png') == 3, outputs
    assert len(list((home / 'results').iterdir())) == 4


@pytest.mark.parametrize('page', [README, *DOCS], ids=lambda page: page.stem)
def test_links(page):
    text = page.read_text(encoding='utf-8')
    for target in re.findall(r'\]\(([^)#\s]+)', text):
        home = 'https://github.com/ovseg-mm/ovseg_mm/blob/main/'
        if target.startswith(home):
            assert (ROOT / target.removeprefix(home)).exists(), target
        elif '://' not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.slow
def test_site(tmp_path):
    """The site builds without warnings and loads nothing from elsewhere."""
    pytest.importorskip('mkdocs')
    subprocess.run(
        [sys.executable, '-m', 'mkdocs', 'build', '-q', '-d', str(tmp_path)],
        cwd=ROOT,
        check=True,
    )
    pages = list(tmp_path.rglob('*.html'))
    assert len(pages) > 10
    for page in pages:
        loaded = re.findall(
            r'<(?:script|img|iframe|source)[^>]+src="(https?:[^"]+)"'
            r'|<link[^>]+rel="(?:stylesheet|preconnect)"[^>]+href="(https?:[^"]+)"',
            page.read_text(encoding='utf-8'),
        )
        assert not loaded, page
