"""Boxes cut from images of bytes and resized to one size, with the triangle filter of Pillow (ours).

A box is cut first and resized then, so that nothing outside it is seen: Pillow's `resize(box=...)` looks over
the edge. Output pixel i of n takes input pixel k of the box's m with the weight

    max(0, 1 - |k + 1/2 - (i + 1/2) m / n| / max(1, m / n)),   normalised to sum 1,

along each axis: the antialiased bilinear filter. Results are whole numbers, 1 from Pillow's at most; on a
CPU, where both round after each axis, 2 for some three values in a million of enlarged photographs.

On a CPU it is torch's resize of bytes with three channels side by side, which is as vector instructions do it
(2.3 times as fast as Pillow on AVX2). The Triton form computes the weights where they are needed, in one
launch for all boxes of all images: two small matrix products a tile, over the pixels that it depends on.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from nonet.kernels.dispatch import backend, import_triton

# Shapes: B images, H x W pixels of one of them, M boxes an image, h x w pixels of a result.

TILE = 32  # pixels of a side, of a Triton program's part of the result and of what it reads at a time


class PackedImages(NamedTuple):
    """Images of different sizes in one tensor, so that one copy moves them to a device.

    Attributes:
        pixels: (total,) uint8: red, green, blue of pixel after pixel, row after row, image after image.
        starts: (B,) int64: where each image begins in `pixels`.
        sizes: (B, 2) int64: H and W.
    """

    pixels: Tensor
    starts: Tensor
    sizes: Tensor


def pack_images(images: Sequence[Tensor]) -> PackedImages:
    """Images one after the other.

    Args:
        images: (3, H, W) uint8 each, on one device.

    Raises:
        ValueError: an image is of another form.
    """
    for image in images:
        _check_image(image)
    sizes = torch.tensor([image.shape[1:] for image in images], dtype=torch.int64).view(-1, 2)
    bytes_of = 3 * sizes.prod(1)
    pixels = torch.cat([image.permute(1, 2, 0).reshape(-1) for image in images])
    return PackedImages(pixels, (bytes_of.cumsum(0) - bytes_of).to(pixels.device), sizes.to(pixels.device))


def crop_resize(image: Tensor, boxes: Tensor, size: int | tuple[int, int]) -> Tensor:
    """The pixels in boxes of an image, each resized.

    Args:
        image: (3, H, W) uint8. On a CPU it is fastest if the channels lie side by side in memory, as in a
            Pillow image.
        boxes: (M, 4) int64 x, y, width, height in pixels, inside the image and not empty.
        size: h = w, or (h, w), pixels.

    Returns:
        (M, 3, h, w) uint8; on a CPU their channels lie side by side, too.

    Raises:
        ValueError: the image is of another form; or, on a CPU, where looking costs nothing, a box is not
            inside.
    """
    _check_image(image)
    if backend(image) == "triton":
        return crop_resize_packed(pack_images([image]), boxes[None], size)[0]
    return _crop_reference(image, boxes, _sides(size))


def crop_resize_packed(images: PackedImages, boxes: Tensor, size: int | tuple[int, int]) -> Tensor:
    """The pixels in boxes of many images, each resized.

    Args:
        images: B of them.
        boxes: (B, M, 4) int64 x, y, width, height in pixels, inside the image and not empty.
        size: h = w, or (h, w), pixels.

    Returns:
        (B, M, 3, h, w) uint8.

    Raises:
        ValueError: on a CPU, a box is not inside its image.
    """
    B, M, _ = boxes.shape
    if len(images.starts) != B:
        raise ValueError(f"boxes of {B} images for {len(images.starts)}")
    sides = _sides(size)
    if backend(images.pixels) == "triton":
        return _crop_triton(images, boxes, sides)
    found = images.pixels.new_empty((B, M, 3, *sides))
    places = zip(images.starts.tolist(), images.sizes.tolist(), boxes, found, strict=True)
    for start, (height, width), boxes_M4, out in places:
        flat = images.pixels[start : start + 3 * height * width]
        out.copy_(_crop_reference(flat.view(height, width, 3).permute(2, 0, 1), boxes_M4, sides))
    return found


def _check_image(image: Tensor) -> None:
    if image.dim() != 3 or image.shape[0] != 3 or image.dtype != torch.uint8:
        raise ValueError(f"an image of {tuple(image.shape)} {image.dtype}; (3, H, W) uint8 is needed")


def _sides(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def _crop_reference(image: Tensor, boxes: Tensor, sides: tuple[int, int]) -> Tensor:
    _, H, W = image.shape
    found = image.new_empty((len(boxes), *sides, 3)).permute(0, 3, 1, 2)
    for out, (x, y, width, height) in zip(found, boxes.tolist(), strict=True):
        if min(x, y) < 0 or min(width, height) < 1 or x + width > W or y + height > H:
            raise ValueError(f"box {x}, {y}, {width}, {height} is not inside an image of {W} x {H} pixels")
        cut = image[:, y : y + height, x : x + width]
        if image.is_cpu:  # torch's fast form wants the strides of rows of pixels, the batch's too
            pixels = cut.permute(1, 2, 0).contiguous()[None].permute(0, 3, 1, 2)
            out.copy_(F.interpolate(pixels, sides, mode="bilinear", antialias=True)[0])
        else:  # torch has no resize of bytes there
            resized = F.interpolate(cut[None].float(), sides, mode="bilinear", antialias=True)[0]
            out.copy_(resized.add_(0.5).clamp_(0, 255))
    return found


def _crop_triton(images: PackedImages, boxes: Tensor, sides: tuple[int, int]) -> Tensor:
    B, M, _ = boxes.shape
    height, width = sides
    found = images.pixels.new_empty((B, M, 3, height, width))
    if not found.numel():
        return found
    with torch.cuda.device_of(found):  # Triton launches on the current device
        _kernel()[(B * M, -(-height // TILE) * -(-width // TILE), 3)](
            images.pixels.contiguous(), images.starts.contiguous(), images.sizes.contiguous(),
            boxes.contiguous(), found, M, height, width, TILE=TILE, num_warps=4,
        )  # fmt: skip
    return found


@functools.cache
def _kernel() -> Any:
    triton = import_triton()
    import triton.language as tl

    @triton.jit  # type: ignore[untyped-decorator]
    def resize(  # type: ignore[no-untyped-def]
        pixels, starts, sizes, boxes, found, each, height, width, TILE: tl.constexpr
    ):  # fmt: skip
        box = tl.program_id(0).to(tl.int64)
        across = tl.cdiv(width, TILE)
        i = tl.program_id(1) // across * TILE + tl.arange(0, TILE)
        j = tl.program_id(1) % across * TILE + tl.arange(0, TILE)
        channel = tl.program_id(2)
        image = box // each
        base = pixels + tl.load(starts + image) + channel
        rows, columns = tl.load(sizes + image * 2), tl.load(sizes + image * 2 + 1)
        left, top = tl.load(boxes + box * 4), tl.load(boxes + box * 4 + 1)
        wide, high = tl.load(boxes + box * 4 + 2).to(tl.int32), tl.load(boxes + box * 4 + 3).to(tl.int32)
        step_y, step_x = high.to(tl.float32) / height, wide.to(tl.float32) / width
        reach_y, reach_x = tl.maximum(step_y, 1.0), tl.maximum(step_x, 1.0)
        centre_y, centre_x = (i + 0.5) * step_y, (j + 0.5) * step_x
        # one pixel more at each end, so that rounding cannot leave out one that counts
        first_y = tl.maximum(tl.min(centre_y, 0) - reach_y - 1, 0.0).to(tl.int32)
        first_x = tl.maximum(tl.min(centre_x, 0) - reach_x - 1, 0.0).to(tl.int32)
        last_y = tl.minimum((tl.max(centre_y, 0) + reach_y + 1).to(tl.int32) + 1, high)
        last_x = tl.minimum((tl.max(centre_x, 0) + reach_x + 1).to(tl.int32) + 1, wide)
        sum_x = tl.zeros((TILE,), tl.float32)
        for start_x in range(first_x, last_x, TILE):
            x = start_x + tl.arange(0, TILE)
            part = tl.maximum(1 - tl.abs(x[:, None] + 0.5 - centre_x[None, :]) / reach_x, 0.0)
            sum_x += tl.sum(tl.where((x < wide)[:, None], part, 0.0), 0)
        sum_y = tl.zeros((TILE,), tl.float32)
        total = tl.zeros((TILE, TILE), tl.float32)
        for start_y in range(first_y, last_y, TILE):
            y = start_y + tl.arange(0, TILE)
            for_y = tl.maximum(1 - tl.abs(y[None, :] + 0.5 - centre_y[:, None]) / reach_y, 0.0)
            for_y = tl.where((y < high)[None, :], for_y, 0.0)
            sum_y += tl.sum(for_y, 1)
            line = (top + y) * columns
            inside_y = (y < high) & (top + y >= 0) & (top + y < rows)
            wide_rows = tl.zeros((TILE, TILE), tl.float32)  # resized along x only
            for start_x in range(first_x, last_x, TILE):
                x = start_x + tl.arange(0, TILE)
                for_x = tl.maximum(1 - tl.abs(x[:, None] + 0.5 - centre_x[None, :]) / reach_x, 0.0)
                inside_x = (x < wide) & (left + x >= 0) & (left + x < columns)
                inside = inside_y[:, None] & inside_x[None, :]
                place = (line[:, None] + (left + x)[None, :]) * 3
                value = tl.load(base + place, mask=inside, other=0).to(tl.float32)
                wide_rows += tl.dot(value, for_x, input_precision="ieee")
            total += tl.dot(for_y, wide_rows, input_precision="ieee")
        weight = sum_y[:, None] * sum_x[None, :]  # 0 beyond the result
        value = total / tl.where(weight > 0, weight, 1.0) + 0.5
        out = found + ((box * 3 + channel) * height + i[:, None]) * width + j[None, :]
        both = (i < height)[:, None] & (j < width)[None, :]
        tl.store(out, tl.minimum(value, 255.0).to(tl.uint8), mask=both)

    return resize
