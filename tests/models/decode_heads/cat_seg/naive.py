# SPDX-License-Identifier: Apache-2.0
"""CAT-Seg's head written from its formulas, with nothing saved or shared.

Every class has its own copy of the guidance, attention windows are a mask
over all pairs of tokens, padding tokens are really there. Weights come from
our modules.
"""

import torch
import torch.nn.functional as F


def head(module, feats, text):
    """Logits (B, T, 4h, 4w), each image and its kept classes by themselves."""
    return torch.stack(
        [
            _one_image(
                module,
                feats.image[i],
                feats.appearance[i],
                [guide[i] for guide in feats.decoder],
                text,
            )
            for i in range(len(feats.image))
        ]
    )


def _one_image(module, image, appearance, decoder, text):
    num_texts, num_prompts = text.shape[:2]
    cost = torch.zeros(num_texts, num_prompts, *image.shape[1:])
    for t in range(num_texts):
        for p in range(num_prompts):
            direction = text[t, p] / text[t, p].norm()
            dots = (image * direction[:, None, None]).sum(dim=0)
            cost[t, p] = dots / image.norm(dim=0)
    kept = range(num_texts)
    if module.pad_len is not None and num_texts > module.pad_len:
        best = [float(cost[t].max()) for t in kept]
        kept = sorted(kept, key=lambda t: -best[t])[: module.pad_len]
    x = module.cost_embedding(torch.stack([cost[t] for t in kept]))
    x = x.permute(0, 2, 3, 1)  # (K, h, w, E)
    means = [F.normalize(text[t], dim=-1).mean(dim=0) for t in kept]
    words = torch.stack([mean / mean.norm() for mean in means])
    if module.text_projection is None:
        words = words[:, :0]
    else:
        words = module.text_projection(words).relu()
    guide = module.appearance_projection(appearance[None]).relu()[0]
    guide = guide.permute(1, 2, 0)  # (h, w, G)
    for layer in module.layers:
        x = torch.stack([spatial(layer.spatial, part, guide) for part in x])
        x = classwise(layer.classwise, x, words)
    maps = x.permute(0, 3, 1, 2)
    for block, projection, guide in zip(
        module.upsample_blocks, module.decoder_projections, decoder
    ):
        guide = projection(guide[None]).relu()
        maps = block.up(maps)
        maps = block.conv(
            torch.cat([maps, guide.expand(len(maps), -1, -1, -1)], dim=1)
        )
    maps = module.head(maps)[:, 0]
    logits = torch.full((num_texts, *maps.shape[1:]), -100.0)
    for t, part in zip(kept, maps):
        logits[t] = part
    return logits


def spatial(module, x, guidance):
    """Both window blocks on one class map (h, w, E)."""
    guidance = module.guidance_norm(guidance)
    for block in module.blocks:
        x = window_block(block, x, guidance)
    return x


def window_block(block, x, guidance):
    h, w, dims = x.shape
    grid, window = (h, w), block.window_size
    tokens = block.norm1(x)
    if not block.mask_padding:  # zeros are tokens like others
        grid = tuple(-(-side // window) * window for side in grid)
        tokens, guidance = (
            F.pad(part, (0, 0, 0, grid[1] - w, 0, grid[0] - h))
            for part in (tokens, guidance)
        )
    sees = see_each_other(grid, window, block.shift, block.mask_padding)
    tokens, guidance = tokens.flatten(0, 1), guidance.flatten(0, 1)
    both = torch.cat([tokens, guidance], dim=-1)
    attn = block.attn
    projected = attn.q(both), attn.k(both), attn.v(tokens)
    out = []
    for q, k, v in zip(
        *(part.chunk(attn.num_heads, dim=-1) for part in projected)
    ):
        scores = q @ k.t() / (dims / attn.num_heads) ** 0.5
        out.append(scores.masked_fill(~sees, -torch.inf).softmax(-1) @ v)
    mixed = attn.proj(torch.cat(out, dim=-1)).view(*grid, dims)
    x = x + mixed[:h, :w]
    return x + block.mlp(block.norm2(x))


def see_each_other(shape, window, shift, one_window=True):
    """Which tokens of a map attend to each other, (h * w, h * w) bool."""
    if one_window and max(shape) <= window:
        return torch.ones((shape[0] * shape[1],) * 2, dtype=torch.bool)
    keys = []
    for side in shape:
        full = -(-side // window) * window
        axis = []
        for position in range(side):
            rolled = (position - shift) % full
            region = int(rolled >= full - window) + int(rolled >= full - shift)
            axis.append((rolled // window, region if shift else 0))
        keys.append(axis)
    tokens = [(row, column) for row in keys[0] for column in keys[1]]
    return torch.tensor([[a == b for b in tokens] for a in tokens])


def classwise(module, x, guidance):
    """Class maps (T, h, w, E) and guidance (T, G) to (T, h, w, E)."""
    pooling = module.train_pooling if module.training else module.test_pooling
    pooled = F.avg_pool2d(x.permute(0, 3, 1, 2), pooling).permute(0, 2, 3, 1)
    num_texts, padding = len(x), 0
    if module.pad_len is not None:
        padding = max(module.pad_len - num_texts, 0)
    y = torch.zeros_like(pooled)
    for row in range(y.shape[1]):
        for column in range(y.shape[2]):
            tokens, words = pooled[:, row, column], guidance
            for _ in range(padding):
                tokens = torch.cat([tokens, module.padding_token[None]])
                words = torch.cat([words, module.padding_guidance[None]])
            mixed = class_attention(module, tokens, words)
            y[:, row, column] = mixed[:num_texts]
    y = F.interpolate(
        y.permute(0, 3, 1, 2),
        x.shape[1:3],
        mode='bilinear',
        align_corners=True,
    )
    return x + y.permute(0, 2, 3, 1)


def class_attention(module, tokens, words):
    """Transformer block on the classes of one position, (L, E)."""
    z = module.norm1(tokens)
    both = torch.cat([z, words], dim=-1)
    projected = module.q(both), module.k(both), module.v(z)
    out = []
    for q, k, v in zip(
        *(part.chunk(module.num_heads, dim=-1) for part in projected)
    ):
        if module.attend.__name__ == '_full_attention':
            weights = (q @ k.t() / q.shape[-1] ** 0.5).softmax(dim=-1)
        else:
            weights = (F.elu(q) + 1) @ (F.elu(k) + 1).t()
            weights = weights / (weights.sum(dim=-1, keepdim=True) + 1e-6)
        out.append(weights @ v)
    tokens = tokens + torch.cat(out, dim=-1)
    normed = module.norm2(tokens)
    tokens = tokens + module.mlp(normed)
    return tokens + normed if module.ffn_identity else tokens
