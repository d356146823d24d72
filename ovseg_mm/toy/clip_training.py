# SPDX-License-Identifier: Apache-2.0
"""Training of a CLIP on images and captions of the toy world."""

import math
import random
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.utils import track_iter_progress
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from ovseg_mm.checkpoints import compact_clip, random_token_table
from ovseg_mm.evaluation.metrics import OpenVocabIoUMetric
from ovseg_mm.inference import fuse_views, sliding_views
from ovseg_mm.models.backbones import CLIPViT
from ovseg_mm.models.text_encoder import CLIPTextTransformer, tokenize_prompts
from ovseg_mm.utils.clip_statistics import CLIP_MEAN, CLIP_STD
from ovseg_mm.vocabulary import load_vocabulary

from .captions import FACTS, TEMPLATES, all_texts, facts_of, make_caption
from .scenes import CLASSES, COLOURS, OBJECTS, make_scene
from .world import deal, validation_scenes

# Seed and standard deviation of the token table, of which few rows are used.
TABLE_SEED, TABLE_STD = 0, 0.02
# Learning rates of Muon (matrices of the blocks) and AdamW (all others), and
# their factor for the text tower, which learns few words.
MUON_LR, ADAMW_LR, TEXT_LR = 0.02, 2e-3, 0.15
WARM_UP = 50
# Number of patch tokens that must show each class of an image.
TOKENS_OF_A_FACT = 6
# Indices of the facts that a patch token can show.
_DENSE = [index for index, fact in enumerate(FACTS) if fact not in COLOURS]


