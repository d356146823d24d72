# SPDX-License-Identifier: Apache-2.0
"""Reading of TorchScript archives without running their code.

``torch.jit.load`` runs code of the archive, such as ``__setstate__`` of its
modules. The functions here unpickle the attributes of these modules instead.
They do not run the code in the archive. They only search its text for the
names and types of the attributes.
"""

import pickle
import re
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from .safe_load import ArchiveUnpickler

_CLASS = re.compile(r'^class (\w+)\((.*)\):\s*$')
# ``name : type``, or ``__annotations__["0"] = type`` for other names.
_ATTRIBUTE = re.compile(
    r'^  (?:(\w+) :|__annotations__\["(.+)"\] =) (.+?)\s*$'
)
_NAMES = re.compile(r'^  __(parameters|buffers)__ = \[(.*)\]\s*$')
_DEEPEST = 100


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """Read the parameters and buffers of a TorchScript archive.

    Args:
        path (Path): File that ``torch.jit.save`` wrote.

    Returns:
        dict[str, Tensor]: Tensors by name, on the CPU, the same as in
        ``torch.jit.load(path).state_dict()``.

    Raises:
        pickle.UnpicklingError: If the archive is damaged, or if a module
            defines ``__setstate__``. The attributes of such a module are not
            known without running its code.
    """
    with zipfile.ZipFile(path) as archive:
        unpickler = _ScriptUnpickler(archive)
        root = unpickler.load()
        classes = _read_classes(archive, f'{unpickler.root}code/')
    if not isinstance(root, _ScriptObject):
        raise pickle.UnpicklingError(
            f'the file contains a {type(root).__name__}, expected a module'
        )
    tensors: dict[str, Tensor] = {}
    _collect(root, classes, '', tensors, _DEEPEST)
    return tensors


class _ScriptObject:
    """Placeholder for an object of a class that the archive defines."""

    qualified_name = ''
    state: object = None

    def __init__(self, *args: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        self.state = state


class _ScriptUnpickler(ArchiveUnpickler):
    """Unpickler that also accepts the types of TorchScript archives."""

    def find_class(self, module: str, name: str) -> Any:
        """Return the type with this name.

        For a class whose code is in the archive, return a placeholder.
        """
        if module.split('.')[0] == '__torch__':
            names = dict(qualified_name=f'{module}.{name}')
            return type('_ScriptClass', (_ScriptObject,), names)
        if module == 'torch.jit._pickle':
            # They only give the type of a list or a dict.
            return _first
        if (module, name) == ('torch', 'device'):
            return _first
        return super().find_class(module, name)


def _first(value: object, *types: object) -> object:
    return value


@dataclass
class _Class:
    """Declaration of a class in the code of a TorchScript archive.

    Attributes:
        is_module (bool): Whether the class is a module.
        names (dict[str, list[str]]): Names of the parameters under
            ``'parameters'``, and of the buffers under ``'buffers'``.
        types (dict[str, str]): Declared types by attribute name.
        sets_state (bool): Whether the class defines ``__setstate__``.
    """

    is_module: bool = False
    names: dict[str, list[str]] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    sets_state: bool = False


def _read_classes(archive: zipfile.ZipFile, folder: str) -> dict[str, _Class]:
    """Read the declarations of the classes in a folder of an archive."""
    classes: dict[str, _Class] = {}
    for entry in archive.namelist():
        if not entry.startswith(folder) or not entry.endswith('.py'):
            continue
        module = entry[len(folder) : -len('.py')].replace('/', '.')
        current = _Class()
        for line in archive.read(entry).decode('utf-8').splitlines():
            if found := _CLASS.match(line):
                current = _Class(is_module=found[2] == 'Module')
                classes[f'{module}.{found[1]}'] = current
            elif found := _NAMES.match(line):
                names = re.findall(r'"(.*?)"', found[2])
                current.names[found[1]] = names
            elif found := _ATTRIBUTE.match(line):
                current.types[found[1] or found[2]] = found[3]
            elif line.startswith('  def __setstate__('):
                current.sets_state = True
    return classes


def _collect(
    owner: _ScriptObject,
    classes: dict[str, _Class],
    prefix: str,
    tensors: dict[str, Tensor],
    depth: int,
) -> None:
    """Add the tensors of a module and its children to ``tensors``.

    Args:
        owner (_ScriptObject): The module.
        classes (dict[str, _Class]): Class declarations by qualified name.
        prefix (str): Prefix of the tensor names, with a dot at the end.
        tensors (dict[str, Tensor]): Result, tensors by name, in the order of
            torch's ``state_dict``.
        depth (int): Largest accepted number of module levels below
            ``owner``.

    Raises:
        pickle.UnpicklingError: If a module defines ``__setstate__``, or the
            modules are nested too deeply.
    """
    kind = classes.get(owner.qualified_name, _Class())
    if kind.sets_state or not isinstance(owner.state, dict):
        raise pickle.UnpicklingError(
            f'the module {prefix.rstrip(".") or "at the root"} cannot be '
            f'read, because its class {owner.qualified_name} defines '
            '__setstate__ and code in a weight file is never run'
        )
    if not depth:
        raise pickle.UnpicklingError(
            f'the modules of the file are nested in more than {_DEEPEST} '
            'levels, which is not allowed in weight files'
        )
    for group in ('parameters', 'buffers'):
        for name in owner.state:
            value = owner.state[name]
            # Optional buffers are not in a state dict.
            if (
                name in kind.names.get(group, ())
                and isinstance(value, Tensor)
                and (group == 'parameters' or kind.types.get(name) == 'Tensor')
            ):
                tensors[prefix + name] = value.detach()
    for name, value in owner.state.items():
        if (
            isinstance(value, _ScriptObject)
            and classes.get(value.qualified_name, _Class()).is_module
        ):
            _collect(value, classes, f'{prefix}{name}.', tensors, depth - 1)
