# SPDX-License-Identifier: Apache-2.0
"""Construction of vocabularies from keys, files, lists and mappings."""

import json
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import Any

from ovseg_mm.utils.errors import InputError, nearest
from ovseg_mm.utils.paths import expanded, resource
from ovseg_mm.utils.stack import import_stack

from .class_text_files import read_class_file
from .entries import (
    CLASS_FILE_SUFFIXES,
    Entry,
    check_class_texts,
    is_file,
    looks_like_file,
    quoted,
    split_classes,
    split_synonyms,
)
from .palette import class_palette
from .vocabulary import Vocabulary, as_colour

_SPEC_KEYS = (
    *('class_texts', 'renamed', 'label_names', 'prompt_to_label'),
    *('unseen', 'palette', 'subset'),
)
# Shipped keys, and palettes of MMSegmentation with the same label order.
_MMSEG_PALETTES = {
    'ade150': 'ade',
    'ade150-synonyms': 'ade',
    'cityscapes': 'cityscapes',
    'coco': 'cocostuff',
    'pc59': 'pcontext',
    **{f'ade150-{use}': 'ade' for use in ('sclip',)},
    **{f'coco-{use}': 'cocostuff' for use in ('sclip', 'maskclip')},
    **{f'cityscapes-{use}': 'cityscapes' for use in ('sclip', 'sfp')},
    **{f'voc21{use}': 'voc' for use in ('', '-sclip', '-clearclip', '-sfp')},
    'pc59-maskclip': 'pcontext',
}
# Methods whose authors use their own class texts for PASCAL VOC 20.
_VOC20_USES = ('sclip', 'clearclip', 'sfp', 'maskclip')


def load_vocabulary(
    spec: Vocabulary | str | PathLike | Sequence[str] | Mapping[str, Any],
) -> Vocabulary:
    r"""Build a vocabulary from a key, a file, a list or a mapping.

    Synonyms of a class are separated by ``', '`` or ``'|'``. If a class text
    contains a separator, write a backslash before it: ``r'salt\, pepper'``.

    Args:
        spec (Vocabulary | str | PathLike | Sequence[str] | Mapping): One of

            - a :class:`Vocabulary`, which is returned unchanged;
            - the key of a vocabulary that comes with the package, such as
              ``'ade150'`` (:func:`shipped_vocabularies` lists all keys);
            - the path of a file: ``.txt`` (one class per line), ``.csv`` or
              ``.tsv`` (one class per row, with or without a heading),
              ``.json`` or ``.yaml`` (a list of strings, a list of dicts with
              the key ``name``, a dict that contains one of these lists, or a
              dict with the keys of the mapping below);
            - a string of several classes, separated by ``';'``;
            - a list of strings, one per class;
            - a mapping with ``class_texts`` (a key, a file or a list) and
              optionally

              - ``renamed``: dict from the first text of a class to the new
                text of the class;
              - ``label_names``: names of the L labels;
              - ``prompt_to_label``: label of each of the T classes;
              - ``unseen``: labels (numbers or names) without training pixels;
              - ``palette``: L colours (red, green, blue);
              - ``subset``: labels to keep, ``'seen'`` or ``'unseen'``.

    Returns:
        Vocabulary: The vocabulary.

    Raises:
        FileNotFoundError: If a string is neither a shipped key nor a file.
        InputError: If a class text is malformed, or looks like a path, a label
            number or a piece of a list. The message names file and entry.

    Warns:
        UserWarning: If a class text is ambiguous, or several classes have the
            same class text. Then, only the first of them can be predicted.
    """
    vocabulary = _load(spec)
    groups = vocabulary.duplicates()
    if groups and vocabulary is not spec:
        listed = '; '.join(
            f'{vocabulary.names[group[0]]!r} '
            f'(entries {", ".join(map(str, group))})'
            for group in groups
        )
        warnings.warn(
            f'{vocabulary.source}: entries with the same name get the same '
            f'score, so only the first of them can be predicted: {listed}; '
            'if the list is yours, rename or remove the other entries',
            UserWarning,
            stacklevel=2,
        )
    return vocabulary


def shipped_vocabularies() -> list[str]:
    """Sorted keys of the class texts that come with the package."""
    return sorted(path.stem for path in resource('data').glob('*.json'))


def _load(spec: Any) -> Vocabulary:
    if isinstance(spec, Vocabulary):
        return spec
    if isinstance(spec, Mapping):
        return _from_mapping(spec)
    if isinstance(spec, (str, PathLike)):
        return _from_name(str(spec))
    if isinstance(spec, Sequence):
        return _from_list(spec)
    raise InputError(
        f'the type {type(spec).__name__} is wrong for a vocabulary; give the '
        'key of a shipped vocabulary, a file, a list of strings or a mapping'
    )


