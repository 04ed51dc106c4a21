"""Items and batches of streets: voxels of a sweep or images of the cameras, rays or boxes (ours).

An item is a function of (seed, epoch, number) alone, its masks included: a model has no masks of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nonet.data.batching import Pair, generator
from nonet.errors import UserError
from ponderv2.batches import RayBatch
from ponderv2.boxes3d import Boxes3D, moved_boxes
from ponderv2.outdoor_config import CHANNELS, Modality
from ponderv2.outdoor_frames import DrawnIn, OutdoorScene, sparse_depth
from ponderv2.outdoor_options import OutdoorOptions
from ponderv2.outdoor_rays import ColoredRays, camera_rays, sweep_rays
from ponderv2.samples import Sample, Transform, sample_of, through
from ponderv2.scenes import Scene, View
from ponderv2.transforms import RandomFlip, RandomRotate, RandomScale

# Shapes: B frames, M voxels of all of them, V cameras, R rays of a frame.

DETECTION: tuple[Transform, ...] = (
    RandomRotate(-np.pi / 8, np.pi / 8), RandomScale(0.95, 1.05), RandomFlip(),
)  # fmt: skip
"""how a frame is moved in training a detector (ours; usual for LiDAR detectors)"""
PATCH = 32  # pixels: sides of images are padded to multiples


class OutdoorItem(NamedTuple):
    """One frame.

    Attributes:
        name: of the frame.
        dataset: of the frame.
        cells: (m, 3) int64 voxels from the range's corner on, ascending; None without LiDAR.
        features: (m, 4) float32 means of the points of a voxel; None without LiDAR.
        views: the cameras, shrunk; empty unless they are the modality.
        visible: of each view (H / 32, W / 32) bool of its padded image; empty: nothing is masked.
        rays: None for detection.
        boxes: None for pre-training, or where nobody drew any.
        world: (4, 4) float64 from the frame's own world to this one.
        drawn_in: the camera outside whose image nobody drew boxes; None: they were drawn all around.
    """

    name: str
    dataset: str
    cells: NDArray[np.int64] | None
    features: NDArray[np.float32] | None
    views: tuple[View, ...]
    visible: tuple[NDArray[np.bool_], ...]
    rays: ColoredRays | None
    boxes: Boxes3D | None
    world: NDArray[np.float64]
    drawn_in: DrawnIn | None = None

    def judged(self, found: Boxes3D) -> Boxes3D:
        """The detections whose middles lie where boxes were drawn; nobody knows whether others are right.

        Args:
            found: in this item's world.
        """
        if self.drawn_in is None:
            return found
        return found[self.drawn_in.holds(moved_boxes(found, np.linalg.inv(self.world)).center)]


@dataclass(frozen=True)
class OutdoorBatch:
    """Frames as tensors.

    Attributes:
        cells: (M, 4) int64: frame, x, y, z; None without LiDAR.
        coord: (M, 3) float32 metres; None without LiDAR.
        features: (M, 4) float32: x, y, z, intensity; None without LiDAR.
        cameras: `image_lift.Cameras`; None without images.
        rays: None for detection.
        valid: (B, R) bool, all true; None without rays.
        colored: (B, R) bool, which rays have a colour; None without rays.
        boxes: of each frame; None for pre-training, or where nobody drew any.
        world: (B, 4, 4) float64, from each frame's own world to that of the batch.
        dataset: of the frames, joined by + where there are several.
        names: of the frames.
    """

    cells: Any
    coord: Any
    features: Any
    cameras: Any
    rays: RayBatch | None
    valid: Any
    colored: Any
    boxes: tuple[Boxes3D, ...] | None
    world: Any
    dataset: str
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def true_boxes(self) -> tuple[Boxes3D, ...]:
        """The boxes of each frame.

        Raises:
            UserError: nobody drew boxes in one of them.
        """
        if self.boxes is None:
            raise UserError(f"{', '.join(self.names)}: frames without boxes cannot teach or score a detector")
        return self.boxes

    def to(self, device: Any) -> Self:
        """The same with its tensors on a device."""
        moved = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, RayBatch):
                value = RayBatch(*(part.to(device, non_blocking=True) for part in value))
            elif hasattr(value, "to"):
                value = value.to(device)
            moved[field.name] = value
        return replace(self, **moved)


class OutdoorDataset:
    """Frames of driving data: `dataset[(epoch, number)]` is an `OutdoorItem`.

    Args:
        scenes: with `boxes()`, as the readers of nuScenes and KITTI give them.
        options: range, masks, rays, images.
        modality: what the backbone sees.
        seed: decides, with the epoch and the number, all that is random.
        rays: whether to draw rays: for pre-training, from the whole sweep. Without them, for detection, the
            sweep and the boxes are cut to where boxes were drawn.
        masks: whether voxels or patches are masked: for pre-training.
        transforms: similarities that move points, cameras and boxes together, such as `DETECTION`.

    Raises:
        UserError: there are no scenes, or one that is not of a street; no cameras where they are needed.
    """

    def __init__(
        self,
        scenes: Sequence[Scene],
        options: OutdoorOptions,
        modality: Modality,
        *,
        seed: int,
        rays: bool = True,
        masks: bool = True,
        transforms: Sequence[Transform] = (),
    ) -> None:
        if not len(scenes):
            raise UserError("no frame is left to learn from")
        for scene in scenes:
            if not isinstance(scene, OutdoorScene):
                raise UserError(
                    f"scene {scene.name} is of {scene.dataset}; outdoor models read nuscenes and kitti"
                )
            if modality == "camera" and not scene.view_names:
                raise UserError(f"frame {scene.name}: no image of it was found")
        self.scenes, self.options, self.modality, self.seed = scenes, options, modality, seed
        self.rays, self.masks, self.transforms = rays, masks, tuple(transforms)

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, pair: Pair) -> OutdoorItem:
        """The item of (epoch, number).

        Raises:
            UserError: a file cannot be read, or no point is in the range.
        """
        epoch, number = pair
        if not 0 <= number < len(self):
            raise IndexError(number)
        random, options = generator(self.seed, "frame", epoch, number), self.options
        scene = self.scenes[number]
        assert isinstance(scene, OutdoorScene)
        lidar = self.modality == "lidar"
        wanted = not lidar or (self.rays and options.color_weight > 0)
        views = [scene.view(index) for index in range(len(scene.view_names))] if wanted else []
        whole = sample_of(scene, views)
        if not self.rays and scene.frame.drawn_in is not None:
            whole = whole.take(np.flatnonzero(scene.judged(whole.cloud.coord)))
        sample = through(whole, self.transforms, random)
        if not lidar:
            shrunk = tuple(shrink(view, options.image_scale, sample.cloud.coord) for view in sample.views)
            sample = replace(sample, views=shrunk)
        cells = features = None
        if lidar:
            cells, features = voxel_means(sample, options)
            if self.masks:
                kept = keep_blocks(cells, options.mask_block, options.mask_ratio, random)
                cells, features = cells[kept], features[kept]
        return OutdoorItem(
            name=scene.name,
            dataset=scene.dataset,
            cells=cells,
            features=features,
            views=() if lidar else sample.views,
            visible=tuple(self._visible(view, random) for view in sample.views) if self._hides else (),
            rays=self._rays(sample, random) if self.rays else None,
            boxes=None if self.rays else _boxes(scene, sample),
            world=sample.world,
            drawn_in=scene.frame.drawn_in,
        )

    @property
    def _hides(self) -> bool:
        return self.masks and self.modality == "camera" and self.options.patch_ratio > 0

    def _rays(self, sample: Sample, random: np.random.Generator) -> ColoredRays:
        if self.modality == "camera":
            return camera_rays(sample.views, self.options, random)
        lidar = sample.world[:3, 3]
        return sweep_rays(
            sample.cloud.coord, lidar, sample.views, self.options, random, place=f"frame {sample.name}"
        )

    def _visible(self, view: View, random: np.random.Generator) -> NDArray[np.bool_]:
        """Which 32-pixel patches of the padded image stay: all but round(ratio n) of n."""
        rows, columns = (_padded(side) // PATCH for side in view.depth.shape)
        visible = np.ones(rows * columns, bool)
        visible[random.permutation(len(visible))[: round(self.options.patch_ratio * len(visible))]] = False
        return visible.reshape(rows, columns)


def voxel_means(sample: Sample, options: OutdoorOptions) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The voxels of a sweep, and the means of their points.

    Returns:
        (m, 3) int64 voxels counted from `options.low`, ascending, and (m, 4) float32 x, y, z, intensity.

    Raises:
        UserError: no point lies in the range.
    """
    points = sample.cloud.features(("coord", "strength"), place=f"frame {sample.name}")
    inside = ((points[:, :3] >= options.low) & (points[:, :3] < options.high)).all(1)
    points = points[inside]
    if not len(points):
        raise UserError(f"frame {sample.name}: no LiDAR point lies in the range of the model")
    cells = np.floor((points[:, :3] - options.low) / options.voxel).astype(np.int64)
    extent = cells.max(0) + 1
    keys = (cells[:, 0] * extent[1] + cells[:, 1]) * extent[2] + cells[:, 2]
    _, first, inverse, counts = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
    sums = [np.bincount(inverse, points[:, column], len(first)) for column in range(CHANNELS)]
    means = np.stack(sums, 1) / counts[:, None]
    return cells[first], means.astype(np.float32)


