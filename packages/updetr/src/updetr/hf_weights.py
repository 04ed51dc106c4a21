"""Names of tensors here (those of the released code) and in transformers' DETR classes, both ways (ours).

`TableTransformerForObjectDetection` is DETR with pre-norm layers, `DetrForObjectDetection` with post-norm
layers. Files of both have one set of names on disk: transformers renames those of `DetrForObjectDetection`
when it reads and writes. Files that were saved around it have the newer names; both are read.
The backbone has the names of transformers' ResNet, or torchvision's, which timm and old files have.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from nonet.errors import UserError

PRE_NORM = "TableTransformerForObjectDetection"
POST_NORM = "DetrForObjectDetection"
CONV = "model.backbone.conv_encoder.model."
"""where files of transformers have the backbone"""

_THIRDS = ("q_proj", "k_proj", "v_proj")  # of torch's packed in_proj, from the top
_RENAMED = {  # ours: transformers'
    "input_proj": "model.input_projection",
    "query_embed": "model.query_position_embeddings",
    "transformer.encoder.norm": "model.encoder.layernorm",
    "transformer.decoder.norm": "model.decoder.layernorm",
    "class_embed": "class_labels_classifier",
    "bbox_embed": "bbox_predictor",
}
_IN_LAYER = {
    "encoder": {
        "self_attn": "self_attn",
        "linear1": "fc1",
        "linear2": "fc2",
        "norm1": "self_attn_layer_norm",
        "norm2": "final_layer_norm",
    },
    "decoder": {
        "self_attn": "self_attn",
        "multihead_attn": "encoder_attn",
        "linear1": "fc1",
        "linear2": "fc2",
        "norm1": "self_attn_layer_norm",
        "norm2": "encoder_attn_layer_norm",
        "norm3": "final_layer_norm",
    },
}
_NEWER = ((".o_proj.", ".out_proj."), (".mlp.fc", ".fc"), ("model.backbone.model.", CONV))
_LAYER = re.compile(r"(transformer|model)\.(encoder|decoder)\.layers\.(\d+)\.(\w+)\.(.+)")
_BLOCK = re.compile(r"layer(\d+)\.(\d+)\.(?:(conv|bn)(\d)|downsample\.([01]))\.(.+)")
_HF_BLOCK = re.compile(
    r"encoder\.stages\.(\d+)\.layers\.(\d+)\.(?:layer\.(\d+)|(shortcut))\.(convolution|normalization)\.(.+)"
)
_KIND = {"conv": "convolution", "bn": "normalization", "0": "convolution", "1": "normalization"}


class FromHf(NamedTuple):
    """A file's tensors under our names.

    Attributes:
        state: name -> tensor.
        left: names that are none of a detector's, such as those of a mask head.
    """

    state: dict[str, Tensor]
    left: tuple[str, ...]


def to_hf(state: Mapping[str, Tensor], *, timm: bool = False) -> dict[str, Tensor]:
    """A detector's tensors under the names that files of transformers have.

    Args:
        state: of a `Detector` with pre-norm or post-norm layers.
        timm: keep torchvision's names for the backbone, as a `timm_backbone` has them.

    Raises:
        KeyError: a tensor that no detector of transformers has.
    """
    found = {}
    for name, tensor in state.items():
        if ".in_proj_" in name:
            where, _, kind = name.rpartition(".in_proj_")
            for third, part in zip(_THIRDS, tensor.chunk(3), strict=True):
                found[_hf_name(f"{where}.{third}.{kind}", timm)] = part.contiguous()
        else:
            found[_hf_name(name, timm)] = tensor
    return found


def from_hf(state: Mapping[str, Tensor], *, own_backbone: bool = True) -> FromHf:
    """The tensors of a file of transformers under our names; the reverse of `to_hf`, for all sets of names.

    Args:
        state: of `TableTransformerForObjectDetection` or `DetrForObjectDetection`, of any version.
        own_backbone: the backbone becomes one of our ResNets; otherwise it stays one of transformers.

    Raises:
        UserError: an attention lacks one of query, key and value.
    """
    found: dict[str, Tensor] = {}
    thirds: dict[str, dict[str, Tensor]] = {}
    left = []
    for name, tensor in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        ours = _our_name(_older(name.removeprefix("detr.")), own_backbone)  # `detr.` in DetrForSegmentation
        if ours is None:
            left.append(name)
            continue
        where, _, third = ours.removesuffix(".weight").removesuffix(".bias").rpartition(".")
        if third in _THIRDS:
            thirds.setdefault(f"{where}.in_proj_{ours.rpartition('.')[2]}", {})[third] = tensor
        else:
            found[ours] = tensor
    for name, parts in thirds.items():
        absent = [third for third in _THIRDS if third not in parts]
        if absent:
            raise UserError(f"{name.rpartition('.')[0]} has no {', '.join(absent)}: not a whole detector")
        found[name] = torch.cat([parts[third] for third in _THIRDS])
    return FromHf(found, tuple(left))


def class_of(names: Mapping[str, Tensor]) -> str:
    """The class of transformers that a file's layers are for: only pre-norm encoders end with a LayerNorm.

    Args:
        names: the tensors of a file of transformers, or ours.
    """
    ends = ("encoder.layernorm.weight", "encoder.norm.weight")
    return PRE_NORM if any(name.endswith(ends) for name in names) else POST_NORM


def _hf_name(name: str, timm: bool) -> str:
    if name.startswith("backbone."):
        inner = name.removeprefix("backbone.")
        return CONV + (inner if timm else _hf_backbone(inner))
    layer = _LAYER.fullmatch(name)
    if layer:
        _, side, number, part, rest = layer.groups()
        return f"model.{side}.layers.{number}.{_IN_LAYER[side][part]}.{rest}"
    for ours, theirs in _RENAMED.items():
        if name.startswith(f"{ours}."):
            return theirs + name.removeprefix(ours)
    raise KeyError(name)


def _our_name(name: str, own_backbone: bool) -> str | None:
    """Our name of a tensor with transformers' older name, or None."""
    if name.startswith(CONV):
        inner = name.removeprefix(CONV)
        return f"backbone.{_our_backbone(inner) if own_backbone else f'model.{inner}'}"
    layer = _LAYER.fullmatch(name)
    if layer:
        _, side, number, part, rest = layer.groups()
        for ours, theirs in _IN_LAYER[side].items():
            if theirs == part:
                return f"transformer.{side}.layers.{number}.{ours}.{rest}"
        return None
    for ours, theirs in _RENAMED.items():
        if name.startswith(f"{theirs}."):
            return ours + name.removeprefix(theirs)
    return None


