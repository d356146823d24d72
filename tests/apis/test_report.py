# SPDX-License-Identifier: Apache-2.0
import csv
import json

import pytest

from ovseg_mm.apis.report import read_rows, result_table, write_reports
from ovseg_mm.utils.errors import InputError

ROWS = [
    dict(
        dataset='ade150',
        images=2000,
        metrics=dict(mIoU=31.8412, hIoU=float('nan')),
        settings=dict(vocabulary='0' * 64, windows=dict(mode='whole')),
    ),
    dict(
        dataset='voc20',
        images=1449,
        metrics=dict(mIoU=94.6),
        settings=dict(vocabulary='1' * 64, windows=dict(mode='whole')),
    ),
]


def cells(text):
    rows = [line for line in text.splitlines() if line.startswith('|')]
    return [[c.strip() for c in row.strip('|').split('|')] for row in rows]


def test_equal_settings_stand_once():
    for markdown in (False, True):
        text = result_table(ROWS, markdown)
        rows = cells(text)
        assert ['ade150', '2000', '31.84', '-'] in rows
        assert ['voc20', '1449', '94.60', '-'] in rows
        assert ['all', 'windows', '{"mode": "whole"}'] in rows
        assert ['ade150', 'vocabulary', '0' * 12] in rows
        assert ['voc20', 'vocabulary', '1' * 12] in rows
        assert 'mIoU_union: classes that occur only in the predictions' in text


def test_long_settings_are_cut_in_tables_alone(tmp_path):
    templates = [f'template {number} of a {{}}' for number in range(80)]
    row = dict(ROWS[0], settings=dict(templates=templates))
    lines = result_table([row]).splitlines()
    assert max(map(len, lines)) < 300
    assert any('characters, see results.json]' in line for line in lines)
    write_reports(tmp_path, [row], {})
    assert read_rows(tmp_path)[0]['settings'] == row['settings']


def test_files(tmp_path):
    write_reports(tmp_path, ROWS, dict(pc59='its folder is missing'))
    assert {path.name for path in tmp_path.iterdir()} == {
        'results.json',
        'results.csv',
        'results.md',
    }
    content = json.loads((tmp_path / 'results.json').read_text())
    assert content['skipped'] == dict(pc59='its folder is missing')
    assert content['results'][0]['metrics'] == dict(mIoU=31.8412, hIoU=None)
    assert content['results'][1]['settings'] == ROWS[1]['settings']
    with open(tmp_path / 'results.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert rows[1]['mIoU'] == '94.6' and rows[1]['hIoU'] == ''
    assert rows[0]['vocabulary'] == '0' * 64
    text = (tmp_path / 'results.md').read_text()
    assert 'pc59: its folder is missing' in text


@pytest.mark.parametrize(
    'content',
    ['{', '[]', '{"results": [{"dataset": "a"}]}', '{"results": 3}', '{}'],
)
def test_results_that_are_damaged(tmp_path, content):
    path = tmp_path / 'results.json'
    path.write_text(content)
    with pytest.raises(InputError, match=f'{path} is damaged'):
        read_rows(tmp_path)
