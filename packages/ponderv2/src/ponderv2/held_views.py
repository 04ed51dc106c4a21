"""Views that training does not see: which they are, and how a model renders them as it learns (ours).

Of each scene every so-many-th view is held out. A cloud that is fused from views is then fused from the
others alone; where a data set brings its own clouds, points that held-out views see are part of the input,
and the run says so.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ponderv2.batches import Batch, Collate, Item
from ponderv2.samples import sample_of, through
from ponderv2.scene_inputs import usable_views
from ponderv2.scenes import Scene, View
from ponderv2.transforms import plain_transforms
from ponderv2.view_rendering import shrunk
from ponderv2.view_split import held_numbers, spread, training_part

MOST = 2
"""held-out views of a scene that are validated on"""


class HeldScene(NamedTuple):
    """A scene to validate on.

    Attributes:
        batch: its cloud without augmentation, a batch of one.
        held: views that training does not see, in the batch's world, shrunk.
        seen: one view that it does see.
        remarks: as of `batches.Item`.
    """

    batch: Batch
    held: tuple[View, ...]
    seen: tuple[View, ...]
    remarks: tuple[str, ...] = ()


class HeldBatch:
    """Scenes to validate on as a data loader hands them on; views stay on the CPU, where they are compared.

    Args:
        scenes: what is validated together.
    """

    def __init__(self, scenes: Sequence[HeldScene]) -> None:
        self.scenes = tuple(scenes)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Those of all scenes."""
        return tuple(line for scene in self.scenes for line in scene.remarks)

    def to(self, device: Any) -> "HeldBatch":
        """The same with the clouds on a device."""
        return HeldBatch([scene._replace(batch=scene.batch.to(device)) for scene in self.scenes])


def first_usable(scene: Scene, numbers: Sequence[int], most: int) -> list[View]:
    """The first so many of some views that can be used; no more are read than needed."""
    found: list[View] = []
    for number in numbers:
        if len(found) == most:
            break
        found += usable_views(scene, [number])
    return found


class HeldScenes:
    """Scenes to validate on: `self[(epoch, number)]` is a `HeldScene`, the same in every epoch.

    Args:
        scenes: whole, with all their views.
        every: every so-many-th view was held out.
        voxel: metres.
        channels: what the backbone takes of a point.
        side: pixels of a view's longer side at most.
    """

    def __init__(
        self, scenes: Sequence[Scene], *, every: int, voxel: float, channels: Sequence[str], side: int
    ) -> None:
        self.scenes, self.every, self.voxel, self.side = list(scenes), every, voxel, side
        self._parts = [training_part(scene, every) for scene in self.scenes]  # keep normals and fused clouds
        self.collate = Collate(channels)

    def whole(self) -> int:
        """Number of scenes with held-out views whose points are part of the input all the same."""
        return sum(
            not scene.fused and bool(held_numbers(len(scene.view_names), self.every)) for scene in self.scenes
        )

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, pair: tuple[int, int]) -> HeldScene:
        """The scene of (epoch, number).

        Raises:
            UserError: it cannot be read.
        """
        scene = self.scenes[pair[1]]
        count, known = len(scene.view_names), len(scene.remarks)
        numbers = held_numbers(count, self.every)
        held = first_usable(scene, spread(numbers, MOST), MOST)
        others = [number for number in range(count) if number not in set(numbers)]
        seen = first_usable(scene, others[len(others) // 2 :], 1)
        sample = sample_of(self._parts[pair[1]], [*held, *seen])
        sample = through(sample, plain_transforms(self.voxel), np.random.default_rng(0))
        views = tuple(shrunk(view, -(-max(view.depth.shape) // self.side)) for view in sample.views)
        batch = self.collate([Item(sample, None, 0)])
        remarks = tuple(scene.remarks[known:])
        return HeldScene(batch, views[: len(held)], views[len(held) :], remarks)
