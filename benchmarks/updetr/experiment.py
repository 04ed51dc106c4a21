"""What the experiments on detectors share: images, the home-made backbone, pre-training, fine-tuning, tables.

Every arm of an experiment starts from the same frozen backbone, trained on the same images without labels,
as a good one cannot be had without a network; what differs is how the transformer behind it began. Detectors
are scored on BCCD's test images at fixed steps; none of those images is in the unlabelled pool, and no step
is chosen by its score.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.arms import run_arms
from benchmarks.data import data_folder
from benchmarks.harness import Row

MEASURES = ("AP", "AP50", "l1", "giou")  # of the test images; the last two are losses of matched pairs


@dataclass(frozen=True)
class Setting:
    """The sizes of an experiment."""

    pool: tuple[tuple[str, ...], ...] = ()  # folders of the real data, besides BCCD's training and val images
    backbone: str = "resnet-tiny"
    backbone_steps: int = 200
    backbone_batch: int = 64
    crop: int = 40  # pixels of a crop that the backbone learns from
    width: int = 128
    heads: int = 8
    layers: tuple[int, int] = (2, 3)  # encoder, decoder
    hidden: int = 256
    queries: int = 40
    patches: int = 8
    patch_size: int = 48
    scales: tuple[int, ...] = (120,)  # shorter side of an image in pre-training, pixels
    longest: int = 160
    pretrain_steps: int = 1200
    pretrain_batch: int = 24
    cached: bool = True  # the frozen backbone's features of whole images, where there is one scale
    keep: int = 512  # MiB of decoded images that a run keeps in memory
    sizes: tuple[int, ...] = (205, 50)  # labelled images
    scale: int = 120  # shorter side in fine-tuning
    steps: int = 1600
    batch: int = 16
    lr: float = 5e-4
    clip: float = 1.0
    every: int = 200  # steps between two scorings
    limit: int | None = None  # test images; None: all
    accelerator: str = "cpu"


@dataclass(frozen=True)
class Arm:
    """How the transformer began.

    Attributes:
        pretrained: or from random weights.
        backbone: "learnt" without labels, or "random".
        changes: options of `pretrain` that differ from the recipe.
        steps: of fine-tuning, times those of the setting.
    """

    pretrained: bool = True
    backbone: str = "learnt"
    changes: Mapping[str, Any] = field(default_factory=dict)
    steps: float = 1.0


def tiny_setting(setting: Setting) -> Setting:
    """The same experiment in seconds, for tests."""
    return replace(
        setting, pool=(), backbone="resnet-tiny", backbone_steps=1, backbone_batch=2, width=16, heads=2,
        layers=(1, 1), hidden=16, queries=4, patches=2, patch_size=32, scales=(64,), longest=96, scale=64,
        pretrain_steps=1, pretrain_batch=2, sizes=setting.sizes[-1:], steps=2, batch=2, every=1, limit=12,
        accelerator="cpu",
    )  # fmt: skip


def blood(setting: Setting, work: Path) -> Path:
    """BCCD's folder; in a tiny run one with few names in its lists."""
    from nonet.files import write_text

    root = data_folder("bccd", "BCCD")
    assert root is not None
    if setting.limit is None:
        return root
    few = work / "bccd"
    for split in ("train", "val", "test"):
        out = few / "ImageSets" / "Main" / f"{split}.txt"
        if not out.exists():
            write_text(out, "\n".join(_names(root, split)[: setting.limit]) + "\n")
    for name in ("JPEGImages", "Annotations"):
        if not (few / name).exists():
            (few / name).symlink_to(root / name)
    return few


def unlabelled(setting: Setting, work: Path) -> Path:
    """A list of the images to pre-train on: the pool's, and BCCD's training and validation images."""
    from nonet.data.images import find_images
    from nonet.files import write_text

    out, root = work / "pool.txt", blood(setting, work)
    paths = [
        root / "JPEGImages" / f"{name}.jpg" for split in ("train", "val") for name in _names(root, split)
    ]
    for parts in setting.pool:
        folder = data_folder(*parts)
        if folder is not None:
            paths += find_images(folder)
    write_text(out, "".join(f"{path.resolve()}\n" for path in paths))
    return out


