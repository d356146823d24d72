# SPDX-License-Identifier: Apache-2.0
import hashlib
import os
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from safetensors.torch import save_file

from ovseg_mm.checkpoints import (
    check_finite,
    read_weights,
    save_atomically,
)
from ovseg_mm.checkpoints.safe_load import safe_torch_load
from ovseg_mm.utils.paths import file_sha256

WEIGHTS = {'a.weight': torch.arange(6.0).view(2, 3), 'a.bias': torch.ones(2)}


def assert_read(path, kind='torch'):
    file = read_weights(path)
    assert file.kind == kind
    assert file.tensors.keys() == WEIGHTS.keys()
    for name, tensor in WEIGHTS.items():
        assert torch.equal(file.tensors[name], tensor)
    return file


@pytest.mark.parametrize(
    'content',
    [
        WEIGHTS,
        {'model': WEIGHTS, 'iteration': 3},
        {'state_dict': WEIGHTS},
        {'model': {'state_dict': WEIGHTS}},
        {'state_dict': {f'module.{k}': v for k, v in WEIGHTS.items()}},
        {'model': {k: v.numpy() for k, v in WEIGHTS.items()}},
        {**WEIGHTS, 'epoch': 4, 'who': 'me'},
    ],
)
@pytest.mark.parametrize('new_format', [True, False])
def test_wrappings(tmp_path, content, new_format):
    path = tmp_path / 'x.pth'
    torch.save(content, path, _use_new_zipfile_serialization=new_format)
    assert_read(path)


def test_mmengine_checkpoint(tmp_path):
    history = HistoryBuffer()
    history.update(0.5)
    path = tmp_path / 'epoch_1.pth'
    content = dict(
        meta=dict(epoch=1, dataset_meta=dict(classes=['cat'])),
        state_dict=WEIGHTS,
        message_hub=dict(
            log_scalars={'train/loss': history},
            runtime_info={'lr': np.float64(0.1), 'n': np.int64(3)},
        ),
    )
    torch.save(content, path)
    assert assert_read(path).meta['dataset_meta'] == dict(classes=['cat'])


def test_safetensors_whatever_its_name(tmp_path):
    save_file(WEIGHTS, tmp_path / 'weights.bin')
    assert_read(tmp_path / 'weights.bin', 'safetensors')


class Evil:
    def __reduce__(self):
        return os.system, ('touch "$OVSEG_TEST_MARK"',)


@pytest.mark.parametrize('new_format', [True, False])
def test_code_in_a_pickle_is_not_run(tmp_path, monkeypatch, new_format):
    mark = tmp_path / 'mark'
    monkeypatch.setenv('OVSEG_TEST_MARK', str(mark))
    path = tmp_path / 'evil.pth'
    torch.save(
        {**WEIGHTS, 'x': Evil()},
        path,
        _use_new_zipfile_serialization=new_format,
    )
    with pytest.raises(ValueError, match=r'evil\.pth .*posix\.system, which'):
        read_weights(path)
    assert not mark.exists()


class Lookup:
    def __reduce__(self):
        return getattr, (OrderedDict, 'fromkeys')


def test_attributes_are_not_looked_up(tmp_path):
    # MMEngine's histories name getattr, which must do nothing here.
    torch.save({**WEIGHTS, 'x': Lookup()}, tmp_path / 'x.pth')
    assert_read(tmp_path / 'x.pth')
    assert safe_torch_load(tmp_path / 'x.pth')['x'] is None


@pytest.mark.parametrize('kept', [0.5, 0.99])
@pytest.mark.parametrize('kind', ['zip', 'legacy', 'safetensors', 'header'])
def test_truncated(tmp_path, kind, kept):
    path = tmp_path / 'cut.pth'
    big = {f'a.{i}': torch.rand(50, 10) for i in range(20)}
    if kind in ('safetensors', 'header'):
        save_file(big, path)
    else:
        torch.save(big, path, _use_new_zipfile_serialization=kind == 'zip')
    data = path.read_bytes()
    length = 100 if kind == 'header' else int(len(data) * kept)
    path.write_bytes(data[:length])
    with pytest.raises(ValueError, match=r'cut\.pth .*cut short') as error:
        read_weights(path)
    assert 'download it again' in str(error.value)
    assert '\n' not in str(error.value)


def test_flipped_bit(tmp_path):
    path = tmp_path / 'x.pth'
    torch.save({'a': torch.rand(1000)}, path)
    data = bytearray(path.read_bytes())
    data[2000] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match='entry x/data/0 does not match'):
        read_weights(path)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', 'is empty'),
        (b'\n<!DOCTYPE html><html>Sign in</html>', 'is a web page'),
        (b'version https://git-lfs.github.com/spec/v1\n', 'git lfs pull'),
        (b'\x00\x01garbage' * 9, 'is not a weight file'),
        (b'\x80\x02garbage', 'cannot be read'),
        (b'hello', 'is not a weight file'),
    ],
)
def test_other_content(tmp_path, content, message):
    path = tmp_path / 'model.pth'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read_weights(path)
    assert str(path) in str(error.value)


def test_other_zip(tmp_path):
    path = tmp_path / 'model.zip'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('folder/model.pth', b'x')
    with pytest.raises(ValueError, match='zip archive of other files'):
        read_weights(path)


@pytest.mark.parametrize('content', [{}, {'epoch': 3}, [1, 2], 'weights'])
def test_no_tensors(tmp_path, content):
    path = tmp_path / 'x.pth'
    torch.save(content, path)
    with pytest.raises(ValueError, match='expected a state dict'):
        read_weights(path)


def test_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match='x.pth does not exist'):
        read_weights(tmp_path / 'x.pth')
    with pytest.raises(ValueError, match='holds none of open_clip_model'):
        read_weights(tmp_path)


def test_sha256(tmp_path):
    (tmp_path / 'x').write_bytes(b'abc')
    assert file_sha256(tmp_path / 'x') == hashlib.sha256(b'abc').hexdigest()


def test_failed_save_keeps_the_old_file(tmp_path):
    path = tmp_path / 'x.pth'
    save_atomically(WEIGHTS, path)
    with pytest.raises(Exception, match='(?i)pickle'):
        save_atomically(dict(x=lambda: None), path)
    assert [file.name for file in tmp_path.iterdir()] == ['x.pth']
    assert_read(path)


def test_numbers_that_are_not_finite():
    nan, inf = float('nan'), float('inf')
    types = torch.float16, torch.bfloat16, torch.float32, torch.float64
    for dtype in (*types, torch.float8_e4m3fn):
        check_finite({'x': torch.ones(3).to(dtype)}, 'a.pth')
        # The small type knows no infinity.
        values = (nan, inf, -inf) if dtype in types else (nan,)
        for value in values:
            bad = torch.tensor([1.0, value, value]).to(dtype)
            with pytest.raises(
                ValueError, match=r'a\.pth has 2 numbers .* 3 numbers of x'
            ):
                check_finite({'y': torch.ones(2), 'x': bad}, 'a.pth')
    check_finite({'i': torch.ones(2).int(), 'e': torch.ones(0)}, 'a.pth')
    check_finite({'big': torch.full((9,), 3e38)}, 'a.pth')
