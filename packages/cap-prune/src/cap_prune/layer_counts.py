"""What is left in each layer of an encoder: units, weights, zeros, multiplications, bytes (ours)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from cap_prune.architectures import base_of, parts_of, units_of
from cap_prune.operations import layer_costs
from cap_prune.packing import csr_bytes

WEIGHT_SUFFIXES = (".safetensors", ".bin", ".onnx", ".onnx_data", ".data")
"""files that hold weights"""


@dataclass(frozen=True)
class LayerCounts:
    """One layer, beside what it was in the dense model."""

    layer: int
    heads: int
    """live ones"""
    all_heads: int
    neurons: int
    """live ones of the feed-forward part"""
    all_neurons: int
    weights: int
    """entries of the six matrices that pruning may touch, biases apart"""
    dense_weights: int
    """the same of the dense model"""
    nonzero: int
    """of `weights`, those that are not 0"""
    bytes: int
    """of `weights`, as they are in memory"""
    csr_bytes: int
    """of the same matrices as compressed rows"""
    macs: int
    """for one text of the length asked for"""
    dense_macs: int

    @property
    def sparsity(self) -> float:
        """Share of the dense model's weights that is gone or 0, in 0..1."""
        return 1 - self.nonzero / self.dense_weights


@dataclass(frozen=True)
class Parameters:
    """Numbers of parameters, embeddings and biases among them."""

    whole: int
    embeddings: int
    encoder: int
    """the layers, with their biases and LayerNorms"""
    rest: int
    """pooler, classifier"""
    dense: int
    """of the whole model before anything was taken out"""
    dense_encoder: int
    nonzero: int
    """of the whole"""
    nonzero_encoder: int
    """of the encoder, where every bias and LayerNorm counts as kept"""

    @property
    def remaining(self) -> float:
        """Share of the dense encoder that is kept, in 0..1, as the original counts remaining weights."""
        return self.nonzero_encoder / self.dense_encoder


def layer_counts(model: Any, length: int) -> list[LayerCounts]:
    """Count every layer.

    Args:
        model: a supported encoder, dense or slim.
        length: pieces of the text for the multiplications.
    """
    units, found = units_of(model), []
    for number, (parts, cost) in enumerate(zip(parts_of(model), layer_costs(model, length), strict=True)):
        hidden, size = parts.query.in_features, parts.head_size
        matrices = [part.weight for part in parts.matrices.values()]
        dense = hidden * (4 * size * units.all_heads + 2 * units.all_neurons)
        found.append(
            LayerCounts(
                layer=number,
                heads=len(units.heads[number]),
                all_heads=units.all_heads,
                neurons=len(units.neurons[number]),
                all_neurons=units.all_neurons,
                weights=sum(each.numel() for each in matrices),
                dense_weights=dense,
                nonzero=sum(_nonzero(each) for each in matrices),
                bytes=sum(each.numel() * each.element_size() for each in matrices),
                csr_bytes=sum(csr_bytes(each) for each in matrices),
                macs=cost.total,
                dense_macs=dense * length + 2 * length**2 * size * units.all_heads,
            )
        )
    return found


def parameters(model: Any) -> Parameters:
    """Count the model's parameters; tied ones count once."""
    units, parts = units_of(model), parts_of(model)
    whole = {id(each): each for each in model.parameters()}
    embeddings = {id(each): each for each in base_of(model).embeddings.parameters()}
    names = [name for name in ("encoder", "transformer") if hasattr(base_of(model), name)]
    encoder = {id(each): each for each in getattr(base_of(model), names[0]).parameters()}
    matrices = {id(part.weight) for layer in parts for part in layer.matrices.values()}
    gone = 0
    for number, layer in enumerate(parts):
        hidden, size = layer.query.in_features, layer.head_size
        gone += (units.all_heads - len(units.heads[number])) * size * (4 * hidden + 3)
        gone += (units.all_neurons - len(units.neurons[number])) * (2 * hidden + 1)
    zeros = sum(
        each.numel() - _nonzero(each) for key, each in whole.items() if key in matrices
    )  # a bias that happens to be 0 is not pruned
    total, inside = (sum(each.numel() for each in group.values()) for group in (whole, encoder))
    outside = sum(each.numel() for key, each in embeddings.items() if key in whole)
    return Parameters(
        whole=total, embeddings=outside, encoder=inside, rest=total - outside - inside,
        dense=total + gone, dense_encoder=inside + gone, nonzero=total - zeros,
        nonzero_encoder=inside - zeros,
    )  # fmt: skip


def memory_bytes(model: Any) -> int:
    """Bytes of parameters and buffers, each counted once."""
    held = {id(each): each for each in (*model.parameters(), *model.buffers())}
    return sum(each.numel() * each.element_size() for each in held.values())


def disk_bytes(folder: Path) -> tuple[int, int]:
    """Bytes of the files with weights, and of all files of a folder."""
    sizes = {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    return sum(size for path, size in sizes.items() if path.suffix in WEIGHT_SUFFIXES), sum(sizes.values())


def two_of_four(model: Any) -> bool:
    """Whether all matrices have at least two zeros in every four neighbours along the inputs."""
    return all(
        part.in_features % 4 == 0
        and bool(((part.weight.detach().unflatten(1, (-1, 4)) != 0).sum(-1) <= 2).all())
        for parts in parts_of(model)
        for part in parts.matrices.values()
    )


def _nonzero(weight: Tensor) -> int:
    return int(weight.detach().count_nonzero())
