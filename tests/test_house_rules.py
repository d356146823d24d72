# SPDX-License-Identifier: Apache-2.0
"""Sizes and imports that keep the source readable."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import ovseg_mm

PACKAGE = Path(ovseg_mm.__file__).parent
FILES = {
    path.relative_to(PACKAGE): path.read_text(encoding='utf-8')
    for path in PACKAGE.rglob('*.py')
}


def functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    for path, text in FILES.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                yield f'{path}:{node.lineno} {node.name}', node


def test_files_have_at_most_400_lines():
    lines = {str(path): text.count('\n') for path, text in FILES.items()}
    assert {path: n for path, n in lines.items() if n > 400} == {}


def test_functions_have_at_most_60_lines_beside_their_docstring():
    lines = {}
    for name, node in functions():
        lines[name] = node.end_lineno - node.lineno + 1
        if ast.get_docstring(node):
            doc = node.body[0]
            lines[name] -= doc.end_lineno - doc.lineno + 1
    assert {name: n for name, n in lines.items() if n > 60} == {}


def test_functions_and_constructors_take_at_most_15_arguments():
    counts = {}
    for name, node in functions():
        given = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
        counts[name] = sum(arg.arg not in ('self', 'cls') for arg in given)
    assert {name: n for name, n in counts.items() if n > 15} == {}


def test_modules_import_no_private_names_of_each_other():
    private = []
    for path, text in FILES.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and (
                node.level or (node.module or '').startswith('ovseg_mm')
            ):
                private += [
                    f'{path}: {alias.name}'
                    for alias in node.names
                    if re.match('_[^_]', alias.name)
                ]
    assert private == []
