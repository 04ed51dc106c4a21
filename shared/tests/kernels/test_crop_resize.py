"""Cut and resized boxes against Pillow's crop and resize, and against the filter written out.

`test_triton_form_passes_the_same_tests` runs this file a second time in the Triton form.
"""

import os

import numpy as np
import pytest
import torch

from nonet.kernels.crop_resize import crop_resize, crop_resize_packed, pack_images
from nonet.testing import needs

pytest.importorskip("PIL")

OTHER_FORM = os.environ.get("NONET_KERNELS") == "triton"
# x, y, width, height: larger than the result, smaller, each along one side, of one pixel, all of the image
BOXES = [[3, 2, 70, 60], [5, 9, 8, 8], [0, 0, 9, 73], [10, 1, 80, 5], [91, 73, 1, 1], [0, 0, 92, 74]]


def picture(height=74, width=92, seed=0):
    """Noise on a slope: every pixel counts, and so do edges."""
    noise = np.random.default_rng(seed).integers(0, 156, (height, width, 3))
    slope = np.arange(height)[:, None, None] + np.arange(width)[None, :, None]
    return (noise + slope * 99 // (height + width)).astype(np.uint8)


def pillow(array, box, size):
    """What Pillow makes of it: (3, h, w) integers."""
    from PIL import Image

    x, y, width, height = box
    cut = Image.fromarray(array).crop((x, y, x + width, y + height))
    return (
        np.asarray(cut.resize((size[1], size[0]), Image.Resampling.BILINEAR)).transpose(2, 0, 1).astype(int)
    )


@pytest.mark.parametrize("size", [(32, 32), (48, 20)])
def test_every_box_is_within_one_level_of_pillow(size):
    array = picture()
    found = crop_resize(torch.from_numpy(array).permute(2, 0, 1), torch.tensor(BOXES), size)
    assert found.shape == (len(BOXES), 3, *size)
    for box, mine in zip(BOXES, found.numpy().astype(int), strict=True):
        apart = np.abs(mine - pillow(array, box, size))
        assert apart.max() <= 1, box
        assert apart.mean() < 0.3, box


def written_out(line, n):
    """The filter of the module's text, along one axis: (m, ...) to (n, ...)."""
    m = len(line)
    step = m / n
    out = []
    for i in range(n):
        weights = [max(0, 1 - abs(k + 0.5 - (i + 0.5) * step) / max(1, step)) for k in range(m)]
        total = sum(w * line[k].astype(float) for k, w in enumerate(weights))
        out.append(total / sum(weights))
    return np.stack(out)


@pytest.mark.parametrize("box", BOXES[:4])
def test_the_filter_is_the_triangle(box):
    array = picture(seed=1)
    x, y, width, height = box
    cut = array[y : y + height, x : x + width]
    wanted = written_out(written_out(cut, 16).transpose(1, 0, 2), 24).transpose(2, 1, 0)
    found = crop_resize(torch.from_numpy(array).permute(2, 0, 1), torch.tensor([box]), (16, 24))[0]
    assert np.abs(found.numpy() - wanted).max() <= 1  # rounded


def test_nothing_outside_a_box_is_seen():
    array = picture()
    box = torch.tensor([[20, 10, 40, 30]])
    other = np.zeros_like(array)
    other[10:40, 20:60] = array[10:40, 20:60]
    first, second = (crop_resize(torch.from_numpy(a).permute(2, 0, 1), box, 16) for a in (array, other))
    assert torch.equal(first, second)


def test_the_layout_in_memory_does_not_matter():
    image = torch.from_numpy(picture()).permute(2, 0, 1)
    boxes = torch.tensor(BOXES)
    assert torch.equal(crop_resize(image, boxes, 16), crop_resize(image.contiguous(), boxes, 16))


def test_packed_images_give_what_each_gives_alone():
    images = [torch.from_numpy(picture(40 + 7 * n, 60 - 9 * n, seed=n)).permute(2, 0, 1) for n in range(3)]
    boxes = torch.tensor(
        [[[0, 0, 30, 20], [5, 6, 33, 34]], [[1, 2, 3, 4], [10, 0, 40, 47]], [[0, 0, 42, 54]] * 2]
    )
    found = crop_resize_packed(pack_images(images), boxes, (16, 24))
    alone = torch.stack(
        [crop_resize(image, places, (16, 24)) for image, places in zip(images, boxes, strict=True)]
    )
    assert torch.equal(found, alone)


def test_no_boxes_give_no_patches():
    image = torch.zeros(3, 9, 9, dtype=torch.uint8)
    assert crop_resize(image, torch.zeros(0, 4, dtype=torch.int64), 8).shape == (0, 3, 8, 8)


@pytest.mark.skipif(OTHER_FORM, reason="a GPU is not asked")
@pytest.mark.parametrize("box", [[0, 0, 10, 4], [-1, 0, 3, 3], [2, 2, 0, 1], [0, 7, 1, 2]])
def test_a_box_outside_is_refused(box):
    with pytest.raises(ValueError, match=f"box {box[0]}, {box[1]}, .* not inside an image of 9 x 8 pixels"):
        crop_resize(torch.zeros(3, 8, 9, dtype=torch.uint8), torch.tensor([box]), 8)


def test_an_image_of_another_form_is_refused():
    with pytest.raises(ValueError, match=r"an image of \(8, 9, 3\) torch.uint8; \(3, H, W\) uint8 is needed"):
        crop_resize(torch.zeros(8, 9, 3, dtype=torch.uint8), torch.zeros(0, 4), 8)
    with pytest.raises(ValueError, match=r"torch\.float32"):
        pack_images([torch.zeros(3, 8, 9)])


@needs("triton")
@pytest.mark.slow
@pytest.mark.skipif(OTHER_FORM, reason="this is the second run")
def test_triton_form_passes_the_same_tests(passes_in_triton):
    passes_in_triton(__file__)


@needs("triton")
@pytest.mark.skipif(OTHER_FORM, reason="the interpreter has replaced the compiler")
def test_triton_form_compiles_for_a_gpu():
    from nonet.kernels.crop_resize import _kernel

    kernel = _kernel()
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    signature = dict.fromkeys(["pixels", "found"], "*u8") | dict.fromkeys(
        ["starts", "sizes", "boxes"], "*i64"
    )
    signature |= dict.fromkeys(["each", "height", "width"], "i32") | {"TILE": "constexpr"}
    ordered = {name: signature[name] for name in kernel.arg_names}
    source = ASTSource(kernel, signature=ordered, constexprs={"TILE": 32})
    assembly = compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 4}).asm["ptx"]
    assert "st.global" in assembly
