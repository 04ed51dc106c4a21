"""The files of a frame: depth, colour, labels, pose and intrinsics, each checked as it is read (ours).

Values that mean "nothing seen" become 0, and an image without any depth is a bad frame.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nonet.errors import UserError
from ponderv2.cameras import pose_fault
from ponderv2.scenes import IGNORED, Array, BadFrame

# Shapes: H x W pixels.

_NOTHING = 65535  # in 16-bit images of Kinects and of S3DIS
_ASPECT = 0.02  # by how much the shapes of colour and depth may differ


def read_depth(path: Path, scale: float) -> NDArray[np.float32]:
    """(H, W) float32 metres, 0 where nothing was seen: 0, 65535, negative, NaN or infinite in the file.

    Args:
        path: an image of 16-bit or float pixels, or `.npy`; `.npy` and float images too are divided by
            `scale`.
        scale: units a metre.

    Raises:
        BadFrame: it cannot be read, is no depth image, or has no depth.
    """
    raw = _pixels(path, "depth")
    if raw.ndim != 2 or (raw.dtype.kind in "iub" and raw.dtype.itemsize < 2):
        raise BadFrame(
            "not a depth image", str(path), f"{raw.dtype} {raw.shape} is no depth image of 16 bits"
        )
    return masked_depth(raw, scale, str(path))


def masked_depth(raw: Array, scale: float, place: str) -> NDArray[np.float32]:
    """(H, W) float32 metres of raw depth, 0 where nothing was seen.

    Raises:
        BadFrame: nothing was seen anywhere.
    """
    whole = raw.dtype.kind in "iu"
    with np.errstate(invalid="ignore"):
        seen = (raw > 0) & ((raw < _NOTHING) if whole else np.isfinite(raw))
    if not seen.any():
        raise BadFrame("no depth", place, "no pixel has depth")
    return np.where(seen, raw / np.float32(scale), 0).astype(np.float32)


def read_color(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """(H, W, 3) uint8, brought to the size of the depth image if only that differs.

    Raises:
        BadFrame: it cannot be read, or has another shape.
    """
    from PIL.Image import Resampling

    from nonet.data.images import open_image

    try:
        image = open_image(path, orient=False)  # a turn by EXIF would part it from depth
    except UserError as error:
        raise BadFrame("colour unreadable", str(path), str(error).removeprefix(f"{path}: ")) from None
    height, width = shape
    if image.size != (width, height):
        if abs(image.size[0] / image.size[1] * height / width - 1) > _ASPECT:
            raise BadFrame(
                "colour of another shape",
                str(path),
                f"{image.size[0]} x {image.size[1]} pixels beside depth of {width} x {height}",
            )
        image = image.resize((width, height), Resampling.BILINEAR)
    return np.array(image)


def read_labels(path: Path, shape: tuple[int, ...]) -> Array:
    """(H, W) whole numbers as they stand in the file; of another size the nearest pixels are taken.

    Raises:
        BadFrame: it cannot be read, or is no image of labels.
    """
    raw = _pixels(path, "label")
    if raw.ndim != 2 or raw.dtype.kind not in "iu":
        raise BadFrame(
            "not a label image", str(path), f"{raw.dtype} {raw.shape} is no image of class numbers"
        )
    if raw.shape != shape:
        rows, columns = (
            np.minimum(((np.arange(want) + 0.5) * have / want).astype(int), have - 1)
            for want, have in zip(shape, raw.shape, strict=True)
        )
        raw = raw[rows[:, None], columns]
    return raw


def check_labels(label: Array, classes: Sequence[str], place: str) -> None:
    """Refuse class numbers that have no name.

    Args:
        label: any shape, -1 ignored.
        classes: names of 0, 1, ...
        place: names the data in an error.

    Raises:
        UserError: with the numbers.
    """
    if not label.size or (label.min() >= IGNORED and label.max() < len(classes)):
        return
    wrong = np.unique(label[(label < IGNORED) | (label >= len(classes))])
    listed = ", ".join(map(str, wrong[:8])) + (", ..." if len(wrong) > 8 else "")
    raise UserError(
        f"{place}: labels {listed} are none of the {len(classes)} classes ({', '.join(classes)})"
        + ("; write -1, not 255, for what has no class" if 255 in wrong else "")
    )


def read_matrix(path: Path, *, shapes: Sequence[tuple[int, int]]) -> NDArray[np.float64]:
    """Numbers of a text file as a matrix of one of some shapes.

    Raises:
        UserError: no such file, no numbers, or another count of them.
    """
    try:
        numbers = np.array(path.read_text(encoding="utf-8").replace(",", " ").split(), np.float64)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise UserError(f"{path}: not a matrix of numbers") from None
    for shape in shapes:
        if numbers.size == shape[0] * shape[1]:
            return numbers.reshape(shape)
    wanted = " or ".join(f"{rows} x {columns}" for rows, columns in shapes)
    raise UserError(f"{path}: {numbers.size} numbers; wanted is a matrix of {wanted}")


def read_pose(path: Path) -> NDArray[np.float64]:
    """(4, 4) float64 camera-to-world of a text file of 4 x 4 or 3 x 4 numbers.

    Raises:
        BadFrame: it cannot be read, or is not rigid; the reason is that of `cameras.pose_fault`.
    """
    try:
        pose = read_matrix(path, shapes=[(4, 4), (3, 4)])
    except UserError as error:
        raise BadFrame("pose unreadable", str(path), str(error).removeprefix(f"{path}: ")) from None
    if len(pose) == 3:
        pose = np.concatenate([pose, [[0, 0, 0, 1]]])
    if fault := pose_fault(pose):
        raise BadFrame(fault, str(path))
    return pose


def read_intrinsics(path: Path) -> NDArray[np.float64]:
    """(3, 3) float64 of a text file: 3 x 3 or 4 x 4 numbers, or fx, fy, cx, cy.

    Raises:
        UserError: it cannot be read, or has no positive focal lengths.
    """
    matrix = read_matrix(path, shapes=[(3, 3), (4, 4), (1, 4)])
    if matrix.shape == (1, 4):
        fx, fy, cx, cy = matrix[0]
        matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    matrix = matrix[:3, :3]
    if (
        not np.isfinite(matrix).all()
        or matrix[0, 0] <= 0
        or matrix[1, 1] <= 0
        or matrix[2].tolist() != [0, 0, 1]
    ):
        raise UserError(f"{path}: no intrinsics of a camera: {matrix.round(3).tolist()}")
    return matrix


def _pixels(path: Path, what: str) -> Array:
    import warnings

    from PIL import Image

    try:
        if path.suffix == ".npy":
            return np.load(path, allow_pickle=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                return np.array(image)
    except FileNotFoundError:
        raise BadFrame(f"no {what} file", str(path), "no such file") from None
    except Exception as error:  # a damaged file raises nearly anything
        reason = f"{what} unreadable"
        raise BadFrame(reason, str(path), f"cannot be read ({type(error).__name__})") from None
