"""Backbones by name: ResNets of our own, or any backbone of transformers (ours)."""

import copy
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from nonet.errors import UserError
from nonet.training.hub import load_pretrained, local_folder
from updetr.backbone_base import Backbone
from updetr.backbone_weights import load_backbone_weights
from updetr.detector_config import DetectorConfig
from updetr.frozen_norm import freeze_norms
from updetr.resnet import Norm, ResNet

__all__ = ["RESNETS", "Backbone", "TransformersBackbone", "build_backbone", "load_backbone_weights"]

WIDTHS = (64, 128, 256, 512)
RESNETS: dict[str, tuple[tuple[int, ...], tuple[int, ...], bool, int]] = {
    # blocks of each stage, channels of their 3 x 3 convolutions, if 1 x 1 ones surround them, of the stem
    "resnet-tiny": ((2, 2, 2), (32, 64, 128), False, 32),
    "resnet18": ((2, 2, 2, 2), WIDTHS, False, 64),
    "resnet26": ((2, 2, 2, 2), WIDTHS, True, 64),
    "resnet34": ((3, 4, 6, 3), WIDTHS, False, 64),
    "resnet50": ((3, 4, 6, 3), WIDTHS, True, 64),
    "resnet101": ((3, 4, 23, 3), WIDTHS, True, 64),
}
PROBE = 224  # pixels a side of the picture that tells a backbone's stride; divisible by 14, 16 and 32
LISTS = ("stages", "layers", "layer", "blocks")  # what the stages of a backbone are called in transformers


def build_backbone(
    config_or_name: Any, *, dilation: bool = False, maps: int = 1, norm: Norm = "frozen"
) -> Backbone:
    """A backbone with random weights, or with those of a folder or the hub if it is one of transformers'.

    Args:
        config_or_name: a name of `RESNETS`; a folder or hub name for `transformers.AutoBackbone`; the
            `DetectorConfig` of a detector, which has a name and a dilation; or transformers' configuration of
            a backbone, which gets random weights and gives the maps that it names.
        dilation: the last stage has dilated convolutions instead of a stride (DC5); our ResNets only.
        maps: of so many last stages the map is given.
        norm: "batch" where the backbone itself is trained on many small pictures; our ResNets only. Its
            weights load into a frozen one.

    Raises:
        UserError: a name that is neither, or what this backbone cannot do.
    """
    if isinstance(config_or_name, DetectorConfig):
        config_or_name, dilation = config_or_name.backbone, config_or_name.dilation
    if not isinstance(config_or_name, str):
        from transformers import AutoBackbone

        return TransformersBackbone(AutoBackbone.from_config(config_or_name))
    name = config_or_name
    if name in RESNETS:
        depths, inner, bottleneck, stem = RESNETS[name]
        if not 1 <= maps <= len(depths):
            raise UserError(f"{name} has {len(depths)} maps; {maps} are asked for")
        return ResNet(
            depths, inner, bottleneck=bottleneck, stem=stem, dilation=dilation, norm=norm, maps=maps
        )
    if dilation or norm != "frozen":
        raise UserError(f"{name}: only {', '.join(RESNETS)} can be dilated or trained with batch norm")
    return TransformersBackbone(_from_transformers(name, maps))


class TransformersBackbone(Backbone):
    """A backbone of transformers, its batch norms frozen.

    Args:
        model: an `AutoBackbone`.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        freeze_norms(model)
        self.model = model
        self.channels = tuple(model.channels)

    @cached_property
    def strides(self) -> tuple[int, ...]:  # type: ignore[override]
        """Pixels from one feature of each map to the next, measured on an empty picture."""
        training = self.training
        with torch.no_grad():
            device = next(self.parameters()).device
            maps = self.eval()(torch.zeros(1, 3, PROBE, PROBE, device=device))
        self.train(training)
        return tuple(round(PROBE / each.shape[-1]) for each in maps)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) normalised pixels to the maps."""
        return tuple(self.model(pixels).feature_maps)

    def parts(self) -> list[list[nn.Module]]:
        """What embeds the picture, then the members of the list of stages or layers."""
        for name, module in self.model.named_modules():
            *above, last = name.split(".")
            if isinstance(module, nn.ModuleList) and last in LISTS:
                around = [self.model.get_submodule(".".join(above[:depth])) for depth in range(len(above))]
                children = [child for parent in around for child in parent.named_children()]
                stem = [child for key, child in children if key.startswith("embed")]
                return [stem, *([member] for member in module)]
        raise UserError(f"{type(self.model).__name__}: no list of stages, so none can be frozen by number")

    def fold(self) -> Backbone:
        """A frozen copy."""
        return copy.deepcopy(self).freeze()


def _from_transformers(name: str, maps: int) -> Any:
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING

    try:
        folder = local_folder(name)
    except UserError as error:
        raise UserError(f"no backbone {name}: it is one of {', '.join(RESNETS)}, or else {error}") from None
    try:
        config = AutoConfig.from_pretrained(folder)
        kind = MODEL_FOR_BACKBONE_MAPPING[
            type(config)
        ]  # AutoBackbone itself asks the hub for a folder's name
        stages = len(config.stage_names) - 1
    except (AttributeError, ValueError, KeyError):
        raise UserError(f"{name}: transformers has no backbone of this kind") from None
    if not 1 <= maps <= stages:
        raise UserError(f"{name} has {stages} maps; {maps} are asked for")
    return load_pretrained(kind, folder, out_indices=list(range(stages - maps + 1, stages + 1)))
