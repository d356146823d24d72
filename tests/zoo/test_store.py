# SPDX-License-Identifier: Apache-2.0
"""Weights of named models: download, conversion, cache."""

import io
import json
import multiprocessing
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import hf_hub_download

from ovseg_mm.apis import OpenVocabInferencer
from ovseg_mm.cli import main
from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.image_files import write_image
from ovseg_mm.zoo import resolve_model

from .conftest import zoo_row

TINY_FILE = dict(Repository='org/tiny', Name='model.pth')


def cached(tmp_path, name='tiny-catseg'):
    """Names of the files in the cache, without locks."""
    folder = tmp_path / 'cache' / 'models' / name
    files = folder.iterdir() if folder.is_dir() else ()
    return sorted(f.name for f in files if not f.name.endswith('.lock'))


def gets(hub):
    return [request[1:] for request in hub.requests if request[0] == 'GET']


def test_a_model_is_fetched_once(hub, use_table, tmp_path, sha256, capsys):
    use_table(zoo_row('tiny-catseg', TINY_FILE))
    checkpoint = resolve_model('tiny-catseg').fetch()
    assert gets(hub) == [('org/tiny', 'model.pth', None)]
    assert cached(tmp_path) == ['tiny-catseg.json', 'tiny-catseg.pth']
    report = json.loads(checkpoint.with_suffix('.json').read_text())
    assert report['sha256'] == sha256, "the hub's tag, since none is known"
    assert report['conversion']['layout'] == 'cat_seg'
    assert not report['conversion']['unused']
    content = torch.load(checkpoint, weights_only=True)
    assert content['meta']['source_sha256'] == sha256
    assert 'licence' not in capsys.readouterr().err

    hub.requests.clear()
    assert resolve_model('tiny-catseg').fetch() == checkpoint
    assert not hub.requests


def test_second_use_without_a_network(hub, use_table, monkeypatch, tmp_path):
    use_table(zoo_row('tiny-catseg', TINY_FILE))
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', True)
    with pytest.raises(
        OSError, match='could not be downloaded .*offline'
    ) as e:
        resolve_model('tiny-catseg').fetch()
    assert 'python -m ovseg_mm add tiny-catseg model.pth' in str(e.value)
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', False)
    resolve_model('tiny-catseg').fetch()
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', True)
    assert resolve_model('tiny-catseg').fetch().is_file()


def test_space_revision_and_redirect(hub, use_table, sha256, monkeypatch):
    file = dict(
        Repository='org/room',
        Type='space',
        Name='weights/model.pth',
        Revision='abc',
        SHA256=sha256,
    )
    use_table(zoo_row('tiny-catseg', file))
    hub.redirected.add('spaces/org/room')
    monkeypatch.setenv('HF_TOKEN', 'hf_secret')
    resolve_model('tiny-catseg').fetch()
    names = {request[1:3] for request in hub.requests}
    assert names == {('spaces/org/room', 'weights/model.pth')}
    assert ('127.0.0.1', 'Bearer hf_secret') in hub.tokens
    assert ('localhost', None) in hub.tokens
    assert ('localhost', 'Bearer hf_secret') not in hub.tokens


def test_a_cut_connection_goes_on(hub, use_table, published_file):
    use_table(zoo_row('tiny-catseg', TINY_FILE))
    hub.cuts = [20_000, 30_000]
    resolve_model('tiny-catseg').fetch()
    starts = [bounds for *_, bounds in gets(hub)]
    assert starts == [None, 'bytes=20000-', 'bytes=50000-']
    assert len(published_file) > 60_000


def test_the_cache_of_the_hubs_client(hub, use_table, tmp_path, sha256):
    kept = hf_hub_download(
        'org/tiny',
        'model.pth',
        endpoint=hub.url,
        cache_dir=tmp_path / 'hf',
    )
    hub.requests.clear()
    use_table(
        zoo_row('tiny-catseg', dict(TINY_FILE, SHA256=sha256)),
        zoo_row('other', dict(TINY_FILE, SHA256='0' * 64)),
    )
    resolve_model('tiny-catseg').fetch()
    assert not hub.requests
    assert Path(kept).is_file()
    with pytest.raises(InputError, match='model.pth in org/tiny has changed'):
        resolve_model('other').fetch()


def test_another_file_than_the_table_names(hub, use_table, tmp_path):
    use_table(
        zoo_row('hash', dict(TINY_FILE, SHA256='0' * 64)),
        zoo_row('size', dict(TINY_FILE, Bytes=5)),
    )
    for name, message in (
        ('hash', 'SHA-256 is .* expected 0000.*nothing was downloaded'),
        ('size', 'size is .* bytes, expected 5; nothing was downloaded'),
    ):
        with pytest.raises(InputError, match=message):
            resolve_model(name).fetch()
        assert cached(tmp_path, name) == []
    assert not gets(hub)