def backbone(setting: Setting, seed: int, work: Path) -> dict[str, Any]:
    """Train the backbone without labels; its weights' file."""
    from nonet.training.options import OptimizerOptions
    from updetr.commands.backbone import Options
    from updetr.self_supervised import train_backbone

    out = work / f"backbone-{seed}"
    shutil.rmtree(out, ignore_errors=True)
    train_backbone(
        Options(
            images=unlabelled(setting, work),
            backbone=setting.backbone,
            batch=setting.backbone_batch,
            size=setting.crop,
            keep_images=setting.keep,
            out=out,
            optimizer=OptimizerOptions(
                lr=1e-3, weight_decay=1e-4, schedule="cosine", warmup=min(50, setting.backbone_steps // 2)
            ),
            trainer=_trainer(setting, setting.backbone_steps, seed),
        )
    )
    shutil.rmtree(out / "checkpoints", ignore_errors=True)
    return {"weights": str(out / "model" / "backbone.safetensors")}


def edges(setting: Setting, work: Path) -> dict[str, Any]:
    """Propose boxes where edges close in every unlabelled image; how many."""
    from nonet.data.images import find_images
    from updetr.target_boxes import propose_targets

    found = propose_targets(find_images(unlabelled(setting, work)), work, say=lambda _: None)
    return {"boxes": sum(map(len, found))}


def pretrained(setting: Setting, arm: Arm, name: str, seed: int, work: Path) -> dict[str, Any]:
    """Pre-train a detector; its folder, and whether it finds patches at all."""
    from updetr.commands.pretrain import Options
    from updetr.pretrain_run import pretrain

    out = work / f"pretrain-{slug(name)}-{seed}"
    shutil.rmtree(out, ignore_errors=True)
    changes = dict(arm.changes)
    if changes.get("targets") == "proposals":  # computed once for all seeds
        changes |= {"targets": "file", "targets_file": work / "proposals.json"}
    rates = _rates(setting, **changes.pop("rates", {}))
    frozen = setting.cached and len(setting.scales) == 1 and not rates.backbone_lr
    cuts = changes.get("targets", "random")  # without boxes, images are turned as their EXIF says
    features = work / f"features-{arm.backbone}-{cuts}-{seed}" if frozen else None
    pretrain(
        Options(
            images=unlabelled(setting, work),
            **_model(setting, arm, seed, work),
            num_patches=setting.patches,
            patch_size=setting.patch_size,
            scales=setting.scales,
            longest=setting.longest,
            batch=setting.pretrain_batch,
            rates=rates,
            cache_features=features,
            keep_images=setting.keep,
            out=out,
            trainer=_trainer(setting, setting.pretrain_steps, seed),
            **changes,
        )
    )
    shutil.rmtree(out / "checkpoints", ignore_errors=True)
    last = [line for line in _metrics(out) if "val/found_iou" in line][-1]
    return {"model": str(out / "model")} | {
        key.removeprefix("val/"): value for key, value in last.items() if key.startswith("val/")
    }


def finetuned(setting: Setting, arm: Arm, name: str, images: int, seed: int, work: Path) -> dict[str, Any]:
    """Fine-tune on so many labelled images; measures of the test images by step, as text."""
    from updetr.commands.finetune import Options
    from updetr.finetune_run import finetune

    out, root = work / f"finetune-{slug(name)}-{images}-{seed}", blood(setting, work)
    shutil.rmtree(out, ignore_errors=True)
    steps = max(1, round(setting.steps * arm.steps))
    start: dict[str, Any] = (
        {"init": str(work / f"pretrain-{slug(name)}-{seed}" / "model")}
        if arm.pretrained
        else _model(setting, arm, seed, work)
    )
    test = f"voc:{root}:test"
    finetune(
        Options(
            data=f"voc:{root}:train",
            val=test,
            **start,
            fraction=min(1.0, images / len(_names(root, "train"))),
            scales=(setting.scale,),
            longest=round(setting.scale * 4 / 3),
            crop=0.0,
            keep_features=512,
            flip_vertical=0.5,
            batch=setting.batch,
            epochs=0,
            rates=_rates(setting, drop=0.75),
            out=out,
            trainer=_trainer(setting, steps, seed, every=max(1, round(setting.every * arm.steps))),
        )
    )
    found: dict[str, Any] = {}
    for line in _metrics(out):
        if "val/AP" in line:
            found[str(line["step"])] = {name: line[f"val/{name}"] for name in MEASURES}
    shutil.rmtree(out, ignore_errors=True)
    return found


def slug(name: str) -> str:
    """An arm's name as part of a file's."""
    return name.replace(",", "").replace(" ", "-")


def run_all(
    setting: Setting,
    arms: Mapping[str, Arm],
    keys: Sequence[tuple[str, int, int]],
    work: Path,
    processes: int,
) -> dict[tuple[str, int, int], dict[str, Any]]:
    """The measures by arm, number of labelled images and seed; first backbones, then transformers."""
    kept, seeds = work / "arms", sorted({seed for _, _, seed in keys})
    run_arms(
        [(f"backbone-{seed}", backbone, (setting, seed, work)) for seed in seeds]
        + [("edges", edges, (setting, work))]
        * any(arm.changes.get("targets") == "proposals" for arm in arms.values()),
        kept,
        processes=processes,
    )
    run_arms(
        [
            (f"pretrain-{slug(name)}-{seed}", pretrained, (setting, arm, name, seed, work))
            for name, arm in arms.items()
            if arm.pretrained
            for seed in seeds
        ],
        kept,
        processes=processes,
    )
    jobs = [
        (f"finetune-{slug(name)}-{size}-{seed}", finetuned, (setting, arms[name], name, size, seed, work))
        for name, size, seed in keys
    ]
    found = run_arms(jobs, kept, processes=processes)
    for each in found:
        each.pop("cpu_seconds")
    return dict(zip(keys, found, strict=True))


def rows(
    found: Mapping[tuple[str, int, int], Mapping[str, Any]], names: Sequence[str], sizes: Sequence[int],
    seeds: Sequence[int], base: str, shown: Sequence[int],
) -> list[Row]:  # fmt: skip
    """A row a number of images, step and arm: means over seeds, differences to `base` with intervals."""
    from nonet.metrics.stats import t_interval

    out: list[Row] = []
    for size in sizes:
        for step in shown:
            for name in names:
                runs = [found[name, size, seed][str(step)] for seed in seeds]
                bases = [found[base, size, seed][str(step)] for seed in seeds]
                row: Row = {"name": f"{size} images, {step} steps, {name}"}
                for measure in MEASURES:
                    digits = 1 if measure.startswith("AP") else 3
                    row[measure] = f"{np.mean([run[measure] for run in runs]):.{digits}f}"
                    if measure in ("AP50", "l1"):
                        row[f"{measure}, minus {base}"] = ""
                        if name != base:
                            gain = [a[measure] - b[measure] for a, b in zip(runs, bases, strict=True)]
                            text = f"{np.mean(gain):+.{digits}f}"
                            if len(seeds) > 1:
                                over = t_interval(gain)
                                text += f" ({over.low:+.{digits}f} to {over.high:+.{digits}f})"
                            row[f"{measure}, minus {base}"] = text
                out.append(row)
    return out


def patches_found(setting: Setting, arms: Mapping[str, Arm], seeds: Sequence[int], work: Path) -> list[Row]:
    """Whether patches were found in pre-training: overlaps beside the floor of a constant box."""
    out: list[Row] = []
    for name, arm in arms.items():
        if not arm.pretrained:
            continue
        runs = [
            json.loads((work / "arms" / f"pretrain-{slug(name)}-{seed}.json").read_text(encoding="utf-8"))
            for seed in seeds
        ]
        row: Row = {"name": name}
        for key, label in (
            ("found_iou", "IoU of the surest query of a patch's group"),
            ("floor", "IoU of a constant box"),
            ("own_group", "matched in the own group"),
        ):
            row[label] = f"{np.mean([each[key] for each in runs]):.2f}"
        models = [work / f"pretrain-{slug(name)}-{seed}" / "model" for seed in seeds]
        spreads = [spread(setting, model, work) for model in models]
        row["spread of the queries' centres"] = f"{np.mean(spreads):.3f}"
        out.append(row)
    return out


def spread(setting: Setting, model: Path, work: Path) -> float:
    """How far apart the queries of a detector answer where nothing is shown to them: the standard deviation
    of their boxes' centres, in shares of the image's sides, over the first eight test images."""
    from updetr import detect, load_model

    root = blood(setting, work)
    paths = [root / "JPEGImages" / f"{name}.jpg" for name in _names(root, "test")[:8]]
    detector = load_model(str(model), say=lambda _: None).detector
    found = detect(detector, paths, scale=setting.scale, longest=round(setting.scale * 4 / 3))
    sides = [np.array([image.width, image.height]) for image in found.images]
    boxes = [np.asarray(each.boxes) for each in found.detections]
    centres = [(each[:, :2] + each[:, 2:]) / 2 / side for each, side in zip(boxes, sides, strict=True)]
    return float(np.mean([each.std(0) for each in centres]))


def _model(setting: Setting, arm: Arm, seed: int, work: Path) -> dict[str, Any]:
    """The options of a new detector."""
    from updetr.train_options import SizeOptions

    weights = (
        work / f"backbone-{seed}" / "model" / "backbone.safetensors" if arm.backbone == "learnt" else None
    )
    return {
        "backbone": setting.backbone,
        "backbone_weights": weights,
        "size": SizeOptions(
            width=setting.width, heads=setting.heads, encoder_layers=setting.layers[0],
            decoder_layers=setting.layers[1], hidden=setting.hidden, queries=setting.queries,
        ),
    }  # fmt: skip


def _rates(setting: Setting, **changes: Any) -> Any:
    from updetr.train_options import RateOptions

    return RateOptions(**({"lr": setting.lr, "drop": 2 / 3} | changes))


def _trainer(setting: Setting, steps: int, seed: int, every: int = 0) -> Any:
    from nonet.training.options import TrainerOptions

    return TrainerOptions(
        steps=steps, seed=seed, clip=setting.clip, validate_every=every, checkpoint_every=0,
        log_every=max(1, steps // 20), accelerator=setting.accelerator,  # type: ignore[arg-type]
    )  # fmt: skip


def _metrics(run: Path) -> list[dict[str, Any]]:
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _names(root: Path, split: str) -> list[str]:
    return (root / "ImageSets" / "Main" / f"{split}.txt").read_text(encoding="utf-8").split()
