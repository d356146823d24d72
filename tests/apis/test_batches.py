# SPDX-License-Identifier: Apache-2.0
import io
import json

import numpy as np
import pytest
from PIL import Image

from ovseg_mm.apis import BatchSegmenter, OpenVocabInferencer
from ovseg_mm.toy.scenes import make_scene
from ovseg_mm.utils.errors import InputError

WORDS = ['plain red', 'striped blue', 'water', 'stone', 'grass', 'sand']


def scene(seed: int, size=(40, 48)) -> np.ndarray:
    return make_scene(np.random.default_rng(seed), size, ('plain red',)).image


def test_columns():
    segmenter = BatchSegmenter(WORDS, model='toy', background='none')
    images = np.empty(2, object)
    images[0], images[1] = scene(0), scene(1, (48, 40))
    found = segmenter(dict(image=images, path=np.array(['a', 'b'])))
    assert set(found) == {'path', 'labels', 'shares'}
    for image, labels, shares in zip(images, found['labels'], found['shares']):
        result = segmenter.inferencer(image, WORDS)
        assert labels.dtype == np.uint8 and (labels == result.labels).all()
        assert json.loads(shares) == result.shares()
    file = io.BytesIO()
    Image.fromarray(images[0]).save(file, 'PNG')
    segmenter.column = 'bytes'
    content = np.array([file.getvalue()], 'O')
    assert segmenter(dict(bytes=content))['shares'] == found['shares'][:1]
    segmenter.column = 'image'
    with pytest.raises(InputError, match="no column 'image', only path; "):
        segmenter(dict(path=np.array(['a'])))


@pytest.mark.slow
def test_ray_data_on_two_cpus(tmp_path, monkeypatch):
    pytest.importorskip('ray.data', reason="needs the extra 'ray'")
    import ray

    monkeypatch.setenv('RAY_USAGE_STATS_ENABLED', '0')

    for index in range(4):
        Image.fromarray(scene(index)).save(tmp_path / f'{index}.png')
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        rows = (
            ray.data.read_images(str(tmp_path), include_paths=True)
            .map_batches(
                BatchSegmenter,
                fn_constructor_kwargs=dict(classes=WORDS, model='toy'),
                batch_size=2,
                compute=ray.data.ActorPoolStrategy(size=1),
            )
            .take_all()
        )
    finally:
        ray.shutdown()
    assert len(rows) == 4
    model = OpenVocabInferencer('toy', device='cpu')
    for row in rows:
        assert (row['labels'] == model(row['path'], WORDS).labels).all()
