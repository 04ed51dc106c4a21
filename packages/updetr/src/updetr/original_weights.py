"""Checkpoints of the released code of UP-DETR, of DETR and of DETReg's DETR (ours).

Their tensors have the names that ours have, but for the backbone's. In pre-training the released code has two
classes where one is enough: every patch is class 1, and the logit of class 0 is never a target. Its row is
dropped, which leaves the other logits as they are.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nonet.errors import UserError
from nonet.training.hub import load_account
from nonet.training.weight_files import named_tensors, read_pickle, read_safetensors
from updetr.backbones import RESNETS
from updetr.detector import Detector
from updetr.detector_config import DetectorConfig
from updetr.hf_configs import patches_of
from updetr.query_patches import PatchDetector

_HEAD_WIDTH = 32  # numbers of an attention head in every released model
_PRETEXT = ("patch2query.", "feature_align.")
_MASKS = ("mask_head.", "bbox_attention.")
_DETREG = "feature_embed."  # learns what an object looks like; nothing here uses it
_BODY = "backbone.0.body."


class Converted(NamedTuple):
    """A checkpoint as a model.

    Attributes:
        model: in evaluation mode; with patches if the checkpoint is of UP-DETR's pre-training.
        facts: what was found or assumed, for a reader, name -> text.
    """

    model: Detector | PatchDetector
    facts: dict[str, str]


def convert_original(
    path: Path,
    *,
    labels: tuple[str, ...] | None = None,
    heads: int | None = None,
    patches: int | None = None,
    dilation: bool | None = None,
    say: Callable[[str], None] = print,
) -> Converted:
    """Read a checkpoint into a model.

    Args:
        path: a .pth of the released code, of which nothing is run, or its tensors as safetensors.
        labels: names of the classes of a fine-tuned model; numbers by default.
        heads: of attention, which no tensor tells; by default what the checkpoint notes, else 32 wide each.
        patches: of UP-DETR's pre-training, likewise; by default what is noted, else 10.
        dilation: whether the last stage is dilated, likewise; by default what is noted, else no.
        say: takes the account of the weights.

    Raises:
        UserError: the file is damaged, asks to run something, or is of another model.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    found = read_safetensors(path) if path.suffix == ".safetensors" else read_pickle(path)
    noted = found.get("args") if isinstance(found, Mapping) else None
    noted = dict(noted if isinstance(noted, Mapping) else vars(noted) if noted is not None else {})
    state, left = our_names(named_tensors(found, path), path)
    facts = {"tensors": f"{len(state)} read, {len(left)} left out"}
    if left:
        facts["left out"] = ", ".join(sorted({name.split(".")[0] for name in left}))
    pretext = any(name.startswith(_PRETEXT) for name in state)
    labels = _classes(state, pretext or any(name.startswith(_DETREG) for name in left), labels, path, facts)
    config = _config(state, noted, labels, (heads, patches, dilation), path, facts)
    with torch.random.fork_rng(devices=[]):
        detector = Detector(config)
        model = PatchDetector(detector) if pretext else detector
    own = {name: tensor for name, tensor in state.items() if name.startswith(_PRETEXT)}
    inner = {name: tensor for name, tensor in state.items() if name not in own}
    if pretext:
        inner = {f"detector.{name}": tensor for name, tensor in inner.items()} | own
    wanted = model.state_dict()
    other = [name for name in inner if name in wanted and inner[name].shape != wanted[name].shape]
    load_account(
        wanted.keys() - inner.keys(), inner.keys() - wanted.keys(), other, len(wanted), say=say, limit=0
    )
    model.load_state_dict(inner)
    return Converted(model.eval(), facts)


