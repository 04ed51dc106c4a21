"""What pre-training does to an image before the model sees it, and groups of queries in self-attention.

The loader, against the original's recipe in Pillow: decode, resize the image, cut 10 patches, resize each to
128 pixels, jitter, grey and blur it as drawn, normalise all. Both read the same files and use the same draws.
Pillow works in bytes, turns hues in 256 steps and blurs with three boxes, so that patches agree on average to
two levels of 255. Self-attention by reshaping, against the block mask over all queries: the same outputs.

    python -m benchmarks.updetr.speed_patches [--cuda]
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from benchmarks.data import data_folder
from benchmarks.harness import Row, save, table, versus
from lightning.fabric.utilities import move_data_to_device
from PIL import Image, ImageEnhance, ImageFilter
from torch import Tensor, nn

from nonet.data.images import IMAGENET_MEAN, IMAGENET_STD, find_images
from nonet.kernels.patch_augment import CONTRAST, HUE, SATURATION, Draws
from updetr.attention import Attention
from updetr.pretext_data import PretextData, PretextItem, prepare

SEED = 0
IMAGES = 24
LARGEST = 300_000  # bytes of a file: photographs of ordinary size
PATCH = 128  # pixels
ATTENTION = {"100 queries in 10 groups": (32, 100, 10), "900 queries in 90 groups": (4, 900, 90)}
"""images, queries, groups"""

Contest = tuple[str, Callable[[], Any], Callable[[Any, Any], bool | str]]
"""a name, what is done, whether it is the same"""

MEAN, STD = (torch.tensor(numbers)[:, None, None] for numbers in (IMAGENET_MEAN, IMAGENET_STD))


def main(*, tiny: bool = False, device: str = "cpu") -> list[Row]:
    """Two rows for the loader and two for attention; without the photographs, the latter alone."""
    torch.set_num_threads(1)
    rows = []
    once: dict[str, Any] = {"rounds": 1, "min_seconds": 0} if tiny else {}
    once["clock"] = device
    folder = data_folder("photos-1000")
    if folder is not None:
        files = [path for path in find_images(folder) if path.stat().st_size < LARGEST]
        count = 1 if tiny else IMAGES
        sizes = {"seed": SEED, "num_patches": 2 if tiny else 10, "patch_size": PATCH}
        data, kept = PretextData(files[:count], **sizes), PretextData(files[:count], keep=512, **sizes)
        items = [data[0, index] for index in range(count)]
        once |= {"unit": "images", "per_call": count}
        for name, mine, agree in cpu_rows(data) if device == "cpu" else gpu_rows(data, kept, device):
            rows.append(versus(f"{name}, against Pillow", mine, partial(in_pillow, items), agree, **once))
        del once["unit"], once["per_call"]
    for name, (images, queries, groups) in ({"tiny": (2, 12, 3)} if tiny else ATTENTION).items():
        by_reshape, masked = attentions(images, queries, groups, device)
        rows.append(versus(f"self-attention of {name}, against a mask", by_reshape, masked, equal, **once))
    print(table(rows))
    if not tiny:
        what = f"{IMAGES} photographs below 300 kB; random queries of 256"
        save(
            "updetr", rows, table="patches" if device == "cpu" else "patches-cuda",
            versions=("torch", "pillow", "numba"), data=what, seed=SEED,
        )  # fmt: skip
    return rows


def cpu_rows(data: PretextData) -> list[Contest]:
    """What is done on a CPU: all, or what is left to a loader's process."""
    left = "of that what a loader's process does where a GPU does the rest"
    return [
        ("an image and its 10 patches, decoded to normalised", partial(ours, data), alike),
        (left, partial(loaded, data), alike_later),
    ]


def gpu_rows(data: PretextData, kept: PretextData, device: str) -> list[Contest]:
    """Images decoded on the CPU, or kept on the GPU since they were."""
    decoded = "an image and its 10 patches, decoded on a CPU, the rest on the GPU"
    later = "an image that is kept on the GPU and its 10 patches, as in all passes but the first"
    return [
        (decoded, partial(on_device, data, device), alike_on_cpu),
        (later, partial(on_device, kept, device), alike_on_cpu),
    ]


def ours(data: PretextData) -> list[tuple[Tensor, Tensor]]:
    """Each image and its patches."""
    found = []
    for index in range(len(data)):
        batch = prepare(data.collate([data[0, index]]), PATCH)
        assert batch.images is not None
        found.append((batch.images.pixels[0], batch.patches[0]))
    return found


def on_device(data: PretextData, device: str) -> list[tuple[Tensor, Tensor]]:
    """Each image and its patches, as one batch on a device."""
    batch = data.collate([data[0, index] for index in range(len(data))])
    sizes = batch["sizes"]
    found = prepare(move_data_to_device(batch, torch.device(device)), PATCH)
    assert found.images is not None
    pictures = zip(found.images.pixels, sizes, strict=True)
    return list(zip([image[:, :high, :wide] for image, (high, wide) in pictures], found.patches, strict=True))


