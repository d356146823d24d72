# SPDX-License-Identifier: Apache-2.0
"""Cases with other settings than those that are kept here run as well.

Nobody has golden numbers of them: they are compared with each other.
"""

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import runner
from seeded import load_case

CASES = Path(__file__).parent / 'cases'


@pytest.fixture(scope='module')
def stored():
    """Cases as read, once each."""
    read = {}

    def load(name):
        if name not in read:
            read[name] = load_case(CASES / name)
        return deepcopy(read[name])

    return load


def run(case):
    model = runner.load_model(case)
    return runner.load_method(case).run(case, model), model


@pytest.mark.parametrize(
    'name',
    [
        'zsseg/tiny_r50_learned_prompts',
        'scan/tiny_eval',
        'cascade_clip/tiny_predict',
    ],
)
def test_one_class_is_everywhere(stored, name):
    case = stored(name)
    case['class_texts'] = case['class_texts'][:1]
    config = case['config']
    if 'ensemble' in config:
        config['ensemble']['seen_flags'] = [1]
        case['parts'] = ['inference']
    if 'novel' in config:
        config.update(seen=[0], novel=[])
    outputs, _ = run(case)
    maps = [name for name in outputs if 'labels' in name]
    assert maps
    for name in maps:
        assert (outputs[name] == 0).all(), name


def test_prompts_of_the_first_blocks_alone(stored):
    case = stored('cascade_clip/tiny_predict')
    case['config']['backbone']['total_d_layer'] = 8
    for entry in case['parameters']:
        if entry['name'] == 'backbone.deep_prompt_embeddings':
            entry['shape'][0] = 8
    outputs, _ = run(case)
    counts = [outputs[f'block_{i}_tokens'].shape[1] for i in (0, 8, 9, 11)]
    assert counts == [70, 70, 65, 65]


def test_training_without_unseen_classes(stored):
    case = stored('cascade_clip/tiny_train')
    case['config'].update(seen=list(range(7)), novel=[])
    outputs, _ = run(case)
    for name in ('loss_mask', 'loss_dice', 'target_labels'):
        # There is nothing to make pseudo labels for.
        np.testing.assert_allclose(
            outputs[f'inductive_{name}'], outputs[f'transductive_{name}']
        )
    np.testing.assert_array_equal(
        outputs['inductive_target_labels'], outputs['labels']
    )
    _, seen, unseen, harmonic, *_ = outputs['eval_summary']
    assert seen > 0 and np.isnan([unseen, harmonic]).all()


ZSSEG = 'zsseg/tiny_r50_learned_prompts'
CLIP_MEAN = np.array([123, 117, 104])[:, None, None]


def crops_of(case, **settings):
    case['config']['clip_branch'].update(settings)
    case['parts'] = ['crops']
    outputs, model = run(case)
    encoder = model.region_encoder
    case_settings = case['config']['clip_branch']
    kept = encoder.fill, encoder.expand_ratio, encoder.matting
    assert kept == tuple(
        case_settings[name]
        for name in ('mask_fill', 'box_expand_ratio', 'matting')
    )
    return outputs


def test_crop_settings_are_those_of_the_case(stored):
    plain = crops_of(stored(ZSSEG))
    raw = plain['crop_raw']
    black = crops_of(stored(ZSSEG), mask_fill='zero')
    outside = (black['crop_raw'] != raw).any(axis=0)
    assert outside.any() and not outside.all()
    assert (black['crop_raw'][:, outside] == 0).all()
    assert (raw[:, outside] == CLIP_MEAN[:, 0]).all()

    soft = crops_of(stored(ZSSEG), matting=True)
    # Probabilities inside are 0.9.
    expected = 0.9 * raw + 0.1 * CLIP_MEAN
    inside = ~outside
    error = np.abs(soft['crop_raw'] - expected)[:, inside]
    assert error.max() < 1.5
    assert not np.allclose(soft['crop_raw'], raw)
    same = 'crop_regions_matting'
    np.testing.assert_array_equal(soft[same], plain[same])

    wide = crops_of(stored(ZSSEG), box_expand_ratio=1.5)
    assert (wide['crop_boxes'] != plain['crop_boxes']).any()
    assert not np.allclose(wide['crop_scores_ens'], plain['crop_scores_ens'])
    same = 'crop_region_expanded'
    np.testing.assert_array_equal(wide[same], plain[same])


def test_negative_weights_leave_regions_alone(stored):
    case = stored(ZSSEG)
    case['config']['ensemble']['weight'] = -1.0
    case['parts'] = ['inference', 'crops']
    outputs, _ = run(case)
    for name in ('scores', 'labels', 'crop_scores'):
        expected = outputs[f'{name}_cliponly']
        np.testing.assert_array_equal(outputs[f'{name}_ens'], expected)
    case = stored('scan/tiny_eval')
    votes = []
    for weight in (0.0, -1.0):
        case['config']['adapter']['ensemble_weight'] = weight
        votes.append(run(case)[0]['scores'])
    np.testing.assert_array_equal(*votes)


