# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from ovseg_mm.checkpoints import Layout, recognise
from ovseg_mm.checkpoints.layouts import LayoutRegistry
from ovseg_mm.utils.errors import InputError


def layout_class(name='mine', signature=('head',), method='Mine', **extra):
    body = dict(name=name, method=method, signature=signature, **extra)
    return type('TestLayout', (Layout,), body)


def test_names_are_renamed_by_rows_of_prepared_tensors():
    class Split(Layout):
        name, method, signature = 'split', 'Split', ('low', 'high')

        def prepare(self, tensors):
            joined = torch.cat([tensors['low'], tensors['high']])
            return dict(joined=joined)

        def rows(self, names):
            return [('joined', f'decode_head.{len(list(names))}')]

    tensors = dict(low=torch.zeros(1), high=torch.ones(1))
    renamed = Split().convert(tensors)
    assert renamed.state_dict['decode_head.1'].tolist() == [0, 1]


def test_longest_signature_decides_then_the_last_registered():
    registry = LayoutRegistry()
    registry.register(layout_class('long', ('head', 'neck')))
    registry.register(layout_class('short'))
    registry.register(layout_class('last', extra_attribute=1, method='Other'))
    assert len(registry) == 3
    assert registry.find(['head', 'neck', 'stem']).name == 'long'
    assert registry.find(['head']).name == 'last'
    assert registry.find(['header', 'ahead']) is None
    assert registry['short'].name == 'short'


def test_without_excludes_a_file():
    layout = layout_class(without=r'neck\..*')()
    assert layout.matches(['head', 'stem'])
    assert not layout.matches(['head', 'neck.weight'])


@pytest.mark.parametrize(
    ('kind', 'error', 'message'),
    [
        (dict, TypeError, 'must be a sub-class of Layout'),
        (layout_class(name=''), TypeError, 'class attribute name'),
        (layout_class(method=''), TypeError, 'class attribute method'),
        (layout_class(signature=()), TypeError, 'class attribute signature'),
        (layout_class(signature='head'), TypeError, 'a tuple of strings'),
    ],
)
def test_incomplete_layouts_are_refused(kind, error, message):
    with pytest.raises(error, match=message):
        LayoutRegistry().register(kind)


def test_a_name_belongs_to_one_class():
    registry = LayoutRegistry()
    first = layout_class()
    assert registry.register(first) is first
    # A module that is imported again replaces its own class.
    again = registry.register(layout_class(method='Newer'))
    assert [type(layout) for layout in registry] == [again]
    other = type('Other', (Layout,), dict(vars(first)))
    with pytest.raises(ValueError, match='already the name of .*TestLayout; '):
        registry.register(other)


def test_unknown_files_name_the_known_methods():
    with pytest.raises(InputError, match=r'no known layout: .*CAT-Seg'):
        recognise(['a.weight'])
