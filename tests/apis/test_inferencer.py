# SPDX-License-Identifier: Apache-2.0
"""Pictures of all kinds, words of one call, and MMSegmentation's APIs."""

import copy
import io
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from mmseg.apis import inference_model
from PIL import Image

from ovseg_mm.apis import OpenVocabInferencer

from ..end_to_end.conftest import TINY

WORDS = [
    ['sea', 'moss', 'a crimson thing', 'stone'],
    ['fish', 'bread'],
    ['moss', 'sea', 'stone'],
    ['one', 'two', 'three', 'four', 'five', 'six'],
]


@pytest.fixture(scope='module')
def inferencer(trained_file):
    return OpenVocabInferencer(TINY, trained_file, 'cpu')


@pytest.fixture(scope='module')
def pixels():
    """RGB, larger than an image of the training, no two colours alike."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 255, (5, 6, 3), np.uint8)
    return np.kron(blocks, np.ones((16, 16, 1), np.uint8))


def file_of(pixels, kind='PNG', **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def test_all_kinds_of_pictures(inferencer, pixels, tmp_path):
    path = tmp_path / 'picture.png'
    path.write_bytes(file_of(pixels))
    expected = inferencer(pixels, WORDS[0])
    assert expected.labels.shape == (80, 96)
    assert len(np.unique(expected.labels)) > 1
    planes = torch.from_numpy(pixels).permute(2, 0, 1)
    for picture in (
        path,
        str(path),
        path.read_bytes(),
        bytearray(path.read_bytes()),
        memoryview(path.read_bytes()),
        Image.open(path),
        Image.fromarray(pixels),
        planes,
        planes / 255,
        (planes / 255).double(),
    ):
        result = inferencer(picture, WORDS[0])
        assert np.array_equal(result.image, pixels), type(picture)
        assert np.array_equal(result.labels, expected.labels)


def test_grey_and_transparent_pictures(inferencer, pixels):
    grey = pixels[..., 0]
    as_rgb = np.stack([grey] * 3, axis=-1)
    alpha = np.dstack([pixels, np.full(grey.shape, 7, np.uint8)])
    for picture, expected in (
        (grey, as_rgb),
        (torch.from_numpy(grey)[None], as_rgb),
        (Image.fromarray(grey), as_rgb),
        (Image.fromarray(alpha), pixels),
        (Image.fromarray(grey.astype(np.uint16) * 256 + 3), as_rgb),
    ):
        assert np.array_equal(inferencer(picture, ['a']).image, expected)


def test_orientation_of_bytes_and_opened_pictures(inferencer, pixels):
    exif = Image.Exif()
    exif[0x0112] = 6
    content = file_of(pixels, exif=exif)
    upright = np.rot90(pixels, -1)
    for picture in (content, Image.open(io.BytesIO(content))):
        assert np.array_equal(inferencer(picture, ['a']).image, upright)


def test_lists(inferencer, pixels):
    for sequence in (list, tuple):
        results = inferencer(
            sequence([pixels, pixels[:64]]), WORDS[0], scores='all'
        )
        assert [r.labels.shape for r in results] == [(80, 96), (64, 96)]
        for result in results:
            alone = inferencer(result.image, WORDS[0], scores='all')
            assert np.array_equal(result.labels, alone.labels)
            assert np.array_equal(result.scores, alone.scores)
    assert inferencer([], WORDS[0]) == []


def test_folders_patterns_and_generators(inferencer, pixels, tmp_path):
    (tmp_path / 'b.png').write_bytes(file_of(pixels))
    (tmp_path / 'a.png').write_bytes(file_of(pixels[:64]))
    (tmp_path / 'notes.txt').write_text('no image')
    files = [tmp_path / 'a.png', tmp_path / 'b.png']
    expected = [inferencer(file, WORDS[0]) for file in files]
    for images in (tmp_path, str(tmp_path / '*.png'), [tmp_path], files):
        for results in (
            inferencer(images, WORDS[0]),
            list(inferencer.iterate(images, WORDS[0], batch_size=2)),
        ):
            assert [result.path for result in results] == files
            for result, want in zip(results, expected, strict=True):
                assert np.array_equal(result.labels, want.labels)
    drawn = []
    frames = (drawn.append(i) or pixels[:, : 64 + i] for i in range(9))
    results = inferencer.iterate(frames, WORDS[0], batch_size=2)
    assert drawn == [], 'nothing is read before it is asked for'
    assert next(results).labels.shape == (80, 64)
    assert 2 <= len(drawn) < 9, 'all were read'
    assert [r.labels.shape[1] for r in results] == list(range(65, 73))


def test_iterate_checks_words_and_names_before_it_starts(inferencer, tmp_path):
    with pytest.raises(ValueError, match='empty class text'):
        inferencer.iterate([], [''])
    with pytest.raises(FileNotFoundError, match=r'there is no such image'):
        inferencer.iterate([tmp_path / 'x.png'], ['a'])
    (tmp_path / 'x.png').write_bytes(b'broken')
    results = inferencer.iterate([tmp_path / 'x.png'], ['a'])
    with pytest.raises(ValueError, match=r'x.png cannot be read'):
        next(results)


@pytest.mark.parametrize(
    'picture, words',
    [
        (b'', 'cannot be read as an image, because it is empty (0 bytes)'),
        (b'a text', 'image of 6 bytes cannot be read as an image'),
        (7, 'of the type int;'),
        (None, 'of the type NoneType;'),
        (np.zeros((4, 4, 4), np.uint8), 'shape (4, 4, 4)'),
        (np.zeros((4, 4, 3)), 'type float64'),
        (np.zeros((0, 4, 3), np.uint8), 'no pixels'),
        (torch.zeros(4, 4, 3), 'shape (4, 4, 3)'),
        (torch.zeros(2, 3, 4, 4), 'give several images as a list'),
        (torch.full((3, 4, 4), 255.0), 'values are from 255 to 255'),
        (torch.full((3, 4, 4), float('nan')), 'must be in [0, 1]'),
        (torch.zeros(3, 4, 4).long(), 'its type is int64'),
        (Image.new('F', (4, 4)), 'PIL image has pixels of 32 bits'),
    ],
)
def test_what_is_not_a_picture(inferencer, pixels, picture, words):
    with pytest.raises(ValueError) as caught:
        inferencer(picture, ['a'])
    assert words in str(caught.value)
    with pytest.raises(
        ValueError, match=r'image 1 \(counting from 0\): '
    ) as c:
        inferencer([pixels, picture], ['a'])
    assert words in str(c.value)


def test_words_and_options_are_those_of_one_call(inferencer, pixels):
    own = inferencer.vocabulary
    first = inferencer(pixels)
    assert first.vocabulary is own and first.scores is None
    result = inferencer(pixels, WORDS[3], scores='all')
    assert result.vocabulary.names == tuple(WORDS[3])
    assert result.scores.shape == (6, 80, 96)
    assert inferencer.vocabulary is own
    again = inferencer(pixels)
    assert again.vocabulary is own and again.scores is None
    assert np.array_equal(again.labels, first.labels)
    with pytest.raises(ValueError):
        inferencer(pixels, [''])
    assert inferencer.vocabulary is own


def test_model_serves_mmsegmentation_afterwards(inferencer, pixels, tmp_path):
    model = inferencer.model
    path = tmp_path / 'picture.png'
    path.write_bytes(file_of(pixels))
    before = inference_model(model, str(path))
    inferencer(pixels, WORDS[3], scores='all')
    after = inference_model(model, str(path))
    assert model.num_classes == model.decode_head.num_classes
    assert model.num_classes == inferencer.vocabulary.num_labels
    labels = before.pred_sem_seg.data
    assert torch.equal(after.pred_sem_seg.data, labels)
    assert ('seg_logits' in after) == ('seg_logits' in before)
    assert model.cfg.test_pipeline[0]['type'] == 'LoadImageFromFile'
    ours = inferencer(path).labels
    assert np.array_equal(ours, labels[0].numpy())


def test_threads_get_the_answers_of_their_own_words(inferencer, pixels):
    images = [pixels, pixels[:, ::-1].copy(), pixels[:64, :64].copy()]
    calls = [
        (image, words, scores)
        for words in [*WORDS, None]
        for image in images
        for scores in (None, 'all')
    ]

    def ask(call):
        image, words, scores = call
        return inferencer(image, words, scores=scores)

    expected = [ask(call) for call in calls]
    order = np.random.default_rng(0).permutation(len(calls) * 2) % len(calls)
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda i: ask(calls[i]), order))
    for index, result in zip(order, results, strict=True):
        want = expected[index]
        assert result.vocabulary.names == want.vocabulary.names
        assert np.array_equal(result.labels, want.labels)
        assert (result.scores is None) == (want.scores is None)
        if want.scores is not None:
            assert np.array_equal(result.scores, want.scores)


def test_copies(inferencer, pixels):
    expected = inferencer(pixels, WORDS[0]).labels
    for other in (
        copy.deepcopy(inferencer),
        pickle.loads(pickle.dumps(inferencer)),
    ):
        assert np.array_equal(other(pixels, WORDS[0]).labels, expected)


def test_options_that_save_time(inferencer, trained_file, pixels):
    faster = OpenVocabInferencer(
        TINY, trained_file, 'cpu', amp=True, max_words=4
    )
    assert faster.model.test_cfg.max_words == 4
    dtypes = set()
    faster.model.decode_head.register_forward_hook(
        lambda head, inputs, logits: dtypes.add(logits.dtype)
    )
    found = faster(pixels, WORDS[0], scores='all')
    assert dtypes == {torch.bfloat16}
    expected = inferencer(pixels, WORDS[0], scores='all')
    assert not np.array_equal(found.scores, expected.scores)
    np.testing.assert_allclose(found.scores, expected.scores, atol=0.1)
    with faster.scored(pixels, WORDS[0]) as (scores, labelling):
        assert np.array_equal(labelling.labels(scores.of), found.labels)
    # Two of six words are left out.
    scores = faster(pixels[:24, :24], WORDS[3], scores='all').scores
    assert (scores == 0).all(axis=(1, 2)).sum() == 2
    with pytest.raises(ValueError, match='prune_regions=0.5 has no effect'):
        OpenVocabInferencer(TINY, trained_file, 'cpu', prune_regions=0.5)
