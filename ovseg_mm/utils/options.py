# SPDX-License-Identifier: Apache-2.0
"""Parser of ``--cfg-options KEY=VALUE``.

MMEngine's ``DictAction`` is not used, because it damages class texts: it
removes blanks and quotes, and splits quoted texts at commas. It also cannot
parse dicts.
"""

import argparse
import ast
import re
from collections.abc import Iterator, Sequence
from typing import Any

from .errors import InputError

_PAIRS = {'(': ')', '[': ']', '{': '}'}
_QUOTED = re.compile(
    r"[rRuU]?('''(?:[^\\]|\\.)*?'''|\"\"\"(?:[^\\]|\\.)*?\"\"\""
    r"|'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")",
    re.DOTALL,
)
_OTHER_BASE = re.compile(r'[-+]?0[xXoObB][0-9a-fA-F_]+')
_WORDS = {'true': True, 'false': False}


class KeyValues(argparse.Action):
    """Action of argparse that collects ``KEY=VALUE`` arguments in a dict.

    :func:`parse_value` parses the values. If an argument is wrong, the command
    prints one sentence and ends with exit status 2.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Add the arguments of one ``--cfg-options`` to the dict."""
        options = dict(getattr(namespace, self.dest, None) or {})
        try:
            options.update(map(key_value, values or ()))
        except InputError as error:
            parser.error(f'argument {option_string}: {error}')
        setattr(namespace, self.dest, options)


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options`` to the parser of a command."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=KeyValues,
        metavar='KEY=VALUE',
        help='settings to override in the config, as key=value; lists as '
        'key="[a,b]"; if a text contains a comma, enclose the text in '
        'quotes: key="[\'a, b\',c]"',
    )


def key_value(text: str) -> tuple[str, Any]:
    """Split an argument ``KEY=VALUE`` and parse the value.

    Args:
        text (str): Argument, such as ``'model.test_cfg.mode=whole'``.

    Returns:
        tuple[str, Any]: The key, and the value from :func:`parse_value`.

    Raises:
        InputError: If the key is missing, or :func:`parse_value` cannot parse
            the value.
    """
    key, sign, value = text.partition('=')
    if not sign or not key.strip():
        raise InputError(
            f'{text!r} is not key=value; expected an argument such as '
            'model.test_cfg.mode=whole'
        )
    try:
        return key.strip(), parse_value(value)
    except InputError as error:
        raise InputError(f'{text!r}: {error}') from error
    except RecursionError as error:
        raise InputError(
            f'{key} has too many nested brackets; use fewer of them'
        ) from error


def parse_value(text: str) -> Any:
    """Parse a value from the command line.

    - ``'a, b'`` in quotes becomes the text between the quotes.
    - ``1``, ``1e-3``, ``true`` and ``None`` become a number, bool or None.
    - ``[a,b]`` and ``a,b`` become a list, ``(a,b)`` a tuple, ``{a:b}`` a dict.
      Their elements are parsed too.
    - Any other text stays a string, without blanks at its ends.

    If a text has no blanks, no quotes and no braces, MMEngine's ``DictAction``
    gives the same value.

    Args:
        text (str): Text after ``KEY=``.

    Returns:
        Any: The value.

    Raises:
        InputError: If a bracket or quote is not closed, or a text in quotes
            or braces is malformed.
    """
    text = text.strip()
    parts = _split(text, ',')
    if len(parts) > 1:
        return [parse_value(part) for part in _without_last_empty(parts)]
    if _QUOTED.match(text):
        return _quoted(text)
    if text[:1] in _PAIRS and _closes_last(text):
        return _bracketed(text)
    return _scalar(text)


def _bracketed(text: str) -> Any:
    """Parse a text in brackets as a list, tuple or dict."""
    inside = text[1:-1].strip()
    parts = _without_last_empty(_split(inside, ',')) if inside else []
    if text[0] == '{':
        return _dict(text, parts)
    values = [parse_value(part) for part in parts]
    return tuple(values) if text[0] == '(' else values


