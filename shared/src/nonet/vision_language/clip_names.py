"""Names of CLIP's vision transformer in other programs, and timm's for the same weights (ours).

open_clip, OpenAI's code and what derives from it (mPLUG, TiMix) share one set of names; transformers has
another.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

# prefix of the whole transformer is taken off before: `visual.`, `visual_encoder.visual.`, `vision_model.`
OPEN = {
    r"conv1\.weight": "patch_embed.proj.weight",
    r"class_embedding": "cls_token",
    r"positional_embedding": "pos_embed",
    r"ln_pre\.(\w+)": r"norm_pre.\1",
    r"ln_post\.(\w+)": r"norm.\1",
    r"transformer\.resblocks\.(\d+)\.ln_(\d)\.(\w+)": r"blocks.\1.norm\2.\3",
    r"transformer\.resblocks\.(\d+)\.attn\.in_proj_(\w+)": r"blocks.\1.attn.qkv.\2",
    r"transformer\.resblocks\.(\d+)\.attn\.out_proj\.(\w+)": r"blocks.\1.attn.proj.\2",
    r"transformer\.resblocks\.(\d+)\.mlp\.c_fc\.(\w+)": r"blocks.\1.mlp.fc1.\2",
    r"transformer\.resblocks\.(\d+)\.mlp\.c_proj\.(\w+)": r"blocks.\1.mlp.fc2.\2",
}
TRANSFORMERS = {
    r"embeddings\.patch_embedding\.weight": "patch_embed.proj.weight",
    r"embeddings\.class_embedding": "cls_token",
    r"embeddings\.position_embedding\.weight": "pos_embed",
    r"pre_layrnorm\.(\w+)": r"norm_pre.\1",
    r"post_layernorm\.(\w+)": r"norm.\1",
    r"encoder\.layers\.(\d+)\.layer_norm(\d)\.(\w+)": r"blocks.\1.norm\2.\3",
    r"encoder\.layers\.(\d+)\.self_attn\.([qkv])_proj\.(\w+)": r"blocks.\1.attn.\2.\3",
    r"encoder\.layers\.(\d+)\.self_attn\.out_proj\.(\w+)": r"blocks.\1.attn.proj.\2",
    r"encoder\.layers\.(\d+)\.mlp\.fc(\d)\.(\w+)": r"blocks.\1.mlp.fc\2.\3",
}


def timm_names(weights: Mapping[str, Tensor], prefix: str) -> tuple[dict[str, Tensor], list[str]]:
    """CLIP's vision transformer under timm's names.

    Args:
        weights: of a file; names of open_clip or transformers.
        prefix: of the vision transformer in them, with its dot; may be empty.

    Returns:
        The weights, and the names under the prefix that it has no place for: its projection.
    """
    inside = {name.removeprefix(prefix): name for name in weights if name.startswith(prefix)}
    table = OPEN if "conv1.weight" in inside else TRANSFORMERS
    found: dict[str, Tensor] = {}
    left = []
    for inner, name in inside.items():
        for pattern, timm in table.items():
            match = re.fullmatch(pattern, inner)
            if match:
                found[match.expand(timm)] = weights[name]
                break
        else:
            left.append(name)
    for name in ("cls_token", "pos_embed"):
        if name in found:
            found[name] = found[name].reshape(1, -1, found[name].shape[-1])
    return _joined(found), left


def clip_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Timm's weights of a transformer of CLIP's kind under the names of `CLIPVisionModel` of transformers."""
    found: dict[str, Tensor] = {}
    for name, value in weights.items():
        if name.startswith("blocks."):
            _, number, part, *rest = name.split(".")
            layer = f"encoder.layers.{number}."
            if part == "attn" and rest[0] == "qkv":
                for letter, third in zip("qkv", value.chunk(3), strict=True):
                    found[f"{layer}self_attn.{letter}_proj.{rest[1]}"] = third
            elif part == "attn":
                found[f"{layer}self_attn.out_proj.{rest[1]}"] = value
            elif part == "mlp":
                found[f"{layer}mlp.{'.'.join(rest)}"] = value
            else:
                found[f"{layer}layer_norm{part[-1]}.{rest[0]}"] = value
    found["embeddings.patch_embedding.weight"] = weights["patch_embed.proj.weight"]
    found["embeddings.class_embedding"] = weights["cls_token"][0, 0]
    found["embeddings.position_embedding.weight"] = weights["pos_embed"][0]
    for kind in ("weight", "bias"):
        found[f"pre_layrnorm.{kind}"] = weights[f"norm_pre.{kind}"]
        found[f"post_layernorm.{kind}"] = weights[f"norm.{kind}"]
    return found


def vit_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Timm's weights of a transformer without a first norm under the names of `ViTModel` of transformers."""
    found: dict[str, Tensor] = {}
    parts = {"norm1": "layernorm_before", "norm2": "layernorm_after", "attn.proj": "attention.output.dense",
             "mlp.fc1": "intermediate.dense", "mlp.fc2": "output.dense"}  # fmt: skip
    for name, value in weights.items():
        if not name.startswith("blocks."):
            continue
        _, number, inner = name.split(".", 2)
        part, kind = inner.rsplit(".", 1)
        layer = f"encoder.layer.{number}."
        if part == "attn.qkv":
            for word, third in zip(("query", "key", "value"), value.chunk(3), strict=True):
                found[f"{layer}attention.attention.{word}.{kind}"] = third
        else:
            found[f"{layer}{parts[part]}.{kind}"] = value
    found["embeddings.cls_token"] = weights["cls_token"]
    found["embeddings.position_embeddings"] = weights["pos_embed"]
    for kind in ("weight", "bias"):
        found[f"embeddings.patch_embeddings.projection.{kind}"] = weights[f"patch_embed.proj.{kind}"]
        found[f"layernorm.{kind}"] = weights[f"norm.{kind}"]
    return found


def _joined(found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Query, key and value of transformers' names as timm's one matrix."""
    for name in [name for name in found if re.search(r"\.attn\.q\.", name)]:
        parts = [found.pop(name.replace(".attn.q.", f".attn.{letter}.")) for letter in "qkv"]
        found[name.replace(".attn.q.", ".attn.qkv.")] = torch.cat(parts)
    return found
