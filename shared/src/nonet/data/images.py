"""Image files as users have them, read as RGB: what is an image, which way is up, what is too large (ours).

Nothing is changed silently: functions take `remark`, which is called with a line for whatever a reader of the
pixels should know, such as a turn by EXIF or a file left out.
"""

import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from nonet.data.image_lists import listed_in_coco, listed_in_text
from nonet.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

MAX_PIXELS = 89_478_485  # width times height, the limit of Pillow: 256 MiB of RGB
EXTENSIONS = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpe", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of R, G and B in 0..1, over ImageNet's training images
IMAGENET_STD = (0.229, 0.224, 0.225)

_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"P5", b"P6")
_ORIENTATION = 0x0112  # the EXIF tag; 1 is upright
_SHOWN = 5  # file names in a remark

Remark = Callable[[str], None]


def open_image(
    path: str | os.PathLike[str],
    *,
    max_pixels: int = MAX_PIXELS,
    orient: bool = True,
    remark: Remark | None = None,
    file: BinaryIO | None = None,
) -> "Image":
    """An image file as RGB, fully decoded.

    Grey, palette and CMYK images are converted; of 16 bits the upper 8 are kept; transparency is dropped, and
    of several frames the first one is taken.

    Args:
        path: the file.
        max_pixels: width times height at most, looked at before anything is decoded. Pillow itself refuses
            more than twice `MAX_PIXELS`.
        orient: turn it as its EXIF orientation says. Boxes are usually drawn on the pixels as they are
            stored: then leave it off. An illegal value (not 1 to 8) counts as upright.
        remark: called with a line, which names the file, if it was turned or could have been, has an illegal
            orientation, or is odd otherwise.
        file: the bytes, where they do not lie at `path`, which is then their name in messages.

    Raises:
        UserError: no such file, no image, a truncated or otherwise damaged one, or one that is too large; the
            text begins with the file.
    """
    from PIL import Image

    def say(text: str) -> None:
        if remark is not None:
            remark(f"{path}: {text}")

    try:
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            with Image.open(path if file is None else file) as image:
                _check_pixels(image.size, max_pixels, path)
                image.load()
                orientation = _orientation(image)
                found = _as_rgb(image)
                if found is image:
                    found = image.copy()
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder, not an image") from None
    except Image.UnidentifiedImageError:
        raise UserError(f"{path}: not an image that Pillow can read") from None
    except Image.DecompressionBombError:
        raise UserError(f"{path}: more than {2 * MAX_PIXELS:,} pixels, too large to be read") from None
    except MemoryError:
        raise UserError(f"{path}: too large for this machine's memory") from None
    except Exception as error:  # a damaged file makes Pillow's readers raise nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: cannot be decoded: {reason[:150]}") from error
    for text in {
        str(warning.message) for warning in heard if "DecompressionBomb" not in str(warning.category)
    }:
        say(" ".join(text.split())[:150])
    if orientation not in range(1, 9):
        say(f"illegal EXIF orientation {orientation}, read as upright")
    elif orientation != 1 and orient:
        say(f"turned by its EXIF orientation {orientation}")
        found = found.transpose(_turns()[orientation])
    elif orientation != 1:
        say(f"its EXIF orientation {orientation} is left aside")
    return found


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """(width, height) in pixels as they are stored, without EXIF, from the file's header alone.

    Raises:
        UserError: no such file, or no image.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                return int(image.size[0]), int(image.size[1])
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except Exception as error:
        raise UserError(f"{path}: not an image that Pillow can read") from error


def find_images(source: str | os.PathLike[str], *, remark: Remark | None = None) -> list[Path]:
    """The image files that a source names, each once, in a fixed order.

    Args:
        source: an image; a folder, searched at every depth, links too, for files with the extension and the
            first bytes of an image (hidden ones are left out); a text file with a path a line, relative to
            itself; a COCO file `FILE.json` or `FILE.json,FOLDER`, for its `images`.
        remark: called with a line for files that were left out.

    Returns:
        Sorted for folders, else in the order of the list.

    Raises:
        UserError: no such file, a broken list (with its line), or no image at all.
    """
    path = Path(source)
    json_file, comma, folder = str(source).partition(".json,")
    if comma:
        found = listed_in_coco(Path(json_file + ".json"), Path(folder), remark)
    elif path.is_dir():
        found = _in_folder(path, remark)
    elif not path.exists():
        raise UserError(f"{path}: no such file or folder")
    elif path.suffix.lower() in EXTENSIONS:
        found = [path]
    elif path.suffix.lower() == ".json":
        found = listed_in_coco(path, None, remark)
    else:
        found = listed_in_text(path)
    if not found:
        raise UserError(f"{path}: no image; looked for {', '.join(sorted(EXTENSIONS))}")
    return list(dict.fromkeys(found))


def looks_like_image(path: Path) -> bool:
    """Whether a file begins as the formats that are read here do, whatever its name."""
    try:
        with open(path, "rb") as file:
            first = file.read(12)
    except OSError:
        return False
    return first.startswith(_MAGIC) or (first[:4] == b"RIFF" and first[8:] == b"WEBP")


def to_uint8(image: "Image") -> "Tensor":
    """(3, height, width) uint8 tensor of an RGB image, its channels side by side in memory as in Pillow."""
    import numpy as np
    import torch

    if image.mode != "RGB":
        raise ValueError(f"an image of mode {image.mode}; open_image gives RGB")
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def normalise(pixels: "Tensor") -> "Tensor":
    """(..., 3, height, width) float32 with ImageNet's mean and deviation, of uint8, or of floats in 0..1."""
    import torch

    mean, std = (
        torch.tensor(numbers).to(pixels.device)[:, None, None] for numbers in (IMAGENET_MEAN, IMAGENET_STD)
    )
    if pixels.dtype == torch.uint8:  # in place: large images are passed over as seldom as may be
        found = pixels.to(torch.float32, memory_format=torch.contiguous_format)
        return found.mul_(1 / (255 * std)).sub_(mean / std)
    return (pixels.float() - mean) / std


