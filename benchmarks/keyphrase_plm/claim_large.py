"""Which family, which depths, and how many labels, with and without pre-training in the domain? On one GPU.

`python -m benchmarks.keyphrase_plm.claim_large` pre-trains encoders of 12 layers, 512 wide (16,000 pieces)
by masked words on the titles and abstracts of 36,000 papers without those that are scored, fine-tunes
prefix-LMs and BERT2BERTs on 200, 800 and 3,200 papers, and scores 400 others and, for the change of domain,
1,000 posts of
StackExchange: F1@M of present and absent phrases by the convention chan, three seeds. At 3,200 papers,
BERT2BERTs with 10 + 2, 8 + 4, 6 + 6, 4 + 8 and 2 + 10 layers are compared at one size, set by the width of
their feed-forward layers. Needs a GPU with bf16; ten to thirty minutes on one H200 by estimate, which nobody
has run
yet: there is no table of it.

Said before it is run: at 200 and 800 papers, pre-trained encoders lie 3 points of F1@M or more above random
ones; prefix-LMs lie above BERT2BERTs there, whose cross-attention begins at random; of the depths, those
with more encoder layers are not below those with more decoder layers. Models are small and labels few:
numbers are not comparable with published ones, only directions are.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.arms import run_arms
from benchmarks.data import data_folder
from benchmarks.harness import Row, save, table
from benchmarks.keyphrase_plm.experiment import (
    Setting,
    abstracts,
    encoder,
    finetune,
    measured,
    over_documents,
    papers,
    posts,
    predicted,
    pretrain,
    vocabulary,
)

STARTS = ("random", "abstracts")
SIZES = (200, 800, 3200)
STEPS = {200: 300, 800: 600, 3200: 1200}
DEPTHS = ((8, 4), (10, 2), (6, 6), (4, 8), (2, 10))
SEEDS = (0, 1, 2)
TARGET = 48  # pieces written at most
FEW = (8, 4)  # papers learnt from and scored in a tiny run


def setting(tiny: bool = False) -> Setting:
    """The sizes of the experiment; tiny ones, on the CPU, are for tests."""
    if tiny:
        return Setting(
            layers=12, width=64, heads=1, vocabulary=300, pieces=80, pretrain_steps=1, pretrain_batch=2,
            finetune_batch=4, texts=12,
        )  # fmt: skip
    return Setting(
        layers=12, width=512, heads=8, vocabulary=16_000, pieces=320, pretrain_steps=4000, pretrain_batch=64,
        pretrain_lr=5e-4, finetune_lr=1e-4, finetune_batch=32, accelerator="gpu",
    )  # fmt: skip


def jobs_of(tiny: bool) -> list[tuple[str, str, int, str, int]]:
    """Family, start, papers, depths and seed of each fine-tuning."""
    seeds, sizes = (SEEDS[:1], SIZES[:1]) if tiny else (SEEDS, SIZES)
    found = [
        (family, start, size, "8 + 4" if family == "b2b" else "", seed)
        for seed in seeds
        for family in ("prefix-lm", "b2b")
        for start in STARTS
        for size in sizes
    ]
    depths = [f"{e} + {d}" for e, d in (DEPTHS[1:2] if tiny else DEPTHS[1:])]
    return found + [("b2b", "abstracts", sizes[-1], each, seed) for seed in seeds for each in depths]


def feed_forward(of: Setting, words: int, depths: str) -> int:
    """The width of the feed-forward layers that brings a shape to the size of 8 + 4; of the prefix-LM, four
    times its width."""
    from keyphrase_plm.budgets import Shape, equal_size

    if not depths:
        return 4 * of.width
    plain = [Shape(of.width, e, d, vocabulary=words, positions=512) for e, d in DEPTHS]
    sized = {f"{each.encoder} + {each.decoder}": each.width for each in equal_size(plain)}
    return sized[depths]


def pretrained(of: Setting, width: int, work: Path) -> dict[str, Any]:
    """An encoder with feed-forward layers of one width; in WORK/mlm-<width>/model."""
    tokenizer = vocabulary(of, [], work / "tokenizer")
    texts = abstracts(papers(0)[1], of.texts)
    return pretrain(
        replace(of, feed_forward=width), tokenizer, texts, work / f"mlm-{width}", seed=0, pieces=None
    )


def arm(
    of: Setting, kind: str, start: str, size: int, depths: str, seed: int, work: Path, tiny: bool
) -> dict[str, Any]:
    """One fine-tuning, scored in and out of its domain."""
    import torch

    from keyphrase_plm.bert2bert import Bert2Bert
    from keyphrase_plm.bert2bert_options import Bert2BertOptions
    from keyphrase_plm.prefix_family import PrefixLM
    from keyphrase_plm.prefix_options import PrefixOptions

    tokenizer = vocabulary(of, [], work / "tokenizer")
    width = feed_forward(of, len(tokenizer), depths)
    init = work / f"mlm-{width}" / "model"
    if start == "random":
        init = encoder(replace(of, feed_forward=width), tokenizer, work / f"random-{width}-{seed}", seed=seed)
    torch.manual_seed(seed)
    family: Any
    if kind == "prefix-lm":
        source = of.pieces - TARGET
        family = PrefixLM.create(str(init), PrefixOptions(max_source=source, max_target=TARGET))
    else:
        e, d = (int(part) for part in depths.split(" + "))
        options = Bert2BertOptions(
            encoder_layers=e, decoder_layers=d, dropout=0.1, max_source=of.pieces, max_target=TARGET,
            max_output=TARGET, seed=seed,
        )  # fmt: skip
        family = Bert2Bert.create(str(init), options)
    learn, test = papers(*FEW) if tiny else papers()
    name = f"{kind}-{start}-{size}-{depths.replace(' ', '')}-{seed}"
    steps = 1 if tiny else STEPS[size]
    family = finetune(of, family, learn[:size], work / name, steps=steps, seed=seed)
    found: dict[str, Any] = {"parameters": sum(part.numel() for part in family.parameters())}
    for domain, documents in (("papers", test), ("posts", posts("test", 2 if tiny else 1000))):
        said = predicted(family, documents)
        for side in ("present", "absent"):
            found[f"{side}, {domain}"] = measured(documents, said, "M", of=side)
    return found


def rows(found: dict[tuple, dict[str, Any]], seeds: Sequence[int]) -> list[Row]:
    """A row a family, start, size and depths: means over the seeds, and for present phrases of papers the
    interval over documents of the difference to random weights."""
    out: list[Row] = []
    for key in dict.fromkeys(key[:-1] for key in found):
        kind, start, size, depths = key
        runs = [found[(*key, seed)] for seed in seeds]
        row: Row = {"name": f"{kind}{' ' + depths if depths else ''}, {size} papers, {start}"}
        row["parameters"] = f"{runs[0]['parameters']:,}"
        for side in ("present, papers", "absent, papers", "present, posts", "absent, posts"):
            row[side] = f"{np.mean([each[side]['f1'] for each in runs]):.1f}"
        row["predictions"] = f"{np.mean([each['present, papers']['all'] for each in runs]):.1f}"
        other = (kind, "random", size, depths)
        row["present, minus random"] = ""
        if start != "random" and (*other, seeds[0]) in found:
            base = [found[(*other, seed)]["present, papers"] for seed in seeds]
            span = over_documents([each["present, papers"] for each in runs], base)
            row["present, minus random"] = "{:+.1f} to {:+.1f}".format(*span)
        out.append(row)
    return out


def main(tiny: bool = False, work: Path = Path("runs/keyphrase-plm/claim-large")) -> list[Row]:
    """All arms and seeds; kept in benchmarks/results unless they are tiny."""
    import torch

    if data_folder("papers") is None or data_folder("stackexchange-kp") is None:
        print("claim_large: skipped, the real data (NONET_DATA) is not here")
        return []
    if not tiny and not torch.cuda.is_available():
        print("claim_large: skipped, it needs a GPU")
        return []
    of = setting(tiny)
    tokenizer = vocabulary(of, abstracts(papers(0)[1], of.texts), work / "tokenizer")
    planned = jobs_of(tiny)
    widths = sorted({feed_forward(of, len(tokenizer), each[3]) for each in planned if each[1] != "random"})
    starts = [(f"mlm-{width}", pretrained, (of, width, work)) for width in widths]
    run_arms(starts, work / "arms", processes=1)
    jobs = [
        (f"{'-'.join(map(str, each)).replace(' ', '')}", arm, (of, *each, work, tiny)) for each in planned
    ]
    results = run_arms(jobs, work / "arms", processes=1)
    told = rows(dict(zip(planned, results, strict=True)), SEEDS[:1] if tiny else SEEDS)
    print(table(told))
    if not tiny:
        save(
            "keyphrase-plm", told, table="large", versions=("torch", "transformers", "lightning"),
            data="papers: 400 scored; StackExchange: 1,000 posts scored", seed=list(SEEDS),
        )  # fmt: skip
    return told


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path("runs/keyphrase-plm/claim-large"))
    main(work=parser.parse_args().work)
