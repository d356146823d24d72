# SPDX-License-Identifier: Apache-2.0
"""Environments that have some of the packages of this one."""

import sys
from pathlib import Path


def link_packages(target: Path, without: tuple[str, ...]) -> Path:
    """Fill a folder with links to all installed packages but some.

    Args:
        target (Path): The folder, to be put on the search path.
        without (tuple[str, ...]): Beginnings of the names to leave out.
    """
    target.mkdir()
    for folder in map(Path, sys.path):
        if folder.name not in ('site-packages', 'dist-packages'):
            continue
        for entry in folder.iterdir():
            link = target / entry.name
            hidden = entry.suffix == '.pth' or entry.name.startswith(
                ('__', 'ovseg_mm', *without)
            )
            if not hidden and not link.is_symlink():
                link.symlink_to(entry)
    return target


if __name__ == '__main__':  # run by the Python whose packages are meant
    link_packages(Path(sys.argv[1]), tuple(sys.argv[2:]))