def keep_blocks(
    cells_M3: NDArray[np.int64], block: int, ratio: float, random: np.random.Generator
) -> NDArray[np.bool_]:
    """Which voxels stay when so large a share of their blocks is dropped, (M,) bool.

    Of n blocks that hold voxels round(n (1 - ratio)) stay, at least one.

    Args:
        cells_M3: (M, 3) not negative.
        block: voxels along an edge of a block.
        ratio: of blocks that are dropped.
        random: decides which.
    """
    blocks, inverse = np.unique(cells_M3 // block, axis=0, return_inverse=True)
    kept = np.zeros(len(blocks), bool)
    kept[random.permutation(len(blocks))[: max(1, round(len(blocks) * (1 - ratio)))]] = True
    return np.asarray(kept[inverse.reshape(-1)])


def shrink(view: View, scale: float, points_N3: NDArray[Any]) -> View:
    """A view with a smaller image, and the depth of the LiDAR's points on it.

    Pixel centres are whole numbers, hence the middle of the image stays where it is: u becomes
    (u + 1/2) scale - 1/2.

    Args:
        view: the camera.
        scale: of both edges, at most 1.
        points_N3: (N, 3) in the view's world.
    """
    height, width = view.depth.shape
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if size == (width, height):
        return view
    color = np.array(Image.fromarray(view.color).resize(size, Image.Resampling.BILINEAR))
    x, y = size[0] / width, size[1] / height
    change = np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])
    small = replace(
        view, color=color, depth=np.zeros((size[1], size[0]), np.float32), intrinsics=change @ view.intrinsics
    )
    return replace(small, depth=sparse_depth(small, points_N3))


