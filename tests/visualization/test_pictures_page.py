# SPDX-License-Identifier: Apache-2.0
"""The snippets and commands of the page about pictures."""

import re
import shlex
from pathlib import Path

import numpy as np
from mmengine.config import Config

from ovseg_mm.cli import main
from ovseg_mm.engine.config_check import check_config
from ovseg_mm.toy.scenes import UNSEEN, make_scene
from ovseg_mm.utils.image_files import write_image
from ovseg_mm.utils.paths import find_config

PAGE = Path(__file__).parents[2] / 'docs' / 'pictures.md'


def test_snippets_and_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(23)
    write_image('scene.png', make_scene(rng, (96, 128), UNSEEN[:3]).image)
    page = PAGE.read_text(encoding='utf-8')
    *snippets, config = re.findall(r'```python\n(.*?)```', page, re.DOTALL)
    names: dict = {}
    for number, snippet in enumerate(snippets):
        exec(compile(snippet, f'snippet {number}', 'exec'), names)
        if number < 2:
            assert names['picture'].ndim == 3
    assert '(255, 0, 0)' in capsys.readouterr().out, 'a red car is red'

    whole = Config.fromfile(find_config('maskclip_clip-toy_toy-world-64x64'))
    whole.merge_from_dict(Config.fromstring(config, '.py').to_dict())
    check_config(whole, ('default_hooks', 'visualizer'), 'mmseg')

    command, _ = re.findall(r'```bash\n(.*?)\n```', page)
    words = shlex.split(command)
    assert words[:3] == ['python', '-m', 'ovseg_mm']
    assert main(words[3:]) == 0
    written = {path.name for path in Path('pictures').iterdir()}
    assert {'scene_side_by_side.png', 'scene_heatmaps'} <= written
