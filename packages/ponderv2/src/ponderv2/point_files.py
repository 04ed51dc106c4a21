"""Point clouds in files as people have them: PLY, PCD, NumPy's npz and npy, and rows of float32 (ours).

What a file does not have stays None. Names of fields are taken as the common programs write them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nonet.errors import UserError
from ponderv2.pcd import read_pcd_fields
from ponderv2.ply import read_ply_elements, write_ply_elements
from ponderv2.scenes import IGNORED, Array, PointCloud

ENDINGS = (".ply", ".pcd", ".npz", ".npy", ".bin")

_COLORS = (("red", "green", "blue"), ("r", "g", "b"), ("diffuse_red", "diffuse_green", "diffuse_blue"))
_NORMALS = (("nx", "ny", "nz"), ("normal_x", "normal_y", "normal_z"))
_SEMANTIC = ("semantic", "label", "class", "scalar_label", "scalar_Classification", "category", "segment")
_INSTANCE = ("instance", "instance_id", "object", "objectId")
_HAIR = 1e-3  # real numbers may miss the range by that, as those of an average or a resampling do
_STRENGTH = ("intensity", "strength", "reflectance", "scalar_intensity")


def read_cloud(path: Path) -> PointCloud:
    """The point cloud of a file, by its ending.

    Args:
        path: `.ply`, `.pcd`; `.npz` with arrays named as the fields of `PointCloud` (or `points`, `rgb`,
            ...); `.npy` of (N, 3) places or (N, 6) with colours; `.bin` of float32 rows x, y, z, red, green,
            blue.

    Returns:
        Points that are not finite are left out: depth cameras write them where they saw nothing.

    Raises:
        UserError: it cannot be read, or holds no point.
    """
    path = Path(path)
    match path.suffix.lower():
        case ".ply":
            cloud = read_ply(path)
        case ".pcd":
            cloud = read_pcd(path)
        case ".npz":
            cloud = _npz(path)
        case ".npy":
            cloud = _columns(_numpy(path), path)
        case ".bin":
            cloud = _columns(_rows(path), path)
        case _:
            raise UserError(f"{path}: no point cloud by its ending; read are {', '.join(ENDINGS)}")
    finite = np.asarray(np.isfinite(cloud.coord).all(1))
    if not finite.any():
        raise UserError(f"{path}: holds no point" + (" that is finite" if len(cloud) else ""))
    return cloud if finite.all() else cloud.take(finite)


def read_ply(path: Path) -> PointCloud:
    """The vertices of a PLY file.

    Raises:
        UserError: it cannot be read, or has no vertices.
    """
    elements = read_ply_elements(path)
    if "vertex" not in elements:
        raise UserError(f"{path}: has no element vertex, but {', '.join(elements) or 'none'}")
    return _named(elements["vertex"], path)


def read_pcd(path: Path) -> PointCloud:
    """The points of a PCD file; a packed `rgb` is taken apart.

    Raises:
        UserError: it cannot be read, or has no places.
    """
    fields = read_pcd_fields(path)
    for name in ("rgb", "rgba"):
        if name in fields:
            packed = np.ascontiguousarray(fields[name])
            bits = packed.view(np.uint32) if packed.dtype == np.float32 else packed.astype(np.uint32)
            fields |= {
                channel: (bits >> shift & 255).astype(np.uint8)
                for channel, shift in (("red", 16), ("green", 8), ("blue", 0))
            }
    return _named(fields, path)


def write_ply_cloud(path: Path, cloud: PointCloud) -> None:
    """Write a cloud as a binary PLY file, with what is known of it, at once or not at all."""
    vertex: dict[str, Array] = dict(zip("xyz", cloud.coord.T, strict=True))
    if cloud.normal is not None:
        vertex |= dict(zip(_NORMALS[0], cloud.normal.T, strict=True))
    if cloud.color is not None:
        vertex |= dict(zip(_COLORS[0], cloud.color.round().clip(0, 255).astype(np.uint8).T, strict=True))
    if cloud.strength is not None:
        vertex["intensity"] = cloud.strength[:, 0]
    for name in ("semantic", "instance"):
        if (labels := getattr(cloud, name)) is not None:
            vertex[name] = labels
    write_ply_elements(path, {"vertex": vertex})


def as_cloud(
    place: object,
    coord: Any,
    *,
    color: Any = None,
    normal: Any = None,
    strength: Any = None,
    semantic: Any = None,
    instance: Any = None,
) -> PointCloud:
    """A cloud of arrays as files have them: any number types, labels as columns, colours in 0..1 or 0..255.

    Args:
        place: names the file in an error.
        coord: (N, 3).
        color: (N, 3); real numbers that are all at most 1 are taken as 0..1, 16-bit ones that go beyond 255
            as 0..65535.
        normal: (N, 3).
        strength: (N,) or (N, 1); where some are above 1 they are taken as 0..255, or as 0..65535 as for
            colours.
        semantic: (N,) or (N, 1); whole numbers. Negative ones become -1.
        instance: likewise.

    Raises:
        UserError: lengths differ, colours or strengths lie in none of these ranges (real numbers may miss
            them by a thousandth, and are cut off), or labels are not whole numbers.
    """
    coord = np.asarray(coord)
    if coord.ndim != 2 or coord.shape[1] != 3 or coord.dtype.kind not in "iuf":
        raise UserError(f"{place}: places are {coord.dtype} {coord.shape} in place of (N, 3) numbers")
    found: dict[str, Any] = {"coord": np.ascontiguousarray(coord, np.float32)}
    for name, values in {"color": color, "normal": normal, "strength": strength}.items():
        if values is None:
            continue
        values = np.asarray(values)
        values = values.reshape(len(coord), -1) if values.size and len(values) == len(coord) else values
        columns = 1 if name == "strength" else 3
        if values.shape != (len(coord), columns):
            raise UserError(f"{place}: {name} is {values.shape} for {len(coord)} points")
        found[name] = np.ascontiguousarray(values, np.float32)
        if name != "normal":
            found[name] = _scaled(found[name], values.dtype, f"{place}: {name}")
    for name, values in {"semantic": semantic, "instance": instance}.items():
        if values is not None:
            found[name] = as_labels(values, len(coord), f"{place}: {name}")
    return PointCloud(**found)


def _scaled(values: NDArray[np.float32], kind: np.dtype[Any], place: str) -> NDArray[np.float32]:
    """Colours as 0..255, strengths as 0..1, whichever of the usual ranges they come in.

    Args:
        values: (N, 3) colours or (N, 1) strengths; NaN, where a depth camera saw nothing, has no say.
        kind: of the numbers as they were.
        place: names file and channel.

    Raises:
        UserError: they lie in none of these ranges.
    """
    known = values[~np.isnan(values)]
    low, high = float(known.min(initial=0)), float(known.max(initial=0))
    color, real = values.shape[1] == 3, kind.kind == "f"
    if kind == np.uint16 and high > 255:  # as LAS has them
        return values / np.float32(257 if color else 65535)
    hair = _HAIR if real else 0.0
    if low < -hair or high > 255 + hair:
        raise UserError(
            f"{place} goes from {low:g} to {high:g}; it lies in 0..1 or 0..255, or is of 16-bit whole "
            "numbers: scale it"
        )
    unit = high <= 1 + hair
    if color:
        return (values * np.float32(255) if real and known.size and unit else values).clip(0, 255)
    return (values if unit else values / np.float32(255)).clip(0, 1)


def as_labels(values: Any, count: int, place: str) -> NDArray[np.int64]:
    """(count,) int64 labels; negative ones become -1.

    Raises:
        UserError: another count, or numbers that are not whole.
    """
    values = np.asarray(values)
    if values.size != count or values.dtype.kind not in "iufb":
        raise UserError(f"{place}: {values.dtype} {values.shape} for {count} points")
    values = values.reshape(-1)
    if values.dtype.kind == "f" and not np.array_equal(values, np.round(values)):
        wrong = values[values != np.round(values)][0]
        raise UserError(f"{place}: {wrong:g} is no class number")
    if values.dtype == np.uint64 or (values.dtype == np.uint32):
        values = values.astype(np.int64)
    return np.maximum(values.astype(np.int64), IGNORED)


def _named(fields: Mapping[str, Array], path: Path) -> PointCloud:
    if missing := [axis for axis in "xyz" if axis not in fields]:
        raise UserError(f"{path}: its points have no {missing[0]}, but {', '.join(fields)}")

    def stacked(choices: tuple[tuple[str, ...], ...]) -> Array | None:
        for names in choices:
            if all(name in fields for name in names):
                return np.stack([fields[name] for name in names], 1)
        return None

    def first(names: tuple[str, ...]) -> Array | None:
        return next((fields[name] for name in names if name in fields), None)

    return as_cloud(
        path,
        np.stack([fields[axis] for axis in "xyz"], 1),
        color=stacked(_COLORS),
        normal=stacked(_NORMALS),
        strength=first(_STRENGTH),
        semantic=first(_SEMANTIC),
        instance=first(_INSTANCE),
    )


def _npz(path: Path) -> PointCloud:
    arrays = _numpy(path)
    found = {}
    for name, others in _NPZ.items():
        for key in (name, *others):
            if key in arrays:
                found[name] = arrays[key]
                break
    if "coord" not in found:
        names = ", ".join(f"{name} {arrays[name].shape}" for name in arrays)
        raise UserError(f"{path}: has no array coord, but {names}")
    coord = found.pop("coord")
    if coord.ndim == 2 and coord.shape[1] in (4, 6) and not found:
        return _columns(coord, path)
    return as_cloud(path, coord, **found)


_NPZ: dict[str, tuple[str, ...]] = {
    "coord": ("coords", "points", "point", "xyz", "pc"),
    "color": ("colors", "rgb"),
    "normal": ("normals",),
    "strength": ("intensity",),
    "semantic": ("label", "labels", "segment", "semantic_gt"),
    "instance": ("instances", "instance_gt"),
}


def _numpy(path: Path) -> Any:
    import zipfile

    try:
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return content
        with content:
            return {name: content[name] for name in content.files}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: cannot be read as NumPy's arrays: {error}") from None


def _rows(path: Path) -> Array:
    try:
        numbers = np.fromfile(path, np.float32)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    if not len(numbers) or len(numbers) % 6:
        raise UserError(f"{path}: {len(numbers)} float32 numbers are no rows of x, y, z, red, green, blue")
    return numbers.reshape(-1, 6)


def _columns(rows: Array, path: Path) -> PointCloud:
    """Places alone, with reflectance (4 columns), or with colours (6)."""
    if rows.ndim != 2 or rows.shape[1] not in (3, 4, 6):
        raise UserError(f"{path}: {rows.shape} numbers; wanted are rows of 3, 4 (strength) or 6 (colours)")
    return as_cloud(
        path,
        rows[:, :3],
        color=rows[:, 3:] if rows.shape[1] == 6 else None,
        strength=rows[:, 3:] if rows.shape[1] == 4 else None,
    )
