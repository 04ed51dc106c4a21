"""What an adversary with the weights can do to a mark without data: round, prune, add noise, average.

Rounding simulates int8 and int4 storage: each output channel of a matrix has one scale, and the model stays
in floating point. All of it is deterministic for a seed. Matrices are those of linear layers; embeddings and
the output layer stay as they are, as in the usual tools. Source: ours; the list of attacks is that of Li et
al. 2024 (second fine-tuning, quantisation, pruning, filtering), with noise and averaging added.
"""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from nonet.errors import UserError

Kind = Literal["int8", "int4", "prune", "noise", "average"]
BITS = {"int8": 8, "int4": 4}


class Attack(NamedTuple):
    """A kind with its strength."""

    kind: str
    strength: float
    """prune: share of each matrix set to zero; noise: deviation in units of the matrix's own; average: weight
    of the other model; finetune, lora-merge: epochs; 0: of no matter"""

    @property
    def name(self) -> str:
        """Of its folder, such as prune-0.3."""
        return self.kind if self.kind in BITS or not self.strength else f"{self.kind}-{self.strength:g}"


class Matrix(NamedTuple):
    """A linear layer's weight."""

    name: str
    weight: nn.Parameter
    channel: int
    """dimension of the output channels: 0 in nn.Linear, 1 in GPT-2's Conv1D"""


def matrices(model: nn.Module) -> Iterator[Matrix]:
    """Weights of the linear layers, without the output layer, each once."""
    head = getattr(model, "get_output_embeddings", lambda: None)()
    seen = set() if head is None else {id(head.weight)}
    for name, part in model.named_modules():
        weight = getattr(part, "weight", None)
        linear = isinstance(part, nn.Linear)
        if not (linear or type(part).__name__ == "Conv1D") or id(weight) in seen:
            continue
        if isinstance(weight, nn.Parameter) and weight.dim() == 2:
            seen.add(id(weight))
            yield Matrix(f"{name}.weight", weight, 0 if linear else 1)


def rounded(weight: Tensor, bits: int, channel: int = 0) -> Tensor:
    """Symmetric rounding with one scale an output channel: w = s q, q an integer of +-(2^(bits-1) - 1).

    Args:
        weight: (out, in), or (in, out) with channel 1.
        bits: at least 2.
        channel: dimension of the output channels.

    Returns:
        The rounded weights; none is off by more than half a step, max|w| of its channel / (2^bits - 2).
    """
    top = 2 ** (bits - 1) - 1
    scale = weight.detach().abs().amax(1 - channel, keepdim=True).double() / top
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    return ((weight.double() / scale).round().clamp(-top, top) * scale).to(weight.dtype)


def pruned(weight: Tensor, share: float) -> Tensor:
    """The weights of least magnitude set to zero: exactly round(share n) of n, of equal ones the first."""
    flat = weight.detach().clone().reshape(-1)
    order = flat.abs().sort(stable=True).indices
    flat[order[: round(share * flat.numel())]] = 0
    return flat.reshape(weight.shape)


def noised(weight: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Gaussian noise of `strength` times the matrix's own standard deviation added."""
    noise = torch.randn(weight.shape, generator=generator, dtype=torch.float32)
    deviation = float(weight.detach().double().std(correction=0))
    return (weight.detach().cpu().float() + strength * deviation * noise).to(weight.device, weight.dtype)


def averaged(weight: Tensor, other: Tensor, share: float) -> Tensor:
    """(1 - share) weight + share other."""
    mixed = (1 - share) * weight.detach().double() + share * other.detach().to(weight.device).double()
    return mixed.to(weight.dtype)


def change(model: Any, attack: Attack, *, other: Any = None, seed: int = 0) -> int:
    """Attack a model's weights in place.

    Args:
        model: of transformers.
        attack: a kind of `Kind` and its strength.
        other: of `average`: a model of the same shapes; all parameters are averaged, embeddings too.
        seed: of the noise.

    Returns:
        How many parameters were open to change.

    Raises:
        UserError: an unknown kind, a strength out of range, or a model of other shapes.
    """
    check(attack)
    changed = 0
    with torch.no_grad():
        if attack.kind == "average":
            return _average(model, other, attack.strength)
        generator = torch.Generator().manual_seed(seed)
        for matrix in matrices(model):
            weight = matrix.weight
            if attack.kind in BITS:
                weight.copy_(rounded(weight, BITS[attack.kind], matrix.channel))
            elif attack.kind == "prune":
                weight.copy_(pruned(weight, attack.strength))
            else:
                weight.copy_(noised(weight, attack.strength, generator))
            changed += weight.numel()
    if not changed:
        raise UserError(f"{attack.kind}: the model has no linear layers that this attack knows")
    return changed


def check(attack: Attack) -> None:
    """Refuse an unknown kind, or a strength that makes no sense for it."""
    if attack.kind not in get_args(Kind):
        raise UserError(f"{attack.kind!r} is no attack on weights; there are {', '.join(get_args(Kind))}")
    if attack.kind in ("prune", "average") and not 0 < attack.strength <= 1:
        raise UserError(f"{attack.kind}: the strength is {attack.strength:g}; it lies in (0, 1]")
    if attack.kind == "noise" and not 0 < attack.strength < float("inf"):
        raise UserError(f"noise: the strength is {attack.strength:g}; it is above 0")


def _average(model: Any, other: Any, share: float) -> int:
    if other is None:
        raise UserError("average: name the other model with --other")
    mine, theirs = dict(model.named_parameters()), dict(other.named_parameters())
    odd = sorted(set(mine) ^ set(theirs)) or sorted(n for n in mine if mine[n].shape != theirs[n].shape)
    if odd:
        raise UserError(f"average: the models differ in {odd[0]}; they have to be of one architecture")
    for name, weight in mine.items():
        weight.copy_(averaged(weight, theirs[name], share))
    return sum(weight.numel() for weight in mine.values())