def _from_mapping(spec: Mapping[str, Any]) -> Vocabulary:
    unknown = sorted(set(spec).difference(_SPEC_KEYS))
    if unknown or 'class_texts' not in spec:
        raise InputError(
            f'a vocabulary mapping has the keys {sorted(spec)}; it must have '
            f'class_texts, and it may have {", ".join(_SPEC_KEYS[1:])}'
        )
    texts = spec['class_texts']
    if isinstance(texts, Mapping):
        raise InputError(
            'class_texts of a vocabulary mapping is another mapping; give '
            'the key of a shipped vocabulary, a file or a list of strings'
        )
    changes = {
        key: spec[key] for key in _SPEC_KEYS[1:] if spec.get(key) is not None
    }
    _check_kinds(changes)
    subset = changes.pop('subset', None)
    if subset not in (None, 'seen', 'unseen'):
        raise InputError(
            "the key 'subset' of a vocabulary mapping has the value "
            f"{subset!r}; give 'seen' or 'unseen'"
        )
    vocabulary = _load(texts)
    if 'renamed' in changes:
        vocabulary = _rename(vocabulary, changes.pop('renamed'))
    if changes:
        vocabulary = _relabel(vocabulary, **changes)
    return vocabulary.only(subset) if subset else vocabulary


def _check_kinds(changes: Mapping[str, Any]) -> None:
    """Check the types of the values of a vocabulary mapping."""
    for key, value in changes.items():
        items, kind = value, 'a list'
        fits = isinstance(value, (list, tuple)) or key == 'subset'
        if key == 'renamed':
            kind, fits = 'a dict of strings', isinstance(value, Mapping)
            items = value.values() if fits else ()
        elif key == 'label_names':
            kind = 'a list of strings'
        if fits and key in ('renamed', 'label_names'):
            fits = all(isinstance(item, str) for item in items)
        if not fits:
            raise InputError(
                f'the value of {key!r} in a vocabulary mapping must be '
                f'{kind}; found {quoted(str(value))}'
            )


def _rename(base: Vocabulary, renamed: Mapping[str, str]) -> Vocabulary:
    """Replace class texts and class names; label numbers do not change."""
    for name in renamed:
        if name not in base.names:
            raise InputError(
                f"{base.source}: the key 'renamed' contains {name!r}, which "
                'is not the first text of a class; correct it'
                f'{nearest(name, base.names)}'
            )
    texts = {name: split_synonyms(renamed[name]) for name in renamed}
    first = {name: texts[name][0] for name in renamed}
    names = tuple(first.get(n, n) for n in base.label_names)
    return replace(
        base,
        class_texts=tuple(texts.get(t[0], t) for t in base.class_texts),
        label_names=names,
        palette=_palette(base, names),
        published=tuple(
            i for i in base.published if base.names[i] not in texts
        ),
    )


def _relabel(
    base: Vocabulary,
    label_names: Sequence[str] | None = None,
    prompt_to_label: Sequence[int] | None = None,
    unseen: Sequence[int | str] | None = None,
    palette: Sequence[Sequence[int]] | None = None,
) -> Vocabulary:
    """Return ``base`` with new values. None means to keep the old value."""
    names = tuple(label_names or base.label_names)
    label_map = prompt_to_label
    if label_map is None and len(names) == base.num_labels:
        label_map = base.prompt_to_label
    elif label_map is None:
        raise InputError(
            f'{base.source} has {base.num_labels} labels, but label_names '
            f'has {len(names)} names; write one name per label, or give '
            'prompt_to_label too if several classes share a label'
        )
    if palette is None:
        palette = _palette(base, names)
    indices = base.unseen if unseen is None else unseen
    return Vocabulary(
        class_texts=base.class_texts,
        label_names=names,
        prompt_to_label=tuple(label_map),
        palette=tuple(map(as_colour, palette)),
        unseen=tuple(sorted(_label_index(x, names, base) for x in indices)),
        source=base.source,
        published=base.published,
    )


def _palette(
    base: Vocabulary, names: tuple[str, ...]
) -> tuple[tuple[int, int, int], ...]:
    """Keep custom colours if their number fits; otherwise, use the default."""
    if len(names) == base.num_labels and base.has_own_palette:
        return base.palette
    return class_palette(names)


