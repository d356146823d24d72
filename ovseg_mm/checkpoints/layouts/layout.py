# SPDX-License-Identifier: Apache-2.0
"""Base class and registry of the layouts of published checkpoints."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar, TypeVar

from torch import Tensor

from ovseg_mm.utils.errors import InputError

from ..rename import Renamed, Table, rename


class Layout:
    """Layout of a kind of published checkpoint.

    A layout knows the tensor names in the file, and how to rename the tensors
    to the names in our models. A new layout is a sub-class that is registered
    with ``@LAYOUTS.register``. Checkpoints that this package has written need
    no layout, because their tensors already have these names.

    Attributes:
        name (str): Short unique name, stored in converted checkpoints.
        method (str): Name of the segmentation method, used in messages.
        signature (tuple[str, ...]): Regular expressions by which a file is
            recognised. The file has this layout if each expression matches
            the whole name of at least one tensor, and ``without`` matches no
            tensor name.
        without (str): Regular expression of tensor names that never occur in
            files of this layout.
        table (Table): Renaming table from the tensor names in the file to the
            names in our models, see :func:`ovseg_mm.checkpoints.rename`.
        vocabulary (str, optional): Key of the vocabulary in this package with
            which the published weights were trained. None: unknown.
    """

    name: ClassVar[str]
    method: ClassVar[str]
    signature: ClassVar[tuple[str, ...]]
    without: ClassVar[str] = ''
    table: ClassVar[Table] = ()
    vocabulary: ClassVar[str | None] = None

    def prepare(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Join or expand tensors before they are renamed.

        Args:
            tensors (Mapping[str, Tensor]): Tensors by their names in the
                file.

        Returns:
            Mapping[str, Tensor]: Tensors by the names that the renaming table
            expects; by default ``tensors`` itself.
        """
        return tensors

    def rows(self, names: Iterable[str]) -> Table:
        """Return the table that renames the tensors of a file.

        Args:
            names (Iterable[str]): Names of the tensors from :meth:`prepare`.
                A table can depend on them, for example on the number of
                layers.

        Returns:
            Table: Renaming table; by default the attribute ``table``.
        """
        return self.table

    def matches(self, names: Iterable[str]) -> bool:
        """Return whether a file with these tensor names has this layout."""
        names = list(names)
        if any(re.fullmatch(self.without, name) for name in names):
            return False
        return all(
            any(re.fullmatch(pattern, name) for name in names)
            for pattern in self.signature
        )

    def convert(self, tensors: Mapping[str, Tensor]) -> Renamed:
        """Rename the tensors of a file to the names of our models."""
        tensors = self.prepare(tensors)
        return rename(tensors, self.rows(tensors))


LayoutType = TypeVar('LayoutType', bound=type[Layout])


class LayoutRegistry:
    """Registry of checkpoint layouts; other packages can add layouts."""

    def __init__(self) -> None:
        self._layouts: dict[str, Layout] = {}

    def register(self, layout: LayoutType) -> LayoutType:
        """Register a layout. Use this method as a class decorator.

        Args:
            layout (LayoutType): Sub-class of :class:`Layout`.

        Returns:
            LayoutType: The same class.

        Raises:
            TypeError: If ``layout`` is not a sub-class of :class:`Layout`, or
                lacks ``name``, ``method`` or ``signature``.
            ValueError: If another class with the same ``name`` is registered.
        """
        if not (isinstance(layout, type) and issubclass(layout, Layout)):
            raise TypeError(f'{layout!r} must be a sub-class of Layout')
        for attribute in ('name', 'method', 'signature'):
            if not getattr(layout, attribute, None):
                raise TypeError(
                    f'{layout.__name__} lacks the class attribute '
                    f'{attribute}; add it'
                )
        if isinstance(layout.signature, str):
            raise TypeError(
                f'{layout.__name__}.signature is a string; write a tuple of '
                'strings'
            )
        known = self._layouts.get(layout.name)
        # Importing a module again defines the same class again.
        if known is not None and _path_of(type(known)) != _path_of(layout):
            raise ValueError(
                f'{layout.__name__}.name={layout.name!r} is already the name '
                f'of {_path_of(type(known))}; choose another name'
            )
        self._layouts.pop(layout.name, None)
        self._layouts[layout.name] = layout()
        return layout

    def find(self, names: Iterable[str]) -> Layout | None:
        """Find the layout of a file.

        Args:
            names (Iterable[str]): Names of the tensors in the file.

        Returns:
            Layout | None: Layout whose ``signature`` matches. If several
            layouts match, the layout with the most expressions in its
            signature; if several have equally many, the layout that was
            registered last. None if no layout matches.
        """
        names = list(names)
        found = [layout for layout in self if layout.matches(names)]
        longest = max((len(layout.signature) for layout in found), default=0)
        found = [f for f in found if len(f.signature) == longest]
        return found[-1] if found else None

    def __getitem__(self, name: str) -> Layout:
        return self._layouts[name]

    def __iter__(self) -> Iterator[Layout]:
        return iter(self._layouts.values())

    def __len__(self) -> int:
        return len(self._layouts)


LAYOUTS = LayoutRegistry()
"""Registry of all known checkpoint layouts."""


def recognise(names: Iterable[str], where: str = 'the checkpoint') -> Layout:
    """Find the layout of a published checkpoint, or raise.

    Args:
        names (Iterable[str]): Names of the tensors in the checkpoint. A state
            dict can be passed, since its keys are the names.
        where (str): Name of the checkpoint, used in the message.

    Returns:
        Layout: Layout that :meth:`LayoutRegistry.find` returns.

    Raises:
        InputError: If no layout matches.
    """
    names = list(names)
    layout = LAYOUTS.find(names)
    if layout is not None:
        return layout
    known = '; '.join(dict.fromkeys(layout.method for layout in LAYOUTS))
    raise InputError(
        f'{where} has no known layout: its {len(names)} tensors begin with '
        f'{", ".join(names[:3]) or "nothing"}; use a checkpoint of one of '
        f'these methods: {known}'
    )


def _path_of(kind: type) -> str:
    return f'{kind.__module__}.{kind.__qualname__}'
