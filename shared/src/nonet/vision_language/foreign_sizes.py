"""The architecture of a checkpoint of ALBEF, mPLUG or CLIP, read off the shapes of its weights (ours).

What shapes do not tell is said by the user, or is what the released configurations have, which is then told.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from nonet.errors import UserError
from nonet.vision_language.pair_config import PairConfig

Kind = Literal["albef", "mplug", "clip"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Said:
    """What the user says about a checkpoint, None where the usual holds.

    Attributes:
        heads: attention heads of the vision transformer; usually one for 64 of the width.
        text_heads: likewise of the text.
        fusion_layers: of mPLUG, the last so many are run; usually 6, with 12 text layers 3.
        stride: of mPLUG, every how many fusion layers one is connected; usually 3, with 12 text layers never.
        quick_gelu: of CLIP; usually yes.
        base: what a CLIP alone does not settle: sizes of text, fusion and decoder.
    """

    heads: int | None = None
    text_heads: int | None = None
    fusion_layers: int | None = None
    stride: int | None = None
    quick_gelu: bool | None = None
    base: PairConfig = dataclasses.field(default_factory=PairConfig)


def vision_config(vision: Mapping[str, Tensor], kind: Kind, said: Said, assumed: list[str]) -> PairConfig:
    """The configuration with the sizes of a vision transformer.

    Args:
        vision: its weights under timm's names.
        kind: whose checkpoint it is.
        said: what the user says.
        assumed: takes what neither shapes nor the user tell.

    Raises:
        UserError: a part is absent, or the positions are no square.
    """
    try:
        width, _, patch, _ = vision["patch_embed.proj.weight"].shape
        rows = vision["pos_embed"].shape[1] - 1
        depth = len({name.split(".")[1] for name in vision if name.startswith("blocks.")})
    except KeyError as error:
        raise UserError(f"the vision transformer has no {error.args[0]}") from error
    side = round(rows**0.5)
    if side * side != rows:
        raise UserError(f"the table of positions has {rows} rows, which is no square of patches")
    heads = said.heads
    if heads is None:
        heads = max(width // 64, 1)
        assumed.append(f"{heads} heads in the vision transformer, one for 64 of its width")
    clip = kind != "albef"
    if said.quick_gelu is None and kind == "clip":
        assumed.append("quick GELU, as in OpenAI's CLIP")
    return dataclasses.replace(
        said.base, vit="", vit_width=width, vit_depth=depth, vit_heads=heads, patch=patch, image=side * patch,
        image_width=0, pre_norm=clip, quick_gelu=clip if said.quick_gelu is None else said.quick_gelu,
        vit_attention_dropout=said.base.vit_attention_dropout if clip else 0.0,
    )  # fmt: skip


def bert_in(weights: Mapping[str, Tensor], part: str) -> str | None:
    """The prefix of a part's BERT: in a model for pre-training there is a `bert.` between."""
    for prefix in (f"{part}.bert.", f"{part}."):
        if any(name.startswith(f"{prefix}encoder.layer.") for name in weights):
            return prefix
    return None


def layers_in(
    weights: Mapping[str, Tensor], prefix: str, inner: str = "intermediate.dense.weight"
) -> list[int]:
    """Numbers of the layers that have a weight."""
    pattern = re.compile(re.escape(f"{prefix}encoder.layer.") + r"(\d+)\." + re.escape(inner))
    return sorted(int(match[1]) for name in weights if (match := pattern.fullmatch(name)))


def text_config(
    weights: Mapping[str, Tensor], config: PairConfig, kind: Kind, said: Said, assumed: list[str]
) -> PairConfig:
    """The configuration with the sizes of text, fusion and decoder; arguments as those of `vision_config`."""
    text, decoder = bert_in(weights, "text_encoder"), bert_in(weights, "text_decoder")
    if text is None or f"{text}embeddings.word_embeddings.weight" not in weights:
        raise UserError("the checkpoint has a vision transformer, but no text_encoder of BERT's kind")
    vocabulary, width = weights[f"{text}embeddings.word_embeddings.weight"].shape
    heads = said.text_heads
    if heads is None:
        heads = max(width // 64, 1)
        assumed.append(f"{heads} heads in the text layers, one for 64 of their width")
    layers = layers_in(weights, text)
    stride = 0
    if kind == "albef":
        crossing = layers_in(weights, text, "crossattention.self.query.weight")
        if not crossing:
            raise UserError("the text encoder has no layer that attends to images")
        text_layers, fusion_layers = min(crossing), len(layers) - min(crossing)
    else:
        text_layers = len(layers)
        fusion_layers, stride = _mplug_fusion(weights, text_layers, said, assumed)
    first = layers[0]
    embed = weights.get("vision_proj.weight")
    tied = output_words(weights, kind)
    own = weights[f"{text}embeddings.word_embeddings.weight"]
    return dataclasses.replace(
        config, text="", vocabulary=vocabulary, text_width=width, text_heads=heads, text_layers=text_layers,
        text_hidden=weights[f"{text}encoder.layer.{first}.intermediate.dense.weight"].shape[0],
        positions=weights[f"{text}embeddings.position_embeddings.weight"].shape[0],
        fusion_layers=fusion_layers, stride=stride, embed=config.embed if embed is None else embed.shape[0],
        decoder_layers=0 if decoder is None else len(layers_in(weights, decoder)),
        tied_words=tied is None or torch.equal(tied, own),
    )  # fmt: skip


def _mplug_fusion(
    weights: Mapping[str, Tensor], text_layers: int, said: Said, assumed: list[str]
) -> tuple[int, int]:
    prefix = bert_in(weights, "fusion_encoder")
    if prefix is None:
        raise UserError("the checkpoint has no fusion_encoder")
    made = len(layers_in(weights, prefix))
    usual = (3, 0) if text_layers >= 12 else (6, 3)
    layers = min(usual[0], made) if said.fusion_layers is None else said.fusion_layers
    stride = usual[1] if said.stride is None else said.stride
    if said.fusion_layers is None:
        assumed.append(f"the last {layers} of {made} fusion layers are run")
    if said.stride is None:
        assumed.append(
            f"every {stride}rd fusion layer is connected" if stride else "no fusion layer is connected"
        )
    if layers > made:
        raise UserError(f"{layers} fusion layers are asked for; the checkpoint has {made}")
    return layers, stride


def output_words(weights: Mapping[str, Tensor], kind: Kind) -> Tensor | None:
    """The table that guesses masked words, if the checkpoint has it."""
    part = "text_encoder" if kind == "albef" else "fusion_encoder"
    return weights.get(f"{part}.cls.predictions.decoder.weight")
