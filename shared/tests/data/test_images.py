"""Image files of every kind as RGB, and which files a source names."""

import json
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from nonet.data.images import (
    find_images,
    fitted,
    fitted_size,
    image_size,
    looks_like_image,
    normalise,
    open_image,
    to_uint8,
)
from nonet.errors import UserError
from nonet.testing import data_folder

ORIENTATION = 0x0112


@pytest.fixture
def picture():
    """Six pixels across, four down, each of another colour."""
    random = np.random.default_rng(0)
    return Image.fromarray(random.integers(0, 256, (4, 6, 3), dtype=np.uint8))


def first_pixel(path):
    image = open_image(path)
    assert image.mode == "RGB"
    return image.getpixel((0, 0))


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("L", 77, (77, 77, 77)),
        ("1", 255, (255, 255, 255)),
        ("LA", (77, 0), (77, 77, 77)),
        ("RGBA", (10, 20, 30, 0), (10, 20, 30)),
        ("I;16", 0x80FF, (128, 128, 128)),
    ],
)
def test_other_modes_become_rgb(tmp_path, mode, colour, expected):
    Image.new(mode, (5, 3), colour).save(tmp_path / "a.png")
    assert first_pixel(tmp_path / "a.png") == expected


def test_cmyk_becomes_rgb(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    red, green, blue = first_pixel(tmp_path / "a.jpg")
    assert red > 240
    assert max(green, blue) < 15


def test_a_palette_with_transparency_is_read_without_a_warning(tmp_path):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    image.save(tmp_path / "a.png", transparency=bytes([255, 0]))
    assert first_pixel(tmp_path / "a.png") == (200, 100, 50)


@pytest.mark.parametrize(("mode", "value", "text"), [("F", 0.5, "floats"), ("I", 70_000, "32 bits")])
def test_pixels_whose_range_is_unknown_are_refused(tmp_path, mode, value, text):
    Image.new(mode, (4, 4), value).save(tmp_path / "a.tif")
    with pytest.raises(UserError, match=text) as refused:
        open_image(tmp_path / "a.tif")
    assert str(refused.value).startswith(str(tmp_path / "a.tif"))


@pytest.mark.parametrize("value", range(1, 9))
def test_each_exif_orientation_is_turned_as_pillow_turns_it_or_left_aside(tmp_path, picture, value):
    exif = picture.getexif()
    exif[ORIENTATION] = value
    picture.save(tmp_path / "a.png", exif=exif)
    heard = []
    turned = open_image(tmp_path / "a.png", remark=heard.append)
    with Image.open(tmp_path / "a.png") as stored:
        expected = ImageOps.exif_transpose(stored)
    assert np.array_equal(np.asarray(turned), np.asarray(expected))
    assert heard == ([] if value == 1 else [f"{tmp_path}/a.png: turned by its EXIF orientation {value}"])
    assert np.array_equal(np.asarray(open_image(tmp_path / "a.png", orient=False)), np.asarray(picture))
    assert image_size(tmp_path / "a.png") == (6, 4)


@pytest.mark.parametrize("value", [0, 9, 65537])
def test_an_illegal_orientation_is_upright_and_said(tmp_path, picture, value):
    entry = struct.pack("<HHII", ORIENTATION, 4, 1, value)  # a number of four bytes
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4)
    picture.save(tmp_path / "a.jpg", exif=exif)
    heard = []
    assert open_image(tmp_path / "a.jpg", remark=heard.append).size == (6, 4)
    assert f"illegal EXIF orientation {value}" in heard[0]


def test_a_truncated_file_is_refused_by_name(tmp_path):
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"a\.jpg: cannot be decoded: .*truncated"):
        open_image(tmp_path / "a.jpg")


