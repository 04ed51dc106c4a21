"""Items and batches of indoor scenes: what the backbone, the renderer and the heads are given (ours).

An item is a function of (seed, epoch, number) alone. A batch never mixes data sets unless it is told to:
prompted normalisation has one set of statistics for a batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, Self

import numpy as np

from nonet.data.batching import Pair, generator
from nonet.errors import UserError
from ponderv2.mixing import mixed_pairs
from ponderv2.rays import Rays, draw_rays, join_rays
from ponderv2.samples import Sample, Transform, sample_of, through
from ponderv2.scenes import CHANNELS, IGNORED, BadFrame, Scene, View
from ponderv2.transforms import GridSample, bounds

# Shapes: B clouds, M voxels of all of them, F channels, R rays of each.

VIEWS, RAYS = 5, 256
"""views of a scene, and rays of a view, in pre-training (released configurations)"""
MIX3D = 0.8
"""probability that the clouds of a batch are mixed pair by pair in fine-tuning (released configurations)"""


class Item(NamedTuple):
    """One scene, augmented.

    Attributes:
        sample: after all transforms, hence with voxels.
        rays: R of them over all its views; None without views.
        seed: for what the batch draws, such as which are mixed.
        remarks: a line for each frame that this process found to be of no use as it read the item, and not
            before; the one thing that depends on what was read before.
    """

    sample: Sample
    rays: Rays | None
    seed: int
    remarks: tuple[str, ...] = ()


class RayBatch(NamedTuple):
    """Rays as tensors, as many of each cloud; see `rays.Rays`.

    Attributes:
        origin: (B, R, 3) float32.
        direction: (B, R, 3) float32 of length 1.
        depth: (B, R) float32 along the ray, 0 = none.
        color: (B, R, 3) float32 in 0..1.
        label: (B, R) int64, -1 ignored.
    """

    origin: Any
    direction: Any
    depth: Any
    color: Any
    label: Any


@dataclass(frozen=True)
class Batch:
    """Clouds of one data set as tensors. Voxels of cloud 0 come first, then those of cloud 1, and so on.

    Attributes:
        cells: (M, 4) int64: cloud, x, y, z; none negative, none twice.
        coord: (M, 3) float32 of the point that stands for a voxel, in the world of its sample.
        features: (M, F) float32.
        semantic: (M,) int64, -1 ignored; or None.
        instance: (M,) int64, numbered anew from 0 over the batch, -1 none; or None.
        index: (M,) int64, which point of its scene's cloud each one is; -1 after Mix3D, of two scenes.
        box: (B, 2, 3) float32, lowest and highest coordinates of each cloud.
        world: (B, 4, 4) float64, similarity from the scene's own world to the sample's.
        rays: None without views.
        valid: (B, R) bool, which rays are real and not padding; None without views.
        dataset: the data set of all of them.
        names: B names of scenes; after Mix3D `A + B`.
        dropped: names of scenes left out because the batch had too many voxels.
        remarks: those of its items, and of the dropped ones.
    """

    cells: Any
    coord: Any
    features: Any
    semantic: Any
    instance: Any
    index: Any
    box: Any
    world: Any
    rays: RayBatch | None
    valid: Any
    dataset: str
    names: tuple[str, ...]
    dropped: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def to(self, device: Any) -> Self:
        """The same batch with its tensors on a device."""
        moved = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, RayBatch):
                value = RayBatch(*(part.to(device, non_blocking=True) for part in value))
            elif hasattr(value, "to"):
                value = value.to(device, non_blocking=True)
            moved[field.name] = value
        return replace(self, **moved)

    def pin_memory(self) -> Self:
        """In page-locked memory: what a DataLoader calls for a GPU."""
        moved = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, RayBatch):
                value = RayBatch(*(part.pin_memory() for part in value))
            elif hasattr(value, "pin_memory"):
                value = value.pin_memory()
            moved[field.name] = value
        return replace(self, **moved)


class SceneDataset:
    """Scenes, augmented afresh in each epoch: `dataset[(epoch, number)]` is an `Item`.

    Args:
        scenes: where from.
        transforms: augmentations in order; one of them is `GridSample`.
        seed: decides, with the epoch and the number, all that is random.
        views: views drawn of each scene; 0 for none. A scene with fewer gives some more than once.
        rays: rays drawn of each view.
        labels: whether views and points keep their labels; without, they are -1 and None.
        loop: how often each scene comes in an epoch.

    Raises:
        UserError: there are no scenes.
    """

    def __init__(
        self,
        scenes: Sequence[Scene],
        transforms: Sequence[Transform],
        *,
        seed: int,
        views: int = 0,
        rays: int = RAYS,
        labels: bool = True,
        loop: int = 1,
    ) -> None:
        if not len(scenes):
            raise UserError("no scene is left to learn from")
        if not any(isinstance(transform, GridSample) for transform in transforms):
            raise ValueError("transforms without GridSample give no voxels")
        self.scenes, self.transforms, self.seed = scenes, tuple(transforms), seed
        self.views, self.rays, self.labels, self.loop = views, rays, labels, loop

    def __len__(self) -> int:
        return len(self.scenes) * self.loop

    def __getitem__(self, pair: Pair) -> Item:
        """The item of (epoch, number).

        Raises:
            UserError: the scene cannot be read, or none of its views.
        """
        epoch, number = pair
        if not 0 <= number < len(self):
            raise IndexError(number)
        random = generator(self.seed, "scene", epoch, number)
        scene = self.scenes[number % len(self.scenes)]
        known = len(scene.remarks)
        sample = sample_of(scene, draw_views(scene, self.views, random))
        if not self.labels:
            sample = _without_labels(sample)
        sample = through(sample, self.transforms, random)
        low, high = bounds(sample.cloud.coord, sample.name)
        if not (high - low).max() > 0:
            raise UserError(f"scene {scene.name}: all {len(sample.cloud)} points lie in one place")
        rays = [draw_rays(view, self.rays, random) for view in sample.views]
        seed = int(random.integers(2**62))
        return Item(sample, join_rays(rays) if rays else None, seed, tuple(scene.remarks[known:]))


def draw_views(scene: Scene, count: int, random: np.random.Generator) -> list[View]:
    """So many random views of a scene, in the order drawn; one that cannot be used is replaced by another.

    Args:
        scene: where from.
        count: how many; if the scene has fewer usable ones, some come again.
        random: decides which.

    Raises:
        UserError: none can be used; the text has the reasons.
    """
    if not count:
        return []
    found: list[View] = []
    faults: list[BadFrame] = []
    for index in random.permutation(len(scene.view_names)):
        try:
            found.append(scene.view(int(index)))
        except BadFrame as fault:
            scene.leave_out(fault)
            faults.append(fault)
        if len(found) == count:
            return found
    if not found:
        why = f"; the first: {faults[0]}" if faults else ""
        raise UserError(f"scene {scene.name}: none of {len(scene.view_names)} views can be used{why}")
    return [
        found[index] for index in [*range(len(found)), *random.integers(len(found), size=count - len(found))]
    ]


class Collate:
    """Items to a `Batch`.

    Args:
        channels: what the backbone takes of each point, of `scenes.CHANNELS`; colours become -1..1.
        mix: probability that the clouds of the batch are mixed pair by pair (Mix3D, Nekrasov et al. 2021).
        max_points: voxels of a batch at most: scenes beyond it are left out, and named in `Batch.dropped`.
        one_dataset: refuse a batch of several data sets.
    """

    def __init__(
        self,
        channels: Sequence[str] = ("color", "normal"),
        *,
        mix: float = 0.0,
        max_points: int | None = None,
        one_dataset: bool = True,
    ) -> None:
        if unknown := set(channels) - set(CHANNELS):
            raise UserError(f"{sorted(unknown)[0]} is no channel; there are {', '.join(CHANNELS)}")
        self.channels, self.mix = tuple(channels), mix
        self.max_points, self.one_dataset = max_points, one_dataset

    def __call__(self, items: Sequence[Item]) -> Batch:
        """The batch.

        Raises:
            UserError: several data sets; no scene is left; a cloud lacks a channel; some have views only.
        """
        datasets = dict.fromkeys(item.sample.dataset for item in items)
        if len(datasets) > 1 and self.one_dataset:
            raise UserError(
                f"a batch mixes the data sets {', '.join(datasets)}: each has its own normalisation"
            )
        remarks = tuple(line for item in items for line in item.remarks)
        items, dropped = self._fitting(items)
        samples = [item.sample for item in items]
        random = np.random.default_rng([item.seed for item in items])
        if len(samples) > 1 and random.random() < self.mix:
            samples = mixed_pairs(samples, random)
        rays = [item.rays for item in items]
        batch = self._batch(samples, rays, "+".join(datasets))
        return replace(batch, dropped=dropped, remarks=remarks)

    def _fitting(self, items: Sequence[Item]) -> tuple[list[Item], tuple[str, ...]]:
        """The items that fit below `max_points` together, in order, and the names of the others."""
        left, total = [], 0
        for item in items:
            count = len(item.sample.cloud)
            if self.max_points is None or total + count <= self.max_points:
                total += count
                left.append(item)
        dropped = tuple(item.sample.name for item in items if not any(item is kept for kept in left))
        if not left:
            sizes = ", ".join(f"{item.sample.name} {len(item.sample.cloud)}" for item in items)
            raise UserError(
                f"all scenes of a batch exceed {self.max_points} points ({sizes}): allow more, or crop"
            )
        return left, dropped

    def _batch(self, samples: Sequence[Sample], rays: Sequence[Rays | None], dataset: str) -> Batch:
        import torch

        def joined(parts: Sequence[Any]) -> Any:
            return torch.from_numpy(np.ascontiguousarray(np.concatenate(parts)))

        clouds = [sample.cloud for sample in samples]
        seen = [part for part in rays if part is not None]
        if len(samples) != len(rays) and seen:
            raise UserError("clouds with views are not mixed: their cameras see one of them only")
        if 0 < len(seen) < len(rays):
            raise UserError(f"a batch of {len(rays)} scenes has views of {len(seen)} only")
        batch = None
        if seen:
            batch = RayBatch(*(torch.from_numpy(np.stack(columns)) for columns in zip(*seen, strict=True)))
        return Batch(
            cells=joined([_numbered(sample, number) for number, sample in enumerate(samples)]),
            coord=joined([cloud.coord for cloud in clouds]),
            features=joined(
                [
                    cloud.features(self.channels, place=f"scene {sample.name}")
                    for sample, cloud in zip(samples, clouds, strict=True)
                ]
            ),
            semantic=_labels("semantic", samples, joined),
            instance=_labels("instance", samples, joined),
            index=joined([sample.index for sample in samples]),
            box=torch.from_numpy(np.stack([[cloud.coord.min(0), cloud.coord.max(0)] for cloud in clouds])),
            world=torch.from_numpy(np.stack([sample.world for sample in samples])),
            rays=batch,
            valid=None if batch is None else torch.ones(batch.depth.shape, dtype=torch.bool),
            dataset=dataset,
            names=tuple(sample.name for sample in samples),
        )


def _numbered(sample: Sample, number: int) -> Any:
    if sample.grid is None:
        raise ValueError(f"scene {sample.name} has no voxels: it went through no GridSample")
    return np.column_stack([np.full(len(sample.grid), number), sample.grid])


def _labels(name: str, samples: Sequence[Sample], joined: Callable[[Sequence[Any]], Any]) -> Any:
    """(M,) labels of all clouds, instances numbered over the batch; None if no cloud has them."""
    found = [getattr(sample.cloud, name) for sample in samples]
    if all(part is None for part in found):
        return None
    parts, start = [], 0
    for part, sample in zip(found, samples, strict=True):
        if part is None:
            part = np.full(len(sample.cloud), IGNORED)
        if name == "instance":
            _, part = np.unique(np.append(part, IGNORED), return_inverse=True)  # -1 becomes 0
            part = part[:-1].ravel() - 1
            part = np.where(part >= 0, part + start, IGNORED)
            start = max(start, int(part.max(initial=IGNORED)) + 1)
        parts.append(part)
    return joined(parts)


def _without_labels(sample: Sample) -> Sample:
    views = tuple(replace(view, label=None) for view in sample.views)
    return replace(sample, views=views, cloud=replace(sample.cloud, semantic=None, instance=None), kept=None)
