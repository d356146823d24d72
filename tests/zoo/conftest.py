# SPDX-License-Identifier: Apache-2.0
"""A table of tiny models, and a hub that serves their files."""

import hashlib
import io

import pytest
import torch
import yaml

from ovseg_mm.utils import model_index
from ovseg_mm.utils.config_file import read_config_file
from ovseg_mm.zoo import table

from ..checkpoints.published import published_cat_seg
from ..end_to_end.conftest import TINY
from ..hub import serve

FREE = dict(Code='MIT', Weights='MIT')


def zoo_row(name, file=None, **facts):
    """Row of the table for the tiny CAT-Seg."""
    row = dict(Name=name, Config='tiny', Licence=FREE)
    row['Good For'] = 'tests'
    if file:
        row['File'] = file
    return {**row, **facts}


def write_table(folder, rows):
    """Write a metafile with the tiny config and some rows."""
    (folder / 'configs' / 'tiny').mkdir(parents=True)
    entry = dict(Name='tiny', Config=str(TINY))
    entry['In Collection'] = 'CAT-Seg'
    metafile = folder / 'configs' / 'tiny' / 'metafile.yaml'
    metafile.write_text(yaml.safe_dump(dict(Models=[entry], Zoo=rows)))


@pytest.fixture(scope='session')
def published_file():
    """Bytes of a tiny CAT-Seg as its authors publish it."""
    from mmseg.apis import init_model

    model = init_model(read_config_file(TINY), device='cpu')
    weights = published_cat_seg(model.state_dict())
    content = io.BytesIO()
    torch.save(dict(model=weights, iteration=1), content)
    return content.getvalue()


@pytest.fixture
def hub(published_file, tmp_path, monkeypatch):
    """A hub that is the only one, with an empty cache."""
    files = {
        ('org/tiny', 'model.pth'): published_file,
        ('spaces/org/room', 'weights/model.pth'): published_file,
    }
    with serve(files) as server:
        monkeypatch.setenv('HF_ENDPOINT', server.url)
        # Set for all tests, and read when the client is imported.
        monkeypatch.setenv('HF_HUB_OFFLINE', '0')
        monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', False)
        monkeypatch.setenv('OVSEG_CACHE', str(tmp_path / 'cache'))
        monkeypatch.setattr(
            'huggingface_hub.constants.HF_HUB_CACHE', str(tmp_path / 'hf')
        )
        monkeypatch.setattr(
            'huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE', 10_000
        )
        yield server


@pytest.fixture
def use_table(tmp_path, monkeypatch):
    """Replaces the table by some rows."""

    def use(*rows):
        project = tmp_path / 'project'
        write_table(project, rows)
        for module in (model_index, table):
            monkeypatch.setattr(module, 'resource', project.joinpath)

    return use


@pytest.fixture
def sha256(published_file):
    """Hash of the published file."""
    return hashlib.sha256(published_file).hexdigest()
