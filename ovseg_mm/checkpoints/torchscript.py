# SPDX-License-Identifier: Apache-2.0
"""Reading of TorchScript archives without running them.

``torch.jit.load`` runs what an archive says, such as the ``__setstate__`` of
its modules. Here the pickled attributes of the modules are read, and of the
code only the names and types of attributes, as text.
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
    """Parameters and buffers of a TorchScript archive.

    Args:
        path (Path): What ``torch.jit.save`` wrote.

    Returns:
        dict[str, Tensor]: What ``torch.jit.load(path).state_dict()`` gives,
        on the CPU.

    Raises:
        pickle.UnpicklingError: If a module has a ``__setstate__``, without
            which nobody knows its attributes, or the archive is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        unpickler = _ScriptUnpickler(archive)
        root = unpickler.load()
        classes = _read_classes(archive, f'{unpickler.root}code/')
    if not isinstance(root, _ScriptObject):
        raise pickle.UnpicklingError(
            f'it holds a {type(root).__name__}, not a module'
        )
    tensors: dict[str, Tensor] = {}
    _collect(root, classes, '', tensors, _DEEPEST)
    return tensors


class _ScriptObject:
    """An object of a class that the archive itself defines."""

    qualified_name = ''
    state: object = None

    def __init__(self, *args: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        self.state = state


class _ScriptUnpickler(ArchiveUnpickler):
    """Knows the types that TorchScript adds to those of a checkpoint."""

    def find_class(self, module: str, name: str) -> Any:
        """Look a name up; classes of the archive are made up."""
        if module.split('.')[0] == '__torch__':
            names = dict(qualified_name=f'{module}.{name}')
            return type('_ScriptClass', (_ScriptObject,), names)
        if module == 'torch.jit._pickle':
            # They say which type a list or a dict has.
            return _first
        if (module, name) == ('torch', 'device'):
            return _first
        return super().find_class(module, name)


def _first(value: object, *types: object) -> object:
    return value


@dataclass
class _Class:
    """What the code of an archive says of a class.

    Attributes:
        is_module (bool): Whether its objects are modules.
        names (dict[str, list[str]]): Of ``parameters`` and ``buffers``.
        types (dict[str, str]): Of the attributes.
        sets_state (bool): Whether it has a ``__setstate__``.
    """

    is_module: bool = False
    names: dict[str, list[str]] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    sets_state: bool = False


def _read_classes(archive: zipfile.ZipFile, folder: str) -> dict[str, _Class]:
    """Read what the code in a folder says of its classes, by their names."""
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
    """Add the tensors of a module and of those in it, in torch's order."""
    kind = classes.get(owner.qualified_name, _Class())
    if kind.sets_state or not isinstance(owner.state, dict):
        raise pickle.UnpicklingError(
            f'its module {prefix.rstrip(".") or "at the root"} is a '
            f'{owner.qualified_name} with a __setstate__ of its own, which '
            'would have to be run'
        )
    if not depth:
        raise pickle.UnpicklingError('its modules contain one another')
    for group in ('parameters', 'buffers'):
        for name in owner.state:
            value = owner.state[name]
            # Buffers that may be None are not in a state.
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