def header_alone(path, width, height):
    """A PNG that says how large it is, and has no pixels."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    header = struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + struct.pack(">I", 10) + b"IDAT")


def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path):
    header_alone(tmp_path / "a.png", 10_000, 9_000)
    with pytest.raises(UserError, match=r"10000 x 9000 pixels are more than the 89,478,485 allowed"):
        open_image(tmp_path / "a.png")
    header_alone(tmp_path / "b.png", 100_000, 100_000)
    with pytest.raises(UserError, match="too large to be read"):
        open_image(tmp_path / "b.png")
    header_alone(tmp_path / "c.png", 30, 40)
    with pytest.raises(UserError, match="30 x 40 pixels are more than the 1,199 allowed"):
        open_image(tmp_path / "c.png", max_pixels=1199)


def test_what_is_no_image_is_refused_by_name(tmp_path):
    (tmp_path / "a.png").write_text("no image")
    for path, text in [("a.png", "not an image"), ("b.png", "no such file"), (".", "is a folder")]:
        with pytest.raises(UserError, match=text):
            open_image(tmp_path / path)
    for path, text in [("a.png", "not an image"), ("b.png", "no such file")]:
        with pytest.raises(UserError, match=text):
            image_size(tmp_path / path)


@pytest.fixture
def tree(tmp_path, picture):
    """A folder of images, of what is none, of hidden files, and with a link to itself."""
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    (tmp_path / ".hidden").mkdir()
    for name in ("b.JPG", "a.png", "deep/deeper/c.bmp", ".hidden/d.png", "._a.png"):
        picture.save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("text")
    (tmp_path / "false.jpg").write_text("no image")
    os.symlink(tmp_path, tmp_path / "deep" / "again")
    return tmp_path


def test_a_folder_is_searched_at_every_depth_and_what_is_left_out_is_said(tree):
    heard = []
    found = find_images(tree, remark=heard.append)
    assert [path.relative_to(tree).as_posix() for path in found] == ["a.png", "b.JPG", "deep/deeper/c.bmp"]
    assert heard == [
        f"{tree}: left out files that are no images: 1 .txt",
        f"{tree}: left out 1 files that have an image's name only: {tree}/false.jpg",
    ]


def test_a_list_names_images_relative_to_itself(tree):
    (tree / "list.txt").write_text("# first\nb.JPG\n\ndeep/deeper/c.bmp\nb.JPG\n")
    found = find_images(tree / "list.txt")
    assert found == [tree / "b.JPG", tree / "deep/deeper/c.bmp"]
    (tree / "list.txt").write_text("a.png\nmissing.png\n")
    with pytest.raises(UserError, match=r"list\.txt:2: no such image: missing\.png"):
        find_images(tree / "list.txt")


def test_a_coco_file_names_images_beside_it_or_in_a_folder(tree):
    records = [{"file_name": name} for name in ("a.png", "elsewhere/b.JPG", "missing.png")]
    (tree / "c.json").write_text(json.dumps({"images": records}))
    heard = []
    assert find_images(tree / "c.json", remark=heard.append) == [tree / "a.png", tree / "b.JPG"]
    assert "1 of 3 images are missing: missing.png" in heard[0]
    assert find_images(f"{tree}/c.json,{tree}") == [tree / "a.png", tree / "b.JPG"]
    with pytest.raises(UserError, match="none of its 3 images"):
        find_images(f"{tree}/c.json,{tree}/deep")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("{", "not JSON"),
        ("[]", "no list of images"),
        ('{"images": [{}]}', r"images\[0\] has no file_name"),
        ('{"images": []}', "no image"),
    ],
)
def test_a_broken_coco_file_is_refused(tmp_path, content, text):
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(UserError, match=text):
        find_images(tmp_path / "c.json")


def test_sources_without_images_are_refused(tmp_path):
    with pytest.raises(UserError, match="no image; looked for"):
        find_images(tmp_path)
    with pytest.raises(UserError, match="no such file or folder"):
        find_images(tmp_path / "nowhere")
    (tmp_path / "a.bin").write_bytes(b"\xff\xfe\x00\x01\x80")
    with pytest.raises(UserError, match="neither an image, nor a list"):
        find_images(tmp_path / "a.bin")


def test_real_photographs_are_all_found():
    folder = data_folder("bccd", "BCCD")
    found = find_images(folder)
    assert len(found) == 364
    assert looks_like_image(found[0])


def test_pixels_stay_as_they_are_in_a_tensor(picture):
    pixels = to_uint8(picture)
    assert pixels.shape == (3, 4, 6)
    assert tuple(pixels[:, 3, 5].tolist()) == picture.getpixel((5, 3))


def test_bytes_and_floats_are_normalised_with_imagenets_numbers(picture):
    pixels = to_uint8(picture)
    found = normalise(pixels)
    red = pixels[0, 1, 2].item()
    assert found[0, 1, 2].item() == pytest.approx((red / 255 - 0.485) / 0.229, abs=1e-5)
    assert np.allclose(found, normalise(pixels / 255), atol=1e-6)


@pytest.mark.parametrize(
    ("size", "short", "longest", "expected"),
    [
        ((500, 375), 320, None, (426, 320)),
        ((375, 500), 320, 600, (320, 426)),
        ((500, 333), 480, 600, (600, 400)),
        ((640, 480), 800, 1333, (1066, 800)),
        ((2000, 10), 320, 600, (600, 3)),
        ((50, 50), 50, 50, (50, 50)),
    ],
)
def test_the_longer_side_is_rounded_down_and_limited(picture, size, short, longest, expected):
    assert fitted_size(*size, short, longest) == expected
    assert fitted(Image.new("RGB", size), short, longest).size == expected
