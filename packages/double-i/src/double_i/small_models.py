"""Small language models from scratch: a byte-level tokenizer, a Llama of any size, its pre-training (ours).

For demos, tests and experiments on machines without a pre-trained model: the method marks any causal language
model of transformers, and these are ordinary ones.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nonet.errors import UserError
from nonet.training.options import OptimizerOptions, TrainerOptions

if TYPE_CHECKING:
    from nonet.runs import Run

PAD, BOS, EOS = "<pad>", "<s>", "</s>"


class Shape(NamedTuple):
    """The size of a Llama."""

    hidden: int
    """width of the hidden states"""
    layers: int
    heads: int
    """of attention; they divide `hidden` into even parts"""
    ffn: int
    """width of the feed-forward layers"""
    positions: int = 1024
    """longest input, in tokens"""
    tied: bool = True
    """one matrix for embeddings and output layer"""


def train_tokenizer(texts: Iterable[str], size: int, *, positions: int = 1024) -> Any:
    """A byte-level BPE tokenizer; any text comes back as it was, and every encoding begins with `<s>`.

    Args:
        texts: to learn merges from; the same texts give the same tokenizer.
        size: tokens at most, 260 or more (256 bytes and 3 marks).
        positions: tokens of the longest input.

    Returns:
        A `PreTrainedTokenizerFast` with pad, bos and eos, which are three different tokens.

    Raises:
        UserError: too small a size.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    marks = [PAD, BOS, EOS]
    if size < 256 + len(marks) + 1:
        raise UserError(f"a tokenizer of {size} tokens is too small: 256 are bytes, {len(marks)} are marks")
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=marks,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    backend.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, backend.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token=PAD, bos_token=BOS, eos_token=EOS, model_max_length=positions,
        padding_side="left", clean_up_tokenization_spaces=False,
    )  # fmt: skip


def new_model(shape: Shape, tokenizer: Any, seed: int = 0) -> Any:
    """A `LlamaForCausalLM` with random weights that follow from the seed.

    Args:
        shape: its size.
        tokenizer: gives the number of tokens and the ids of pad, bos and eos.
        seed: of the weights.

    Returns:
        The model in evaluation mode, float32, on the CPU.

    Raises:
        UserError: heads that do not divide the width into even parts.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    if shape.hidden % (2 * shape.heads):
        raise UserError(f"{shape.heads} heads do not divide {shape.hidden} into even parts")
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=shape.hidden, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, num_key_value_heads=shape.heads, intermediate_size=shape.ffn,
        max_position_embeddings=shape.positions, tie_word_embeddings=shape.tied,
        pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).eval()


def pretrain(
    texts: Iterable[str],
    tokenizer: Any,
    shape: Shape,
    *,
    steps: int,
    batch: int,
    length: int,
    lr: float = 1e-3,
    seed: int = 0,
    folder: Path | None = None,
    run: "Run | None" = None,
    trainer: TrainerOptions | None = None,
    optimizer: OptimizerOptions | None = None,
) -> Any:
    """Train a new model on running text: all texts one after the other, cut into windows.

    Args:
        texts: of any length; `</s>` is put between them.
        tokenizer: of `train_tokenizer`.
        shape: of the model.
        steps: optimiser steps.
        batch: windows a step, over all devices.
        length: tokens of a window.
        lr: peak rate of AdamW; it rises over the first tenth of the steps and falls on a cosine to 0.
        seed: of weights and of the order of windows.
        folder: where the model is saved as a Hugging Face folder; None: nowhere.
        run: where checkpoints and numbers go, and where an interrupted call goes on; None: nothing is kept.
        trainer: devices, precision and so on; its steps and seed are those given here.
        optimizer: instead of AdamW at `lr`.

    Returns:
        The model in evaluation mode, on the CPU.

    Raises:
        UserError: fewer tokens than one window.
    """
    import dataclasses

    from double_i.data import PackedText
    from double_i.training import train_model

    windows = PackedText.of(texts, tokenizer, length, seed=seed)
    settings = dataclasses.replace(
        trainer or TrainerOptions(clip=1.0, validate_every=0, checkpoint_every=0), steps=steps, seed=seed
    )
    rule = optimizer or OptimizerOptions(
        lr=lr, weight_decay=0.01, betas=(0.9, 0.95), schedule="cosine", warmup=steps // 10
    )
    model = train_model(
        new_model(shape, tokenizer, seed), windows, batch=batch, trainer=settings, optimizer=rule, run=run,
        pad=tokenizer.pad_token_id, state={"length": length, "windows": len(windows)},
    ).model  # fmt: skip
    if folder is not None:
        save(
            model,
            tokenizer,
            folder,
            f"Pre-trained from scratch for {steps:,} steps of {batch}x{length} tokens.",
        )
    return model


def save(model: Any, tokenizer: Any, folder: Path, what: str, *, overwrite: bool = False) -> Path:
    """Write a small model as a Hugging Face folder with a card.

    Args:
        model: of transformers.
        tokenizer: its tokenizer.
        folder: where.
        what: a sentence for the card.
        overwrite: replace a model that was saved there.
    """
    from nonet.training.hub import save_folder
    from nonet.training.model_card import ModelCard

    count = sum(weight.numel() for weight in model.parameters())
    card = ModelCard(
        title="A small language model",
        what=f"A Llama of {count:,} weights. {what}",
        tags=("text-generation",),
        limits=("Made for experiments with ownership marks; its texts are of no use.",),
    )
    return save_folder(model, tokenizer, folder, card.text(), overwrite=overwrite)


def text_of(rows: Sequence[Any]) -> list[str]:
    """The texts of instruction rows (instruction, input, output), for a tokenizer to learn from."""
    return [part for row in rows for part in (row.instruction, row.input, row.output) if part]
