# SPDX-License-Identifier: Apache-2.0
"""Layout and events of the web page."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import gradio as gr
import numpy as np

from ovseg_mm.apis import OpenVocabInferencer, Segmentation
from ovseg_mm.toy.captions import GROUND_SYNONYMS
from ovseg_mm.toy.scenes import UNSEEN, make_scene
from ovseg_mm.utils.errors import REPORTED_ERRORS, InputError, error_message
from ovseg_mm.utils.image_files import write_image
from ovseg_mm.vocabulary import shipped_vocabularies

from .work import (
    DOWNLOADS,
    hide_unsure,
    read_words,
    segment,
    view_of,
)

MAX_UPLOAD = '20mb'
_MAX_QUEUE = 20
# Number of visitors whose results are kept, about 50 MB each.
_MAX_VISITORS = 40
# Seconds after which results and files of a visitor are deleted.
_KEPT = 3600
_OWN_WORDS = 'my own words'
_HERE = Path(__file__).parent
_FONTS = ('system-ui', 'Segoe UI', 'Roboto', 'Helvetica Neue', 'sans-serif')
_WELCOME = 'Choose an image, write words, and press Segment.'
# For each example: seed of its scene, words, background words.
_EXAMPLES = (
    (7, '; '.join((*UNSEEN, *GROUND_SYNONYMS.values())), ''),
    (11, 'red; blue; green', '; '.join(GROUND_SYNONYMS)),
    (23, 'red; yellow; purple; blue; white; grass|meadow; sand|beach', ''),
)


def serve(
    inferencer: OpenVocabInferencer,
    title: str,
    host: str = '127.0.0.1',
    port: int | None = None,
) -> None:
    """Serve the web page until the process is interrupted.

    Args:
        inferencer (OpenVocabInferencer): The model.
        title (str): Name of the model, shown on the page.
        host (str): Address to listen on. ``'0.0.0.0'``: all addresses of this
            computer.
        port (int, optional): Port. None: the first free port from 7860 on.

    Raises:
        InputError: If the address cannot be used or the port is taken.
    """
    with TemporaryDirectory(prefix='ovseg_mm_web_') as folder:
        page = build_page(inferencer, title, Path(folder))
        try:
            _, address, _ = page.launch(**launch_options(host, port))
        except OSError as error:
            raise InputError(
                f'the page cannot use the address '
                f'{host}:{port or "7860-7959"} ({error}); choose another '
                '--port or --host'
            ) from error
        print(f'The page is at {address} (stop it with Ctrl+C)', flush=True)
        page.block_thread()


def launch_options(
    host: str = '127.0.0.1', port: int | None = None
) -> dict[str, Any]:
    """Options for ``gradio.Blocks.launch``.

    Args:
        host (str): Address to listen on.
        port (int, optional): Port. None: the first free port from 7860 on.

    Returns:
        dict[str, Any]: The options. With them, the page loads nothing from
        other hosts.
    """
    theme = gr.themes.Default(
        primary_hue='indigo',
        font=_FONTS,
        font_mono=('ui-monospace', 'monospace'),
    )
    return dict(
        server_name=host,
        server_port=port,
        share=False,
        prevent_thread_lock=True,
        quiet=True,
        ssr_mode=False,
        max_file_size=MAX_UPLOAD,
        state_session_capacity=_MAX_VISITORS,
        theme=theme,
        css_paths=_HERE / 'viewer.css',
        footer_links=[],
    )


def build_page(
    inferencer: OpenVocabInferencer, title: str, folder: Path
) -> gr.Blocks:
    """Build the web page.

    Args:
        inferencer (OpenVocabInferencer): The model.
        title (str): Name of the model, shown on the page.
        folder (Path): Folder of examples and downloads; created if missing.

    Returns:
        gr.Blocks: The page, to be launched with :func:`launch_options`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    page = gr.Blocks(
        title='ovseg_mm', analytics_enabled=False, delete_cache=(600, _KEPT)
    )
    with page:
        gr.Markdown(f'### Segment any image with any words\nModel: `{title}`')
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                inputs = _input_fields()
                button = gr.Button(
                    'Segment', variant='primary', elem_id='segment'
                )
                image, words, _, background = inputs
                examples = gr.Examples(
                    _write_examples(folder),
                    [image, words, background],
                    elem_id='examples',
                )
            with gr.Column(scale=3, min_width=400):
                viewer = _viewer()
                sliders = _display_fields()
                downloads = _download_buttons()
        _connect(
            _Actions(inferencer, folder),
            (button.click, examples.load_input_event.then),
            [*inputs, *sliders],
            sliders,
            viewer,
            downloads,
        )
    return page.queue(max_size=_MAX_QUEUE, default_concurrency_limit=1)


