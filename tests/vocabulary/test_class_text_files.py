# SPDX-License-Identifier: Apache-2.0
"""Word lists as people and other programs write them."""

import json
import warnings

import pytest

from ovseg_mm.utils.errors import InputError
from ovseg_mm.vocabulary import load_vocabulary, parse_classes


@pytest.fixture
def load(tmp_path):
    """Loads a file of this name and content; warnings are errors."""

    def load_file(name, content):
        path = tmp_path / name
        if isinstance(content, str):
            content = content.encode()
        path.write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            return load_vocabulary(str(path))

    return load_file


def joined(vocabulary):
    return '; '.join('|'.join(texts) for texts in vocabulary.class_texts)


COCO = dict(
    images=[dict(id=5, file_name='a.jpg')],
    categories=[
        dict(id=2, name='cat', supercategory='animal'),
        dict(id=1, name='person', supercategory='person'),
    ],
)


@pytest.mark.parametrize(
    ('name', 'content', 'words'),
    [
        # Names of files.
        ('WORDS.TXT', 'wall\nsky\n', 'wall; sky'),
        ('words.Csv', 'wall\nsky\n', 'wall; sky'),
        ('coco.names', 'wall\nsky\n', 'wall; sky'),
        # Lines.
        ('a.txt', 'sky; wall; tree', 'sky; wall; tree'),
        ('a.txt', 'sky; a|b;\nwall; road;\n', 'sky; a|b; wall; road'),
        ('a.txt', 'sofa, couch\nsky\n', 'sofa|couch; sky'),
        ('a.txt', 'sofa | couch\nsky\n', 'sofa|couch; sky'),
        ('a.txt', '# mine\nwall  # inside\n\n \r\nsky\r\n\r\n', 'wall; sky'),
        ('a.txt', '"wall",\n"sky",\n', 'wall; sky'),
        ('a.txt', '- wall\n- sky\n', 'wall; sky'),
        ('a.txt', '["wall", "sky"]', 'wall; sky'),
        ('a.txt', "['wall', 'sky']", 'wall; sky'),
        ('a.txt', 'salt\\, pepper\nC\\#\nsky', 'salt, pepper; C#; sky'),
        ('a.txt', '1,000 cars\n2.5 tons\nsky', '1,000 cars; 2.5 tons; sky'),
        # Lines with label values.
        ('a.txt', '1:wall,walls\n2:sky\n', 'wall|walls; sky'),
        ('a.txt', '0: wall, walls; 1: sky', 'wall|walls; sky'),
        ('a.txt', '0,wall\n1,sky\n', 'wall; sky'),
        ('a.txt', '0 wall\n1 sky\n', 'wall; sky'),
        ('a.txt', '1. wall\n2. sky\n', 'wall; sky'),
        ('a.txt', '1) wall\n2) sky\n', 'wall; sky'),
        ('a.txt', '1=wall\n0=sky\n', 'sky; wall'),
        ('a.txt', 'wall 1\nsky 2\n', 'wall; sky'),
        ('a.txt', 'wall: 1\nsky: 0\n', 'sky; wall'),
        ('a.txt', '0\twall\n1\tsky\n', 'wall; sky'),
        # Numbers that belong to the texts.
        ('a.txt', '2 wheeler\n3 d printer\n', '2 wheeler; 3 d printer'),
        ('a.txt', '0 degrees\nsky\n', '0 degrees; sky'),
        ('a.txt', 'route 66\nroute 1\n', 'route 66; route 1'),
        # Encodings.
        ('a.txt', '\ufeffcafé\r\nsky'.encode(), 'café; sky'),
        ('a.txt', 'café\r\nsky'.encode('utf-16'), 'café; sky'),
        ('a.txt', 'wall\nsky'.encode('utf-16-le'), 'wall; sky'),
        ('a.txt', 'wall\nsky'.encode('utf-16-be'), 'wall; sky'),
        ('a.txt', '房子\n道路', '房子; 道路'),
        # Tables.
        ('a.csv', 'name\nwall\nsky\n', 'wall; sky'),
        ('a.csv', '\ufeffid,name\r\n1,wall\r\n0,sky\r\n', 'sky; wall'),
        ('a.csv', 'id;name\n0;wall\n1;sofa, couch\n', 'wall; sofa, couch'),
        ('a.csv', 'Name,supercategory\nwall,x\nsky,y\n', 'wall; sky'),
        ('a.csv', '#id,name\n0,wall\n1,sky\n', 'wall; sky'),
        ('a.csv', '0,wall\n1,sky\n', 'wall; sky'),
        ('a.csv', 'wall,1\nsky,0\n', 'sky; wall'),
        ('a.csv', 'sky,wall,tree\n', 'sky; wall; tree'),
        ('a.csv', 'wall,\nsky,\n', 'wall; sky'),
        (
            'a.csv',
            'wall\n"salt, pepper"\nsofa|couch',
            'wall; salt, pepper; sofa|couch',
        ),
        ('a.csv', 'text\nfigure\ntable\n', 'text; figure; table'),
        (
            'a.csv',
            'Idx,Ratio,Train,Name\n1,0.2,11,wall\n2,0.1,6,building;edifice\n',
            'wall; building|edifice',
        ),
        (
            'a.csv',
            'id,name,synonyms\n0,sofa,couch|settee\n1,sky,\n',
            'sofa|couch|settee; sky',
        ),
        ('a.tsv', 'id\tname\n0\tsofa, couch\n1\tsky\n', 'sofa|couch; sky'),
        # Objects.
        ('a.json', '{"1": "sky", "0": "wall"}', 'wall; sky'),
        (
            'a.json',
            '{"0": {"name": "wall"}, "1": {"name": "sky"}}',
            'wall; sky',
        ),
        ('a.json', '{"wall": 1, "sky": 0}', 'sky; wall'),
        ('a.json', '{"id2label": {"0": "wall", "1": "sky"}}', 'wall; sky'),
        (
            'a.json',
            '[{"name": "wall"}, {"name": "sofa, couch"}]',
            'wall; sofa|couch',
        ),
        (
            'a.json',
            '[{"id": 1, "name": "wall"}, {"id": 0, "name": "sky"}]',
            'sky; wall',
        ),
        (
            'a.json',
            '[{"name": "sofa", "synonyms": ["sofa", "couch"]}]',
            'sofa|couch',
        ),
        ('a.json', json.dumps(COCO), 'person; cat'),
        ('a.json', '{"CLASSES": ["wall", "sky"], "x": 1}', 'wall; sky'),
        ('a.json', '["salt\\\\, pepper", "sky"]', 'salt, pepper; sky'),
        (
            'a.yaml',
            '- wall\n- no\n- "salt\\\\, pepper"\n',
            'wall; no; salt, pepper',
        ),
        (
            'a.yml',
            'path: x\nnc: 2\nnames:\n  0: wall\n  1: sky\n',
            'wall; sky',
        ),
        ('a.YAML', 'names: [wall, sky]\n', 'wall; sky'),
        ('a.yaml', 'class_texts: [wall, sky]\nunseen: [1]\n', 'wall; sky'),
    ],
)
def test_known_forms(load, name, content, words):
    assert joined(load(name, content)) == words


