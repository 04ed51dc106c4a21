"""Checkpoints of the released TensorFlow and Flax code, and of transformers, into transformers' layout.

Sizes are read off the shapes. What no checkpoint says (the position formula, the number of heads in
TensorFlow's, the activation) is taken from the released code, and listed with its reason, so that a wrong
guess is seen.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig, PegasusConfig, PegasusXConfig

from nonet.errors import UserError
from nonet.training.hub import load_account
from pegasus.checkpoint_names import Name, Sizes, layout, sizes_of
from pegasus.checkpoint_sources import Source
from pegasus.model import PositionStyle, sinusoids

HEAD_WIDTH = 64
"""of every released model"""
GOOGLE_VOCABULARY = 96_103
"""embedding rows of the released models: 96,000 pieces and 103 reserved ids"""

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_POSITIONS = "embed_positions.weight"
_LOGITS_BIAS = "final_logits_bias"


class Fact(NamedTuple):
    """One line of the table of what the new model is, and why."""

    what: str
    value: str
    why: str


class Converted(NamedTuple):
    """A model in transformers' layout; `save_pretrained` writes it."""

    config: PegasusConfig | PegasusXConfig
    tensors: dict[str, Tensor]
    facts: list[Fact]
    generation: Path | None
    """the source's generation_config.json"""

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json, generation_config.json and model.safetensors."""
        from safetensors.torch import save_file

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.config.save_pretrained(folder)
        if self.generation is not None:
            (folder / "generation_config.json").write_bytes(self.generation.read_bytes())
        else:
            ids = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
            GenerationConfig(**ids, forced_eos_token_id=1).save_pretrained(folder)
        save_file(self.tensors, folder / "model.safetensors", metadata={"format": "pt"})


class Choices(NamedTuple):
    """What the caller says about a checkpoint; none: as found, or as released."""

    heads: int | None = None
    positions: Literal["auto", "tf", "hf"] = "auto"
    max_positions: int | None = None
    block: int | None = None
    """of PEGASUS-X's local attention, tokens"""
    dtype: Literal["fp32", "bf16"] = "fp32"


def to_hf(source: Source, choices: Choices | None = None, *, say: Callable[[str], None] = print) -> Converted:
    """Bring a checkpoint into transformers' layout.

    Args:
        source: from `open_source`.
        choices: what is known about it.
        say: takes the account of matched, missing, unexpected and ignored names.

    Raises:
        UserError: over a tenth of the names does not fit, the heads cannot be told, or the positions are
            learnt ones.
    """
    choices = choices or Choices()
    style, arrays = source.style, source.arrays
    config = source.config or {}
    sizes = sizes_of(arrays, style)
    if config:  # a missing layer is told by the configuration
        sizes = Sizes(
            int(config.get("encoder_layers", sizes.encoder_layers)),
            int(config.get("decoder_layers", sizes.decoder_layers)),
            config["model_type"] == "pegasus_x",
        )
    names = [name for name in layout(sizes) if getattr(name, style) is not None]
    if len(names) < len(layout(sizes)):
        raise UserError(f"{source.where}: PEGASUS-X has no TensorFlow names")
    shapes = _Shapes.of(names, arrays, style, sizes)
    tensors: dict[str, Tensor] = {}
    missing, mismatched, zeros = [], [], 0
    used = set()
    for name in names:
        key = str(getattr(name, style))
        used.add(key)
        shape = shapes.of_weight(name.hf)
        tensor = _turned(arrays[key], name, style) if key in arrays else None
        if tensor is None and name.kind != "optional":
            missing.append(key)
        elif tensor is None:
            zeros += 1
        elif tuple(tensor.shape) != shape:
            mismatched.append(f"{key} {tuple(arrays[key].shape)}")
            tensor = None
        if tensor is None:  # a norm that does nothing, a bias or branch that adds nothing
            is_scale = name.hf.endswith("norm.weight")
            tensor = torch.ones(shape) if is_scale else torch.zeros(shape)
        tensors[name.hf] = tensor.to(DTYPES[choices.dtype]).contiguous()
    special = {name for name in arrays if style == "hf" and name.endswith((_POSITIONS, _LOGITS_BIAS))}
    for what, count in source.ignored.items():
        say(f"{'ignored':<12}{count:>6} {what}")
    if zeros:
        say(f"{'zero':<12}{zeros:>6} biases of the attention, which the checkpoint does not have")
    unexpected = sorted(set(arrays) - used - special)
    load_account(missing, unexpected, mismatched, len(names) - zeros, say=say)
    facts = [Fact("names", f"{len(arrays)} of {style}", f"read from {source.origin} checkpoint")]
    return _finished(source, choices, sizes, shapes, tensors, facts)


