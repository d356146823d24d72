# SPDX-License-Identifier: Apache-2.0
"""Check that a vocabulary and a data set have the same labels."""

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
    """Check that each label has the same class in vocabulary and data set.

    A class name of the data set agrees with the vocabulary if it is one of
    the class texts of the same label. Case, blanks, hyphens and underscores
    are ignored. A name that does not agree may be a synonym, so it is an
    error only if labels have exchanged their names. For example, the name of
    label 3 in the data set is a class text of label 5 in the vocabulary, and
    the name of label 5 is a class text of label 3.

    Args:
        vocabulary (Vocabulary): Vocabulary of the model. Its ``label_names``
            are compared as class texts too.
        classes (Sequence[str]): Class names of the data set, in label order.
        where (str): Source of ``classes`` for messages, such as ``'the data
            set'``.

    Raises:
        InputError: If the numbers of labels differ, or two or more labels
            have exchanged their names.

    Warns:
        UserWarning: If a class name of the data set is a class text of
            another label in the vocabulary, but no labels have exchanged
            their names.
    """
    if len(classes) != vocabulary.num_labels:
        raise InputError(
            f'{where} has {len(classes)} labels, but {vocabulary.source} has '
            f'{vocabulary.num_labels}; use the same vocabulary for the data '
            'set and the model'
        )
    moved = _moved(vocabulary, [str(name) for name in classes])
    swapped = _exchanged(moved)
    if swapped:
        raise InputError(
            f'{vocabulary.source} has classes of {where} in another order: '
            f'{_listed(swapped, classes, vocabulary)}. Write the class texts '
            'in the order of the label values. If this order is intended, '
            'give the vocabulary as a mapping with two keys: class_texts, and '
            f'label_names with the class names of {where} in their order'
        )
    if moved:
        warnings.warn(
            f'{vocabulary.source} may have classes of {where} in another '
            f'order: {_listed(list(moved), classes, vocabulary)}. In the '
            'vocabulary, these class names of the data have other labels. '
            'Check that the class texts are in the order of the label values',
            UserWarning,
            stacklevel=2,
        )


def _moved(vocabulary: Vocabulary, classes: list[str]) -> dict[int, int]:
    """Find class names of the data that have other labels in the vocabulary.

    The result maps the label in the data to the label in the vocabulary.
    """
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
    # If several entries share a label, none of their texts names it.
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
            # If the data set has a name twice, one agreement is enough.
            if key not in their_firsts[places[key]]:
                moved[label] = places[key]
    return moved


def _exchanged(moved: dict[int, int]) -> list[int]:
    """Find labels whose names are exchanged, in pairs or longer cycles.

    Args:
        moved (dict[int, int]): Result of :func:`_moved`: for a label of the
            data, the label of the vocabulary that has the same name.

    Returns:
        list[int]: The exchanged labels, in ascending order.
    """
    found = set()
    for start in moved:
        path = [start]
        while path[-1] in moved and moved[path[-1]] not in path:
            path.append(moved[path[-1]])
        if moved.get(path[-1]) == start:
            found.update(path)
    return sorted(found)


def _parts(name: str) -> list[str]:
    """List a name and its parts, split at commas, semicolons and ``'|'``."""
    return [name, *re.split(r'[,;|]', name)]


def _keys(names: Iterable[str]) -> set[str]:
    """Convert names to lower case without blanks, hyphens and underscores."""
    folded = [unicodedata.normalize('NFKC', n).casefold() for n in names]
    # A name that consists only of such characters is kept.
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
