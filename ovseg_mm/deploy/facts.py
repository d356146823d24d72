# SPDX-License-Identifier: Apache-2.0
"""Descriptions of an exported file, for the program that runs it."""

from typing import Any

import torch
from mmengine.config import Config

from ovseg_mm.models import OpenVocabSegmentor
from ovseg_mm.version import __version__
from ovseg_mm.zoo import ModelSource

# Name of an activation, by its value for the logit 0.
_ACTIVATIONS = {0.0: 'none', 0.5: 'sigmoid'}


def model_facts(
    source: ModelSource,
    model: OpenVocabSegmentor,
    fixed: tuple[int, int] | None,
) -> dict[str, Any]:
    """Describe a model, without its class texts.

    Args:
        source (ModelSource): Name, config and licence of the model.
        model (OpenVocabSegmentor): The model.
        fixed (tuple[int, int], optional): Height and width of the images, if
            the graph takes images of only one size. None: it takes images of
            any size.

    Returns:
        dict[str, Any]: Description as JSON types:

        - ``written_by``: name and version of this package;
        - ``model`` and ``method``: names;
        - ``licence_of_weights``: None if ``source.model`` is None;
        - ``activation``: function that the graph applies to the logits,
          ``'none'``, ``'sigmoid'`` or ``'other'``;
        - ``protocol``: see :func:`protocol_of`.
    """
    score = float(model.decode_head.activate(torch.zeros(1, 1, 1)))
    return dict(
        written_by=f'ovseg_mm {__version__}, export',
        model=source.name,
        method=model.decode_head.method,
        licence_of_weights=(
            source.model.weights_licence if source.model else None
        ),
        activation=_ACTIVATIONS.get(score, 'other'),
        protocol=protocol_of(model.cfg, fixed),
    )


def protocol_of(config: Config, fixed: tuple[int, int] | None) -> dict:
    """Describe the steps from an image to the input of a graph.

    Args:
        config (Config): Config of the model.
        fixed (tuple[int, int], optional): Height and width of the images, if
            the graph takes images of only one size. None: it takes images of
            any size.

    Returns:
        dict: Settings of the steps, as JSON types:

        - ``size``: (width, height) to which an image is resized first. None:
          images are not resized.
        - ``keep_ratio``: whether resizing keeps the aspect ratio. If so, the
          image is made as large as possible, with a longer side of at most
          ``max(size)`` and a shorter side of at most ``min(size)``.
        - ``window`` and ``stride``: (width, height) of a sliding window, and
          (horizontal, vertical) distance between windows. None: the graph
          gets the whole image.
        - ``global_view``: whether the whole image, resized to the size of a
          window, is a further input. Its scores are averaged with the fused
          scores of the windows.
        - ``refine``: whether the model refines the scores of the graph with
          :class:`~ovseg_mm.inference.PixelRefiner`.
    """
    cfg = config.model.test_cfg
    step: dict[str, Any] = next(
        (s for s in config.test_pipeline if s['type'] == 'Resize'), {}
    )
    size, keep_ratio = step.get('scale'), bool(step.get('keep_ratio', False))
    window: Any = None
    stride: Any = None
    if cfg.get('mode') == 'slide':
        window = tuple(fixed or cfg['crop_size'])
        stride = [min(pair) for pair in zip(cfg['stride'], window)]
    elif fixed is not None:
        size, keep_ratio = fixed[::-1], False
        window = stride = fixed
    if window is not None and cfg.get('canvas'):
        size, keep_ratio = cfg['canvas'][::-1], False
    return dict(
        size=size and [int(side) for side in size],
        keep_ratio=keep_ratio,
        window=window and [int(side) for side in window[::-1]],
        stride=stride and [int(side) for side in stride[::-1]],
        global_view=bool(window and cfg.get('global_view', False)),
        refine=bool((cfg.get('refine') or {}).get('steps')),
    )


def vocabulary_facts(model: OpenVocabSegmentor) -> dict[str, Any]:
    """Describe how scores of texts become labels, with names and colours.

    Args:
        model (OpenVocabSegmentor): The model with its vocabulary.

    Returns:
        dict[str, Any]: Description as JSON types, for T class texts and L
        labels:

        - ``names``: name of each label, L strings;
        - ``palette``: colour of each label, L triples (red, green, blue);
        - ``labels``: label of each text, T integers. A text with a value
          outside [0, L) belongs to no label;
        - ``ignore_label``, ``background``, ``threshold``, ``scale``,
          ``least_probability`` and ``least_area``: see
          :class:`~ovseg_mm.inference.Labelling`;
        - ``penalty``, only for models with ``seen_penalty``: number to
          subtract from the scores of each text, T floats.
    """
    labelling, vocabulary = model.labelling, model.vocabulary
    facts: dict[str, Any] = dict(
        names=list(vocabulary.label_names),
        palette=[list(map(int, c)) for c in vocabulary.metainfo['palette']],
        labels=list(map(int, labelling.prompt_to_label)),
        ignore_label=labelling.ignore_label,
        background=labelling.background,
        threshold=labelling.threshold,
        scale=labelling.scale,
        least_probability=labelling.least_prob,
        least_area=labelling.least_area,
    )
    penalty = model.test_cfg.get('seen_penalty', 0.0)
    if penalty:
        seen = model.seen_texts(torch.device('cpu'))
        facts['penalty'] = (seen * penalty).tolist()
    return facts
