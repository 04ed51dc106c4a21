"""Summaries a second: ours against transformers' own `generate` on the same weights.

The model is trained for some steps on made-up reports, to write their first two sentences, so that summaries
end, and after different numbers of tokens. Its vocabulary has 16,000 rows. Greedy summaries are the same
token by token. Beam search differs in its rule for what is finished and when to stop, so that the two may
choose differently: what both chose is scored by one formula, and ours has to be as likely on average.
transformers runs with its default rule and, as a row of its own, with `early_stopping=True`, its fastest.
"""

import string
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from benchmarks.harness import Row, save, table, versus
from benchmarks.pegasus.models import SMALL, TINY, copy_of
from torch import Tensor
from transformers import PegasusForConditionalGeneration

from pegasus.data import PairData, collate
from pegasus.decoding import EOS, generate, length_norm
from pegasus.losses import GapSentenceLoss
from pegasus.model import Pegasus, new_model, zero_start
from pegasus.options import DecodeOptions, MaskOptions
from pegasus.sentences import split_sentences
from pegasus.tokenizer import Tokenizer
from pegasus.toy import reports

SEED = 0
VOCABULARY = 16_000
GREEDY = DecodeOptions(beams=1, alpha=0.8, length_norm="hf")
BEAM = DecodeOptions(beams=8, alpha=0.8, length_norm="hf")
GNMT = DecodeOptions(beams=8, alpha=0.8, length_norm="gnmt")


class Work(NamedTuple):
    """A trained model, its twin, and documents to summarise."""

    model: Pegasus
    peer: PegasusForConditionalGeneration
    input_ids: Tensor
    attention_mask: Tensor


def prepare(documents: int, steps: int, *, device: str = "cpu", tiny: bool = False) -> Work:
    """Train a model on the beginnings of made-up reports; the documents are others."""
    vocabulary = 400 if tiny else VOCABULARY
    with tempfile.TemporaryDirectory() as folder:
        texts = [*(report.text for report in reports(300, seed=SEED + 1)), *string.printable.strip()]
        tokenizer = Tokenizer.train(texts, 190, Path(folder) / "t", character_coverage=1.0, threads=1)
    train = pairs(8 * steps, SEED + 2, tokenizer)
    model = new_model(replace(TINY if tiny else SMALL, dropout=0.0), vocabulary, seed=SEED)
    assert isinstance(model, Pegasus)
    model, losses = model.to(device).train(), GapSentenceLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for step in range(steps):
        batch = {
            name: value.to(device)
            for name, value in collate([train[(0, i)] for i in range(8 * step, 8 * step + 8)]).items()
        }
        term = losses(model, batch)["gsg"]
        optimizer.zero_grad()
        (term.total / term.count).backward()
        optimizer.step()
        zero_start(model)
    model.eval()
    test = pairs(documents, SEED + 3, tokenizer)
    batch = collate([test[(0, i)] for i in range(documents)])
    return Work(model, copy_of(model), batch["input_ids"].to(device), batch["attention_mask"].to(device))


def pairs(count: int, seed: int, tokenizer: Tokenizer) -> PairData:
    """Reports and their first two sentences."""
    texts = [report.text for report in reports(count, seed=seed)]
    begins = ["".join(split_sentences(text, "pegasus")[:2]).strip() for text in texts]
    return PairData(texts, begins, tokenizer.encode, MaskOptions())


def ours(work: Work, options: DecodeOptions) -> Tensor:
    """Tokens (B, T)."""
    return generate(work.model, work.input_ids, work.attention_mask, options)[0]


def theirs(work: Work, options: DecodeOptions, early_stopping: bool = False) -> Tensor:
    """Tokens (B, up to T); no token is forced, as in ours."""
    beam: dict[str, Any] = {}
    if options.beams > 1:
        beam = {"length_penalty": options.alpha, "early_stopping": early_stopping}
    with torch.inference_mode():
        found = work.peer.generate(
            input_ids=work.input_ids, attention_mask=work.attention_mask, num_beams=options.beams,
            do_sample=False, max_new_tokens=options.max_length, max_length=None,
            forced_eos_token_id=None, **beam,
        )  # fmt: skip
    return found[:, 1:]  # without the start token


