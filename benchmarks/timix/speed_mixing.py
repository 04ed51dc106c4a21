"""Mixing a batch, against the released operator told again, and against timm's CutMix; the loss of the mix
against open_clip's.

Both operators get the same images, scores and side and give the same bits. Where a model has embedded the
unmixed patches already, mixing them takes the place of mixing pixels and embedding them again; that is timed
too, with the embedding on the peer's side only. timm draws other rectangles than ours, so there the check is
that every pixel is the image's own or its mirror's. The losses agree where nothing is mixed.

    python -m benchmarks.timix.speed_mixing [--cuda]
"""

import sys
from functools import partial
from typing import Any

import torch
from benchmarks.harness import Row, save, table, versus
from benchmarks.timix.plain_mixing import plain_mix, timm_cutmix
from open_clip.loss import ClipLoss
from torch import Tensor
from torch.nn.functional import normalize

from timix import TextAwareMix, mix_targets, mixed_itc

SEED = 0
PATCH = 16  # pixels
SIZES = [(32, 14, 7), (32, 16, 8), (32, 24, 13), (128, 16, 8)]
"""images, patches a side, side of the window"""
WIDTH = 768  # of an embedded patch
SPACE = 512  # of the features in the loss


def main(*, tiny: bool = False, device: str = "cpu") -> list[Row]:
    """Four rows a size."""
    torch.set_num_threads(1)
    timed: dict[str, Any] = {"clock": "cuda" if device == "cuda" else "cpu"}
    timed |= {"rounds": 1, "min_seconds": 0} if tiny else {"rounds": 5}
    rows = []
    for count, grid, k in [(4, 4, 2)] if tiny else SIZES:
        name = f"{count} images of {grid} x {grid} patches"
        parts = made_up(count, grid, device, width=32 if tiny else WIDTH)
        images, scores, patchify, embedded = parts
        mix = TextAwareMix(grid, k / grid, k / grid)
        counted = timed | {"unit": "images", "per_call": count}
        peer = partial(plain_mix, images, scores, k)
        rows.append(versus(f"pixels of {name}", partial(pixels, mix, images, scores), peer, equal, **counted))
        ours, peers = partial(tokens, mix, embedded, scores), partial(embed, patchify, peer)
        rows.append(versus(f"embeddings of {name}", ours, peers, equal, **counted))
        ours = partial(cutmix, TextAwareMix(grid, k / grid, k / grid, region="cutmix"), images)
        peers = partial(timm, timm_cutmix(count), images, torch.arange(count, device=device))
        check = partial(from_both, images)
        rows.append(versus(f"CutMix of {name}, against timm", ours, peers, check, **counted))
    for count in [8] if tiny else [128, 1024]:
        given = made_up_features(count, device)
        rows.append(
            versus(
                f"loss and gradient of {count} pairs, against open_clip's without labels",
                partial(our_loss, *given),
                partial(peers_loss, *given[:2]),
                close,
                **timed,
                unit="pairs",
                per_call=count,
            )
        )
    print(table(rows))
    if not tiny:
        save(
            "timix",
            rows,
            table="mixing" if device == "cpu" else "mixing_cuda",
            versions=("torch", "timm", "open_clip_torch"),
            data="normal images and scores, patches of 16 pixels",
            seed=SEED,
        )
    return rows


def made_up(count: int, grid: int, device: str, width: int) -> tuple[Tensor, Tensor, torch.nn.Module, Tensor]:
    """Images, scores, an embedding of patches, and the embedded images."""
    random = torch.Generator().manual_seed(SEED)
    images = torch.randn(count, 3, grid * PATCH, grid * PATCH, generator=random).to(device)
    scores = torch.randn(count, grid, grid, generator=random).to(device)
    torch.manual_seed(SEED)
    patchify = torch.nn.Conv2d(3, width, PATCH, PATCH).to(device).requires_grad_(False)
    return images, scores, patchify, patchify(images).flatten(2).mT.contiguous()


def pixels(mix: TextAwareMix, images: Tensor, scores: Tensor) -> Tensor:
    """Ours on pixels, from scores on."""
    return mix.pixels(images, mix.plan(scores, torch.Generator().manual_seed(SEED)))


def tokens(mix: TextAwareMix, embedded: Tensor, scores: Tensor) -> Tensor:
    """Ours on embeddings that are there."""
    return mix.tokens(embedded, mix.plan(scores, torch.Generator().manual_seed(SEED)))


def embed(patchify: torch.nn.Module, mixed: Any) -> Tensor:
    """Mixed pixels, embedded."""
    return patchify(mixed()).flatten(2).mT


def cutmix(mix: TextAwareMix, images: Tensor) -> tuple[Tensor, Tensor]:
    """Mixed pixels and labels."""
    plan = mix.plan(images.new_zeros(len(images), *mix.grid), torch.Generator().manual_seed(SEED))
    return mix.pixels(images, plan), mix_targets(plan)


def timm(mixer: Any, images: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """The same of timm, which changes its input: the copy keeps that for the next round."""
    return mixer(images.clone(), numbers)


def equal(ours: Tensor, theirs: Tensor) -> bool | str:
    """Bit by bit on the CPU; a convolution on a GPU may round otherwise for another batch."""
    apart = (ours - theirs).abs().max().item()
    return True if apart <= (0 if ours.is_cpu else 1e-2) else f"by {apart:.3g}"


def from_both(images: Tensor, ours: tuple[Tensor, Tensor], theirs: tuple[Tensor, Tensor]) -> bool | str:
    """Whether pixels are the own ones or the mirror's, and labels add up to 1."""
    for who, (mixed, labels) in (("ours", ours), ("timm", theirs)):
        if not ((mixed == images) | (mixed == images.flip(0))).all():
            return f"{who}: pixels from elsewhere"
        if not torch.allclose(labels.sum(1), torch.ones_like(labels[:, 0]), atol=1e-5):
            return f"{who}: labels"
    return True


def made_up_features(count: int, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Features of images and texts, and labels without mixing."""
    random = torch.Generator().manual_seed(SEED)
    parts = [normalize(torch.randn(count, SPACE, generator=random), dim=1).to(device) for _ in range(2)]
    return parts[0].requires_grad_(), parts[1].requires_grad_(), torch.eye(count, device=device)


def our_loss(images: Tensor, texts: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
    """The loss with labels, and its gradients."""
    loss, _ = mixed_itc(images, texts, labels, 0.07)
    return loss.detach(), *torch.autograd.grad(loss, (images, texts))


def peers_loss(images: Tensor, texts: Tensor) -> tuple[Tensor, ...]:
    """open_clip's."""
    loss = ClipLoss()(images, texts, 1 / 0.07)
    return loss.detach(), *torch.autograd.grad(loss, (images, texts))


def close(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...]) -> bool | str:
    """Whether loss and gradients agree to rounding."""
    for a, b in zip(ours, theirs, strict=True):
        if not torch.allclose(a, b, rtol=1e-4, atol=1e-6):
            return f"by {(a - b).abs().max().item():.3g}"
    return True


if __name__ == "__main__":
    main(device="cuda" if "--cuda" in sys.argv[1:] else "cpu")
