# SPDX-License-Identifier: Apache-2.0
"""Loaders of checkpoints for MMEngine that execute no code of a file.

MMEngine reads checkpoints with pickle, and falls back to unsafe loading
where PyTorch refuses a file. With this package imported ``load_from``,
``resume``, ``init_cfg=dict(type='Pretrained')``, ``init_model`` and
``load_checkpoint`` use these loaders, in scripts of other packages too.
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

# MMEngine logs the names of these functions from the tenth letter.


def load_from_local(filename: str, map_location: MapLocation = None) -> Any:
    """Load a weight file of any kind.

    Args:
        filename (str): Path; ``~`` is expanded.
        map_location (MapLocation): See ``torch.load``. None: the CPU.

    Returns:
        Any: Content of the file, usually a dict.

    Raises:
        FileNotFoundError: If there is no such file.
        InputError: If it is damaged or contains more than weights.
    """
    path = Path(filename).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f'{filename} does not exist; give the path of a checkpoint'
        )
    content = read_content(path, map_location or 'cpu')[1]
    meta = content.get('meta') if isinstance(content, dict) else None
    if isinstance(meta, dict):
        # A resumed run of MMEngine would run this text as Python. MMEngine
        # itself saves its config under another name.
        meta.pop('config', None)
    return content


def load_from_http(
    filename: str,
    map_location: MapLocation = None,
    model_dir: str | None = None,
    progress: bool = True,
) -> Any:
    """Download a file once into PyTorch's cache and load it.

    Args:
        filename (str): URL.
        map_location (MapLocation): See :func:`load_from_local`.
        model_dir (str, optional): Folder of the file. None: PyTorch's cache.
        progress (bool): Whether to show a progress bar.

    Returns:
        Any: Content of the file, usually a dict.
    """
    folder = Path(model_dir or Path(torch.hub.get_dir(), 'checkpoints'))
    path = folder / Path(urlparse(filename).path).name
    rank, world_size = get_dist_info()
    # Rank 0 goes first; others may have another disk.
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
    """Load a file of torchvision by its name there."""
    url = get_torchvision_models()[filename.partition('://')[2]]
    return load_from_http(url, map_location)


def load_from_openmmlab(
    filename: str, map_location: MapLocation = None
) -> Any:
    """Load a file of OpenMMLab by its name there."""
    name = filename.partition('://')[2]
    name = get_deprecated_model_names().get(name, name)
    place = get_external_models()[name]
    if place.startswith(('http://', 'https://')):
        return load_from_http(place, map_location)
    return load_from_local(
        os.path.join(_get_mmengine_home(), place), map_location
    )


def load_from_mmcls(filename: str, map_location: MapLocation = None) -> Any:
    """Load the backbone of a model of MMClassification by its name there."""
    url = get_mmcls_models()[filename.partition('://')[2]]
    return _process_mmcls_checkpoint(load_from_http(url, map_location))


def load_from_ceph(
    filename: str, map_location: MapLocation = None, backend: str = 'petrel'
) -> Any:
    """Load a file of an object store."""
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
