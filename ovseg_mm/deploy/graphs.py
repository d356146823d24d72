# SPDX-License-Identifier: Apache-2.0
"""Graphs of an :class:`ImageSide`, in the format of PyTorch or ONNX."""

import importlib.util
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ovseg_mm.utils.errors import InputError

from .image_side import ImageSide

SUFFIXES = {'onnx': '.onnx', 'torch-export': '.pt2'}
# Name under which a graph file contains its description.
INSIDE = 'ovseg_mm.json'
_ONNX_PACKAGES = ('onnx', 'onnxruntime', 'onnxscript')
_LOGGERS = ('onnxscript', 'onnx_ir', 'torch.onnx')

Runner = Callable[[np.ndarray, np.ndarray | None], np.ndarray]
"""Function that runs a graph. Its arguments are images (B, 3, H, W), and text
embeddings (T, P, C) or None. It returns scores (B, T, H, W). See
:meth:`ImageSide.forward`."""


@dataclass(frozen=True)
class Graph:
    """Traced :class:`ImageSide`, a segmentor without its text encoder.

    Attributes:
        program (Any): The trace, a ``torch.export.ExportedProgram``.
        size (tuple[int, int]): Height and width of the images in the trace.
        any_size (bool): Whether the graph takes images of any height and
            width, not only of ``size``.
        least_side (int): Smallest height and width of an image, in pixels.
        most_texts (int, optional): Largest number of texts. None: there is no
            limit, or the graph has no text input.
    """

    program: Any
    size: tuple[int, int]
    any_size: bool
    least_side: int
    most_texts: int | None


def check_packages(kind: str) -> None:
    """Raise if the installed packages cannot write a format.

    Args:
        kind (str): Format, ``'onnx'`` or ``'torch-export'``.

    Raises:
        InputError: If packages are missing or PyTorch is too old.
    """
    if not hasattr(torch.compiler, 'is_exporting'):
        raise InputError(
            f'PyTorch {torch.__version__} is too old to export models; '
            'install 2.7 or newer'
        )
    missing = [
        name
        for name in _ONNX_PACKAGES
        if importlib.util.find_spec(name) is None
    ]
    if kind == 'onnx' and missing:
        raise InputError(
            f'--format onnx needs {", ".join(missing)}; install with: pip '
            "install 'ovseg_mm[export]'"
        )


def trace(
    side: ImageSide, size: tuple[int, int], text: Tensor | None
) -> Graph:
    """Trace an :class:`ImageSide`.

    The graph takes any number of images. If ``side.takes_any_size`` is True,
    it takes images of any size. With ``text``, it takes any number of texts.

    Args:
        side (ImageSide): Module to trace.
        size (tuple[int, int]): Height and width of the images in the trace.
        text (Tensor, optional): Embeddings of at least one class text,
            (T, P, C), for T texts with P prompts each, and C channels. None:
            the module contains the embeddings.

    Returns:
        Graph: The graph.

    Raises:
        InputError: If the model cannot be traced.
    """
    from torch.export import Dim

    any_size = side.takes_any_size
    axes: dict[int, Any] = {0: Dim.DYNAMIC}
    if any_size:
        axes.update({2: Dim.DYNAMIC, 3: Dim.DYNAMIC})
    arguments: list[Tensor] = [torch.rand(2, 3, *size) * 255]
    shapes: list[dict[int, Any]] = [axes]
    if text is not None:
        # PyTorch would treat axes of size 1 as constants.
        arguments.append(torch.cat([text] * 3)[:3])
        shapes.append({0: Dim.DYNAMIC})
    with exporting(), torch.no_grad():
        program = torch.export.export(
            side,
            tuple(arguments),
            dynamic_shapes=dict(zip(('images', 'text'), shapes)),
        )
    images, *texts = (
        node.meta['val']
        for node in program.graph.nodes
        if node.op == 'placeholder' and node.name in ('images', 'text')
    )
    least = max(bounds(program, n)[0] for n in images.shape[2:])
    most = bounds(program, texts[0].shape[0])[1] if texts else None
    return Graph(program, size, any_size, least, most)


