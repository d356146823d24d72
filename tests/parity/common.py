# SPDX-License-Identifier: Apache-2.0
"""What the runners of all methods share."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from seeded import seeded_image, seeded_labels
from torch import Tensor, nn

from ovseg_mm.checkpoints import recognise
from ovseg_mm.utils.paths import resource

RUNTIME = '_base_/default_runtime.py'


def clip_arch(clip: Mapping, quick_gelu: bool = True) -> dict:
    """The CLIP of a case as open_clip describes it.

    Args:
        clip: Sizes, under one of the names that the methods have for each.
            Heads are 64 channels wide unless their number is given.
        quick_gelu: Used unless the case says it.
    """

    def size(*names: str, default: int | None = None) -> int:
        found = [clip[name] for name in names if name in clip]
        if not found and default is None:
            raise KeyError(f'a case has none of the CLIP sizes {names}')
        return found[0] if found else default

    width = size('vision_width', 'width')
    patch_size = size('vision_patch_size', 'patch_size')
    text_width = size('text_width', 'transformer_width', default=64)
    default = text_width // 64
    text = dict(
        width=text_width,
        heads=size('text_heads', 'transformer_heads', default=default),
        layers=size('text_layers', 'transformer_layers', default=1),
    )
    for key in ('context_length', 'vocab_size'):
        if key in clip:
            text[key] = clip[key]
    grid = clip.get('vision_grid')
    return dict(
        embed_dim=size('embed_dim', 'output_dim'),
        vision_cfg=dict(
            image_size=size(
                *('image_size', 'image_resolution'),
                default=grid and grid * patch_size,
            ),
            layers=size('vision_layers', 'layers'),
            width=width,
            head_width=width
            // size('vision_heads', 'heads', default=width // 64),
            patch_size=patch_size,
        ),
        text_cfg=text,
        quick_gelu=clip.get('quick_gelu', quick_gelu),
    )


def shipped_config(name: str, model: Mapping) -> Config:
    """A shipped config with the model options of a case.

    Args:
        name: File below ``configs/``; the runtime is added to model bases.
        model: Merged into the config's model.
    """
    cfg = Config.fromfile(resource('configs', name))
    if name.startswith('_base_/models/'):
        runtime = Config.fromfile(resource('configs', RUNTIME))
        cfg.merge_from_dict(runtime.to_dict())
    cfg.merge_from_dict(dict(model=model))
    return cfg


class Taps:
    """Inputs and outputs of modules, a list of all calls under each name.

    As a context manager it removes its hooks at the end.
    """

    def __init__(self) -> None:
        self.calls: dict[str, list] = {}
        self.handles: list = []

    def outputs(self, **modules: nn.Module) -> 'Taps':
        """Keep what modules return."""
        for name, module in modules.items():
            self.handles.append(
                module.register_forward_hook(
                    lambda _module, _args, output, name=name: self._keep(
                        name, output
                    )
                )
            )
        return self

    def inputs(self, **modules: nn.Module) -> 'Taps':
        """Keep the positional arguments of modules, as tuples."""
        for name, module in modules.items():
            self.handles.append(
                module.register_forward_pre_hook(
                    lambda _module, args, name=name: self._keep(name, args)
                )
            )
        return self

    def _keep(self, name: str, value: Any) -> None:
        if isinstance(value, torch.Tensor) and not torch.is_grad_enabled():
            value = value.clone()  # later modules may overwrite it
        self.calls.setdefault(name, []).append(value)

    def __getitem__(self, name: str) -> list:
        return self.calls[name]

    def __contains__(self, name: str) -> bool:
        return name in self.calls

    def last(self, name: str) -> Any:
        """Value of the last call."""
        return self.calls[name][-1]

    def __enter__(self) -> 'Taps':
        return self

    def __exit__(self, *_error: object) -> None:
        for handle in self.handles:
            handle.remove()


def as_read(img: np.ndarray) -> Tensor:
    """RGB (H, W, 3) to what MMSegmentation reads: BGR, (3, H, W)."""
    return torch.from_numpy(img[..., ::-1].copy()).permute(2, 0, 1)


def image_batch(
    spec: Mapping, seed: int | None = None, size: Sequence[int] | None = None
) -> dict:
    """A batch of one image of a case.

    Args:
        spec: Its name, height, width and perhaps seed.
        seed: Seed of the case, for images without their own.
        size: Size of the scores, by default what :func:`output_size` finds.
    """
    shape = spec['height'], spec['width']
    img = seeded_image(spec['name'], *shape, spec.get('seed', seed))
    sample = SegDataSample(
        metainfo=dict(
            ori_shape=tuple(size or output_size(spec)), img_shape=shape
        )
    )
    return dict(inputs=[as_read(img)], data_samples=[sample])


def output_size(spec: Mapping) -> tuple[int, int]:
    """Size of the scores of an image, its own unless the case says it."""
    return tuple(
        spec.get(f'out_{side}', spec[side]) for side in ('height', 'width')
    )


def labelled_batch(
    images: Sequence[Mapping],
    labels: Sequence[Mapping],
    seed: int | None = None,
) -> dict:
    """A batch of images with their label maps.

    Args:
        images: See :func:`image_batch`.
        labels: Name, height, width, num_classes and perhaps more arguments
            of :func:`seeded_labels`, an entry an image.
        seed: Seed of the case, for entries without their own.
    """
    batch: dict = dict(inputs=[], data_samples=[])
    for image, spec in zip(images, labels, strict=True):
        single = image_batch(image, seed)
        drawn = seeded_labels(
            spec['name'],
            spec['height'],
            spec['width'],
            spec['num_classes'],
            spec.get('seed', seed),
            spec.get('ignore_every', 11),
            spec.get('ignore_index', 255),
        )
        (sample,) = single['data_samples']
        sample.gt_sem_seg = PixelData(data=torch.from_numpy(drawn)[None])
        for key, value in single.items():
            batch[key] += value
    return batch


def text_rows(model: nn.Module) -> Tensor:
    """Embeddings of a mask method's classes and of no object."""
    no_object = F.normalize(model.decode_head.no_object_embedding, dim=1)
    text = model.text_embeddings(model.vocabulary)[:, 0]
    return torch.cat([text, no_object]).detach()


def gradient_norms(
    case: Mapping, model: nn.Module, names: Sequence[str]
) -> tuple[Tensor, Tensor]:
    """Norms of gradients by the names of the reference, and of all."""
    shapes = {entry['name']: entry['shape'] for entry in case['parameters']}
    layout = recognise(shapes)
    ours = dict(model.named_parameters())
    norms = []
    for name in names:
        renamed = layout.convert({name: torch.empty(shapes[name])})
        parts = [ours[part].grad.norm() for part in renamed.state_dict]
        norms.append(torch.stack(parts).norm())
    every = [p.grad.norm() for p in ours.values() if p.grad is not None]
    return torch.stack(norms), torch.stack(every).norm()[None]
