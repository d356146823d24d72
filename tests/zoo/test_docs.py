# SPDX-License-Identifier: Apache-2.0
"""The table of docs/models.md is that of the metafiles."""

from ovseg_mm.utils.paths import resource
from ovseg_mm.zoo import zoo_models

BENCHMARKS = {
    'ade150': 'ADE',
    'pc59': 'PC59',
    'voc20': 'VOC20',
    'voc21': 'VOC21',
}
BEGIN, END = '<!-- zoo: begin -->\n', '<!-- zoo: end -->\n'


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