class _Shapes(NamedTuple):
    """The sizes that shapes tell."""

    vocabulary: int
    width: int
    encoder_hidden: int
    decoder_hidden: int
    global_tokens: int

    @classmethod
    def of(cls, names: list[Name], arrays: Mapping[str, Any], style: str, sizes: Sizes) -> "_Shapes":
        def array(hf: str) -> Any:
            key = next((getattr(name, style) for name in names if name.hf == hf), None)
            return arrays.get(key) if key is not None else None

        table = array("model.shared.weight")
        if table is None or len(table.shape) != 2:
            raise UserError("the embedding table is not a matrix")
        width = int(table.shape[1])
        hidden = []
        for side in ("encoder", "decoder"):
            first = array(f"model.{side}.layers.0.fc1.bias")
            hidden.append(4 * width if first is None else int(first.shape[0]))
        tokens = array("model.encoder.embed_global.weight") if sizes.long else None
        return cls(
            int(table.shape[0]), width, hidden[0], hidden[1], 0 if tokens is None else int(tokens.shape[0])
        )

    def of_weight(self, hf: str) -> tuple[int, ...]:
        """The shape that transformers' weight of this name has."""
        hidden = self.encoder_hidden if ".encoder." in hf else self.decoder_hidden
        if hf == "model.shared.weight":
            return self.vocabulary, self.width
        if hf.endswith("embed_global.weight"):
            return self.global_tokens, self.width
        if "fc1" in hf:
            return (hidden, self.width) if hf.endswith("weight") else (hidden,)
        if hf.endswith("fc2.weight"):
            return self.width, hidden
        return (self.width, self.width) if hf.endswith("proj.weight") else (self.width,)


def _turned(array: Any, name: Name, style: str) -> Tensor:
    """A weight as transformers has it: float, (out, in), heads together."""
    if isinstance(array, Tensor):
        return array.float()
    values = np.asarray(array)
    if style == "hf" or name.kind in ("table", "vector"):
        return torch.from_numpy(np.array(values, np.float32))
    if name.kind == "optional":
        return torch.from_numpy(np.array(values, np.float32).reshape(-1))
    if values.ndim == 3:  # Flax keeps the heads apart
        values = (
            values.reshape(-1, values.shape[2])
            if name.kind == "heads-in"
            else values.reshape(len(values), -1)
        )
    return torch.from_numpy(np.array(values.T, np.float32, order="C"))


def _finished(
    source: Source,
    choices: Choices,
    sizes: Sizes,
    shapes: _Shapes,
    tensors: dict[str, Tensor],
    facts: list[Fact],
) -> Converted:
    """Settle the configuration, the start vector and the positions."""
    given = source.config or {}
    heads, why_heads = _heads(source, choices, shapes, sizes)
    where = "config.json" if given else "the released code"
    facts += [
        Fact("layers", f"{sizes.encoder_layers} + {sizes.decoder_layers}", "encoder + decoder, by the names"),
        Fact("width", str(shapes.width), "by the shapes"),
        Fact("feed-forward", f"{shapes.encoder_hidden} / {shapes.decoder_hidden}", "by the shapes"),
        Fact("vocabulary", f"{shapes.vocabulary:,}", "by the shapes"),
        Fact("heads", str(heads), why_heads),
    ]
    settings: dict[str, Any] = {
        "vocab_size": shapes.vocabulary,
        "d_model": shapes.width,
        "encoder_layers": sizes.encoder_layers,
        "decoder_layers": sizes.decoder_layers,
        "encoder_ffn_dim": shapes.encoder_hidden,
        "decoder_ffn_dim": shapes.decoder_hidden,
        "encoder_attention_heads": heads,
        "decoder_attention_heads": heads,
    }
    if not given:
        settings |= {"activation_function": "relu", "scale_embedding": True}
        settings |= dict.fromkeys(("dropout", "attention_dropout", "activation_dropout"), 0.1)
    kind = PegasusXConfig if sizes.long else PegasusConfig
    if choices.max_positions is not None or not given:
        settings["max_position_embeddings"] = choices.max_positions or (16_384 if sizes.long else 1024)
    if sizes.long:
        settings["num_global_tokens"] = shapes.global_tokens
        if choices.block is not None or not given:
            settings["block_size"] = choices.block or 512
    else:
        style, why = _positions(source, choices, shapes)
        settings["position_style"] = style
        facts.append(Fact("positions", style, why))
    config = kind.from_dict(given | settings)
    config.architectures = [f"Pegasus{'X' if sizes.long else ''}ForConditionalGeneration"]
    config.dtype = DTYPES[choices.dtype]
    for field in ("scale_embedding", "activation_function", "max_position_embeddings") + (
        ("block_size", "num_global_tokens") if sizes.long else ()
    ):
        if given and field not in given and field not in settings:
            reason = "not in config.json: transformers' default"
        elif field == "max_position_embeddings" and choices.max_positions is not None:
            reason = "as asked for"
        elif field == "max_position_embeddings" and not given:
            reason = "assumed, as published"
        else:
            reason = where
        facts.append(Fact(field, str(getattr(config, field)), reason))
    if not sizes.long:
        for side in ("encoder", "decoder"):
            table = sinusoids(config.max_position_embeddings, shapes.width, config.position_style)
            tensors[f"model.{side}.{_POSITIONS}"] = table.to(DTYPES[choices.dtype])
        bias = source.arrays.get(_LOGITS_BIAS) if source.style == "hf" else None
        bias = torch.zeros(1, shapes.vocabulary) if bias is None else torch.as_tensor(bias)
        tensors[_LOGITS_BIAS] = bias.to(DTYPES[choices.dtype])
    facts.append(_start(source, sizes, tensors["model.shared.weight"]))
    facts.append(Fact("dtype", choices.dtype, "as asked for"))
    generation = source.where / "generation_config.json"
    return Converted(config, tensors, facts, generation if given and generation.is_file() else None)


