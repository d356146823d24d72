# SPDX-License-Identifier: Apache-2.0
"""Reading and writing of weight files."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.paths import atomic_write, expanded, to_disk

from .safe_load import MapLocation, moved, safe_torch_load
from .torchscript import read_torchscript

_FOLDER_FILES = (
    'open_clip_model.safetensors',
    'open_clip_pytorch_model.safetensors',
    'open_clip_pytorch_model.bin',
    'open_clip_pytorch_model.pth',
    'model.safetensors',
    'model.safetensors.index.json',
    'pytorch_model.bin',
    'pytorch_model.bin.index.json',
)
_EXPECTED = (
    'expected a checkpoint of torch.save, a safetensors file or a TorchScript '
    'archive'
)


class WeightFile(NamedTuple):
    """Content of a weight file.

    Attributes:
        tensors (dict[str, Tensor]): Tensors by name, on the CPU, with the
            dtypes of the file.
        path (Path): File that was read; for a folder, the weight file in it.
        kind (str): Kind of the file: ``'torch'``, ``'torchscript'`` or
            ``'safetensors'``.
        meta (dict): Entry ``meta`` of an MMEngine checkpoint; empty for other
            files.
        config (dict): Content of open_clip's or transformers' config file in
            the same folder. Empty if the weight file does not have a usual
            name, such as ``model.safetensors``.
    """

    tensors: dict[str, Tensor]
    path: Path
    kind: str
    meta: dict
    config: dict


def read_weights(path: str | Path) -> WeightFile:
    """Read the tensors of a weight file or of a model folder.

    The kind of the file is recognised by its content, not by its name. The
    tensors may be at the top level or under ``model`` or ``state_dict``. If
    all names begin with ``module.``, this prefix is removed. NumPy arrays
    become tensors.

    Args:
        path (str | Path): Weight file, or folder with a model that open_clip
            or transformers saved; ``~`` is expanded.

    Returns:
        WeightFile: Tensors by name, kind of the file, and metadata.

    Raises:
        FileNotFoundError: If the path does not exist.
        InputError: If the file is not a weight file, or is damaged.
    """
    path = expanded(path)
    if not path.exists():
        raise FileNotFoundError(
            f'{path} does not exist; give the path of a weight file'
        )
    config = {}
    if path.is_dir():
        path = _file_of_folder(path)
    if path.name in _FOLDER_FILES:
        config = _config_beside(path)
    if path.name.endswith('.index.json'):
        return _read_shards(path, config)
    kind, content = read_content(path)
    tensors = state_dict_of(content, str(path))
    return WeightFile(tensors, path, kind, _meta_of(content), config)


def read_content(
    path: Path, map_location: MapLocation = 'cpu'
) -> tuple[str, Any]:
    """Read the whole content of a weight file without running code in it.

    Args:
        path (Path): Weight file.
        map_location (str | torch.device | dict | Callable): Device of the
            tensors, as for ``torch.load``.

    Returns:
        tuple[str, Any]: Kind of the file (``'torch'``, ``'torchscript'`` or
        ``'safetensors'``), and the saved object.

    Raises:
        InputError: If the file is not a weight file, is damaged, or contains
            types that are not allowed in weight files.
    """
    kind = _kind_of(path)
    try:
        if kind == 'torch':
            return kind, safe_torch_load(path, map_location)
        read = _read_safetensors if kind == 'safetensors' else read_torchscript
        return kind, moved(read(path), map_location)
    except Exception as error:  # torch raises many types
        reason = ' '.join(str(error).split())[:300] or type(error).__name__
        raise InputError(
            f'{path} cannot be read as a {_NAMES[kind]} ({reason}): it is cut '
            'short, or contains objects other than weights; download it '
            'again, or save only its tensors'
        ) from error


def config_of_folder(folder: Path) -> dict:
    """Read the config file in the folder of a model.

    The file is ``open_clip_config.json`` or ``config.json``. If the folder has
    both, the first one is read if the name of the weight file begins with
    ``open_clip``, otherwise the second one.

    Args:
        folder (Path): Folder with a model that open_clip or transformers
            saved.

    Returns:
        dict: Content of the config file; empty if there is no config file.

    Raises:
        InputError: If the folder has no weight file, or the config file is
            not a JSON file.
    """
    return _config_beside(_file_of_folder(folder))


def check_whole(path: str | Path) -> None:
    """Check that a weight file is complete, without loading its tensors.

    Args:
        path (str | Path): Weight file.

    Raises:
        FileNotFoundError: If the file does not exist.
        InputError: If the file is not a weight file, or is incomplete or
            damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f'{path} does not exist; give the path of a weight file'
        )
    _kind_of(path)


