# SPDX-License-Identifier: Apache-2.0
"""Settings of shipped configs that are those of the published recipes."""

from pathlib import Path

import pytest
from mmengine.config import Config

from ovseg_mm.utils.paths import resource

CONFIGS = {
    path: Config.fromfile(path)
    for method in ('cascade_clip', 'cat_seg', 'scan', 'zsseg')
    for path in sorted(Path(resource('configs', method)).glob('*.py'))
}


def named(*parts):
    """Configs whose file name has all parts."""
    found = [
        cfg
        for path, cfg in CONFIGS.items()
        if all(part in path.name for part in parts)
    ]
    assert found
    return found


def short_sides(cfg):
    resizes, flips, *_ = cfg.tta_pipeline[1].transforms
    assert [flip.prob for flip in flips] == [0.0, 1.0]
    assert all(resize.keep_ratio for resize in resizes)
    return [min(resize.scale) for resize in resizes]


@pytest.mark.parametrize(
    ('parts', 'expected'),
    [
        (('scan_clip',), range(256, 897, 128)),
        (('zsseg_clip', '512x512'), range(256, 897, 128)),
        (('zsseg_clip', 'cityscapes'), range(512, 1793, 256)),
        (('zsseg', 'coco-stuff164k', '640x640'), range(320, 1121, 160)),
        (('cascadeclip',), range(256, 897, 128)),
    ],
    ids=lambda value: '-'.join(value) if isinstance(value, tuple) else '',
)
def test_scales_of_augmented_tests(parts, expected):
    for cfg in named(*parts):
        assert short_sides(cfg) == list(expected)
        test = cfg.test_pipeline[1]
        shares = [side / min(test.scale) for side in expected]
        if 'scan' not in parts[0]:  # whose tests are larger than its scales
            assert shares == [0.5, 0.75, 1.0, 1.25, 1.5, 1.75]
        for resize in cfg.tta_pipeline[1].transforms[0]:
            assert resize.get('backend') == test.get('backend')


def test_per_pixel_baseline_has_one_template():
    (cfg,) = named('zsseg-per-pixel')
    assert cfg.model.prompts.templates == ['a sculpture of a {}.']


def test_prompts_of_pascal_voc_learn_from_trainaug():
    (cfg,) = named('zsseg-prompts', 'pascal-voc20')
    crops = cfg.train_dataloader.dataset
    assert crops.samples_per_class == 128
    found = {
        part.ann_file.split('/')[-1]: part.data_prefix.seg_map_path
        for part in crops.dataset.datasets
    }
    assert found == {
        'train.txt': 'SegmentationClass',
        'aug.txt': 'SegmentationClassAug',
    }
    assert {p.unseen_labels for p in crops.dataset.datasets} == {'ignore'}


def test_prompts_are_validated_on_all_pairs_at_the_centre():
    for cfg in named('zsseg-prompts'):
        crops = cfg.val_dataloader.dataset
        assert crops.get('samples_per_class') is None
        (crop,) = (s for s in crops.pipeline if s.type == 'CropClass')
        assert tuple(crop['size']) == (224, 224)
        assert crop.get('scale') is None


def test_fine_tuned_clip_is_validated_with_synonyms():
    for cfg in named('scan-clip'):
        assert cfg.model.vocabulary == 'ade150-synonyms'
        assert cfg.model.prompts.templates == 'imagenet'
        assert cfg.model.prompts.synonyms == 'whole'


def test_cat_seg_computes_in_tf32_on_gpus():
    for cfg in named('catseg_clip'):
        assert cfg.env_cfg.float32_matmul_precision == 'high'
        assert cfg.env_cfg.cudnn_benchmark
