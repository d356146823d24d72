# SPDX-License-Identifier: Apache-2.0
import json
import os
from pathlib import Path

import pytest

from ovseg_mm.apis.records import Records
from ovseg_mm.utils.errors import InputError


def record_of(folder: Path, name: str) -> dict:
    """A finished image, with its result."""
    image, result = folder / name, folder / f'{name}.out'
    image.write_text('')
    result.write_text('')
    return dict(image=str(image), files=dict(labels=str(result)))


def test_processes_are_joined_in_the_order_of_the_images(tmp_path):
    records = Records(tmp_path, {}, keep=False)
    records.start()
    done = [record_of(tmp_path, name) for name in 'cab']
    for rank, record in enumerate(done):
        with records.open(rank) as file:
            file.write(json.dumps(record) + '\n')
    with open(tmp_path / 'results_1.jsonl', 'a') as file:
        file.write('{"image": "cut')  # the process was killed
    paths = [Path(record['image']) for record in done]
    order = [paths[1], paths[2], paths[0], tmp_path / 'never']
    found = records.join(order)
    assert [record['image'] for record in found] == list(map(str, order[:3]))
    lines = (tmp_path / 'results.jsonl').read_text().splitlines()
    assert list(map(json.loads, lines)) == found
    assert not list(tmp_path.glob('results_[0-9]*'))

    again = Records(tmp_path, {}, keep=True)
    assert all(again.is_done(path, ['labels']) for path in paths)
    assert not again.is_done(paths[0], ['labels', 'overlay'])
    assert not again.is_done(tmp_path / 'never', ['labels'])
    os.utime(paths[0], (2**32, 2**32))
    assert not again.is_done(paths[0], ['labels']), 'the image is newer'
    Path(done[1]['files']['labels']).unlink()
    assert not again.is_done(paths[1], ['labels'])
    # Lines of other images stay.
    again.start()
    with again.open(0) as file:
        file.write(json.dumps(record_of(tmp_path, 'd')) + '\n')
    assert len(again.join([tmp_path / 'd'])) == 1
    assert len((tmp_path / 'results.jsonl').read_text().splitlines()) == 4
    assert not Records(tmp_path, {}, keep=False).is_done(paths[2], ['labels'])


def test_results_of_other_settings(tmp_path):
    Records(tmp_path, dict(model='a', amp=False), keep=False).start()
    with pytest.raises(
        InputError, match=r'\(different: model\); leave out --skip-'
    ):
        Records(tmp_path, dict(model='b', amp=False), keep=True)
    Records(tmp_path, dict(model='b', amp=False), keep=False).start()
