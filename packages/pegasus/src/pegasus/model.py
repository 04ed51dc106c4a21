"""The PEGASUS model (Zhang et al. 2020, section 4): a pre-norm Transformer encoder-decoder.

It is transformers' class, so that weights go both ways under the same names. Ours differs in three points:
the positions follow the original's formula or transformers' (they differ, see `sinusoids`), inputs may be
longer than the stored table, and new models start from the original's initial weights. Long inputs (Phang et
al. 2022) use transformers' PEGASUS-X.
"""

from collections.abc import Sized
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    PegasusConfig,
    PegasusForConditionalGeneration,
    PegasusXConfig,
    PegasusXForConditionalGeneration,
)

from nonet.errors import UserError
from nonet.training.hub import load_pretrained, local_folder
from pegasus.options import ModelOptions

SIZES = {"tiny": (2, 128, 4), "small": (6, 512, 8), "base": (12, 768, 12), "large": (16, 1024, 16)}
"""layers of encoder and of decoder each, width, heads"""

PositionStyle = Literal["tf", "hf"]

Summarizer: TypeAlias = PegasusForConditionalGeneration | PegasusXForConditionalGeneration


def sinusoids(positions: int, width: int, style: PositionStyle, *, start: int = 0) -> Tensor:
    """Sine half, then cosine half, of positions start..start+positions-1.

    Frequency k of K = width/2 is 10000^(-k/(K-1)) in the original's code (`tf`) and 10000^(-k/K) in
    transformers' PEGASUS (`hf`). At width 1024 the two tables agree to a cosine of 0.9995 at position 100
    and of 0.947 at position 1023.

    Args:
        positions: rows of the table.
        width: of the hidden states, even.
        style: `tf` or `hf`.
        start: first position.

    Returns:
        (positions, width) float32.
    """
    half = width // 2
    frequencies = 10000.0 ** (
        -torch.arange(half, dtype=torch.float64) / (half - 1 if style == "tf" else half)
    )
    angles = torch.arange(start, start + positions, dtype=torch.float64)[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1).float()


class Positions(nn.Embedding):
    """A stored table of sinusoids that grows when a longer input comes.

    The stored part is in the state dict, so that transformers' own class, which only knows its formula, runs
    a converted model with the right positions.
    """

    def __init__(self, positions: int, width: int, style: PositionStyle) -> None:
        super().__init__(positions, width, _weight=sinusoids(positions, width, style), _freeze=True)
        self.style = style

    @torch.no_grad()
    def forward(
        self, input_ids_shape: torch.Size, past_key_values_length: int = 0, position_ids: Tensor | None = None
    ) -> Tensor:
        """The rows of the next `input_ids_shape[1]` positions (L, width), as in transformers."""
        end = past_key_values_length + input_ids_shape[1]
        if position_ids is not None:
            end = int(position_ids.max()) + 1
        if end > self.weight.shape[0]:
            more = sinusoids(
                end - self.weight.shape[0], self.embedding_dim, self.style, start=self.weight.shape[0]
            )
            table = torch.cat([self.weight, more.to(self.weight)])
        else:
            table = self.weight
        if position_ids is not None:
            return table[position_ids]
        return table[past_key_values_length:end]


class Pegasus(PegasusForConditionalGeneration):
    """transformers' PEGASUS with either position formula and inputs of any length."""

    def __init__(self, config: PegasusConfig) -> None:
        if getattr(config, "position_style", None) is None:
            config.position_style = "hf"
        super().__init__(config)
        self.set_positions(config.position_style)

    def set_positions(self, style: PositionStyle) -> None:
        """Rewrite both position tables, and remember the style in the configuration."""
        self.config.position_style = style
        for side in (self.model.encoder, self.model.decoder):
            table = Positions(self.config.max_position_embeddings, self.config.d_model, style)
            old = side.embed_positions.weight
            if old.device.type != "meta":
                table.to(device=old.device, dtype=old.dtype)
            side.embed_positions = table

    def _init_weights(self, module: nn.Module) -> None:
        if not isinstance(module, Positions):
            super()._init_weights(module)


