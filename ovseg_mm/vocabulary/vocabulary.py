# SPDX-License-Identifier: Apache-2.0
"""Class that stores the class texts, labels and colours of a task."""

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

    A vocabulary has T entries and L labels. An entry consists of class texts
    that mean the same: a class name and its synonyms. A model computes one
    score per entry. The labels 0 to L - 1 are the values of a label map. T is
    larger than L if several entries share a label. For example, PASCAL VOC
    20b has 59 entries and 21 labels, because 39 entries share the label
    ``background``.

    Attributes:
        class_texts (tuple[tuple[str, ...], ...]): T entries, each a tuple of
            class texts: the class name, then its synonyms.
        label_names (tuple[str, ...]): Names of the L labels, for result
            tables and legends.
        prompt_to_label (tuple[int, ...]): Label in [0, L) of each of the T
            entries.
        palette (tuple[tuple[int, int, int], ...]): L colours (red, green,
            blue) in [0, 255].
        unseen (tuple[int, ...]): Labels without training pixels.
        source (str): File or key that contains the class texts, for messages.
        published (tuple[int, ...]): Indices of the entries whose class texts
            were copied from a published benchmark. A method may use only the
            first class text of these entries, as the published evaluations
            do.
        whole (Vocabulary, optional): Vocabulary from which :meth:`only` made
            this one. None: this vocabulary was not made by :meth:`only`.
        kept (tuple[int, ...]): Label in ``whole`` of each of the L labels;
            empty if ``whole`` is None.

    Raises:
        InputError: If a class text is empty, a colour or label is out of
            range, a label has no entry, or the number of colours or of
            values in ``prompt_to_label`` is wrong.
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
                f'{len(self.prompt_to_label)} labels for {self.num_texts} '
                'classes; give one label for each class'
            )
        indices = range(self.num_labels)
        for key in ('prompt_to_label', 'unseen'):
            wrong = sorted(set(getattr(self, key)).difference(indices))
            if wrong:
                raise InputError(
                    f'{self.source}: the list {key!r} contains {wrong}, but '
                    f'there are {self.num_labels} labels; use only labels '
                    f'from 0 to {self.num_labels - 1}'
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
        """Number T of entries. A model predicts T scores for each pixel."""
        return len(self.class_texts)

    @property
    def num_labels(self) -> int:
        """Number L of labels; the values of a label map are 0 to L - 1."""
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
        """Value of ignored pixels: 255; with more than 255 labels, 65535."""
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
        """Replace the colours, but only if they are the default colours.

        Args:
            palette (Sequence[Sequence[int]]): L colours (red, green, blue) in
                [0, 255].

        Returns:
            Vocabulary: Vocabulary with the new colours. If
            :attr:`has_own_palette` is True, this vocabulary itself.

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
            Vocabulary: Vocabulary of these labels. ``unseen`` of the result is
            empty, also for ``'unseen'``.

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
        """Find the label with a name; None if no label has this name."""
        if name not in self.label_names:
            return None
        return self.label_names.index(name)

    def each_text(self) -> 'Vocabulary':
        """Make each class text, including synonyms, a separate entry.

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
        """Add one label, after all others, for things that are not classes.

        Args:
            texts (Iterable[str]): Class texts of the new label. Each text
                becomes a separate entry. A text is skipped if the vocabulary
                already has it; case and repeated blanks are ignored.
            name (str): Class name of the new label.

        Returns:
            Vocabulary: The extended vocabulary. If all texts are skipped,
            this vocabulary itself.
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
        """Find groups of entries that have equal texts and so equal scores.

        Entries are in one group if all their class texts, including synonyms,
        are equal. For the entries that the attribute ``published`` lists,
        only the first class text is compared. Case and repeated, leading or
        trailing blanks are ignored, because CLIP's tokenizer ignores them too.

        Returns:
            list[tuple[int, ...]]: Indices of the entries in each group of two
            or more entries, ordered by their first index.
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
