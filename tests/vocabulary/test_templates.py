# SPDX-License-Identifier: Apache-2.0
import pytest

from ovseg_mm.vocabulary import get_templates


@pytest.mark.parametrize(
    ('name', 'size'),
    [
        ('single', 1),
        ('imagenet', 80),
        ('imagenet_select', 8),
        ('vild', 14),
        ('cascade_clip', 15),
    ],
)
def test_named_sets(name, size):
    templates = get_templates(name)
    assert len(set(templates)) == size
    assert get_templates(templates) == templates
    templates.clear()
    assert len(get_templates(name)) == size


def test_single_has_no_full_stop():
    assert get_templates('single') == ['A photo of a {} in the scene']


@pytest.mark.parametrize(
    ('spec', 'message'),
    [
        ('imagnet', "no template set 'imagnet'; choose one of cascade_clip"),
        ([], 'is empty'),
        (['a photo'], "'a photo' must be a string with exactly one"),
        (['{} and {}'], 'exactly one'),
        (['a {} in {scene}'], 'no other braces'),
        ([3], 'must be a string'),
    ],
)
def test_wrong_templates(spec, message):
    with pytest.raises(ValueError, match=message):
        get_templates(spec)
