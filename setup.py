# SPDX-License-Identifier: Apache-2.0
"""Packaging.

The command ``mim`` needs the configs and tools of an installed package, in a
folder ``.mim``. openmim looks for ``.mim`` in the folder of the package.
onedl-mim looks for it in the folder of the first file in the wheel's
``RECORD``, which is the ``.dist-info`` folder. Therefore, a wheel contains
``.mim`` with configs and tools in both folders. The ``.mim`` of the package
also contains the files of ``data``, which the package itself reads. An
editable install uses the files of the checkout.
"""

import os
import re
import shutil
import sys
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # setuptools before 70.1
    from wheel.bdist_wheel import bdist_wheel

ROOT = Path(__file__).resolve().parent
PACKAGE = 'ovseg_mm'
HOME = 'https://github.com/ovseg-mm/ovseg_mm'
FOLDERS = ('configs', 'tools')
INDEX = ('model-index.yml',)
# Users link their data sets into data/. Only files directly in data/ belong to
# the package.
DATA = ('data/*.json', 'data/*.tsv', 'data/*.safetensors', 'data/README.md')


def copy_resources(target: Path, files: tuple[str, ...]) -> None:
    """Copy configs, tools and some more files into a folder ``.mim``."""
    ignored = shutil.ignore_patterns('__pycache__', '*.pyc')
    for folder in FOLDERS:
        shutil.copytree(
            ROOT / folder, target / folder, ignore=ignored, dirs_exist_ok=True
        )
    for pattern in files:
        for file in ROOT.glob(pattern):
            copy = target / file.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)


class BuildPy(build_py):
    """Copies configs, tools and data into the package of a wheel."""

    def run(self):
        """Build the package, then copy the files into its folder ``.mim``.

        An editable install needs no copies.
        """
        super().run()
        if not getattr(self, 'editable_mode', False):
            copy_resources(
                Path(self.build_lib, PACKAGE, '.mim'), (*INDEX, *DATA)
            )


class BdistWheel(bdist_wheel):
    """Copies configs and tools into the metadata of a wheel, for onedl-mim."""

    def egg2dist(self, egginfo_path, distinfo_path):
        """Create the ``.dist-info`` folder, then copy the files into it."""
        super().egg2dist(egginfo_path, distinfo_path)
        if 'editable_wheel' not in sys.argv:
            copy_resources(Path(distinfo_path, '.mim'), INDEX)


def link_resources() -> None:
    """Create the links that openmim needs after ``setup.py develop``."""
    target = ROOT / PACKAGE / '.mim'
    target.mkdir(exist_ok=True)
    for name in (*FOLDERS, 'data', 'model-index.yml'):
        link = target / name
        if not link.is_symlink():
            link.symlink_to(os.path.relpath(ROOT / name, target))


def read_version() -> str:
    """Read the version without importing the package."""
    namespace: dict = {}
    exec((ROOT / PACKAGE / 'version.py').read_text(), namespace)
    return namespace['__version__']


def read_readme() -> str:
    """Read the README; its links become absolute, so that PyPI shows them."""
    text = (ROOT / 'README.md').read_text(encoding='utf-8')
    raw = HOME.replace('//github.com', '//raw.githubusercontent.com')

    def absolute(link: re.Match) -> str:
        picture, text, target = link.groups()
        if target.startswith('#'):
            target = f'{HOME}{target}'
        elif not re.match('[a-z]+:', target):
            folder = f'{raw}/main' if picture else f'{HOME}/blob/main'
            target = f'{folder}/{target}'
        return f'{picture}[{text}]({target})'

    return re.sub(r'(!?)\[([^\]]*)\]\(([^)\s]+)\)', absolute, text)


def read_requirements(name: str) -> list[str]:
    """Read a requirements file, without comments."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines()
    return [line for line in lines if line and not line.startswith('#')]


if 'develop' in sys.argv:
    link_resources()

setup(
    name=PACKAGE,
    version=read_version(),
    description='Open-vocabulary semantic segmentation for MMSegmentation',
    long_description=read_readme(),
    long_description_content_type='text/markdown',
    author='The ovseg_mm authors',
    url=HOME,
    project_urls={
        'Source': HOME,
        'Issues': f'{HOME}/issues',
        'Changelog': f'{HOME}/blob/main/CHANGELOG.md',
    },
    license='Apache-2.0',
    keywords=[
        'open-vocabulary',
        'semantic segmentation',
        'zero-shot',
        'CLIP',
        'MMSegmentation',
        'OpenMMLab',
    ],
    classifiers=[
        'Development Status :: 4 - Beta',
        'Intended Audience :: Developers',
        'Intended Audience :: Science/Research',
        'Operating System :: POSIX :: Linux',
        'Programming Language :: Python :: 3',
        *(f'Programming Language :: Python :: 3.{n}' for n in range(10, 14)),
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
        'Topic :: Scientific/Engineering :: Image Recognition',
    ],
    packages=find_packages(include=[PACKAGE, f'{PACKAGE}.*']),
    python_requires='>=3.10',
    install_requires=read_requirements('runtime'),
    extras_require={
        'onedl': read_requirements('mminstall'),
        'classic': [
            'mmengine>=0.10.3,<1',
            'mmcv>=2.0.0rc4,<2.2.0',
            'mmsegmentation==1.2.2',
            'mmpretrain>=1.2',
            'openmim',
        ],
        # results as COCO, and labels of COCO-Object
        'coco': ['pycocotools'],
        # rasters beyond memory, and their polygons
        'geo': ['pyogrio', 'rasterio', 'shapely'],
        # models as ONNX files
        'export': ['onnx', 'onnxruntime', 'onnxscript'],
        # the page in a browser
        'web': ['gradio>=6'],
        # BatchSegmenter on many machines
        'ray': ['ray[data]'],
        'docs': read_requirements('docs'),
        'tests': [*read_requirements('tests'), *read_requirements('docs')],
        'dev': [*read_requirements('tests'), 'pre-commit'],
    },
    include_package_data=False,
    package_data={PACKAGE: ['py.typed', 'web/*.css', 'web/*.js']},
    cmdclass={'build_py': BuildPy, 'bdist_wheel': BdistWheel},
)
