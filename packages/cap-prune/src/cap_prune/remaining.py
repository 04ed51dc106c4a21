"""How many weights are left, counted exactly, as the field counts them and over the whole model.

"Remaining weights" of Sanh et al. 2020 and Xu et al. 2022 are those of the encoder's layers: masked matrices
count what is kept of them, biases and norms count whole; embeddings, pooler and classifier do not count.
"""

from dataclasses import asdict, dataclass
from typing import Any

from cap_prune.architectures import base_of, parts_of
from cap_prune.layer_names import NAMES
from cap_prune.masked_layers import MaskedLinear


@dataclass(frozen=True)
class Remaining:
    """Numbers of weights, of the model as it stands: what slimming took out is in none of them."""

    matrices_kept: int
    """of the matrices that pruning may touch"""
    matrices: int
    encoder_kept: int
    """of the encoder's layers, with all their biases and norms"""
    encoder: int
    model_kept: int
    """of the whole model, with embeddings and head"""
    model: int

    @property
    def density(self) -> float:
        """Share of the matrices' weights that is kept, 0..1; 1 where there are none."""
        return self.matrices_kept / self.matrices if self.matrices else 1.0

    @property
    def encoder_share(self) -> float:
        """The field's share of remaining weights, 0..1."""
        return self.encoder_kept / self.encoder

    @property
    def model_share(self) -> float:
        """Share of the whole model, 0..1."""
        return self.model_kept / self.model

    def to_dict(self) -> dict[str, float]:
        """Numbers and shares by name, for JSON."""
        shares = {name: getattr(self, name) for name in ("density", "encoder_share", "model_share")}
        return asdict(self) | shares


def remaining(model: Any) -> Remaining:
    """Count a model with masks, or one with zeros in their place.

    Args:
        model: a supported encoder, with or without a head. A layer with a mask counts what it keeps, any
            other the entries that are not 0. Shared weights count once; scores do not count.
    """
    linears = [linear for parts in parts_of(model) for linear in parts.matrices.values()]
    scores = {id(linear.scores) for linear in linears if isinstance(linear, MaskedLinear)}
    kind = str(model.config.model_type).removeprefix("cap_")
    layers = base_of(model).get_submodule(NAMES[kind].layers)
    whole, encoder = (
        sum(each.numel() for each in part.parameters() if id(each) not in scores) for part in (model, layers)
    )
    matrices = sum(linear.weight.numel() for linear in linears)
    kept = sum(
        linear.kept if isinstance(linear, MaskedLinear) else int(linear.weight.detach().count_nonzero())
        for linear in linears
    )
    gone = matrices - kept
    return Remaining(kept, matrices, encoder - gone, encoder, whole - gone, whole)
