"""A backbone for other programs: our layout alone, or the state dict that Pointcept and the released code
load.

Source: ours; names and layouts are those of `pointcept_names`. What was written is read back and compared
with what was to be written, tensor by tensor, before it takes its place.
"""

import dataclasses
import secrets
import shutil
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from nonet.errors import RunFailed, UserError
from nonet.files import replacing
from nonet.training.model_card import ModelCard
from ponderv2.converting import read_checkpoint
from ponderv2.model_config import SpUNetConfig, to_dict
from ponderv2.model_folders import BACKBONE, PREFIX, ModelFolder, put, read_model, write_folder
from ponderv2.pointcept_names import backbone_names, pointcept_state
from ponderv2.pointcept_sizes import context_order
from ponderv2.spunet import build_spunet

Format = Literal["safetensors", "pointcept"]
MODULE = "module."
"""what Pointcept's checkpoints begin each name with; its loader on one GPU cuts these characters off
unseen"""
COUNTER = "num_batches_tracked"


def export(model: str, out: Path, form: Format) -> str:
    """Write the sparse U-Net of a model.

    Args:
        model: folder of a model or run that has one.
        out: a new folder for `safetensors`, a new .pth file for `pointcept`.
        form: safetensors: a model folder of kind `backbone`; pointcept: a checkpoint of Pointcept's SpUNet.

    Returns:
        A line that says what was written and compared.

    Raises:
        UserError: no such model, one without a sparse U-Net, or `out` exists.
        RunFailed: what was written reads otherwise.
    """
    if out.exists():
        raise UserError(f"{out}: exists already; name another")
    found = read_model(model)
    config, state = backbone_of(found)
    if form == "safetensors":
        _write_ours(out, found, config, state)
    else:
        if out.suffix not in (".pth", ".pt"):
            raise UserError(f"{out}: a checkpoint of Pointcept is a file: end its name in .pth")
        _write_theirs(out, config, state)
    numbers = sum(tensor.numel() for tensor in state.values())
    return f"{out}: {len(state)} tensors, {numbers:,} numbers, read back and equal"


def backbone_of(found: ModelFolder) -> tuple[SpUNetConfig, dict[str, Tensor]]:
    """Sizes and tensors of a model's sparse U-Net, named as the U-Net names them.

    Raises:
        UserError: it has none, or other tensors.
    """
    config = found.backbone()
    state = {n.removeprefix(PREFIX): value for n, value in found.state.items() if n.startswith(PREFIX)}
    with torch.random.fork_rng(devices=[]):
        backbone = build_spunet(config)
    put(backbone, state, say=lambda text: None)
    return config, backbone.state_dict()


def pointcept_checkpoint(config: SpUNetConfig, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under Pointcept's names, as its trainers save them."""
    pairs = backbone_names(config, contexts=context_order(config, None, Path("model")))
    return {MODULE + name: tensor for name, tensor in pointcept_state(pairs, state).items()}


def _write_ours(out: Path, found: ModelFolder, config: SpUNetConfig, state: dict[str, Tensor]) -> None:
    name = out.name
    card = ModelCard(
        title=name,
        what="The sparse U-Net of a model that was pre-trained by rendering (PonderV2, Zhu et al. 2023). It "
        "needs torch alone: no compiled library of sparse convolutions.",
        tags=("point-cloud", "3d"),
        library="ponderv2",
        options={"exported from": found.kind, **found.facts},
        load="from ponderv2.model_folders import load_backbone, read_model\n"
        "from ponderv2.spunet import build_spunet\n\n"
        f'backbone = build_spunet(read_model("{name}").backbone())\nload_backbone(backbone, "{name}")',
    ).text()
    part = out.with_name(f".{name}.{secrets.token_hex(4)}.check")
    try:
        write_folder(
            part, kind=BACKBONE, config={"backbone": to_dict(config)}, card=card, facts=found.facts,
            state={PREFIX + key: value for key, value in state.items()},
        )  # fmt: skip
        again, read = backbone_of(read_model(part))
        _compare(out, state, read, same=again == config)
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write_theirs(out: Path, config: SpUNetConfig, state: dict[str, Tensor]) -> None:
    with replacing(out) as part:
        checkpoint = part.with_suffix(".pth")  # readers go by the ending
        try:
            torch.save({"state_dict": pointcept_checkpoint(config, state)}, checkpoint)
            names = config.datasets or None
            back = read_checkpoint(
                checkpoint, datasets=names, contexts=context_order(config, None, checkpoint) or None
            )
            read = {key.removeprefix(PREFIX): value for key, value in back.state.items()}
            again = back.config if isinstance(back.config, SpUNetConfig) else back.config.backbone
            again = dataclasses.replace(again, momentum=config.momentum)  # which no tensor tells
            if not config.datasets:  # without data sets there is no context, whose length nothing tells
                again = dataclasses.replace(again, context=config.context)
            _compare(out, state, read, same=again == config)
            checkpoint.rename(part)
        finally:
            checkpoint.unlink(missing_ok=True)


def _compare(out: Path, wrote: dict[str, Tensor], read: dict[str, Tensor], *, same: bool) -> None:
    """Raise a RunFailed that names what reads otherwise than it was written."""
    other = [
        name
        for name, tensor in wrote.items()
        if not (name.endswith(COUNTER) and name not in read)
        and (name not in read or not torch.equal(read[name], tensor))
    ]
    if other or not same:
        what = ", ".join(other[:5]) or "the sizes"
        raise RunFailed(f"{out}: {what} read otherwise than written; nothing is left there")