class _Visit(NamedTuple):
    """Last result of a visitor, its folder of downloads, and a caption."""

    result: Segmentation
    folder: TemporaryDirectory
    message: str


class _Actions:
    """Functions that the page calls on clicks and slider moves.

    Actions return new values for components of the page, such as the viewer
    and the download buttons.

    Args:
        inferencer (OpenVocabInferencer): The model.
        folder (Path): Folder of the downloads.
    """

    def __init__(self, inferencer: OpenVocabInferencer, folder: Path) -> None:
        self.inferencer = inferencer
        self.folder = folder

    def run(
        self,
        path: str | None,
        words: str,
        shipped: str,
        background: str,
        alpha: float,
        threshold: float,
    ) -> list[Any]:
        """Segment the image; errors of the input are shown on the page."""
        started = time.monotonic()
        key = None if shipped == _OWN_WORDS else shipped
        try:
            vocabulary = read_words(words, key)
            result = segment(self.inferencer, path, vocabulary, background)
        except REPORTED_ERRORS as error:
            view = dict(message=error_message(error), error=True)
            return [None, view, *_no_files()]
        seconds = time.monotonic() - started
        height, width = result.labels.shape
        visit = _Visit(
            result,
            TemporaryDirectory(dir=self.folder),
            f'{width} x {height} pixels, {seconds:.1f} s',
        )
        return [visit, *self.show(visit, alpha, threshold)]

    def show(
        self, visit: _Visit | None, alpha: float, threshold: float
    ) -> list[Any]:
        """Draw the last result with other options, and save its files."""
        if visit is None:
            return [dict(message=_WELCOME), *_no_files()]
        result = hide_unsure(visit.result, threshold)
        target = Path(visit.folder.name)
        paths = result.save(target, ('labels', 'geojson'), name='image')
        paths['overlay'] = target / 'image_overlay.png'
        write_image(paths['overlay'], result.overlay(alpha=alpha))
        files = [
            gr.update(value=str(paths[kind]), interactive=True)
            for kind in DOWNLOADS
        ]
        view = view_of(result, alpha)
        return [dict(view, message=visit.message), *files]

    def choose(
        self,
        visit: _Visit | None,
        alpha: float,
        threshold: float,
        event: gr.EventData,
    ) -> dict[str, Any]:
        """Draw the scores of the class that was clicked.

        A second click on the class draws the labels again.
        """
        if visit is None:
            return dict(message=_WELCOME)
        result = hide_unsure(visit.result, threshold)
        view = view_of(result, alpha, event._data.get('name'))
        return dict(view, message=visit.message)


def _no_files() -> list[dict]:
    return [gr.update(value=None, interactive=False) for _ in DOWNLOADS]


