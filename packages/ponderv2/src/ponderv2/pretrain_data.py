"""From the options of `pretrain` to scenes, batches of one data set each, and views to validate on (ours)."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from nonet.errors import UserError
from nonet.runs import first_process
from ponderv2.batches import Collate, SceneDataset, draw_views
from ponderv2.class_text import read_class_text
from ponderv2.held_views import HeldScenes
from ponderv2.label_limits import limit_annotations, limit_scenes
from ponderv2.label_scan import scan_labels
from ponderv2.mixed_batches import MixedBatches, MixedScenes
from ponderv2.packed_scenes import fused_anew
from ponderv2.reading import open_scenes, refuse_streets
from ponderv2.scenes import Scene, SceneList
from ponderv2.transforms import pretraining_transforms
from ponderv2.view_split import held_numbers, spread, training_part

if TYPE_CHECKING:
    from ponderv2.commands.pretrain import Options

import numpy as np

Say = Callable[[str], None]


class PretrainData(NamedTuple):
    """What a pre-training learns from.

    Attributes:
        train: items of all data sets, without held-out views.
        batches: each of one data set, in turns.
        collate: items to a batch.
        held: scenes to validate on; None for none.
        scenes: number of scenes of each data set.
        classes: class names of each data set that has labels.
        held_views: number of views that are held out, over all scenes.
        skipped: reason -> frames or scenes that were left out; this and the next grow as scenes are read.
        remarks: a line for each of them.
    """

    train: MixedScenes
    batches: MixedBatches
    collate: Collate
    held: HeldScenes | None
    scenes: dict[str, int]
    classes: dict[str, tuple[str, ...]]
    held_views: int
    skipped: Mapping[str, int]
    remarks: Sequence[str]


def read_pretrain_data(options: "Options", say: Say) -> PretrainData:
    """Open the scenes, check what would fail later, hold views out.

    Args:
        options: of the verb `pretrain`, with modality `none`.
        say: takes remarks.

    Raises:
        UserError: data of streets; scenes cannot be read, have no views, or lack channels or labels; or
            ratios do not fit.
    """
    refuse_streets(
        options.data, "give --modality lidar or camera (preset outdoor-tiny, outdoor-lidar, outdoor-camera)"
    )
    scenes = open_scenes(
        options.data, depth_scale=options.depth_scale, up=options.up, frame_step=options.frame_step,
        normals=options.normals,
    )  # fmt: skip
    if options.lr_file is not None:
        scenes = limit_scenes(scenes, options.lr_file)
    if options.la_file is not None:
        scenes = limit_annotations(scenes, options.la_file)
    groups = grouped(scenes, say)
    ratios = options.ratio_of()
    if ratios and set(ratios) != set(groups):
        raise UserError(
            f"ratios name {', '.join(ratios)}, and the data sets are {', '.join(groups)}: name each one"
        )
    parts = {
        name: [training_part(scene, options.hold_out) for scene in group] for name, group in groups.items()
    }
    for name, part in parts.items():
        check_scene(part[0], options.channels, _images_teach(options), scenes.classes.get(name))
    seed = options.trainer.seed
    transforms = pretraining_transforms(options.voxel, keep=options.keep)
    datasets = [
        SceneDataset(
            part, transforms, seed=seed, views=options.views, rays=options.rays,
            labels=options.supervision == "labels2d",
        )
        for part in parts.values()
    ]  # fmt: skip
    if told := fused_anew((scene for group in groups.values() for scene in group), options.hold_out):
        say(told)
    counts = [len(group) for group in groups.values()]
    batch = min(options.batch, max(counts))
    turns = [ratios.get(name, 1) for name in groups]
    batches = MixedBatches(counts, batch, seed, turns, accumulate=options.trainer.accumulate)
    shown = to_validate(groups, options.val_scenes, options.hold_out)
    held = HeldScenes(
        shown, every=options.hold_out, voxel=options.voxel, channels=options.channels, side=options.val_side
    )
    return PretrainData(
        MixedScenes(datasets), batches, Collate(options.channels, max_points=options.max_points),
        held if len(held) else None,
        dict(zip(groups, counts, strict=True)),
        {name: scenes.classes[name] for name in groups if name in scenes.classes},
        sum(len(held_numbers(len(scene.view_names), options.hold_out)) for scene in scenes),
        scenes.skipped,
        scenes.remarks,
    )  # fmt: skip


def scan_learned(options: "Options", data: PretrainData) -> None:
    """Read all labels that will teach, where there are some and this process is the first of its run.

    A run that goes on was looked at when it began.

    Args:
        options: of the verb `pretrain`.
        data: of `read_pretrain_data`.

    Raises:
        UserError: labels out of range, or points without labels that are to teach.
    """
    if options.supervision == "none" or options.resume is not None or not first_process():
        return
    points = options.prompt == "ppt" and options.point_text > 0
    parts = [scene for dataset in data.train.datasets for scene in dataset.scenes]
    scan_labels(parts, data.classes, points=points, images=_images_teach(options))


def grouped(scenes: SceneList, say: Say) -> dict[str, list[Scene]]:
    """The scenes with views, by data set.

    Raises:
        UserError: no scene has a view.
    """
    groups: dict[str, list[Scene]] = {}
    without: list[str] = []
    for scene in scenes:
        if scene.view_names:
            groups.setdefault(scene.dataset, []).append(scene)
        else:
            without.append(scene.name)
    if not groups:
        raise UserError(
            f"none of {len(scenes)} scenes has a posed view, and pre-training renders views: {_some(without)}"
        )
    if without:
        say(f"{len(without)} scenes have no view, and are left out: {_some(without)}")
    return groups


def check_scene(
    scene: Scene, channels: tuple[str, ...], labels: bool, classes: tuple[str, ...] | None
) -> None:
    """Read one scene and one of its views, so that what is wrong with all is said at once.

    Raises:
        UserError: it lacks a channel, or labels are wanted and there are none.
    """
    scene.cloud().features(channels, place=f"scene {scene.name}")
    (view,) = draw_views(scene, 1, np.random.default_rng(0))
    if labels and (view.label is None or not classes):
        raise UserError(
            f"scene {scene.name}: its views have no labels, which supervision labels2d learns from: "
            "use supervision none, or a data set with labelled images"
        )


def to_validate(groups: Mapping[str, list[Scene]], most: int, every: int) -> list[Scene]:
    """Scenes to validate on: evenly spaced in each data set, those with held-out views first."""
    found: list[Scene] = []
    for place, group in enumerate(groups.values()):
        share = most // len(groups) + (place < most % len(groups))
        able = [i for i, scene in enumerate(group) if held_numbers(len(scene.view_names), every)]
        chosen = able or list(range(len(group)))
        found += [group[i] for i in sorted(spread(chosen, share)[:share])]
    return found


def read_text(options: "Options", classes: Mapping[str, tuple[str, ...]]) -> dict[str, Tensor]:
    """The text vectors of each data set's classes; nothing without supervision by labels.

    All data sets' names are read together, once each: with `clip_reduce legacy` a row depends on the others.
    """
    if options.supervision == "none" or options.text is None:
        return {}
    names = list(dict.fromkeys(name for each in classes.values() for name in each))
    vectors = read_class_text(names, options.text, reduce=options.clip_reduce)
    return {
        dataset: vectors[[names.index(name) for name in each]].clone() for dataset, each in classes.items()
    }


def _images_teach(options: "Options") -> bool:
    return options.supervision == "labels2d" and options.la_file is None  # which hides labels of images


def _some(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
