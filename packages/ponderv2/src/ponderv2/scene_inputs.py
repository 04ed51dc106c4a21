"""A scene as a model is given it to be drawn: some views go in, others are held out. Source: ours."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nonet.errors import UserError
from ponderv2.batches import Batch, Collate, Item
from ponderv2.rays import Rays, join_rays, pixel_rays
from ponderv2.samples import Sample, sample_of, through
from ponderv2.scenes import BadFrame, Scene, View
from ponderv2.transforms import plain_transforms
from ponderv2.view_split import held_numbers

# Shapes: R rays.


@dataclass(frozen=True)
class SceneInput:
    """A scene without augmentation: its cloud as a batch of one, and its cameras in the batch's world.

    Attributes:
        name: of the scene.
        batch: the cloud's voxels; no rays.
        sample: the same before it became tensors; `sample.world` leads from the scene's metres to its own.
        inputs: the views that may be learned from.
        held_out: views that were kept away from the model.
        fused: whether the cloud was made of the input views alone, so that points of held-out views are new.
    """

    name: str
    batch: Batch
    sample: Sample
    inputs: tuple[View, ...]
    held_out: tuple[View, ...]
    fused: bool

    @property
    def to_scene(self) -> NDArray[np.float64]:
        """(4, 4) from the batch's world back to the scene's own."""
        return np.asarray(np.linalg.inv(self.sample.world), np.float64)

    @property
    def statement(self) -> str:
        """Whether what held-out views show was part of the input, in a sentence."""
        if not self.held_out:
            return "No view was held out."
        if self.fused:
            return (
                f"{len(self.held_out)} views were held out; the cloud was made of the other "
                f"{len(self.inputs)}, so points that only held-out views see were no input."
            )
        return (
            f"{len(self.held_out)} views were held out, but the scene's cloud is its own: "
            "points that they see were input."
        )


def scene_input(
    scene: Scene,
    *,
    voxel: float,
    channels: Sequence[str],
    every: int = 0,
    most: int | None = None,
) -> SceneInput:
    """Read a scene, and hold out some of its views.

    Args:
        scene: with or without views.
        voxel: metres.
        channels: what the backbone takes of a point.
        every: every so-many-th view is held out, see `view_split.held_numbers`; 0: none.
        most: input views at most, evenly spaced; None: all.

    Raises:
        UserError: no view is left to go in, or the scene cannot be read.
    """
    count = len(scene.view_names)
    held = held_numbers(count, every)
    inputs = [number for number in range(count) if number not in set(held)]
    if count and not inputs:
        raise UserError(f"scene {scene.name}: holding out every {every}. of {count} views leaves none")
    if most is not None and len(inputs) > most:
        inputs = [inputs[round(place)] for place in np.linspace(0, len(inputs) - 1, most)]
    given = scene.with_views(inputs) if inputs else scene
    views = usable_views(scene, inputs)
    if count and not views:
        raise UserError(f"scene {scene.name}: none of its {len(inputs)} input views can be used")
    apart = usable_views(scene, held)
    sample = through(sample_of(given, [*views, *apart]), plain_transforms(voxel), np.random.default_rng(0))
    batch = Collate(channels)([Item(sample, None, 0)])
    fused = bool(inputs) and given.fused
    return SceneInput(
        scene.name, batch, sample, sample.views[: len(views)], sample.views[len(views) :], fused
    )


def usable_views(scene: Scene, numbers: Sequence[int]) -> list[View]:
    """Views by number; those that cannot be used are left out, and counted by the scene."""
    found = []
    for number in numbers:
        try:
            found.append(scene.view(number))
        except BadFrame as fault:
            scene.leave_out(fault)
    return found


def draw_pixels(views: Sequence[View], count: int, random: np.random.Generator) -> Rays:
    """Rays through random pixels with depth of random views.

    Args:
        views: of one world.
        count: how many rays.
        random: decides which.

    Raises:
        UserError: no view has depth.
    """
    known = [np.flatnonzero(view.depth) for view in views]
    sizes = np.array([len(each) for each in known])
    if not sizes.sum():
        raise UserError("no view has depth to learn from")
    drawn = random.integers(sizes.sum(), size=count)
    of_view = np.searchsorted(np.cumsum(sizes), drawn, side="right")
    starts = np.cumsum(sizes) - sizes
    return join_rays(
        [
            pixel_rays(views[number], known[number][drawn[of_view == number] - starts[number]])
            for number in np.unique(of_view)
        ]
    )
