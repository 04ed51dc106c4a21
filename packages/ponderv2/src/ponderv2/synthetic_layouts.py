"""Made-up rooms as files in the layouts that readers read: for tests, and to show what a layout is (ours)."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nonet.errors import UserError
from ponderv2.pcd import write_pcd_fields
from ponderv2.point_files import write_ply_cloud
from ponderv2.rgbd_folders import TUM_SCALE
from ponderv2.s3dis import SCALE as S3DIS_SCALE
from ponderv2.scannet_classes import NYU40_20
from ponderv2.scenes import Array, PointCloud, Scene, View
from ponderv2.synthetic import CLASSES
from ponderv2.tabletop import CYLINDERS

# Classes of made-up rooms (floor, wall, box, cylinder, sphere) as those of a data set.
TO_SCANNET = np.array([1, 0, 2, 19, 5])
TO_S3DIS = np.array([1, 2, 7, 12, 8])
TO_STRUCTURED3D = np.array([1, 0, 2, 23, 4])


def write_rooms(kind: str, rooms: Sequence[Scene], folder: Path) -> Path:
    """Write rooms in the layout of a kind of data set, new files only.

    Args:
        kind: a word of `reading.KINDS` among `LAYOUTS`.
        rooms: made-up scenes. `train`, `val` and `test`, or areas, or halves, get them in turn.
        folder: where; made if it is missing.

    Returns:
        The folder that a reader is given.

    Raises:
        UserError: no such layout is written.
    """
    if kind not in LAYOUTS:
        raise UserError(
            f"{kind}: no layout that made-up rooms are written in; there are {', '.join(LAYOUTS)}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    LAYOUTS[kind](rooms, folder)
    return folder


def write_views(scene: Scene, place: Path, *, depth_scale: float = 1000.0, labels: bool = True) -> None:
    """Write a scene's views as one's own folder: color/, depth/, pose/, label/, intrinsics.txt.

    Args:
        scene: whose views have one camera.
        place: the folder.
        depth_scale: units a metre in 16-bit images.
        labels: whether to write label images.
    """
    for index, name in enumerate(scene.view_names):
        view = scene.view(index)
        write_image(place / "color" / f"{name}.png", view.color)
        write_image(place / "depth" / f"{name}.png", raw_depth(view, depth_scale))
        write_matrix(place / "pose" / f"{name}.txt", view.camera_to_world)
        if labels and view.label is not None:
            write_image(
                place / "label" / f"{name}.png", np.where(view.label < 0, 255, view.label).astype(np.uint8)
            )
        if index == 0:
            write_matrix(place / "intrinsics.txt", view.intrinsics)


def write_image(path: Path, pixels: Array) -> None:
    """Write uint8 or uint16 pixels as an image file, its folder made."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_matrix(path: Path, matrix: Array) -> None:
    """Write numbers as text, exactly, the folder made."""
    write_lines(path, [" ".join(repr(float(value)) for value in row) for row in matrix])


