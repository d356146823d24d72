# SPDX-License-Identifier: Apache-2.0
"""Comparison of the labels of a vocabulary and of a data set."""

import re
import unicodedata
import warnings
from collections.abc import Iterable, Sequence

from ovseg_mm.utils.errors import InputError

from .vocabulary import Vocabulary

# Largest number of labels in a message.
_MAX_LISTED = 3


def check_same_classes(
    vocabulary: Vocabulary, classes: Sequence[str], where: str
) -> None:
    """Check that vocabulary and data set have the same class at each label.

    Two names agree if they share a class text, compared without case, blanks,
    hyphens and underscores; all class texts of a label count. Names that
    differ are allowed, since they may be synonyms, unless the name stands at
    another label.

    Args:
        vocabulary (Vocabulary): Vocabulary of the model. Its ``label_names``
            count as class texts.
        classes (Sequence[str]): Class names of the data set, in label order.
        where (str): Source of ``classes``, for messages ('the data set ...').

    Raises:
        InputError: If the counts differ, or the names have another order.

    Warns:
        UserWarning: If a class name of the data set is the name of another
            label in the vocabulary.
    """
    if len(classes) != vocabulary.num_labels:
        raise InputError(
            f'{where} has {len(classes)} labels, but {vocabulary.source} has '
            f'{vocabulary.num_labels}; name the same vocabulary in both '
            'places'
        )
    moved = _moved(vocabulary, [str(name) for name in classes])
    swapped = _exchanged(moved)
    if swapped:
        raise InputError(
            f'{vocabulary.source} has classes of {where} in another order: '
            f'{_listed(swapped, classes, vocabulary)}. Write the class texts '
            'in the order of the label values; to put other texts to the '
            'labels on purpose, give label_names as well, in the order of '
            'the data'
        )
    if moved:
        warnings.warn(
            f'{vocabulary.source} may not have the classes of {where} in '
            f'their order: {_listed(list(moved), classes, vocabulary)}, and '
            'the vocabulary has the name of the data at another label. Check '
            'that the class texts are in the order of the label values',
            UserWarning,
            stacklevel=2,
        )


def _moved(vocabulary: Vocabulary, classes: list[str]) -> dict[int, int]:
    """Labels of the data whose name the vocabulary has at another label."""
    firsts = [{name} for name in vocabulary.label_names]
    alike = [set(_parts(name)) for name in vocabulary.label_names]
    counts = [0] * vocabulary.num_labels
    for label, texts in zip(
        vocabulary.prompt_to_label, vocabulary.class_texts
    ):
        alike[label].update(texts)
        counts[label] += 1
        if counts[label] == 1:
            firsts[label].add(texts[0])
    # If several entries share a label, their texts do not name it.
    firsts = [
        _keys(names) if count == 1 else _keys([name])
        for names, count, name in zip(firsts, counts, vocabulary.label_names)
    ]
    theirs = [_keys(_parts(name)) for name in classes]
    their_firsts = [_keys(_parts(name)[:2]) for name in classes]
    places: dict[str, int] = {}
    for label, keys in enumerate(firsts):
        for key in keys:
            places.setdefault(key, label)
    moved = {}
    for label, keys in enumerate(their_firsts):
        if not theirs[label].isdisjoint(_keys(alike[label])):
            continue
        for key in sorted(keys & places.keys()):
            # A name that the data set has twice must agree at one label only.
            if key not in their_firsts[places[key]]:
                moved[label] = places[key]
    return moved


def _exchanged(moved: dict[int, int]) -> list[int]:
    """Labels that swap names, two with each other or several in a cycle."""
    found = set()
    for start in moved:
        path = [start]
        while path[-1] in moved and moved[path[-1]] not in path:
            path.append(moved[path[-1]])
        if moved.get(path[-1]) == start:
            found.update(path)
    return sorted(found)


def _parts(name: str) -> list[str]:
    """A name, followed by the class texts that it lists."""
    return [name, *re.split(r'[,;|]', name)]


def _keys(names: Iterable[str]) -> set[str]:
    """Names without case, blanks, hyphens and underscores."""
    folded = [unicodedata.normalize('NFKC', n).casefold() for n in names]
    # A name that consists only of these signs stays as it is.
    return {re.sub(r'[\s_-]+', '', name) or name for name in folded}


def _listed(
    labels: Sequence[int], classes: Sequence[str], vocabulary: Vocabulary
) -> str:
    named = ', '.join(
        f'label {label} is {str(classes[label])!r} in the data and '
        f'{vocabulary.label_names[label]!r} in the vocabulary'
        for label in labels[:_MAX_LISTED]
    )
    others = len(labels) - _MAX_LISTED
    return named + (f' (and {others} more)' if others > 0 else '')
