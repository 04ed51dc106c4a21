"""Weigh the words of every document by a model's attention, which B-PROP draws words by."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Options:
    """Weigh the words of a store's documents by the attention that an encoder's [CLS] pays them.

    An interrupted run goes on when it is given again. `sample` and `pretrain` draw by these weights with the
    sampler bprop.
    """

    store: Path
    """store of `prepare`, made with the model's tokenizer"""
    model: str
    """folder or hub name of the encoder"""
    out: Path
    """folder for the weights"""
    max_length: int = 512
    """pieces of a document, special ones included; longer ones are cut"""
    first_pieces: bool = True
    """show attention the first piece of each word alone, as the released code does"""
    batch: int = 32
    """documents at once"""
    device: str = "auto"
    """cpu, cuda, ...; auto: the first GPU if there is one"""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 on GPUs that have it"""

    def __post_init__(self) -> None:
        from nonet.errors import UserError

        if self.batch < 1:
            raise UserError(f"batch is {self.batch}; it is 1 or more")


def run(options: Options) -> int:
    """Run the encoder over the documents."""
    from nonet.cli.progress import progress
    from prop_ir.store import Store

    store = Store(options.store)  # before torch is loaded: a missing store is noticed at once

    import torch

    from nonet.training.devices import pick_device
    from prop_ir.attention import weigh_words

    device = pick_device(options.device)
    half = options.precision == "bf16" or (
        options.precision == "auto" and device.startswith("cuda") and torch.cuda.is_bf16_supported()
    )
    with progress(total=len(store), label="weighing", unit="documents") as bar:  # type: ignore[var-annotated]
        there = weigh_words(
            store, options.model, options.out, device=device, dtype=torch.bfloat16 if half else torch.float32,
            batch=options.batch, max_length=options.max_length, first_pieces=options.first_pieces,
            progress=bar.advance,
        )  # fmt: skip
    old = f", {there:,} of them were done" if there else ""
    print(f"{options.out}: attention of {len(store):,} documents{old}")
    return 0