def write_lines(path: Path, lines: Sequence[str]) -> None:
    """Write lines of text, the folder made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def raw_depth(view: View, scale: float, nothing: int = 0) -> NDArray[np.uint16]:
    """(H, W) uint16 depth in units of 1 / scale metres."""
    return np.where(view.depth > 0, (view.depth * scale).round(), nothing).astype(np.uint16)


def _write_rgbd(rooms: Sequence[Scene], folder: Path) -> None:
    write_lines(folder / "classes.txt", CLASSES)
    for room in rooms:
        write_views(room, folder / room.name)
        write_ply_cloud(folder / room.name / "cloud.ply", room.cloud())


def _write_seven_scenes(rooms: Sequence[Scene], folder: Path) -> None:
    turn = np.array([[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])  # its world has y down
    for number, room in enumerate(rooms, 1):
        place = folder / f"seq-{number:02d}"
        for index in range(len(room.view_names)):
            view = room.view(index)
            stem = f"frame-{index:06d}"
            write_image(place / f"{stem}.color.png", view.color)
            write_image(place / f"{stem}.depth.png", raw_depth(view, 1000, nothing=65535))
            write_matrix(place / f"{stem}.pose.txt", turn @ view.camera_to_world)
            write_matrix(folder / "camera-intrinsics.txt", view.intrinsics)
    half = (len(rooms) + 1) // 2
    for split, numbers in (("Train", range(1, half + 1)), ("Test", range(half + 1, len(rooms) + 1))):
        write_lines(folder / f"{split}Split.txt", [f"sequence{number}" for number in numbers])


def _write_tum(rooms: Sequence[Scene], folder: Path) -> None:
    from scipy.spatial.transform import Rotation

    for room in rooms:
        place = folder / room.name
        lists: dict[str, list[str]] = {name: [f"# {name}"] for name in ("rgb", "depth", "groundtruth")}
        for index in range(len(room.view_names)):
            view, time = room.view(index), 1000 + index / 30
            write_image(place / "rgb" / f"{time:.6f}.png", view.color)
            write_image(place / "depth" / f"{time:.6f}.png", raw_depth(view, TUM_SCALE))
            lists["rgb"].append(f"{time + 0.004:.6f} rgb/{time:.6f}.png")
            lists["depth"].append(f"{time:.6f} depth/{time:.6f}.png")
            numbers = [
                *view.camera_to_world[:3, 3],
                *Rotation.from_matrix(view.camera_to_world[:3, :3]).as_quat(),
            ]
            lists["groundtruth"].append(f"{time - 0.003:.6f} " + " ".join(repr(float(x)) for x in numbers))
            write_matrix(place / "camera-intrinsics.txt", view.intrinsics)
        for name, lines in lists.items():
            write_lines(place / f"{name}.txt", lines)


def _write_tabletop(rooms: Sequence[Scene], folder: Path) -> None:
    """Each view of each room is a frame: floor and walls are the table, solids are objects."""
    for number, room in enumerate(rooms):
        half = ("learn", "test")[number % 2]
        for index in range(len(room.view_names)):
            view = room.view(index)
            file = CYLINDERS[half][0] if index % 2 else 0  # of boxes and of cylinders by turns
            name = f"{half}{file + (number // 2) * len(room.view_names) // 2 + index // 2}"
            label = np.where(view.label < 2, 1, view.label * 10) if view.label is not None else None
            write_image(folder / half / "color" / f"{name}.png", view.color)
            write_image(folder / half / "depth" / f"{name}.png", raw_depth(view, 1000))
            if label is not None:
                write_image(folder / half / "label" / f"{name}.png", label.astype(np.uint8))
            write_matrix(folder / "camera-intrinsics.txt", view.intrinsics)


def _write_scannet(rooms: Sequence[Scene], folder: Path) -> None:
    nyu = np.array(NYU40_20)
    for number, room in enumerate(rooms):
        name = f"scene{number:04d}_00"
        cloud = _relabelled(room.cloud(), TO_SCANNET)
        content: dict[str, Any] = {**_arrays(cloud, "semantic_gt20"), "scene_id": name}
        content["semantic_gt200"] = content["semantic_gt20"]
        write_torch(folder / ("train", "val", "test")[number % 3] / f"{name}.pth", content)
        place = folder / "rgbd" / name
        for index in range(len(room.view_names)):
            view = room.view(index)
            frame = str(index * 20)  # extracted at a stride, as the original's guide advises
            write_image(place / "color" / f"{frame}.png", view.color)
            write_image(place / "depth" / f"{frame}.png", raw_depth(view, 1000))
            write_matrix(place / "pose" / f"{frame}.txt", view.camera_to_world)
            label = np.zeros(view.depth.shape, np.uint16)
            if view.label is not None:
                label[view.label >= 0] = nyu[TO_SCANNET[view.label[view.label >= 0]]]
            write_image(place / "label" / f"{frame}.png", label)
            camera = np.eye(4)
            camera[:3, :3] = view.intrinsics
            write_matrix(place / "intrinsic" / "intrinsic_depth.txt", camera)


def _write_s3dis(rooms: Sequence[Scene], folder: Path) -> None:
    for number, room in enumerate(rooms):
        _write_processed(
            room, folder / f"Area_{number % 6 + 1}" / f"{room.name}.pth", TO_S3DIS, S3DIS_SCALE, 65535
        )


def _write_structured3d(rooms: Sequence[Scene], folder: Path) -> None:
    for number, room in enumerate(rooms):
        split = ("train", "val", "test")[number % 3]
        file = folder / split / f"scene_{number:05d}" / "room_0.pth"
        _write_processed(room, file, TO_STRUCTURED3D, 1000.0, 65535)


def _write_clouds(rooms: Sequence[Scene], folder: Path) -> None:
    """PLY, PCD in its three encodings, and npz, in turn."""
    write_lines(folder / "classes.txt", CLASSES)
    for number, room in enumerate(rooms):
        cloud = room.cloud()
        match number % 5:
            case 0:
                write_ply_cloud(folder / f"{room.name}.ply", cloud)
            case 4:
                with open(folder / f"{room.name}.npz", "wb") as file:
                    np.savez(
                        file, **{name: values for name, values in vars(cloud).items() if values is not None}
                    )
            case turn:
                encoding = ("binary_compressed", "binary", "ascii")[turn - 1]
                write_pcd_fields(folder / f"{room.name}.pcd", pcd_fields(cloud), encoding=encoding)


def pcd_fields(cloud: PointCloud) -> dict[str, Array]:
    """A cloud as fields of a PCD file; colours are packed, as the Point Cloud Library does."""
    fields: dict[str, Array] = dict(zip("xyz", cloud.coord.T, strict=True))
    if cloud.color is not None:
        red, green, blue = cloud.color.round().astype(np.uint32).T
        fields["rgb"] = (red << 16 | green << 8 | blue).astype(np.uint32)
    if cloud.normal is not None:
        fields |= dict(zip(("normal_x", "normal_y", "normal_z"), cloud.normal.T, strict=True))
    for name, labels in (("label", cloud.semantic), ("instance", cloud.instance)):
        if labels is not None:
            fields[name] = labels.astype(np.int32)
    return fields


def write_torch(path: Path, content: Any) -> None:
    """Write a file of `torch.save`, its folder made."""
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)


def _write_processed(room: Scene, file: Path, classes: NDArray[Any], scale: float, nothing: int) -> None:
    cloud = _relabelled(room.cloud(), classes)
    write_torch(file, _arrays(cloud, "semantic_gt"))
    for index, name in enumerate(room.view_names):
        view = room.view(index)
        label = np.full(view.depth.shape, -1)
        if view.label is not None:
            label[view.label >= 0] = classes[view.label[view.label >= 0]]
        content = {
            "intrinsic": view.intrinsics,
            "extrinsic": view.camera_to_world,
            "rgb": view.color,
            "depth": raw_depth(view, scale, nothing),
            "depth_mask": view.depth > 0,
            "semantic_map": label,
        }
        write_torch(file.with_name(f"{file.stem}_rgbd") / f"{name}.pth", content)


def _arrays(cloud: PointCloud, label: str) -> dict[str, Any]:
    """As the preprocessing writes them: labels in a column."""
    found: dict[str, Any] = {"coord": cloud.coord, "color": cloud.color, "normal": cloud.normal}
    if cloud.semantic is not None:
        found[label] = cloud.semantic[:, None]
    if cloud.instance is not None:
        found["instance_gt"] = cloud.instance[:, None]
    return found


def _relabelled(cloud: PointCloud, classes: NDArray[Any]) -> PointCloud:
    if cloud.semantic is None:
        return cloud
    return replace(cloud, semantic=np.where(cloud.semantic < 0, -1, classes[cloud.semantic]).astype(np.int64))


LAYOUTS: dict[str, Callable[[Sequence[Scene], Path], None]] = {
    "rgbd": _write_rgbd,
    "7scenes": _write_seven_scenes,
    "tum": _write_tum,
    "tabletop": _write_tabletop,
    "scannet": _write_scannet,
    "s3dis": _write_s3dis,
    "structured3d": _write_structured3d,
    "cloud": _write_clouds,
}
"""the kinds that rooms can be written as"""
