# SPDX-License-Identifier: Apache-2.0
"""docs/models.md: its table is that of the metafiles, its commands run."""

import re
import shlex
import shutil

import pytest

from ovseg_mm.cli import main
from ovseg_mm.utils.paths import resource
from ovseg_mm.zoo import zoo_models

BENCHMARKS = {
    'ade150': 'ADE',
    'pc59': 'PC59',
    'voc20': 'VOC20',
    'voc21': 'VOC21',
}
BEGIN, END = '<!-- zoo: begin -->\n', '<!-- zoo: end -->\n'
_BLOCK = re.compile(r'^```(bash|python)\n(.*?)^```$', re.M | re.S)


def table() -> str:
    """The table as Markdown."""
    header = ['name', 'method', 'licence', 'download', *BENCHMARKS.values()]
    lines = [[*header, 'good for'], ['---'] * (len(header) + 1)]
    for model in zoo_models().values():
        figures = (model.miou.get(key) for key in BENCHMARKS)
        lines.append(
            [
                f'`{model.name}`',
                model.entry.method,
                model.weights_licence,
                model.size,
                *('' if v is None else f'{v:.1f}' for v in figures),
                model.good_for,
            ]
        )
    return ''.join(f'| {" | ".join(line)} |\n' for line in lines)


def page_text() -> str:
    return resource('docs', 'models.md').read_text(encoding='utf-8')


def test_table_of_the_docs():
    found = page_text().partition(BEGIN)[2].partition(END)[0]
    assert found == table(), f'put this into docs/models.md:\n{table()}'


@pytest.mark.parametrize(
    ('language', 'block'), _BLOCK.findall(page_text()), ids=lambda text: ''
)
def test_snippets(language, block, tmp_path, monkeypatch):
    (tmp_path / 'docs').mkdir()
    shutil.copy(resource('docs', 'demo_picture.png'), tmp_path / 'docs')
    monkeypatch.chdir(tmp_path)
    if language == 'python':
        exec(compile(block, 'docs/models.md', 'exec'), {})
        return
    for line in block.replace('\\\n', ' ').splitlines():
        python, *arguments = shlex.split(line, comments=True)
        assert (python, arguments[:2]) == ('python', ['-m', 'ovseg_mm'])
        assert main(arguments[2:]) == 0
