"""Encoder-only models layer by layer, with the keys and values of a source kept (ours).

transformers' `forward` lets every piece compare with every other. In a prefix language model the source sees
nothing but the source, so that its keys and values are computed once, without the pieces behind it, and serve
all of them: training's targets, the steps of decoding, the beams of a document, the phrases to be scored. The
weights and the sums are transformers' own; a test compares the two on the same weights.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from nonet.errors import UserError

# Shapes: B documents, S source pieces, M rows of a document (beams, samples, phrases), R = B M rows in the
# order of the documents, Q pieces of a row that are new, K pieces of a row that may be looked at, H heads,
# d width of a head, D width of the model, V vocabulary.


class Prefix(NamedTuple):
    """What the pieces behind a source need of it.

    Attributes:
        keys: for each layer (B, H, S, d).
        values: likewise.
        lengths: (B,) int64, pieces of each source.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    lengths: Tensor

    @property
    def real(self) -> Tensor:
        """(B, S) bool: True at pieces, False at padding."""
        return torch.arange(self.keys[0].shape[2], device=self.lengths.device) < self.lengths[:, None]

    def take(self, documents: Tensor) -> "Prefix":
        """The prefixes of some documents, cut to the longest of them."""
        lengths = self.lengths[documents]
        longest = int(lengths.max()) if len(lengths) else 0
        keys, values = (
            tuple(layer[documents, :, :longest] for layer in kept) for kept in (self.keys, self.values)
        )
        return Prefix(keys, values, lengths)


class Walk:
    """The parts of a masked language model, in the order in which they are run.

    Args:
        model: `BertForMaskedLM`, `RobertaForMaskedLM`, `ElectraForMaskedLM` of transformers, or a model of
            the same build, such as XLM-R or CamemBERT.
        target_type: token type of target pieces; those of the source have 0. Without it 1, or 0 for a model
            with one type, such as RoBERTa.

    Raises:
        UserError: the model is built in another way, or has no such token type.
    """

    def __init__(self, model: Any, *, target_type: int | None = None) -> None:
        base = model.base_model
        layers = getattr(getattr(base, "encoder", None), "layer", None)
        head = _head(model)
        if not layers or head is None or not hasattr(getattr(layers[0], "attention", None), "self"):
            raise UserError(
                f"a model of type {model.config.model_type!r} is not built like BERT, RoBERTa or ELECTRA, "
                "which prefix-lm needs"
            )
        self.model, self.layers, self.head = model, layers, head
        self.embeddings, self.project = base.embeddings, getattr(base, "embeddings_project", None)
        types = self.embeddings.token_type_embeddings.num_embeddings
        self.target_type = min(1, types - 1) if target_type is None else target_type
        if not 0 <= self.target_type < types:
            raise UserError(f"target_type {self.target_type}, but the model has {types} token types")
        first = self.embeddings.position_embeddings.padding_idx
        self.first_position = 0 if first is None else first + 1  # 2 in RoBERTa, which numbers from the pad id

    @property
    def longest(self) -> int:
        """Pieces of source and target together for which the model has positions."""
        return int(self.embeddings.position_embeddings.num_embeddings) - self.first_position

    def embed(self, ids: Tensor, positions: Tensor, token_type: int) -> Tensor:
        """Pieces as the first layer takes them: (..., D).

        Args:
            ids: (B, Q) int64.
            positions: (B, Q) int64, from 0.
            token_type: of all of them.
        """
        hidden = self.embeddings(
            input_ids=ids,
            position_ids=positions + self.first_position,
            token_type_ids=torch.full_like(ids, token_type),
        )
        return hidden if self.project is None else self.project(hidden)  # type: ignore[no-any-return]

    def prefix(self, source: Tensor, lengths: Tensor) -> Prefix:
        """Keys and values of each source; the last layer's output, which nobody needs, is not computed.

        Args:
            source: (B, S) int64, padded with any ids.
            lengths: (B,) int64, at least 1.
        """
        places = torch.arange(source.shape[1], device=source.device)
        real = places < lengths[:, None]
        hidden = self.embed(source, torch.where(real, places, 0), 0)
        keys, values = [], []
        for layer in self.layers:
            attention = layer.attention.self
            key, value = heads(attention.key(hidden), attention), heads(attention.value(hidden), attention)
            keys.append(key)
            values.append(value)
            if len(keys) < len(self.layers):
                query = heads(attention.query(hidden), attention)
                hidden = finish(layer, _attend(attention, query, key, value, real[:, None, None]), hidden)
        return Prefix(tuple(keys), tuple(values), lengths)

    def behind(self, prefix: Prefix, hidden: Tensor, allowed: Tensor) -> Tensor:
        """Rows behind the sources, one a document, for training.

        Args:
            prefix: of B documents.
            hidden: (B, Q, D) of `embed`.
            allowed: (B, Q, S + Q) bool: which keys each piece sees; those of the source come first.

        Returns:
            (B, Q, D), the last layer's output.
        """
        for layer, keys, values in zip(self.layers, prefix.keys, prefix.values, strict=True):
            attention = layer.attention.self
            query, key, value = project(attention, hidden)
            key, value = torch.cat([keys, key], 2), torch.cat([values, value], 2)
            hidden = finish(layer, _attend(attention, query, key, value, allowed[:, None]), hidden)
        return hidden

    def rows_behind(self, prefix: Prefix, hidden: Tensor, allowed: Tensor) -> Tensor:
        """Several rows behind each source, which is not copied for them; for scoring, without dropout.

        Args:
            prefix: of B documents.
            hidden: (R, Q, D) of `embed`.
            allowed: (Q, Q) bool: which pieces of a row see which; all see the whole source.

        Returns:
            (R, Q, D), the last layer's output.
        """
        for layer, keys, values in zip(self.layers, prefix.keys, prefix.values, strict=True):
            attention = layer.attention.self
            query, key, value = project(attention, hidden)
            context = joint_attention(
                query * attention.scaling, keys, values, prefix.real, key, value, allowed
            )
            hidden = finish(layer, context, hidden)
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits (..., V) of the last layer's output (..., D)."""
        return self.model.get_output_embeddings()(self.head(hidden))  # type: ignore[no-any-return]