def test_names_and_colours_of_tables(load):
    vocabulary = load('a.tsv', 'text\tname\nsofa|couch\tseat\nbed\t\n')
    assert joined(vocabulary) == 'sofa|couch; bed'
    assert vocabulary.label_names == ('seat', 'bed')
    for name, content in {
        'a.csv': 'name,r,g,b\nwall,1,2,3\nsky,255,0,9\n',
        'b.csv': '0,wall,1,2,3\n1,sky,255,0,9\n',
        'c.csv': 'name,color\nwall,#010203\nsky,#ff0009\n',
        'a.txt': '1 2 3\twall\n255 0 9\tsky\n',
        'cvat.txt': '# label:color\nwall:1,2,3::\nsky:255,0,9::\n',
        'a.json': '[{"name": "wall", "color": [1, 2, 3]}, '
        '{"name": "sky", "color": [255, 0, 9]}]',
        'b.json': '{"classes": ["wall", "sky"], '
        '"palette": [[1, 2, 3], [255, 0, 9]]}',
        'c.json': '{"wall": [1, 2, 3], "sky": [255, 0, 9]}',
    }.items():
        vocabulary = load(name, content)
        assert joined(vocabulary) == 'wall; sky', name
        assert vocabulary.palette == ((1, 2, 3), (255, 0, 9)), name


