"""Which gap sentences help, and with how many pairs? Strategies times fine-tuning sizes, on one GPU.

`python -m benchmarks.pegasus.claim_large` pre-trains models of 44 million weights (6 + 6 layers, 512 wide,
16,000 pieces) on the abstracts of 36,000 papers without those that SciTLDR's dev and test sets contain,
fine-tunes them on 0, 10, 100, 1,000 and all pairs, and scores (a) SciTLDR, abstracts to one-line summaries,
(b) abstracts to titles on 1,000 papers held out of the corpus. Three seeds. Needs a GPU with bf16; about
four hours on one H200 by estimate, which nobody has run yet: there is no table of it.

Said before it is run: every gap-sentence arm lies above "none" up to 1,000 pairs, and the gap shrinks with
their number; without any pair and with up to 100, ind-orig and seq-uniq lie above lead and random on
SciTLDR, as the selected sentences themselves do (claim_proxy.py). Numbers are not comparable with the
paper's.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.arms import run_arms
from benchmarks.data import data_folder
from benchmarks.harness import Row, save, table
from benchmarks.pegasus.experiment import (
    Pairs,
    Setting,
    finetune,
    jsonl,
    prepare,
    pretrain,
    rouge,
)

from nonet.data.text import read_records
from nonet.files import replacing
from nonet.metrics.stats import t_interval
from pegasus.options import DecodeOptions, MaskOptions, ModelOptions

STRATEGIES = ("none", "random", "lead", "ind-orig", "seq-uniq")
SIZES = (0, 10, 100, 1000, None)  # None: all pairs
TITLES = 1000  # papers held out for titles
SEEDS = (0, 1, 2)


def setting(work: Path, tiny: bool = False) -> Setting:
    """The sizes of the experiment; tiny ones, on the CPU, are for tests."""
    model = ModelOptions(size="tiny", layers=1, width=32, heads=2) if tiny else ModelOptions(size="small")
    return Setting(
        name="papers",
        corpus=work / "clean.jsonl.gz",
        text_field="abstract",
        tokenizer=work / "tokenizer",
        shards=work / "shards",
        model=model,
        masks=MaskOptions(max_input=64 if tiny else 512, max_target=16 if tiny else 128),
        pretrain_steps=2 if tiny else 2500,
        finetune_steps=2 if tiny else 400,
        batch=8 if tiny else 128,
        pretrain_lr=5e-4,
        finetune_lr=2e-4,
        vocabulary=300 if tiny else 16_000,
        accelerator="cpu" if tiny else "gpu",
        finetune_batch=8 if tiny else 64,
    )


def clean_corpus(work: Path, data: Path, tiny: bool) -> Path:
    """The abstracts without SciTLDR's dev and test papers and without the held-out ones, which are written
    beside."""
    from pegasus.commands.overlap import Options, run

    clean, titles = work / "clean.jsonl.gz", work / "titles.jsonl"
    if clean.exists() and titles.exists():
        return titles
    work.mkdir(parents=True, exist_ok=True)
    papers = data / "papers" / "abstracts.jsonl.gz"
    rest = work / "rest.jsonl"
    draw = np.random.default_rng(0).permutation(36_000)[:TITLES]
    held_out = set(draw.tolist())
    with (
        replacing(rest) as left,
        replacing(titles) as right,
        open(left, "w", encoding="utf-8") as corpus,
        open(right, "w", encoding="utf-8") as apart,
    ):
        for number, record in enumerate(read_records([papers])):
            if tiny and number == 400:
                break
            line = json.dumps(record.fields, ensure_ascii=False) + "\n"
            (apart if number in held_out or (tiny and number < 20) else corpus).write(line)
    tests = (data / "scitldr" / "dev.jsonl", data / "scitldr" / "test.jsonl")
    run(Options(test=tests, corpus=(rest,), corpus_field="abstract", write_clean=clean))
    return titles


def tasks(data: Path, titles: Path, tiny: bool) -> dict[str, tuple[Pairs, Pairs, Pairs]]:
    """For each task the pairs to learn, to choose weights with, and to score."""
    sides = []
    for name in ("train", "dev", "test"):
        records = jsonl(data / "scitldr" / f"{name}.jsonl")
        sides.append(Pairs([" ".join(r["source"]) for r in records], [r["target"] for r in records]))
    papers = jsonl(titles)
    pairs = Pairs([r["abstract"] for r in papers], [[r["title"]] for r in papers])
    learn, rest = pairs.first(len(papers) // 2), len(papers) // 2 + len(papers) // 10
    choose = Pairs(pairs.documents[len(papers) // 2 : rest], pairs.summaries[len(papers) // 2 : rest])
    score = Pairs(pairs.documents[rest:], pairs.summaries[rest:])
    found = {"SciTLDR": (sides[0], sides[1].first(100), sides[2]), "titles": (learn, choose, score)}
    if tiny:
        return {name: tuple(part.first(6) for part in parts) for name, parts in found.items()}  # type: ignore[misc]
    return found


def arm(of: Setting, strategy: str, seed: int, work: Path, data: Path, tiny: bool) -> dict[str, Any]:
    """One strategy and seed: every task and size; ROUGE-1, 2 and L by "task/size"."""
    from pegasus.model import new_model
    from pegasus.tokenizer import Tokenizer

    out: dict[str, Any] = {}
    decode = DecodeOptions(
        beams=1 if tiny else 4, alpha=0.8, max_length=8 if tiny else 48, max_input=of.masks.max_input
    )
    for task, (learn, choose, score) in tasks(data, work / "titles.jsonl", tiny).items():
        for size in (0, None) if tiny else SIZES:
            if strategy == "none":
                model = new_model(of.model, len(Tokenizer.load(of.tokenizer)), seed=seed)
            else:
                model = pretrain(of, work / f"{strategy}-{seed}", strategy=strategy, seed=seed)
            if size != 0:
                steps = min(of.finetune_steps, 100 if size == 10 else of.finetune_steps)
                folder = work / f"{strategy}-{seed}-{task}-{size}"
                model = finetune(
                    of, folder, model, learn.first(size), choose, steps=steps, seed=seed, patience=5
                )
            out[f"{task}/{size or ('all' if size is None else 0)}"] = rouge(of, model, score, decode)
    return out


def rows(found: dict[tuple[str, int], dict[str, Any]], seeds: Sequence[int]) -> list[Row]:
    """A row a task and size, a column a strategy: mean ROUGE-1 with its t interval."""
    out = []
    for cell in next(iter(found.values())):
        if "/" not in cell:
            continue
        row: Row = {"name": cell.replace("/", ", pairs: ")}
        for strategy in STRATEGIES:
            values = [found[strategy, seed][cell]["rouge1"] for seed in seeds]
            interval = t_interval(values) if len(values) > 1 else None
            row[strategy] = f"{np.mean(values):.2f}" + (
                f" ({interval.low:.2f}-{interval.high:.2f})" if interval else ""
            )
        out.append(row)
    return out


def main(tiny: bool = False, work: Path = Path("runs/pegasus/claim-large")) -> list[Row]:
    """All strategies and seeds; kept in benchmarks/results unless they are tiny."""
    import torch

    data = data_folder()
    if data is None or not (data / "papers").exists() or not (data / "scitldr").exists():
        print("claim_large: skipped, the real data (NONET_DATA) is not here")
        return []
    if not tiny and not torch.cuda.is_available():
        print("claim_large: skipped, it needs a GPU")
        return []
    clean_corpus(work, data, tiny)
    of = setting(work, tiny)
    prepare(of)
    seeds = SEEDS[:1] if tiny else SEEDS
    jobs = [
        (f"{name}-{seed}", arm, (of, name, seed, work, data, tiny)) for seed in seeds for name in STRATEGIES
    ]
    results = run_arms(jobs, work / "arms", processes=1)
    found = {(job[2][1], job[2][2]): result for job, result in zip(jobs, results, strict=True)}
    told = rows(found, seeds)
    print(table(told))
    if not tiny:
        save(
            "pegasus", told, table="large", versions=("torch", "transformers", "lightning"), seed=list(seeds)
        )
    return told


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/pegasus/claim-large"))
    main(work=parser.parse_args().work)
