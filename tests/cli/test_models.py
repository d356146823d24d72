# SPDX-License-Identifier: Apache-2.0
import re
from pathlib import Path

import pytest

from ovseg_mm.cli import main
from ovseg_mm.utils import model_index as models_index
from ovseg_mm.utils import paths
from ovseg_mm.utils.model_index import list_models
from ovseg_mm.zoo import table, zoo_models


def test_every_model_of_the_index_has_its_config():
    entries = list_models()
    assert entries
    assert len({entry.name for entry in entries}) == len(entries)
    for entry in entries:
        config = paths.resource(*Path(entry.config).parts)
        assert config.is_file(), entry
        assert config.stem == entry.name
        assert entry.method and entry.clip and entry.training_data


def test_published_figures():
    by_name = {entry.name: entry for entry in list_models()}
    entry = by_name['catseg_clip-vit-b16_4xb1-80k_ade20k-640x640']
    assert entry.method == 'CAT-Seg'
    assert entry.miou == {'ADE20K': 31.8}


def test_table_of_models(capsys):
    assert main(['models']) == 0
    header, *rows = capsys.readouterr().out.split('\n\n')[0].splitlines()
    models = zoo_models()
    assert [row.split()[0] for row in rows] == list(models)
    start = header.index('licence')
    for row, model in zip(rows, models.values()):
        assert row[start:].startswith(model.weights_licence)
        assert row.endswith(model.good_for)
    assert any(row.split()[3:5] == ['0.8', 'GB'] for row in rows)


@pytest.mark.parametrize('name', ['catseg-vitb16', 'sc-clip', 'scan-vitb16'])
def test_one_model(capsys, tmp_path, monkeypatch, name):
    monkeypatch.setenv('OVSEG_CACHE', str(tmp_path))
    assert main(['models', name]) == 0
    printed = capsys.readouterr().out
    model = zoo_models()[name]
    assert printed.startswith(f'{name}\n')
    assert model.weights_licence in printed
    assert f'--model {name}' in printed
    assert f'evaluate {name} --datasets {",".join(model.miou)}' in printed
    if model.file:
        assert f'add {name} {model.file.name}' in printed
        assert 'not yet' in printed
    else:
        assert f'{name}:ViT-L-14-336/openai' in printed


def test_unknown_model(capsys):
    assert main(['models', 'catseg-vitb1']) == 2
    assert "did you mean 'catseg-vitb16'" in capsys.readouterr().err
    assert main(['models', 'toy', '--configs']) == 2


def test_configs(capsys):
    assert main(['models', '--configs']) == 0
    lines = capsys.readouterr().out.splitlines()
    at = lines.index('catseg_clip-vit-l14-336_4xb1-80k_ade20k-640x640')
    block = '\n'.join(lines[at : at + 6])
    assert 'ViT-L-14-336' in block
    assert 'COCO-Stuff 164k' in block
    assert 'ADE20K 37.9 (published)' in block


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (
            'Models:\n  - Name: a\n',
            "metafile.yaml has a wrong entry .*'In Coll",
        ),
        ('Models: [\n', 'metafile.yaml cannot be read as YAML: .*line 2'),
        ('- a\n', 'metafile.yaml contains a list; expected'),
        ('Zoo:\n  - Name: a\n', "list Zoo cannot be read .*'Config'"),
    ],
)
def test_broken_metafile(tmp_path, monkeypatch, capsys, content, message):
    folder = tmp_path / 'configs' / 'x'
    folder.mkdir(parents=True)
    (folder / 'metafile.yaml').write_text(content)
    for module in (models_index, table):
        monkeypatch.setattr(module, 'resource', tmp_path.joinpath)
    assert main(['models']) == 2
    printed = capsys.readouterr().err
    assert re.search(message, printed) and printed.count('\n') == 1
