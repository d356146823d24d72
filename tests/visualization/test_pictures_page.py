# SPDX-License-Identifier: Apache-2.0
import re
from pathlib import Path

from mmengine.config import Config

from ovseg_mm.engine.config_check import check_config
from ovseg_mm.utils.paths import find_config

PAGE = Path(__file__).parents[2] / 'docs' / 'pictures.md'


def test_config_of_the_page_fits_shipped_ones():
    page = PAGE.read_text(encoding='utf-8')
    *_, text = re.findall(r'```python\n(.*?)```', page, re.DOTALL)
    config = Config.fromfile(find_config('maskclip_clip-toy_toy-world-64x64'))
    config.merge_from_dict(Config.fromstring(text, '.py').to_dict())
    assert config.default_hooks.visualization.draw
    check_config(config, ('default_hooks', 'visualizer'), 'mmseg')
