"""The card of a pre-trained model, and what its training cost (ours)."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nonet.options import dump
from nonet.runs import read_metrics
from nonet.training.model_card import ModelCard, Score
from nonet.vision_language.pair_config import PairConfig
from nonet.vision_language.pretraining.notes import COST
from nonet.vision_language.pretraining.options import PretrainOptions
from nonet.vision_language.training_stages import told

_LOAD = """
from nonet.vision_language.pair_folders import load_pair_model

model, tokenizer, *_ = load_pair_model("{name}")
"""


def cost_of(folder: Path, batch: float) -> dict[str, Any]:
    """What a run took so far.

    Args:
        folder: of the run.
        batch: pairs of a step, in the mean.

    Returns:
        steps, pairs (seen, with repetition), device_hours, and gmac_per_pair (of one pair in training: with
        backward pass, momentum model, regions and what a method adds, as a mean over all steps) where it
        was counted.
    """
    lines = read_metrics(folder)
    last = lines[-1] if lines else {"step": 0, "seconds": 0.0}
    counted = folder / COST
    known = json.loads(counted.read_text(encoding="utf-8")) if counted.exists() else {}
    hours = float(last.get("seconds", 0.0)) / 3600 * known.get("devices", 1)
    found = {"steps": last["step"], "pairs": round(last["step"] * batch), "device_hours": round(hours, 5)}
    if "gmac_per_pair" in known:
        found["gmac_per_pair"] = round(known["gmac_per_pair"], 4)
    return found


def stage_of(cost: Mapping[str, Any], losses: list[str]) -> dict[str, Any]:
    """A pre-training as `nonet.vision_language.training_stages` keeps it.

    Args:
        cost: from `cost_of`.
        losses: names of what was learnt.
    """
    return {
        "verb": "pretrain", "losses": losses, "steps": cost["steps"], "examples": cost["pairs"],
        "device_hours": cost["device_hours"], "gmac_per_example": cost.get("gmac_per_pair"),
    }  # fmt: skip


def card_text(
    name: str, package: str, how: str, config: PairConfig, options: PretrainOptions,
    scores: Mapping[str, float], cost: Mapping[str, Any], images: int, limits: Sequence[str] = (),
) -> str:  # fmt: skip
    """The text of README.md.

    Args:
        name: of the folder.
        package: whose verb `pretrain` it was.
        how: a sentence on what that package's method did.
        config: architecture.
        options: of the training.
        scores: of zero-shot retrieval, percent.
        cost: from `cost_of`.
        images: items that were learnt from.
        limits: more of them.
    """
    used = told(stage_of(cost, []))
    files, rows = ", ".join(path.name for path in options.pairs), scores.items()
    limits = [*limits, f"Texts are cut off behind {config.max_length} word pieces."]
    if options.corrupt_captions:
        limits.append(f"{options.corrupt_captions:.0%} of its captions were wrong on purpose.")
    return ModelCard(
        title=name,
        what=f"An image-text model, pre-trained on pairs with `{package} pretrain`. {how}",
        tags=("image-text-retrieval", package),
        library=package,
        base=options.init or (config.text if options.pretrained and config.text else None),
        data=f"{images:,} images with captions ({files}). Cost of {used}.",
        options=dump(options),
        scores=[Score(key, value, data="images kept out, zero-shot, percent") for key, value in rows],
        limits=limits,
        load=_LOAD.format(name=name),
    ).text()