def _heads(source: Source, choices: Choices, shapes: _Shapes, sizes: Sizes) -> tuple[int, str]:
    heads, why = choices.heads, "as asked for"
    if source.config:
        stored = source.config.get("encoder_attention_heads"), source.config.get("decoder_attention_heads")
        if heads is None and stored[0] is not None:
            heads, why = int(stored[0]), "config.json"
        if stored[1] not in (None, stored[0]):
            raise UserError(
                f"{source.where}: {stored[0]} heads in the encoder and {stored[1]} in the decoder"
            )
    if heads is None and source.style == "flax":
        kernels = (str(name.flax) for name in layout(sizes) if name.kind == "heads-out")
        array = next((source.arrays[key] for key in kernels if key in source.arrays), None)
        if array is not None and array.ndim == 3:
            heads, why = int(array.shape[1]), "by the shapes"
    if heads is None:
        if shapes.width % HEAD_WIDTH:
            raise UserError(
                f"{source.where}: the number of heads is not stored, and a width of {shapes.width} is no "
                f"multiple of {HEAD_WIDTH}, the released models' width of a head; say --heads N"
            )
        heads, why = shapes.width // HEAD_WIDTH, f"assumed: {HEAD_WIDTH} wide each, as released"
    if heads < 1 or shapes.width % heads:
        raise UserError(f"{source.where}: a width of {shapes.width} does not split into {heads} heads")
    return heads, why


def _positions(source: Source, choices: Choices, shapes: _Shapes) -> tuple[PositionStyle, str]:
    """Which formula the positions follow, and how that is known."""
    if choices.positions != "auto":
        return choices.positions, "as asked for"
    if source.style != "hf":
        return "tf", "the released code"
    stored = source.arrays.get(f"model.encoder.{_POSITIONS}")
    if stored is not None:
        return _of_table(torch.as_tensor(stored).float(), source), "by the stored table"
    config = source.config or {}
    style: PositionStyle
    for style in ("tf", "hf"):
        if config.get("position_style") == style:
            return style, "config.json"
    if shapes.vocabulary == GOOGLE_VOCABULARY or str(config.get("_name_or_path", "")).startswith("google/"):
        return "tf", "assumed: a released vocabulary, trained with the released code's formula"
    return "hf", "assumed: trained with transformers"


def _of_table(table: Tensor, source: Source) -> PositionStyle:
    """The formula of a stored table, which may be rounded to bfloat16."""
    style: PositionStyle
    for style in ("tf", "hf"):
        if (table - sinusoids(table.shape[0], table.shape[1], style)).abs().max() < 0.01:
            return style
    raise UserError(
        f"{source.where}: the stored positions follow neither formula; choose one with --position-style"
    )


def _start(source: Source, sizes: Sizes, table: Tensor) -> Fact:
    """Zero the row that the decoder starts from, where the original starts from zeros instead."""
    norm = float(table[0].float().norm())
    if sizes.long:
        return Fact("decoder start", f"pad row, norm {norm:.3g}", "kept: PEGASUS-X starts from it")
    if source.style == "hf":
        return Fact("decoder start", f"pad row, norm {norm:.3g}", "kept: transformers starts from it")
    table[0] = 0
    return Fact("decoder start", "zeros", f"the pad row was set to zero, its norm was {norm:.3g}")
