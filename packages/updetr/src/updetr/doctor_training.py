"""What in the options and numbers of a run can keep a detector from learning (ours).

Limits of rates are those of DETR's schedules: AdamW with 1e-4, the backbone with 1e-5 to 5e-5, gradients
clipped to 0.1. A backbone's rate of 5e-4, once a misprint in the original's manual, wrecks the training.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from updetr.backbones import RESNETS
from updetr.doctor_data import Finding
from updetr.train_options import ModelOptions

SHORT, VERY_SHORT = 1500, 300  # steps; after 100 to 600 our small pilots had AP50 of 15 to 24
LR, BACKBONE_LR = (1e-5, 1e-3), 2e-4
CLIP = 1.0


def option_findings(options: Mapping[str, Any], images: int) -> list[Finding]:
    """Look at the options of a run of `finetune`.

    Args:
        options: as `options.yaml` has them.
        images: that it trains on.
    """
    return [_length(options, images), *_rates(options), _start(options)]


def metric_findings(metrics: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """Look at the numbers of a run, as `metrics.jsonl` has them."""
    losses = [(int(line["step"]), float(line["train/loss"])) for line in metrics if "train/loss" in line]
    if not losses:
        return [Finding("look", "loss", "the run has logged none yet")]
    found = []
    first, last = losses[0], losses[-1]
    bad = next((step for step, loss in losses if not math.isfinite(loss)), None)
    text = f"{first[1]:.2f} at step {first[0]}, {last[1]:.2f} at step {last[0]}"
    if bad is not None:
        found.append(
            Finding("wrong", "loss", f"not finite at step {bad}: lower the rates, or use 32-bit numbers")
        )
    elif len(losses) == 1:
        found.append(Finding("look", "loss", f"{first[1]:.2f} at step {first[0]}; one number is no trend"))
    elif len(losses) > 2 and last[1] > 0.95 * first[1]:
        found.append(Finding("wrong", "loss", f"{text}: it does not fall; look at rates and labels"))
    else:
        found.append(Finding("fine", "loss", text))
    scores = [(int(line["step"]), float(line["val/AP50"])) for line in metrics if "val/AP50" in line]
    if scores:
        best = max(scores, key=lambda pair: -1.0 if math.isnan(pair[1]) else pair[1])
        if not best[1] > 0:
            found.append(Finding("wrong", "AP50", f"0 in {len(scores)} validations"))
        elif scores[-1][1] < 0.7 * best[1]:
            found.append(
                Finding(
                    "look", "AP50", f"best {best[1]:.1f} at step {best[0]}, {scores[-1][1]:.1f} at the end"
                )
            )
        else:
            found.append(Finding("fine", "AP50", f"best {best[1]:.1f} at step {best[0]}"))
    return found


def _length(options: Mapping[str, Any], images: int) -> Finding:
    trainer = options.get("trainer", {})
    batch, accumulate = min(int(options.get("batch", 1)), images), int(trainer.get("accumulate", 1))
    epochs = float(options.get("epochs") or 0)
    batches = -(-images // batch)  # of a pass
    steps = max(1, round(epochs * batches / accumulate)) if epochs else int(trainer.get("steps", 0))
    passes = steps * accumulate / batches
    each = f"{batch}" if accumulate == 1 else f"{accumulate} x {batch}"
    text = f"{steps} steps of {each}, {passes:.0f} passes over {images} images"
    if steps < VERY_SHORT:
        return Finding(
            "wrong", "length", f"{text}: a detection transformer finds nothing before some hundred steps"
        )
    if steps < SHORT:
        return Finding("look", "length", f"{text}: short; more steps are the first thing to try")
    return Finding("fine", "length", text)


def _rates(options: Mapping[str, Any]) -> list[Finding]:
    rates, trainer = options.get("rates", {}), options.get("trainer", {})
    lr, backbone = float(rates.get("lr", 1e-4)), float(rates.get("backbone_lr", 0))
    found = []
    if not LR[0] <= lr <= LR[1]:
        found.append(Finding("look", "rates.lr", f"{lr:g}, outside {LR[0]:g}..{LR[1]:g}; 1e-4 is usual"))
    if backbone > BACKBONE_LR:
        found.append(
            Finding("wrong", "rates.backbone_lr", f"{backbone:g} wrecks the backbone; 1e-5 to 5e-5 are usual")
        )
    clip = trainer.get("clip")
    if not clip or float(clip) > CLIP:
        found.append(Finding("look", "trainer.clip", f"{clip}; DETR is trained with 0.1"))
    if not found:
        text = f"{lr:g}, of the backbone {backbone:g}, gradients clipped to {clip}"
        found.append(Finding("fine", "rates", text))
    return found


def _start(options: Mapping[str, Any]) -> Finding:
    if options.get("init"):
        return Finding("fine", "start", f"from {options['init']}")
    if options.get("backbone_weights"):
        return Finding("fine", "start", f"a new transformer on {options['backbone_weights']}")
    backbone = options.get("backbone", ModelOptions().backbone)
    if backbone not in RESNETS:
        return Finding("fine", "start", f"a new transformer on {backbone}, which brings its weights")
    return Finding(
        "wrong", "start",
        "a backbone with random weights: give backbone_weights, or init (`updetr backbone` trains one)",
    )  # fmt: skip
