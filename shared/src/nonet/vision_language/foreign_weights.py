"""Weights of ALBEF, mPLUG (TiMix too) and CLIP under our names, with the architecture read off their shapes.

Ours, after the code released with ALBEF (Li et al. 2021), mPLUG (Li et al. 2022), TiMix (Jiang et al. 2024).
What a file has and our models do not is left out by reason: the momentum twin, the queue, fusion layers that
are made and never run, CLIP's own text encoder.
"""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nonet.errors import UserError
from nonet.vision_language.bert_weights import bert_name, named_as_bert
from nonet.vision_language.clip_names import timm_names
from nonet.vision_language.foreign_sizes import (
    Kind,
    Said,
    bert_in,
    layers_in,
    text_config,
    vision_config,
)
from nonet.vision_language.pair_config import PairConfig
from nonet.vision_language.pair_model import PairModel

_LEFT = {
    r"(visual_encoder|text_encoder|fusion_encoder|text_decoder|vision_proj|text_proj|visn_fc|visn_layer_norm)_m\..*":
        "the momentum twin",
    r"(image_queue|text_queue|queue_ptr|ptr_queue|idx_queue)": "the queue",
    r".*position_ids": "numbers of positions",
    r".*\.pooler\..*": "BERT's pooler",
    r".*\.predictions\.decoder\.bias": "a second name of a bias",
    r"fusion_encoder\.(bert\.)?embeddings\..*": "the fusion's embeddings, never used",
    r"(visual_encoder\.)?(transformer\.|token_embedding\.|ln_final\.|positional_embedding|text_projection"
    r"|logit_scale|logit_bias).*": "CLIP's text encoder",
    r"(text_model|text_projection|visual_projection)\..*": "CLIP's text encoder and projections",
    r".*\bvisual\.proj": "CLIP's projection of images",
    r".*\.score_predictor\.sigmoid_output\..*": "a layer of the patch predictor, never used",
}  # fmt: skip


class Foreign(NamedTuple):
    """A checkpoint of others, renamed.

    Attributes:
        kind: whose it is.
        config: the architecture.
        weights: under the names of `PairModel`.
        detector: weights of a patch predictor under the names of its released code, none mostly.
        left: how many weights are left out, by reason.
        unknown: names that are left out for no known reason.
        assumed: what the file does not say.
    """

    kind: Kind
    config: PairConfig
    weights: dict[str, Tensor]
    detector: dict[str, Tensor]
    left: dict[str, int]
    unknown: tuple[str, ...]
    assumed: tuple[str, ...]


def kind_of(weights: Mapping[str, Tensor]) -> tuple[Kind, str]:
    """Whose checkpoint it is, and the prefix of its vision transformer.

    Raises:
        UserError: none of the three.
    """
    marks: list[tuple[Kind, str, str]] = [
        ("albef", "visual_encoder.", "patch_embed.proj.weight"),
        ("mplug", "visual_encoder.visual.", "conv1.weight"),
        ("clip", "visual.", "conv1.weight"),
        ("clip", "", "conv1.weight"),
        ("clip", "vision_model.", "embeddings.patch_embedding.weight"),
        ("clip", "", "embeddings.patch_embedding.weight"),
    ]
    for kind, prefix, mark in marks:
        if prefix + mark in weights:
            return kind, prefix
    first = ", ".join(sorted(weights)[:3]) or "nothing"
    raise UserError(f"neither ALBEF nor mPLUG nor a vision transformer of CLIP: the first names are {first}")