def until_end(tokens: Tensor) -> list[list[int]]:
    """Rows of ids, each through its end token."""
    rows = tokens.tolist()
    return [row[: row.index(EOS) + 1] if EOS in row else row for row in rows]


def scores(work: Work, tokens: Tensor, options: DecodeOptions) -> Tensor:
    """(B,) the model's normalised log-probability of summaries, by the full forward pass."""
    rows = until_end(tokens)
    norm = length_norm(options)
    losses = GapSentenceLoss().eval()
    found = []
    for i, row in enumerate(rows):
        batch = {
            "input_ids": work.input_ids[i : i + 1],
            "attention_mask": work.attention_mask[i : i + 1],
            "labels": torch.tensor([row], device=work.input_ids.device),
        }
        with torch.no_grad():
            found.append(-losses(work.model, batch)["gsg"].total / norm(len(row)))
    return torch.stack(found)


def same_tokens(mine: Tensor, other: Tensor) -> bool | str:
    """Equal summaries."""
    for i, (a, b) in enumerate(zip(until_end(mine), until_end(other), strict=True)):
        if a != b:
            return f"document {i}: {a} against {b}"
    return True


def as_likely(work: Work, options: DecodeOptions) -> Callable[[Tensor, Tensor], bool | str]:
    """Ours is as likely on average, to 1e-4."""

    def check(mine: Tensor, other: Tensor) -> bool | str:
        a, b = scores(work, mine, options).mean().item(), scores(work, other, options).mean().item()
        return a >= b - 1e-4 or f"mean score {a} against {b}"

    return check


def contest(
    name: str,
    work: Work,
    options: DecodeOptions,
    peer_options: DecodeOptions,
    tiny: bool,
    early: bool = False,
) -> Row:
    """Time both on the same documents."""
    check = same_tokens if options.beams == 1 else as_likely(work, peer_options)
    where = work.model.device.type
    row = versus(
        f"{name}, {where}",
        partial(ours, work, options),
        partial(theirs, work, peer_options, early),
        check if options == peer_options else lambda mine, other: True,
        rounds=1 if tiny else 3,
        min_seconds=0 if tiny else 0.2,
        unit="summaries",
        per_call=len(work.input_ids),
        clock="cuda" if where == "cuda" else "cpu",
    )
    mine, other = ours(work, options), theirs(work, peer_options, early)
    identical = [a == b for a, b in zip(until_end(mine), until_end(other), strict=True)]
    lengths = [len(summary) for summary in until_end(mine)]
    found = {
        "identical": f"{sum(identical) / len(identical):.0%}",
        "tokens": f"{min(lengths)}-{max(lengths)}",
    }
    if options == peer_options:
        for who, tokens in (("ours", mine), ("peer", other)):
            found[f"{who}, mean score"] = f"{scores(work, tokens, options).mean().item():.4f}"
    return row | found


def main(tiny: bool = False) -> list[Row]:
    """Print the table; kept in benchmarks/results unless it is tiny."""
    rows = []
    torch.manual_seed(SEED)
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        work = prepare(3 if tiny else 8, 4 if tiny else 40, device=device, tiny=tiny)
        if tiny:
            work = work._replace(input_ids=work.input_ids[:, :32], attention_mask=work.attention_mask[:, :32])
        for name, mine, other, early in (
            ("greedy", GREEDY, GREEDY, False),
            ("beam 8", BEAM, BEAM, False),
            ("beam 8, peer with early_stopping=True", BEAM, BEAM, True),
            ("beam 8, ours with the paper's length norm (other summaries)", GNMT, BEAM, False),
        ):
            if tiny:
                mine, other = (replace(options, max_length=8) for options in (mine, other))
            rows.append(contest(name, work, mine, other, tiny, early))
    print(table(rows))
    if not tiny:
        threads = f"{torch.get_num_threads()} CPU threads"
        data = "made-up reports; 3+3 layers, width 256, V = 16,000; 8 documents a batch"
        save(
            "pegasus",
            rows,
            table="generate",
            versions=("torch", "transformers"),
            data=data,
            seed=SEED,
            threads=threads,
        )
    return rows


if __name__ == "__main__":
    main()
