# SPDX-License-Identifier: Apache-2.0
import base64
import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ovseg_mm.apis import Segmentation
from ovseg_mm.utils.errors import InputError
from ovseg_mm.vocabulary import load_vocabulary
from ovseg_mm.web import work

WORDS = load_vocabulary(['cat', 'dog', 'sky'])


@pytest.fixture
def result():
    rng = np.random.default_rng(0)
    scores = rng.random((3, 40, 60)).astype(np.float16)
    image = rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)
    return Segmentation(image, scores.argmax(axis=0), WORDS, scores)


def pixels_of(url):
    content = base64.b64decode(url.partition('base64,')[2])
    return np.array(Image.open(io.BytesIO(content)))


def test_words_of_the_fields():
    found = work.read_words('cat; sofa|couch\nsky', None)
    assert found.class_texts == (('cat',), ('sofa', 'couch'), ('sky',))
    assert work.read_words('cat', 'cityscapes').num_labels == 19
    for words in ('', '  ;\n '):
        with pytest.raises(InputError, match='there are no words yet'):
            work.read_words(words, None)
    with pytest.raises(InputError, match='1001 words are too many'):
        work.read_words(';'.join(f'w{n}' for n in range(1001)), None)


def test_uploads(tmp_path, monkeypatch):
    path = tmp_path / 'x.png'
    Image.new('RGB', (400, 100)).save(path)
    assert work.read_upload(str(path)).shape == (100, 400, 3)
    monkeypatch.setattr(work, 'MAX_PIXELS', 10_000)
    assert work.read_upload(str(path)).shape == (50, 200, 3)
    monkeypatch.setattr(work, 'MAX_DECODED_PIXELS', 30_000)
    with pytest.raises(InputError, match='megapixels'):
        work.read_upload(str(path))
    path.write_text('not an image')
    with pytest.raises(InputError, match=r'x\.png is not an image'):
        work.read_upload(str(path))
    with pytest.raises(InputError, match='there is no image'):
        work.read_upload(None)


def test_scores_that_are_asked_for(tmp_path, monkeypatch, result):
    path = tmp_path / 'x.png'
    Image.new('RGB', (60, 40)).save(path)
    calls = []

    def inferencer(image, words, **options):
        calls.append(options)
        return result

    plain = work.segment(inferencer, str(path), WORDS, 'wall; floor')
    assert plain.scores.dtype == np.float16 and plain.score_labels is None
    monkeypatch.setattr(work, '_MAX_KEPT', 40 * 60 * 2)
    monkeypatch.setattr(work, '_KEPT_BEST', 2)
    few = work.segment(inferencer, str(path), WORDS)
    assert few.scores.shape == few.score_labels.shape == (2, 40, 60)
    assert (few.score_labels[0] == result.labels).mean() > 0.99
    view = work.view_of(few, 0.6, 'dog')
    assert view['best'] == work.view_of(few, 0.6)['best']
    monkeypatch.setattr(work, '_MAX_SCORES', 40 * 60 * 2)
    work.segment(inferencer, str(path), WORDS)
    assert calls == [
        dict(background=['wall', 'floor'], scores='all'),
        dict(background=None, scores='all'),
        dict(background=None, scores=2),
    ]


def test_unsure_pixels_lose_their_label(result):
    assert work.hide_unsure(result, 0) is result
    hidden = work.hide_unsure(result, 0.6).labels
    unsure = result.scores.max(axis=0) < 0.6
    assert unsure.any() and not unsure.all()
    assert (hidden[unsure] == 255).all()
    assert (hidden[~unsure] == result.labels[~unsure]).all()


def test_best_words_of_each_pixel(result):
    best = work.view_of(result, 0.6)['best']
    table = pixels_of(best['table']).reshape(3, 40, 60, 3).astype(int)
    labels = table[..., 0] * 256 + table[..., 1]
    assert (labels[0] == result.labels).all()
    assert (labels == np.argsort(-result.scores, axis=0, kind='stable')).all()
    found = best['low'] + (best['high'] - best['low']) * table[..., 2] / 255
    ranked = -np.sort(-result.scores.astype(float), axis=0)
    assert np.abs(found - ranked).max() < 0.005
    assert best['names'] == ['cat', 'dog', 'sky']


def test_best_words_without_all_scores(result):
    few = SimpleNamespace(
        labels=result.labels,
        scores=np.array([[[0.9]], [[0.5]]]).repeat(40, 1).repeat(60, 2),
        score_labels=np.array([[[700]], [[2]]]).repeat(40, 1).repeat(60, 2),
        class_names=(),
    )
    best = work._best_words(few)
    table = pixels_of(best['table']).reshape(2, 40, 60, 3)
    assert table[:, 0, 0].tolist() == [[2, 188, 255], [0, 2, 0]]


def test_legend_and_score_map(result):
    view = work.view_of(result, 0.6)
    assert [entry['name'] for entry in view['legend']] == list(result.shares())
    assert view['part'] == [1, 1] and view['chosen'] is None
    heat = work.view_of(result, 0.6, 'dog')
    drawn = pixels_of(heat['picture'])
    width, height = heat['part']
    # The image was enlarged by a whole factor; the scale is below.
    assert (width * drawn.shape[1]) % 60 == 0 and height < 1
    assert heat['chosen'] == 'dog' and heat['best'] == view['best']