def read_foreign(weights: Mapping[str, Tensor], said: Said | None = None) -> Foreign:
    """Rename a checkpoint's weights and read its architecture off them.

    Args:
        weights: by the names of the file.
        said: what the user says.

    Raises:
        UserError: another kind of model, or sizes that do not go together.
    """
    said = said or Said()
    kind, prefix = kind_of(weights)
    assumed: list[str] = []
    inside = {name for name in weights if name.startswith(prefix)}
    if kind == "albef":  # it has timm's names already
        vision, unplaced = {name.removeprefix(prefix): weights[name] for name in inside}, list[str]()
    else:
        vision, unplaced = timm_names(weights, prefix)
    used = inside - set(unplaced)
    config = vision_config(vision, kind, said, assumed)
    ours = {f"vision.vit.{name}": value for name, value in vision.items() if not name.startswith("head.")}
    if kind != "clip":
        config = text_config(weights, config, kind, said, assumed)
        renamed, sources = _renamed(weights, config, kind)
        ours |= renamed
        used |= sources
    predictor = f"{prefix}transformer.score_predictor."
    detector = {
        name.removeprefix(predictor): value
        for name, value in weights.items()
        if name.startswith(predictor) and ".sigmoid_output." not in name
    }
    used |= {predictor + name for name in detector}
    left, unknown = _left(weights, used, config, kind)
    return Foreign(kind, config, ours, detector, left, unknown, tuple(assumed))


def _renamed(
    weights: Mapping[str, Tensor], config: PairConfig, kind: Kind
) -> tuple[dict[str, Tensor], set[str]]:
    """Text, fusion, decoder and heads under our names, and the names that they had."""
    with torch.device("meta"):
        model = PairModel(config)
    fused = "text_encoder" if kind == "albef" else "fusion_encoder"
    text, fusion, decoder = (bert_in(weights, part) for part in ("text_encoder", fused, "text_decoder"))
    first = config.text_layers if kind == "albef" else _last(weights, fusion or "") - config.fusion_layers
    parts: list[tuple[str, Any, str | None, int]] = [
        ("text.", model.text, text, 0),
        ("fusion.", model.fusion, fusion, first),
        ("decoder.", model.decoder, decoder, 0),
        ("mlm_head.", model.mlm_head, f"{fused}.cls.", 0),
        ("decoder.head.", None if model.decoder is None else model.decoder.head, "text_decoder.cls.", 0),
    ]
    found: dict[str, Tensor] = {}
    used: set[str] = set()
    for ours, part, prefix, start in parts:
        if part is None or prefix is None:
            continue
        for name, value in named_as_bert(part, weights, prefix, start).items():
            used.add(prefix + bert_name(name, start))
            found[ours + name] = value
    # tables that are tied are in the file a second time
    again = [f"{part}.cls.predictions.decoder.weight" for part in ("text_decoder", fused)]
    used |= set(again if config.tied_words else again[:1]) & weights.keys()
    for name in ("decoder.head.words", "mlm_head.words") if config.tied_words else ("decoder.head.words",):
        found.pop(name, None)
    plain = {"temp": "tau", "visn_fc": "vision.adapt.0", "visn_layer_norm": "vision.adapt.1",
             "vision_proj": "vision_proj", "text_proj": "text_proj", "itm_head": "itm_head"}  # fmt: skip
    for name, value in weights.items():
        stem, dot, last = name.rpartition(".")
        if (stem or last) in plain:
            found[plain[stem or last] + (f"{dot}{last}" if stem else "")] = value
            used.add(name)
    return found, used


def _last(weights: Mapping[str, Tensor], prefix: str) -> int:
    return max(layers_in(weights, prefix), default=-1) + 1


def _left(
    weights: Mapping[str, Tensor], used: set[str], config: PairConfig, kind: Kind
) -> tuple[dict[str, int], tuple[str, ...]]:
    """What is left out, by reason, and without one."""
    first = _last(weights, bert_in(weights, "fusion_encoder") or "") - config.fusion_layers
    reasons: Counter[str] = Counter()
    unknown = []
    for name in sorted(weights.keys() - used):
        dead = re.match(r"fusion_encoder\.(?:bert\.)?encoder\.layer\.(\d+)\.(\w+)", name)
        if kind == "mplug" and dead and (
            int(dead[1]) < first or (dead[2] == "crossattention" and config.connected(int(dead[1]) - first))
        ):  # fmt: skip
            reasons["parts of the fusion that are made and never run"] += 1
            continue
        for pattern, reason in _LEFT.items():
            if re.fullmatch(pattern, name):
                reasons[reason] += 1
                break
        else:
            unknown.append(name)
    return dict(reasons), tuple(unknown)