def _label_index(
    label: int | str, names: tuple[str, ...], base: Vocabulary
) -> int:
    if not isinstance(label, str):
        return label
    if label not in names:
        raise InputError(
            f"{base.source}: the list 'unseen' contains {label!r}, but no "
            f'label has this name; correct or remove it{nearest(label, names)}'
        )
    return names.index(label)


def _from_name(name: str) -> Vocabulary:
    if name in shipped_vocabularies():
        return _shipped(name)
    path = expanded(name)
    if is_file(path):
        return _from_file(path)
    if (
        path.suffix.lower() not in CLASS_FILE_SUFFIXES
        and len(split_classes(name)) > 1
    ):
        return _load(split_classes(name))
    keys = shipped_vocabularies()
    if not looks_like_file(name):
        raise FileNotFoundError(
            f'{quoted(name)} is neither a file nor a shipped vocabulary '
            f'({_listed(keys)}); give class texts as a list: '
            "['cat', 'dog'], or in one string: 'cat; dog'"
            f'{nearest(name, keys)}'
        )
    if path.is_dir():
        raise InputError(
            f'{name} is a folder; give the path of a file with class texts, '
            f'such as {path / "classes.txt"}'
        )
    files = [
        file.name
        for file in path.parent.glob('*')
        if file.suffix.lower() in CLASS_FILE_SUFFIXES
    ]
    raise FileNotFoundError(
        f'{name}: there is no such vocabulary file'
        f'{nearest(path.name, files)} (shipped vocabularies have no suffix: '
        f'{_listed(keys)})'
    )


def _listed(keys: Sequence[str]) -> str:
    """List keys for a message. Only count the keys that contain ``'-'``."""
    bases = [key for key in keys if '-' not in key]
    return (
        f'{", ".join(bases)} and {len(keys) - len(bases)} variants of these '
        'such as voc20-sclip'
    )


@lru_cache(maxsize=64)
def _shipped(key: str) -> Vocabulary:
    base = _from_file(resource('data', f'{key}.json'))
    if key in _MMSEG_PALETTES:
        return _relabel(base, palette=_mmseg_palette(_MMSEG_PALETTES[key]))
    if key in ('voc20', *(f'voc20-{use}' for use in _VOC20_USES)):
        return _relabel(base, palette=_mmseg_palette('voc')[1:])
    if key == 'voc20b':
        background, *voc_colours = _mmseg_palette('voc')
        # By the rules of the benchmark, all other classes are background.
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


def _mmseg_palette(name: str) -> list[list[int]]:
    # This import takes seconds, so class texts are checked before.
    import_stack()
    from mmseg.utils import get_palette

    return get_palette(name)


def _from_file(path: Path) -> Vocabulary:
    found = read_class_file(path)
    if isinstance(found, Mapping):
        return replace(_from_mapping(found), source=str(path))
    return _build(found, str(path))


def _from_list(texts: Sequence[str]) -> Vocabulary:
    source = 'the list of class texts'
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(
                f'{source}: entry {index} (counting from 0) is '
                f'{text!r}, a {type(text).__name__}; write a string'
            )
    check_class_texts(texts, source)
    return _build([Entry(split_synonyms(text)) for text in texts], source)


def _build(entries: Sequence[Entry], source: str) -> Vocabulary:
    texts = tuple(entry.texts for entry in entries)
    names = _label_names(texts)
    colours = [entry.colour for entry in entries if entry.colour is not None]
    names = tuple(entry.name or name for entry, name in zip(entries, names))
    if len(colours) < len(entries):
        colours = list(class_palette(names))
    return Vocabulary(
        class_texts=texts,
        label_names=names,
        prompt_to_label=tuple(range(len(texts))),
        palette=tuple(colours),
        source=source,
        published=_published(texts),
    )


def _published(texts: tuple[tuple[str, ...], ...]) -> tuple[int, ...]:
    """Return the value of ``Vocabulary.published`` for class texts."""
    # Only shipped lists with synonyms count as published class texts.
    if max(map(len, texts), default=0) < 2 or texts not in _shipped_texts():
        return ()
    return tuple(range(len(texts)))


@lru_cache(maxsize=1)
def _shipped_texts() -> frozenset[tuple[tuple[str, ...], ...]]:
    lists = [
        json.loads(path.read_text(encoding='utf-8'))
        for path in resource('data').glob('*.json')
    ]
    return frozenset(
        tuple(map(split_synonyms, texts))
        for texts in lists
        if isinstance(texts, list)
    )


def _label_names(texts: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
    """Name a class by its first text. If classes share it, use all texts."""
    uses = Counter(entry[0] for entry in texts)
    return tuple(
        entry[0] if uses[entry[0]] == 1 else ', '.join(entry)
        for entry in texts
    )