def collate_outdoor(items: Sequence[OutdoorItem]) -> OutdoorBatch:
    """The batch of some frames of one modality."""
    import torch

    cells = coord = features = rays = colored = None
    if items[0].cells is not None:
        rows = [np.insert(_some(item.cells), 0, number, axis=1) for number, item in enumerate(items)]
        cells = torch.from_numpy(np.concatenate(rows))
        features = torch.from_numpy(np.concatenate([_some(item.features) for item in items]))
        coord = features[:, :3].clone()
    drawn = [item.rays for item in items if item.rays is not None]
    if drawn:
        rays = _ray_batch([each.rays for each in drawn])
        colored = torch.from_numpy(_stacked([each.colored for each in drawn]))
    boxes = [item.boxes for item in items if item.boxes is not None]
    return OutdoorBatch(
        cells=cells,
        coord=coord,
        features=features,
        cameras=_cameras(items) if items[0].views else None,
        rays=rays,
        valid=None if rays is None else torch.from_numpy(_validity([each.rays.depth for each in drawn])),
        colored=colored,
        boxes=tuple(boxes) if len(boxes) == len(items) else None,
        world=torch.from_numpy(np.stack([item.world for item in items])),
        dataset="+".join(dict.fromkeys(item.dataset for item in items)),
        names=tuple(item.name for item in items),
    )


def _cameras(items: Sequence[OutdoorItem]) -> Any:
    """Images at the top left of equal ones; a frame with fewer cameras than others has empty ones."""
    import torch

    from ponderv2.image_lift import Cameras

    B, V = len(items), max(len(item.views) for item in items)
    sides = np.array([view.depth.shape for item in items for view in item.views])
    height, width = (_padded(side) for side in sides.max(0))
    images = np.zeros((B, V, height, width, 3), np.uint8)
    intrinsics = np.tile(np.eye(3, dtype=np.float32), (B, V, 1, 1))
    motions = np.tile(np.eye(4, dtype=np.float32), (B, V, 1, 1))
    sizes = np.zeros((B, V, 2), np.int64)
    visible = np.ones((B, V, height // PATCH, width // PATCH), bool)
    for row, item in enumerate(items):
        for column, view in enumerate(item.views):
            h, w = view.depth.shape
            images[row, column, :h, :w] = view.color
            intrinsics[row, column] = view.intrinsics
            motions[row, column] = np.linalg.inv(view.camera_to_world)
            sizes[row, column] = h, w
            if item.visible:
                mask = item.visible[column]
                visible[row, column, : mask.shape[0], : mask.shape[1]] = mask
    return Cameras(
        images=torch.from_numpy(images).permute(0, 1, 4, 2, 3).contiguous(),
        intrinsics=torch.from_numpy(intrinsics),
        from_world=torch.from_numpy(motions),
        sizes=torch.from_numpy(sizes),
        visible=torch.from_numpy(visible) if any(item.visible for item in items) else None,
    )


def _ray_batch(drawn: Sequence[Any]) -> RayBatch:
    import torch

    columns = zip(*drawn, strict=True)
    return RayBatch(*(torch.from_numpy(_stacked(column)) for column in columns))


def _stacked(rows: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Rows as one array; a shorter row repeats its first entry, which `_validity` says is padding."""
    longest = max(len(row) for row in rows)
    return np.stack([np.concatenate([row, row[:1].repeat(longest - len(row), 0)]) for row in rows])


def _validity(rows: Sequence[NDArray[Any]]) -> NDArray[np.bool_]:
    longest = max(len(row) for row in rows)
    return np.stack([np.arange(longest) < len(row) for row in rows])


def _boxes(scene: OutdoorScene, sample: Sample) -> Boxes3D | None:
    boxes = scene.judged_boxes()
    return None if boxes is None else moved_boxes(boxes, sample.world)


def _some(array: NDArray[Any] | None) -> NDArray[Any]:
    if array is None:
        raise ValueError("some frames of the batch have LiDAR and others have not")
    return array


def _padded(side: int) -> int:
    return -(-int(side) // PATCH) * PATCH