def state_dict_of(content: object, where: str) -> dict[str, Tensor]:
    """Find the state dict in the content of a weight file.

    If all names begin with ``module.``, this prefix is removed. NumPy arrays
    become tensors.

    Args:
        content (object): State dict, or a dict that has the state dict under
            ``model`` or ``state_dict``.
        where (str): Name of the file, used in the message.

    Returns:
        dict[str, Tensor]: Tensors by name.

    Raises:
        InputError: If the content has no state dict with tensors.
    """
    state_dict = content
    for key in ('model', 'state_dict'):
        if isinstance(state_dict, Mapping) and isinstance(
            state_dict.get(key), Mapping
        ):
            state_dict = state_dict[key]
    tensors = {}
    if isinstance(state_dict, Mapping):
        for name, value in state_dict.items():
            if isinstance(value, (np.ndarray, np.number)):
                value = torch.from_numpy(np.array(value))
            if isinstance(value, Tensor):
                tensors[str(name)] = value.detach()
    if not tensors:
        raise InputError(
            f'{where} holds {_describe(content)}, expected a state dict at '
            'the top level or under "model" or "state_dict"; give a weight '
            'file'
        )
    if all(name.startswith('module.') for name in tensors):
        tensors = {
            name[len('module.') :]: tensor for name, tensor in tensors.items()
        }
    return tensors


def check_finite(tensors: Mapping[str, Tensor], where: str) -> None:
    """Check that tensors hold neither NaN nor infinity.

    Args:
        tensors (Mapping[str, Tensor]): Tensors of any dtype by name.
        where (str): Name of the file of the tensors, used in the message.

    Raises:
        InputError: If a tensor holds NaN or infinity. The message names the
            first such tensor.
    """
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or not tensor.numel():
            continue
        if (
            tensor.element_size() < 4
        ):  # half precision has no minimum on all devices
            tensor = tensor.float()
        # isfinite() makes copies and takes ten times as long.
        if not torch.stack(torch.aminmax(tensor.detach())).isfinite().all():
            count = int((~tensor.isfinite()).sum())
            raise InputError(
                f'{where} has {count} numbers that are not finite (NaN or '
                f'infinity) among the {tensor.numel()} numbers of {name}; '
                'use another file, such as an earlier checkpoint'
            )


def save_atomically(content: object, path: str | Path) -> None:
    """Save an object with ``torch.save``, never leaving an incomplete file.

    Args:
        content (object): Object to save.
        path (str | Path): File to write. An existing file is replaced only
            after the new file is complete.
    """
    with atomic_write(path) as file:
        torch.save(content, file)
        to_disk(file)


_NAMES = {
    'torch': 'PyTorch checkpoint',
    'torchscript': 'TorchScript archive',
    'safetensors': 'safetensors file',
}


