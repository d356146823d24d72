# SPDX-License-Identifier: Apache-2.0
import os
import pickle

import numpy as np
import open_clip
import pytest
import torch

from ovseg_mm.models import CLIPTextTransformer, TextBank
from ovseg_mm.models.text_encoder import EmbeddingFile
from ovseg_mm.vocabulary import get_templates, load_vocabulary

from ...tiny import clip_arch

WORDS = ['cat', 'sofa', 'wall-concrete', 'traffic light']


@pytest.fixture
def table(tmp_path):
    path = tmp_path / 'table.npy'
    np.save(path, np.random.RandomState(0).randn(4, 6).astype(np.float16))
    return path


def test_rows_are_found_by_words(table):
    file = EmbeddingFile(table, WORDS)
    rows = torch.from_numpy(np.load(table)).float()
    text = file(load_vocabulary(['wall-concrete', 'cat']))
    assert text.dtype == torch.float32 and text.shape == (2, 1, 6)
    torch.testing.assert_close(text[:, 0], rows[[2, 0]], rtol=0, atol=0)


def test_bank_takes_them_as_they_are(table):
    bank = TextBank(embeddings=dict(file=table, vocabulary=WORDS))
    text = bank(None, load_vocabulary(WORDS))
    assert bank.prompts_per_class == 1
    assert (text.norm(dim=-1) - 1).abs().max() > 0.1, 'not normalised again'


def test_missing_words_are_named(table):
    file = EmbeddingFile(table, WORDS)
    with pytest.raises(ValueError, match="no embedding of 'dog' and 1 more"):
        file(load_vocabulary(['cat', 'dog', 'cow']))


def test_wrong_files(tmp_path, table):
    with pytest.raises(FileNotFoundError, match='nowhere.npy'):
        EmbeddingFile(tmp_path / 'nowhere.npy', WORDS)
    with pytest.raises(ValueError, match='has 4 rows, but .* 3 class texts'):
        EmbeddingFile(table, WORDS[:3])
    wrong = tmp_path / 'wrong.npy'
    np.save(wrong, np.zeros((4, 6), np.int64))
    with pytest.raises(ValueError, match='int64 of shape .* array of floats'):
        EmbeddingFile(wrong, WORDS)
    np.save(wrong, np.array([object()]), allow_pickle=True)
    with pytest.raises(ValueError, match='wrong.npy cannot be read'):
        EmbeddingFile(wrong, WORDS)
    wrong.write_bytes(table.read_bytes()[:40])
    with pytest.raises(ValueError, match='wrong.npy cannot be read'):
        EmbeddingFile(wrong, WORDS)


@pytest.mark.parametrize('recipe', ['single', 'multi'])
def test_ours_equal_a_published_recipe(recipe, tmp_path):
    """The tables of Cascade-CLIP, made as their authors made them."""
    arch = clip_arch(embed_dim=12, text=dict(width=16, heads=2, layers=2))
    tower = CLIPTextTransformer(arch).eval()
    templates = ['a photo of a {}']
    if recipe == 'multi':
        templates = get_templates('cascade_clip')
    rows = []
    with torch.no_grad():
        for word in WORDS:
            texts = [template.format(word) for template in templates]
            embedded = tower(open_clip.tokenize(texts)).half()
            embedded /= embedded.norm(dim=-1, keepdim=True)
            mean = embedded.mean(dim=0)
            rows.append((mean / mean.norm()).numpy())
    path = tmp_path / f'coco_{recipe}.npy'
    np.save(path, np.stack(rows))
    published = EmbeddingFile(path, WORDS)(load_vocabulary(WORDS))
    bank = TextBank(templates, average_templates=True)
    ours = bank(tower, load_vocabulary(WORDS))
    assert np.load(path).dtype == np.float16
    torch.testing.assert_close(ours, published, rtol=0, atol=1e-3)


class Evil:
    def __reduce__(self):
        return os.system, ('touch "$OVSEG_TEST_MARK"',)


@pytest.mark.parametrize('kind', ['npy', 'npz', 'pickle'])
def test_code_in_a_file_is_not_run(kind, tmp_path, monkeypatch):
    mark = tmp_path / 'mark'
    monkeypatch.setenv('OVSEG_TEST_MARK', str(mark))
    path = tmp_path / 'table.npy'
    rows = np.array([Evil()] * 4, dtype=object)
    with open(path, 'wb') as file:
        if kind == 'npy':
            np.save(file, rows)
        elif kind == 'npz':
            np.savez(file, rows)
        else:
            pickle.dump(rows, file)
    with pytest.raises(ValueError, match=f'{path} '):
        EmbeddingFile(path, WORDS)
    assert not mark.exists()


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_numbers_that_are_not_finite(table, value):
    rows = np.load(table)
    rows[2, 3] = value
    np.save(table, rows)
    with pytest.raises(
        ValueError, match='not finite .* 24 numbers of its table'
    ):
        EmbeddingFile(table, WORDS)
