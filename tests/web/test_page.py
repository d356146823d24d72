# SPDX-License-Identifier: Apache-2.0
"""The page in a browser, with real clicks."""

import json
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from ovseg_mm.toy.scenes import make_scene
from ovseg_mm.vocabulary import load_vocabulary

from ..conftest import free_port

pytest.importorskip('gradio')
playwright = pytest.importorskip('playwright.sync_api')

CHROMIUM = next(
    filter(None, map(shutil.which, ('chromium', 'chromium-browser'))), None
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason='there is no Chromium'),
]
WORDS = 'plain red; striped green; beach; sea; <b>rock</b>'


@pytest.fixture(scope='module')
def server():
    """The command; it starts while the browser does."""
    command = [sys.executable, '-m', 'ovseg_mm', 'web', '--model', 'toy']
    with subprocess.Popen(
        [*command, '--port', free_port()], stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


@pytest.fixture(scope='module')
def browser(server):
    # Not of the session: other tests start event loops of their own.
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM, args=['--no-sandbox']
        )
        yield browser
        browser.close()


@pytest.fixture(scope='module')
def address(server, browser):
    """Address that the command prints."""
    line = server.stdout.readline()
    return re.search(r'http://127\.0\.0\.1:\d+/', line)[0]


@pytest.fixture
def page(browser, address):
    """A new visitor; nothing may be loaded from another host, nor fail."""
    page = browser.new_page(viewport=dict(width=1280, height=900))
    page.set_default_timeout(20_000)
    requests, errors = [], []
    page.on('request', lambda request: requests.append(request.url))
    page.on('pageerror', lambda error: errors.append(error))
    page.goto(address)
    page.wait_for_selector('#segment')
    yield page
    page.close()
    assert len(requests) > 10 and not errors
    own = address, address.rstrip('/'), 'data:', 'blob:'
    assert not [url for url in requests if not url.startswith(own)]


@pytest.fixture
def scene(tmp_path):
    rng = np.random.default_rng(3)
    scene = make_scene(rng, (96, 128), ['plain red', 'striped green'])
    path = tmp_path / 'scene.png'
    Image.fromarray(scene.image).save(path)
    return str(path)


def upload(page, path):
    page.set_input_files('#image input[type=file]', path)
    page.wait_for_selector('#image img')


def segment(page, words):
    page.fill('#words textarea', words)
    page.click('#segment')


def message(page, text):
    return page.wait_for_selector(f'.ovseg-message:has-text("{text}")')


@contextmanager
def changed(page, selector, key):
    """Wait until something differs from what it was."""
    read = f'document.querySelector({json.dumps(selector)}).{key}'
    old = page.evaluate(read)
    yield
    page.wait_for_function(f'old => {read} !== old', arg=old)


def set_slider(page, name, value):
    with changed(page, '.ovseg-picture', 'src'):
        page.fill(f'#{name} input[type=number]', value)
        page.locator(f'#{name} input[type=number]').blur()


def legend(page):
    return page.locator('.ovseg-name').all_inner_texts()


def test_words_scores_and_downloads(page, scene, tmp_path):
    upload(page, scene)
    segment(page, WORDS)
    message(page, '128 x 96 pixels')
    found = legend(page)
    # By area, and text is not taken for HTML.
    assert set(found) <= set(WORDS.split('; ')) and len(found) >= 3
    shares = page.locator('.ovseg-share').all_inner_texts()
    shares = [float(re.search(r'[\d.]+', text)[0]) for text in shares]
    assert shares == sorted(shares, reverse=True)

    with page.expect_download() as waiting:
        page.click('#download_labels')
    waiting.value.save_as(tmp_path / 'labels.png')
    labels = np.array(Image.open(tmp_path / 'labels.png'))
    assert labels.shape == (96, 128)

    # The best word under the mouse is the label of the pixel.
    picture = page.locator('.ovseg-picture')
    box = picture.bounding_box()
    for x, y in ((0.2, 0.3), (0.7, 0.8)):
        page.mouse.move(
            box['x'] + x * box['width'], box['y'] + y * box['height']
        )
        page.wait_for_selector('.ovseg-tip:visible')
        best = page.locator('.ovseg-word span').first.inner_text()
        label = labels[int(y * 96), int(x * 128)]
        assert best == WORDS.split('; ')[label]

    overlay = picture.get_attribute('src')
    page.click(f'.ovseg-entry:has-text("{found[1]}")')
    page.wait_for_selector('.ovseg-entry[aria-pressed=true]')
    assert picture.get_attribute('alt') == f'scores of {found[1]}'
    assert picture.get_attribute('src') != overlay
    page.click('.ovseg-entry[aria-pressed=true]')
    page.wait_for_selector('.ovseg-picture[alt=segmentation]')
    assert picture.get_attribute('src') == overlay

    # Other words, and one of them as background.
    page.fill('#background textarea, #background input', 'beach')
    segment(page, 'sea; plain red')
    page.wait_for_function(
        '() => document.querySelectorAll(".ovseg-name").length <= 2'
    )
    assert set(legend(page)) <= {'sea', 'plain red'}
    with page.expect_download() as waiting:
        page.click('#download_geojson')
    waiting.value.save_as(tmp_path / 'x.geojson')
    content = json.loads((tmp_path / 'x.geojson').read_text())
    assert content['type'] == 'FeatureCollection' and content['features']


def test_example_sliders_and_shipped_words(page):
    page.locator('#examples tbody tr').first.click()
    message(page, 'pixels')
    set_slider(page, 'opacity', '0')
    shares = page.locator('.ovseg-legend').inner_text()
    set_slider(page, 'threshold', '1')
    assert page.locator('.ovseg-legend').inner_text() != shares
    set_slider(page, 'threshold', '0')
    assert page.locator('.ovseg-legend').inner_text() == shares
    page.click('#vocabulary input')
    page.click('[role=option]:has-text("voc21")')
    page.wait_for_selector('#words', state='hidden')
    with changed(page, '.ovseg-legend', 'innerText'):
        page.click('#segment')
    assert set(legend(page)) <= set(load_vocabulary('voc21').label_names)


def test_nonsense_becomes_a_sentence(page, tmp_path):
    segment(page, 'cat')
    message(page, 'there is no image yet')
    (tmp_path / 'x.png').write_text('not an image')
    page.set_input_files('#image input[type=file]', str(tmp_path / 'x.png'))
    page.wait_for_selector('#image img', state='attached')
    segment(page, 'cat')
    message(page, 'x.png is not an image')
    segment(page, ' ; ')
    message(page, 'there are no words yet')
    segment(page, ';'.join(f'w{n}' for n in range(5000)))
    message(page, '5000 words are too many')
    page.click('#image [aria-label="Remove Image"], #image [title="Clear"]')
    Image.new('RGB', (1, 1)).save(tmp_path / 'one.png')
    upload(page, str(tmp_path / 'one.png'))
    segment(page, 'cat; dog')
    message(page, 'of 1x1 pixels')