@pytest.mark.parametrize(
    ('name', 'content', 'words', 'message'),
    [
        (
            'a.txt',
            'sky\nroad,parking lot',
            'sky; road|parking lot',
            "one class with the synonyms 'road' and 'parking lot'",
        ),
        (
            'a.txt',
            'building;edifice\nsky\nroad',
            'building; edifice; sky; road',
            "'building;edifice' is read as 2 classes",
        ),
        (
            'a.txt',
            '7: road\n8: sky',
            'road; sky',
            'numbers its 2 classes from 7 to 8',
        ),
        (
            'a.json',
            '{"1": "road", "5": "sky"}',
            'road; sky',
            'numbers its 2 classes from 1 to 5',
        ),
        ('a.txt', '1\n2', '1; 2', "'1' is a number"),
        (
            'a.txt',
            'caf\xe9\nsky'.encode('cp1252'),
            'café; sky',
            "read as Windows-1252; if a text such as 'café'",
        ),
    ],
)
def test_what_is_told(tmp_path, name, content, words, message):
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.warns(UserWarning, match=message) as found:
        assert joined(load_vocabulary(path)) == words
    assert len(found) == 1 and str(path) in str(found[0].message)


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        (
            'a.txt',
            'sky, wall, tree',
            "'sky, wall, tree', which may be one class or several",
        ),
        ('a.txt', 'words.csv\nsky', "'words.csv', which looks like a file"),
        (
            'a.txt',
            'sky\n[wall',
            "'\\[wall', which looks like a part of a list",
        ),
        (
            'a.txt',
            'sky\n1:wall',
            "'1:wall', which looks like a label and a class text",
        ),
        ('a.txt', '# nothing\n', 'has no class text'),
        ('a.txt', '房子\n道路'.encode('gbk'), 'not a UTF-8 text file'),
        (
            'a.txt',
            b'\x00\x01wall\x00',
            'not a UTF-8 text file|not a text file',
        ),
        (
            'a.csv',
            'wall,walls\nsky,heaven\n',
            'without a heading for the column of class texts',
        ),
        (
            'a.csv',
            'wall,walls\nsky\n',
            'without a heading for the column of class texts',
        ),
        (
            'a.csv',
            'id,name\n0,sofa,couch\n',
            "'couch'\\] has 3 cells, but the heading has 2",
        ),
        (
            'a.csv',
            'id,name\n0,sky\n0,wall\n',
            'gives the label 0 to two classes',
        ),
        ('a.json', '{"a": 1}', 'JSON dict, but no list of classes'),
        ('a.json', '"wall"', 'JSON str, but no list of classes'),
        (
            'a.json',
            '[{"title": 1}]',
            'entry 0 .* has no name; its keys are title',
        ),
        ('a.yaml', 'a: [b\n', 'not valid YAML'),
        ('a.yaml', 'wall\nsky\n', 'YAML str, but no list of classes'),
        ('a.xlsx', b'PK', "has the suffix '.xlsx', which is unknown"),
    ],
)
def test_what_cannot_be_read(load, name, content, message):
    with pytest.raises(InputError, match=message) as error:
        load(name, content)
    assert name in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['words.txt'], 'looks like a file'),
        (['cat', 'Names.YAML'], 'entry 1 .* looks like a file'),
        (['/data/words'], 'looks like a file or an address'),
        (['https://a.b/c'], 'looks like a file or an address'),
        (['sky; wall'], 'looks like several classes'),
        (['sky\nwall'], 'looks like several classes'),
        (['cat,'], 'looks like several classes'),
        (['[cat', 'dog]'], 'looks like a part of a list'),
        (['cat', 'dog]'], 'looks like a part of a list'),
        (['1:wall', '2:sky'], 'looks like a label and a class text'),
        (['0,wall'], 'looks like a label and a class text'),
        (['a\tb'], 'has control characters'),
    ],
)
def test_texts_of_a_list_that_are_none(words, message):
    with pytest.raises(InputError, match=message):
        load_vocabulary(words)
    with pytest.raises(InputError, match=message):
        load_vocabulary(dict(class_texts=words))


@pytest.mark.filterwarnings('error')
def test_texts_of_a_list_that_are_some():
    texts = ['car/truck', 'U.S. flag', 'St. Bernard', 'tank [army]', 'C# x']
    assert load_vocabulary(texts).names == tuple(texts)
    escaped = ['4\\:3 screen', 'salt\\, pepper', 'a\\|b', 'a\\;b']
    expected = ('4:3 screen', 'salt, pepper', 'a|b', 'a;b')
    assert load_vocabulary(escaped).names == expected


def test_lists_that_may_be_meant_otherwise():
    with pytest.warns(UserWarning, match="'cat' and 'dog'"):
        assert joined(load_vocabulary(['cat, dog'])) == 'cat|dog'
    with pytest.warns(UserWarning, match="'road' and 'lot'"):
        assert joined(load_vocabulary(['road,lot', 'x'])) == 'road|lot; x'


def test_a_string_of_classes():
    assert joined(load_vocabulary('sky; sofa|couch;')) == 'sky; sofa|couch'


@pytest.mark.parametrize(
    'name', ['gone.csv', 'GONE.TXT', 'gone.yml', './gone', 'gone.xlsx']
)
def test_missing_files(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for spec in (name, parse_classes([name])):
        with pytest.raises(FileNotFoundError, match='no such vocabulary file'):
            load_vocabulary(spec)
    with pytest.raises(InputError, match='is a folder'):
        load_vocabulary(str(tmp_path))
    with pytest.raises(FileNotFoundError) as error:
        load_vocabulary('x' * 5000)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    ('words', 'expected'),
    [
        (['ade150'], 'ade150'),
        (['own.TSV'], 'own.TSV'),
        (['names.yaml'], 'names.yaml'),
        (['~/names'], '~/names'),
        (['sofa|couch'], ['sofa|couch']),
        (['a; b ;', 'c'], ['a', 'b', 'c']),
        (['a\nb\r\n'], ['a', 'b']),
        (['["a", "b"]'], ['a', 'b']),
        (["['a', 'b']"], ['a', 'b']),
        (['salt\\, pepper; b'], ['salt\\, pepper', 'b']),
    ],
)
@pytest.mark.filterwarnings('error')
def test_words_of_the_command_line(words, expected):
    assert parse_classes(words) == expected


def test_words_of_the_command_line_that_are_none():
    for words in (['cat, dog'], ['cat,', 'dog'], ['[a', 'b'], ['1,wall']):
        with pytest.raises(InputError):
            load_vocabulary(parse_classes(words))
    with pytest.raises(InputError, match='not a valid list; separate'):
        parse_classes(['[a, b]'])
    with pytest.warns(UserWarning, match="the shipped vocabulary 'ade150'"):
        assert parse_classes(['ADE150']) == ['ADE150']
