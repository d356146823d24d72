# SPDX-License-Identifier: Apache-2.0
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.runner import Runner
from mmseg.apis import init_model

from ovseg_mm.checkpoints import load_checkpoint_into
from ovseg_mm.datasets import OpenVocabDataset
from ovseg_mm.utils.errors import InputError


def load(path: Path) -> dict:
    # Plain torch.load on new torch, the strictest door on any.
    return torch.load(path, weights_only=True)


def test_checkpoints_hold_no_code(trained):
    content = load(trained)
    assert content['meta']['iter'] == 2
    assert {'state_dict', 'optimizer', 'param_schedulers'} >= (
        set(content) - {'meta', 'message_hub'}
    )
    assert content['message_hub']['log_scalars'] == {}
    assert content['message_hub']['runtime_info']['iter'] == 1


def test_resume_continues(trained, tiny_cfg):
    before = load(trained)
    tiny_cfg.resume = True
    tiny_cfg.train_cfg.max_iters = 4
    runner = Runner.from_cfg(tiny_cfg)
    runner.load_or_resume()
    assert runner.iter == 2
    name = 'decode_head.head.weight'
    assert torch.equal(
        runner.model.state_dict()[name], before['state_dict'][name]
    )
    runner.train()
    assert runner.iter == 4
    steps = [
        float(state['step'])
        for state in load(trained.with_name('iter_4.pth'))['optimizer'][
            'state'
        ].values()
    ]
    assert set(steps) <= {3.0, 4.0}, 'the optimizer went on, too'


def test_what_other_scripts_resume(trained, tiny_cfg, tmp_path):
    def begin(**settings):
        tiny_cfg.update(resume=True, **settings)
        runner = Runner.from_cfg(tiny_cfg)
        runner.call_hook('before_run')
        runner.load_or_resume()
        return runner.iter

    own = dict(work_dir=tiny_cfg.work_dir, load_from=None)
    second = dict(work_dir=str(tmp_path / 'second'), load_from=str(trained))
    assert begin(**own) == 2
    # A first stage gives weights, its own checkpoints are resumed.
    assert begin(**second) == 0
    shutil.copy(trained, tmp_path / 'second' / 'iter_2.pth')
    assert begin(**second) == 0
    (tmp_path / 'second' / 'last_checkpoint').write_text(
        str(tmp_path / 'second' / 'iter_2.pth')
    )
    assert begin(**second) == 2


def test_another_method_is_refused_before_the_first_image(
    tiny_cfg, tmp_path, monkeypatch
):
    def prepare(self, index):
        pytest.fail('an image was read')

    monkeypatch.setattr(OpenVocabDataset, 'prepare_data', prepare)
    path = tmp_path / 'other.pth'
    names = 'visual.conv1.weight', 'token_embedding.weight'
    torch.save({'model': dict.fromkeys(names, torch.ones(1))}, path)
    tiny_cfg.load_from = str(path)
    with pytest.raises(ValueError, match='other.pth is a checkpoint of CLIP'):
        Runner.from_cfg(tiny_cfg).test()


@pytest.mark.parametrize('spoil', ['missing', 'misshapen', 'extra'])
def test_weights_that_do_not_fill_the_model(trained, tiny_cfg, spoil):
    content = load(trained)
    weights = content['state_dict']
    name = 'decode_head.head.weight'
    if spoil == 'missing':
        del weights[name]
    elif spoil == 'misshapen':
        weights[name] = weights[name][:, :3]
    else:
        name = 'decode_head.second_head.weight'
        weights[name] = torch.ones(1)
    torch.save(content, trained)
    tiny_cfg.load_from = str(trained)
    with pytest.raises(ValueError, match=f'does not fit the model: {name}'):
        Runner.from_cfg(tiny_cfg).test()


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_weights_that_are_not_finite_are_refused(trained, tiny_cfg, value):
    content = load(trained)
    name = 'decode_head.head.weight'
    content['state_dict'][name].view(-1)[0] = value
    torch.save(content, trained)
    message = rf'iter_2\.pth has 1 numbers that are not finite .* of {name}'
    tiny_cfg.load_from = str(trained)
    with pytest.raises(InputError, match=message):
        Runner.from_cfg(tiny_cfg).test()
    tiny_cfg.update(resume=True, load_from=None)
    with pytest.raises(InputError, match=message):
        Runner.from_cfg(tiny_cfg).train()
    with pytest.raises(InputError, match=f'not finite .* of {name}'):
        init_model(tiny_cfg, str(trained), device='cpu')
    with pytest.raises(InputError, match=message):
        load_checkpoint_into(init_model(tiny_cfg, device='cpu'), trained)


def test_optimizers_that_are_not_finite_are_not_resumed(trained, tiny_cfg):
    content = load(trained)
    state = content['optimizer']['state'][0]
    state['exp_avg'].view(-1)[0] = float('nan')
    torch.save(content, trained)
    tiny_cfg.load_from = str(trained)
    runner = Runner.from_cfg(tiny_cfg)
    runner.load_or_resume()  # weights alone
    tiny_cfg.update(resume=True, load_from=None)
    with pytest.raises(InputError, match='of optimizer.state.0.exp_avg'):
        Runner.from_cfg(tiny_cfg).train()


def test_weights_that_are_not_finite_are_not_saved(tiny_cfg, tmp_path):
    runner = Runner.from_cfg(tiny_cfg)
    runner.build_train_loop(runner._train_loop)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    name, weight = next(iter(runner.model.named_parameters()))
    weight.data.view(-1)[0] = float('nan')
    with pytest.raises(InputError, match=f'model after iteration 1.* {name}'):
        runner.save_checkpoint(str(tmp_path), 'x.pth', by_epoch=False)
    assert not (tmp_path / 'x.pth').exists()


def test_fitting_weights_are_loaded_with_wrappers_too(trained, tiny_cfg):
    content = load(trained)
    tiny_cfg.load_from = str(trained)
    tiny_cfg.test_dataloader.dataset.pipeline = tiny_cfg.tta_pipeline
    tiny_cfg.model = dict(tiny_cfg.tta_model, module=tiny_cfg.model)
    runner = Runner.from_cfg(tiny_cfg)
    runner.load_or_resume()
    loaded = runner.model.module.state_dict()
    assert loaded.keys() == content['state_dict'].keys()
    for name, value in content['state_dict'].items():
        assert torch.equal(loaded[name], value), name


def test_models_of_others_are_left_alone():
    from mmseg.registry import MODELS

    from ovseg_mm.engine import CheckpointGuardHook

    class Stranger:
        model = MODELS.build(dict(type='mmengine.BaseDataPreprocessor'))
        _load_from = None

    checkpoint = {'state_dict': {'x': torch.ones(1)}}
    CheckpointGuardHook().after_load_checkpoint(Stranger(), checkpoint)
    assert list(checkpoint['state_dict']) == ['x']


def test_numbers_of_numpy_become_plain():
    from ovseg_mm.engine import CheckpointGuardHook

    checkpoint = dict(
        message_hub=dict(
            log_scalars=dict(loss=object()),
            runtime_info=dict(best=np.float32(0.5), list=[np.int64(3)]),
            resumed_keys=dict(loss=True, best=True),
        )
    )
    CheckpointGuardHook().before_save_checkpoint(Runner, checkpoint)
    hub = checkpoint['message_hub']
    assert hub['runtime_info'] == dict(best=0.5, list=[3])
    assert type(hub['runtime_info']['best']) is float
    assert hub['resumed_keys'] == dict(best=True)
