# SPDX-License-Identifier: Apache-2.0
"""Reading of PyTorch's pickle files without running code in them."""

import codecs
import importlib
import io
import pickle
import re
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.utils import apply_to, digit_version
from torch import Tensor
from torch.storage import TypedStorage, UntypedStorage

# NumPy 2 has renamed numpy.core.
_core = 'numpy.core' if np.__version__.startswith('1.') else 'numpy._core'
_multiarray = importlib.import_module(f'{_core}.multiarray')


MapLocation = Any
"""Argument ``map_location`` of ``torch.load``."""


class _Ignored:
    """Placeholder for a pickled object that is not a weight."""

    def __init__(self, *args: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


class _History:
    """Placeholder for a pickled ``HistoryBuffer`` of MMEngine's log."""

    state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state


def _ignored(*args: object) -> None:
    """Do nothing, in place of a pickled function that weights do not need."""


# Files of detectron2 contain NumPy arrays and scalars. Files of MMEngine
# contain the histories of its log, other files the command-line options.
_ALLOWED = {
    'mmengine.logging.history_buffer.HistoryBuffer': _History,
    'argparse.Namespace': _Ignored,
    'builtins.getattr': _ignored,
    'builtins.slice': slice,
    '_codecs.encode': codecs.encode,
    'numpy.ndarray': np.ndarray,
    'numpy.dtype': np.dtype,
    **{
        f'numpy.{core}.multiarray.{function.__name__}': function
        for core in ('core', '_core')
        for function in (_multiarray._reconstruct, _multiarray.scalar)
    },
    **{
        f'numpy.dtypes.{type(np.dtype(name)).__name__}': type(np.dtype(name))
        for name in (
            *('float16', 'float32', 'float64', 'bool'),
            *('int8', 'int16', 'int32', 'int64', 'uint8', 'uint16', 'uint32'),
        )
    },
}


# First bytes of files in the old format of torch.save.
_LEGACY_MAGIC = b'\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19'


def safe_torch_load(path: Path, map_location: MapLocation = 'cpu') -> object:
    """Load a file of ``torch.save`` or ``pickle.dump`` without running code.

    The file may contain tensors, plain containers, NumPy arrays and scalars,
    ``HistoryBuffer`` objects of MMEngine's log, and ``argparse.Namespace``
    objects. Each ``argparse.Namespace`` is replaced by an empty placeholder.
    Any other type is an error.

    Args:
        path (Path): File to load.
        map_location (str | torch.device | dict | Callable): Device of the
            tensors, as for ``torch.load``. A dict or a function needs torch
            2.6 or later.

    Returns:
        object: Saved object.

    Raises:
        pickle.UnpicklingError: If the file contains a type that is not
            allowed.
    """
    with open(path, 'rb') as file:
        head = file.read(32)
        if head.startswith(b'\x80') and _LEGACY_MAGIC not in head:
            # A plain pickle, such as detectron2's ImageNet backbones.
            file.seek(0)
            content = ListedUnpickler(file, encoding='latin1').load()
        elif digit_version(torch.__version__) >= digit_version('2.6.0'):
            content = _load_weights_only(path, map_location)
        elif head.startswith(b'PK'):
            content = read_archive(path)
        else:
            content = _load_legacy(path)
    return with_histories(moved(content, map_location))


def read_archive(path: Path) -> object:
    """Read a zip archive of ``torch.save`` without ``torch.load``.

    Args:
        path (Path): Archive to read.

    Returns:
        object: Saved object, with tensors on the CPU.

    Raises:
        pickle.UnpicklingError: If the archive contains a type that
            :func:`safe_torch_load` does not accept.
    """
    with zipfile.ZipFile(path) as archive:
        return ArchiveUnpickler(archive).load()


def moved(content: object, map_location: MapLocation) -> object:
    """Move the tensors in an object to the device ``map_location``.

    If ``map_location`` is a dict or a function, the object is returned
    unchanged, because only ``torch.load`` can apply it.
    """
    if not isinstance(map_location, (str, torch.device)):
        return content
    device = torch.device(map_location)
    if device.type == 'cpu':
        return content
    return apply_to(
        content, lambda x: isinstance(x, Tensor), lambda x: x.to(device)
    )


def with_histories(content: object) -> object:
    """Replace the placeholders in the log of an MMEngine checkpoint.

    A placeholder is replaced by the ``HistoryBuffer`` that it stands for.
    The checkpoint is changed in place. If ``content`` is not an MMEngine
    checkpoint, it is returned unchanged.
    """
    hub = content.get('message_hub') if isinstance(content, dict) else None
    scalars = hub.get('log_scalars') if isinstance(hub, dict) else None
    if isinstance(scalars, dict):
        for key, value in scalars.items():
            if isinstance(value, _History):
                scalars[key] = _history_of(value.state)
    return content


class ListedUnpickler(pickle.Unpickler):
    """Unpickler that accepts only a fixed list of types."""

    def find_class(self, module: str, name: str) -> Any:
        """Return the type with this name; raise if it is not accepted."""
        from torch._weights_only_unpickler import _get_allowed_globals

        # torch.save writes the names of Python 2.
        full_name = f'{module}.{name}'.replace('__builtin__', 'builtins')
        allowed = {**_get_allowed_globals(), **_ALLOWED}
        if full_name not in allowed:
            raise refusal(full_name)
        return allowed[full_name]


class ArchiveUnpickler(ListedUnpickler):
    """Unpickler for a zip archive of ``torch.save``.

    Args:
        archive (ZipFile): Open archive with the pickle ``NAME/data.pkl`` and
            the tensor data ``NAME/data/*``.
    """

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        (pickled,) = (
            name
            for name in archive.namelist()
            if name.partition('/')[2] == 'data.pkl'
        )
        self.root = pickled.removesuffix('data.pkl')
        self._storages: dict[str, UntypedStorage] = {}
        super().__init__(io.BytesIO(archive.read(pickled)), encoding='utf-8')

    def persistent_load(self, pid: tuple) -> TypedStorage:
        """Return the storage with this id. The first call reads its data."""
        kind, storage_type, key, _, numel = pid
        if kind != 'storage':
            raise pickle.UnpicklingError(
                f'data.pkl refers to {kind!r}, expected a tensor storage'
            )
        dtype = getattr(storage_type, 'dtype', torch.uint8)
        if key not in self._storages:
            self._storages[key] = self._read(str(key), numel * dtype.itemsize)
        return TypedStorage(
            wrap_storage=self._storages[key], dtype=dtype, _internal=True
        )

    def _read(self, key: str, size: int) -> UntypedStorage:
        entry = self._archive.getinfo(f'{self.root}data/{key}')
        if entry.file_size != size:
            raise pickle.UnpicklingError(
                f'{entry.filename} has {entry.file_size} bytes, expected '
                f'{size}'
            )
        if not size:
            return UntypedStorage(0)
        content = bytearray(size)
        with self._archive.open(entry) as file:
            # The type stubs do not know that open() gives a buffered reader.
            filled = cast(io.BufferedIOBase, file).readinto(content)
        if filled != size:
            raise pickle.UnpicklingError(f'{entry.filename} is cut short')
        return torch.frombuffer(content, dtype=torch.uint8).untyped_storage()


def refusal(name: str) -> pickle.UnpicklingError:
    """Return the error for a pickled type that is not allowed."""
    return pickle.UnpicklingError(
        f'the file contains the type {name}, which is not allowed in weight '
        'files'
    )


def _load_weights_only(path: Path, map_location: MapLocation) -> object:
    allowed: list[Any] = [(value, name) for name, value in _ALLOWED.items()]
    with torch.serialization.safe_globals(allowed):
        try:
            return torch.load(
                path, map_location=map_location, weights_only=True
            )
        except pickle.UnpicklingError as error:
            # The message of torch ends with the advice to load unsafely.
            found = re.search(r'GLOBAL (\S+)', str(error))
            if not found:
                raise
            raise refusal(found[1]) from None


def _load_legacy(path: Path) -> object:
    """Load a file in the format of torch 1.5 and older.

    This function is used if the installed torch is older than 2.6.
    """
    module = SimpleNamespace(
        Unpickler=ListedUnpickler,
        load=lambda file, **kwargs: ListedUnpickler(file, **kwargs).load(),
        loads=lambda data, **kwargs: ListedUnpickler(
            io.BytesIO(data), **kwargs
        ).load(),
        __name__=__name__,
    )
    return torch.load(path, map_location='cpu', pickle_module=module)


def _history_of(state: object) -> HistoryBuffer:
    """Build a ``HistoryBuffer`` from its pickled state."""
    state = state if isinstance(state, dict) else {}
    kept = [
        np.asarray(state.get(name, ()), dtype=float)
        for name in ('_log_history', '_count_history')
    ]
    return HistoryBuffer(*kept)