def _head(model: Any) -> Callable[[Tensor], Tensor] | None:
    """What lies between the last layer and the output matrix, or None in an unknown model."""
    if hasattr(model, "cls") and hasattr(model.cls, "predictions"):
        return model.cls.predictions.transform  # type: ignore[no-any-return]
    if hasattr(model, "generator_predictions"):
        return model.generator_predictions  # type: ignore[no-any-return]
    head: Any = getattr(model, "lm_head", None)
    if all(hasattr(head, part) for part in ("dense", "layer_norm", "decoder")):
        return lambda hidden: head.layer_norm(F.gelu(head.dense(hidden)))
    return None


def heads(projected: Tensor, attention: Any) -> Tensor:
    """(B, Q, H d) as (B, H, Q, d)."""
    return projected.unflatten(-1, (-1, attention.attention_head_size)).transpose(1, 2)


def project(attention: Any, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values (B, H, Q, d) of hidden states (B, Q, D)."""
    query, key, value = (
        heads(part(hidden), attention) for part in (attention.query, attention.key, attention.value)
    )
    return query, key, value


def finish(layer: Any, context: Tensor, hidden: Tensor) -> Tensor:
    """What a layer does after its attention: (B, H, Q, d) and its input (B, Q, D) to its output."""
    attended = layer.attention.output(context.transpose(1, 2).flatten(2), hidden)
    return layer.feed_forward_chunk(attended)  # type: ignore[no-any-return]


def _attend(attention: Any, query: Tensor, key: Tensor, value: Tensor, allowed: Tensor) -> Tensor:
    # a bool mask is safe here and nowhere else: transformers' eager attention would add it as 0 and 1
    dropout = attention.dropout.p if attention.training else 0.0
    return F.scaled_dot_product_attention(
        query, key, value, attn_mask=allowed, dropout_p=dropout, scale=attention.scaling
    )


def joint_attention(
    query: Tensor, keys: Tensor, values: Tensor, real: Tensor, own_keys: Tensor, own_values: Tensor,
    allowed: Tensor,
) -> Tensor:  # fmt: skip
    """Attention of rows to their document's source and to themselves, under one softmax.

    Args:
        query: (R, H, Q, d), scaled.
        keys: (B, H, S, d) of the sources; M = R / B rows share one.
        values: likewise.
        real: (B, S) bool, False at padding.
        own_keys: (R, H, K, d) of the rows.
        own_values: likewise.
        allowed: (Q, K) bool: which of its own row's pieces a piece sees.

    Returns:
        (R, H, Q, d).
    """
    (R, H, Q, d), (B, _, S, _) = query.shape, keys.shape
    M = R // B
    least = torch.finfo(query.dtype).min
    grouped = query.view(B, M, H, Q, d).transpose(1, 2).reshape(B, H, M * Q, d)
    before = (grouped @ keys.transpose(2, 3)).masked_fill(~real[:, None, None], least)
    before = before.view(B, H, M, Q, S).transpose(1, 2).reshape(R, H, Q, S)
    own = (query @ own_keys.transpose(2, 3)).masked_fill(~allowed, least)
    weights = torch.cat([before, own], -1).softmax(-1)
    from_source = weights[..., :S].reshape(B, M, H, Q, S).transpose(1, 2).reshape(B, H, M * Q, S) @ values
    from_source = from_source.view(B, H, M, Q, d).transpose(1, 2).reshape(R, H, Q, d)
    return from_source + weights[..., S:] @ own_values
