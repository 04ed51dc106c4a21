"""Greedy outputs of a BERT2BERT: our step decoder against transformers' `generate` on the same weights.

Encoding is part of both. The weights are random, shaken until outputs differ from place to place; such a
model never ends, so that both sides are made to end at the lengths that real targets have. Both write the
same pieces.
"""

from functools import partial
from typing import Any

import torch
from benchmarks.harness import Row, save, table, versus
from torch import Tensor

from keyphrase_plm.bert2bert import Bert2Bert
from keyphrase_plm.step_decoders import step_decoder
from keyphrase_plm.vocabulary import train_vocabulary
from nonet.generation.search import follow

SEED = 0
STEPS = 48
ENDS = (24, 12, 18, 9, 21, 15, 30, 16, 27, 11, 19, 14, 22, 33, 17, 13)
"""pieces of each document's output, the end among them"""
SOURCES = (240, 130, 180, 256, 210, 150, 225, 170, 200, 245, 160, 190, 140, 235, 220, 155)
"""pieces of each document"""


def main(*, tiny: bool = False) -> list[Row]:
    """Rows for one document and for sixteen."""
    layers, width, vocabulary = ((2, 1), 32, 400) if tiny else ((8, 4), 256, 30_522)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    family = model_of(layers, width, vocabulary).to(device)
    rows = []
    for count in (1, 3) if tiny else (1, 16):
        work = (family, *sources(count, vocabulary, device), torch.tensor(ENDS[:count], device=device))
        row = versus(
            f"greedy, {count} documents a batch, {device}, against generate", partial(ours, *work),
            partial(theirs, *work), same, rounds=1 if tiny else 5, min_seconds=0,
            unit="documents", per_call=count, clock="cuda" if device == "cuda" else "cpu",
        )  # fmt: skip
        rows.append(row)
    print(table(rows))
    if not tiny:
        save(
            "keyphrase-plm", rows, table="b2b", versions=("torch", "transformers"),
            data=f"{layers[0]}+{layers[1]} layers, width {width}, {vocabulary:,} words, random; sources "
            f"of {min(SOURCES)} to {max(SOURCES)} pieces, outputs of {min(ENDS)} to {max(ENDS)}",
            seed=SEED, threads=f"{torch.get_num_threads()} CPU threads",
        )  # fmt: skip
    return rows


def model_of(layers: tuple[int, int], width: int, vocabulary: int) -> Bert2Bert:
    """A model whose outputs differ from place to place."""
    tokenizer = train_vocabulary(["a b c d e f g h"], 20, kind="wordpiece")
    tokenizer.add_tokens([f"word{k}" for k in range(vocabulary - len(tokenizer))])
    family = Bert2Bert.from_shapes(
        tokenizer, encoder_layers=layers[0], decoder_layers=layers[1], width=width, heads=max(2, width // 64),
        positions=256, max_source=256, max_target=STEPS, max_output=STEPS, seed=SEED,
    )  # fmt: skip
    random = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for weight in family.parameters():
            weight.add_(torch.randn(weight.shape, generator=random) * 0.4 * width**-0.5)
        positions = family.model.decoder.base_model.embeddings.position_embeddings.weight
        positions.copy_(torch.randn(positions.shape, generator=random))
    return family.eval()


def sources(count: int, vocabulary: int, device: str) -> tuple[Tensor, Tensor]:
    """Ids and mask (B, L)."""
    lengths = torch.tensor(SOURCES[:count])
    random = torch.Generator().manual_seed(SEED)
    ids = torch.randint(5, vocabulary, (count, int(lengths.max())), generator=random)
    mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
    return (ids * mask).to(device), mask.to(device)


def forced_end(logits: Tensor, ends: Tensor, t: int, end: int) -> Tensor:
    """Logits (R, V) with which rows end at their length (R,) and at no other."""
    logits[:, end] = torch.where(ends == t + 1, torch.inf, -torch.inf)
    return logits


@torch.inference_mode()
def ours(family: Bert2Bert, source: Tensor, mask: Tensor, ends: Tensor) -> Tensor:
    """Pieces (B, T)."""
    encoded = family.encoded(source, mask)
    decoder = step_decoder(family.model, encoded, mask, beams=1, steps=STEPS)
    here = [ends]

    def step(tokens: Tensor, t: int) -> Tensor:
        return forced_end(decoder.step(tokens, t), here[-1], t, family.end)

    def reorder(rows: Tensor, t: int) -> None:
        here.append(here[-1][rows])
        decoder.reorder(rows, t)

    return follow(
        step, len(source), steps=STEPS, pad=family.pad, end=family.end, start=family.start, reorder=reorder,
        device=source.device,
    ).tokens  # fmt: skip


@torch.inference_mode()
def theirs(family: Bert2Bert, source: Tensor, mask: Tensor, ends: Tensor) -> Tensor:
    """Pieces (B, up to T)."""

    def force(ids: Tensor, scores: Tensor) -> Any:
        return forced_end(scores, ends, ids.shape[1] - 1, family.end)

    found = family.model.generate(
        input_ids=source, attention_mask=mask, num_beams=1, do_sample=False, max_new_tokens=STEPS,
        logits_processor=[force],
    )  # fmt: skip
    return found[:, 1:]


def same(found: Tensor, expected: Tensor) -> bool | str:
    """Whether the pieces are the same, and are not all one piece."""
    if len(set(expected[0].tolist())) < 4:
        return "the pieces are nearly all the same, which shows nothing"
    found = found[:, : expected.shape[1]]
    return bool((found == expected).all()) or f"{int((found != expected).sum())} pieces differ"


if __name__ == "__main__":
    main()
