"""What each weight is called by transformers, in the released TensorFlow checkpoints, and in the Flax ones.

    transformers   model.shared.weight         model.encoder.layers.3.self_attn.q_proj.weight
    TensorFlow     embeddings/weights          encoder/layer_3/self_attention/q_proj/kernel
    Flax           shared_embedding/embedding  encoder/encoderblock_3/SelfAttention_0/query/kernel

Matrices are (in, out) in the latter two and (out, in) in transformers; Flax keeps the heads apart, (in,
heads, width) and (heads, width, out). The attention has no biases there, transformers' PEGASUS has some.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

Kind = Literal["table", "vector", "matrix", "heads-out", "heads-in", "optional"]


class Name(NamedTuple):
    """One weight."""

    hf: str
    tf: str | None
    """none: TensorFlow's models do not have it"""
    flax: str | None
    kind: Kind
    """table: as it is; vector; matrix: transposed; heads-out (query, key, value) and heads-in (output):
    transposed, and split into heads in Flax; optional: a bias that may be missing and is zero then"""


class Sizes(NamedTuple):
    """What the names depend on."""

    encoder_layers: int
    decoder_layers: int
    long: bool
    """PEGASUS-X: global tokens and their own norm in the encoder"""


def layout(sizes: Sizes) -> list[Name]:
    """All weights of a model."""
    names = [Name("model.shared.weight", "embeddings/weights", "shared_embedding/embedding", "table")]
    if sizes.long:
        names.append(Name("model.encoder.embed_global.weight", None, "encoder/Embed_0/embedding", "table"))
    for i in range(sizes.encoder_layers):
        hf, tf, flax = f"model.encoder.layers.{i}.", f"encoder/layer_{i}/", f"encoder/encoderblock_{i}/"
        module = "GlobalLocalSelfAttention_0" if sizes.long else "SelfAttention_0"
        names += _norm(hf + "self_attn_layer_norm", tf + "self_attention/LayerNorm", flax + "LayerNorm_0")
        if sizes.long:
            names += _norm(hf + "global_self_attn_layer_norm", None, flax + "LayerNorm_1")
        names += _attention(hf + "self_attn", tf + "self_attention", flax + module, biases=not sizes.long)
        names += _feed_forward(hf, tf, flax, f"LayerNorm_{2 if sizes.long else 1}")
    for i in range(sizes.decoder_layers):
        hf, tf, flax = (
            f"model.decoder.layers.{i}.",
            f"decoder/layer_{i}/",
            f"decoder/encoderdecoderblock_{i}/",
        )
        names += _norm(hf + "self_attn_layer_norm", tf + "self_attention/LayerNorm", flax + "LayerNorm_0")
        names += _attention(
            hf + "self_attn", tf + "self_attention", flax + "SelfAttention_0", biases=not sizes.long
        )
        names += _norm(
            hf + "encoder_attn_layer_norm", tf + "memory_attention/LayerNorm", flax + "LayerNorm_1"
        )
        cross = flax + "MultiHeadDotProductAttention_0"
        names += _attention(hf + "encoder_attn", tf + "memory_attention", cross, biases=not sizes.long)
        names += _feed_forward(hf, tf, flax, "LayerNorm_2")
    names += _norm("model.encoder.layer_norm", "encoder/LayerNorm", "encoder/encoder_norm")
    names += _norm("model.decoder.layer_norm", "decoder/LayerNorm", "decoder/encoderdecoder_norm")
    return [name._replace(tf=None) for name in names] if sizes.long else names


def _norm(hf: str, tf: str | None, flax: str) -> Iterator[Name]:
    for ours, theirs, others in (("weight", "gamma", "scale"), ("bias", "beta", "bias")):
        yield Name(f"{hf}.{ours}", tf and f"{tf}/{theirs}", f"{flax}/{others}", "vector")


def _attention(hf: str, tf: str, flax: str, *, biases: bool) -> Iterator[Name]:
    for ours, theirs, others in (
        ("q_proj", "q_proj", "query"),
        ("k_proj", "k_proj", "key"),
        ("v_proj", "v_proj", "value"),
        ("out_proj", "output_proj", "out"),
    ):
        kind: Kind = "heads-in" if ours == "out_proj" else "heads-out"
        yield Name(f"{hf}.{ours}.weight", f"{tf}/{theirs}/kernel", f"{flax}/{others}/kernel", kind)
        if biases:
            yield Name(f"{hf}.{ours}.bias", f"{tf}/{theirs}/bias", f"{flax}/{others}/bias", "optional")


def _feed_forward(hf: str, tf: str, flax: str, norm: str) -> Iterator[Name]:
    yield from _norm(hf + "final_layer_norm", tf + "ffn/LayerNorm", flax + norm)
    for ours, theirs, others in (("fc1", "dense", "Dense_0"), ("fc2", "dense_1", "Dense_1")):
        other = f"{flax}MlpBlock_0/{others}"
        yield Name(f"{hf}{ours}.weight", f"{tf}ffn/{theirs}/kernel", f"{other}/kernel", "matrix")
        yield Name(f"{hf}{ours}.bias", f"{tf}ffn/{theirs}/bias", f"{other}/bias", "vector")


_LAYER = {
    "hf": (r"model\.encoder\.layers\.(\d+)\.", r"model\.decoder\.layers\.(\d+)\."),
    "tf": (r"encoder/layer_(\d+)/", r"decoder/layer_(\d+)/"),
    "flax": (r"encoder/encoderblock_(\d+)/", r"decoder/encoderdecoderblock_(\d+)/"),
}
_TABLE = {"hf": "model.shared.weight", "tf": "embeddings/weights", "flax": "shared_embedding/embedding"}
_LONG = {"hf": "model.encoder.embed_global.weight", "tf": "", "flax": "encoder/Embed_0/embedding"}

Style = Literal["hf", "tf", "flax"]


def style_of(names: Iterable[str]) -> Style | None:
    """Whose names these are, by the name of the embedding table; none if they are nobody's."""
    names = set(names)
    styles: tuple[Style, ...] = ("hf", "tf", "flax")
    return next((style for style in styles if _TABLE[style] in names), None)


def sizes_of(names: Iterable[str], style: Style) -> Sizes:
    """Layers of encoder and decoder, and whether it is a PEGASUS-X, by the names."""
    names = set(names)
    counts = [
        1 + max((int(found[1]) for name in names if (found := re.match(pattern, name))), default=-1)
        for pattern in _LAYER[style]
    ]
    return Sizes(counts[0], counts[1], _LONG[style] in names)
