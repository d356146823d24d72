# SPDX-License-Identifier: Apache-2.0
import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from PIL import Image

from ovseg_mm.engine.hooks import OpenVocabVisualizationHook
from ovseg_mm.engine.hooks import visualization_hook as hook
from ovseg_mm.visualization import OpenVocabVisualizer, visualizer

META = dict(
    classes=['cat', 'dog'],
    palette=[[250, 0, 0], [0, 250, 0]],
    unseen=[1],
)


@pytest.fixture
def drawer(tmp_path):
    """A visualizer as a runner makes it: the current one, by name."""
    instance = OpenVocabVisualizer.get_instance(
        'test',
        vis_backends=[dict(type='LocalVisBackend')],
        save_dir=str(tmp_path / 'show'),
    )
    instance.dataset_meta = META
    return instance


def make_sample(truth=None, prediction=None, size=(300, 280), **info):
    sample = SegDataSample(metainfo=info)
    for key, label in [('gt_sem_seg', truth), ('pred_sem_seg', prediction)]:
        if label is not None:
            data = torch.full((1, *size), label)
            sample.set_data({key: PixelData(data=data)})
    return sample


def grey(height=300, width=280):
    return np.full((height, width, 3), 100, dtype=np.uint8)


def test_truth_and_prediction_stand_side_by_side(drawer):
    drawer.alpha = 1.0
    sample = make_sample(truth=0, prediction=1)
    drawn = drawer.draw_sample(grey(), sample)
    assert drawn.shape[1] >= 560
    assert drawn[150, 100].tolist() == [250, 0, 0]
    assert drawn[150, 460].tolist() == [0, 250, 0]
    single = drawer.draw_sample(grey(), sample, draw_gt=False)
    assert single.shape[1] == 280
    assert single[0, 0].tolist() == [0, 250, 0]
    bare = drawer.draw_sample(grey(), sample, draw_gt=False, with_labels=False)
    assert bare.shape == (300, 280, 3)
    np.testing.assert_array_equal(drawer.draw_sample(grey(), None), grey())


def test_files_and_backends(drawer, tmp_path):
    sample = make_sample(prediction=0)
    file = tmp_path / 'new' / 'a.png'
    drawer.add_datasample('a', grey(), data_sample=sample, out_file=str(file))
    alone = np.array(Image.open(file))
    drawer.add_datasample(
        'a', grey(), sample, out_file=str(file), with_image=True
    )
    both = np.array(Image.open(file))
    assert both.shape[1] > 2 * alone.shape[1]
    assert (both[100:200, :280] == 100).all()
    drawer.add_datasample('val_a', grey(), data_sample=sample, step=7)
    backend = tmp_path / 'show' / 'vis_data' / 'vis_image'
    # The drawings with a file of their own are not written twice.
    assert [f.name for f in backend.iterdir()] == ['val_a_7.png']


def test_tensorboard_gets_the_pictures_of_tests(tmp_path, images):
    pytest.importorskip('tensorboard')
    from tensorboard.backend.event_processing import event_accumulator

    drawer = OpenVocabVisualizer.get_instance(
        'tensorboard',
        vis_backends=[dict(type='TensorboardVisBackend')],
        save_dir=str(tmp_path / 'show'),
    )
    drawer.dataset_meta = META
    sample = make_sample(0, 1, img_path=str(images[0]))
    run_test(SimpleNamespace(log_dir=None), [sample])
    drawer.close()
    folder = tmp_path / 'show' / 'vis_data'
    events = event_accumulator.EventAccumulator(str(folder)).Reload()
    (shown,) = events.Images('a')
    shown = np.array(Image.open(io.BytesIO(shown.encoded_image_string)))
    written = np.array(Image.open(tmp_path / 'show' / 'a.png'))
    np.testing.assert_array_equal(shown, written)


def test_wandb_gets_the_pictures_of_validations(tmp_path, images, monkeypatch):
    logged = []
    stub = SimpleNamespace(
        init=lambda **kwargs: SimpleNamespace(save=lambda *a, **k: None),
        Image=lambda pixels: pixels,
        log=lambda entry, **kwargs: logged.append(entry),
        run=SimpleNamespace(log_code=lambda **kwargs: None),
        join=lambda: None,
    )
    monkeypatch.setitem(sys.modules, 'wandb', stub)
    drawer = OpenVocabVisualizer.get_instance(
        'wandb',
        vis_backends=[dict(type='WandbVisBackend')],
        save_dir=str(tmp_path / 'show'),
    )
    drawer.dataset_meta = META
    sample = make_sample(0, 1, img_path=str(images[0]))
    drawing = OpenVocabVisualizationHook(draw=True, interval=1)
    drawing.after_val_iter(SimpleNamespace(iter=3), 0, {}, [sample])
    ((name, shown),) = logged[0].items()
    assert name == 'val_a'
    expected = drawer.draw_sample(grey(), sample, with_image=True)
    np.testing.assert_array_equal(shown, expected)


def test_wrong_pixels_are_outlined_on_request(drawer, images, tmp_path):
    sample = make_sample(0, 0, img_path=str(images[0]))
    sample.pred_sem_seg.data[:, 100:200, 100:200] = 1
    sample.gt_sem_seg.data[:, 150:] = 255
    pictures = []
    for outline in (False, True):
        run_test(
            SimpleNamespace(log_dir=None), [sample], outline_errors=outline
        )
        picture = np.array(Image.open(tmp_path / 'show' / 'a.png'))
        pictures.append(picture[:300])  # without the legend
    rows, columns = np.nonzero((pictures[0] != pictures[1]).any(axis=2))
    # 50 of the 100 rows have a ground truth.
    assert abs(np.ptp(rows) - 50) <= 2 and abs(np.ptp(columns) - 100) <= 2
    assert columns.min() > 2 * 280, 'the prediction is the last panel'
    drawn = drawer.draw_sample(
        grey(), sample, draw_gt=False, outline_errors=True
    )
    assert (drawn == (255, 0, 60)).all(axis=2).any()