def test_learned_prompts_train_along(stored):
    case = stored(ZSSEG)
    case['parts'] = ['training']
    case['inputs']['targets'] = [
        dict(
            name='target',
            height=150,
            width=203,
            num_classes=7,
            seed=1,
            ignore_every=7,
        )
    ]
    names = (
        'clip_adapter.prompt_learner.prefix_prompt',
        'clip_adapter.non_object_embedding',
    )
    case['outputs'] = dict(
        losses=dict(what='in the order loss_ce loss_mask loss_dice'),
        grad_norms=dict(what=f'norms for {" ".join(names)}'),
        grad_norm_all=dict(what='of all'),
    )
    outputs, model = run(case)
    prompt, _ = outputs['grad_norms']
    assert prompt > 0
    model.text_encoder.prefix_prompt.requires_grad_(False)
    case['outputs']['grad_norms']['what'] = f'norms for {names[1]}'
    others = runner.load_method(case).run(case, model)['grad_norm_all']
    whole = (others**2 + prompt**2) ** 0.5
    np.testing.assert_allclose(outputs['grad_norm_all'], whole, rtol=1e-5)


def test_learned_suffix_without_a_prefix(stored):
    case = stored(ZSSEG)
    case['config']['prompt'].update(prefix_tokens=0, suffix_tokens=4)
    for entry in case['parameters']:
        if 'prefix_prompt' in entry['name']:
            entry['name'] = entry['name'].replace('prefix', 'suffix')
            entry['shape'][0] = 4
    case['parts'] = ['inference', 'prompt_stage']
    outputs, _ = run(case)
    assert outputs['prompt_grad'].shape == (4, 128)
    assert (outputs['prompt_grad'] != 0).any()


def test_templates_of_regions_alone(stored):
    case = stored(ZSSEG)
    regions = [
        dict(entry, name=f'_region_{entry["name"]}')
        for entry in case['parameters']
        if entry['name'].startswith('clip_adapter.')
        and 'prompt_learner' not in entry['name']
    ]
    case['parameters'] += regions
    case['config']['region_prompt'] = 'vild'
    case['templates'] = ['a {} in a picture.', 'a {}.']
    case['parts'] = ['inference']
    _, model = run(case)
    assert model.region_text_bank.templates == case['templates']
    assert model.text_bank.templates == ['{}']


def test_templates_and_replaced_layers_of_scan(stored):
    case = stored('scan/tiny_eval')
    # The tower is not that deep.
    case['config']['adapter']['replace_layers'].append(99)
    outputs, _ = run(case)
    golden = case['golden']
    for name in ('text_features', 'replaced_patches', 'labels'):
        np.testing.assert_allclose(outputs[name], golden[name], atol=1e-4)
    case['templates'] = case['templates'][:1]
    outputs, model = run(case)
    assert model.text_bank.templates == case['templates']
    assert not np.allclose(
        outputs['text_features'], golden['text_features'], atol=1e-2
    )


def training_free(stored, name, **settings):
    """The first run of a case with other settings, and its outputs."""
    case = stored(f'training_free/{name}')
    case['runs'] = case['runs'][:1]
    case['runs'][0]['name'] = ''
    case['runs'][0]['settings'].update(settings)
    prefixes = {name.rpartition('.')[2] for name in case['outputs']}
    case['outputs'] = {name: dict(tolerance=1.0) for name in prefixes}
    return case, runner.load_method(case).run(case, None)


@pytest.mark.parametrize(
    'name', ['tiny_sclip', 'tiny_clearclip', 'tiny_scclip', 'tiny_sfp']
)
def test_whole_pictures(stored, name):
    case, outputs = training_free(stored, name, crop=0)
    # Those that NACLIP refines, the others do not.
    _, refined = training_free(stored, name, crop=0, pamr_steps=2)
    np.testing.assert_array_equal(outputs['scores'], refined['scores'])
    patch = case['config']['clip']['vision_patch_size']
    _, height, width = outputs['input'].shape
    assert outputs['window_similarity'].shape[2:] == (
        height // patch,
        width // patch,
    )
    assert len(outputs['window_similarity']) == 1
    assert np.isfinite(outputs['scores']).all()


def test_one_class_has_all_probability(stored):
    case = stored('training_free/tiny_sclip')
    case['class_texts'] = case['class_texts'][1:2]
    outputs = runner.load_method(case).run(case, None)
    assert outputs['probabilities'].shape[0] == 1
    assert (outputs['probabilities'] == 1).all()
    assert (outputs['labels'] == 0).all()


def test_windows_larger_than_the_picture(stored):
    for name in ('tiny_scclip', 'tiny_clearclip'):
        case, outputs = training_free(stored, name, crop=320, stride=160)
        assert len(outputs['tokens']) == 1
        assert outputs['scores'].shape[1:] == (
            case['inputs'][0]['out_height'],
            case['inputs'][0]['out_width'],
        )
        # ClearCLIP pads, the others drop what is no whole patch.
        patches = [n / 16 for n in outputs['input'].shape[1:]]
        round_ = np.ceil if name == 'tiny_clearclip' else np.floor
        grid = outputs['window_similarity'].shape[2:]
        assert list(grid) == list(map(round_, patches))


def test_layers_and_detectors_of_a_case(stored):
    _, plain = training_free(stored, 'tiny_scclip')
    _, named = training_free(
        stored,
        'tiny_scclip',
        mid_layer=8,
        early_layer=3,
        sum_layers=[3, 10],
        cls_weight=0.3,
    )
    np.testing.assert_array_equal(plain['scores'], named['scores'])
    for change in (
        dict(mid_layer=7),
        dict(early_layer=2),
        dict(sum_layers=[3, 11]),
        dict(cls_weight=0.1),
        dict(outliers='norm'),
    ):
        _, other = training_free(stored, 'tiny_scclip', **change)
        assert not np.allclose(plain['scores'], other['scores'], atol=1e-5)


def test_unknown_settings_are_not_skipped(stored):
    with pytest.raises(AssertionError, match='magic'):
        training_free(stored, 'tiny_sclip', magic=1)
