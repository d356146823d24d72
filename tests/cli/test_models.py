# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from ovseg_mm.cli import main
from ovseg_mm.utils import model_index as models_index
from ovseg_mm.utils import paths
from ovseg_mm.utils.model_index import list_models


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


def test_command(capsys):
    assert main(['models']) == 0
    lines = capsys.readouterr().out.splitlines()
    at = lines.index('catseg_clip-vit-l14-336_4xb1-80k_ade20k-640x640')
    block = '\n'.join(lines[at : at + 6])
    assert 'ViT-L-14-336' in block
    assert 'COCO-Stuff 164k' in block
    assert 'ADE20K 37.9 (published)' in block


def test_metafile_of_another_form(tmp_path, monkeypatch):
    folder = tmp_path / 'configs' / 'x'
    folder.mkdir(parents=True)
    (folder / 'metafile.yaml').write_text('Models:\n  - Name: a\n')
    monkeypatch.setattr(
        models_index, 'resource', lambda *parts: tmp_path.joinpath(*parts)
    )
    with pytest.raises(ValueError, match=r"metafile\.yaml .*'In Collection'"):
        list_models()
