"""The contrast of unmixed pairs without the whole matrix of similarities: memory and time.

`global_contrastive` works off chunks of queries. Against it: open_clip's `ClipLoss` on a large batch, and
ALBEF's contrast with a queue and a teacher (Li et al. 2021, section 3.2), told in a few lines of torch, which
hold similarities, targets and gradients whole. Both sides give the same losses and gradients to rounding.
Memory is that of a fresh process on top of model features, which both need.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from benchmarks.harness import Row, peak_memory, save, table, versus
from open_clip.loss import ClipLoss
from torch import Tensor
from torch.nn.functional import normalize

from nonet.kernels.global_contrastive import Teacher, global_contrastive

SEED = 0
SPACE = 256  # of the features
TAU, ALPHA = 0.07, 0.4
SIZES = {"batch": 8192, "pairs": 512, "queue": 65536}
TINY = {"batch": 8, "pairs": 4, "queue": 12}

Found = tuple[Tensor, ...]
"""loss, and its gradients for images and texts"""


def main(*, tiny: bool = False) -> list[Row]:
    """A row for a batch alone, and one for a batch with a queue."""
    torch.set_num_threads(1)
    sizes = TINY if tiny else SIZES
    rows = []
    for name, count, make, ours, peer in (
        ("{batch:,} pairs, against open_clip", "batch", alone, our_batch, open_clips),
        ("{pairs:,} pairs, {queue:,} in the queue and a teacher, whole", "pairs", queued, our_queue, albefs),
    ):
        given = partial(make, **sizes)
        rows.append(
            versus(
                name.format(**sizes),
                *(partial(function, given()) for function in (ours, peer)),
                close,
                rounds=1 if tiny else 3,
                min_seconds=0,
                unit="pairs",
                per_call=sizes[count],
            )
        )
        if not tiny:
            rows[-1] |= {f"{who} MiB": weigh(f, given) for who, f in (("ours", ours), ("peer", peer))}
    print(table(rows))
    if not tiny:
        save(
            "timix", rows, table="contrast", versions=("torch", "open_clip_torch"), seed=SEED,
            data=f"normal features of {SPACE} numbers",
        )  # fmt: skip
    return rows


def weigh(function: Callable[..., Any], given: Callable[[], Any]) -> float:
    """Peak memory of a call, MiB."""
    return peak_memory(function, prepare=given)


def features(count: int, seed: int) -> Tensor:
    """(count, SPACE) of length 1."""
    random = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(count, SPACE, generator=random), dim=1)


def alone(batch: int, **_: int) -> list[Tensor]:
    """Images and texts."""
    return [features(batch, seed).requires_grad_() for seed in range(2)]


def queued(pairs: int, queue: int, **_: int) -> list[Tensor]:
    """Images and texts, those of the teacher, and of the queue."""
    own = [features(pairs, seed).requires_grad_() for seed in range(2)]
    return [*own, *(features(pairs, seed) for seed in (2, 3)), *(features(queue, seed) for seed in (4, 5))]


def our_batch(given: list[Tensor]) -> Found:
    """Both directions."""
    images, texts = given
    labels = torch.arange(len(images))
    loss = (
        global_contrastive(images, texts, labels, TAU).loss
        + global_contrastive(texts, images, labels, TAU).loss
    ) / (2 * len(images))
    return loss.detach(), *torch.autograd.grad(loss, (images, texts))


def open_clips(given: list[Tensor]) -> Found:
    """open_clip's own."""
    loss = ClipLoss()(*given, 1 / TAU)
    return loss.detach(), *torch.autograd.grad(loss, given)


def our_queue(given: list[Tensor]) -> Found:
    """Both directions, with keys of the teacher."""
    images, texts, taught_images, taught_texts, images_before, texts_before = given
    labels, more = torch.arange(len(images)), {"alpha": ALPHA}
    to_texts = global_contrastive(
        images, taught_texts, labels, TAU, queue=texts_before, teacher=Teacher(taught_images, taught_texts),
        **more,
    )  # fmt: skip
    to_images = global_contrastive(
        texts, taught_images, labels, TAU, queue=images_before, teacher=Teacher(taught_texts, taught_images),
        **more,
    )  # fmt: skip
    loss = (to_texts.loss + to_images.loss) / (2 * len(images))
    return loss.detach(), *torch.autograd.grad(loss, (images, texts))


def albefs(given: list[Tensor]) -> Found:
    """Similarities, the teacher's similarities and targets, whole."""
    images, texts, taught_images, taught_texts, images_before, texts_before = given
    every_text = torch.cat([taught_texts, texts_before])
    every_image = torch.cat([taught_images, images_before])
    halves = []
    for queries, taught, keys in (
        (images, taught_images, every_text), (texts, taught_texts, every_image),
    ):  # fmt: skip
        with torch.no_grad():
            similar = taught @ keys.T / TAU
            right = torch.zeros_like(similar).fill_diagonal_(1)
            targets = ALPHA * similar.softmax(1) + (1 - ALPHA) * right
        halves.append(-((queries @ keys.T / TAU).log_softmax(1) * targets).sum(1).mean())
    loss = (halves[0] + halves[1]) / 2
    return loss.detach(), *torch.autograd.grad(loss, (images, texts))


def close(ours: Found, theirs: Found) -> bool | str:
    """Whether loss and gradients agree to rounding."""
    for a, b in zip(ours, theirs, strict=True):
        if not torch.allclose(a, b, rtol=1e-3, atol=1e-7 if a.ndim else 1e-4):
            return f"by {(a - b).abs().max().item():.3g}"
    return True


if __name__ == "__main__":
    main()
