# SPDX-License-Identifier: Apache-2.0
"""Export of a model: trace, write and compare the graph."""

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ovseg_mm.apis import OpenVocabInferencer
from ovseg_mm.models import OpenVocabSegmentor
from ovseg_mm.utils.config_file import read_config_file
from ovseg_mm.utils.config_types import is_type, type_name
from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.paths import check_destination, expanded
from ovseg_mm.vocabulary import Vocabulary
from ovseg_mm.zoo import ModelSource

from . import graphs
from .embeddings import check_embeddings_file, embeddings_of, save_embeddings
from .facts import model_facts, vocabulary_facts
from .image_side import ImageSide

FORMATS = (*graphs.SUFFIXES, 'embeddings')
# Least share of pixels whose label is the same in the graph and in PyTorch.
LEAST_EQUAL = 0.999
# Number of texts with which a graph with a text input is compared.
_COMPARED_TEXTS = 64
# A single text gives the same label at all pixels, so scores are compared
# instead. Scores with a difference below this number count as equal.
_SAME_SCORE = 1e-3


@dataclass(frozen=True)
class ExportReport:
    """Result of an export.

    Attributes:
        files (tuple[Path, ...]): Written files; the requested file is first.
        facts (dict[str, Any]): Description of the export. For a graph: the
            content of the JSON file that is written next to the graph. For
            embeddings: ``shape`` of the array and ``names`` of the classes.
    """

    files: tuple[Path, ...]
    facts: dict[str, Any]


def export_model(
    source: ModelSource,
    dst: str | Path,
    kind: str = 'onnx',
    classes: Vocabulary | None = None,
    size: tuple[int, int] | None = None,
    image: Image.Image | None = None,
    cfg_options: dict | None = None,
) -> ExportReport:
    """Export a model as a graph, or write the embeddings of class texts.

    The graph contains the model without its text encoder:

    - input ``images``: B RGB images in [0, 255], (B, 3, H, W) float32;
    - input ``text``, only without ``classes``: embeddings of T class texts
      with P prompts each and C channels, (T, P, C) float32;
    - output ``scores``: score of each text at each pixel, (B, T, H, W)
      float32.

    Before the graph is moved to ``dst``, its labels are compared with the
    labels of the PyTorch model. A JSON file next to the graph describes the
    inputs, the steps from an image file to ``images`` (resizing, windows),
    and the labels. Its path is ``dst`` with the suffix ``.json`` added.

    Args:
        source (ModelSource): The model.
        dst (str | Path): File to write.
        kind (str): Format: ``'onnx'``; ``'torch-export'``; or
            ``'embeddings'``, an NPZ file with the input ``text`` of a graph.
        classes (Vocabulary, optional): Class texts whose embeddings become
            part of the graph, or are written to the NPZ file. None: the graph
            has the input ``text``; an NPZ file gets the embeddings of the
            config's vocabulary.
        size (tuple[int, int], optional): Height and width of the images, if
            the graph can take only one size. None: the window of the config.
        image (Image.Image, optional): Image on which the labels of the graph
            and of the PyTorch model are compared. Images of random noise are
            always used too.
        cfg_options (dict, optional): Settings to override in the config.

    Returns:
        ExportReport: Written files, and a description of the export.

    Raises:
        InputError: If the model or the destination cannot be used, packages
            are missing, or the labels of the graph and of the PyTorch model
            differ at too many pixels.
        OSError: If a file cannot be written.
    """
    dst = expanded(dst)
    _check_destination(dst, kind)
    _check_model(source)
    inferencer = OpenVocabInferencer(
        source, device='cpu', cfg_options=cfg_options
    )
    model = inferencer.model
    if classes is not None:
        model.set_vocabulary(classes)
    if kind == 'embeddings':
        text = save_embeddings(model, dst)
        names = list(model.vocabulary.names)
        return ExportReport((dst,), dict(shape=list(text.shape), names=names))
    text = embeddings_of(model)
    side = ImageSide(model, None if classes is None else text)
    given = text if classes is None else None
    graph = graphs.trace(side, _size_of(model, side, size), given)
    facts = dict(
        file=dst.name,
        format=kind,
        **model_facts(source, model, None if graph.any_size else graph.size),
        input=_input_facts(graph, given),
        vocabulary=None if classes is None else vocabulary_facts(model),
    )
    folder = tempfile.TemporaryDirectory(
        prefix=f'.{dst.name[:100]}.', suffix='.tmp', dir=dst.parent
    )
    with folder as name:
        path = Path(name, dst.name)
        graphs.save(graph, path, facts)
        facts['compared'] = _compare(side, path, graph, given, image)
        facts['bytes'] = path.stat().st_size
        text_of_facts = json.dumps(facts, indent=1, ensure_ascii=False)
        _facts_file(path).write_text(f'{text_of_facts}\n', encoding='utf-8')
        files = _put_in_place(path, dst)
    return ExportReport(files, facts)


def _check_destination(dst: Path, kind: str) -> None:
    """Raise if ``dst`` has a wrong suffix or must not be replaced.

    An existing file is replaced only if an earlier export has written it.
    """
    if kind not in FORMATS:
        raise InputError(f'format {kind!r} is not one of {", ".join(FORMATS)}')
    suffix = graphs.SUFFIXES.get(kind, '.npz')
    if dst.suffix != suffix:
        raise InputError(
            f'{dst}: a file of --format {kind} ends with {suffix}; name it '
            f'{dst.stem or "model"}{suffix}'
        )
    check_destination(dst)
    if kind == 'embeddings':
        check_embeddings_file(dst)
        return
    graphs.check_packages(kind)
    for path in (dst, _data_file(dst), _facts_file(dst)):
        check_destination(path)
        if path.exists() and not _is_export(dst):
            raise InputError(
                f'{path} exists and was not written by export; move this '
                'file, or give another name'
            )