def _connect(
    actions: _Actions,
    starts: Sequence[Callable],
    inputs: Sequence[gr.components.Component],
    sliders: Sequence[gr.Slider],
    viewer: gr.HTML,
    downloads: Sequence[gr.DownloadButton],
) -> None:
    """Connect the fields of the page with the actions.

    Args:
        actions (_Actions): The actions.
        starts (Sequence[Callable]): Event listeners of Gradio, such as
            ``button.click``, that start a segmentation.
        inputs (Sequence[gr.components.Component]): Fields with the arguments
            of :meth:`_Actions.run`.
        sliders (Sequence[gr.Slider]): Opacity and threshold.
        viewer (gr.HTML): Viewer of the drawing and its legend.
        downloads (Sequence[gr.DownloadButton]): One button for each kind of
            result in ``DOWNLOADS``, in the same order.
    """
    visit = gr.State(None, time_to_live=_KEPT)
    for start in starts:
        start(
            actions.run,
            inputs,
            [visit, viewer, *downloads],
            api_visibility='private',
            concurrency_id='model',
        )
    quiet: dict[str, Any] = dict(
        api_visibility='private', show_progress='hidden'
    )
    shown = [visit, *sliders]
    for slider in sliders:
        slider.release(actions.show, shown, [viewer, *downloads], **quiet)
    viewer.select(actions.choose, shown, viewer, **quiet)


def _viewer() -> gr.HTML:
    """Viewer of the drawing and its legend."""
    return gr.HTML(
        dict(message=_WELCOME),
        html_template='<div class="ovseg-viewer"></div>',
        js_on_load=(_HERE / 'viewer.js').read_text('utf-8'),
        apply_default_css=False,
        elem_id='viewer',
    )


def _download_buttons() -> list[gr.DownloadButton]:
    with gr.Row():
        return [
            gr.DownloadButton(
                f'Download {label}',
                interactive=False,
                size='sm',
                elem_id=f'download_{kind}',
            )
            for kind, label in DOWNLOADS.items()
        ]


def _input_fields() -> list[gr.components.Component]:
    """Fields for image, words, shipped vocabulary and background words."""
    image = gr.Image(
        type='filepath',
        image_mode=None,
        sources=['upload', 'clipboard'],
        label='Image',
        height=280,
        elem_id='image',
    )
    # Gradio's own reader has no clear message for files that are not images.
    # A subclass of gr.Image, the usual way, would write a file to this folder.
    setattr(image, 'preprocess', _path_of)  # noqa: B010
    words = gr.Textbox(
        label='Words',
        info='Separated by ; or lines. Synonyms by |',
        placeholder='road; sidewalk; sofa|couch; sky',
        lines=3,
        max_lines=8,
        elem_id='words',
    )
    with gr.Row():
        shipped = gr.Dropdown(
            [_OWN_WORDS, *(k for k in shipped_vocabularies() if '-' not in k)],
            value=_OWN_WORDS,
            label='Vocabulary',
            min_width=150,
            elem_id='vocabulary',
        )
        background = gr.Textbox(
            label='Background words',
            placeholder='wall; floor (optional)',
            min_width=150,
            elem_id='background',
        )
    shipped.change(
        lambda key: gr.update(visible=key == _OWN_WORDS),
        shipped,
        words,
        queue=False,
        api_visibility='private',
    )
    return [image, words, shipped, background]


def _path_of(upload: Any) -> str | None:
    """Path of an uploaded file; None if there is no file."""
    return None if upload is None else upload.path


def _display_fields() -> list[gr.Slider]:
    """Sliders for opacity and threshold."""
    with gr.Row():
        return [
            gr.Slider(
                0, 1, 0.6, step=0.05, label='Opacity', elem_id='opacity'
            ),
            gr.Slider(
                0,
                1,
                0,
                step=0.01,
                label='Hide scores below',
                elem_id='threshold',
            ),
        ]


def _write_examples(folder: Path) -> list[list[str]]:
    """Draw toy scenes; return path, words and background words of each."""
    examples = []
    for seed, words, background in _EXAMPLES:
        rng = np.random.default_rng(seed)
        names = rng.permutation(UNSEEN).tolist()
        path = folder / f'toy_world_{seed}.png'
        write_image(path, make_scene(rng, (288, 384), names).image)
        examples.append([str(path), words, background])
    return examples
