"""Weights of a backbone from what others saved: SwAV, MoCo, torchvision, timm, UP-DETR and ourselves (ours).

They name a ResNet's weights alike, behind various prefixes and beside various heads.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from nonet.errors import UserError
from nonet.training.hub import Account, load_account
from nonet.training.weight_files import named_tensors, read_pickle, read_safetensors
from updetr.backbone_base import Backbone

WRAPPERS = ("state_dict", "model", "teacher", "student")  # keys under which weights are saved
TEACHERS = ("encoder_k.", "momentum_encoder.", "teacher.")  # moving averages beside the weights themselves
HEADS = ("fc.", "head.", "projection_head", "prototypes", "predictor.", "projector")  # not of the backbone
STEM = "conv1.weight"


def load_backbone_weights(
    backbone: Backbone, file: str | Path, say: Callable[[str], None] = print
) -> Account:
    """Fill a ResNet with the weights of a file and say what was found.

    Args:
        backbone: one of our ResNets.
        file: safetensors, or a pickle of tensors and plain values.
        say: takes the account.

    Returns:
        How weights and file fit. Heads beside the backbone are not counted.

    Raises:
        UserError: no such file, one that holds code or no ResNet, or over a tenth does not match.
    """
    file = Path(file)
    weights, prefix = _of_backbone(_read(file), file)
    own = backbone.state_dict()
    heads = [name for name in weights if name not in own and name.startswith(HEADS)]
    ignored = {*heads, *(name for name in weights if name.endswith("num_batches_tracked"))} - set(own)
    weights = {name: tensor for name, tensor in weights.items() if name not in ignored}
    fits = {
        name: tensor for name, tensor in weights.items() if name in own and tensor.shape == own[name].shape
    }
    say(f"backbone from {file.name}" + (f", behind {prefix}" if prefix else ""))
    try:
        account = load_account(
            [name for name in own if name not in weights and not name.endswith("num_batches_tracked")],
            [name for name in weights if name not in own],
            [name for name in weights if name in own and name not in fits],
            sum(not name.endswith("num_batches_tracked") for name in own),
            say=say,
        )
    except UserError as error:
        other = _resnet_of(weights)
        raise UserError(f"{file}: {error}" + (f" It fits --backbone {other}" if other else "")) from None
    backbone.load_state_dict(fits, strict=False)
    return account


def _resnet_of(weights: Mapping[str, Tensor]) -> str | None:
    """The name of the largest ResNet all of whose weights are there, in its shapes; None where none is."""
    from updetr.backbones import RESNETS, build_backbone  # which imports this module

    shapes = {name: tensor.shape for name, tensor in weights.items()}
    found: dict[str, int] = {}  # the blocks of a ResNet are those of a deeper one, too
    for name in RESNETS:
        with torch.device("meta"):  # shapes alone
            own = build_backbone(name).state_dict()
        if all(
            shapes.get(key) == tensor.shape
            for key, tensor in own.items()
            if not key.endswith("num_batches_tracked")
        ):
            found[name] = len(own)
    return max(found, key=found.__getitem__) if found else None


def _read(file: Path) -> dict[str, Tensor]:
    """The tensors of a file, out of what training code puts around them; runs no code from it."""
    if file.suffix == ".safetensors":
        return read_safetensors(file)
    found = read_pickle(file)
    for wrapper in WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(wrapper), Mapping):
            found = found[wrapper]
    return named_tensors(found, file)


def _of_backbone(weights: dict[str, Tensor], file: Path) -> tuple[dict[str, Tensor], str]:
    """The weights behind the one prefix behind which there is a ResNet, without it; and the prefix."""
    prefixes = [
        name.removesuffix(STEM)
        for name in weights
        if name.endswith(STEM) and name.removesuffix(STEM) + "layer1.0.conv1.weight" in weights
    ]
    own = [prefix for prefix in prefixes if not prefix.endswith(TEACHERS)] or prefixes
    if not own:
        first = ", ".join(list(weights)[:3])
        raise UserError(f"{file}: holds no ResNet: nothing is called {STEM} beside a layer1; it has {first}")
    prefix = min(own, key=len)
    behind = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    return behind, prefix
