# SPDX-License-Identifier: Apache-2.0
"""Class aggregation: attention over the classes at every position.

Letters: B images, T classes, h x w positions of a class map, E width of the
class maps, G width of the text guidance, d width of an attention head.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from mmengine.utils import to_2tuple
from torch import Tensor, nn

from ovseg_mm.inference import in_float32

from ...utils import apply_to_chunks, recomputed
from .spatial import GUIDANCE_DIMS, guided_qkv

# Hidden width of the MLPs in E.
MLP_RATIO = 4


class ClasswiseAggregation(nn.Module):
    """Transformer block over the classes at each position, guided by text.

    If there are fewer than ``pad_len`` classes, copies of one learned token
    are added. Because all copies are equal, the attention computes only one
    copy and weights it by the number of copies.

    Args:
        embed_dims (int): Channels E of the class maps.
        pad_len (int, optional): Number of classes after padding. None: no
            padding.
        guidance_dims (int): Width G of the text guidance. 0: no guidance.
        num_heads (int): Number of attention heads.
        attention (str): ``'linear'`` (linear attention with kernel elu + 1)
            or ``'full'`` (softmax attention).
        pooling (int | tuple[int, int]): In training, kernel size of the
            average pooling of the class maps before the attention.
        test_pooling (int | tuple[int, int], optional): In evaluation, kernel
            size of the average pooling. None: ``pooling``.
        ffn_identity (bool): Whether the MLP's normalised input is added to
            the MLP's output, as in MMSegmentation's CAT-Seg.

    Raises:
        ValueError: If ``attention`` or ``pad_len`` is invalid.
    """

    def __init__(
        self,
        embed_dims: int,
        pad_len: int | None,
        guidance_dims: int = GUIDANCE_DIMS,
        num_heads: int = 4,
        attention: str = 'linear',
        pooling: int | tuple[int, int] = 2,
        test_pooling: int | tuple[int, int] | None = 1,
        ffn_identity: bool = False,
    ) -> None:
        super().__init__()
        attentions = dict(linear=_linear_attention, full=_full_attention)
        if attention not in attentions:
            raise ValueError(
                f"attention={attention!r} is not 'linear' or 'full'; set one "
                'of these'
            )
        if pad_len is not None and pad_len < 1:
            raise ValueError(
                f'pad_len={pad_len} must be at least 1; set None to keep the '
                'number of classes'
            )
        self.attend = attentions[attention]
        self.num_heads = num_heads
        self.train_pooling = tuple(to_2tuple(pooling))
        self.test_pooling = (
            self.train_pooling
            if test_pooling is None
            else tuple(to_2tuple(test_pooling))
        )
        self.pad_len = pad_len
        self.ffn_identity = ffn_identity
        if pad_len is not None:
            self.padding_token = nn.Parameter(torch.zeros(embed_dims))
            self.padding_guidance = nn.Parameter(torch.zeros(guidance_dims))
        self.norm1 = nn.LayerNorm(embed_dims)
        self.q = nn.Linear(embed_dims + guidance_dims, embed_dims)
        self.k = nn.Linear(embed_dims + guidance_dims, embed_dims)
        self.v = nn.Linear(embed_dims, embed_dims)
        self.norm2 = nn.LayerNorm(embed_dims)
        self.mlp = nn.Sequential(
            nn.Linear(embed_dims, MLP_RATIO * embed_dims),
            nn.ReLU(inplace=True),
            nn.Linear(MLP_RATIO * embed_dims, embed_dims),
        )

    def forward(self, x: Tensor, guidance: Tensor) -> Tensor:
        """Aggregate over classes.

        Args:
            x (Tensor): Maps of T classes, (B, T, h, w, E). They may be
                overwritten if gradients are disabled.
            guidance (Tensor): Text guidance, (B, T, G); or (1, T, G) if all
                images have the same classes.

        Returns:
            Tensor: Refined class maps, (B, T, h, w, E).
        """
        grid = x.shape[2:4]
        pooling = self.train_pooling if self.training else self.test_pooling
        mix = partial(recomputed, self._prepare(guidance[:, :, None]))

        def twice(part: Tensor) -> Tensor:
            # The mix contains its input; the published model adds it again.
            return part + mix(part)

        if pooling == (1, 1):
            y = apply_to_chunks(twice, x.flatten(2, 3), 2, overwrite=True)
            return y.unflatten(2, grid)
        y = _pool(x, pooling)
        pooled = y.shape[2:4]
        y = apply_to_chunks(mix, y.flatten(2, 3), 2, overwrite=True)
        y = _resize(y.unflatten(2, pooled), (grid[0], grid[1]))
        return y.add_(x)

    def _prepare(self, guidance: Tensor) -> Callable[[Tensor], Tensor]:
        """Make the function that mixes the classes at each position.

        Args:
            guidance (Tensor): Text guidance of T classes, (B, T, 1, G); or
                (1, T, 1, G) if all images have the same classes.

        Returns:
            Callable: Function from class maps (B, T, positions, E) to refined
            class maps (B, T, positions, E), for any number of positions.
        """
        project = guided_qkv(self.q, self.k, self.v, guidance)
        padding = self._padding(guidance.shape[1])

        def mix(x: Tensor) -> Tensor:
            tokens = project(self.norm1(x)).unflatten(
                -1, (3, self.num_heads, -1)
            )
            # Each (B, positions, heads, T, E / heads).
            q, k, v = tokens.permute(3, 0, 2, 4, 1, 5)
            out = self.attend(q, k, v, *padding)
            out = out.permute(0, 3, 1, 2, 4).flatten(3)
            # Attention is in float32, weights possibly in half precision.
            x = x + out.to(self.norm2.weight.dtype)
            z = self.norm2(x)
            x = x + self.mlp(z)
            return x + z if self.ffn_identity else x

        return mix

    def _padding(
        self, num_classes: int
    ) -> tuple[int, Tensor | None, Tensor | None]:
        """Number of padding tokens, and their common key and value.

        Key and value are (heads, 1, d), for heads of width d. They are None if
        there are no padding tokens.
        """
        if self.pad_len is None or num_classes >= self.pad_len:
            return 0, None, None
        z = self.norm1(self.padding_token[None])
        project = guided_qkv(
            self.q, self.k, self.v, self.padding_guidance[None]
        )
        _, k, v = project(z).view(3, self.num_heads, 1, -1)
        return self.pad_len - num_classes, k, v


# Sums over hundreds of classes exceed the range of half precision.
@in_float32
def _linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    num_padding: int,
    padding_k: Tensor | None,
    padding_v: Tensor | None,
) -> Tensor:
    """Linear attention with the kernel elu + 1.

    Args:
        q (Tensor): Queries of T classes and head width d, (..., heads, T, d).
        k (Tensor): Keys, (..., heads, T, d).
        v (Tensor): Values, (..., heads, T, d).
        num_padding (int): Number of padding tokens, which are all identical.
        padding_k (Tensor | None): Key of the padding tokens, (heads, 1, d).
        padding_v (Tensor | None): Value of the padding tokens, (heads, 1, d).

    Returns:
        Tensor: ``phi(q) sum_s phi(k_s) v_s / (phi(q) sum_s phi(k_s))``, (...,
        heads, T, d). phi is the kernel, and the sum is over all classes and
        padding tokens s.
    """
    length = q.shape[-2] + num_padding
    q, k = _positive(q), _positive(k)
    # Values are divided by the length to keep sums small, and the result is
    # multiplied by it. This decides how much the 1e-6 below matters.
    kv = k.transpose(-1, -2) @ (v / length)
    total = k.sum(dim=-2, keepdim=True)
    if num_padding:
        assert padding_k is not None and padding_v is not None
        padding_k = _positive(padding_k)
        share = num_padding / length
        kv = kv + share * padding_k.transpose(-1, -2) * padding_v
        total = total + num_padding * padding_k
    normaliser = (q * total).sum(dim=-1, keepdim=True) + 1e-6
    return (q @ kv) * (length / normaliser)


def _positive(x: Tensor) -> Tensor:
    """Kernel ``elu(x) + 1`` of the linear attention."""
    if torch.is_grad_enabled():
        return F.elu(x) + 1
    # Equal to elu(x) + 1, but faster; for gradients it would keep 3 tensors.
    return x.clamp(max=0).exp_().add_(x.relu())


def _full_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    num_padding: int,
    padding_k: Tensor | None,
    padding_v: Tensor | None,
) -> Tensor:
    """Softmax attention.

    Args:
        q (Tensor): Queries of T classes and head width d, (..., heads, T, d).
        k (Tensor): Keys, (..., heads, T, d).
        v (Tensor): Values, (..., heads, T, d).
        num_padding (int): Number of padding tokens, which are all identical.
        padding_k (Tensor | None): Key of the padding tokens, (heads, 1, d).
        padding_v (Tensor | None): Value of the padding tokens, (heads, 1, d).

    Returns:
        Tensor: Values after attention, (..., heads, T, d).
    """
    mask = None
    if num_padding:
        assert padding_k is not None and padding_v is not None
        shape = (*k.shape[:-2], 1, k.shape[-1])
        k = torch.cat([k, padding_k.expand(shape)], dim=-2)
        v = torch.cat([v, padding_v.expand(shape)], dim=-2)
        # n equal keys weigh as much as one whose score is larger by log n.
        mask = q.new_zeros(1, k.shape[-2])
        mask[:, -1] = math.log(num_padding)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def _pool(x: Tensor, sides: tuple[int, int]) -> Tensor:
    """Average-pool T class maps (B, T, h, w, E) with kernel size ``sides``.

    ``sides`` is (height, width), and also the stride. Rows and columns that do
    not fill a kernel are cut off.
    """
    h, w = (n // side * side for n, side in zip(x.shape[2:4], sides))
    x = x[:, :, :h, :w]
    # Unlike F.avg_pool2d, the mean does not keep its input for gradients.
    x = x.unflatten(2, (-1, sides[0])).unflatten(4, (-1, sides[1]))
    return x.mean(dim=(3, 5))


def _resize(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """Resize T class maps (B, T, h, w, E) to a grid, with aligned corners."""
    maps = x.flatten(0, 1).permute(0, 3, 1, 2)
    maps = F.interpolate(maps, grid, mode='bilinear', align_corners=True)
    return maps.permute(0, 2, 3, 1).unflatten(0, x.shape[:2])
