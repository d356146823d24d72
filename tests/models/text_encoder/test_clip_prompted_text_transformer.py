# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from ovseg_mm.models import CLIPPromptedTextTransformer, CLIPTextTransformer
from ovseg_mm.models.text_encoder.clip_prompted_text_transformer import (
    DOT,
    END,
)

START, CAT, RED = 49406, 2368, 736


@pytest.fixture
def arch(tiny_arch):
    tiny_arch['text_cfg'].update(vocab_size=49408, context_length=12)
    return tiny_arch


def pair(arch, prefix_length, suffix_length):
    torch.manual_seed(0)
    prompted = CLIPPromptedTextTransformer(
        arch, prefix_length=prefix_length, suffix_length=suffix_length
    ).eval()
    plain = CLIPTextTransformer(arch).eval()
    plain.load_state_dict(prompted.state_dict(), strict=False)
    return prompted, plain


@pytest.mark.parametrize(
    ('prefix', 'suffix'), [(3, 0), (2, 2), (0, 1), (0, 0)]
)
def test_against_the_sequence_written_out(arch, prefix, suffix):
    prompted, plain = pair(arch, prefix, suffix)
    tokens = torch.tensor([[START, CAT, END, 0], [START, RED, CAT, END]])
    actual = prompted(tokens)
    for row, words in zip(actual, ([CAT], [RED, CAT])):
        parts = [plain.token_embedding(torch.tensor([START]))]
        if prefix:
            parts.append(prompted.prefix_prompt)
        parts.append(plain.token_embedding(torch.tensor(words)))
        if suffix:
            parts.append(prompted.suffix_prompt)
        parts.append(plain.token_embedding(torch.tensor([DOT, END])))
        x = torch.cat(parts)
        expected = plain.encode(x[None], torch.tensor([len(x) - 1]))[0]
        torch.testing.assert_close(row, expected, rtol=1e-4, atol=1e-5)


def test_without_prompts_it_is_the_name_with_a_full_stop(arch):
    prompted, plain = pair(arch, 0, 0)
    actual = prompted(torch.tensor([[START, CAT, END]]))
    expected = plain(torch.tensor([[START, CAT, DOT, END]]))
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def test_room_for_words(arch):
    assert pair(arch, 4, 2)[0].context_length == 12 - 4 - 2 - 1


def test_prompts_alone_are_trained(arch):
    tower = CLIPPromptedTextTransformer(
        arch, finetune='prompt', prefix_length=3
    )
    trained = [n for n, p in tower.named_parameters() if p.requires_grad]
    assert trained == ['prefix_prompt']
    tower(torch.tensor([[START, CAT, END]])).sum().backward()
    assert tower.prefix_prompt.grad.abs().sum() > 0


@pytest.mark.parametrize(
    'name',
    [
        'text_encoder.prefix_prompt',
        'clip_adapter.prompt_learner.prefix_prompt',
    ],
)
def test_prompts_of_a_checkpoint(arch, tmp_path, name):
    prompt = torch.randn(5, 32)
    path = tmp_path / 'prompts.pth'
    torch.save(dict(model={name: prompt, 'other': torch.ones(1)}), path)
    tower = CLIPPromptedTextTransformer(
        arch, prefix_length=5, prompt_weights=path
    )
    tower.init_weights()
    assert torch.equal(tower.prefix_prompt, prompt)


def test_prompts_that_do_not_fit(arch, tmp_path):
    path = tmp_path / 'prompts.pth'
    torch.save({'x.prefix_prompt': torch.ones(4, 32)}, path)
    tower = CLIPPromptedTextTransformer(
        arch, prefix_length=5, prompt_weights=path
    )
    with pytest.raises(ValueError, match=r'\(4, 32\).*expects \(5, 32\)'):
        tower.init_weights()
