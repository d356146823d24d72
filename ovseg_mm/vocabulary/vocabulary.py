# SPDX-License-Identifier: Apache-2.0
"""Class texts, labels and colours of a task."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral

from ovseg_mm.utils.errors import InputError

from .palette import class_palette


@dataclass(frozen=True)
class Vocabulary:
    """The classes of a task: class texts, their labels, names and colours.

    A vocabulary has T entries, each a class text with synonyms, and L labels,
    the values of a label map. A model scores the entries. T and L differ if
    several entries share a label (PASCAL VOC 20b: 59 entries, of which 39 are
    ``background``).

    Attributes:
        class_texts (tuple[tuple[str, ...], ...]): T entries, each a tuple of
            class texts: the class name, then its synonyms.
        label_names (tuple[str, ...]): L class names for tables and legends.
        prompt_to_label (tuple[int, ...]): Label in [0, L) of each of the T
            entries.
        palette (tuple[tuple[int, int, int], ...]): L colours (red, green,
            blue) in [0, 255].
        unseen (tuple[int, ...]): Labels without training pixels.
        source (str): File or key of the class texts, for messages.
        published (tuple[int, ...]): Indices of the entries that a benchmark
            has published. A method may ignore synonyms of these entries;
            synonyms of other entries are always used.
        whole (Vocabulary, optional): Vocabulary from which :meth:`only` made
            this one. None: this vocabulary was not made by :meth:`only`.
        kept (tuple[int, ...]): For each label, its number in ``whole``; empty
            if ``whole`` is None.

    Raises:
        InputError: If a class text is empty, counts differ, or an index is
            out of range.
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
        """Check counts, indices and colours."""
        if not self.class_texts:
            raise InputError(
                f'{self.source} has no class text; give at least one'
            )
        for index, texts in enumerate(self.class_texts):
            if not texts or not all(text.strip() for text in texts):
                raise InputError(
                    f'{self.source}: entry {index} (counting from 0) has an '
                    f'empty class text: {list(texts)!r}; remove it or write '
                    'the class name'
                )
        self._check_label_map()
        if len(self.palette) != self.num_labels:
            raise InputError(
                f'{self.source}: the palette has {len(self.palette)} colours '
                f'for {self.num_labels} labels; give one colour per label'
            )
        if any(
            len(colour) != 3 or not all(map(_is_shade, colour))
            for colour in self.palette
        ):
            raise InputError(
                f'{self.source}: the palette has a wrong colour; give each '
                'colour as three integers from 0 to 255 (red, green, blue)'
            )

    def _check_label_map(self) -> None:
        if len(self.prompt_to_label) != self.num_texts:
            raise InputError(
                f'{self.source}: prompt_to_label has '
                f'{len(self.prompt_to_label)} entries for {self.num_texts} '
                'class texts; give one label index for each text'
            )
        indices = range(self.num_labels)
        for key in ('prompt_to_label', 'unseen'):
            wrong = sorted(set(getattr(self, key)).difference(indices))
            if wrong:
                raise InputError(
                    f'{self.source}: {key} has {wrong}, but there are '
                    f'{self.num_labels} labels; give values from 0 to '
                    f'{self.num_labels - 1}'
                )
        bare = sorted(set(indices).difference(self.prompt_to_label))
        if bare:
            raise InputError(
                f'{self.source}: no class text has the label {bare[0]} '
                f'({self.label_names[bare[0]]!r}), so this label could never '
                'be predicted; remove it from label_names, or add it to '
                'prompt_to_label'
            )

    @property
    def num_texts(self) -> int:
        """Number of entries T, the classes that a model scores."""
        return len(self.class_texts)

    @property
    def num_labels(self) -> int:
        """Number of labels L, the values of a label map."""
        return len(self.label_names)

    @property
    def names(self) -> tuple[str, ...]:
        """First class text of each of the T entries."""
        return tuple(texts[0] for texts in self.class_texts)

    @property
    def seen(self) -> tuple[int, ...]:
        """Labels that have training pixels (not in ``unseen``), ascending."""
        unseen = set(self.unseen)
        return tuple(i for i in range(self.num_labels) if i not in unseen)

    @property
    def ignore_label(self) -> int:
        """Value of pixels without label: 255, or 65535 for over 255 labels."""
        return 255 if self.num_labels <= 255 else 65535

    @property
    def metainfo(self) -> dict:
        """``classes``, ``palette`` and ``unseen`` for MMEngine's data sets."""
        return dict(
            classes=list(self.label_names),
            palette=[list(colour) for colour in self.palette],
            unseen=list(self.unseen),
        )

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hexadecimal) of ``class_texts`` and ``prompt_to_label``."""
        content = json.dumps([self.class_texts, self.prompt_to_label])
        return hashlib.sha256(content.encode()).hexdigest()

    @property
    def has_own_palette(self) -> bool:
        """Whether colours differ from the default, :func:`class_palette`."""
        return self.palette != class_palette(self.label_names)

    def coloured(self, palette: Sequence[Sequence[int]]) -> 'Vocabulary':
        """Replace the colours if they are the default colours.

        Args:
            palette (Sequence[Sequence[int]]): L colours (red, green, blue) in
                [0, 255].

        Returns:
            Vocabulary: Vocabulary with the new colours, or unchanged if
            :attr:`has_own_palette`.

        Raises:
            InputError: If ``palette`` does not have L colours.
        """
        if self.has_own_palette:
            return self
        return replace(self, palette=tuple(map(as_colour, palette)))

    def only(self, subset: str) -> 'Vocabulary':
        """Keep only the seen or only the unseen labels, renumbered from 0.

        Args:
            subset (str): Labels to keep, ``'seen'`` or ``'unseen'``.

        Returns:
            Vocabulary: Vocabulary of these labels. Its ``unseen`` is empty.

        Raises:
            InputError: If no label is left.
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
        """Label of a class name; None if no label has this name."""
        if name not in self.label_names:
            return None
        return self.label_names.index(name)

    def each_text(self) -> 'Vocabulary':
        """Make each class text an entry of its own.

        Returns:
            Vocabulary: Vocabulary with the same labels, in which each entry
            has one class text, without synonyms.
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
        """Add a last label for classes that are not asked for.

        Args:
            texts (Iterable[str]): Class texts of the new label, one entry
                each. Texts that the vocabulary already has are skipped; case
                and repeated blanks are ignored.
            name (str): Class name of the new label.

        Returns:
            Vocabulary: The extended vocabulary; this vocabulary if all texts
            are skipped.
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
        """Groups of entries with the same class texts, which get equal scores.

        Class texts are compared as CLIP's tokenizer reads them: without case
        and without repeated, leading or trailing blanks. Synonyms are
        compared too, except for entries in ``published``.

        Returns:
            list[tuple[int, ...]]: Groups of two or more indices of entries,
            ordered by their first index.
        """
        published = set(self.published)
        groups: dict[tuple[str, ...], list[int]] = {}
        for index, texts in enumerate(self.class_texts):
            counted = texts[:1] if index in published else texts
            key = tuple(map(_key, counted))
            groups.setdefault(key, []).append(index)
        return [tuple(group) for group in groups.values() if len(group) > 1]


def as_colour(colour: object) -> tuple:
    """Convert a colour to a tuple; :class:`Vocabulary` checks the values."""
    return tuple(colour) if isinstance(colour, Iterable) else (colour,)


def _key(text: str) -> str:
    return ' '.join(text.lower().split())


def _is_shade(value: object) -> bool:
    return isinstance(value, Integral) and 0 <= int(value) <= 255
