"""Does pre-training by rendering help where labels are few? Tables with boxes and cylinders, on a CPU.

`python -m benchmarks.ponderv2.claim_tabletop` pre-trains a small backbone on the 45 colour and depth frames
of rgbd-tabletop's half `learn`, without their labels: clouds of 2.5 cm voxels are encoded to 40 x 40 x 24
cells, from which colour and depth of their one view are rendered, 200 steps. Then {table, box, cylinder} are
learned from the labels of 4 frames, two with boxes and two with cylinders, drawn by the seed, in 120 steps,
and scored on the 36 labelled frames of the half `test`: mIoU of all voxels at the last step. Five seeds draw
weights, frames and augmentations; all arms of a seed share them. The tested frames are the same for all, so
intervals are over weights and draws.

Arms: from scratch; pre-trained; pre-trained with the released code's two errors of coordinates; from scratch
with the pre-training steps added; from scratch with as many steps more as cost no less than what pre-training
costs (its steps are about eight times as dear, ten are added for each: `CPU s` tells, and a run in which the
control was cheaper is refused). Longer arms see more augmentations of the 4 frames, so that each comes as
often as in the short ones. And linear probes of the frozen backbones, pre-trained and random, on the same 4
frames; the norms of the random one take their statistics from one pass over the 45 frames. About half an hour
of CPU.

Said before it was run. The primary contrast is pre-trained minus from scratch, and it is expected above 0.
Secondary, with p-values adjusted by Holm's method: against the arms from scratch with more steps the gap
shrinks and may vanish on a task this small; the probe of the pre-trained backbone lies above that of the
random one; correct coordinates are no worse than those with errors. A null or negative outcome is published.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from benchmarks.arms import arguments, run_arms
from benchmarks.data import data_folder
from benchmarks.harness import Row, save, table
from benchmarks.ponderv2.experiment import (
    Contrast,
    Held,
    Passes,
    check_cost,
    contrast_rows,
    learn_labels,
    learn_to_render,
    miou,
    new_model,
    new_segmenter,
    numbers,
    probe,
    settled,
    told,
)  # fmt: skip

from ponderv2.model_config import PonderConfig, RendererConfig, size

WORK = Path("runs/ponderv2/claim-tabletop")
SEEDS = (0, 1, 2, 3, 4)
SCRATCH, PRETRAINED, LEGACY = "from scratch", "pre-trained", "pre-trained, released coordinates"
STEPS, SECONDS = "from scratch, the steps added", "from scratch, the cost added"
PROBE, RANDOM = "probe, pre-trained", "probe, random weights"
CLASSES = ("table", "box", "cylinder")
CONTRASTS = [
    (PRETRAINED, SCRATCH), (PRETRAINED, STEPS), (PRETRAINED, SECONDS), (PRETRAINED, LEGACY), (PROBE, RANDOM)
]  # fmt: skip
"""the first is primary"""


class Setting(NamedTuple):
    """The sizes of the experiment."""

    voxel: float = 0.025
    """metres"""
    cells: tuple[int, int, int] = (40, 40, 24)
    frames: int | None = None
    """of each half, the first ones; None: all"""
    labelled: int = 2
    """frames of each kind with labels"""
    pretrain_steps: int = 200
    pretrain_batch: int = 3
    rays: int = 64
    """of a frame"""
    pretrain_lr: float = 3e-3
    steps: int = 120
    """of fine-tuning"""
    batch: int = 4
    lr: float = 3e-3
    dearer: int = 10
    """steps of fine-tuning for one of pre-training, so that they cost no less"""
    kept: int = 8
    """augmentations of a frame in pre-training and in `steps` of fine-tuning; more in proportion in longer
    arms"""
    probe_steps: int = 300


TINY = Setting(
    cells=(8, 8, 8), frames=2, labelled=1, pretrain_steps=2, pretrain_batch=2, rays=8, steps=2, batch=2,
    dearer=2, kept=1, probe_steps=2,
)  # fmt: skip


def main(
    tiny: bool = False, work: Path = WORK, processes: int = 2, seeds: Sequence[int] = SEEDS
) -> list[Row]:
    """A row an arm, and rows of differences; kept in benchmarks/results unless tiny. No rows without data."""
    if data_folder("rgbd-tabletop") is None:
        print("claim_tabletop: skipped, the real data (NONET_DATA) is not here")
        return []
    setting, seeds, processes = (TINY, seeds[:1], 1) if tiny else (Setting(), seeds, processes)
    jobs = [(f"seed-{seed}", run_seed, (setting, seed)) for seed in seeds]
    found = run_arms(jobs, work / ("tiny" if tiny else "arms"), processes=processes)
    rows = [_row(name, found) for name in found[0]["miou"]]
    apart = contrast_rows([
        Contrast(f"{one} minus {other}", *(numbers(found, "miou", name) for name in (one, other)))
        for one, other in CONTRASTS
    ])  # fmt: skip
    print(table(rows), table(apart), sep="\n\n")
    if not tiny:
        check_cost(found, SECONDS, PRETRAINED)
        data = "rgbd-tabletop: 45 frames without labels, 4 with, 36 scored"
        for name, part in (("tabletop", rows), ("tabletop-differences", apart)):
            save("ponderv2", part, table=name, versions=("torch", "numpy"), data=data, seed=list(seeds))
    return [*rows, *apart]


def config_of(setting: Setting, *, legacy: bool = False) -> PonderConfig:
    """The smallest model, with flatter cells and rays of 56 places."""
    tiny = size("tiny")
    volume = replace(tiny.volume, shape=setting.cells, legacy=legacy)
    if min(setting.cells) < 12:
        volume = replace(volume, widths=(8, 8))
    return replace(tiny, volume=volume, renderer=RendererConfig(samples=40, importance=16))


def run_seed(setting: Setting, seed: int) -> dict[str, Any]:
    """All arms of a seed: mIoU in percent, CPU seconds of training, losses of pre-training."""
    from ponderv2.batches import SceneDataset
    from ponderv2.demonstration import Plan, plain_batch
    from ponderv2.reading import open_scenes

    folder = data_folder("rgbd-tabletop")
    pool = [Held(scene) for scene in open_scenes([f"tabletop:{folder}:learn"])[: setting.frames]]
    labelled = _drawn(f"tabletop:{folder}:learn-labelled", setting.labelled, seed)
    tested = open_scenes([f"tabletop:{folder}:test-labelled"])
    tested = tested[:: max(1, len(tested) // setting.frames)] if setting.frames else tested
    plain = Plan(voxel=setting.voxel)
    test, shown = [plain_batch(scene, plain) for scene in tested], [plain_batch(s, plain) for s in labelled]
    unlabelled = Passes(
        SceneDataset(
            pool, _augmented(setting, 0.5), seed=seed, views=1, rays=setting.rays, labels=False
        ),
        setting.pretrain_batch, setting.kept,
    )  # fmt: skip
    batches = Passes(SceneDataset(labelled, _augmented(setting, 1.0), seed=seed), setting.batch, setting.kept)
    scores, seconds, losses = {}, {}, {}
    backbones = {}
    for name in (PRETRAINED, LEGACY):
        config = config_of(setting, legacy=name == LEGACY)
        model = new_model(config, seed)
        learned = learn_to_render(
            model, unlabelled, steps=setting.pretrain_steps, lr=setting.pretrain_lr, seed=seed
        )
        backbones[name], seconds[name], losses[name] = model.backbone, learned.seconds, learned.losses
    config = config_of(setting)
    untrained = new_model(config, seed)
    fresh = untrained.backbone
    lengths = {
        PRETRAINED: setting.steps,
        SCRATCH: setting.steps,
        STEPS: setting.steps + setting.pretrain_steps,
        SECONDS: setting.steps + setting.dearer * setting.pretrain_steps,
        LEGACY: setting.steps,
    }
    for name, steps in lengths.items():
        model = new_segmenter(config, len(CLASSES), seed, backbones.get(name, fresh))
        kept = round(setting.kept * steps / setting.steps)
        learned = learn_labels(model, batches.with_kept(kept), steps=steps, lr=setting.lr)
        scores[name] = miou(model, test, len(CLASSES))
        seconds[name] = seconds.get(name, 0.0) + learned.seconds
    for name, backbone in ((PROBE, backbones[PRETRAINED]), (RANDOM, settled(untrained, unlabelled).backbone)):
        scores[name] = probe(backbone, shown, test, len(CLASSES), steps=setting.probe_steps, seed=seed)
    return {"miou": scores, "seconds": seconds, "losses": losses, "labelled": [s.name for s in labelled]}


def _drawn(source: str, each: int, seed: int) -> list[Held]:
    """So many frames with boxes and so many with cylinders."""
    from ponderv2.reading import open_scenes
    from ponderv2.tabletop import object_class

    scenes = list(open_scenes([source]))
    chosen = []
    for kind in (1, 2):
        own = [scene for scene in scenes if object_class("learn", scene.name) == kind]
        order = np.random.default_rng([seed, kind]).permutation(len(own))[:each]
        chosen += [Held(own[int(place)]) for place in order]
    return chosen


def _augmented(setting: Setting, keep: float) -> tuple[Any, ...]:
    """A table is turned, scaled and mirrored; it stays level."""
    from ponderv2.transforms import (
        CenterShift,
        GridSample,
        RandomDropout,
        RandomFlip,
        RandomRotate,
        RandomScale,
    )

    return (
        CenterShift(), RandomDropout(1 - keep), RandomRotate(-np.pi, np.pi), RandomScale(), RandomFlip(),
        GridSample(setting.voxel), CenterShift(floor=False),
    )  # fmt: skip


def _row(name: str, found: Sequence[dict[str, Any]]) -> Row:
    row: Row = {"name": name, "mIoU %": told(numbers(found, "miou", name))}
    if name in found[0]["seconds"]:
        row["CPU s"] = f"{np.mean(numbers(found, 'seconds', name)):.0f}"
    return row | {"each seed": " ".join(f"{value:.1f}" for value in numbers(found, "miou", name))}


if __name__ == "__main__":
    parser = arguments(__doc__, str(WORK))
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="how many (default: %(default)s)")
    parsed = parser.parse_args()
    if parsed.seeds < 1:
        parser.error("no seeds")
    main(work=parsed.work, processes=parsed.processes, seeds=tuple(range(parsed.seeds)))
