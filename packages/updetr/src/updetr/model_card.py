"""README.md of a model folder (ours)."""

from collections.abc import Mapping
from typing import Any

from nonet.training.model_card import ModelCard
from updetr.detector_config import DetectorConfig

_WHAT = {
    "detr-prenorm": "A detection transformer with pre-norm layers (DETR as UP-DETR trains it).",
    "detr": "A detection transformer with post-norm layers (DETR).",
    "deformable-detr": "A Deformable DETR.",
    "rt-detr": "An RT-DETR.",
}
_HF = """
from transformers import pipeline

detect = pipeline("object-detection", model="{name}")
detect("image.jpg")
"""
_OURS = """
import updetr

model = updetr.load_model("{name}")
"""


def card(config: DetectorConfig, name: str, facts: Mapping[str, Any], *, patches: bool) -> str:
    """The text.

    Args:
        config: the detector's.
        name: of the folder.
        facts: of its training.
        patches: whether it was pre-trained without labels and finds patches.
    """
    classes = ", ".join(config.labels[:20]) + (", ..." if len(config.labels) > 20 else "")
    what = _WHAT[config.arch]
    if patches:
        what += (
            " Pre-trained without labels: it finds patches of an image in that image, and is meant to be "
            "fine-tuned with `updetr finetune`."
        )
    else:
        what += f" It finds {classes}."
    limits = ["Images are normalised with ImageNet's mean and deviation."]
    if config.dilation:
        limits.append("The backbone's last stage is dilated; transformers needs timm for that.")
    return ModelCard(
        title=name,
        what=what,
        language=(),
        tags=("object-detection", "updetr"),
        options=dict(facts),
        limits=limits,
        load=(_OURS if patches else _HF).format(name=name),
    ).text()
