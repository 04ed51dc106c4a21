"""An encoder whose matrices are masked while it is trained, and the same with zeros in their place (ours).

Masked are query, key, value, the attention's output and both feed-forward layers of every encoder layer;
biases, norms, embeddings, pooler and classifier are not (Xu et al. 2022; Sanh et al. 2020).
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cap_prune.architectures import parts_of
from nonet.kernels.masked_linear import Cut, cut_above, cut_largest, kept_by, masked_weight, product_type


class MaskedLinear(nn.Linear):  # type: ignore[misc]
    """A linear layer that multiplies by only those of its weights that are kept; at first by all.

    Args:
        linear: its weight and bias are taken over, not copied.
        learn: give every weight a score, 0 at first, that is learnt (see `nonet.kernels.masked_linear`).
        chosen: the mask is stored, as for patterns, rather than two numbers that say it.

    Attributes:
        scores: (outputs, inputs) parameter, or None.
    """

    def __init__(self, linear: nn.Linear, *, learn: bool, chosen: bool) -> None:
        super().__init__(1, 1, device="meta")  # its weights are replaced at once
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        weight = linear.weight.detach()
        self.scores = nn.Parameter(torch.zeros_like(weight)) if learn else None
        self.chosen = chosen
        if chosen:
            self.register_buffer("choice", torch.ones_like(weight, dtype=torch.uint8))
        else:
            everything = cut_largest(weight, weight.numel())
            self.register_buffer("threshold", everything.threshold)
            self.register_buffer("last", everything.last)
        self.train(linear.training)

    @property
    def values(self) -> Tensor:
        """(outputs, inputs) what the mask is chosen by unless it is stored: scores, or absolute weights."""
        return self.weight.detach().abs() if self.scores is None else self.scores.detach()

    @property
    def mask(self) -> Tensor:
        """(outputs, inputs) bool: which weights are kept."""
        by, cut = self._by()
        return kept_by(self.values if by is None else by, cut)

    @property
    def kept(self) -> int:
        """How many weights are kept."""
        return int(self.mask.sum())

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def keep(self, what: Cut | Tensor) -> None:
        """Set the mask: a cut of `values`, or the bool mask itself where it is stored."""
        if isinstance(what, Tensor):
            self.choice.copy_(what)
        else:
            self.threshold.copy_(what.threshold)
            self.last.copy_(what.last)

    def forward(self, input: Tensor) -> Tensor:
        """(..., inputs) to (..., outputs)."""
        by, cut = self._by()
        weight = masked_weight(self.weight, cut, by=by, scores=self.scores, dtype=product_type(self.weight))
        return F.linear(input, weight, self.bias)

    def _by(self) -> tuple[Tensor | None, Cut]:
        """What is compared (None: absolute weights), and with what."""
        if self.chosen:
            return self.choice, cut_above(self.choice, 0)
        return self.scores, Cut(self.threshold, self.last)


class Masking(Protocol):
    """A way to decide which weights stay."""

    name: str
    learns: bool
    """whether weights have scores that are learnt"""
    chosen: bool
    """whether masks are stored"""
    every: int
    """steps between two decisions"""
    start: float
    """the level at which all weights are kept"""
    final: float
    """the level at the end of a training; a density, unless the method says otherwise"""

    def decide(self, layers: Sequence[MaskedLinear], level: float) -> None:
        """Set the masks of all layers for a level between `start` and `final`."""

    def penalty(self, layers: Sequence[MaskedLinear], level: float) -> Tensor | None:
        """What is added to the loss, if anything."""

    def observe(self, model: nn.Module, batches: Any) -> None:
        """See the model's inputs, where a method needs them: before the training and after every epoch."""


def install(model: nn.Module, *, learn: bool, chosen: bool) -> list[MaskedLinear]:
    """Put masked layers in place of the six matrices of every layer, in place; outputs stay what they are.

    Returns:
        The masked layers in the order of the forward pass.

    Raises:
        UserError: an architecture that is not supported.
        ValueError: there are masks already.
    """
    linears = [linear for parts in parts_of(model) for linear in parts.matrices.values()]
    if any(isinstance(linear, MaskedLinear) for linear in linears):
        raise ValueError("the model has masks already: bake them first")
    masked = {id(linear): MaskedLinear(linear, learn=learn, chosen=chosen) for linear in linears}
    _replace(model, masked)
    return [masked[id(linear)] for linear in linears]


def layers_of(model: nn.Module) -> list[MaskedLinear]:
    """The masked layers of a model, in the order of the forward pass."""
    return [
        linear
        for parts in parts_of(model)
        for linear in parts.matrices.values()
        if isinstance(linear, MaskedLinear)
    ]


@torch.no_grad()  # type: ignore[untyped-decorator]
def bake(model: nn.Module) -> None:
    """Make ordinary linear layers of the masked ones, in place: what was masked is 0, and scores are gone."""
    found = {}
    for masked in layers_of(model):
        linear = nn.Linear(1, 1, device="meta")
        linear.in_features, linear.out_features = masked.in_features, masked.out_features
        linear.weight = nn.Parameter(torch.where(masked.mask, masked.weight, 0), masked.weight.requires_grad)
        linear.bias = masked.bias
        found[id(masked)] = linear.train(masked.training)
    _replace(model, found)


def cut_together(layers: Sequence[MaskedLinear], kept: int) -> list[Cut]:
    """One cut over the values of all layers, which keeps exactly so many of them; ties by layer, then index.

    Args:
        layers: with masks that are not stored.
        kept: over all.
    """
    values = [layer.values.reshape(-1) for layer in layers]
    whole = cut_largest(torch.cat(values), kept)
    found, offset = [], 0
    for each in values:
        found.append(Cut(whole.threshold, (whole.last - offset).clamp(-1, each.numel() - 1)))
        offset += each.numel()
    return found


def _replace(model: nn.Module, others: dict[int, Any]) -> None:
    """Put other modules in place of some, which are named by identity."""
    places = [
        (parent, name) for parent in model.modules() for name, child in parent.named_children()
        if id(child) in others
    ]  # fmt: skip
    for parent, name in places:
        setattr(parent, name, others[id(getattr(parent, name))])
