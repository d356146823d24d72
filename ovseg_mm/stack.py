# SPDX-License-Identifier: Apache-2.0
"""Which OpenMMLab packages are installed, and whether they fit together."""

from dataclasses import dataclass
from importlib import metadata

INSTALL_COMMAND = (
    'pip install torch torchvision && pip install onedl-mmengine onedl-mmcv '
    'onedl-mmsegmentation onedl-mmpretrain onedl-mim'
)
# Import name: distributions of the classic and the OneDL release.
DISTRIBUTIONS = {
    'mmengine': ('mmengine', 'onedl-mmengine'),
    'mmcv': ('mmcv', 'onedl-mmcv'),
    'mmseg': ('mmsegmentation', 'onedl-mmsegmentation'),
    'mmpretrain': ('mmpretrain', 'onedl-mmpretrain'),
}
REQUIRED = ('mmengine', 'mmcv', 'mmseg')
CLASSIC_MIM = 'openmim'


@dataclass(frozen=True)
class Package:
    """An installed distribution.

    Attributes:
        name (str): Distribution name.
        version (str): Its version.
        onedl (bool): Whether it is of the OneDL release.
    """

    name: str
    version: str
    onedl: bool


def installed_packages() -> dict[str, list[Package]]:
    """Installed distributions by import name; more than one clash."""
    found: dict[str, list[Package]] = {}
    for module, names in DISTRIBUTIONS.items():
        found[module] = [
            Package(name, metadata.version(name), name.startswith('onedl-'))
            for name in names
            if _installed(name)
        ]
    return found


def check_stack() -> None:
    """Make sure that one whole stack of OpenMMLab packages is installed.

    Raises:
        ImportError: With what is wrong and the command that mends it.
    """
    found = installed_packages()
    missing = [module for module in REQUIRED if not found[module]]
    if len(missing) == len(REQUIRED):
        raise ImportError(
            'ovseg_mm needs MMSegmentation 1.x, which is not installed; run: '
            f'{INSTALL_COMMAND}'
        )
    packages = [package for group in found.values() for package in group]
    if missing:
        onedl = any(package.onedl for package in packages)
        names = [DISTRIBUTIONS[module][onedl] for module in missing]
        raise ImportError(
            f'ovseg_mm needs {", ".join(missing)}, which is not installed '
            f'beside {packages[0].name}; run: pip install {" ".join(names)}'
        )
    clashing = [group for group in found.values() if len(group) > 1]
    if clashing:
        old, new = (package.name for package in clashing[0])
        raise ImportError(
            f'{old} and {new} are both installed and overwrite each other; '
            f'keep one stack, for example: pip uninstall -y {old} && pip '
            f'install --force-reinstall --no-deps {new}'
        )
    if len({package.onedl for package in packages}) > 1:
        listed = ', '.join(f'{p.name} {p.version}' for p in packages)
        raise ImportError(
            f'classic and OneDL packages are mixed ({listed}); keep one '
            f'stack, for example: {INSTALL_COMMAND}'
        )
    _check_numpy()


def _check_numpy() -> None:
    """Torch before 2.3 was built for NumPy 1 and cannot see NumPy 2."""
    torch, numpy = metadata.version('torch'), metadata.version('numpy')
    if _release(torch) < (2, 3) and _release(numpy) >= (2, 0):
        raise ImportError(
            f'torch {torch} does not work with numpy {numpy}; run: pip '
            "install 'numpy<2'"
        )


def _release(version: str) -> tuple[int, int]:
    major, minor = version.split('.')[:2]
    return int(major), int(minor)


def _installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True
