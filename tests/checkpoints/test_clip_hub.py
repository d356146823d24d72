# SPDX-License-Identifier: Apache-2.0
"""Downloads, against a stand-in of the hub on this machine."""

import hashlib
import json
import multiprocessing
import time

import open_clip
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from ovseg_mm.checkpoints import load_clip_weights
from ovseg_mm.utils.paths import cache_folder

from ..hub import serve
from .conftest import ARCH
from .test_clip_sources import TRANSFORMERS

BIN = 'open_clip_pytorch_model.bin'
SAFE = 'open_clip_model.safetensors'
CONFIG = 'open_clip_config.json'


@pytest.fixture(scope='module')
def hub(tmp_path_factory, open_clip_weights, huggingface_weights):
    folder = tmp_path_factory.mktemp('weights')
    torch.save(open_clip_weights, folder / BIN)
    save_file(open_clip_weights, folder / SAFE)
    good = (folder / SAFE).read_bytes()
    hugging = folder / 'pytorch_model.bin'
    torch.save(huggingface_weights, hugging)
    described = json.dumps(dict(model_cfg=ARCH))
    with serve(
        {
            ('org/bin', BIN): (folder / BIN).read_bytes(),
            ('org/safe', SAFE): good,
            ('org/safe', BIN): b'',
            ('org/damaged', SAFE): good[:-4] + b'1234',
            ('org/described', CONFIG): described.encode(),
            ('org/described', SAFE): good,
            ('org/transformers', 'config.json'): json.dumps(
                TRANSFORMERS
            ).encode(),
            ('org/transformers', 'pytorch_model.bin'): hugging.read_bytes(),
            ('org/no-weights', CONFIG): described.encode(),
        }
    ) as server:
        server.etags['org/damaged'] = hashlib.sha256(good).hexdigest()
        yield server


@pytest.fixture
def load(tmp_path, tiny_arch, hub, monkeypatch):
    """Loads the weights of some tags; gives their sums, or what is wrong."""
    tags = dict(
        bin=dict(hf_hub='org/bin/'),
        safe=dict(hf_hub='org/safe/'),
        damaged=dict(hf_hub='org/damaged/'),
        gone=dict(hf_hub='org/gone/'),
        other=dict(hf_hub='org/bin/other.bin'),
    )
    configs = open_clip.factory._MODEL_CONFIGS
    monkeypatch.setitem(configs, 'tiny', tiny_arch)
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, 'tiny', tags)
    monkeypatch.setenv('HF_ENDPOINT', hub.url)
    monkeypatch.setenv('OVSEG_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'hub'))
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', False)
    monkeypatch.setattr(constants, 'DOWNLOAD_CHUNK_SIZE', 10_000)
    hub.requests.clear()

    def load(*tags):
        results = {}
        for tag in tags:
            named = tag.startswith('hf-hub:')
            try:
                weights = load_clip_weights(
                    *([tag] if named else ['tiny', tag])
                )
                results[tag] = sums_of(weights)
            except FileNotFoundError as error:
                results[tag] = str(error)
        return results

    return load


def sums_of(weights):
    return {name: v.double().sum().item() for name, v in weights.items()}


def assert_says_what_to_put_where(message, hub, tag, repo, name):
    assert f"weights of tiny '{tag}': not in the cache" in message
    assert f'download {name} from {hub.url}/org/{repo}/tree/main' in message
    assert f"custom_clip_weights='/path/to/{name}'" in message
    assert f'download into {cache_folder()}/clip/org--{repo}, or' in message
    assert '\n' not in message


def test_interrupted_download_goes_on(
    hub, load, our_weights, monkeypatch, capfd
):
    hub.stop_after = 40_000
    # Forked, it shares the tags of the test.
    first = multiprocessing.get_context('fork').Process(
        target=load, args=('bin',)
    )
    first.start()
    assert hub.stopped.wait(60)
    time.sleep(0.5)  # until what was sent is on the disk
    first.kill()
    first.join()
    hub.stop_after = None
    hub.requests.clear()

    # Otherwise the hub's client shows its bar on terminals only.
    monkeypatch.setenv('TQDM_POSITION', '-1')
    sums = pytest.approx(sums_of(our_weights))
    assert load('bin') == {'bin': sums}
    errors = capfd.readouterr().err
    licence = 'read the licence on'
    assert f'{licence} {hub.url}/org/bin before use\n' in errors
    gets = [bounds for kind, *_, bounds in hub.requests if kind == 'GET']
    assert gets == ['bytes=40000-']
    assert BIN in errors and '100%' in errors

    # What is there needs no network; what is not says so.
    hub.requests.clear()
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    results = load('bin', 'safe')
    copied = cache_folder() / 'clip' / 'org--safe' / SAFE
    copied.parent.mkdir()
    copied.write_bytes(hub.files['org/safe', SAFE])
    assert load('safe') == {'safe': sums}
    assert f"tiny 'bin': {licence}" not in capfd.readouterr().err
    assert results['bin'] == sums
    assert_says_what_to_put_where(results['safe'], hub, 'safe', 'safe', SAFE)
    assert not hub.requests


def test_what_the_hub_has_and_has_not(hub, load, our_weights, tmp_path):
    tags = ('safe', 'damaged', 'gone', 'other')
    results = load(*tags)
    assert results['safe'].keys() == our_weights.keys()
    asked = {name for _, repo, name, _ in hub.requests if repo == 'org/safe'}
    assert asked == {SAFE}, 'safetensors are preferred'
    assert 'the SHA-256' in results['damaged']
    for tag, repo, name in (
        ('damaged', 'damaged', SAFE),
        ('gone', 'gone', SAFE),
        ('other', 'bin', 'other.bin'),
    ):
        assert_says_what_to_put_where(results[tag], hub, tag, repo, name)
    cache = tmp_path / 'cache'
    left = {p.name for p in cache.rglob('*') if p.is_file()}
    assert left == {SAFE, f'{SAFE}.lock'}


def test_repositories_that_describe_themselves(
    hub, load, our_weights, monkeypatch
):
    names = ('described', 'transformers', 'no-weights', 'gone')
    tags = [f'hf-hub:org/{name}' for name in names]
    results = load(*tags)
    sums = pytest.approx(sums_of(our_weights))
    for tag in tags[:2]:
        assert results[tag] == sums, tag
    for tag in tags[2:]:
        message = results[tag]
        assert (
            f'{tag}: not in the cache, and could not be downloaded' in message
        )
        assert f'{hub.url}/{tag.removeprefix("hf-hub:")}/tree/main' in message
        assert f"'local-dir:/path/to/the/folder' instead of {tag}" in message
    asked = {name for _, repo, name, _ in hub.requests if 'described' in repo}
    assert asked == {CONFIG, SAFE}

    hub.requests.clear()
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    results = load(*tags[:2])
    for tag in tags[:2]:
        assert results[tag] == sums, tag
    assert not hub.requests