def alike_on_cpu(mine: list[tuple[Tensor, Tensor]], theirs: list[tuple[Tensor, Tensor]]) -> bool | str:
    """`alike` of what lies on a device."""
    return alike([(image.cpu(), patches.cpu()) for image, patches in mine], theirs)


def loaded(data: PretextData) -> list[dict[str, Any]]:
    """Each image as it leaves the loader."""
    return [data.collate([data[0, index]]) for index in range(len(data))]


def alike_later(mine: list[dict[str, Any]], theirs: list[tuple[Tensor, Tensor]]) -> bool | str:
    """Whether the rest makes the same of it."""
    done = (prepare(batch, PATCH) for batch in mine)
    return alike([(batch.images.pixels[0], batch.patches[0]) for batch in done if batch.images], theirs)


def in_pillow(items: list[PretextItem]) -> list[tuple[Tensor, Tensor]]:
    """The same, one patch after the other."""
    found = []
    for item in items:
        picture = Image.open(item.file).convert("RGB")
        patches = []
        for place, (x, y, width, height) in enumerate(item.crops.tolist()):
            patch = picture.crop((x, y, x + width, y + height)).resize(
                (PATCH, PATCH), Image.Resampling.BILINEAR
            )
            draws = Draws(*(part[place] for part in item.draws))
            patches.append(normalised(augmented(patch, draws)))
        image = picture.resize(item.size[::-1], Image.Resampling.BILINEAR)
        found.append((normalised(image), torch.stack(patches)))
    return found


def augmented(patch: Image.Image, draws: Draws) -> Image.Image:
    """A patch changed as it was drawn for it."""
    if draws.jitter:
        for operation in draws.order.tolist():
            factor = draws.factors[operation].item()
            if operation == HUE:
                hue, saturation, value = patch.convert("HSV").split()
                turned = (np.asarray(hue) + np.uint8(round(factor * 255) % 256)).astype(np.uint8)
                patch = Image.merge("HSV", (Image.fromarray(turned), saturation, value)).convert("RGB")
            elif operation == CONTRAST:
                patch = ImageEnhance.Contrast(patch).enhance(factor)
            elif operation == SATURATION:
                patch = ImageEnhance.Color(patch).enhance(factor)
            else:
                patch = ImageEnhance.Brightness(patch).enhance(factor)
    if draws.grey:
        patch = patch.convert("L").convert("RGB")
    if draws.sigma > 0:
        patch = patch.filter(ImageFilter.GaussianBlur(draws.sigma.item()))
    return patch


def normalised(picture: Image.Image) -> Tensor:
    """In 0..1 at first, as torchvision's ToTensor and Normalize do it."""
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()
    return pixels.float().div(255).sub_(MEAN).div_(STD)


def alike(mine: list[tuple[Tensor, Tensor]], theirs: list[tuple[Tensor, Tensor]]) -> bool | str:
    """Whether images agree to a level of 255 but for one value in 10,000, and patches to two on average."""
    for number, (ours_, peers) in enumerate(zip(mine, theirs, strict=True)):
        image, patches = (((a - b) * STD * 255).abs() for a, b in zip(ours_, peers, strict=True))
        if image.max() > 2.01 or (image > 1.01).float().mean() > 1e-4 or patches.mean() > 2:
            return (
                f"image {number} by {image.max():.3g} at most, its patches by {patches.mean():.3g} on average"
            )
    return True


def attentions(images: int, queries: int, groups: int, device: str) -> tuple[Any, Any]:
    """Self-attention within groups, by reshaping and by a mask, with the same weights."""
    torch.manual_seed(SEED)
    own = Attention(256, heads=8, dropout=0.0).eval().to(device)
    peer = nn.MultiheadAttention(256, 8, batch_first=True).eval().to(device)
    peer.load_state_dict(own.state_dict())
    x = torch.randn(images, queries, 256, device=device)
    group = torch.arange(queries, device=device) // (queries // groups)
    mask = torch.where(group[:, None] == group, 0.0, float("-inf"))

    @torch.no_grad()
    def by_reshape() -> Tensor:
        part = x.view(images * groups, queries // groups, 256)
        return own(part, part, part).view(x.shape)

    @torch.no_grad()
    def masked() -> Tensor:
        return peer(x, x, x, attn_mask=mask, need_weights=False)[0]

    return by_reshape, masked


def equal(mine: Tensor, theirs: Tensor) -> bool | str:
    """To rounding."""
    apart = (mine - theirs).abs().max().item()
    return apart < 1e-5 or f"by {apart:.3g}"


if __name__ == "__main__":
    main(device="cuda" if "--cuda" in sys.argv[1:] else "cpu")
