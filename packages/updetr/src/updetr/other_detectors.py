"""Detectors of transformers behind our interface, and what pre-training gives them (ours).

A pre-trained detector is used as the class of transformers that it is: its tensors have that class's names.
Those that the pretext never reached are fresh there: class heads are for other classes anyway, and RT-DETR's
choice of queries plays no part in it.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import nn

from nonet.errors import UserError
from updetr.backbones import RESNETS, Backbone
from updetr.deformable import DeformableDetector
from updetr.detector_config import Arch, DetectorConfig
from updetr.hf_configs import patches_of, resnet_config
from updetr.hf_levels import LEVELS
from updetr.rt_detr import RTDetector

BUILDERS = {"deformable-detr": DeformableDetector, "rt-detr": RTDetector}
MODEL_TYPES: dict[str, Arch] = {"deformable_detr": "deformable-detr", "rt_detr": "rt-detr"}
_PARTS = (  # part, beginnings of its names without `model.`
    ("backbone", ("backbone.",)),
    ("classes", ("class_embed.", "decoder.class_embed.", "denoising_class_embed.")),
    ("query selection", ("enc_output.", "enc_score_head.", "enc_bbox_head.")),
    ("input", ("input_proj.", "encoder_input_proj.", "decoder_input_proj.", "level_embed")),
    ("encoder", ("encoder.",)),
    ("boxes", ("bbox_embed.", "decoder.bbox_embed.")),
    ("decoder", ("decoder.", "reference_points.")),
    ("queries", ("query_position_embeddings.",)),
)
FRESH = ("classes", "query selection")
"""parts that pre-training leaves as they were, or that are for its own class"""


class Part(NamedTuple):
    """A part of a detector.

    Attributes:
        name: such as `encoder`.
        numbers: how many are learnt or fixed in it.
        transferred: share of them that comes from pre-training, 0 or 1.
    """

    name: str
    numbers: int
    transferred: float


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


def transfer(detector: nn.Module) -> list[Part]:
    """What a pre-trained detector takes along into another task, part by part.

    Args:
        detector: of `build`.
    """
    counts: dict[str, int] = {}
    for name, tensor in detector.hf_state().items():  # type: ignore[operator]
        if not name.endswith("num_batches_tracked"):
            part = part_of(name)
            counts[part] = counts.get(part, 0) + tensor.numel()
    return [Part(name, counts[name], float(name not in FRESH)) for name, _ in _PARTS if name in counts]


def transfer_line(parts: list[Part]) -> str:
    """The account in one line: what is pre-trained, and what begins afresh."""
    kept = sum(part.numbers for part in parts if part.transferred)
    total = sum(part.numbers for part in parts)
    fresh = [f"{part.name} ({part.numbers:,})" for part in parts if not part.transferred]
    return f"{kept / total:.1%} of {total:,} numbers are pre-trained; fresh: {', '.join(fresh) or 'nothing'}"


def part_of(name: str) -> str:
    """The part that a tensor with a name of transformers belongs to.

    Raises:
        KeyError: a name that neither class has.
    """
    inner = name.removeprefix("model.")
    for part, beginnings in _PARTS:
        if inner.startswith(beginnings):
            return part
    raise KeyError(name)


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
