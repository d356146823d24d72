# SPDX-License-Identifier: Apache-2.0
"""Settings of the command line are read as they were written."""

import argparse
import itertools

import pytest
from mmengine.config import DictAction

from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.options import add_cfg_options, key_value, parse_value


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        # Texts in quotes stay as they are.
        ("['striped red','grass']", ['striped red', 'grass']),
        ("['sofa, couch', 'grass']", ['sofa, couch', 'grass']),
        ('["a (b", "c]"]', ['a (b', 'c]']),
        ("['1','2']", ['1', '2']),
        ("'1'", '1'),
        ('"None"', 'None'),
        ("'a, b'", 'a, b'),
        ("'[a,b]'", '[a,b]'),
        ("''", ''),
        ("' a '", ' a '),
        (r"'it\'s'", "it's"),
        (r"r'\d+'", r'\d+'),
        ("""["it's", 'a "b"']""", ["it's", 'a "b"']),
        ("'''a'b'''", "a'b"),
        ("'a','b'", ['a', 'b']),
        ("'a',b , 'c d'", ['a', 'b', 'c d']),
        # Words keep the blanks inside.
        ('/data/my pets', '/data/my pets'),
        (' /data/my pets ', '/data/my pets'),
        ('sofa, couch', ['sofa', 'couch']),
        ('[striped red, grass]', ['striped red', 'grass']),
        ("['striped red', old grass]", ['striped red', 'old grass']),
        ("potter's wheel", "potter's wheel"),
        ("[potter's wheel, dogs']", ["potter's wheel", "dogs'"]),
        ('a photo of a {}.', 'a photo of a {}.'),
        ('{}, a {} in the {place}', [{}, 'a {} in the {place}']),
        ('{name}', '{name}'),
        ('{a,b}', '{a,b}'),
        ('C:/my data/x:y', 'C:/my data/x:y'),
        ('a=b c', 'a=b c'),
        ('a(b, c)', 'a(b, c)'),
        ('^a(b|c)$', '^a(b|c)$'),
        ('x(1/y', 'x(1/y'),
        # Literals of Python.
        ('1, 2', [1, 2]),
        ('(1, 2)', (1, 2)),
        ('(42.67, 42.67)', (42.67, 42.67)),
        ('[1, 2.5, None, True, -3]', [1, 2.5, None, True, -3]),
        ('[]', []),
        ('()', ()),
        ('( )', ()),
        ('{}', {}),
        ('{0: 255, 3: 1}', {0: 255, 3: 1}),
        ("{'mode': 'slide'}", {'mode': 'slide'}),
        (
            "{'mode': 'slide', 'stride': (1, 2), 'x': {'y': [None, 'a b']}}",
            {'mode': 'slide', 'stride': (1, 2), 'x': {'y': [None, 'a b']}},
        ),
        ('{mode:slide,size:[1,2]}', {'mode': 'slide', 'size': [1, 2]}),
        ('{file: http://x/y}', {'file': 'http://x/y'}),
        ('[{a: 1}, (b c, [d])]', [{'a': 1}, ('b c', ['d'])]),
        ("['a', 'b', ]", ['a', 'b']),
        ('0x10', 16),
        ('1e-3', 1e-3),
        ('[[(1, 2), (3, 4)], [5]]', [[(1, 2), (3, 4)], [5]]),
        ('(1,2),(3,4)', [(1, 2), (3, 4)]),
        ('[a],[b c]', [['a'], ['b c']]),
    ],
)
def test_values(text, value):
    read = parse_value(text)
    assert read == value
    assert repr(read) == repr(value), 'types of the elements, too'


@pytest.mark.parametrize(
    'text',
    [
        *('[a,b', '(1,2', 'a,b]', '1,2)', '[a)', '[(a,b]', '{a:1', 'a]'),
        *("'a", '"a b', "['a,b]", "['a' 'b']", "['potter's wheel']"),
        *('{a:1,b}', '{[1]:2}', "'a' b", '[' * 5000 + ']' * 5000),
    ],
)
def test_malformed_values(text):
    with pytest.raises(InputError) as error:
        key_value(f'model.x={text}')
    assert 'model.x' in str(error.value)
    assert '\n' not in str(error.value)


def plain_values():
    """Values without blanks and quotes, of every form that MMEngine reads."""
    words = ['1', '-2', '+3', '.5', '1e-3', '1_0', '007', 'true', 'False']
    words += ['None', 'none', 'inf', 'nan', 'a', 'a.b', 'a/b-c_d', 'a:b', '']
    words += ['a(b)', '[a]x', 'x[1]', '5%', '#1', '...', '1j', 'x=y', '*']
    yield from words
    inner = ['1', 'a', 'true', 'None', 'a(b)']
    for left, right in ('()', '[]', ('', '')):
        for count in (1, 2, 3):
            for group in itertools.product(inner, repeat=count):
                yield left + ','.join(group) + right
        yield f'{left}a,{right}'
        yield f'{left}1,,2{right}'
    pairs = ['(1,2)', '[a,b]', '()', '[]', '(a,[b,(1,None)])', '[[1]]', 'c']
    for one, two in itertools.product(pairs, repeat=2):
        yield f'[{one},{two}]'
        yield f'({one},{two})'
        yield f'[[{one}],({two},)]'


def test_values_without_blanks_and_quotes_are_those_of_mmengine():
    count = 0
    for text in plain_values():
        if text.count('a(b)') and text.count(',') and '(b)' in text[-4:]:
            continue  # DictAction never ends
        count += 1
        assert repr(parse_value(text)) == repr(
            DictAction._parse_iterable(text)
        ), text
    assert count > 400


def test_options_of_a_command(capsys):
    parser = argparse.ArgumentParser(prog='train')
    add_cfg_options(parser)
    options = ['--cfg-options', 'a.b=[1,2]', "c='x y'"]
    args = parser.parse_args([*options, '--cfg-options', 'c=z', 'd =e=f'])
    assert args.cfg_options == {'a.b': [1, 2], 'c': 'z', 'd': 'e=f'}
    for wrong in ('lr', '=1', 'a=[1'):
        with pytest.raises(SystemExit) as end:
            parser.parse_args(['--cfg-options', wrong])
        assert end.value.code == 2
        printed = capsys.readouterr().err.splitlines()[-1]
        assert f'--cfg-options: {wrong!r}' in printed
