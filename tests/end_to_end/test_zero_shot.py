# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from .conftest import TINY

pytestmark = pytest.mark.slow


def test_unseen_class_is_hidden_in_training_and_reported_in_test(
    tiny_data, tmp_path
):
    cfg = Config.fromfile(TINY)
    vocabulary = dict(class_texts=cfg.vocabulary, unseen=['green disc'])
    cfg.model.vocabulary = vocabulary
    cfg.model.train_vocabulary = dict(vocabulary, subset='seen')
    for loader in ('train', 'val', 'test'):
        dataset = cfg[f'{loader}_dataloader'].dataset
        dataset.update(vocabulary=vocabulary, data_root=str(tiny_data))
    cfg.train_dataloader.dataset.unseen_labels = 'ignore'
    cfg.train_cfg.update(max_iters=1, val_interval=1)
    cfg.work_dir = str(tmp_path)
    cfg.randomness = dict(seed=0)
    runner = Runner.from_cfg(cfg)
    runner.train()
    labels = {
        label
        for sample in runner.train_dataloader.dataset
        for label in sample['data_samples'].gt_sem_seg.data.unique().tolist()
    }
    assert labels == {0, 1, 2, 255}
    metrics = runner.val_loop.run()
    assert {'mIoU_seen', 'mIoU_unseen', 'hIoU'} <= set(metrics)

    # The model hides unseen labels itself where the data set keeps them.
    cfg.train_dataloader.dataset.unseen_labels = 'keep'
    other = Runner.from_cfg(cfg)
    other.train()
    kept = {
        label
        for sample in other.train_dataloader.dataset
        for label in sample['data_samples'].gt_sem_seg.data.unique().tolist()
    }
    assert kept == {0, 1, 2, 3}
    expected = runner.model.state_dict()
    for name, weight in other.model.state_dict().items():
        torch.testing.assert_close(weight, expected[name], rtol=0, atol=0)
