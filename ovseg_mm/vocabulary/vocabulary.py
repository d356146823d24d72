# SPDX-License-Identifier: Apache-2.0
"""The one object that knows class texts, labels and colours."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral

from ovseg_mm.utils.errors import InputError

from .palette import distinct_palette


@dataclass(frozen=True)
class Vocabulary:
    """What the model may name, and which label each name stands for.

    A model scores T class texts; label maps hold L labels. The two counts
    differ where several texts share a label (PASCAL VOC 20b: 59 texts, of
    which 39 all mean ``background``).

    Args:
        class_texts (tuple[tuple[str, ...], ...]): T entries, each a tuple of
            texts: the name, then its synonyms.
        label_names (tuple[str, ...]): L names, for tables and legends.
        prompt_to_label (tuple[int, ...]): T label indices in [0, L).
        palette (tuple[tuple[int, int, int], ...]): L colours (red, green,
            blue) in [0, 255].
        unseen (tuple[int, ...]): Label indices that no training label used.
        source (str): Where the texts came from, for messages.
        published (tuple[int, ...]): Entries, by index, that are those of a
            benchmark's list, to which the rule of a method for synonyms
            applies. Synonyms that a user writes always count.
        whole (Vocabulary, optional): The vocabulary that this one is a part
            of, if it is one.
        kept (tuple[int, ...]): Labels of the whole that labels 0, 1, ... of
            this part are.

    Raises:
        ValueError: If a text is empty, the counts do not fit each other, or
            an index is out of range.
    """

    class_texts: tuple[tuple[str, ...], ...]
    label_names: tuple[str, ...]
    prompt_to_label: tuple[int, ...]
    palette: tuple[tuple[int, int, int], ...]
    unseen: tuple[int, ...] = ()
    source: str = 'a vocabulary'
    published: tuple[int, ...] = ()
    whole: 'Vocabulary | None' = field(default=None, compare=False, repr=False)
    kept: tuple[int, ...] = field(default=(), compare=False, repr=False)

    def __post_init__(self) -> None:
        """Check that the parts fit each other."""
        if not self.class_texts:
            raise InputError(
                f'{self.source} holds no class text; at least one is needed.'
            )
        for index, texts in enumerate(self.class_texts):
            if not texts or not all(text.strip() for text in texts):
                raise InputError(
                    f'{self.source}: entry {index} (counting from 0) has an '
                    f'empty class text: {list(texts)!r}; remove it or write '
                    'the class name.'
                )
        self._check_label_map()
        if len(self.palette) != self.num_labels:
            raise InputError(
                f'{self.source}: the palette has {len(self.palette)} colours '
                f'for {self.num_labels} labels.'
            )
        if any(
            len(colour) != 3 or not all(map(_is_shade, colour))
            for colour in self.palette
        ):
            raise InputError(
                f'{self.source}: a colour of the palette is three integers '
                'from 0 to 255 (red, green, blue).'
            )

    def _check_label_map(self) -> None:
        if len(self.prompt_to_label) != self.num_texts:
            raise InputError(
                f'{self.source}: prompt_to_label has '
                f'{len(self.prompt_to_label)} entries for {self.num_texts} '
                'class texts; give one label index for each text.'
            )
        indices = range(self.num_labels)
        for key in ('prompt_to_label', 'unseen'):
            wrong = sorted(set(getattr(self, key)).difference(indices))
            if wrong:
                raise InputError(
                    f'{self.source}: {key} holds {wrong}, but there are '
                    f'{self.num_labels} labels (0 to {self.num_labels - 1}).'
                )
        bare = sorted(set(indices).difference(self.prompt_to_label))
        if bare:
            raise InputError(
                f'{self.source}: no class text leads to label {bare[0]} '
                f'({self.label_names[bare[0]]!r}), so it could never be '
                'predicted (label_names and prompt_to_label go together).'
            )

    @property
    def num_texts(self) -> int:
        """Number of class texts T, the classes that the model scores."""
        return len(self.class_texts)

    @property
    def num_labels(self) -> int:
        """Number of labels L, the values of a label map."""
        return len(self.label_names)

    @property
    def names(self) -> tuple[str, ...]:
        """The first text of each of the T entries."""
        return tuple(texts[0] for texts in self.class_texts)

    @property
    def seen(self) -> tuple[int, ...]:
        """The label indices that are not unseen, ascending."""
        unseen = set(self.unseen)
        return tuple(i for i in range(self.num_labels) if i not in unseen)

    @property
    def ignore_label(self) -> int:
        """A label value that no class uses: 255, or 65535 for large sets."""
        return 255 if self.num_labels <= 255 else 65535

    @property
    def metainfo(self) -> dict:
        """``classes``, ``palette`` and ``unseen`` as MMEngine wants them."""
        return dict(
            classes=list(self.label_names),
            palette=[list(colour) for colour in self.palette],
            unseen=list(self.unseen),
        )

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hexadecimal) of the class texts and the label map."""
        content = json.dumps([self.class_texts, self.prompt_to_label])
        return hashlib.sha256(content.encode()).hexdigest()

    @property
    def has_own_palette(self) -> bool:
        """Whether somebody chose the colours, not :func:`distinct_palette`."""
        return self.palette != distinct_palette(self.num_labels)

    def coloured(self, palette: Sequence[Sequence[int]]) -> 'Vocabulary':
        """The vocabulary in other colours, unless it has its own.

        Args:
            palette (Sequence[Sequence[int]]): L colours (red, green, blue) in
                [0, 255].

        Raises:
            InputError: If these are not L colours.
        """
        if self.has_own_palette:
            return self
        return replace(self, palette=tuple(map(as_colour, palette)))

    def only(self, subset: str) -> 'Vocabulary':
        """Keep the seen or the unseen labels, numbered anew in their order.

        Args:
            subset (str): ``'seen'`` or ``'unseen'``.

        Returns:
            Vocabulary: A vocabulary without unseen labels: those that are left
            are all that it knows.

        Raises:
            ValueError: If no label is left.
        """
        kept = self.seen if subset == 'seen' else self.unseen
        numbers = {label: number for number, label in enumerate(kept)}
        texts = [
            i
            for i in range(self.num_texts)
            if self.prompt_to_label[i] in numbers
        ]
        return Vocabulary(
            class_texts=tuple(self.class_texts[i] for i in texts),
            label_names=tuple(self.label_names[label] for label in kept),
            prompt_to_label=tuple(
                numbers[self.prompt_to_label[i]] for i in texts
            ),
            palette=tuple(self.palette[label] for label in kept),
            source=f'the {subset} part of {self.source}',
            published=tuple(
                number for number, i in enumerate(texts) if i in self.published
            ),
            whole=self,
            kept=kept,
        )

    def label_named(self, name: str) -> int | None:
        """Return the label of a name; None if no label has it."""
        if name not in self.label_names:
            return None
        return self.label_names.index(name)

    def each_text(self) -> 'Vocabulary':
        """Make every synonym a text of its own, with the label of its class.

        Returns:
            Vocabulary: A vocabulary of the same labels whose entries hold one
            text each.
        """
        entries = [
            entry
            for entry, texts in enumerate(self.class_texts)
            for _ in texts
        ]
        return replace(
            self,
            class_texts=tuple(
                (text,) for texts in self.class_texts for text in texts
            ),
            prompt_to_label=tuple(self.prompt_to_label[i] for i in entries),
            published=tuple(
                number
                for number, entry in enumerate(entries)
                if entry in self.published
            ),
        )

    def with_others(self, texts: Iterable[str], name: str) -> 'Vocabulary':
        """Add one label for things that nobody asks for.

        Args:
            texts (Iterable[str]): Its texts, an entry each; those that an
                entry has already are left out (compared as in
                :meth:`duplicates`).
            name (str): Name of the label, which is the last one.

        Returns:
            Vocabulary: The longer vocabulary, or this one if no text is left.
        """
        known = {_key(text) for texts in self.class_texts for text in texts}
        others = [text for text in texts if _key(text) not in known]
        if not others:
            return self
        return replace(
            self,
            class_texts=(*self.class_texts, *((text,) for text in others)),
            label_names=(*self.label_names, name),
            prompt_to_label=(
                *self.prompt_to_label,
                *[self.num_labels] * len(others),
            ),
            palette=(*self.palette, (0, 0, 0)),
        )

    def duplicates(self) -> list[tuple[int, ...]]:
        """Groups of entries that share a name, so that scores tie.

        Names are compared as a CLIP tokenizer reads them: case and
        repeated, leading or trailing blanks do not matter. Synonyms that a
        user writes tell entries of one name apart.

        Returns:
            list[tuple[int, ...]]: Index groups of two or more, ordered by
            their first index.
        """
        published = set(self.published)
        groups: dict[tuple[str, ...], list[int]] = {}
        for index, texts in enumerate(self.class_texts):
            counted = texts[:1] if index in published else texts
            key = tuple(map(_key, counted))
            groups.setdefault(key, []).append(index)
        return [tuple(group) for group in groups.values() if len(group) > 1]


def as_colour(colour: object) -> tuple:
    """A colour as a tuple; whether it is one, the vocabulary checks."""
    return tuple(colour) if isinstance(colour, Iterable) else (colour,)


def _key(text: str) -> str:
    return ' '.join(text.lower().split())


def _is_shade(value: object) -> bool:
    return isinstance(value, Integral) and 0 <= value <= 255