def bounds(program: Any, side: Any) -> tuple[int, int | None]:
    """Smallest and largest size that a traced program accepts for an axis.

    Args:
        program (Any): The trace, a ``torch.export.ExportedProgram``.
        side (Any): Size of the axis in the trace, ``int`` or
            ``torch.SymInt``.

    Returns:
        tuple[int, int | None]: Smallest and largest size. The largest size is
        None if there is no limit.
    """
    if isinstance(side, int):
        return side, side
    found = program.range_constraints[side.node.expr]
    most = found.upper
    return int(found.lower), int(most) if most.is_Integer else None


def save(graph: Graph, path: Path, facts: dict[str, Any]) -> None:
    """Write a graph; the suffix of the path chooses the format.

    Args:
        graph (Graph): The graph.
        path (Path): File to write. An ONNX graph of more than about 1.5 GB
            has its weights in a second file, ``PATH.data``.
        facts (dict[str, Any]): Description to store inside the file, as JSON
            types.

    Raises:
        InputError: If the graph cannot be written in this format.
        OSError: If the file cannot be written.
    """
    text = json.dumps(facts)
    if path.suffix == SUFFIXES['torch-export']:
        torch.export.save(graph.program, path, extra_files={INSIDE: text})
        return
    import onnx_ir

    names = list(graph.program.graph_signature.user_inputs)
    with exporting():
        program: Any = torch.onnx.export(
            graph.program,
            dynamo=True,
            verbose=False,
            input_names=names,
            output_names=['scores'],
        )
    program.model.metadata_props[INSIDE] = text
    sides = ('height', 'width') if graph.any_size else graph.size
    axes = dict(
        images=('batch', 3, *sides),
        text=('texts', None, None),
        scores=('batch', 'texts', *sides),
    )
    for value in (*program.model.graph.inputs, *program.model.graph.outputs):
        value.shape = onnx_ir.Shape(
            new if isinstance(new, str) and not isinstance(old, int) else old
            for new, old in zip(axes[value.name], value.shape)
        )
    program.save(path)


def load(path: Path) -> Runner:
    """Load a graph with onnxruntime or PyTorch, on the CPU.

    Args:
        path (Path): File that :func:`save` has written.

    Returns:
        Runner: Function that runs the graph.
    """
    if path.suffix == SUFFIXES['torch-export']:
        module = torch.export.load(path).module()

        def run_torch(
            images: np.ndarray, text: np.ndarray | None
        ) -> np.ndarray:
            arrays = [images] if text is None else [images, text]
            with torch.no_grad():
                return module(*map(torch.from_numpy, arrays)).numpy()

        return run_torch

    import onnxruntime

    session = onnxruntime.InferenceSession(
        path, providers=['CPUExecutionProvider']
    )

    def run_onnx(images: np.ndarray, text: np.ndarray | None) -> np.ndarray:
        arrays = dict(images=images)
        if text is not None:
            arrays['text'] = text
        return session.run(['scores'], arrays)[0]

    return run_onnx


@contextmanager
def exporting() -> Iterator[None]:
    """Context manager that hides warnings of PyTorch's exporters.

    It also replaces errors of the exporters by :class:`InputError`.

    Raises:
        InputError: If the exporters cannot export the model.
    """
    from torch._dynamo.exc import TorchDynamoException
    from torch.onnx import OnnxExporterError

    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    for name in levels:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    except (TorchDynamoException, OnnxExporterError) as error:
        _, _, reason = str(error).rpartition('## Exception summary')
        reason = reason.strip().partition('\n')[0]
        raise InputError(
            f'the model cannot be exported; message of PyTorch: {reason} '
            '(--debug shows the whole message)'
        ) from error
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
