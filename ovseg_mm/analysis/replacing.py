# SPDX-License-Identifier: Apache-2.0
"""Replace attributes of an object for a while."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Replace an attribute while the ``with`` block runs.

    Args:
        owner (Any): Object, class or module that has the attribute.
        name (str): Name of the attribute.
        value (Any): New value.

    Yields:
        None: While the attribute is replaced.
    """
    had_own = name in vars(owner)
    original = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if had_own:
            setattr(owner, name, original)
        else:
            delattr(owner, name)
