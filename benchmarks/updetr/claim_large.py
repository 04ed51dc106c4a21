"""Does pre-training make a detection transformer learn faster? Photographs and blood cells, on one GPU.

`python -m benchmarks.updetr.claim_large --processes 12` trains a ResNet-18 without labels on 1,420 images
(photographs of ImageNet and COCO, BCCD without its test images), freezes it, and pre-trains DETR behind it
(6 + 6 layers of 256, 100 queries, 10 patches): on random patches with the original's matching, on random
patches matched within groups, and on boxes where edges close, as in DETReg, matched within groups too. These
and a transformer from random weights are fine-tuned on 205 and on 50 images of BCCD, 320 pixels long, and
scored on the 72 test images. Three seeds. Needs a GPU, on which arms run side by side: ten minutes of an H200
with 16 cores, where NVIDIA's multi-process service was running; without it the GPU takes turns.

Said before it was run: the transformer pre-trained on random patches reaches the final AP of the one from
scratch in half its steps or fewer; at the end it is no worse, with 50 images better; boxes of edges lie
between the two. Learning to find patches takes more steps than an experiment of minutes has: where the
overlap with patches does not leave the floor of a constant box, little is to be expected. After smaller runs,
and before this one: that holds for the original's matching; matched within groups, both gain.
"""

from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.arms import arguments
from benchmarks.data import data_folder
from benchmarks.harness import Row, save, table
from benchmarks.updetr.experiment import Arm, Setting, patches_found, rows, run_all, tiny_setting

WORK = Path("runs/updetr/claim-large")
SEEDS = (0, 1, 2)
ARMS = {
    "scratch": Arm(pretrained=False),
    "random patches": Arm(),
    "random patches in groups": Arm(changes={"match": "group"}),
    "boxes of edges in groups": Arm(changes={"match": "group", "targets": "proposals"}),
}
FULL = Setting(
    pool=(("photos-1000",), ("coco128", "images")), backbone="resnet18", backbone_steps=500,
    backbone_batch=256, crop=96, width=256, layers=(6, 6), hidden=1024, queries=100, patches=10,
    patch_size=96, scales=(240,), longest=320, keep=1024, pretrain_steps=1400, pretrain_batch=64,
    scale=240, steps=800, lr=2e-4, every=100, clip=0.1, accelerator="gpu",
)  # fmt: skip


def main(tiny: bool = False, work: Path = WORK, processes: int = 2) -> list[Row]:
    """All arms and seeds; kept in benchmarks/results unless they are tiny."""
    import torch

    if data_folder("bccd", "BCCD") is None:
        print("claim_large: skipped, the real data (NONET_DATA) is not here")
        return []
    if not tiny and not torch.cuda.is_available():
        print("claim_large: skipped, it needs a GPU")
        return []
    setting = tiny_setting(FULL) if tiny else FULL
    seeds, processes = (SEEDS[:1], 1) if tiny else (SEEDS, processes)
    arms = dict(list(ARMS.items())[::3]) if tiny else ARMS
    keys = [(name, size, seed) for size in setting.sizes for name in arms for seed in seeds]
    found = run_all(setting, arms, keys, work, processes)
    shown = [max(1, round(setting.steps * share)) for share in (0.25, 0.5, 1)]
    told = rows(found, list(arms), setting.sizes, seeds, "scratch", sorted(set(shown)))
    speed = reached(found, list(arms), setting.sizes, seeds)
    pretext = patches_found(setting, arms, seeds, work)
    print(table(told), table(speed), table(pretext), sep="\n\n")
    if not tiny:
        for name, each in (("large", told), ("large-steps", speed), ("large-pretext", pretext)):
            save(
                "updetr", each, table=name, versions=("torch", "transformers", "lightning"),
                data="1,000 + 128 photographs, BCCD: 292 without labels; 205 or 50 with; 72 scored",
                seed=list(seeds),
            )  # fmt: skip
    return told


def reached(
    found: dict[tuple[str, int, int], dict[str, Any]], names: list[str], sizes: tuple[int, ...],
    seeds: tuple[int, ...],
) -> list[Row]:  # fmt: skip
    """In how many steps each arm reaches the final AP of the one from scratch with the same seed."""
    out: list[Row] = []
    for size in sizes:
        for name in names:
            row: Row = {"name": f"{size} images, {name}"}
            firsts = []
            for seed in seeds:
                scores = found["scratch", size, seed]
                goal = scores[max(scores, key=int)]["AP"]
                mine = found[name, size, seed]
                firsts.append(
                    next((int(step) for step in sorted(mine, key=int) if mine[step]["AP"] >= goal), None)
                )
            done = [first for first in firsts if first is not None]
            row["steps to scratch's final AP"] = f"{np.median(done):.0f}" if len(done) == len(firsts) else "-"
            row["of each seed"] = ", ".join("never" if first is None else str(first) for first in firsts)
            out.append(row)
    return out


if __name__ == "__main__":
    parsed = arguments(__doc__, str(WORK)).parse_args()
    main(work=parsed.work, processes=parsed.processes)
