# SPDX-License-Identifier: Apache-2.0
import copy
import dataclasses
import pickle
import shutil
import warnings

import open_clip
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from ovseg_mm.models import CLIPTextTransformer, TextBank
from ovseg_mm.models.text_encoder import (
    prompt_encoding,
    text_bank,
    text_cache,
    tokenize_prompts,
)
from ovseg_mm.utils.paths import resource
from ovseg_mm.vocabulary import load_vocabulary

from ...tiny import clip_arch

WORDS = load_vocabulary(['cat', 'sofa, couch, settee', 'traffic light'])
PUBLISHED = dataclasses.replace(WORDS, published=(0, 1, 2))
TEMPLATES = ['a photo of a {}.', 'a very small {} in a big scene', '{}']


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache folder of its own for every test."""
    monkeypatch.setenv('OVSEG_CACHE', str(tmp_path / 'cache'))
    return tmp_path / 'cache' / 'text'


class CountingTower(CLIPTextTransformer):
    """Counts the texts and the longest text that it is given."""

    texts = 0
    longest = 0

    def forward(self, tokens):
        self.texts += len(tokens)
        self.longest = max(self.longest, tokens.shape[1])
        return super().forward(tokens)


def build_tower(finetune='none', heads=2, quick_gelu=False):
    torch.manual_seed(0)
    arch = clip_arch(
        embed_dim=12,
        text=dict(width=16, heads=heads, layers=2),
        quick_gelu=quick_gelu,
    )
    return CountingTower(arch, finetune=finetune).eval()


@pytest.fixture
def tower():
    return build_tower()


def naive(tower, text, template):
    """One normalised embedding, of all 77 positions."""
    tokens = open_clip.tokenize([template.format(text)])
    with torch.no_grad():
        return F.normalize(
            CLIPTextTransformer.forward(tower, tokens)[0], dim=0
        )


def test_templates_and_first_synonym(tower):
    bank = TextBank(TEMPLATES)
    with pytest.warns(UserWarning, match='of 1 classes .*settee'):
        text = bank(tower, PUBLISHED)
    assert text.shape == (3, 3, 12) and bank.prompts_per_class == 3
    for row, name in zip(text, ('cat', 'sofa', 'traffic light')):
        for embedding, template in zip(row, TEMPLATES):
            torch.testing.assert_close(embedding, naive(tower, name, template))


def test_mean_of_synonyms_within_each_template(tower):
    text = TextBank(TEMPLATES, synonyms='mean')(tower, WORDS)
    names = 'sofa', 'couch', 'settee'
    for embedding, template in zip(text[1], TEMPLATES):
        mean = sum(naive(tower, name, template) for name in names) / 3
        torch.testing.assert_close(embedding, F.normalize(mean, dim=0))
    torch.testing.assert_close(text[0, 2], naive(tower, 'cat', '{}'))


def test_synonyms_that_a_user_writes_count(tower):
    bank = TextBank(TEMPLATES)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        text = bank(tower, WORDS)
    mean = TextBank(TEMPLATES, synonyms='mean')(tower, WORDS)
    assert text.shape == (3, 3, 12) and torch.equal(text, mean)
    assert 'a photo of a couch.' in bank.prompts_of(WORDS)
    first = bank(tower, load_vocabulary(['cat', 'sofa', 'traffic light']))
    assert not torch.allclose(text[1], first[1], atol=1e-3)
    # The same texts, of a list that a method was evaluated with.
    with pytest.warns(UserWarning, match="'sofa' of 'sofa, couch, settee'"):
        torch.testing.assert_close(bank(tower, PUBLISHED), first)


@pytest.mark.filterwarnings('ignore:.*the same name')
def test_synonyms_of_shipped_lists_and_of_what_is_written_over_them(tmp_path):
    bank = TextBank('single')
    prompts = bank.prompts_of(load_vocabulary('ade847'))
    assert len(prompts) == 847
    assert prompts[1] == 'A photo of a building in the scene'
    copy = shutil.copy(resource('data', 'ade847.json'), tmp_path / 'own.json')
    assert bank.prompts_of(load_vocabulary(copy)) == prompts
    seen = dict(class_texts='ade847', unseen=[0], subset='seen')
    assert bank.prompts_of(load_vocabulary(seen)) == prompts[1:]
    # What is written in place of an entry counts, and its synonyms too.
    renamed = dict(class_texts='ade847', renamed={'building': 'house|shed'})
    changed = bank.prompts_of(load_vocabulary(renamed))
    assert changed[1:3] == [
        'A photo of a house in the scene',
        'A photo of a shed in the scene',
    ]
    assert changed[3:] == prompts[2:]


def test_dropped_synonyms_are_told_once(tower):
    bank = TextBank()
    with pytest.warns(
        UserWarning, match='only the first text is used'
    ) as found:
        for _ in range(3):
            bank(tower, PUBLISHED)
    assert len(found) == 1
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for rule in ('mean', 'whole'):
            TextBank(synonyms=rule)(tower, PUBLISHED)
    first = TextBank(TEMPLATES, synonyms='first')
    with pytest.warns(UserWarning, match="synonyms='first'; set prompts.syn"):
        text = first(tower, WORDS)
    assert len(first.prompts_of(WORDS)) == 9 and text.shape == (3, 3, 12)


def test_synonyms_in_one_prompt(tower):
    text = TextBank(TEMPLATES, synonyms='whole')(tower, WORDS)
    torch.testing.assert_close(
        text[1, 0], naive(tower, 'sofa, couch, settee', TEMPLATES[0])
    )


def test_average_of_templates(tower):
    bank = TextBank(TEMPLATES, average_templates=True)
    text = bank(tower, load_vocabulary(['cat', 'sofa', 'traffic light']))
    assert text.shape == (3, 1, 12) and bank.prompts_per_class == 1
    for row, name in zip(text, ('cat', 'sofa', 'traffic light')):
        mean = sum(naive(tower, name, template) for template in TEMPLATES)
        torch.testing.assert_close(row[0], F.normalize(mean, dim=0))


def test_unknown_synonym_rule():
    with pytest.raises(
        ValueError, match="synonyms='all'; expected one of pub"
    ):
        TextBank(synonyms='all')


@pytest.mark.parametrize('with_gradients', [False, True])
def test_batches_cut_to_their_longest_prompt_change_nothing(
    monkeypatch, with_gradients
):
    monkeypatch.setattr(prompt_encoding, 'ENCODE_BATCH', 2)
    words = ['a', 'a very long name of a thing', 'dog', 'red fire engine', 'x']
    vocabulary = load_vocabulary(words)
    tower = build_tower('attention').train(with_gradients)
    text = TextBank(TEMPLATES[:2])(tower, vocabulary)
    assert text.requires_grad == with_gradients
    for row, word in zip(text, words):
        for embedding, template in zip(row, TEMPLATES):
            torch.testing.assert_close(embedding, naive(tower, word, template))
    assert tower.longest == 16  # start, 14 words, end


def test_equal_prompts_are_encoded_once(tower):
    with pytest.warns(UserWarning, match='same name'):
        vocabulary = load_vocabulary(['bat', 'sky', 'bat'])
    text = TextBank()(tower, vocabulary)
    assert tower.texts == 2 and torch.equal(text[0], text[2])


def test_tokens_are_open_clips_cut_to_the_longest():
    prompts = [
        'A photo of a bed  in the scene',
        "it's Ünïcode &amp; 23 !!",
        '',
    ]
    tokens = tokenize_prompts(prompts, 77)
    expected = open_clip.tokenize(prompts)
    length = tokens.shape[1]
    assert torch.equal(tokens, expected[:, :length])
    assert not expected[:, length:].any() and expected[:, length - 1].any()


def test_prompts_that_do_not_fit_are_named():
    fitting, long = ' '.join('a' * 6), ' '.join('b' * 7)
    assert tokenize_prompts([fitting], 8).shape == (1, 8)
    with pytest.warns(UserWarning, match=f'1 prompts .* 8 tokens.*{long!r}'):
        tokens = tokenize_prompts([fitting, long], 8)
    assert tokens.shape == (2, 8)
    assert (tokens[:, -1] == 49407).all()


@pytest.mark.filterwarnings('error')
def test_second_call_computes_nothing(tower, cache):
    bank = TextBank(TEMPLATES)
    other = load_vocabulary(['dog'])
    first = bank(tower, WORDS)
    bank(tower, other)
    assert tower.texts == 18
    for file in cache.iterdir():
        file.unlink()
    assert bank(tower, WORDS) is first
    assert bank(tower, load_vocabulary(WORDS)) is first
    bank(tower, other)
    assert tower.texts == 18


def test_memory_does_not_grow_for_ever(tower):
    bank = TextBank()
    for index in range(40):
        bank(tower, load_vocabulary([f'thing {index}']))
    assert tower.texts == 40
    assert len(bank._memory) <= 16
    bank(tower, load_vocabulary(['thing 39']))
    assert tower.texts == 40


def change_in_place(tower):
    with torch.no_grad():
        tower.text_projection.mul_(-1.1)


def change_by_loading(tower):
    weights = {k: v + 0.5 for k, v in tower.state_dict().items()}
    tower.load_state_dict(weights)


def change_by_assigning(tower):
    weights = {k: v + 0.5 for k, v in tower.state_dict().items()}
    tower.load_state_dict(weights, assign=True)


def change_by_optimizer(tower):
    tower.requires_grad_(True)
    tower(open_clip.tokenize(['cat'])).sum().backward()
    torch.optim.SGD(tower.parameters(), lr=1.0).step()
    tower.requires_grad_(False)


@pytest.mark.parametrize(
    'change',
    [
        change_in_place,
        change_by_loading,
        change_by_assigning,
        change_by_optimizer,
    ],
)
def test_other_weights_are_noticed(tower, cache, change):
    bank = TextBank()
    before = bank(tower, WORDS)
    for _ in range(3):
        change(tower)
        after = bank(tower, WORDS)
        assert not torch.allclose(after, before, atol=1e-3)
        torch.testing.assert_close(
            after[0, 0], naive(tower, 'cat', bank.templates[0])
        )
        before = after
    assert len(list(cache.iterdir())) == 4
    assert len(bank._memory) == 1


def test_trained_tower_encodes_with_gradients_every_time(cache):
    tower = build_tower('attention').train()
    bank = TextBank()
    for _ in range(2):
        text = bank(tower, WORDS)
        assert text.requires_grad
    assert tower.texts == 10 and not cache.exists()
    (text * torch.randn(3, 1, 12)).sum().backward()
    assert tower.transformer.resblocks[0].attn.q_proj_weight.grad.any()
    tower.eval()
    with torch.no_grad():
        torch.testing.assert_close(bank(tower, WORDS), text.detach())


def test_training_reads_the_words_once(monkeypatch):
    calls = []
    monkeypatch.setattr(
        prompt_encoding,
        'tokenize',
        lambda texts, length: calls.append(texts) or open_clip.tokenize(texts),
    )
    tower, bank = build_tower('attention').train(), TextBank()
    words = load_vocabulary(['a thing', 'that no other test names'])
    for _ in range(3):
        assert bank(tower, words).requires_grad
    assert len(calls) == 1


def test_frozen_tower_is_encoded_once_in_training(tower):
    tower.train()
    bank = TextBank()
    assert not bank(tower, WORDS).requires_grad
    bank(tower, WORDS)
    assert tower.texts == 5


@pytest.mark.filterwarnings('error')
def test_disk_spares_the_encoding(cache):
    first = TextBank(TEMPLATES)(build_tower(), WORDS)
    (file,) = cache.iterdir()
    assert file.suffix == '.safetensors'
    other_process = build_tower()
    again = TextBank(TEMPLATES)(other_process, WORDS)
    assert other_process.texts == 0
    assert torch.equal(again, first)


@pytest.mark.filterwarnings('ignore:.*only the first text')
def test_disk_tells_weights_templates_and_texts_apart(cache):
    TextBank(TEMPLATES)(build_tower(), WORDS)
    other = build_tower()
    change_in_place(other)
    others = [
        (TextBank(TEMPLATES), other, WORDS),
        (TextBank(TEMPLATES[::-1]), build_tower(), WORDS),
        (TextBank(TEMPLATES), build_tower(), PUBLISHED),
        (TextBank(TEMPLATES, synonyms='whole'), build_tower(), WORDS),
        (TextBank(TEMPLATES, average_templates=True), build_tower(), WORDS),
        (
            TextBank(TEMPLATES),
            build_tower(),
            load_vocabulary(['cat', 'sofa', 'lamp']),
        ),
        # The same weights.
        (TextBank(TEMPLATES), build_tower(quick_gelu=True), WORDS),
        (TextBank(TEMPLATES), build_tower(heads=4), WORDS),
    ]
    for number, (bank, tower, vocabulary) in enumerate(others):
        bank(tower, vocabulary)
        assert tower.texts > 0
        assert len(list(cache.iterdir())) == number + 2


@pytest.mark.parametrize(
    'spoil',
    [
        lambda file: file.write_bytes(file.read_bytes()[:-9]),
        lambda file: file.write_bytes(b''),
        lambda file: save_file({'other': torch.ones(2)}, file),
    ],
)
def test_corrupt_cache_file_is_made_again(cache, spoil):
    first = TextBank()(build_tower(), WORDS)
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    spoil(file)
    with pytest.warns(UserWarning, match=f'{file} is not a readable cache'):
        again = TextBank()(build_tower(), WORDS)
    assert torch.equal(again, first)
    assert [f.read_bytes() for f in cache.iterdir()] == [whole]


@pytest.mark.parametrize('blocked', ['cache', 'cache/text'])
def test_unusable_cache_folder_is_no_failure(
    tower, tmp_path, monkeypatch, blocked
):
    (tmp_path / blocked).parent.mkdir(exist_ok=True)
    (tmp_path / blocked).write_text('a file where a folder should be')
    with pytest.warns(UserWarning, match='text embeddings cannot be saved in'):
        text = TextBank()(tower, WORDS)
    assert text.shape == (3, 1, 12)


def test_full_disk_leaves_nothing_half_written(tower, cache, monkeypatch):
    def fail(*_):
        raise text_cache.SafetensorError('No space left on device')

    monkeypatch.setattr(text_cache, 'save', fail)
    with pytest.warns(UserWarning, match='No space left on device'):
        assert TextBank()(tower, WORDS).shape == (3, 1, 12)
    assert list(cache.iterdir()) == []


def test_cache_is_not_of_the_precision_of_a_run(cache):
    with torch.autocast('cpu', dtype=torch.bfloat16):
        text = TextBank()(build_tower(), WORDS)
    assert text.dtype == torch.float32
    again = TextBank()(build_tower(), WORDS)
    expected = naive(build_tower(), 'cat', 'A photo of a {} in the scene')
    torch.testing.assert_close(again[0, 0], expected)


@pytest.mark.parametrize(
    'copied', [copy.deepcopy, lambda bank: pickle.loads(pickle.dumps(bank))]
)
def test_copies_forget(tower, copied):
    bank = TextBank(TEMPLATES, 'mean')
    bank(tower, WORDS)
    other = copied(bank)
    assert other.templates == TEMPLATES and other.synonyms == 'mean'
    assert len(bank._memory) == 1 and not other._memory
    assert torch.equal(other(tower, WORDS), bank(tower, WORDS))


def test_rank_0_encodes_for_all(tower, monkeypatch):
    sent = []
    monkeypatch.setattr(text_bank, 'broadcast', sent.append)
    monkeypatch.setattr(text_bank, 'get_dist_info', lambda: (0, 2))
    bank = TextBank(TEMPLATES)
    bank.prepare(tower, WORDS)
    assert tower.texts == 15
    assert torch.equal(sent[0], bank(tower, WORDS))

    other_rank = build_tower()
    monkeypatch.setattr(text_bank, 'broadcast', lambda t: t.copy_(sent[0]))
    monkeypatch.setattr(text_bank, 'get_dist_info', lambda: (1, 2))
    bank = TextBank(TEMPLATES)
    bank.prepare(other_rank, WORDS)
    assert torch.equal(bank(other_rank, WORDS), sent[0])
    assert other_rank.texts == 0


LONG = load_vocabulary(['cat', ' '.join(f'word{i}' for i in range(60))])


@pytest.mark.parametrize('trained', [False, True])
def test_cut_prompts_are_told_in_each_run(trained, cache):
    for _ in range(2):  # encodes, then reads what was kept
        tower = build_tower('attention').train(trained)
        bank = TextBank()
        with pytest.warns(UserWarning, match='1 prompts .*word0') as found:
            for _ in range(3):
                bank(tower, LONG)
        assert len(found) == 1
    assert tower.texts == (6 if trained else 0)
