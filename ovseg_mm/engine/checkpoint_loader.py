# SPDX-License-Identifier: Apache-2.0
"""Checkpoint loaders for MMEngine that execute no code from the file.

MMEngine's own loaders unpickle checkpoints, which can execute code from the
file. Importing this package replaces these loaders everywhere in MMEngine:
for ``load_from``, ``resume``, ``init_cfg=dict(type='Pretrained')``,
``init_model`` and ``load_checkpoint``, also in scripts of other packages.
"""

import os
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from mmengine.dist import barrier, get_dist_info
from mmengine.fileio import get_file_backend
from mmengine.runner import (
    CheckpointLoader,
    get_deprecated_model_names,
    get_external_models,
    get_mmcls_models,
    get_torchvision_models,
)
from mmengine.runner.checkpoint import (
    _get_mmengine_home,
    _process_mmcls_checkpoint,
)

from ovseg_mm.checkpoints import read_content
from ovseg_mm.checkpoints.safe_load import MapLocation

# MMEngine's log shows the names of these functions without 'load_from_'.


def load_from_local(filename: str, map_location: MapLocation = None) -> Any:
    """Load a weight file from the local disk.

    Args:
        filename (str): Path; ``~`` is expanded.
        map_location (MapLocation): Device of the loaded tensors, as in
            ``torch.load``. None: the CPU.

    Returns:
        Any: Content of the file, usually a dict.

    Raises:
        FileNotFoundError: If the file does not exist.
        InputError: If the file is damaged, or contains objects that weight
            files do not need.
    """
    path = Path(filename).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f'{filename} does not exist; give the path of a checkpoint'
        )
    content = read_content(path, map_location or 'cpu')[1]
    meta = content.get('meta') if isinstance(content, dict) else None
    if isinstance(meta, dict):
        # When resuming, MMEngine would execute this text as Python. MMEngine
        # itself saves its config under another key.
        meta.pop('config', None)
    return content


def load_from_http(
    filename: str,
    map_location: MapLocation = None,
    model_dir: str | None = None,
    progress: bool = True,
) -> Any:
    """Load a weight file from a URL.

    The file is downloaded into a cache folder if the folder does not have
    the file yet.

    Args:
        filename (str): URL of the file.
        map_location (MapLocation): See :func:`load_from_local`.
        model_dir (str, optional): Cache folder. None: PyTorch's cache.
        progress (bool): Whether to show a progress bar.

    Returns:
        Any: Content of the file, usually a dict.
    """
    folder = Path(model_dir or Path(torch.hub.get_dir(), 'checkpoints'))
    path = folder / Path(urlparse(filename).path).name
    rank, world_size = get_dist_info()
    # Rank 0 downloads first; other ranks may use other disks.
    if rank > 0:
        barrier()
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(
            filename, str(path), progress=progress and rank == 0
        )
    if rank == 0 and world_size > 1:
        barrier()
    return load_from_local(str(path), map_location)


def load_from_torchvision(
    filename: str, map_location: MapLocation = None
) -> Any:
    """Load weights of torchvision by name, ``torchvision://NAME``."""
    url = get_torchvision_models()[filename.partition('://')[2]]
    return load_from_http(url, map_location)


def load_from_openmmlab(
    filename: str, map_location: MapLocation = None
) -> Any:
    """Load weights of OpenMMLab by name, ``open-mmlab://NAME``."""
    name = filename.partition('://')[2]
    name = get_deprecated_model_names().get(name, name)
    place = get_external_models()[name]
    if place.startswith(('http://', 'https://')):
        return load_from_http(place, map_location)
    return load_from_local(
        os.path.join(_get_mmengine_home(), place), map_location
    )


def load_from_mmcls(filename: str, map_location: MapLocation = None) -> Any:
    """Load a backbone of MMClassification by name, ``mmcls://NAME``."""
    url = get_mmcls_models()[filename.partition('://')[2]]
    return _process_mmcls_checkpoint(load_from_http(url, map_location))


def load_from_ceph(
    filename: str, map_location: MapLocation = None, backend: str = 'petrel'
) -> Any:
    """Load a weight file from an object store, ``s3://`` or ``petrel://``."""
    store = get_file_backend(filename, backend_args=dict(backend=backend))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, Path(filename).name)
        path.write_bytes(store.get(filename))
        return load_from_local(str(path), map_location)


_LOADERS = {
    ('',): load_from_local,
    ('http://', 'https://'): load_from_http,
    ('modelzoo://', 'torchvision://'): load_from_torchvision,
    ('open-mmlab://', 'openmmlab://'): load_from_openmmlab,
    ('mmcls://',): load_from_mmcls,
    (r'(\S+\:)?s3://', r'(\S+\:)?petrel://'): load_from_ceph,
}
for _prefixes, _loader in _LOADERS.items():
    CheckpointLoader.register_scheme(_prefixes, _loader, force=True)
