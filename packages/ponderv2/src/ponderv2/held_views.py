"""Views that training does not see: which they are, and how a model renders them as it learns (ours).

Of each scene every so-many-th view is held out. A cloud that is fused from views is then fused from the
others alone; where a data set brings its own clouds, points that held-out views see are part of the input,
and the run says so.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ponderv2.batches import Batch, Collate, Item
from ponderv2.samples import sample_of, through
from ponderv2.scene_inputs import usable_views
from ponderv2.scenes import ChosenViews, Scene, View
from ponderv2.transforms import plain_transforms
from ponderv2.view_rendering import shrunk

MOST = 2
"""held-out views of a scene that are validated on"""


class HeldScene(NamedTuple):
    """A scene to validate on.

    Attributes:
        batch: its cloud without augmentation, a batch of one.
        held: views that training does not see, in the batch's world, shrunk.
        seen: one view that it does see.
        fused: whether the cloud was made without the held-out views.
    """

    batch: Batch
    held: tuple[View, ...]
    seen: tuple[View, ...]
    fused: bool


def held_numbers(count: int, every: int) -> list[int]:
    """Numbers of the views that are held out of so many: every so-many-th, from the middle of the first.

    Args:
        count: views of the scene.
        every: 0: none. A scene of fewer views than that keeps all.
    """
    return list(range(every // 2, count, every)) if every and count >= every else []


def training_part(scene: Scene, every: int) -> Scene:
    """The scene without its held-out views."""
    held = set(held_numbers(len(scene.view_names), every))
    if not held:
        return scene
    return scene.with_views(number for number in range(len(scene.view_names)) if number not in held)


def spread(numbers: Sequence[int], most: int) -> list[int]:
    """So many of the numbers at most, evenly spaced and first in order, then the others.

    >>> spread([1, 2, 3, 4, 5], 2)
    [1, 5, 2, 3, 4]
    """
    if len(numbers) <= most:
        return list(numbers)
    places = {round(place) for place in np.linspace(0, len(numbers) - 1, most)}
    return [numbers[place] for place in sorted(places)] + [
        number for place, number in enumerate(numbers) if place not in places
    ]


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
        self.collate = Collate(channels)

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, pair: tuple[int, int]) -> HeldScene:
        """The scene of (epoch, number).

        Raises:
            UserError: it cannot be read.
        """
        scene = self.scenes[pair[1]]
        count = len(scene.view_names)
        numbers = held_numbers(count, self.every)
        held = first_usable(scene, spread(numbers, MOST), MOST)
        others = [number for number in range(count) if number not in set(numbers)]
        seen = first_usable(scene, others[len(others) // 2 :], 1)
        part = training_part(scene, self.every)
        sample = sample_of(part, [*held, *seen])
        sample = through(sample, plain_transforms(self.voxel), np.random.default_rng(0))
        views = tuple(shrunk(view, -(-max(view.depth.shape) // self.side)) for view in sample.views)
        fused = bool(numbers) and not isinstance(part, ChosenViews)
        batch = self.collate([Item(sample, None, 0)])
        return HeldScene(batch, views[: len(held)], views[len(held) :], fused)
