# SPDX-License-Identifier: Apache-2.0
"""``evaluate`` on all benchmarks, in the formats of their downloads."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from PIL import Image
from sklearn.metrics import jaccard_score

from ..raw_data import prepare_everything, write_everything
from .conftest import ROOT, TINY, run, run_two_ranks

pytestmark = pytest.mark.slow
KEYS = (
    *('ade150', 'ade847', 'pc59', 'pc459'),
    *('voc20', 'voc20b', 'coco', 'cityscapes'),
)
# Starting the workers would take longer than the images do.
LOADER = (
    *('--cfg-options', 'test_dataloader.num_workers=0'),
    'test_dataloader.persistent_workers=False',
)


@pytest.fixture(scope='module')
def home(tmp_path_factory):
    """A folder with all data sets, and the labels that they must have."""
    root = tmp_path_factory.mktemp('home')
    truth = write_everything(root / 'data')
    prepare_everything(root)
    return root, truth


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """Random weights of the tiny model."""
    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(TINY).model)
    model.init_weights()
    path = tmp_path_factory.mktemp('weights') / 'tiny.pth'
    torch.save(dict(state_dict=model.state_dict(), meta={}), path)
    return path


@pytest.fixture
def evaluate(command):
    """Evaluates in this process; what was printed."""

    def run_evaluate(checkpoint, cwd, *options, cfg_options=(), status=0):
        found, output = command(
            *('evaluate', TINY, checkpoint, *options, *LOADER, *cfg_options),
            cwd=cwd,
        )
        assert found == status, output
        return output

    return run_evaluate


def results_of(folder):
    content = json.loads((folder / 'results.json').read_text())
    return {row['dataset']: row for row in content['results']}, content


def test_all_benchmarks_agree_with_scikit_learn(home, checkpoint):
    root, truth = home
    output = run(
        *('python', '-m', 'ovseg_mm', 'evaluate', TINY, checkpoint),
        *('--datasets', ','.join(KEYS)),
        *('--work-dir', 'all', '--out', 'labels', *LOADER),
        cwd=root,
    )
    rows, content = results_of(root / 'all')
    assert list(rows) == list(KEYS) and not content['skipped']
    for key in ('ade150', 'pc59', 'pc459', 'voc20'):
        files = sorted((root / 'labels' / key).iterdir())
        assert len(files) == rows[key]['images'] == 2
        predictions = [np.array(Image.open(path)) for path in files]
        labels = [truth[key][path.stem] for path in files]
        deep = np.uint16 if key == 'pc459' else np.uint8
        assert {p.dtype for p in predictions} == {np.dtype(deep)}
        prediction = np.concatenate([p.ravel() for p in predictions])
        prediction = prediction - int(key != 'pc459')
        label = np.concatenate([each.ravel() for each in labels])
        counted = label != (65535 if key == 'pc459' else 255)
        prediction, label = prediction[counted], label[counted]
        for name, classes in (
            ('mIoU', np.unique(label)),
            ('mIoU_union', np.union1d(label, prediction)),
        ):
            expected = jaccard_score(
                label, prediction, labels=classes, average='macro'
            )
            assert rows[key]['metrics'][name] == pytest.approx(100 * expected)
    settings = {key: row['settings'] for key, row in rows.items()}
    assert len({s['vocabulary'] for s in settings.values()}) == len(KEYS)
    assert len({s['checkpoint'] for s in settings.values()}) == 1
    for needed in ('templates', 'precision', 'windows', 'image_size'):
        assert needed in settings['ade150']
    for key in KEYS:
        note = f'of tiny: there is no config of this model for {key}'
        assert settings[key]['constants'] == note
        assert f'{key}: image size and constants {note}' in output
    assert settings['ade150']['versions']['torch'] == torch.__version__
    with open(root / 'all' / 'results.csv', newline='') as file:
        table = {row['dataset']: row for row in csv.DictReader(file)}
    for key, row in rows.items():
        assert float(table[key]['mIoU']) == row['metrics']['mIoU']
        figure = f'{row["metrics"]["mIoU"]:.2f}'
        assert figure in output
        assert figure in (root / 'all' / 'results.md').read_text()
    log = (root / 'all' / 'evaluate.log').read_text()
    assert 'per class results' in log and 'tvmonitor' in log
    assert 'per class results' not in output


def test_interrupted_evaluation_goes_on(home, checkpoint, evaluate, tmp_path):
    root, _ = home
    options = ('--datasets', 'ade150,voc20b,pc59', '--work-dir')
    evaluate(checkpoint, root, *options, tmp_path / 'one')
    expected, _ = results_of(tmp_path / 'one')
    # As if killed in the middle of the second line of the second set.
    shutil.copytree(tmp_path / 'one', tmp_path / 'two')
    path = tmp_path / 'two' / 'voc20b' / 'images_0.jsonl'
    first, second = path.read_text().splitlines()
    path.write_text(first + '\n' + second[: len(second) // 2])
    (tmp_path / 'two' / 'results.json').unlink()
    shutil.rmtree(tmp_path / 'two' / 'pc59')
    run_two_ranks(
        *('ovseg_mm', 'evaluate', TINY, checkpoint, *options),
        *(tmp_path / 'two', '--launcher', 'pytorch', *LOADER),
        cwd=root,
    )
    # The third set is counted by two processes from the start.
    assert (tmp_path / 'two' / 'pc59' / 'images_1.jsonl').read_text()
    found, _ = results_of(tmp_path / 'two')
    assert found == expected
    lines = path.read_text().splitlines()
    assert len(lines) == 3 and json.loads(lines[2])[0] == json.loads(second)[0]
    untouched = tmp_path / 'two' / 'ade150' / 'images_0.jsonl'
    assert untouched.read_text().split() == (
        (tmp_path / 'one' / 'ade150' / 'images_0.jsonl').read_text().split()
    )
    # Results of other settings are not mixed in.
    output = evaluate(
        checkpoint,
        root,
        *(*options, tmp_path / 'two'),
        cfg_options=['model.test_cfg.mode=whole'],
        status=2,
    )
    assert 'results of another evaluation (different: windows)' in output


def test_only_what_is_new_is_counted_again(
    home, checkpoint, evaluate, tmp_path
):
    root, _ = home
    work, out = tmp_path / 'work', tmp_path / 'out'

    def run_again(datasets, *options):
        output = evaluate(
            checkpoint,
            root,
            *('--datasets', datasets, '--work-dir', work, *options),
        )
        return results_of(work)[0], output

    first, output = run_again('voc20b')
    assert 'counted before' not in output
    assert first['voc20b']['settings']['precision'] == 'float32'
    output = evaluate(
        checkpoint,
        root,
        *('--datasets', 'voc20b', '--work-dir', work),
        *('--amp', '--max-words', 9),
        status=2,
    )
    assert '(different: precision, windows)' in output
    rows, output = run_again('pc59,voc20b', '--out', out)
    assert 'voc20b: 2 of 2 images' not in output
    assert len(list((out / 'voc20b').iterdir())) == 2
    assert rows['voc20b'] == first['voc20b']
    # Other results stay in the table; labels that have changed count anew.
    label = sorted(
        (root / 'data/VOCdevkit/VOC2012/SegmentationClass').glob('*.png')
    )
    assert label
    contents = [path.read_bytes() for path in label]
    try:
        for path in label:
            with Image.open(path) as image:
                changed = Image.fromarray(np.zeros_like(np.array(image)))
            changed.save(path)
        rows, output = run_again('voc20b')
    finally:
        for path, content in zip(label, contents):
            path.write_bytes(content)
    assert 'images were counted before' not in output
    assert list(rows) == ['pc59', 'voc20b']
    assert rows['voc20b']['metrics'] != first['voc20b']['metrics']
    assert len((work / 'results.csv').read_text().splitlines()) == 3
    _, output = run_again('pc59')
    assert 'pc59: 2 of 2 images were counted before' in output


def test_options_reach_the_benchmarks(home, checkpoint, evaluate, tmp_path):
    root, _ = home
    output = evaluate(
        checkpoint,
        root,
        *('--datasets', 'voc20', '--work-dir', tmp_path),
        cfg_options=['test_dataloader.dataset.data_root=/nowhere'],
        status=1,
    )
    assert 'skipped voc20: the folder of images /nowhere' in output
    assert results_of(tmp_path)[0] == {}
    (tmp_path / 'kinds.json').write_text('{"cat": ["dog"]}')
    evaluate(
        checkpoint,
        root,
        *('--datasets', 'voc20', '--work-dir', tmp_path),
        cfg_options=[f'test_evaluator.relations={tmp_path / "kinds.json"}'],
    )
    assert 'SG_mIoU' in results_of(tmp_path)[0]['voc20']['metrics']


def test_model_by_name(home, command, tmp_path):
    root, _ = home
    cfg = Config.fromfile(ROOT / 'configs' / '_base_/models/toy-clip.py')
    arch = str(cfg.toy_clip.arch).replace("'", '')
    status, output = command(
        *('evaluate', 'sclip', '--datasets', 'voc21,object'),
        *('--work-dir', tmp_path, *LOADER),
        # The toy CLIP in place of the hub's, and one template for its 80.
        *(f'model.clip.arch={arch}', 'model.clip.pretrained=None'),
        'model.clip.custom_clip_weights=data/toy_clip.safetensors',
        'model.prompts.templates=single',
        cwd=root,
    )
    assert status == 0, output
    rows, _ = results_of(tmp_path)
    for key, test_set in (
        ('voc21', 'pascal-voc21'),
        ('object', 'coco-object'),
    ):
        settings = rows[key]['settings']
        assert settings['model'] == 'sclip'
        config = f'sclip_clip-vit-b16_{test_set}-224x224'
        assert settings['config'] == config
        assert rows[key]['metrics']['mIoU'] >= 0


def test_missing_data_set_is_skipped(home, checkpoint, evaluate, tmp_path):
    root, _ = home
    hidden = root / 'data' / 'VOCdevkit' / 'VOC2012'
    hidden.rename(tmp_path / 'hidden')
    try:
        output = evaluate(
            checkpoint,
            root,
            *('--datasets', 'voc20,ade150'),
            *('--work-dir', tmp_path / 'work'),
            status=1,
        )
    finally:
        (tmp_path / 'hidden').rename(hidden)
    assert 'skipped voc20: the folder of images data/VOCdevkit' in output
    rows, content = results_of(tmp_path / 'work')
    assert list(rows) == ['ade150']
    assert list(content['skipped']) == ['voc20']


def test_config_as_data_set_and_wrong_names(
    home, checkpoint, evaluate, tiny_data, tmp_path
):
    own, whole = tmp_path / 'own.py', tmp_path / 'whole.py'
    own.write_text(
        f"_base_ = ['{TINY}']\n"
        f"test_dataloader = dict(dataset=dict(data_root='{tiny_data}'))\n"
    )
    # The same weights in a model with other constants.
    whole.write_text(
        f"_base_ = ['{own}']\n"
        "model = dict(test_cfg=dict(mode='whole', _delete_=True))\n"
    )
    evaluate(
        checkpoint,
        tmp_path,
        *('--datasets', f'{own},{whole}', '--work-dir', tmp_path / 'work'),
    )
    rows, _ = results_of(tmp_path / 'work')
    first, second = rows[str(own)], rows[str(whole)]
    assert first['images'] == second['images'] == 5
    assert first['settings']['windows']['mode'] == 'slide'
    assert second['settings']['windows'] == dict(mode='whole')
    assert first['metrics'] != second['metrics']
    output = evaluate(checkpoint, tmp_path, '--datasets', 'ade15', status=2)
    assert (
        "'ade15' is neither a benchmark nor a config file; choose from ade150"
        in output
    )