def new_model(options: ModelOptions, vocabulary: int, *, seed: int = 0) -> Summarizer:
    """A model with the original's initial weights.

    Embeddings are normal with variance 1/width, all other matrices uniform in +-sqrt(6 / (in + out)), biases
    zero.

    Args:
        options: the shape.
        vocabulary: V, ids of the tokenizer.
        seed: of the weights; the global generator is left as it was.

    Raises:
        UserError: the width does not split into the heads, or is odd.
    """
    layers, width, heads = SIZES[options.size]
    layers, width = options.layers or layers, options.width or width
    heads = options.heads or heads
    if width % (2 * heads):
        raise UserError(
            f"a width of {width} does not split into {heads} heads of even width; "
            "change model.width or model.heads"
        )
    shape = {
        "vocab_size": vocabulary,
        "d_model": width,
        "encoder_layers": layers,
        "decoder_layers": layers,
        "encoder_attention_heads": heads,
        "decoder_attention_heads": heads,
        "encoder_ffn_dim": options.feed_forward or 4 * width,
        "decoder_ffn_dim": options.feed_forward or 4 * width,
        "activation_function": "relu",
        "scale_embedding": True,
        "dropout": options.dropout,
        "attention_dropout": options.dropout,
        "activation_dropout": options.dropout,
        "max_position_embeddings": options.max_positions,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if options.long:
            config = PegasusXConfig(
                **shape, block_size=options.block, num_global_tokens=options.global_tokens
            )
            model: Summarizer = PegasusXForConditionalGeneration(config)
        else:
            model = Pegasus(PegasusConfig(**shape, position_style="tf"))
        _initialise(model)
    return model


@torch.no_grad()
def _initialise(model: Summarizer) -> None:
    for module in model.modules():
        if isinstance(module, nn.Linear) and module is not model.lm_head:
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    nn.init.normal_(model.model.shared.weight, std=model.config.d_model**-0.5)
    if isinstance(model, PegasusXForConditionalGeneration):
        nn.init.normal_(model.model.encoder.embed_global.weight, std=model.config.d_model**-0.5)
    zero_start(model)


@torch.no_grad()
def zero_start(model: Summarizer) -> None:
    """Set the embedding of the pad id to zero.

    The decoder starts from this row, which the original keeps at zero by construction; here the output layer
    shares the matrix and would move it, so training calls this after each step.
    """
    weight = model.model.shared.weight
    if hasattr(weight, "to_local"):  # sharded along the rows: the first rank holds the pad row
        if weight.device_mesh.get_local_rank() == 0:
            weight.to_local()[model.config.pad_token_id].zero_()
    else:
        weight[model.config.pad_token_id].zero_()


def load_model(folder: str | Path, *, positions: PositionStyle | Literal["auto"] = "auto") -> Summarizer:
    """Load a model from a folder in the Hugging Face layout, or from a hub by its name.

    Args:
        folder: what `pretrain`, `finetune` and `convert` write, or transformers' own, or `owner/name` on the
            hub.
        positions: the position formula; `auto`: what the configuration says, else `tf` for Google's
            checkpoints (they were trained with it) and `hf` for those that transformers trained.

    Raises:
        UserError: no such folder, a damaged one, or another kind of model.
    """
    where = local_folder(folder)
    try:
        config = AutoConfig.from_pretrained(where)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{folder}: config.json cannot be used: {reason[:200]}") from error
    if config.model_type == "pegasus_x":
        return load_pretrained(PegasusXForConditionalGeneration, where)
    if config.model_type != "pegasus":
        kind = config.model_type
        raise UserError(f"{folder}: a model of type {kind!r}; this package runs pegasus and pegasus_x")
    if positions == "auto":
        stored = getattr(config, "position_style", None)
        google = str(folder).startswith("google/") or config.vocab_size == 96103
        positions = stored or ("tf" if google else "hf")
    model = load_pretrained(Pegasus, where, config=config)
    model.set_positions(positions)
    return model


def parameters(module: nn.Module) -> int:
    """How many weights a module has, shared ones counted once and fixed position tables not at all."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def check_vocabulary(model: Summarizer, tokenizer: Sized, where: str | Path) -> None:
    """Refuse a model whose embedding has no row for some id of the tokenizer.

    Raises:
        UserError: the two numbers, and what to do.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise UserError(
            f"{where}: the tokenizer has {len(tokenizer):,} ids and the model {rows:,} embeddings; "
            "use the tokenizer that the model was trained with"
        )
