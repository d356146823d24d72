# SPDX-License-Identifier: Apache-2.0
"""Let MMEngine load configs by names such as ``ovseg_mm::cat_seg/...``.

This module removes three limits of MMEngine:

- MMEngine supports such names only for OpenMMLab's packages.
- It expects configs in a folder ``.mim``, which a source checkout does not
  have.
- It does not find OneDL's versions of OpenMMLab's packages, and would install
  OpenMMLab's packages over them.
"""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import yaml
from mmengine.config import config as config_module
from mmengine.config import utils
from mmengine.hub import hub
from mmengine.infer import BaseInferencer

from ovseg_mm.utils.errors import nearest
from ovseg_mm.utils.paths import resource
from ovseg_mm.utils.stack import installed_packages

PACKAGE = 'ovseg_mm'
_DETECTION = ('mmdet', 'onedl-mmdetection')


def register_names() -> None:
    """Make MMEngine find configs and models of this package by name.

    The names then work in ``_base_``, ``mmengine.hub`` and
    ``MMSegInferencer``. MMEngine then also finds OneDL's versions of
    OpenMMLab's packages.
    """
    if PACKAGE in utils.MODULE2PACKAGE:
        return
    utils.MODULE2PACKAGE[PACKAGE] = PACKAGE
    found = installed_packages()
    for module, packages in found.items():
        if packages and packages[0].onedl and module in utils.MODULE2PACKAGE:
            utils.MODULE2PACKAGE[module] = packages[0].name
    if any(package.onedl for package in found['mmengine']):
        utils.MODULE2PACKAGE.update([_DETECTION])
    for module in (utils, hub):
        _replace(module, '_get_cfg_metainfo', _config_entry)
    for module in (utils, hub, config_module):
        _replace(module, '_get_external_cfg_base_path', _base_config)
    entries = BaseInferencer._get_models_from_metafile
    BaseInferencer._get_models_from_metafile = staticmethod(
        functools.partial(_entries_beside, entries)
    )


def _replace(module: ModuleType, name: str, ours: Callable) -> None:
    """Replace a function of MMEngine for configs of this package.

    For configs of other packages, MMEngine's function is still called.

    Args:
        module (ModuleType): Module of MMEngine with the function.
        name (str): Name of the function.
        ours (Callable): Function to call for a config of this package. Its
            argument is the path of the config, relative to the folder
            ``configs``.
    """
    theirs = getattr(module, name)

    @functools.wraps(theirs)
    def chosen(package_path: str, config: str) -> object:
        if Path(package_path).name == PACKAGE:
            return ours(config)
        return theirs(package_path, config)

    setattr(module, name, chosen)


def _config_entry(config: str) -> dict:
    """Return the entry of a config in the metafiles of this package.

    Args:
        config (str): Path of the config relative to the folder ``configs``,
            with or without ``.py``.

    Returns:
        dict: Entry of the metafile, with an absolute path in ``Config``.

    Raises:
        ValueError: If there is no entry. MMEngine expects this type of error.
    """
    name = Path(config).with_suffix('.py').as_posix()
    for entry in _entries():
        if entry['Config'].endswith(f'/configs/{name}'):
            return entry
    raise ValueError(
        f'ovseg_mm has no config {config}; '
        "'python -m ovseg_mm models --configs' lists all configs"
    )


def _base_config(config: str) -> str:
    """Return the absolute path of a config of this package.

    Args:
        config (str): Path of the config relative to the folder ``configs``,
            with or without ``.py``.

    Returns:
        str: Absolute path of the file.

    Raises:
        FileNotFoundError: If there is no such config.
    """
    root = resource('configs')
    path = root / config
    for file in (path, path.with_name(f'{path.name}.py')):
        if file.is_file():
            return str(file)
    known = [p.relative_to(root).as_posix() for p in root.rglob('*.py')]
    raise FileNotFoundError(
        f'ovseg_mm::{config} does not exist{nearest(config, known)}; '
        "'python -m ovseg_mm models --configs' lists all configs"
    )


def _entries() -> Iterator[dict]:
    """Yield this package's metafile entries, with absolute config paths."""
    for metafile in sorted(Path(resource('configs')).glob('*/metafile.yaml')):
        content = yaml.safe_load(metafile.read_text(encoding='utf-8'))
        for entry in content['Models']:
            config = str(resource(entry['Config']))
            yield {**entry, 'Config': config}


def _entries_beside(theirs: Callable, folder: str) -> Iterator[dict]:
    """Yield the metafile entries of a package.

    For MMSegmentation, the entries of this package are added.

    Args:
        theirs (Callable): MMEngine's function that yields the entries.
        folder (str): Folder of the package.

    Yields:
        dict: Entry of a model in a metafile.
    """
    ours = Path(resource()).resolve()
    if Path(folder).resolve() != ours:
        yield from theirs(folder)
        if 'mmseg' not in Path(folder).parts[-2:]:
            return
    yield from _entries()
