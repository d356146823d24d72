# SPDX-License-Identifier: Apache-2.0
"""Reading of torch pickles without running what they may hold."""

import codecs
import io
import pickle
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from mmengine.utils import digit_version

try:
    from numpy._core.multiarray import _reconstruct, scalar
except ImportError:  # NumPy 1
    from numpy.core.multiarray import _reconstruct, scalar


class _Ignored:
    """Takes the place of an object that is no weight."""

    def __init__(self, *args: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def _ignored(*args: object) -> None:
    """Take the place of a function that makes no weight."""


# detectron2's files hold NumPy arrays and scalars, MMEngine's the histories
# of its log, which nobody needs here.
_ALLOWED = {
    'mmengine.logging.history_buffer.HistoryBuffer': _Ignored,
    'builtins.getattr': _ignored,
    'builtins.slice': slice,
    '_codecs.encode': codecs.encode,
    'numpy.ndarray': np.ndarray,
    'numpy.dtype': np.dtype,
    **{
        f'numpy.{core}.multiarray.{function.__name__}': function
        for core in ('core', '_core')
        for function in (_reconstruct, scalar)
    },
    **{
        f'numpy.dtypes.{type(np.dtype(name)).__name__}': type(np.dtype(name))
        for name in (
            *('float16', 'float32', 'float64', 'bool'),
            *('int8', 'int16', 'int32', 'int64', 'uint8', 'uint16', 'uint32'),
        )
    },
}


# The number that torch.save, in its old format, begins with.
_LEGACY_MAGIC = b'\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19'


def safe_torch_load(path: Path) -> object:
    """Load what ``torch.save`` or ``pickle.dump`` wrote, on the CPU.

    Only tensors, plain containers, NumPy arrays and scalars are built;
    MMEngine's log histories come out as placeholders.

    Args:
        path (Path): The file.

    Returns:
        object: What was saved.

    Raises:
        pickle.UnpicklingError: If the file holds anything else.
    """
    with open(path, 'rb') as file:
        head = file.read(32)
        if head.startswith(b'\x80') and _LEGACY_MAGIC not in head:
            # A plain pickle, such as detectron2's ImageNet backbones.
            file.seek(0)
            return _ListedUnpickler(file, encoding='latin1').load()
    if digit_version(torch.__version__) >= digit_version('2.6.0'):
        allowed = [(value, name) for name, value in _ALLOWED.items()]
        with torch.serialization.safe_globals(allowed):
            try:
                return torch.load(path, map_location='cpu', weights_only=True)
            except pickle.UnpicklingError as error:
                # torch's own message ends in advice to load unsafely.
                found = re.search(r'GLOBAL (\S+)', str(error))
                if not found:
                    raise
                raise _refusal(found[1]) from None
    # Before, weights_only cannot be told of further types: the same list
    # goes into an unpickler that refuses all other names.
    module = SimpleNamespace(
        Unpickler=_ListedUnpickler,
        load=lambda file, **kwargs: _ListedUnpickler(file, **kwargs).load(),
        loads=lambda data, **kwargs: _ListedUnpickler(
            io.BytesIO(data), **kwargs
        ).load(),
        __name__=__name__,
    )
    return torch.load(path, map_location='cpu', pickle_module=module)


class _ListedUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        from torch._weights_only_unpickler import _get_allowed_globals

        # torch.save writes the names of Python 2.
        full_name = f'{module}.{name}'.replace('__builtin__', 'builtins')
        allowed = {**_get_allowed_globals(), **_ALLOWED}
        if full_name not in allowed:
            raise _refusal(full_name)
        return allowed[full_name]


def _refusal(name: str) -> pickle.UnpicklingError:
    return pickle.UnpicklingError(
        f'it names {name}, which is not among the types of a weight file'
    )
