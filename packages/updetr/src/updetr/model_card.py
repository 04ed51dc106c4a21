"""README.md of a model folder (ours)."""

from collections.abc import Mapping, Sequence
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
_GRAPH = """
import onnxruntime
from PIL import Image
from transformers import AutoImageProcessor

processor = AutoImageProcessor.from_pretrained("{name}")
inputs = processor(Image.open("image.jpg").convert("RGB"), return_tensors="np")
session = onnxruntime.InferenceSession("{name}/model.onnx")
logits, boxes = session.run(None, {{name: inputs[name] for name in ("pixel_values", "pixel_mask")}})
"""


def card(
    config: DetectorConfig,
    name: str,
    facts: Mapping[str, Any],
    *,
    patches: bool,
    onnx: bool = False,
    notes: Sequence[str] = (),
) -> str:
    """The text.

    Args:
        config: the detector's.
        name: of the folder.
        facts: of its training.
        patches: whether it was pre-trained without labels and finds patches.
        onnx: whether the folder holds an ONNX file instead of weights.
        notes: what a user of the folder has to know, beside what the config tells.
    """
    what = _WHAT[config.arch]
    if patches:
        what += (
            " Pre-trained without labels: it finds patches of an image in that image, and is meant to be "
            "fine-tuned with `updetr finetune`."
        )
    else:
        what += f" It finds {', '.join(config.labels[:20])}{', ...' if len(config.labels) > 20 else ''}."
    limits = ["Images are normalised with ImageNet's mean and deviation."]
    if config.dilation:
        limits.append("The backbone's last stage is dilated; transformers needs timm for that.")
    limits += [f"{note[0].upper()}{note[1:]}." for note in notes]
    load = _GRAPH if onnx else _OURS if patches else _HF
    return ModelCard(
        title=name,
        what=what,
        language=(),
        tags=("object-detection", "updetr"),
        library="onnxruntime" if onnx else "transformers",
        options=dict(facts),
        limits=limits,
        load=load.format(name=name),
    ).text()
