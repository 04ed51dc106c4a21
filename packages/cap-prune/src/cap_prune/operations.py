"""Multiplications of a forward pass, by formula (ours; a multiplication and its addition count as one MAC).

For a layer with h live heads of size s, f live neurons and hidden size d, and a text of n pieces:

    query, key, value, output   4 n d h s
    attention                   2 n^2 h s       scores, and their use on the values
    feed-forward                2 n d f

Softmax, LayerNorm, GELU and the embeddings multiply no matrices and are left out, as torch's counter does.
"""

from typing import Any, NamedTuple

from torch import nn

from cap_prune.architectures import base_of, parts_of


class LayerCost(NamedTuple):
    """MACs of one text in one layer."""

    attention: int
    feed_forward: int

    @property
    def total(self) -> int:
        """Of the layer."""
        return self.attention + self.feed_forward


def layer_costs(model: Any, length: int) -> list[LayerCost]:
    """MACs of every layer for one text.

    Zeros inside the matrices count: dense kernels multiply by them.

    Args:
        model: a supported encoder, dense or slim.
        length: pieces of the text.
    """
    costs = []
    for parts in parts_of(model):
        linear = {name: part.weight.shape.numel() * length for name, part in parts.matrices.items()}
        feed_forward = linear.pop("intermediate") + linear.pop("output")
        costs.append(LayerCost(sum(linear.values()) + 2 * length**2 * parts.query.out_features, feed_forward))
    return costs


def head_cost(model: Any, length: int) -> int:
    """MACs of one text outside the encoder's layers: pooler, classifier, ELECTRA's projection.

    A question-answering head looks at every piece, a projection of the embeddings, too; the others at one.
    """
    inside = {id(part) for parts in parts_of(model) for part in parts.matrices.values()}
    base = base_of(model)
    every = {id(getattr(base, "embeddings_project", None)), id(getattr(model, "qa_outputs", None))}
    return sum(
        part.weight.numel() * (length if id(part) in every else 1)
        for part in model.modules()
        if isinstance(part, nn.Linear) and id(part) not in inside
    )


def macs(model: Any, length: int) -> int:
    """MACs of the whole model for one text of so many pieces."""
    return sum(cost.total for cost in layer_costs(model, length)) + head_cost(model, length)
