"""A detector's config.json and preprocessor_config.json, as transformers reads and writes them (ours).

A dilated last stage (DC5) exists in transformers only through timm, so such a folder says `timm_backbone`, as
DETR's own do; this package reads and writes it without timm.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from nonet.errors import UserError
from updetr.backbones import RESNETS
from updetr.detector_config import Arch, DetectorConfig
from updetr.hf_weights import POST_NORM, PRE_NORM

CLASSES: dict[Arch, str] = {"detr-prenorm": PRE_NORM, "detr": POST_NORM}
"""the class of transformers for each architecture that this module writes"""
MODEL_TYPES: dict[str, Arch] = {"table-transformer": "detr-prenorm", "detr": "detr"}
SIZES = (800, 1333)
"""shortest and longest side in pixels that images are resized to, as DETR was trained"""

_RESNET_DEFAULTS: dict[str, Any] = {  # what transformers takes where a config does not say
    "depths": (3, 4, 6, 3),
    "downsample_in_bottleneck": False,
    "downsample_in_first_stage": False,
    "embedding_size": 64,
    "hidden_act": "relu",
    "hidden_sizes": (256, 512, 1024, 2048),
    "layer_type": "bottleneck",
    "num_channels": 3,
}


class FromConfig(NamedTuple):
    """What a config.json says.

    Attributes:
        detector: the same for us; `backbone` is the model type where it is none of our ResNets.
        backbone: the backbone's part of the config, where transformers has to build it; else None.
    """

    detector: DetectorConfig
    backbone: dict[str, Any] | None


def write_config(config: DetectorConfig, backbone: Mapping[str, Any]) -> dict[str, Any]:
    """The content of config.json.

    Args:
        config: of a detector with pre-norm or post-norm layers.
        backbone: `resnet_config(...)`, or the config of a backbone that transformers built.
    """
    dilated = config.dilation
    labels = dict(enumerate(config.labels))
    return {
        "architectures": [CLASSES[config.arch]],
        "model_type": next(name for name, arch in MODEL_TYPES.items() if arch == config.arch),
        "activation_dropout": config.dropout,
        "activation_function": "relu",
        "attention_dropout": config.dropout,
        "auxiliary_loss": False,  # True changes what transformers computes, not only what it returns
        "backbone": None,
        "backbone_config": timm_config(config.backbone) if dilated else dict(backbone),
        "d_model": config.width,
        "decoder_attention_heads": config.heads,
        "decoder_ffn_dim": config.hidden,
        "decoder_layers": config.decoder_layers,
        "dilation": dilated,
        "dropout": config.dropout,
        "encoder_attention_heads": config.heads,
        "encoder_ffn_dim": config.hidden,
        "encoder_layers": config.encoder_layers,
        "id2label": {str(number): name for number, name in labels.items()},
        "is_encoder_decoder": True,
        "label2id": {name: number for number, name in labels.items()},
        "num_channels": 3,
        "num_queries": config.queries,
        "position_embedding_type": "sine",
        "use_pretrained_backbone": False,
        "use_timm_backbone": dilated,
        "dtype": "float32",
    }


def resnet_config(name: str, maps: int = 1) -> dict[str, Any]:
    """The config of transformers' ResNet that takes the weights of one of ours.

    Args:
        name: of `backbones.RESNETS`.
        maps: of so many last stages the map is given.
    """
    depths, inner, bottleneck, stem = RESNETS[name]
    stages = len(depths)
    return {
        "model_type": "resnet",
        "depths": list(depths),
        "downsample_in_bottleneck": False,
        "downsample_in_first_stage": False,
        "embedding_size": stem,
        "hidden_act": "relu",
        "hidden_sizes": [channels * (4 if bottleneck else 1) for channels in inner],
        "layer_type": "bottleneck" if bottleneck else "basic",
        "num_channels": 3,
        "out_features": [f"stage{stage}" for stage in range(stages - maps + 1, stages + 1)],
    }


def timm_config(name: str) -> dict[str, Any]:
    """The config of timm's ResNet with a dilated last stage."""
    return {
        "model_type": "timm_backbone",
        "backbone": name,
        "features_only": True,
        "num_channels": 3,
        "out_indices": [4],
        "output_stride": 16,
        "use_pretrained_backbone": False,
    }


