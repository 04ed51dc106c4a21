"""Features of a frozen backbone, computed once and read from disk: pre-training on small sets (ours).

A frozen network says the same about the same pixels in each epoch. For images at a few fixed sizes its last
map is kept as float16: 1.2 MB for ResNet-50 and 480 x 640 pixels. Only the patches need the network then.
Features are of one image without padding; beside the padding of a batch they differ a little from the
network's own.

    index.json      what they are of: a fingerprint of weights, files and sizes
    shapes.npy      (images, scales, 3) int32: C, h, w; 0: the image cannot be used
    features.bin    the maps one after the other, float16
"""

import hashlib
import json
import secrets
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nonet.data.images import MAX_PIXELS, fitted, normalise, open_image, to_uint8
from nonet.errors import RunFailed, UserError
from nonet.files import write_json
from nonet.progress import progress

INDEX, SHAPES, FEATURES = "index.json", "shapes.npy", "features.bin"
OLD = 86_400.0  # seconds


class FeatureCache:
    """Maps of a folder that `write_features` wrote; they are read when they are asked for.

    Args:
        folder: the folder.

    Raises:
        UserError: there is no complete cache in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self.fingerprint = str(json.loads((folder / INDEX).read_text(encoding="utf-8"))["fingerprint"])
            self.shapes: NDArray[np.int64] = np.load(folder / SHAPES).astype(np.int64)
        except (OSError, ValueError, KeyError):
            raise UserError(f"{folder}: no complete cache of features") from None
        sizes = self.shapes.prod(2).ravel()
        self._starts = np.concatenate([[0], np.cumsum(sizes)])[:-1].reshape(self.shapes.shape[:2])
        if (folder / FEATURES).stat().st_size != 2 * int(sizes.sum()):
            raise UserError(f"{folder / FEATURES}: is not as long as {SHAPES} says; remove the folder")
        self._values: NDArray[np.float16] | None = None

    def __len__(self) -> int:
        return len(self.shapes)

    def has(self, number: int) -> bool:
        """Whether image `number` could be used."""
        return bool(self.shapes[number, 0, 0])

    def features(self, number: int, scale: int) -> Tensor:
        """(C, h, w) float16 map of image `number` at the scale with that place in the list."""
        if self._values is None:
            self._values = np.memmap(self.folder / FEATURES, np.float16, mode="r")
        channels, height, width = self.shapes[number, scale]
        start = int(self._starts[number, scale])
        values = self._values[start : start + int(channels * height * width)]
        return torch.from_numpy(np.array(values)).view(int(channels), int(height), int(width))

    def __getstate__(self) -> dict[str, Any]:
        """Without the open file: another process opens it itself."""
        return self.__dict__ | {"_values": None}


def write_features(
    folder: Path,
    images: Sequence[Path],
    backbone: nn.Module,
    scales: Sequence[int],
    longest: int,
    *,
    device: str = "cpu",
    orient: bool = True,
    max_pixels: int = MAX_PIXELS,
    writes: bool = True,
    say: Callable[[str], None] = lambda text: None,
) -> FeatureCache:
    """The features of images at some sizes; those that are there already are taken as they are.

    Args:
        folder: where they go.
        images: the files; what cannot be read has no features, and is said.
        backbone: (1, 3, H, W) float to a tuple of maps, of which the last is kept; frozen.
        scales: shorter sides, pixels.
        longest: longer side at most, pixels.
        device: where they are computed.
        orient: turn images as their EXIF says.
        max_pixels: of an image as it is stored.
        writes: whether this process computes them; others wait until they are there.
        say: gets the lines to print.

    Raises:
        UserError: the folder has features of something else.
        RunFailed: more than half of the images cannot be read, or a feature is beyond float16.
    """
    wanted = fingerprint(images, backbone, scales, longest, orient=orient)
    while not (folder / INDEX).exists() and not writes:
        time.sleep(0.5)  # if the process that writes fails, the launcher ends this one
    if (folder / INDEX).exists():
        cache = FeatureCache(folder)
        if cache.fingerprint != wanted:
            raise UserError(f"{folder}: features of other weights, images or sizes; name another folder")
        return cache
    _sweep(folder)
    part = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.part")
    part.mkdir(parents=True)
    try:
        size = _write(part, images, backbone, scales, longest, device, orient, max_pixels, say)
        write_json(part / INDEX, {"fingerprint": wanted, "scales": list(scales), "longest": longest})
        _put(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    say(size)
    cache = FeatureCache(folder)
    if cache.fingerprint != wanted:
        raise UserError(f"{folder}: another run wrote features of something else meanwhile; name another")
    return cache


def _write(
    part: Path, images: Sequence[Path], backbone: nn.Module, scales: Sequence[int], longest: int, device: str,
    orient: bool, max_pixels: int, say: Callable[[str], None],
) -> str:  # fmt: skip
    """The maps and their shapes into a folder; a line on how many there are."""
    shapes = np.zeros((len(images), len(scales), 3), np.int32)
    broken: list[str] = []
    backbone = backbone.to(device).eval()
    with open(part / FEATURES, "wb") as file:
        for number, path in enumerate(progress(images, label="features", unit="images")):
            try:
                picture = open_image(path, max_pixels=max_pixels, orient=orient)
            except UserError as error:
                broken.append(str(error))
                continue
            for place, short in enumerate(scales):
                found = _features(picture, backbone, short, longest, device)
                if not np.isfinite(found).all():
                    raise RunFailed(f"{path}: its features are beyond float16; do without the cache")
                shapes[number, place] = found.shape
                file.write(found.tobytes())
    for text in broken[:5]:
        say(f"left out: {text}")
    if 2 * len(broken) > len(images):
        raise RunFailed(f"{len(broken)} of {len(images)} images cannot be used, such as {broken[0]}")
    np.save(part / SHAPES, shapes)
    size = (part / FEATURES).stat().st_size
    return f"features of {len(images) - len(broken):,} images at {len(scales)} sizes: {size / 1e6:,.1f} MB"


def _put(part: Path, folder: Path) -> None:
    """Give a finished folder its name; if another process was faster, its folder stays."""
    if folder.exists() and not (folder / INDEX).exists():
        others = sorted({path.name for path in folder.iterdir()} - {INDEX, SHAPES, FEATURES})
        if others:
            raise UserError(f"{folder}: holds something else, such as {others[0]}; name another folder")
        shutil.rmtree(folder, ignore_errors=True)
    try:
        part.replace(folder)
    except OSError:
        if not (folder / INDEX).exists():
            raise


def _sweep(folder: Path) -> None:
    """Remove what processes left that were killed while they wrote: nothing was added to it for a day."""
    for part in folder.parent.glob(f".{folder.name}.*.part"):
        newest = max((path.stat().st_mtime for path in (part, *part.iterdir())), default=0.0)
        if time.time() - newest > OLD:
            shutil.rmtree(part, ignore_errors=True)


def fingerprint(
    images: Sequence[Path], backbone: nn.Module, scales: Sequence[int], longest: int, *, orient: bool
) -> str:
    """What tells features from others: the weights, the files with their sizes and times, and the scales."""
    found = hashlib.sha256(repr((list(scales), longest, orient)).encode())
    for name, value in backbone.state_dict().items():
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    for path in images:
        stat = path.stat()
        found.update(f"{path.absolute()}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return found.hexdigest()


@torch.inference_mode()
def _features(
    picture: Any, backbone: nn.Module, short: int, longest: int, device: str
) -> NDArray[np.float16]:
    pixels = normalise(to_uint8(fitted(picture, short, longest)).to(device))[None]
    found: NDArray[np.float16] = backbone(pixels)[-1][0].half().cpu().numpy()
    return found
