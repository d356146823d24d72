# SPDX-License-Identifier: Apache-2.0
"""Configs of this package by name in MMEngine: ``ovseg_mm::cat_seg/...``.

MMEngine knows only its own packages, expects their configs in a folder
``.mim``, which a checkout does not have, and does not find OneDL's packages:
it would install the classic ones over them.
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
    """Let MMEngine find our configs and models, and OneDL's packages.

    ``_base_``, ``mmengine.hub`` and ``MMSegInferencer`` use them.
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
    """Replace a function of MMEngine for paths of our package."""
    theirs = getattr(module, name)

    @functools.wraps(theirs)
    def chosen(package_path: str, config: str) -> object:
        if Path(package_path).name == PACKAGE:
            return ours(config)
        return theirs(package_path, config)

    setattr(module, name, chosen)


def _config_entry(config: str) -> dict:
    """Entry of a config in our metafiles, with an absolute path.

    Args:
        config (str): Path of the config below ``configs``, with or without
            ``.py``.

    Returns:
        dict: The entry.

    Raises:
        ValueError: If there is none; MMEngine expects this type for bases.
    """
    name = Path(config).with_suffix('.py').as_posix()
    for entry in _entries():
        if entry['Config'].endswith(f'/configs/{name}'):
            return entry
    raise ValueError(f'ovseg_mm has no config {config}')


def _base_config(config: str) -> str:
    """Path of a file in our folder of configs.

    Args:
        config (str): Path of the config below ``configs``, with or without
            ``.py``.

    Returns:
        str: The absolute path.

    Raises:
        FileNotFoundError: If there is none.
    """
    root = resource('configs')
    path = root / config
    for file in (path, path.with_name(f'{path.name}.py')):
        if file.is_file():
            return str(file)
    known = [p.relative_to(root).as_posix() for p in root.rglob('*.py')]
    raise FileNotFoundError(
        f'ovseg_mm::{config}: there is no such config{nearest(config, known)} '
        "('python -m ovseg_mm models' lists them)"
    )


def _entries() -> Iterator[dict]:
    """Models of our metafiles, with absolute paths of their configs."""
    for metafile in sorted(Path(resource('configs')).glob('*/metafile.yaml')):
        content = yaml.safe_load(metafile.read_text(encoding='utf-8'))
        for entry in content['Models']:
            config = str(resource(entry['Config']))
            yield {**entry, 'Config': config}


def _entries_beside(theirs: Callable, folder: str) -> Iterator[dict]:
    """Models of a package; MMSegmentation lists our models as well."""
    ours = Path(resource()).resolve()
    if Path(folder).resolve() != ours:
        yield from theirs(folder)
        if 'mmseg' not in Path(folder).parts[-2:]:
            return
    yield from _entries()
