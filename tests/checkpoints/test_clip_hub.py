# SPDX-License-Identifier: Apache-2.0
"""Downloads, against a stand-in of the hub on this machine."""

import hashlib
import json
import os
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import save_file

from ..hub import serve
from .conftest import ARCH
from .test_clip_sources import TRANSFORMERS

BIN = 'open_clip_pytorch_model.bin'
SAFE = 'open_clip_model.safetensors'
CONFIG = 'open_clip_config.json'
# Names tiny CLIPs to open_clip, then fetches them by these names.
SCRIPT = """
import json, sys
import huggingface_hub.constants
import open_clip
huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE = 10_000
open_clip.add_model_config(sys.argv[1])
open_clip.pretrained._PRETRAINED['tiny'] = dict(
    bin=dict(hf_hub='org/bin/'),
    safe=dict(hf_hub='org/safe/'),
    damaged=dict(hf_hub='org/damaged/'),
    gone=dict(hf_hub='org/gone/'),
    other=dict(hf_hub='org/bin/other.bin'),
)
from ovseg_mm.checkpoints import load_clip_weights
results = {}
for tag in sys.argv[2:]:
    try:
        named = tag.startswith('hf-hub:')
        weights = load_clip_weights(*([tag] if named else ['tiny', tag]))
        results[tag] = {k: v.double().sum().item() for k, v in weights.items()}
    except FileNotFoundError as error:
        results[tag] = str(error)
print(json.dumps(results))
"""


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
def start(tmp_path, tiny_arch, hub):
    """Starts a process that loads the weights of some tags."""
    (tmp_path / 'arch').mkdir()
    (tmp_path / 'arch' / 'tiny.json').write_text(json.dumps(tiny_arch))

    def start(*tags, **variables):
        hub.requests.clear()
        return subprocess.Popen(
            [sys.executable, '-c', SCRIPT, tmp_path / 'arch', *tags],
            env={
                **{k: v for k, v in os.environ.items() if k[:3] != 'HF_'},
                'HF_ENDPOINT': hub.url,
                'HF_HOME': str(tmp_path / 'hub'),
                'OVSEG_CACHE': str(tmp_path / 'cache'),
                **variables,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def results_of(process):
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return json.loads(output.splitlines()[-1]), errors


def assert_says_what_to_put_where(message, hub, tag, repo, name):
    assert f"weights of tiny '{tag}' is in no cache" in message
    assert f'download {name} from {hub.url}/org/{repo}/tree/main' in message
    assert f"custom_clip_weights='/path/to/{name}'" in message
    assert '\n' not in message


def test_interrupted_download_goes_on(hub, start, our_weights):
    hub.stop_after = 40_000
    first = start('bin')
    assert hub.stopped.wait(60)
    time.sleep(0.5)  # until what was sent is on the disk
    first.kill()
    first.communicate()
    hub.stop_after = None

    # Otherwise the hub's client shows its bar on terminals only.
    results, errors = results_of(start('bin', TQDM_POSITION='-1'))
    licence = 'the licence is not known here; it is on'
    assert f'{licence} {hub.url}/org/bin\n' in errors
    # Processes with other numbers of threads add up in another order.
    sums = {name: v.double().sum().item() for name, v in our_weights.items()}
    sums = pytest.approx(sums)
    assert results == {'bin': sums}
    gets = [bounds for kind, *_, bounds in hub.requests if kind == 'GET']
    assert gets == ['bytes=40000-']
    assert BIN in errors and '100%' in errors

    # What is there needs no network; what is not says so.
    results, errors = results_of(start('bin', 'safe', HF_HUB_OFFLINE='1'))
    assert f"tiny 'bin': {licence}" not in errors
    assert results['bin'] == sums
    assert_says_what_to_put_where(results['safe'], hub, 'safe', 'safe', SAFE)
    assert not hub.requests


def test_what_the_hub_has_and_has_not(hub, start, our_weights, tmp_path):
    tags = ('safe', 'damaged', 'gone', 'other')
    results, errors = results_of(start(*tags))
    assert results['safe'].keys() == our_weights.keys()
    asked = {name for _, repo, name, _ in hub.requests if repo == 'org/safe'}
    assert asked == {SAFE}, 'safetensors are preferred'
    assert 'another SHA-256' in results['damaged']
    for tag, repo, name in (
        ('damaged', 'damaged', SAFE),
        ('gone', 'gone', SAFE),
        ('other', 'bin', 'other.bin'),
    ):
        assert_says_what_to_put_where(results[tag], hub, tag, repo, name)
    assert 'Traceback' not in errors
    cache = tmp_path / 'cache'
    left = {p.name for p in cache.rglob('*') if p.is_file()}
    assert left == {SAFE, f'{SAFE}.lock'}


def test_repositories_that_describe_themselves(
    hub, start, our_weights, tmp_path
):
    sums = {name: v.double().sum().item() for name, v in our_weights.items()}
    names = ('described', 'transformers', 'no-weights', 'gone')
    tags = [f'hf-hub:org/{name}' for name in names]
    results, _ = results_of(start(*tags))
    for tag in tags[:2]:
        assert results[tag] == pytest.approx(sums), tag
    for tag in tags[2:]:
        assert f'{tag} is in no cache and could not be fetched' in results[tag]
        assert (
            f'{hub.url}/{tag.removeprefix("hf-hub:")}/tree/main'
            in (results[tag])
        )
        assert (
            "set 'local-dir:/path/to/the/folder' in its place"
            in (results[tag])
        )
    asked = {name for _, repo, name, _ in hub.requests if 'described' in repo}
    assert asked == {CONFIG, SAFE}

    results, _ = results_of(start(*tags[:2], HF_HUB_OFFLINE='1'))
    for tag in tags[:2]:
        assert results[tag] == pytest.approx(sums), tag
    assert not hub.requests
