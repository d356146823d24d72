# SPDX-License-Identifier: Apache-2.0
"""CLIP's image tower with dense outputs.

Letters: B images, H x W pixels, h x w patches, N = h * w, D width of the
transformer, C embedding width shared with the text tower.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn

from ovseg_mm.checkpoints import clip_arch
from ovseg_mm.structures import CLIPFeatures

from ..layers import CLIPTransformer, Replacements
from ..utils import ImageError, chunk_size, freeze_except, is_exporting
from .last_blocks import LastBlock
from .position_embedding import resize_position
from .visual_prompts import VisualPrompts

_LAST_BLOCKS = ('attention', 'value', 'value_cls')


@MODELS.register_module()
class CLIPViT(BaseModule):
    """Vision transformer of CLIP.

    `Learning Transferable Visual Models From Natural Language Supervision
    <https://arxiv.org/abs/2103.00020>`_.

    Parameters have CLIP's names, except that q, k and v have three weights
    instead of one. Images may have any size and aspect ratio, since the
    position embedding is resized to the patch grid.

    Args:
        arch (str | dict): Name of an open_clip model config, or the config
            itself.
        pretrained (str, optional): open_clip's tag of the weights. It decides
            the activation (QuickGELU for ``'openai'``). The model that
            owns the tower loads the weights, not this constructor.
        last_block (str | dict): Computation of the last block.
            ``'attention'``: CLIP's own. ``'value'``: each token attends only
            to itself. ``'value_cls'``: as ``'value'``, and the residual of
            each token is replaced by the residual of the class token (CAT-Seg,
            CVPR 2024). A dict is the config of a :class:`LastBlock`, such as
            ``dict(type='SCLIPBlock')``.
        out_indices (Sequence[int]): Indices of the blocks, counted from 0,
            whose output tokens are returned.
        input_size (tuple[int, int], optional): Height and width in pixels
            that images are first resized to. None: no resizing.
        pos_image_size (int, optional): Image side in pixels for which the
            position embedding is stored. CLIP's embedding is resized to it
            when weights are loaded. None: CLIP's own image size.
        pos_interpolation (str): Interpolation mode of the position embedding.
            Training-free methods use ``'dino'``: bicubic, with DINO's slightly
            larger scale factors, see :func:`resize_position`.
        pad_patches (bool): Whether images are padded with zeros, on the right
            and at the bottom, to a multiple of the patch side. False: pixels
            beyond the last whole patch are cut off.
        double_class_embedding (bool): Whether the class embedding is added
            twice to form the class token (ZegCLIP, Cascade-CLIP).
        prompts (dict, optional): Arguments of :class:`VisualPrompts`. None:
            no learned prompt tokens.
        finetune (str | Sequence[str]): Parameters that are trained, see
            :func:`freeze_except`.
        init_cfg (dict, optional): MMEngine's initialisation.
    """

    option_dicts: ClassVar[dict] = dict(prompts=VisualPrompts)

    def __init__(
        self,
        arch: str | dict = 'ViT-B-16',
        pretrained: str | None = None,
        last_block: str | dict = 'attention',
        out_indices: Sequence[int] = (),
        input_size: tuple[int, int] | None = None,
        pos_image_size: int | None = None,
        pos_interpolation: str = 'bicubic',
        pad_patches: bool = False,
        double_class_embedding: bool = False,
        prompts: dict | None = None,
        finetune: str | Sequence[str] = 'none',
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        arch = clip_arch(arch, pretrained)
        vision = arch['vision_cfg']
        width, patch = vision['width'], vision['patch_size']
        self.image_size = vision['image_size']
        self.patch_size = patch
        self.embed_dims = arch['embed_dim']
        self.last_block = last_block
        self.out_indices = tuple(out_indices)
        self.input_size = tuple(input_size) if input_size else None
        self.pos_interpolation = pos_interpolation
        self.pad_patches = pad_patches
        self.double_class_embedding = double_class_embedding
        self.prompts = VisualPrompts(**(prompts or {}))
        self._check_options(vision['layers'], finetune)
        self.replacement: LastBlock | None = None
        if isinstance(last_block, Mapping):
            self.replacement = MODELS.build(last_block)
            self.replacement.taps(vision['layers'])  # reports errors early

        scale = width**-0.5
        side = (pos_image_size or vision['image_size']) // patch
        self.conv1 = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.class_embedding = nn.Parameter(scale * torch.randn(width))
        self.positional_embedding = nn.Parameter(
            scale * torch.randn(side * side + 1, width)
        )
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = CLIPTransformer(
            width,
            vision['layers'],
            width // vision['head_width'],
            vision['mlp_ratio'],
            arch['quick_gelu'],
        )
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(scale * torch.randn(width, self.embed_dims))
        for norm in self.modules():
            if isinstance(norm, nn.LayerNorm):
                norm.eps = vision.get('norm_kwargs', {}).get('eps', norm.eps)
        self._add_prompts(width)
        freeze_except(self, finetune)

    def _check_options(
        self, num_layers: int, finetune: str | Sequence[str]
    ) -> None:
        """Raise an error if options do not fit this CLIP or each other."""
        last_block, depth = self.last_block, self.prompts.depth
        replaced = isinstance(last_block, Mapping)
        if not replaced and last_block not in _LAST_BLOCKS:
            raise ValueError(
                f'last_block={last_block!r} must be one of '
                f'{", ".join(map(repr, _LAST_BLOCKS))}, or the config of a '
                "LastBlock such as dict(type='SCLIPBlock')"
            )
        if replaced and depth:
            raise ValueError(
                f'prompts.depth={depth} cannot be used with '
                f'last_block={last_block}, which does not support prompt '
                'tokens; set prompts.depth=0 or another last_block'
            )
        if any(not 0 <= index < num_layers for index in self.out_indices):
            raise ValueError(
                f'out_indices={self.out_indices} must be in '
                f'[0, {num_layers}), since this CLIP has {num_layers} blocks'
            )
        if not 0 <= depth <= num_layers:
            raise ValueError(
                f'prompts.depth={depth} must be in [0, {num_layers}], since '
                f'this CLIP has {num_layers} blocks'
            )
        if finetune == 'prompt' and not depth:
            raise ValueError(
                "finetune='prompt' trains visual prompt tokens, but "
                'prompts.depth is 0; set prompts.depth and prompts.length'
            )

    def _add_prompts(self, width: int) -> None:
        """Create the parameters of the learned prompt tokens."""
        prompts = self.prompts
        self.prompt_proj = self.prompt_norm = None
        if prompts.depth:
            self.prompt_tokens = nn.Parameter(
                torch.empty(prompts.depth, prompts.length, width)
            )
            prompts.init_tokens(self.prompt_tokens, self.patch_size)
            if prompts.projection:
                self.prompt_proj = nn.Linear(width, width)
                nn.init.kaiming_normal_(
                    self.prompt_proj.weight, mode='fan_out'
                )
        if prompts.norm:
            self.prompt_norm = nn.LayerNorm(width, eps=1e-6)

    def forward(
        self,
        img: Tensor,
        replacements: Replacements | None = None,
        dense: bool = True,
    ) -> CLIPFeatures:
        """Encode normalised images.

        Args:
            img (Tensor): Images, (B, 3, H, W), normalised with CLIP's
                statistics.
            replacements (Replacements, optional): Patch tokens to replace
                after some blocks, from :class:`ContextShift`.
            dense (bool): Whether patch embeddings are needed. False: they are
                empty. With ``last_block='attention'``, the last block then
                computes only the class token, which is faster.

        Returns:
            CLIPFeatures: Patch embeddings, (B, C, h, w), class embeddings,
            (B, C), and the tokens of the blocks in ``out_indices``.
        """
        if self.input_size and img.shape[2:] != self.input_size:
            img = F.interpolate(img, self.input_size, mode='bilinear')
        x, grid = self._embed(img)
        if is_exporting():  # a graph for any number of images
            return self._features(x, grid, replacements or {}, dense)
        # On CPUs, a few images at a time are faster. In sharded training all
        # ranks must run the blocks equally often.
        step = chunk_size(x, 0)
        if torch.is_grad_enabled():
            step = max(step, len(x))
        parts = []
        for start in range(0, max(1, len(x)), step):
            part = slice(start, start + step)
            replaced = {
                block: (where[part], token if len(token) == 1 else token[part])
                for block, (where, token) in (replacements or {}).items()
            }
            parts.append(self._features(x[part], grid, replaced, dense))
        return parts[0] if len(parts) == 1 else _joined(parts)

    def fit_position(self, position: Tensor) -> Tensor:
        """Resize CLIP's position embedding to the patch grid of this tower.

        Args:
            position (Tensor): CLIP's position embedding of the class token
                and of n patches, (1 + n, D), class token first.

        Returns:
            Tensor: Position embedding of the size of
            ``self.positional_embedding``. The class token's row is unchanged.
        """
        side = round((len(self.positional_embedding) - 1) ** 0.5)
        return resize_position(position, (side, side), self.pos_interpolation)

    def _embed(self, img: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Compute the input tokens of the first block, and the patch grid.

        The tokens are (B, 1 + N, D) for N patches, class token first. The
        grid is the number of rows and columns of patches.
        """
        if min(img.shape[2:]) < self.patch_size:
            raise ImageError(
                f'an image of {img.shape[2]}x{img.shape[3]} pixels is '
                'smaller than one patch of '
                f'{self.patch_size}x{self.patch_size} pixels; enlarge or pad '
                'the image'
            )
        if self.pad_patches:
            bottom, right = (-side % self.patch_size for side in img.shape[2:])
            img = F.pad(img, (0, right, 0, bottom))
        # Weights of half precision need images of half precision.
        x = self.conv1(img.to(self.conv1.weight.dtype))
        grid = tuple(x.shape[2:])
        x = x.flatten(2).transpose(1, 2)
        cls = self.class_embedding.to(x.dtype).expand(x.shape[0], 1, -1)
        x = torch.cat([cls, x], dim=1)
        position = resize_position(
            self.positional_embedding, grid, self.pos_interpolation
        )
        if self.double_class_embedding:
            position = torch.cat(
                [position[:1] + self.class_embedding, position[1:]]
            )
        return self.ln_pre(x + position.to(x.dtype)), grid

    def _features(
        self,
        x: Tensor,
        grid: tuple[int, int],
        replacements: Replacements,
        dense: bool,
    ) -> CLIPFeatures:
        """Features of images, from the input tokens x of the first block.

        x is (B, 1 + N, D) for the N patches of ``grid``; :meth:`forward`
        explains ``replacements`` and ``dense``.
        """
        x, tokens = self._encode(x, replacements, dense)
        layers = [tokens[index] for index in self.out_indices]
        keys = None
        if self.replacement is not None:
            blocks = self.transformer.resblocks
            x = self.replacement(blocks, tokens, grid)
            keys = self.replacement.keys(blocks, tokens)
        if self.prompt_norm is not None:
            x, *layers = map(self.prompt_norm, (x, *layers))
        x = self.ln_post(x) @ self.proj
        if keys is not None:
            keys = _to_maps(keys, grid)
        patches = x[:, 1:] if dense else x[:, :0]
        maps = _to_maps(patches, grid if dense else (0, 0))
        return CLIPFeatures(maps, x[:, 0], tuple(layers), keys)

    def _prompt_tokens(self, batch: int) -> Tensor:
        """Prompt tokens, (prompted blocks, B, tokens per block, D)."""
        tokens: Tensor = self.prompt_tokens
        if self.prompt_proj is not None:
            tokens = self.prompt_proj(tokens)
        tokens = tokens[:, None].expand(-1, batch, -1, -1)
        return F.dropout(tokens, self.prompts.dropout, self.training)

    def _encode(
        self, x: Tensor, replacements: Replacements, dense: bool
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """Run the blocks and keep the outputs that are needed later.

        Args:
            x (Tensor): Input of the first block, (B, 1 + N, D) for N patches,
                class token first.
            replacements (Replacements): Tokens that replace some patch
                tokens after a block, by block index; may be empty.
            dense (bool): Whether the patch tokens of the last block are
                needed.

        Returns:
            tuple[Tensor, dict[int, Tensor]]: Output tokens of the last block
            that was run; and a dict with the output tokens of the blocks that
            are needed later. The keys are block indices; -1 stands for the
            input of the first block. No output contains prompt tokens.
        """
        blocks = self.transformer.resblocks
        last = len(blocks) - 1
        wanted = set(self.out_indices)
        if self.replacement is not None:
            wanted.update(self.replacement.taps(len(blocks)))
            blocks = blocks if last in self.out_indices else blocks[:-1]
        class_alone = (
            not dense
            and self.last_block == 'attention'
            and last not in (*self.out_indices, *replacements)
        )
        outputs = {-1: x}
        depth, count = self.prompts.depth, x.shape[1]
        prompts = self._prompt_tokens(x.shape[0]) if depth else ()
        for index, block in enumerate(blocks):
            if index < depth:
                x = torch.cat([x[:, :count], prompts[index]], dim=1)
            # Prompts need no output if the next block gets its own, or none.
            stay = self.prompts.stay and depth <= index + 1 < len(blocks)
            queries = None if stay or not depth else count
            if index == last and class_alone:
                return block(x, num_queries=1), outputs
            if index < last or self.last_block not in ('value', 'value_cls'):
                x = block(x, num_queries=queries)
            else:
                x = x[:, :queries]
                own = self.last_block == 'value'
                x = block(x, value_residual=x if own else x[:, :1])
            if index in replacements:
                x = _replace(x, *replacements[index])
            if index in wanted:
                outputs[index] = x[:, :count] if depth else x
        return x, outputs


def _joined(parts: Sequence[CLIPFeatures]) -> CLIPFeatures:
    """Concatenate the features of several batches of images."""
    dense, cls, layers, keys = zip(*parts)
    return CLIPFeatures(
        torch.cat(dense),
        torch.cat(cls),
        tuple(map(torch.cat, zip(*layers))),
        None if keys[0] is None else torch.cat(keys),
    )


def _to_maps(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """Reshape patches (B, h * w, C) to maps (B, C, h, w)."""
    return x.transpose(1, 2).unflatten(2, grid)


def _replace(x: Tensor, where: Tensor, token: Tensor) -> Tensor:
    """Replace some patch tokens by one new token per image.

    Args:
        x (Tensor): Tokens, (B, 1 + N or more, D): class token, N patches,
            then prompt tokens if there are any.
        where (Tensor): True for patches to replace, (B, N) bool.
        token (Tensor): New token of each image, (B, D), or of all images,
            (1, D).

    Returns:
        Tensor: Tokens, of the same shape as ``x``.
    """
    first, patches, rest = x.tensor_split([1, 1 + where.shape[1]], dim=1)
    token = token[:, None].to(x.dtype)
    patches = torch.where(where[..., None], token, patches)
    return torch.cat([first, patches, rest], dim=1)
