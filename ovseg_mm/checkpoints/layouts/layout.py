# SPDX-License-Identifier: Apache-2.0
"""Layouts of published checkpoints, and the registry that holds them."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar, TypeVar

from torch import Tensor

from ovseg_mm.utils.errors import InputError

from ..rename import Renamed, Table, rename


class Layout:
    """Tensor names of one kind of published checkpoint.

    Sub-class it and register the sub-class with ``@LAYOUTS.register``.
    Checkpoints that this package has written need no layout: they have the
    names and shapes of the model.

    Attributes:
        name (str): Short unique name, stored in converted checkpoints.
        method (str): Name of the method, for messages.
        signature (tuple[str, ...]): Regular expressions. A file has this
            layout if each of them matches the whole name of a tensor, and
            ``without`` matches no name.
        without (str): Regular expression of names that such a file lacks.
        table (Table): Rows for :func:`ovseg_mm.checkpoints.rename` that give
            the names of our models (``backbone.``, ``text_encoder.``,
            ``neck.``, ``decode_head.``).
        vocabulary (str, optional): Key of the shipped vocabulary that the
            published weights were trained with.
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
            tensors (Mapping[str, Tensor]): Tensors by the names of the file.

        Returns:
            Mapping[str, Tensor]: Tensors by the names that :meth:`rows`
            knows. By default the same tensors.
        """
        return tensors

    def rows(self, names: Iterable[str]) -> Table:
        """Return the rows of the renaming table.

        Args:
            names (Iterable[str]): Tensor names, for tables that depend on the
                number of layers.

        Returns:
            Table: By default ``table``.
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
        """Rename the tensors of a file of this layout to our names."""
        tensors = self.prepare(tensors)
        return rename(tensors, self.rows(tensors))


LayoutType = TypeVar('LayoutType', bound=type[Layout])


class LayoutRegistry:
    """Registry of layouts; other packages can register layouts too."""

    def __init__(self) -> None:
        self._layouts: dict[str, Layout] = {}

    def register(self, layout: LayoutType) -> LayoutType:
        """Register a sub-class of :class:`Layout`; used as a decorator.

        Args:
            layout (LayoutType): Class to register.

        Returns:
            LayoutType: The same class.

        Raises:
            TypeError: If it is not a layout or lacks an attribute.
            ValueError: If another class has registered the same name.
        """
        if not (isinstance(layout, type) and issubclass(layout, Layout)):
            raise TypeError(f'{layout!r} is not a sub-class of Layout')
        for attribute in ('name', 'method', 'signature'):
            if not getattr(layout, attribute, None):
                raise TypeError(
                    f'{layout.__name__} needs the class attribute {attribute}'
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
                f'{layout.__name__}.name={layout.name!r} is the name of '
                f'{_path_of(type(known))}; choose another one'
            )
        self._layouts.pop(layout.name, None)
        self._layouts[layout.name] = layout()
        return layout

    def find(self, names: Iterable[str]) -> Layout | None:
        """Find the layout of a file.

        Args:
            names (Iterable[str]): Tensor names.

        Returns:
            Layout | None: The matching layout with the longest signature; if
            there are several, the one that was registered last. None if
            none matches.
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
"""The known layouts."""


def recognise(names: Iterable[str], where: str = 'the checkpoint') -> Layout:
    """Find the layout of a published checkpoint.

    Args:
        names (Iterable[str]): Tensor names, for example a state dict.
        where (str): Name of the checkpoint in the message.

    Returns:
        Layout: See :meth:`LayoutRegistry.find`.

    Raises:
        InputError: If no layout matches.
    """
    names = list(names)
    layout = LAYOUTS.find(names)
    if layout is not None:
        return layout
    known = ', '.join(dict.fromkeys(layout.method for layout in LAYOUTS))
    raise InputError(
        f'{where} has no known layout (known are those of {known}): its '
        f'{len(names)} tensors begin with {", ".join(names[:3]) or "nothing"}'
    )


def _path_of(kind: type) -> str:
    return f'{kind.__module__}.{kind.__qualname__}'
