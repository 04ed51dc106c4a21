"""Configs and tensors of transformers' Deformable-DETR and RT-DETR around a backbone of ours (ours)."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from transformers import AutoConfig, DeformableDetrConfig, RTDetrConfig

from nonet.errors import UserError
from updetr.backbones import RESNETS, Backbone
from updetr.detector_config import DetectorConfig
from updetr.hf_configs import resnet_config
from updetr.hf_weights import CONV, from_hf, to_hf

LEVELS = 3  # maps of the backbone that are used
NORM_GROUPS = 32  # of the group norm after Deformable-DETR's input projections
BACKBONE = "model.backbone.model."  # where both classes have theirs


def deformable_config(config: DetectorConfig, backbone: Backbone) -> DeformableDetrConfig:
    """The config of `DeformableDetrForObjectDetection`: four levels, one stage, no box refinement.

    Raises:
        UserError: a width, a dilation or a number of decoder layers that it cannot have.
    """
    _refuse_dilation(config)
    if config.width % NORM_GROUPS:
        raise UserError(f"width is {config.width}; that of deformable-detr is divisible by {NORM_GROUPS}")
    if config.decoder_layers < 2:  # transformers ties the heads of the second layer and up to the first one's
        raise UserError(
            f"decoder_layers is {config.decoder_layers}; deformable-detr has 2 or more: raise "
            "size.decoder_layers"
        )
    return DeformableDetrConfig(
        backbone_config=_backbone_config(config, backbone),
        d_model=config.width,
        encoder_layers=config.encoder_layers,
        decoder_layers=config.decoder_layers,
        encoder_attention_heads=config.heads,
        decoder_attention_heads=config.heads,
        encoder_ffn_dim=config.hidden,
        decoder_ffn_dim=config.hidden,
        dropout=config.dropout,
        attention_dropout=config.dropout,
        activation_dropout=config.dropout,
        num_queries=config.queries,
        num_feature_levels=LEVELS + 1,
        architectures=["DeformableDetrForObjectDetection"],
        **_names(config),
    )


def rt_config(config: DetectorConfig, backbone: Backbone) -> RTDetrConfig:
    """The config of `RTDetrForObjectDetection`: three levels, no denoising.

    Raises:
        UserError: a dilation, which it cannot have.
    """
    _refuse_dilation(config)
    strides = [backbone.stride // 2**level for level in reversed(range(LEVELS))]
    return RTDetrConfig(
        backbone_config=_backbone_config(config, backbone),
        encoder_in_channels=list(backbone.channels[-LEVELS:]),
        feat_strides=strides,
        encode_proj_layers=[LEVELS - 1],
        encoder_hidden_dim=config.width,
        d_model=config.width,
        decoder_in_channels=[config.width] * LEVELS,
        num_feature_levels=LEVELS,
        encoder_layers=config.encoder_layers,
        decoder_layers=config.decoder_layers,
        encoder_attention_heads=config.heads,
        decoder_attention_heads=config.heads,
        encoder_ffn_dim=config.hidden,
        decoder_ffn_dim=config.hidden,
        dropout=config.dropout,
        attention_dropout=config.dropout,
        activation_dropout=config.dropout,
        num_queries=config.queries,
        num_denoising=0,
        architectures=["RTDetrForObjectDetection"],
        **_names(config),
    )


def whole_state(hf: nn.Module, backbone: nn.Module) -> dict[str, Tensor]:
    """All tensors under the names of transformers' class, those that layers share once."""
    ours = to_hf({f"backbone.{name}": tensor for name, tensor in backbone.state_dict().items()})
    found = {BACKBONE + name.removeprefix(CONV): tensor for name, tensor in ours.items()}
    seen: set[int] = set()
    for name, tensor in hf.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            found[name] = tensor.detach()
    return found


def load_state(hf: nn.Module, backbone: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load what `whole_state` gave, or a file of transformers with a ResNet backbone.

    Raises:
        UserError: tensors are missing, unknown or of another shape.
    """
    inner = from_hf({name: tensor for name, tensor in state.items() if name.startswith(BACKBONE)}).state
    theirs = {name.removeprefix("backbone."): tensor for name, tensor in inner.items()}
    rest = {name: tensor for name, tensor in state.items() if not name.startswith(BACKBONE)}
    counters = {name for name in hf.state_dict() if name.endswith("num_batches_tracked")}
    shared = hf.state_dict().keys() - whole_state(hf, nn.Identity()).keys()
    for module, given, optional in ((backbone, theirs, set[str]()), (hf, rest, counters | shared)):
        own = module.state_dict()
        missing = sorted(own.keys() - given.keys() - optional)
        unknown = sorted(given.keys() - own.keys())
        other = sorted(name for name in own.keys() & given.keys() if own[name].shape != given[name].shape)
        for what, names in (("missing", missing), ("unknown", unknown), ("of another shape", other)):
            if names:
                more = f" and {len(names) - 1} more" if len(names) > 1 else ""
                raise UserError(f"{type(hf).__name__}: {names[0]}{more}: {what} in the weights")
        module.load_state_dict(given, strict=False)


def _backbone_config(config: DetectorConfig, backbone: Backbone) -> Any:
    """The config of transformers' backbone that takes our weights and gives three maps."""
    if len(backbone.channels) < LEVELS:
        raise UserError(f"{config.arch} needs a backbone with {LEVELS} maps; {config.backbone} gives fewer")
    if config.backbone not in RESNETS:
        return backbone.config
    settings = dict(resnet_config(config.backbone))
    last = len(settings["hidden_sizes"])
    settings["out_features"] = [f"stage{stage}" for stage in range(last - LEVELS + 1, last + 1)]
    return AutoConfig.for_model(settings.pop("model_type"), **settings)


def _names(config: DetectorConfig) -> dict[str, Any]:
    return {
        "id2label": dict(enumerate(config.labels)),
        "label2id": {name: number for number, name in enumerate(config.labels)},
    }


def _refuse_dilation(config: DetectorConfig) -> None:
    if config.dilation:
        raise UserError(f"{config.arch} uses several maps and no dilation; leave it out")