def read_config(found: Mapping[str, Any], where: str) -> FromConfig:
    """What a config.json of `TableTransformerForObjectDetection` or `DetrForObjectDetection` says.

    Args:
        found: its content, of any version of transformers.
        where: the file, for errors.

    Raises:
        UserError: another model, or one with parts that our detectors do not have.
    """
    kind = found.get("model_type")
    if kind not in MODEL_TYPES:
        raise UserError(f"{where}: model_type is {kind!r}; there are {', '.join(MODEL_TYPES)}")
    for name, ours in (("position_embedding_type", "sine"), ("activation_function", "relu"),
                       ("num_channels", 3)):  # fmt: skip
        if found.get(name, ours) != ours:
            raise UserError(f"{where}: {name} is {found[name]!r}; detectors here have {ours!r}")
    sizes = {}
    for name, default in (("attention_heads", 8), ("ffn_dim", 2048)):
        both = [int(found.get(f"{side}_{name}", default)) for side in ("encoder", "decoder")]
        if both[0] != both[1]:
            raise UserError(f"{where}: {name} is {both[0]} in the encoder and {both[1]} in the decoder")
        sizes[name] = both[0]
    queries = int(found.get("num_queries", 100))
    name, dilated, backbone = _read_backbone(found, where)
    detector = DetectorConfig(
        arch=MODEL_TYPES[kind],
        backbone=name,
        dilation=dilated,
        width=int(found.get("d_model", 256)),
        heads=sizes["attention_heads"],
        encoder_layers=int(found.get("encoder_layers", 6)),
        decoder_layers=int(found.get("decoder_layers", 6)),
        hidden=sizes["ffn_dim"],
        dropout=float(found.get("dropout", 0.1)),
        queries=queries,
        patches=patches_of(queries),
        labels=_labels(found, where),
    )
    return FromConfig(detector, backbone)


def patches_of(queries: int) -> int:
    """Patches of a detector whose file says nothing of them: 10 as in the paper, or the next that divides."""
    return next(count for count in range(min(10, queries), 0, -1) if queries % count == 0)


def preprocessor(shortest: int, longest: int) -> dict[str, Any]:
    """The content of preprocessor_config.json: ImageNet's normalisation, sides in pixels."""
    return {
        "image_processor_type": "DetrImageProcessor",
        "do_convert_annotations": True,
        "do_normalize": True,
        "do_pad": True,
        "do_rescale": True,
        "do_resize": True,
        "format": "coco_detection",
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
        "resample": 2,
        "rescale_factor": 1 / 255,
        "size": {"shortest_edge": shortest, "longest_edge": longest},
    }


def sizes_of(preprocessor: Mapping[str, Any]) -> tuple[int, int]:
    """Shortest and longest side, in pixels, that a preprocessor_config.json asks for."""
    size = preprocessor.get("size", SIZES[0])
    if isinstance(size, int):  # the oldest form, with a second entry
        return size, int(preprocessor.get("max_size", SIZES[1]))
    shortest = size.get("shortest_edge", size.get("longest_edge", SIZES[0]))
    return int(shortest), int(size.get("longest_edge", SIZES[1]))


def _labels(found: Mapping[str, Any], where: str) -> tuple[str, ...]:
    names = found.get("id2label") or {str(number): f"LABEL_{number}" for number in range(2)}
    try:
        numbered = {int(number): str(name) for number, name in names.items()}
    except (ValueError, AttributeError):
        raise UserError(f"{where}: id2label is not a mapping from numbers to names") from None
    if sorted(numbered) != list(range(len(numbered))):
        raise UserError(f"{where}: id2label has the numbers {sorted(numbered)}; they go from 0 up")
    return tuple(numbered[number] for number in sorted(numbered))


def _read_backbone(found: Mapping[str, Any], where: str) -> tuple[str, bool, dict[str, Any] | None]:
    """Name, dilation, and the config where transformers has to build it."""
    inner = found.get("backbone_config")
    if inner is None or inner.get("model_type") == "timm_backbone":
        inner = inner or {}
        name = inner.get("backbone") or found.get("backbone") or "resnet50"
        if name not in RESNETS:
            raise UserError(f"{where}: its backbone is timm's {name}; there are {', '.join(RESNETS)}")
        return name, bool(found.get("dilation")) or inner.get("output_stride") == 16, None
    if inner.get("model_type") == "resnet":
        shape = {**_RESNET_DEFAULTS, **inner}
        for name in RESNETS:
            ours = resnet_config(name)
            if all(_plain(shape[entry]) == ours[entry] for entry in _RESNET_DEFAULTS):
                return name, False, None
    return str(inner.get("model_type")), False, dict(inner)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