def _dict(text: str, parts: list[str]) -> Any:
    pairs = [_split(part, ':', 1) for part in parts]
    if pairs and all(len(pair) == 1 for pair in pairs):
        # A template such as {name}, not a dict.
        return text
    if any(len(pair) == 1 for pair in pairs):
        raise InputError(f'{text} is not a dict; expected {{key: value, ...}}')
    try:
        return {parse_value(key): parse_value(value) for key, value in pairs}
    except TypeError as error:
        raise InputError(
            f'{text} has a list or dict as a key; use a text or number'
        ) from error


def _quoted(text: str) -> Any:
    found = _QUOTED.match(text)
    assert found is not None, text
    if found.end() != len(text):
        raise InputError(
            f'{text[found.end() :]!r} follows the quoted text {found[0]}; '
            'write a comma between them, or a backslash before a quote that '
            'is part of the text'
        )
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError) as error:
        raise InputError(
            f'{text} cannot be read as a text in quotes; follow the rules of '
            'Python for quotes and backslashes'
        ) from error


def _scalar(text: str) -> Any:
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            pass
    if _OTHER_BASE.fullmatch(text):
        try:
            return int(text, 0)
        except ValueError:
            return text
    if text == 'None':
        return None
    return _WORDS.get(text.lower(), text)


def _split(text: str, sign: str, times: int = -1) -> list[str]:
    """Split a text at a separator, but not inside quotes or brackets.

    Args:
        text (str): Text to split.
        sign (str): Separator, one character.
        times (int): Maximum number of splits. -1: no limit.

    Returns:
        list[str]: Parts of the text, without the separators.

    Raises:
        InputError: If a bracket or quote is not closed.
    """
    parts: list[str] = []
    opened: list[str] = []
    start = 0
    for index, char in _outside_quotes(text):
        if char in _PAIRS:
            opened.append(char)
        elif char in _PAIRS.values():
            if not opened or _PAIRS[opened.pop()] != char:
                return _whole_word(text, char)
        elif char == sign and not opened and len(parts) != times:
            parts.append(text[start:index])
            start = index + 1
    if opened:
        return _whole_word(text, opened[-1])
    return [*parts, text[start:]]


def _whole_word(text: str, bracket: str) -> list[str]:
    """Return a text with an unmatched bracket as a list of one part.

    An unmatched bracket is allowed inside a single word, such as ``a(b``.

    Args:
        text (str): Text in which a bracket has no matching bracket.
        bracket (str): The unmatched bracket, for the message.

    Returns:
        list[str]: The whole text as its only element.

    Raises:
        InputError: If the text contains a comma, begins with an opening
            bracket or ends with a closing bracket.
    """
    if ',' in text or text[0] in _PAIRS or text[-1] in _PAIRS.values():
        raise InputError(
            f'the bracket {bracket} in {text} has no matching bracket; add '
            'one, or write the text in quotes'
        )
    return [text]


def _closes_last(text: str) -> bool:
    """Whether the first bracket of a text is closed by the last character."""
    depth = 0
    for index, char in _outside_quotes(text):
        depth += (char in _PAIRS) - (char in _PAIRS.values())
        if depth == 0:
            return index == len(text) - 1
    return False


def _outside_quotes(text: str) -> Iterator[tuple[int, str]]:
    """Find the characters of a text that are not inside quotes.

    A quote opens a quoted text only at the start of the text, or after a
    comma, a colon or an opening bracket. Anywhere else, such as in
    ``potter's wheel``, it is an apostrophe.

    Args:
        text (str): Text to search.

    Yields:
        tuple[int, str]: Index of a character in ``text``, and the character.

    Raises:
        InputError: If a quote is not closed.
    """
    index, at_start = 0, True
    while index < len(text):
        char = text[index]
        if at_start and (quoted := _QUOTED.match(text, index)):
            index, at_start = quoted.end(), False
            continue
        if at_start and char in '\'"':
            raise InputError(
                f'the quote {char} before {text[index + 1 :]} is not closed; '
                f'add another {char}'
            )
        yield index, char
        at_start = char in ',:([{' or (at_start and char.isspace())
        index += 1


def _without_last_empty(parts: list[str]) -> list[str]:
    """Remove an empty last part, which a comma at the end produces."""
    return parts if parts[-1].strip() else parts[:-1]