def _older(name: str) -> str:
    for new, old in _NEWER:
        name = name.replace(new, old)
    return name


def _hf_backbone(name: str) -> str:
    """The name in transformers of a backbone's tensor; a backbone that transformers built keeps its own."""
    block = _BLOCK.fullmatch(name)
    if block:
        stage, number, kind, place, short, rest = block.groups()
        where = f"encoder.stages.{int(stage) - 1}.layers.{number}"
        if short is not None:
            return f"{where}.shortcut.{_KIND[short]}.{rest}"
        return f"{where}.layer.{int(place) - 1}.{_KIND[kind]}.{rest}"
    stem = re.fullmatch(r"(conv|bn)1\.(.+)", name)
    if stem:
        return f"embedder.embedder.{_KIND[stem[1]]}.{stem[2]}"
    return name.removeprefix("model.")


def _our_backbone(name: str) -> str:
    """Our name of a tensor of transformers' or timm's ResNet: torchvision's."""
    block = _HF_BLOCK.fullmatch(name)
    if block:
        stage, number, place, short, kind, rest = block.groups()
        where = f"layer{int(stage) + 1}.{number}"
        if short is not None:
            return f"{where}.downsample.{int(kind == 'normalization')}.{rest}"
        return f"{where}.{'conv' if kind == 'convolution' else 'bn'}{int(place) + 1}.{rest}"
    stem = re.fullmatch(r"embedder\.embedder\.(convolution|normalization)\.(.+)", name)
    if stem:
        return f"{'conv' if stem[1] == 'convolution' else 'bn'}1.{stem[2]}"
    return name
