"""Detectors of transformers behind our interface, by name (ours)."""

from collections.abc import Mapping
from typing import Any

from nonet.errors import UserError
from updetr.backbones import RESNETS, Backbone
from updetr.deformable import DeformableDetector
from updetr.detector_config import Arch, DetectorConfig
from updetr.hf_configs import patches_of, resnet_config
from updetr.hf_levels import LEVELS
from updetr.rt_detr import RTDetector

BUILDERS = {"deformable-detr": DeformableDetector, "rt-detr": RTDetector}
MODEL_TYPES: dict[str, Arch] = {"deformable_detr": "deformable-detr", "rt_detr": "rt-detr"}


def build(config: DetectorConfig, backbone: Backbone | None = None) -> DeformableDetector | RTDetector:
    """The detector that a configuration names, with initial weights.

    Args:
        config: with the architecture deformable-detr or rt-detr.
        backbone: used instead of the one that the configuration names; gives three maps.

    Raises:
        UserError: sizes that the architecture cannot have.
    """
    if config.arch not in BUILDERS:
        raise ValueError(f"{config.arch} is built by updetr.detector.Detector")
    return BUILDERS[config.arch](config, backbone)


def read_config(found: Mapping[str, Any], where: str) -> DetectorConfig:
    """What a config.json of `DeformableDetrForObjectDetection` or `RTDetrForObjectDetection` says.

    Args:
        found: its content.
        where: the file, for errors.

    Raises:
        UserError: another model, or one with parts that ours do not have.
    """
    kind = found.get("model_type")
    if kind not in MODEL_TYPES:
        raise UserError(f"{where}: model_type is {kind!r}; there are {', '.join(MODEL_TYPES)}")
    ours = {"num_feature_levels": LEVELS + (kind == "deformable_detr")}
    if kind == "deformable_detr":
        ours |= {"two_stage": False, "with_box_refine": False}
    for name, value in ours.items():
        if found.get(name, value) != value:
            raise UserError(f"{where}: {name} is {found[name]!r}; detectors here have {value!r}")
    queries = int(found.get("num_queries", 300))
    labels = found.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
    return DetectorConfig(
        arch=MODEL_TYPES[kind],
        backbone=_backbone_name(found.get("backbone_config") or {}, where),
        width=int(found.get("d_model", 256)),
        heads=int(found.get("decoder_attention_heads", 8)),
        encoder_layers=int(found.get("encoder_layers", 6 if kind == "deformable_detr" else 1)),
        decoder_layers=int(found.get("decoder_layers", 6)),
        hidden=int(found.get("decoder_ffn_dim", 1024)),
        dropout=float(found.get("dropout", 0.0)),
        queries=queries,
        patches=patches_of(queries),
        labels=tuple(str(labels[number]) for number in sorted(labels, key=int)),
    )


def _backbone_name(settings: Mapping[str, Any], where: str) -> str:
    for name in RESNETS:
        wanted = resnet_config(name, LEVELS)
        keys = ("model_type", "depths", "hidden_sizes", "layer_type")
        if all(settings.get(key) == wanted[key] for key in keys):
            return name
    kind = settings.get("model_type") or "unknown"
    raise UserError(f"{where}: its backbone is {kind}; those here are {', '.join(RESNETS)} of transformers")