def _is_export(dst: Path) -> bool:
    """Whether a file was written by an export and not changed afterwards."""
    try:
        facts = json.loads(_facts_file(dst).read_text(encoding='utf-8'))
        return (
            facts['written_by'].startswith('ovseg_mm ')
            and facts['file'] == dst.name
            and facts['bytes'] == dst.stat().st_size
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _check_model(source: ModelSource) -> None:
    """Raise if the method of a model cannot be exported.

    The check reads only the config, before weights are downloaded or loaded.
    """
    from mmseg.registry import MODELS

    config = source.config
    if isinstance(config, (str, Path)):
        config = read_config_file(config)
    model = config.get('model') or {}
    if is_type(model, OpenVocabSegmentor, MODELS):
        return
    reason = (
        'it cuts regions out of images, and the number of regions is not '
        'known in advance'
        if type_name(model) == 'OpenVocabMaskSegmentor'
        else 'it is not an OpenVocabSegmentor'
    )
    raise InputError(
        f'{source.name} ({type_name(model)}) cannot be exported: {reason}; '
        'export CAT-Seg, Cascade-CLIP or a method without training'
    )


def _size_of(
    model: OpenVocabSegmentor,
    side: ImageSide,
    size: tuple[int, int] | None,
) -> tuple[int, int]:
    """Height and width of the images that a graph is traced with."""
    cfg, backbone = model.test_cfg, model.backbone
    if size is not None and min(size) < 1:
        raise InputError(
            f'--size {size[0]} {size[1]}: height and width must be above 0'
        )
    if size is None and cfg['mode'] == 'slide':
        size = tuple(cfg['crop_size'])
    if size is None:
        size = getattr(backbone, 'input_size', None)
    if size is None and side.takes_any_size:
        size = (8 * backbone.patch_size,) * 2
    if size is None:
        raise InputError(
            f'a graph with {type(model.decode_head).__name__} takes images of '
            'one size only, but the config has no sliding window that would '
            'set this size; give --size HEIGHT WIDTH'
        )
    return (int(size[0]), int(size[1]))


def _input_facts(graph: graphs.Graph, text: Tensor | None) -> dict[str, Any]:
    height, width = graph.size
    dynamic = ['batch', 'height', 'width'] if graph.any_size else ['batch']
    facts: dict[str, Any] = dict(
        images='B, 3, height, width; float32; RGB in [0, 255]',
        height=height,
        width=width,
        dynamic=dynamic,
        least_side=graph.least_side,
    )
    if text is not None:
        facts['text'] = dict(
            prompts=text.shape[1],
            channels=text.shape[2],
            most=graph.most_texts,
        )
    return facts


def _compare(
    side: ImageSide,
    path: Path,
    graph: graphs.Graph,
    text: Tensor | None,
    image: Image.Image | None,
) -> dict[str, Any]:
    """Compare the labels of a written graph with those of the PyTorch model.

    Returns the share of pixels with the same label, and the largest
    difference of two scores.
    """
    run = graphs.load(path)
    if text is not None:
        text = text[: min(_COMPARED_TEXTS, graph.most_texts or len(text))]
    height, width = graph.size
    random = np.random.default_rng(0)
    batches = [random.uniform(0, 255, (2, 3, height, width))]
    if graph.any_size:
        other = (1, 3, height + height // 2, width + width // 4)
        batches.append(random.uniform(0, 255, other))
    if image is not None:
        resized = image.convert('RGB').resize((width, height))
        batches.append(np.asarray(resized).transpose(2, 0, 1)[None])
    equal, largest = 1.0, 0.0
    for batch in batches:
        images = batch.astype(np.float32)
        with torch.no_grad():
            wanted = side(torch.from_numpy(images), text).numpy()
        found = run(images, None if text is None else text.numpy())
        difference = np.abs(found - wanted)
        same = wanted.argmax(axis=1) == found.argmax(axis=1)
        if wanted.shape[1] == 1:
            same = difference[:, 0] < _SAME_SCORE
        equal = min(equal, float(same.mean()))
        largest = max(largest, float(difference.max()))
    if equal < LEAST_EQUAL:
        raise InputError(
            f'{path.name} is not written: the graph and the PyTorch model '
            f'give the same label at {equal:.2%} of the pixels, but '
            f'{LEAST_EQUAL:.1%} are needed (largest difference of two scores: '
            f'{largest:.2g}); try another --format'
        )
    return dict(labels_equal=equal, largest_difference=largest)


def _put_in_place(path: Path, dst: Path) -> tuple[Path, ...]:
    """Move the finished files to their destination; return their paths.

    The JSON file is moved last, because it marks the other files as complete.
    """
    data = _data_file(path)
    _facts_file(dst).unlink(missing_ok=True)
    files = [dst]
    if data.exists():
        os.replace(data, _data_file(dst))
        files.append(_data_file(dst))
    else:
        _data_file(dst).unlink(missing_ok=True)
    os.replace(path, dst)
    os.replace(_facts_file(path), _facts_file(dst))
    return (*files, _facts_file(dst))


def _facts_file(path: Path) -> Path:
    return path.with_name(f'{path.name}.json')


def _data_file(path: Path) -> Path:
    return path.with_name(f'{path.name}.data')
