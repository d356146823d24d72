# SPDX-License-Identifier: Apache-2.0
"""Names of the arguments that a class or function accepts."""

import ast
import inspect
import textwrap
from collections.abc import Callable
from functools import cache

_NAMED = (
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.KEYWORD_ONLY,
)


@cache
def accepted_arguments(target: Callable) -> frozenset[str] | None:
    """Names of the arguments that a class or function accepts.

    If a constructor only passes its ``**kwargs`` to the base class, the
    arguments of the base class are included.

    Args:
        target (Callable): Class or function.

    Returns:
        frozenset[str] | None: The names; None if any name is accepted, or if
        the names cannot be determined.
    """
    if not inspect.isclass(target):
        names, rest = _parameters(target)
        return None if rest else names
    if '__new__' in vars(target):
        return None
    accepted: set[str] = set()
    for base in inspect.getmro(target):
        if base is object:
            return frozenset(accepted)
        init = vars(base).get('__init__')
        if init is None:
            continue
        names, rest = _parameters(init)
        if names is None:
            return None
        accepted |= names - {'self'}
        if rest is None:
            return frozenset(accepted)
        if not _only_hands_on(init, rest):
            return None
    return frozenset(accepted)


@cache
def named_arguments(target: Callable) -> frozenset[str]:
    """Names of the arguments in the signatures of a class and its bases.

    ``**kwargs`` in a signature adds no names.

    Args:
        target (Callable): Class or function.

    Returns:
        frozenset[str]: The names, without ``self``.
    """
    if not inspect.isclass(target):
        return _parameters(target)[0] or frozenset()
    inits = [vars(base).get('__init__') for base in inspect.getmro(target)]
    names = [_parameters(init)[0] for init in inits[:-1] if init is not None]
    return frozenset().union(*filter(None, names)) - {'self'}


@cache
def optional_arguments(target: Callable) -> frozenset[str]:
    """Names of the arguments that have a default value.

    Args:
        target (Callable): Class or function.

    Returns:
        frozenset[str]: The names.
    """
    parameters = inspect.signature(target).parameters.values()
    return frozenset(p.name for p in parameters if p.default is not p.empty)


def _parameters(
    function: Callable,
) -> tuple[frozenset[str] | None, str | None]:
    """Return the names of the arguments, and the name of ``**kwargs``.

    The names are None for a function written in C. The name of ``**kwargs``
    is None if the function has no ``**kwargs``.
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # written in C
        return None, None
    names = frozenset(p.name for p in parameters if p.kind in _NAMED)
    rest = [p.name for p in parameters if p.kind is p.VAR_KEYWORD]
    return names, rest[0] if rest else None


def _only_hands_on(init: Callable, rest: str) -> bool:
    """Whether ``**kwargs`` is only used in ``super().__init__(**kwargs)``."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(init)))
    except (OSError, TypeError, SyntaxError):
        return False
    uses = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and node.id == rest
    ]
    handed_on = [
        keyword.value
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and ast.unparse(call.func).endswith('__init__')
        and ast.unparse(call.func).startswith('super(')
        for keyword in call.keywords
        if keyword.arg is None
    ]
    return len(uses) == 1 and uses[0] in handed_on
