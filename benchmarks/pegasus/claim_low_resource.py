"""Does pre-training on gap sentences help fine-tuning on few pairs? On e-mails and their subjects, on a CPU.

`python -m benchmarks.pegasus.claim_low_resource` trains a model of 0.7 million weights on the bodies of the
AESLC training e-mails (no subjects), fine-tunes it on the first 1,000 pairs, and measures nats a subject
token on held-out e-mails. About 70 CPU minutes for all arms and three seeds.

Said before it was run: both gap-sentence arms end below "none" and below "none, longer"; "random" and
"ind-orig" are not told apart, because the subject of an e-mail follows its first line (see claim_proxy.py).
ROUGE is close to zero for every arm at this size and is printed for that reason alone.

The arms: no pre-training; no pre-training and as many more fine-tuning steps as pre-training takes, stopped
when validation stops improving; gap sentences chosen at random; by importance (ind-orig); masked words
alone. The first 100 development e-mails choose the weights, the other 1,860 are scored.
"""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.arms import arguments, run_arms
from benchmarks.data import data_folder
from benchmarks.harness import Row, save, table
from benchmarks.pegasus.experiment import (
    Pairs,
    Setting,
    finetune,
    jsonl,
    nats,
    prepare,
    pretrain,
    rouge,
)

from nonet.files import write_text
from nonet.metrics.stats import t_interval
from pegasus.options import DecodeOptions, MaskOptions, ModelOptions

ARMS = {
    "none": {},
    "none, longer": {},
    "random": {"strategy": "random"},
    "ind-orig": {"strategy": "ind-orig"},
    "masked words": {"strategy": "none", "words": 0.15},
}
PAIRS, CHOOSING = 1000, 100
SEEDS = (0, 1, 2)


def setting(work: Path, corpus: Path, tiny: bool = False) -> Setting:
    """The sizes of the experiment; tiny ones are for tests."""
    return Setting(
        name="aeslc",
        corpus=corpus,
        text_field="body",
        tokenizer=work / "tokenizer",
        shards=work / "shards",
        model=ModelOptions(size="tiny", layers=2, width=96, heads=3, feed_forward=384, dropout=0.1),
        masks=MaskOptions(max_input=64, max_target=24),
        pretrain_steps=4 if tiny else 2000,
        finetune_steps=4 if tiny else 300,
        batch=32,
        pretrain_lr=2e-3,
        finetune_lr=1e-3,
        vocabulary=300 if tiny else 2000,
    )


def first_lines(path: Path, work: Path, count: int) -> Path:
    """The first lines of a file as a file in the work folder."""
    with open(path, encoding="utf-8") as file:
        write_text(work / path.name, "".join(itertools.islice(file, count)))
    return work / path.name


def emails(path: Path) -> Pairs:
    """Bodies and subjects."""
    records = jsonl(path)
    return Pairs(
        [" ".join(record["body"]) for record in records], [[record["subject"]] for record in records]
    )


def arm(of: Setting, name: str, seed: int, folder: Path, train: Path, dev: Path) -> dict[str, Any]:
    """One arm: pre-training, fine-tuning, nats on held-out e-mails before and after it."""
    from pegasus.model import new_model
    from pegasus.tokenizer import Tokenizer

    held_out = emails(dev)
    choose, score = (
        held_out.first(CHOOSING),
        Pairs(held_out.documents[CHOOSING:], held_out.summaries[CHOOSING:]),
    )
    if ARMS[name]:
        kept = folder / f"{name}-{seed}-pretrained"
        model = pretrain(of, kept, seed=seed, **ARMS[name])  # type: ignore[arg-type]
    else:
        model = new_model(of.model, len(Tokenizer.load(of.tokenizer)), seed=seed)
    before = nats(of, model, score)
    longer = name == "none, longer"
    steps = of.finetune_steps + (of.pretrain_steps if longer else 0)
    model = finetune(
        of, folder / f"{name}-{seed}-finetuned", model, emails(train).first(PAIRS), choose,
        steps=steps, seed=seed, patience=10 if longer else 0,
    )  # fmt: skip
    greedy = DecodeOptions(beams=1, max_length=24, max_input=64)
    return {"nats": nats(of, model, score), "before": before, **rouge(of, model, score.first(200), greedy)}


def rows(found: dict[tuple[str, int], dict[str, Any]], seeds: tuple[int, ...]) -> list[Row]:
    """A row an arm: mean over the seeds, and the difference to "none" with its t interval."""
    out = []
    for name in ARMS:
        values = np.array([found[name, seed]["nats"] for seed in seeds])
        base = np.array([found["none", seed]["nats"] for seed in seeds])
        row: Row = {
            "name": name,
            "nats a subject token": f"{values.mean():.3f}",
            "sd over seeds": f"{values.std(ddof=1):.3f}" if len(seeds) > 1 else "",
            "minus none (95 % interval)": "",
            "before fine-tuning": f"{np.mean([found[name, seed]['before'] for seed in seeds]):.3f}",
            "ROUGE-1": f"{np.mean([found[name, seed]['rouge1'] for seed in seeds]):.2f}",
            "CPU seconds": round(float(np.mean([found[name, seed]["cpu_seconds"] for seed in seeds]))),
        }
        if name != "none" and len(seeds) > 1:
            interval = t_interval(values - base)
            row["minus none (95 % interval)"] = (
                f"{interval.mean:+.3f} ({interval.low:+.3f} to {interval.high:+.3f})"
            )
        out.append(row)
    return out


def main(
    tiny: bool = False, work: Path = Path("runs/pegasus/claim-low-resource"), processes: int = 2
) -> list[Row]:
    """All arms and seeds; kept in benchmarks/results unless they are tiny."""
    folder = data_folder("aeslc")
    if folder is None:
        print("claim_low_resource: skipped, the real data (NONET_DATA) is not here")
        return []
    train, dev = folder / "train.jsonl", folder / "dev.jsonl"
    if tiny:
        train, dev = first_lines(train, work, 200), first_lines(dev, work, CHOOSING + 20)
    of = setting(work, train, tiny)
    prepare(of)
    seeds = SEEDS[:1] if tiny else SEEDS
    jobs = [
        (
            f"{name.replace(', ', '-')}-{seed}",
            arm,
            (of, name, seed, work, train, dev),
        )
        for seed in seeds
        for name in ARMS
    ]
    results = run_arms(jobs, work / "arms", processes=1 if tiny else processes)
    found = {(job[2][1], job[2][2]): result for job, result in zip(jobs, results, strict=True)}
    told = rows(found, seeds)
    print(table(told))
    if not tiny:
        data = "AESLC: bodies of train for pre-training, first 1,000 pairs, 1,860 dev e-mails scored"
        versions = ("torch", "transformers", "lightning")
        save("pegasus", told, table="low-resource", versions=versions, data=data, seed=list(seeds))
    return told


if __name__ == "__main__":
    parser = arguments(__doc__, "runs/pegasus/claim-low-resource")
    arguments = parser.parse_args()
    main(work=arguments.work, processes=arguments.processes)
