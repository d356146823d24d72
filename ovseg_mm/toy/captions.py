# SPDX-License-Identifier: Apache-2.0
"""Captions of the images of the toy world."""

import random
from collections.abc import Collection, Sequence
from typing import NamedTuple

from .scenes import COLOURS, GROUNDS, OBJECTS, Scene

# Synonyms of the grounds in captions.
GROUND_SYNONYMS = dict(grass='meadow', sand='beach', water='sea', stone='rock')
# Facts that a caption can state of an image: "striped red", "red", "water".
FACTS = (*OBJECTS, *COLOURS, *GROUNDS)
TEMPLATES = ('{}', 'a {}', 'a photo of a {}', 'A photo of a {} in the scene')


class Caption(NamedTuple):
    """A caption of an image.

    Attributes:
        text (str): The caption.
        facts (tuple[str, ...]): Facts that it states, of :data:`FACTS`. It
            is true of every image with all these facts.
    """

    text: str
    facts: tuple[str, ...]


def facts_of(scene: Scene) -> tuple[str, ...]:
    """Facts that are true of a scene, of :data:`FACTS`."""
    colours = dict.fromkeys(name.split()[1] for name in scene.objects)
    return (*scene.objects, *colours, *scene.grounds)


def make_caption(rng: random.Random, facts: Collection[str]) -> Caption:
    """Make a true caption of an image, of the whole image or one fact.

    Args:
        rng (random.Random): Random numbers.
        facts (Collection[str]): True facts, see :func:`facts_of`.

    Returns:
        Caption: The caption.
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
    return Caption(rng.choice(TEMPLATES).format(name_of(rng, fact)), (fact,))


def name_of(rng: random.Random, fact: str) -> str:
    """Word for a fact: its name, or at random a synonym."""
    if fact in GROUND_SYNONYMS and rng.random() < 0.4:
        return GROUND_SYNONYMS[fact]
    return fact


def all_texts() -> list[str]:
    """Texts with all words of all captions."""
    words = (*FACTS, *GROUND_SYNONYMS.values())
    texts = [t.format(word) for t in TEMPLATES for word in words]
    return [*texts, 'a photo of a striped red and a dotted blue on sand']


def _whole(
    rng: random.Random, objects: Sequence[str], grounds: Sequence[str]
) -> Caption:
    objects = rng.sample(objects, len(objects))
    text = ' and '.join(f'a {name}' for name in objects)
    if grounds:
        text += ' on ' + ' and '.join(name_of(rng, name) for name in grounds)
    if rng.random() < 0.5:
        text = f'a photo of {text}'
    return Caption(text, (*objects, *grounds))
