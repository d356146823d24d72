# SPDX-License-Identifier: Apache-2.0
"""Read class texts from wherever a user keeps them."""

import difflib
import json
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from mmseg.utils import get_palette

from ovseg_mm.errors import InputError
from ovseg_mm.paths import expanded, resource

from .palette import distinct_palette
from .vocabulary import Vocabulary

_SUFFIXES = ('.json', '.tsv', '.txt')
_SPEC_KEYS = (
    'class_texts',
    'renamed',
    'label_names',
    'prompt_to_label',
    'unseen',
    'palette',
    'subset',
)
# Shipped keys for which MMSegmentation has colours of the same label order.
_MMSEG_PALETTES = {
    'ade150': 'ade',
    'ade150-synonyms': 'ade',
    'cityscapes': 'cityscapes',
    'coco': 'cocostuff',
    'pc59': 'pcontext',
}


def load_vocabulary(
    spec: Vocabulary | str | PathLike | Sequence[str] | Mapping[str, Any],
) -> Vocabulary:
    """Make a vocabulary of whatever a config or a caller gives.

    Synonyms of a class are separated by ``', '`` or ``'|'``; apart from that
    split, texts are kept as they stand, blanks included.

    Args:
        spec: One of

            - a :class:`Vocabulary`, returned as it is;
            - a shipped key such as ``'ade150'``
              (:func:`shipped_vocabularies` lists them);
            - the path of a ``.json`` file (a list of strings, or an object
              like the mapping below), a ``.txt`` file (a line a class) or a
              ``.tsv`` file (a line a class; an optional second column is the
              name in tables and legends). Both have no line of headings: it
              would be a class;
            - a list of strings;
            - a mapping with ``class_texts`` (any of the former) and
              optionally ``renamed`` (name: text that takes its place),
              ``label_names`` (L strings), ``prompt_to_label`` (T label
              indices), ``unseen`` (label indices or names),
              ``palette`` (L colours) and ``subset``: ``'seen'`` or
              ``'unseen'`` keeps these labels only, numbered anew.

    Returns:
        The vocabulary, checked.

    Raises:
        FileNotFoundError: If a string is neither a shipped key nor a file.
        ValueError: If the texts are malformed; file and entry are named.

    Warns:
        UserWarning: If several classes have the same name: they tie in every
            pixel, and only the first of them can be predicted.
    """
    vocabulary = _load(spec)
    groups = vocabulary.duplicates()
    if groups and vocabulary is not spec:
        listed = '; '.join(
            f'{vocabulary.names[group[0]]!r} ({", ".join(map(str, group))})'
            for group in groups
        )
        warnings.warn(
            f'{vocabulary.source}: entries with the same name get the same '
            f'score, so only the first of each can be predicted: {listed}.',
            UserWarning,
            stacklevel=2,
        )
    return vocabulary


def shipped_vocabularies() -> list[str]:
    """Return the keys of the class texts that come with the package."""
    return sorted(path.stem for path in resource('data').glob('*.json'))


def _load(spec: Any) -> Vocabulary:
    if isinstance(spec, Vocabulary):
        return spec
    if isinstance(spec, Mapping):
        return _from_mapping(spec)
    if isinstance(spec, (str, PathLike)):
        return _from_name(str(spec))
    if isinstance(spec, Sequence):
        return _build(spec, 'the list of class texts')
    raise InputError(
        'A vocabulary is a shipped key, a file, a list of class texts or a '
        f'mapping with class_texts; found {type(spec).__name__}.'
    )


def _from_mapping(spec: Mapping[str, Any]) -> Vocabulary:
    unknown = sorted(set(spec).difference(_SPEC_KEYS))
    if unknown or 'class_texts' not in spec:
        raise InputError(
            f'A vocabulary mapping has the key class_texts and, if wanted, '
            f'{", ".join(_SPEC_KEYS[1:])}; found {sorted(spec)}.'
        )
    texts = spec['class_texts']
    if isinstance(texts, Mapping):
        raise InputError(
            'class_texts of a vocabulary mapping is a shipped key, a file or '
            'a list of strings, not another mapping.'
        )
    changes = {
        key: spec[key] for key in _SPEC_KEYS[1:] if spec.get(key) is not None
    }
    subset = changes.pop('subset', None)
    if subset not in (None, 'seen', 'unseen'):
        raise InputError(
            f"subset of a vocabulary mapping is 'seen' or 'unseen'; found "
            f'{subset!r}.'
        )
    vocabulary = _load(texts)
    if 'renamed' in changes:
        vocabulary = _rename(vocabulary, changes.pop('renamed'))
    if changes:
        vocabulary = _relabel(vocabulary, **changes)
    return vocabulary.only(subset) if subset else vocabulary


def _rename(base: Vocabulary, renamed: Mapping[str, str]) -> Vocabulary:
    """Other words for some classes; labels and colours stay."""
    for name in renamed:
        if name not in base.names:
            raise InputError(
                f'{base.source}: renamed names {name!r}, which is no class'
                f'{_near(name, base.names)}.'
            )
    texts = {name: _split(renamed[name]) for name in renamed}
    names = {name: texts[name][0] for name in renamed}
    return replace(
        base,
        class_texts=tuple(texts.get(t[0], t) for t in base.class_texts),
        label_names=tuple(names.get(n, n) for n in base.label_names),
    )


