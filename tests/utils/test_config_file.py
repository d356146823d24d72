# SPDX-License-Identifier: Apache-2.0
"""Config files that cannot be read end with one sentence."""

from pathlib import Path

import pytest

from ovseg_mm.engine.config_check import check_config
from ovseg_mm.engine.config_shape import check_loops
from ovseg_mm.engine.launch import read_config
from ovseg_mm.utils.config_file import read_config_file
from ovseg_mm.utils.errors import InputError

TINY = Path(__file__).parents[1] / 'end_to_end' / 'tiny.py'


@pytest.mark.parametrize(
    ('name', 'text', 'words'),
    [
        ('a.py', 'model = dict(\n', "SyntaxError in line 1: '.' was never"),
        ('a.py', 'x = unknown\n', "NameError: name 'unknown' is not"),
        ('a.py', 'x = 1 / 0\n', 'ZeroDivisionError: division'),
        ('a.py', "_base_ = ['gone.py']\n", r'needs .*gone\.py.* _base_'),
        ('a.py', '_base_ = 3\n', 'TypeError'),
        ('a.py', f"_base_ = ['{TINY}', '{TINY}']\n", 'KeyError: Duplicate'),
        (
            'a.py',
            "custom_imports = dict(imports=['gone_module'])\n",
            "No module named 'gone_module'; correct custom_imports",
        ),
        ('a.py', "custom_imports = dict(import_=['os'])\n", 'import_'),
        ('a.py', b'# \xe9\nmodel = 3\n', "can't decode byte 0xe9"),
        ('a.py', '', 'is empty; expected at least a base'),
        ('a.py', b'\0\1PK', 'null bytes'),
        ('a.json', '{"model": ', 'Expecting value'),
        ('a.json', '', 'Expecting value'),
        ('a.json', '[1, 2]', 'expected a dict with keys'),
        ('a.yaml', '', 'expected a dict with keys'),
        ('a.yml', 'a: [1\n', 'ParserError'),
    ],
)
def test_files_that_cannot_be_read(tmp_path, name, text, words):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=words) as error:
        read_config_file(path)
    assert str(path) in str(error.value) and '\n' not in str(error.value)


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        ('a.py', "default_scope = 'mmseg'\n"),
        ('a.json', '{"default_scope": "mmseg"}'),
    ],
)
def test_configs_without_a_model(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=rf'{name} has no model; base it on'):
        check_config(read_config_file(tmp_path / name))


def test_json(tmp_path):
    path = tmp_path / 'tiny.json'
    read_config_file(TINY).dump(path)
    cfg = read_config_file(path)
    check_config(cfg)
    assert cfg.model.backbone.type == 'CLIPViT'


def test_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'configs.py').mkdir()
    for name in ('configs.py', '.', tmp_path):
        with pytest.raises(
            InputError, match='is a folder; give the path of a config'
        ):
            read_config_file(name)


def test_loops():
    cfg = read_config(TINY)
    for key in ('train_dataloader', 'train_cfg', 'optim_wrapper'):
        cfg[key] = None
    check_loops(cfg)
    check_loops(cfg, 'testing')
    with pytest.raises(InputError, match='no train_dataloader and no train_'):
        check_loops(cfg, 'training')
    cfg.test_evaluator = None
    with pytest.raises(InputError, match='no test_evaluator; testing needs'):
        check_loops(cfg)
