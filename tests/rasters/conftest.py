# SPDX-License-Identifier: Apache-2.0
"""The toy model without training, and rasters of its world."""

import numpy as np
import pytest

from ovseg_mm.apis import OpenVocabInferencer
from ovseg_mm.toy.scenes import make_scene
from ovseg_mm.vocabulary import load_vocabulary


@pytest.fixture(scope='session')
def toy():
    # Refinement takes most of the time.
    options = {'model.test_cfg.refine': None}
    return OpenVocabInferencer('toy', device='cpu', cfg_options=options)


@pytest.fixture(scope='session')
def words():
    return load_vocabulary(
        ['plain red', 'striped blue', 'dotted green', 'water', 'stone']
    )


@pytest.fixture(scope='session')
def scene() -> np.ndarray:
    """A picture of 100 x 130 pixels."""
    rng = np.random.default_rng(2)
    objects = ('plain red', 'striped blue', 'dotted green')
    return make_scene(rng, (100, 130), objects).image
