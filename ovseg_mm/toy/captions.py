# SPDX-License-Identifier: Apache-2.0
"""Sentences about the pictures of the toy world."""

import random
from collections.abc import Collection, Sequence
from typing import NamedTuple

from .scenes import COLOURS, GROUNDS, OBJECTS, Scene

# What captions call a ground, apart from its label name.
GROUND_SYNONYMS = dict(grass='meadow', sand='beach', water='sea', stone='rock')
# What a caption can state of a picture: "striped red", "red", "water".
FACTS = (*OBJECTS, *COLOURS, *GROUNDS)
TEMPLATES = ('{}', 'a {}', 'a photo of a {}', 'A photo of a {} in the scene')


class Caption(NamedTuple):
    """A sentence about a picture.

    Attributes:
        text (str): The sentence.
        facts (tuple[str]): What it states, names in :data:`FACTS`; it is
            true of every picture of which all these are.
    """

    text: str
    facts: tuple[str, ...]


def facts_of(scene: Scene) -> tuple[str, ...]:
    """What is true of a picture, names in :data:`FACTS`."""
    colours = dict.fromkeys(name.split()[1] for name in scene.objects)
    return (*scene.objects, *colours, *scene.grounds)


def make_caption(rng: random.Random, facts: Collection[str]) -> Caption:
    """Say something true about a picture: all of it, or a single fact.

    Args:
        rng (random.Random): Source of the choice.
        facts (Collection[str]): What is true of it, see :func:`facts_of`.

    Returns:
        Caption: See there.
    """
    objects = [fact for fact in facts if fact in OBJECTS]
    colours = [fact for fact in facts if fact in COLOURS]
    grounds = [fact for fact in facts if fact in GROUNDS]
    kind = rng.random()
    if kind < 0.5 and objects:
        return _whole(rng, objects, grounds)
    if kind < 0.8 and objects:
        fact = rng.choice(objects)
    elif kind < 0.9 and colours:
        fact = rng.choice(colours)
    else:
        fact = rng.choice(grounds or objects)
    return Caption(rng.choice(TEMPLATES).format(say(rng, fact)), (fact,))


def say(rng: random.Random, fact: str) -> str:
    """The name of a fact, or a synonym of it."""
    if fact in GROUND_SYNONYMS and rng.random() < 0.4:
        return GROUND_SYNONYMS[fact]
    return fact


def all_texts() -> list[str]:
    """Texts that hold every word that a caption can hold."""
    words = (*FACTS, *GROUND_SYNONYMS.values())
    texts = [t.format(word) for t in TEMPLATES for word in words]
    return [*texts, 'a photo of a striped red and a dotted blue on sand']


def _whole(
    rng: random.Random, objects: Sequence[str], grounds: Sequence[str]
) -> Caption:
    objects = rng.sample(objects, len(objects))
    text = ' and '.join(f'a {name}' for name in objects)
    if grounds:
        text += ' on ' + ' and '.join(say(rng, name) for name in grounds)
    if rng.random() < 0.5:
        text = f'a photo of {text}'
    return Caption(text, (*objects, *grounds))
