"""Labels that pre-training would learn from, all read once before it begins (ours).

A class number out of range is an error at once, and not hours later in the step that meets it. Reading every
view costs what one pass over all views does; where `prepare` has packed the data it has read them all, and
only clouds are read again, as seconds suffice for them. Only the first process of a run looks; where others
start with it (torchrun, SLURM), they wait for it half an hour at most, so pack large data before.
"""

from collections.abc import Mapping, Sequence

from nonet.errors import UserError
from nonet.progress import progress
from ponderv2.frame_files import check_labels
from ponderv2.packing import usable
from ponderv2.scenes import Scene


def scan_labels(
    scenes: Sequence[Scene], classes: Mapping[str, tuple[str, ...]], *, points: bool, images: bool
) -> None:
    """Read all labels that will teach. Views that cannot be used are left out, and counted by their scene.

    Args:
        scenes: all that are learned from, without the views that are held out.
        classes: each data set's names of class numbers.
        points: whether labels of points teach.
        images: whether labels of images do.

    Raises:
        UserError: labels out of range, with the numbers; a data set without names of its classes; or points
            without labels that are to teach.
    """
    for scene in progress(scenes, label="reading labels", unit="scenes"):
        names = classes.get(scene.dataset)
        if not names:
            raise UserError(
                f"scene {scene.name}: {scene.dataset} has no names of its classes, which supervision "
                "labels2d learns from: use supervision none, or name them"
            )
        if points:
            semantic = scene.cloud().semantic
            if semantic is None:
                raise UserError(
                    f"scene {scene.name}: its points have no labels: set point_text to 0, or label them"
                )
            check_labels(semantic, names, f"scene {scene.name}, points")
        if images and not scene.checked:
            for _, view in usable(scene, range(len(scene.view_names))):
                if view.label is not None:
                    check_labels(view.label, names, f"scene {scene.name}, view {view.name}")