def fitted_size(width: int, height: int, short: int, longest: int | None) -> tuple[int, int]:
    """The (width, height) of an image whose shorter side becomes `short`, its longer one `longest` at most.

    The other side is rounded down, as in DETR (Carion et al. 2020, released code): 500 x 375 with short 320
    is 426 x 320, and 500 x 333 with short 480 and longest 600 is 600 x 400.
    """
    least, most = min(width, height), max(width, height)
    if longest is not None and most / least * short > longest:
        short = max(1, round(longest * least / most))
    if width < height:
        return short, max(1, int(short * height / width))
    return max(1, int(short * width / height)), short


def fitted(image: "Image", short: int, longest: int | None) -> "Image":
    """An image resized to `fitted_size`, bilinear and antialiased."""
    from PIL.Image import Resampling

    width, height = image.size
    return image.resize(fitted_size(width, height, short, longest), Resampling.BILINEAR)


def _in_folder(folder: Path, remark: Remark | None) -> list[Path]:
    found: list[Path] = []
    false: list[Path] = []
    others: dict[str, int] = {}
    for path in _files(folder):
        if path.suffix.lower() not in EXTENSIONS:
            others[path.suffix.lower() or "no extension"] = (
                others.get(path.suffix.lower() or "no extension", 0) + 1
            )
        elif looks_like_image(path):
            found.append(path)
        else:
            false.append(path)
    if remark is not None and others:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(others.items()))
        remark(f"{folder}: left out files that are no images: {kinds}")
    if remark is not None and false:
        names = ", ".join(str(path) for path in false[:_SHOWN]) + (", ..." if len(false) > _SHOWN else "")
        remark(f"{folder}: left out {len(false)} files that have an image's name only: {names}")
    return sorted(found)


def _files(folder: Path) -> Iterator[Path]:
    """Every file below, links followed, each folder once."""
    seen: set[str] = set()
    for at, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(at)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(at, name)


def _check_pixels(size: tuple[int, int], most: int, path: Any) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise UserError(f"{path}: an image of {width} x {height} pixels")
    if width * height > most:
        raise UserError(f"{path}: {width} x {height} pixels are more than the {most:,} allowed")


def _orientation(image: "Image") -> int:
    """The value of the EXIF tag, 1 where there is none."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
        return int(value[0] if isinstance(value, tuple) else value)
    except Exception:  # the pixels are whole: a broken EXIF block is as good as none
        return 1


def _as_rgb(image: "Image") -> "Image":
    import numpy as np
    from PIL import Image

    if image.mode == "RGB":
        return image
    if image.mode == "F":
        raise UserError(f"{image.filename}: pixels are floats, whose range is unknown: convert it to 8 bits")
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise UserError(f"{image.filename}: pixels have 32 bits; convert it to 8 or 16")
        return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("P", "PA", "LA"):  # Pillow warns of palettes with transparency unless they go by RGBA
        image = image.convert("RGBA")
    return image.convert("RGB")


def _turns() -> dict[int, Any]:
    from PIL.Image import Transpose

    return {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
