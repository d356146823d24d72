# SPDX-License-Identifier: Apache-2.0
"""Models at their true shapes, from the hub to a filled segmentor.

The served file has every tensor of the published one, each with one number
for all its values, which keeps the file small.
"""

import io
from dataclasses import replace

import pytest
import torch
from mmseg.apis import init_model

from ovseg_mm.apis import OpenVocabInferencer
from ovseg_mm.engine.launch import read_config
from ovseg_mm.utils.config_file import read_config_file
from ovseg_mm.zoo import resolve_model

from ..checkpoints.published import published_cat_seg


def published_of(config):
    """The published file of a CAT-Seg config, all values 0.01."""
    with torch.device('meta'):
        model = init_model(read_config_file(config), device='meta')
    value = torch.tensor(0.01)
    weights = {
        name: value.expand(tensor.shape)
        for name, tensor in model.state_dict().items()
    }
    content = io.BytesIO()
    torch.save(dict(model=published_cat_seg(weights)), content)
    return content.getvalue()


def test_default_model(hub, capsys):
    source = resolve_model()
    file = source.model.file
    repository = f'spaces/{file.repository}'
    hub.files[repository, file.name] = published_of(source.config)
    # Only the true file has the true hash.
    served = replace(file, num_bytes=0, sha256='')
    source = replace(source, model=replace(source.model, file=served))
    inferencer = OpenVocabInferencer(source, device='cpu')
    asked = {request[1:3] for request in hub.requests}
    assert asked == {(repository, file.name)}, 'CLIP is in the file'
    for name, tensor in inferencer.model.named_parameters():
        assert (tensor == 0.01).all(), name
    assert 'licence' not in capsys.readouterr().err


@pytest.mark.parametrize(
    'name',
    [
        'catseg-vitl14',
        'catseg-v1-base',
        'zsseg-cross',
        'cascadeclip-voc',
    ],
)
def test_models_with_a_file_are_built_without_clip(name, monkeypatch):
    def load(*args):
        raise AssertionError('the file of the model holds its CLIP')

    monkeypatch.setattr('ovseg_mm.models.clip_towers.load_clip_weights', load)
    source = resolve_model(name)
    with torch.device('meta'):
        init_model(read_config(source.config, source.options), device='meta')