def our_names(state: Mapping[str, Tensor], path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors under our names, and the names of those that no detector of ours has.

    Args:
        state: of the released code.
        path: for errors.

    Raises:
        UserError: a detector of another kind.
    """
    found, left = {}, []
    whole = {
        name.removeprefix("detr."): tensor for name, tensor in state.items()
    }  # `detr.` beside a mask head
    for name, tensor in whole.items():
        if name.endswith("num_batches_tracked"):
            continue
        if name.startswith(("backbone.1.", "transformer.level_embed")) or ".sampling_offsets." in name:
            kind = "learned positions" if name.startswith("backbone.1.") else "deformable attention"
            raise UserError(f"{path}: a detector with {kind} ({name}), which is not read here")
        if name.startswith((*_MASKS, _DETREG)) or name in ("query_mask", "attention_mask"):
            left.append(name)
            continue
        found[f"backbone.{name.removeprefix(_BODY)}" if name.startswith(_BODY) else name] = tensor
    for name in ("query_embed.weight", "class_embed.weight", "input_proj.weight", "backbone.conv1.weight"):
        if name not in found:
            raise UserError(f"{path}: no {name}: not a checkpoint of UP-DETR, DETR or DETReg's DETR")
    return found, left


def _classes(
    state: dict[str, Tensor],
    pretext: bool,
    labels: tuple[str, ...] | None,
    path: Path,
    facts: dict[str, str],
) -> tuple[str, ...]:
    """Names of the classes; the dead row of pre-training is dropped from `state`."""
    rows = len(state["class_embed.weight"])
    if pretext:
        if labels is not None:
            raise UserError(f"{path}: is of pre-training and has one class, patch; leave out --labels")
        if rows > 2:
            for part in ("weight", "bias"):
                state[f"class_embed.{part}"] = state[f"class_embed.{part}"][[1, rows - 1]]
            facts["classes"] = f"patch; {rows - 2} of {rows} logits are never a target and are dropped"
        return ("patch",)
    if labels is None:
        labels = tuple(f"class {number}" for number in range(rows - 1))
        facts["classes"] = f"{rows - 1}, without names; give them with --labels"
    elif len(labels) != rows - 1:
        raise UserError(f"{path}: has {rows - 1} classes, and --labels names {len(labels)}")
    else:
        facts["classes"] = f"{rows - 1}, named by --labels"
    return labels


def _config(
    state: Mapping[str, Tensor],
    noted: Mapping[str, Any],
    labels: tuple[str, ...],
    given: tuple[int | None, int | None, bool | None],
    path: Path,
    facts: dict[str, str],
) -> DetectorConfig:
    """The sizes that shapes tell, and those that they do not."""
    queries, width = state["query_embed.weight"].shape

    def choose(name: str, asked: Any, noted_as: str, otherwise: Any) -> Any:
        value, why = asked, "as asked for"
        if asked is None:
            value, why = (
                (noted[noted_as], "noted in the file") if noted_as in noted else (otherwise, "assumed")
            )
        facts[name] = f"{value}, {why}"
        return value

    heads, patches, dilation = given
    normed = "transformer.encoder.norm.weight" in state
    facts["layers"] = "pre-norm, by the names" if normed else "post-norm, by the names"
    return DetectorConfig(
        arch="detr-prenorm" if normed else "detr",
        backbone=_backbone(state, path),
        dilation=bool(choose("dilation", dilation, "dilation", False)),
        width=width,
        heads=int(choose("heads", heads, "nheads", max(1, width // _HEAD_WIDTH))),
        encoder_layers=_layers(state, "encoder"),
        decoder_layers=_layers(state, "decoder"),
        hidden=len(state["transformer.decoder.layers.0.linear1.weight"]),
        dropout=float(choose("dropout", None, "dropout", 0.1)),
        queries=queries,
        patches=int(choose("patches", patches, "num_patches", patches_of(queries))),
        labels=labels,
        reconstruct="feature_align.layers.0.weight" in state or "patch2query.weight" not in state,
    )


def _layers(state: Mapping[str, Tensor], side: str) -> int:
    start = f"transformer.{side}.layers."
    return len({name.removeprefix(start).split(".")[0] for name in state if name.startswith(start)})


def _backbone(state: Mapping[str, Tensor], path: Path) -> str:
    """The name of the ResNet with these blocks."""
    blocks = {tuple(name.split(".")[1:3]) for name in state if name.startswith("backbone.layer")}
    stages = sorted({stage for stage, _ in blocks})
    depths = tuple(sum(stage == each for stage, _ in blocks) for each in stages)
    bottleneck = "backbone.layer1.0.conv3.weight" in state
    stem = len(state["backbone.conv1.weight"])
    for name, (ours, _, ours_bottleneck, ours_stem) in RESNETS.items():
        if (depths, bottleneck, stem) == (ours, ours_bottleneck, ours_stem):
            return name
    kind = "bottlenecks" if bottleneck else "blocks"
    raise UserError(f"{path}: its backbone is a ResNet of {depths} {kind}, none of {', '.join(RESNETS)}")
