"""README.md of a model folder (ours)."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from nonet.training.hub import HUB_NAME
from nonet.training.model_card import ModelCard
from updetr.detector_config import DetectorConfig
from updetr.training_facts import trained_options

_MODELS = ("init", "model", "backbone")
_FOLDERS = re.compile(r"(?:(?<=[:,])|^)(?:[A-Za-z]:(?=[/\\]))?[^:,]*[/\\]")
"""what stands before the name of a file, in `coco:FILE,FOLDER` more than once"""
_LIST = "tag:yaml.org,2002:seq"
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
        options=_readable(facts) if facts else {},
        limits=limits,
        load=load.format(name=name),
    ).text()


def _readable(facts: Mapping[str, Any]) -> str:
    """The facts of a training as YAML: its options nested, paths by their last parts, lists on one line."""
    import yaml

    class Dumper(yaml.SafeDumper):
        pass

    Dumper.add_representer(list, lambda dumper, row: dumper.represent_sequence(_LIST, row, flow_style=True))
    shown: dict[str, Any] = {}
    for name, value in facts.items():
        if name == "options":
            options = trained_options(facts)
            shown[name] = _without_folders(options) if options else value
        elif name == "scores" and isinstance(value, Mapping) and "AP" in value:
            shown["scores in percent"] = value
        else:
            shown[name] = value
    plain = json.loads(json.dumps(shown, default=str))  # paths and tuples as YAML's own types
    return str(yaml.dump(plain, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=100))


def _without_folders(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options whose paths are names alone: readers have not the folders of the training's machine.

    Models and backbones named `owner/name` stay as they are, as they may be of the hub.
    """
    found: dict[str, Any] = {}
    for name, value in options.items():
        if isinstance(value, Mapping):
            found[name] = _without_folders(value)
        elif not isinstance(value, str) or (
            name in _MODELS and HUB_NAME.fullmatch(value.removeprefix("hf:"))
        ):
            found[name] = value
        else:
            found[name] = _FOLDERS.sub("", value.rstrip("/\\"))
    return found
