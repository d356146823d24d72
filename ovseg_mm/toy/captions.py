# SPDX-License-Identifier: Apache-2.0
"""Captions of the images of the toy world.

A caption names one or more contents of an image, which the code calls facts.
A fact is the class name of an object ("striped red"), the colour of an object
("red") or the class name of a background area ("water"). Background areas are
called grounds.
"""

import random
from collections.abc import Collection, Sequence
from typing import NamedTuple

from .scenes import COLOURS, GROUNDS, OBJECTS, Scene

# Synonyms of the grounds in captions.
GROUND_SYNONYMS = dict(grass='meadow', sand='beach', water='sea', stone='rock')
# All facts that a caption can state about an image.
FACTS = (*OBJECTS, *COLOURS, *GROUNDS)
TEMPLATES = ('{}', 'a {}', 'a photo of a {}', 'A photo of a {} in the scene')


class Caption(NamedTuple):
    """Caption of an image.

    Attributes:
        text (str): Text of the caption.
        facts (tuple[str, ...]): Entries of :data:`FACTS` that the text
            names, directly or by a synonym. The caption is true of every
            image that shows all of them.
    """

    text: str
    facts: tuple[str, ...]


def facts_of(scene: Scene) -> tuple[str, ...]:
    """List the entries of :data:`FACTS` that a scene shows."""
    colours = dict.fromkeys(name.split()[1] for name in scene.objects)
    return (*scene.objects, *colours, *scene.grounds)


def make_caption(rng: random.Random, facts: Collection[str]) -> Caption:
    """Make a random caption of an image.

    The caption names either one fact, or all objects and background areas.

    Args:
        rng (random.Random): Random generator.
        facts (Collection[str]): Contents that the image shows, from
            :func:`facts_of`.

    Returns:
        Caption: Caption that is true of the image.
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
    """Choose the word for an entry of :data:`FACTS` in a caption.

    Classes of the background, such as ``'water'``, have a synonym, which is
    chosen at random. All other entries are used unchanged.

    Args:
        rng (random.Random): Random generator.
        fact (str): Entry of :data:`FACTS`.

    Returns:
        str: The entry or its synonym.
    """
    if fact in GROUND_SYNONYMS and rng.random() < 0.4:
        return GROUND_SYNONYMS[fact]
    return fact


def all_texts() -> list[str]:
    """List texts that together contain every word that captions can have."""
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