def test_a_damaged_download_is_removed(hub, use_table, tmp_path, sha256):
    use_table(zoo_row('tiny-catseg', TINY_FILE))
    hub.etags['org/tiny'] = sha256
    good = hub.files['org/tiny', 'model.pth']
    hub.files['org/tiny', 'model.pth'] = good[:-4] + b'1234'
    with pytest.raises(InputError, match='the SHA-256 .* was removed'):
        resolve_model('tiny-catseg').fetch()
    assert cached(tmp_path) == []
    hub.files['org/tiny', 'model.pth'] = good
    assert resolve_model('tiny-catseg').fetch().is_file()


@pytest.mark.parametrize(
    ('status', 'error'),
    [
        (401, 'RepositoryNotFoundError'),
        (403, 'GatedRepoError'),
        (404, 'EntryNotFoundError'),
    ],
)
def test_refused(hub, use_table, capsys, tmp_path, status, error):
    use_table(zoo_row('tiny-catseg', TINY_FILE))
    hub.refused['org/tiny'] = status
    arguments = ['x.png', '--model', 'tiny-catseg', '--classes', 'a']
    (tmp_path / 'x.png').write_bytes(b'')
    arguments[0] = str(tmp_path / 'x.png')
    assert main(['predict', *arguments, '--out', str(tmp_path / 'out')]) == 2
    message = capsys.readouterr().err
    assert error in message and message.count('\n') == 1
    assert f'model.pth from {hub.url}/org/tiny/tree/main' in message
    assert 'python -m ovseg_mm add tiny-catseg model.pth' in message


def test_no_network(hub, use_table, monkeypatch):
    use_table(zoo_row('tiny-catseg', TINY_FILE))
    monkeypatch.setenv('HF_ENDPOINT', 'http://127.0.0.1:9')
    with pytest.raises(OSError, match='tiny-catseg could not be downloaded'):
        resolve_model('tiny-catseg').fetch()


def test_full_disk(hub, use_table, monkeypatch, published_file):
    use_table(zoo_row('tiny-catseg', TINY_FILE))
    usage = namedtuple('usage', 'free')
    room = len(published_file) * 2 - 1
    monkeypatch.setattr('shutil.disk_usage', lambda path: usage(room))
    with pytest.raises(InputError, match='delete files, or .*OVSEG_CACHE'):
        resolve_model('tiny-catseg').fetch()
    assert not gets(hub)
    monkeypatch.setattr('shutil.disk_usage', lambda path: usage(room + 1))
    resolve_model('tiny-catseg').fetch()


def test_a_licence_is_told_once(hub, use_table, capsys):
    licence = dict(Code='MIT', Weights='CC BY-NC 4.0')
    use_table(zoo_row('tiny-catseg', TINY_FILE, Licence=licence))
    resolve_model('tiny-catseg').fetch()
    assert capsys.readouterr().err.count('CC BY-NC 4.0') == 1
    resolve_model('tiny-catseg').fetch()
    assert 'CC BY-NC' not in capsys.readouterr().err


def test_a_failed_conversion_goes_on(hub, use_table, monkeypatch, tmp_path):
    use_table(zoo_row('tiny-catseg', TINY_FILE))

    def full_disk(*args):
        raise OSError('no space left')

    with monkeypatch.context() as patch:
        patch.setattr('ovseg_mm.checkpoints.convert', full_disk)
        with pytest.raises(OSError, match='no space left'):
            resolve_model('tiny-catseg').fetch()
    assert cached(tmp_path) == ['model.pth']
    resolve_model('tiny-catseg').fetch()
    assert len(gets(hub)) == 1
    assert cached(tmp_path) == ['tiny-catseg.json', 'tiny-catseg.pth']


def test_the_file_of_another_method(hub, use_table, tmp_path):
    use_table(zoo_row('tiny-catseg', TINY_FILE))
    content = io.BytesIO()
    torch.save({'a.weight': torch.ones(2)}, content)
    hub.files['org/tiny', 'model.pth'] = content.getvalue()
    with pytest.raises(InputError, match='is not a weight file of tiny'):
        resolve_model('tiny-catseg').fetch()
    assert cached(tmp_path) == []