def _kind_of(path: Path) -> str:
    with open(path, 'rb') as file:
        head = file.read(512)
    size = path.stat().st_size
    text = head.lstrip().lower()
    if not size:
        raise InputError(f'{path} is empty, {_EXPECTED}; download it again')
    if text.startswith((b'<!doctype', b'<html', b'<?xml')):
        raise InputError(
            f'{path} is a web page, {_EXPECTED}; open the page in a browser '
            'and use its download button'
        )
    if text.startswith(b'version https://git-lfs'):
        raise InputError(
            f'{path} is a Git LFS pointer, {_EXPECTED}; run `git lfs pull` in '
            'the repository of the file'
        )
    if len(head) > 8 and head[8:9] == b'{':
        header = int.from_bytes(head[:8], 'little')
        if 8 + header <= size:
            return 'safetensors'
        raise InputError(
            f'{path} is cut short: the safetensors header alone has {header} '
            f'bytes, but the file has only {size}; download it again'
        )
    if head.startswith(b'PK\x03\x04'):
        return _kind_of_zip(path, size)
    if head.startswith(b'\x80'):
        return 'torch'
    if path.suffix == '.py':
        raise InputError(
            f'{path} is a Python file, not a weight file; check whether the '
            'checkpoint and the config are swapped'
        )
    raise InputError(
        f'{path} begins with {head[:8]!r} and is not a weight file, '
        + _EXPECTED
    )


def _kind_of_zip(path: Path, size: int) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            # torch can save without checksums: all checksums are 0 then.
            summed = any(entry.CRC for entry in archive.infolist())
            damaged = archive.testzip() if summed else None
    except zipfile.BadZipFile:
        raise InputError(
            f'{path} is cut short or damaged: it begins like a PyTorch '
            f'checkpoint, but its {size} bytes do not contain the end of the '
            'archive; download it again'
        ) from None
    if damaged:
        raise InputError(
            f'{path} is damaged: its entry {damaged} does not match the '
            'checksum; download it again'
        )
    inner = {name.partition('/')[2] for name in names}
    if 'constants.pkl' in inner:
        return 'torchscript'
    if 'data.pkl' in inner:
        return 'torch'
    raise InputError(
        f'{path} is a zip archive of other files ({", ".join(names[:3])}), '
        f'{_EXPECTED}; unpack it and give the weight file in it'
    )


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(str(path), device='cpu')


def _file_of_folder(folder: Path) -> Path:
    for name in _FOLDER_FILES:
        if (folder / name).is_file():
            return folder / name
    raise InputError(
        f'the folder {folder} holds none of {", ".join(_FOLDER_FILES)}; give '
        'the path of the weight file itself'
    )


def _config_beside(file: Path) -> dict:
    """Read open_clip's or transformers' config in a weight file's folder."""
    names = ['open_clip_config.json', 'config.json']
    if not file.name.startswith('open_clip'):
        names.reverse()
    configs = (_read_json(file.parent / name) for name in names)
    return next(filter(None, configs), {})


def _read_shards(index: Path, config: dict) -> WeightFile:
    """Read all weight files that an index file lists."""
    shards = set(_read_json(index).get('weight_map', {}).values())
    if not shards:
        raise InputError(
            f'{index} names no weight files under "weight_map"; download the '
            'folder again'
        )
    tensors: dict[str, Tensor] = {}
    for shard in sorted(shards):
        part = read_weights(index.parent / Path(shard).name)
        tensors.update(part.tensors)
    return WeightFile(tensors, index, part.kind, {}, config)


def _read_json(path: Path) -> dict:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise InputError(
            f'{path} is not a JSON file ({error}); download it again'
        ) from None
    return content if isinstance(content, dict) else {}


def _meta_of(content: object) -> dict:
    """Return ``meta`` of an MMEngine checkpoint; empty for other files."""
    meta = content.get('meta') if isinstance(content, Mapping) else None
    return meta if isinstance(meta, dict) else {}


def _describe(content: object) -> str:
    if isinstance(content, Mapping):
        keys = ', '.join(str(key) for key in list(content)[:4])
        return f'a dict with the keys {keys}' if keys else 'an empty dict'
    return f'a {type(content).__name__}'
