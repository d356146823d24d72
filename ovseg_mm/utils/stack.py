# SPDX-License-Identifier: Apache-2.0
"""Check and import of the packages of OpenMMLab or of its fork OneDL.

OpenMMLab's own packages are called classic.
"""

import functools
import importlib
import re
import warnings
from dataclasses import dataclass
from importlib import metadata

# For each import name, the names for pip of the classic and the OneDL package.
DISTRIBUTIONS = {
    'mmengine': ('mmengine', 'onedl-mmengine'),
    'mmcv': ('mmcv', 'onedl-mmcv'),
    'mmseg': ('mmsegmentation', 'onedl-mmsegmentation'),
    'mmpretrain': ('mmpretrain', 'onedl-mmpretrain'),
}
REQUIRED = ('mmengine', 'mmcv', 'mmseg')
INSTALL_STACK = 'pip install ' + ' '.join(
    [*(onedl for _, onedl in DISTRIBUTIONS.values()), 'onedl-mim']
)
INSTALL_COMMAND = f'pip install torch torchvision && {INSTALL_STACK}'
# Versions of the classic packages that work together: oldest version, and
# first version that is too new. MMSegmentation itself refuses other versions
# of mmcv.
CLASSIC_VERSIONS = {
    'mmengine': ((0, 10), (1, 0)),
    'mmcv': ((2, 0), (2, 2)),
    'mmseg': ((1, 2), (2, 0)),
}
OLDEST_TORCH = (2, 1)
# Messages that the OneDL packages show at import; import_stack() hides them.
# They are about parts that are not needed: data sets of the OneDL service, and
# a compiled operator.
NO_ONEDL = 'Could not import OneDL'
NO_OPERATOR = r'Fail to import ``MultiScaleDeformableAttention`` from'


@dataclass(frozen=True)
class Package:
    """An installed package.

    Attributes:
        name (str): Name for ``pip``, such as ``'mmsegmentation'``.
        version (str): Installed version.
        onedl (bool): Whether the package is from OneDL, a fork of OpenMMLab.
    """

    name: str
    version: str
    onedl: bool


def installed_packages() -> dict[str, list[Package]]:
    """List the installed packages of OpenMMLab and OneDL.

    Returns:
        dict[str, list[Package]]: Packages by import name, such as ``'mmseg'``.
        Two packages with the same import name overwrite each other's files.
    """
    found: dict[str, list[Package]] = {}
    for module, names in DISTRIBUTIONS.items():
        found[module] = [
            Package(name, metadata.version(name), name.startswith('onedl-'))
            for name in names
            if _installed(name)
        ]
    return found


def check_stack() -> None:
    """Check that all packages of OpenMMLab, or all of OneDL, are installed.

    Raises:
        ImportError: If a package is missing, too old or too new, or if
            packages of OpenMMLab and OneDL are mixed. The message contains a
            command that repairs the installation.
    """
    found = installed_packages()
    missing = [module for module in REQUIRED if not found[module]]
    if len(missing) == len(REQUIRED):
        raise ImportError(
            'ovseg_mm needs MMSegmentation 1.x, which is not installed; run: '
            f'{INSTALL_COMMAND}'
        )
    packages = [package for group in found.values() for package in group]
    listed = ', '.join(f'{p.name} {p.version}' for p in packages)
    if missing:
        onedl = any(package.onedl for package in packages)
        names = ' '.join(DISTRIBUTIONS[module][onedl] for module in missing)
        raise ImportError(
            f'ovseg_mm needs {", ".join(missing)}, but only {listed} is '
            f'installed; run: pip install {names}'
        )
    if len({package.onedl for package in packages}) > 1:
        names = ' '.join(package.name for package in packages)
        raise ImportError(
            'packages of OpenMMLab and of its fork OneDL are mixed and '
            f'overwrite each other ({listed}); keep only one kind, for '
            f'example: pip uninstall -y {names} && {INSTALL_STACK}'
        )
    if not packages[0].onedl:
        _check_classic(found)
    _check_torch()


def import_stack() -> None:
    """Import MMEngine, MMCV and MMSegmentation.

    Raises:
        ImportError: If an installed package cannot be imported. The message
            contains the reason and a command that repairs the installation.
    """
    for module in REQUIRED:
        try:
            importlib.import_module(module)
            if module == 'mmengine':
                _silence_known_lines()
        except Exception as error:  # a broken environment raises anything
            reason = ' '.join(str(error).split())
            if getattr(error, 'name', None) == 'mmcv._ext':
                raise ImportError(
                    f'{module} needs the compiled operators of mmcv, which '
                    'the installed mmcv lacks; run: pip install '
                    '--force-reinstall --no-deps --no-build-isolation '
                    "--no-binary mmcv 'mmcv==2.1.0'"
                ) from error
            raise ImportError(
                f'{module} is installed but cannot be imported '
                f'({type(error).__name__}: {reason}); make a new environment '
                f'and run there: {INSTALL_COMMAND}'
            ) from error


def _silence_known_lines() -> None:
    """Hide two harmless messages that the OneDL packages show at import."""
    warnings.filterwarnings(
        'ignore',
        message=NO_OPERATOR,
        category=UserWarning,
        module=r'mmcv\.cnn\.bricks\.transformer',
    )
    from mmengine import logging

    print_log = logging.print_log
    if hasattr(print_log, '__wrapped__'):
        return

    @functools.wraps(print_log)
    def print_other(msg: object, *args: object, **kwargs: object) -> None:
        if msg != NO_ONEDL:
            print_log(msg, *args, **kwargs)

    logging.print_log = print_other


def _check_classic(found: dict[str, list[Package]]) -> None:
    """Check that OpenMMLab's packages have versions that work together."""
    for module, (first, end) in CLASSIC_VERSIONS.items():
        (package,) = found[module]
        if not first <= _release(package.version) < end:
            raise ImportError(
                f'ovseg_mm does not work with {package.name} '
                f'{package.version}; '
                f"run: pip install '{package.name}>={_dotted(first)},"
                f"<{_dotted(end)}'"
            )


def _check_torch() -> None:
    """Check that torch and NumPy are installed and work together."""
    for name in ('torch', 'numpy'):
        if not _installed(name):
            raise ImportError(
                f'ovseg_mm needs {name}, which is not installed; run: pip '
                f'install {name}'
            )
    torch, numpy = metadata.version('torch'), metadata.version('numpy')
    if _release(torch) < OLDEST_TORCH:
        raise ImportError(
            f'torch {torch} is too old for ovseg_mm; run: pip install '
            f"'torch>={_dotted(OLDEST_TORCH)}' torchvision"
        )
    # Releases before torch 2.3 were built for NumPy 1 and fail with NumPy 2.
    if _release(torch) < (2, 3) and _release(numpy) >= (2, 0):
        raise ImportError(
            f'torch {torch} does not work with numpy {numpy}; run: pip '
            "install 'numpy<2'"
        )


def _release(version: str) -> tuple[int, int]:
    major, minor = re.findall(r'\d+', f'{version}.0')[:2]
    return int(major), int(minor)


def _dotted(release: tuple[int, int]) -> str:
    return '.'.join(map(str, release))


def _installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True