def test_no_data_set_is_assumed(drawer):
    drawer.set_dataset_meta()
    assert drawer.dataset_meta is None
    assert (
        drawer.draw_sample(grey(), make_sample(prediction=3)).shape[1] == 280
    )
    drawer.set_dataset_meta(classes=['a', 'b', 'c'])
    assert len(drawer.dataset_meta['palette']) == 3
    drawer.set_dataset_meta(dataset_name='ade')
    assert len(drawer.dataset_meta['classes']) == 150
    named = OpenVocabVisualizer('named', classes=['a'], palette=[[1, 2, 3]])
    assert named.dataset_meta == dict(classes=['a'], palette=[[1, 2, 3]])


@pytest.fixture
def images(tmp_path):
    paths = []
    for name in ('a.jpg', 'b.jpg'):
        paths.append(tmp_path / name)
        Image.fromarray(grey()).save(paths[-1])
    return paths


def run_test(runner, samples, **kwargs):
    drawing = OpenVocabVisualizationHook(draw=True, **kwargs)
    drawing.before_test(runner)
    drawing.after_test_iter(runner, 0, {}, samples[:1])
    drawing.after_test_iter(runner, 1, {}, samples[1:])
    drawing.after_test(runner)


def test_every_test_image_is_drawn_under_its_name(drawer, images, tmp_path):
    samples = [
        make_sample(0, 1, img_path=str(images[0])),
        make_sample(0, 0, img_path=str(images[1]), sample_name='sub__b'),
    ]
    run_test(SimpleNamespace(log_dir=None), samples)
    files = {f.name for f in (tmp_path / 'show').glob('*.png')}
    assert files == {'a.png', 'sub__b.png'}
    drawn = np.array(Image.open(tmp_path / 'show' / 'a.png'))
    # image, ground truth, prediction
    assert drawn.shape[1] > 3 * 280
    assert drawn.std() > 10


def test_names_that_lead_out_of_the_folder_are_refused(
    drawer, images, tmp_path
):
    sample = make_sample(0, 0, img_path=str(images[0]), sample_name='../x')
    with pytest.raises(ValueError, match='leads out of the folder'):
        run_test(SimpleNamespace(log_dir=None), [sample])


def test_other_processes_draw_their_share(
    drawer, images, tmp_path, monkeypatch
):
    for module in (hook, visualizer):
        monkeypatch.setattr(module, 'is_main_process', lambda: False)
    monkeypatch.setattr('mmengine.dist.get_rank', lambda group=None: 1)
    drawer.dataset_meta = dict(META, classes=['x', 'y'])
    assert drawer.dataset_meta['classes'] == ['x', 'y']
    samples = [make_sample(0, 1, img_path=str(path)) for path in images]
    run_test(SimpleNamespace(log_dir=None), samples)
    assert len(list((tmp_path / 'show').glob('*.png'))) == 2
    drawing = OpenVocabVisualizationHook(draw=True, interval=1)
    drawing.after_val_iter(SimpleNamespace(iter=3), 0, {}, samples)
    assert not list((tmp_path / 'show').rglob('vis_image/*.png'))


def test_validation_draws_at_the_interval(drawer, images, tmp_path):
    sample = make_sample(0, 1, img_path=str(images[0]))
    drawing = OpenVocabVisualizationHook(draw=True, interval=2)
    for batch in range(5):
        sample.set_metainfo(dict(sample_name=f'x{batch}'))
        drawing.after_val_iter(SimpleNamespace(iter=9), batch, {}, [sample])
    names = sorted(f.name for f in (tmp_path / 'show').rglob('*.png'))
    assert names == ['val_x0_9.png', 'val_x2_9.png', 'val_x4_9.png']


def test_nothing_is_read_when_nothing_is_drawn(drawer, tmp_path):
    sample = make_sample(0, 1, img_path='/no/such/file.jpg')
    drawing = OpenVocabVisualizationHook()
    runner = SimpleNamespace(log_dir=None, iter=0)
    drawing.before_test(runner)
    drawing.after_val_iter(runner, 0, {}, [sample])
    drawing.after_test_iter(runner, 0, {}, [sample])
    drawing.after_test(runner)
    assert not list((tmp_path / 'show').rglob('*.png'))


def test_images_are_drawn_as_the_data_set_read_them(drawer, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    pixels = np.arange(4 * 6, dtype=np.uint8).reshape(4, 6)
    Image.fromarray(pixels).save(tmp_path / 'a.png', exif=exif)
    stored, upright = pixels, pixels[::-1].T
    drawing = OpenVocabVisualizationHook(draw=True)

    def read(**meta):
        sample = SegDataSample()
        sample.set_metainfo(dict(img_path=str(tmp_path / 'a.png'), **meta))
        return drawing._read(sample)[..., 0]

    np.testing.assert_array_equal(read(exif_applied=True), upright)
    np.testing.assert_array_equal(read(exif_applied=False), stored)
    # Other data sets say the size alone.
    np.testing.assert_array_equal(read(ori_shape=(6, 4)), upright)
    np.testing.assert_array_equal(read(ori_shape=(4, 6)), stored)
    deep = np.arange(24, dtype=np.uint16).reshape(4, 6) * 2000
    Image.fromarray(deep).save(tmp_path / 'a.png')
    np.testing.assert_array_equal(read(), deep >> 8)