class ToyCLIP(nn.Module):
    """CLIP for the toy world, with the learned parameters of two losses.

    The losses are :func:`caption_loss` and :func:`token_loss`. Each loss has a
    learned scale, by which similarities are multiplied. The caption loss also
    has a learned bias, which is added to the similarities.

    Letters in shapes: B images of h x w patches, embeddings of size C.

    Args:
        arch (dict): Model config in open_clip's format.
    """

    def __init__(self, arch: dict) -> None:
        super().__init__()
        before_last = arch['vision_cfg']['layers'] - 2
        self.image = CLIPViT(
            arch, last_block='value', out_indices=(before_last,)
        )
        self.text = CLIPTextTransformer(arch)
        table = self.text.token_embedding.weight
        rows, width = table.shape
        table.data = random_token_table(rows, width, TABLE_SEED, TABLE_STD)
        self.requires_grad_(True)
        self.caption_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.caption_bias = nn.Parameter(torch.tensor(-3.0))
        self.token_scale = nn.Parameter(torch.tensor(math.log(10.0)))

    def encode_images(self, img: Tensor) -> tuple[Tensor, Tensor]:
        """Encode images as class embeddings and patch embeddings.

        Args:
            img (Tensor): Images from :func:`normalise`, (B, 3, H, W).

        Returns:
            tuple[Tensor, Tensor]: Class embedding of each image, (B, C), and
            embeddings of its patches, (B, C, h, w). All embeddings have
            length 1.
        """
        features = self.image(img)
        last = self.image.transformer.resblocks[-1]
        cls = self.image.ln_post(last(features.layers[0])[:, 0])
        cls = F.normalize(cls @ self.image.proj, dim=1)
        return cls, F.normalize(features.dense, dim=1)

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Encode n texts as embeddings of length 1, (n, C)."""
        rows = [_token_row(text) for text in texts]
        return F.normalize(
            self.text(pad_sequence(rows, batch_first=True)), dim=1
        )

    def weights(self) -> dict[str, Tensor]:
        """Get the weights to save, without embeddings of unused tokens."""
        state_dict = {
            f'visual.{name}': tensor
            for name, tensor in self.image.state_dict().items()
        }
        state_dict.update(self.text.state_dict())
        ids = torch.cat([_token_row(text) for text in all_texts()])
        return compact_clip(state_dict, ids.tolist(), TABLE_SEED, TABLE_STD)


class ImagePool(NamedTuple):
    """Training images with their contents, from which batches are drawn.

    Attributes:
        images (Tensor): RGB images, (n, 3, H, W) uint8.
        facts (Tensor): Whether each of the n images shows each of the K
            entries of :data:`FACTS`, (n, K) bool.
        batch_size (int): Number of images in a batch.
    """

    images: Tensor
    facts: Tensor
    batch_size: int


def train_toy_clip(
    arch: dict, iterations: int, seed: int = 0
) -> tuple[ToyCLIP, list[float]]:
    """Train a CLIP on images of the toy world and their captions.

    The training needs no label maps. The loss is the sum of a sigmoid
    contrastive loss of images and captions (:func:`caption_loss`) and a
    multiple-instance loss of patch tokens (:func:`token_loss`).

    Args:
        arch (dict): Model config of a tiny CLIP in open_clip's format.
        iterations (int): Number of training iterations.
        seed (int): Random seed of images, captions and initial weights.

    Returns:
        tuple[ToyCLIP, list[float]]: Trained model, and the loss of each
        iteration.

    Raises:
        ImportError: If torch is older than 2.9 and lacks the optimizer Muon.
    """
    if not hasattr(torch.optim, 'Muon'):
        raise ImportError(
            f'torch {torch.__version__} has no optimizer Muon, which the '
            'training of the toy CLIP needs; install torch 2.9 or newer '
            '(the trained CLIP itself runs with older versions)'
        )
    torch.manual_seed(seed)
    rng = random.Random(seed)
    # Short trainings need fewer images.
    small = _draw_pool(seed, 64, 2, min(9000, 24 * iterations), 96)
    large = _draw_pool(seed, 128, 5, min(2500, 6 * iterations), 24)
    model = ToyCLIP(arch)
    _whiten(model, small, rng)
    optimizers = _optimizers(model)
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(
            optimizer,
            lambda step: (
                min(1, (step + 1) / WARM_UP)
                * (0.5 + 0.5 * math.cos(math.pi * step / iterations))
            ),
        )
        for optimizer in optimizers
    ]
    print(f'training for {iterations} iterations')
    losses = []
    for _ in track_iter_progress(range(iterations)):
        loss = _loss(model, rng.choice((small, large)), rng)
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        for schedule in schedules:
            schedule.step()
        losses.append(loss.item())
    return model.eval(), losses


def caption_loss(similarity: Tensor, stated: Tensor, facts: Tensor) -> Tensor:
    """Compute the sigmoid contrastive loss of captions and images.

    A caption and an image are a positive pair if the image shows all facts
    that the caption names.

    Args:
        similarity (Tensor): Logits of n captions and B images, (n, B).
        stated (Tensor): Whether each of the n captions names each of the K
            entries of :data:`FACTS`, (n, K) bool.
        facts (Tensor): Whether each of the B images shows each of these
            entries, (B, K) bool.

    Returns:
        Tensor: Loss, a scalar: sum over captions, mean over images.
    """
    false = stated.float() @ (~facts).float().t()
    return F.binary_cross_entropy_with_logits(
        similarity, (false == 0).float(), reduction='sum'
    ) / len(facts)


def token_loss(scores: Tensor, facts: Tensor) -> Tensor:
    """Compute the multiple-instance loss of patch tokens.

    The loss is low if two conditions hold. Each patch token is classified as
    a class that its image shows. Each class that an image shows is the class
    of some of its tokens.

    Args:
        scores (Tensor): Logits of K classes at the N patch tokens of B
            images, (B, K, N).
        facts (Tensor): Whether each image shows each class, (B, K) bool.

    Returns:
        Tensor: Loss, a scalar.
    """
    log_shares = scores.log_softmax(dim=1)
    possible = log_shares.masked_fill(~facts[:, :, None], -1e4)
    likeliest = log_shares.exp().topk(TOKENS_OF_A_FACT, dim=2).values
    found = likeliest.mean(dim=2).clamp_min(1e-6).log()
    return -possible.logsumexp(dim=1).mean() - found[facts].mean()


@torch.no_grad()
def zero_shot_metrics(
    model: ToyCLIP, number: int = 48, seed: int = 0
) -> dict[str, float]:
    """Evaluate zero-shot segmentation of validation scenes.

    The text of a class is compared with the patch tokens of an image. Each
    pixel gets the class with the largest similarity.

    Args:
        model (ToyCLIP): Trained model.
        number (int): Number of scenes.
        seed (int): Random seed of the scenes.

    Returns:
        dict[str, float]: Metrics of
        :class:`~ovseg_mm.evaluation.metrics.OpenVocabIoUMetric`, in percent.
    """
    metric = OpenVocabIoUMetric()
    metric.dataset_meta = load_vocabulary('toy_world').metainfo
    words = model.encode_texts([f'a photo of a {name}' for name in CLASSES])
    rng = np.random.default_rng((seed, True))
    print(f'labelling {number} scenes')
    for scene in track_iter_progress((validation_scenes(rng, number), number)):
        image = torch.from_numpy(scene.image).permute(2, 0, 1)
        views, layout = sliding_views(normalise(image), (64, 64), (32, 32))
        tokens = model.encode_images(views)[1]
        scores = torch.einsum('kc,bchw->bkhw', words, tokens)
        scores = fuse_views(scores, layout, lambda part: part)
        truth = torch.from_numpy(scene.labels)[None]
        metric.process(
            {},
            [
                dict(
                    pred_sem_seg=dict(data=scores.argmax(dim=0)[None]),
                    gt_sem_seg=dict(data=truth),
                )
            ],
        )
    return metric.evaluate(number)


def _loss(model: ToyCLIP, pool: ImagePool, rng: random.Random) -> Tensor:
    """Compute caption loss plus token loss of a random batch of images."""
    chosen = torch.randint(len(pool.images), (pool.batch_size,))
    images, facts = normalise(pool.images[chosen]), pool.facts[chosen]
    if rng.random() < 0.5:
        images = images.flip(3)
    captions = [make_caption(rng, _names(row)) for row in facts]
    stated = _fact_matrix([caption.facts for caption in captions])
    template = rng.choice(TEMPLATES)
    words = [template.format(FACTS[index]) for index in _DENSE]
    cls, tokens = model.encode_images(images)
    texts = model.encode_texts([c.text for c in captions] + words)
    captions, words = texts.split([len(captions), len(words)])
    similarity = captions @ cls.t() * model.caption_scale.exp()
    scores = torch.einsum('kc,bcn->bkn', words, tokens.flatten(2))
    return caption_loss(
        similarity + model.caption_bias, stated, facts
    ) + token_loss(scores * model.token_scale.exp(), facts[:, _DENSE])


def normalise(images: Tensor) -> Tensor:
    """Normalise RGB images in [0, 255] with CLIP's mean and std.

    Args:
        images (Tensor): Images, (B, 3, H, W) or (3, H, W), of any dtype.

    Returns:
        Tensor: Normalised images of the same shape, float32.
    """
    mean = images.new_tensor(CLIP_MEAN, dtype=torch.float)
    std = images.new_tensor(CLIP_STD, dtype=torch.float)
    return (images.float() - mean[:, None, None]) / std[:, None, None]


def _draw_pool(
    seed: int, size: int, most_objects: int, number: int, batch_size: int
) -> ImagePool:
    # Data sets use other random streams, so they share no image with the pool.
    rng = np.random.default_rng((seed, size, 1000))
    deck = deal(rng, OBJECTS)
    images = torch.empty(number, 3, size, size, dtype=torch.uint8)
    facts = []
    print(f'drawing {number} images of {size}x{size} pixels')
    for image in track_iter_progress(list(images)):
        count = rng.integers(max(1, most_objects - 3), most_objects + 1)
        names = [next(deck) for _ in range(count)]
        scene = make_scene(rng, (size, size), names)
        image.copy_(torch.from_numpy(scene.image).permute(2, 0, 1))
        facts.append(facts_of(scene))
    return ImagePool(images, _fact_matrix(facts), batch_size)


def _fact_matrix(facts: Sequence[Sequence[str]]) -> Tensor:
    """Encode n lists of facts as a matrix, (n, K) bool.

    A row belongs to a list, and a column to one of the K entries of
    :data:`FACTS`. An element is True if the list contains the entry.
    """
    return torch.tensor([[fact in row for fact in FACTS] for row in facts])


def _names(row: Tensor) -> list[str]:
    return [FACTS[index] for index in row.nonzero()[:, 0].tolist()]


@cache
def _token_row(text: str) -> Tensor:
    return tokenize_prompts([text], 77)[0]


@torch.no_grad()
def _whiten(model: ToyCLIP, pool: ImagePool, rng: random.Random) -> None:
    """Initialise the image tower and the text tower of CLIP by whitening.

    The embeddings are then decorrelated. Without this initialisation, captions
    that differ in one or two words have nearly the same embedding for the
    first minutes of training.
    """
    kernel = model.image.conv1.weight
    patches = F.unfold(
        normalise(pool.images[:500]), model.image.patch_size, stride=8
    )
    values, vectors = _principal(patches.transpose(1, 2).flatten(0, 1))
    vectors = vectors[:, : len(kernel)] / (values[: len(kernel)] + 1e-2).sqrt()
    kernel.copy_(0.5 * vectors.t().reshape(kernel.shape))
    model.image.positional_embedding.mul_(0.5)

    projection = model.text.text_projection
    projection.copy_(torch.eye(*projection.shape))
    captions = [make_caption(rng, _names(row)) for row in pool.facts[:2000]]
    texts = [caption.text for caption in captions]
    rows = pad_sequence([_token_row(t) for t in texts], batch_first=True)
    values, vectors = _principal(model.text(rows))
    scale = (values + 1e-4 * values[0]).rsqrt() / 8
    projection.copy_(vectors * scale @ vectors.t())


def _principal(x: Tensor) -> tuple[Tensor, Tensor]:
    """Compute eigenvalues and eigenvectors of the covariance of vectors.

    Args:
        x (Tensor): n vectors of size C, (n, C).

    Returns:
        tuple[Tensor, Tensor]: Eigenvalues in descending order, (C,), and
        eigenvectors in the columns of a matrix, (C, C).
    """
    x = x - x.mean(dim=0)
    values, vectors = torch.linalg.eigh(x.t() @ x / len(x))
    return values.flip(0), vectors.flip(1)


def _optimizers(model: ToyCLIP) -> list[torch.optim.Optimizer]:
    """Make Muon for weight matrices of blocks, AdamW for other parameters."""
    groups: dict[bool, list[dict]] = {True: [], False: []}
    for name, parameter in model.named_parameters():
        is_matrix = parameter.ndim == 2 and 'resblocks' in name
        factor = TEXT_LR if name.startswith('text.') else 1.0
        groups[is_matrix].append(
            dict(
                params=[parameter],
                lr=factor * (MUON_LR if is_matrix else ADAMW_LR),
            )
        )
    # Weight decay would change token embeddings that no caption uses.
    return [
        torch.optim.Muon(groups[True], weight_decay=0.0),
        torch.optim.AdamW(groups[False], weight_decay=0.0),
    ]