def test_a_changed_table_or_a_cut_checkpoint_is_fetched_again(
    hub, use_table, tmp_path
):
    use_table(zoo_row('tiny-catseg', TINY_FILE))
    checkpoint = resolve_model('tiny-catseg').fetch()
    whole = checkpoint.stat().st_size
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    resolve_model('tiny-catseg').fetch()
    assert checkpoint.stat().st_size == whole
    report = checkpoint.with_suffix('.json')
    facts = json.loads(report.read_text())
    report.write_text(json.dumps(dict(facts, sha256='0' * 64)))
    model = resolve_model('tiny-catseg').model
    assert model.file.sha256 == ''
    assert resolve_model('tiny-catseg').fetch() == checkpoint
    assert len(gets(hub)) == 2


def test_two_processes_do_the_work_once(hub, use_table, tmp_path):
    use_table(zoo_row('tiny-catseg', TINY_FILE))
    # Forked, they share the table of the test, and start at once.
    context = multiprocessing.get_context('fork')
    runs = [context.Process(target=_fetch_tiny, daemon=True) for _ in range(2)]
    for run in runs:
        run.start()
    for run in runs:
        run.join(60)
    assert [run.exitcode for run in runs] == [0, 0]
    assert cached(tmp_path) == ['tiny-catseg.json', 'tiny-catseg.pth']
    assert gets(hub) == [('org/tiny', 'model.pth', None)]


def _fetch_tiny():
    torch.set_num_threads(1)
    assert resolve_model('tiny-catseg').fetch().is_file()


def test_add(hub, use_table, capsys, tmp_path, published_file):
    page = 'https://drive.example/folder'
    use_table(
        zoo_row('by-hand', dict(Name='W.pth', Page=page, Note='a long way')),
        zoo_row('tiny-catseg', dict(TINY_FILE, SHA256='0' * 64)),
        zoo_row('free'),
    )
    with pytest.raises(InputError) as error:
        resolve_model('by-hand').fetch()
    assert f'download W.pth from {page} (a long way)' in str(error.value)
    assert 'python -m ovseg_mm add by-hand W.pth' in str(error.value)

    file = tmp_path / 'W.pth'
    file.write_bytes(published_file)
    assert main(['add', 'by-hand', str(file)]) == 0
    assert 'predict IMAGE' in capsys.readouterr().out
    assert resolve_model('by-hand').fetch().is_file()
    assert main(['models', 'by-hand']) == 0
    assert f'stored     {tmp_path}/cache' in capsys.readouterr().out

    # Fits, but is not the published one.
    assert main(['add', 'tiny-catseg', str(file)]) == 0
    assert 'differs from the published file' in capsys.readouterr().err
    assert resolve_model('tiny-catseg').fetch().is_file()
    assert not hub.requests

    file.write_bytes(b'not weights')
    for arguments, message in (
        (['by-hand', file], 'W.pth is not a weight file of by-hand;'),
        (['by-hand', tmp_path / 'no.pth'], 'no.pth does not exist'),
        (['free', file], 'free needs no file'),
        (['by-hnd', file], "did you mean 'by-hand'?"),
    ):
        assert main(['add', *map(str, arguments)]) == 2
        assert message in capsys.readouterr().err


def test_commands_take_names(hub, use_table, tmp_path, published_file, capsys):
    use_table(zoo_row('tiny-catseg', TINY_FILE))
    image = tmp_path / 'x.png'
    write_image(image, np.zeros((64, 64, 3), np.uint8))
    words = ['--classes', 'cat; sky']
    out = ['--out', str(tmp_path / 'out')]
    arguments = ['predict', str(image), *words, *out]
    assert main([*arguments, '--model', 'tiny-catseg']) == 0
    assert (tmp_path / 'out' / 'x_labels.png').is_file()
    inferencer = OpenVocabInferencer('tiny-catseg', device='cpu')
    assert inferencer(image).labels.shape == (64, 64)
    assert len(gets(hub)) == 1

    (tmp_path / 'model.pth').write_bytes(published_file)
    files = [str(tmp_path / 'model.pth'), str(tmp_path / 'ours.pth')]
    assert main(['convert', *files, '--config', 'tiny-catseg']) == 0
    assert 'every learned tensor of tiny-catseg' in capsys.readouterr().out


def test_predict_has_a_default(hub, tmp_path, capsys):
    image = tmp_path / 'x.png'
    write_image(image, np.zeros((8, 8, 3), np.uint8))
    arguments = ['--classes', 'cat; sky', '--out', str(tmp_path / 'out')]
    assert main(['predict', str(image), *arguments]) == 2
    assert 'weights of catseg-vitb16' in capsys.readouterr().err