def _relabel(
    base: Vocabulary,
    label_names: Sequence[str] | None = None,
    prompt_to_label: Sequence[int] | None = None,
    unseen: Sequence[int | str] | None = None,
    palette: Sequence[Sequence[int]] | None = None,
) -> Vocabulary:
    """Keep the class texts, replace what is said of their labels."""
    names = tuple(label_names or base.label_names)
    label_map = prompt_to_label
    if label_map is None and len(names) == base.num_labels:
        label_map = base.prompt_to_label
    elif label_map is None:
        raise InputError(
            f'{base.source} has {base.num_labels} labels, but label_names '
            f'has {len(names)} names; give prompt_to_label as well if texts '
            'share a label.'
        )
    if palette is None and len(names) == base.num_labels:
        palette = base.palette
    elif palette is None:
        palette = distinct_palette(len(names))
    indices = base.unseen if unseen is None else unseen
    return Vocabulary(
        class_texts=base.class_texts,
        label_names=names,
        prompt_to_label=tuple(label_map),
        palette=tuple(map(_colour, palette)),
        unseen=tuple(sorted(_label_index(x, names, base) for x in indices)),
        source=base.source,
    )


def _colour(colour: Sequence[int]) -> tuple[int, ...]:
    """A colour as a tuple; whether it is one, the vocabulary checks."""
    return tuple(colour) if isinstance(colour, Iterable) else (colour,)


def _label_index(
    label: int | str, names: tuple[str, ...], base: Vocabulary
) -> int:
    if not isinstance(label, str):
        return label
    if label not in names:
        raise InputError(
            f'{base.source}: unseen names {label!r}, which is no label'
            f'{_near(label, names)}.'
        )
    return names.index(label)


def _from_name(name: str) -> Vocabulary:
    path = expanded(name)
    if path.suffix.lower() not in _SUFFIXES:
        if name in shipped_vocabularies():
            return _shipped(name)
    elif path.is_file():
        return _from_file(path)
    keys = shipped_vocabularies()
    near = [f.name for f in path.parent.glob('*') if f.suffix in _SUFFIXES]
    if path.suffix.lower() in _SUFFIXES:
        raise FileNotFoundError(
            f'{name}: there is no such vocabulary file{_near(path.name, near)}'
            f' (without a suffix, {", ".join(keys)} are shipped).'
        )
    raise FileNotFoundError(
        f'{name!r} is neither a shipped vocabulary ({", ".join(keys)}) nor a '
        f'{", ".join(_SUFFIXES[:-1])} or {_SUFFIXES[-1]} file'
        f'{_near(path.name, keys + near)}. Words typed in place are given as '
        "a list: ['cat', 'dog']."
    )


def _near(word: str, candidates: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, candidates, n=3)
    return f'; did you mean {" or ".join(map(repr, near))}?' if near else ''


def _shipped(key: str) -> Vocabulary:
    base = _from_file(resource('data', f'{key}.json'))
    if key in _MMSEG_PALETTES:
        return _relabel(base, palette=get_palette(_MMSEG_PALETTES[key]))
    background, *voc_colours = get_palette('voc')
    if key == 'voc20':
        return _relabel(base, palette=voc_colours)
    if key == 'voc20b':
        # The benchmark's rule: whatever is no VOC object is background.
        objects = len(voc_colours)
        return _relabel(
            base,
            label_names=[*base.names[:objects], 'background'],
            prompt_to_label=[
                min(index, objects) for index in range(base.num_texts)
            ],
            palette=[*voc_colours, background],
        )
    return base


def _from_file(path: Path) -> Vocabulary:
    try:
        content = path.read_text(encoding='utf-8-sig')
    except UnicodeDecodeError as error:
        raise InputError(
            f'{path} is not a UTF-8 text file ({error.reason} at byte '
            f'{error.start}); save it as UTF-8.'
        ) from error
    if path.suffix.lower() == '.json':
        return _from_json(content, path)
    rows = content.splitlines()
    if path.suffix.lower() == '.txt':
        return _build(rows, str(path))
    cells = [row.split('\t') for row in rows]
    vocabulary = _build([row[0] for row in cells], str(path))
    names = [
        row[1] if len(row) > 1 and row[1].strip() else default
        for row, default in zip(cells, vocabulary.label_names, strict=True)
    ]
    return _relabel(vocabulary, label_names=names)


def _from_json(content: str, path: Path) -> Vocabulary:
    try:
        entries = json.loads(content)
    except json.JSONDecodeError as error:
        raise InputError(
            f'{path} is not valid JSON (line {error.lineno}, column '
            f'{error.colno}: {error.msg}); expected a list of strings.'
        ) from error
    if isinstance(entries, list):
        return _build(entries, str(path))
    if isinstance(entries, dict) and 'class_texts' in entries:
        return replace(_from_mapping(entries), source=str(path))
    raise InputError(
        f'{path} holds a JSON {type(entries).__name__}; expected a list '
        'of strings, one a class, synonyms joined by ", ", or an object with '
        'the key class_texts.'
    )


def _build(entries: Sequence[str], source: str) -> Vocabulary:
    for index, entry in enumerate(entries):
        if not isinstance(entry, str):
            raise InputError(
                f'{source}: entry {index} (counting from 0) is '
                f'{entry!r}, a {type(entry).__name__}; expected a string.'
            )
    texts = tuple(map(_split, entries))
    return Vocabulary(
        class_texts=texts,
        label_names=_label_names(texts),
        prompt_to_label=tuple(range(len(texts))),
        palette=distinct_palette(len(texts)),
        source=source,
    )


def _split(entry: str) -> tuple[str, ...]:
    return tuple(re.split(r', |\|', entry))


def _label_names(texts: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
    """Name each class by its first text, or by all where that is shared."""
    uses = Counter(entry[0] for entry in texts)
    return tuple(
        entry[0] if uses[entry[0]] == 1 else ', '.join(entry)
        for entry in texts
    )
