"""Labelled scenes, looked through before anything is trained or scored on them (ours).

A label out of range, class names that differ, or a data set without labels end a command at once and not
after hours. Reading every cloud once costs seconds to minutes, and is what an epoch does anyway.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nonet.errors import UserError
from nonet.progress import progress
from ponderv2.finetune_options import joined
from ponderv2.label_limits import limit_annotations, limit_scenes
from ponderv2.reading import open_scenes, refuse_streets
from ponderv2.scenes import Scene, SceneList
from ponderv2.tabletop import DATASET, UNLABELLED

Classes = Mapping[str, tuple[str, ...]]

NAMED = 5
"""scenes that a refusal names at most"""


@dataclass(frozen=True)
class LabelledScenes:
    """Scenes whose labels were looked through.

    Attributes:
        scenes: of one or several data sets.
        classes: each data set's name to the names of its classes.
        counts: each data set's name to the (K,) labelled points of each class.
        remarks: lines that a user should see.
    """

    scenes: SceneList
    classes: dict[str, tuple[str, ...]]
    counts: dict[str, NDArray[np.int64]]
    remarks: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.scenes)

    def parts(self) -> list[SceneList]:
        """The scenes of each data set, in the order of `classes`."""
        return [
            self.scenes.of(scene for scene in self.scenes if scene.dataset == name) for name in self.classes
        ]


def read_labelled(
    data: Sequence[str],
    *,
    lr_file: Path | None = None,
    la_file: Path | None = None,
    classes: Classes | None = None,
    objects: bool = False,
    **reading: Any,
) -> LabelledScenes:
    """Open labelled scenes, limit their labels, and look through what is left.

    Args:
        data: KIND:PATH[:SPLIT], one or several.
        lr_file: see `label_limits.limit_scenes`.
        la_file: see `label_limits.limit_annotations`.
        classes: what the class names must be, such as those of a model; None: those of the data.
        objects: whether points must have numbers of objects, too.
        **reading: see `reading.open_scenes`.

    Raises:
        UserError: streets, no scenes, no labels, other class names, or labels out of range; the text lists
            them.
    """
    refuse_streets(
        data,
        "`finetune det` learns from it with --modality lidar, camera (preset outdoor-lidar, outdoor-camera)",
    )
    scenes = open_scenes(data, **reading)
    if lr_file is not None:
        scenes = limit_scenes(scenes, lr_file)
    if la_file is not None:
        scenes = limit_annotations(scenes, la_file)
    if not len(scenes):
        raise UserError(f"{joined(data)}: no scene")
    names: dict[str, tuple[str, ...]] = {}
    for dataset in scenes.datasets:
        if not scenes.classes.get(dataset):
            raise UserError(f"{joined(data)}: {dataset} has no labels, or no names of its classes")
        names[dataset] = tuple(scenes.classes[dataset])
    if classes is not None:
        for dataset, found in names.items():
            check_names(dataset, found, classes)
    counts = count_labels(scenes, names, objects=objects)
    remarks = list(scenes.remarks)
    for dataset, count in counts.items():
        lacking = [name for name, number in zip(names[dataset], count, strict=True) if not number]
        if lacking:
            remarks.append(f"{dataset}: no point is labelled {joined(lacking)}")
    return LabelledScenes(scenes, names, counts, tuple(remarks))


def check_names(dataset: str, found: tuple[str, ...], classes: Classes) -> None:
    """Refuse a data set whose classes are not the expected ones in the same order.

    Args:
        dataset: its name.
        found: its classes.
        classes: what is expected of each data set; of a single one, whatever its name.

    Raises:
        UserError: they differ; the text lists how.
    """
    if dataset not in classes and len(classes) > 1:
        raise UserError(f"{dataset}: the model was trained on {', '.join(classes)}")
    wanted = tuple(classes.get(dataset) or next(iter(classes.values())))
    if found == wanted:
        return
    if set(found) == set(wanted):
        moved = [name for name, other in zip(found, wanted, strict=True) if name != other]
        raise UserError(f"{dataset}: the same classes in another order, such as {joined(moved)}")
    lacking, more = ([name for name in a if name not in b] for a, b in ((wanted, found), (found, wanted)))
    raise UserError(
        f"{dataset}: its {len(found)} classes are not the {len(wanted)} expected; "
        f"it lacks {joined(lacking) or 'none'} and has {joined(more) or 'none'} besides"
    )


def count_labels(
    scenes: SceneList, classes: Classes, *, objects: bool = False
) -> dict[str, NDArray[np.int64]]:
    """How many points of each class there are; reads every cloud once.

    Args:
        scenes: all scenes.
        classes: names of each data set's classes.
        objects: whether points must have numbers of objects, too.

    Returns:
        Each data set's name to (K,) int64.

    Raises:
        UserError: scenes without labels, labels out of range, or no labelled point at all.
    """
    counts = {dataset: np.zeros(len(names), np.int64) for dataset, names in classes.items()}
    wrong: list[str] = []
    bare: list[Scene] = []
    for scene in progress(scenes, label="reading labels", unit="scenes"):
        cloud, names = scene.cloud(), classes[scene.dataset]
        if cloud.semantic is None:
            bare.append(scene)
            continue
        if objects and cloud.instance is None:
            raise UserError(f"scene {scene.name}: its points have no numbers of objects")
        values, times = np.unique(cloud.semantic, return_counts=True)
        known = (values >= 0) & (values < len(names))
        counts[scene.dataset][values[known]] += times[known]
        odd = values[~known & (values != -1)]
        if len(odd):
            wrong.append(f"{scene.name} has {joined(map(str, odd.tolist()))}")
    if bare:
        raise UserError(_without_labels(bare, len(scenes)))
    if wrong:
        raise UserError(
            f"labels out of range in {len(wrong)} of {len(scenes)} scenes: {'; '.join(wrong[:5])}; there are "
            f"classes 0 to {max(len(names) for names in classes.values()) - 1}, and -1 for no label"
        )
    empty = [dataset for dataset, count in counts.items() if not count.sum()]
    if empty:
        raise UserError(f"{joined(empty)}: no point of any scene has a label")
    return counts


def _without_labels(bare: Sequence[Scene], total: int) -> str:
    """Names the first scenes without labels, and says what to do about them."""
    first = ", ".join(scene.name for scene in bare[:NAMED])
    more = f" and {len(bare) - NAMED:,} more" if len(bare) > NAMED else ""
    advice = "; ".join(
        f"{dataset}: {UNLABELLED}" if dataset == DATASET else f"{dataset}: label them, or leave them out"
        for dataset in dict.fromkeys(scene.dataset for scene in bare)
    )
    return f"{len(bare):,} of {total:,} scenes have no labels: {first}{more}; {advice}"
