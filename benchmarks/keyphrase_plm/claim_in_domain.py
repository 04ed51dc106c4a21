"""Does pre-training an encoder in its domain save labels? A tagger of papers' keywords, on a CPU.

`python -m benchmarks.keyphrase_plm.claim_in_domain` fine-tunes BERTs of 1.9 million weights (4 layers, 128
wide, 8,000 pieces) to tag the keywords of 300 and of 3,000 papers and scores 400 others: F1@M of present
phrases by the convention chan, with the number of predictions beside it, as a collapse to no prediction is
the failure of small models. Arms: random weights; masked words on titles and abstracts of papers (none that
is scored); masked words on posts of StackExchange, as many pieces, seen as often. One pre-training an arm,
five million pieces, and three seeds of fine-tuning. About eighty minutes of one core.

Said before it was run: (1) at 300 papers, abstracts lie above posts, and posts not below random weights;
(2) abstracts minus random weights is larger at 300 papers than at 3,000; (3) a tagger that learnt from 3,000
papers lies above YAKE whatever its start. Five million pieces are a thousandth of what BERT saw, so that a
gain of a few points of F1 is the most to expect, and posts against random weights may not be told apart.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.arms import arguments, run_arms
from benchmarks.data import data_folder
from benchmarks.harness import Row, save, table
from benchmarks.keyphrase_plm.experiment import (
    Setting,
    abstracts,
    encoder,
    finetune,
    floors,
    measured,
    over_documents,
    papers,
    posts,
    predicted,
    pretrain,
    vocabulary,
)

ARMS = ("random", "posts", "abstracts")
SIZES = (300, 3000)
STEPS = {300: 400, 3000: 600}
SEEDS = (0, 1, 2)
FEW = (8, 6)  # papers learnt from and scored in a tiny run


def setting(tiny: bool = False) -> Setting:
    """The sizes of the experiment; tiny ones are for tests."""
    if tiny:
        return Setting(
            layers=1, width=32, vocabulary=400, pieces=48, pretrain_steps=2, pretrain_batch=4, texts=60
        )
    return Setting()


def corpora(of: Setting) -> dict[str, list[str]]:
    """Raw texts of both domains."""
    _, test = papers(0)
    both = [*posts("valid", of.texts), *posts("test", of.texts)]
    return {"abstracts": abstracts(test, of.texts), "posts": [f"{each.title} {each.body}" for each in both]}


def pretrained(of: Setting, name: str, work: Path, pieces: int) -> dict[str, Any]:
    """One pre-training; the model lies in WORK/<name>/model."""
    tokenizer = vocabulary(of, [], work / "tokenizer")
    return pretrain(of, tokenizer, corpora(of)[name], work / name, seed=0, pieces=pieces)


def arm(of: Setting, name: str, size: int, seed: int, work: Path, tiny: bool) -> dict[str, Any]:
    """One fine-tuning and its score."""
    import torch

    from keyphrase_plm.tagger import Tagger
    from keyphrase_plm.tagger_options import TaggerOptions

    learn, test = papers(*FEW) if tiny else papers()
    tokenizer = vocabulary(of, [], work / "tokenizer")
    start = work / name / "model"
    if name == "random":
        start = encoder(of, tokenizer, work / f"random-{seed}", seed=seed)
    torch.manual_seed(seed)
    options = TaggerOptions(max_pieces=of.pieces, begin_weight=4, inside_weight=4)
    family = Tagger.create(str(start), options)
    steps = 2 if tiny else STEPS[size]
    folder = work / f"{name}-{size}-{seed}"
    family = finetune(of, family, learn[:size], folder, steps=steps, seed=seed)
    return measured(test, predicted(family, test), "M")


def rows(
    found: dict[tuple[str, int, int], dict[str, Any]], low: dict[str, dict], seeds: Sequence[int]
) -> list[Row]:
    """A row an arm and size with the mean over seeds, and two intervals of its difference to random weights:
    over seeds (Student's) and over documents (drawn anew)."""
    from nonet.metrics.stats import t_interval

    out: list[Row] = []
    for size in SIZES:
        base = [found["random", size, seed] for seed in seeds]
        for name in ARMS:
            runs = [found[name, size, seed] for seed in seeds]
            f1 = np.array([each["f1"] for each in runs])
            row: Row = {
                "name": f"{size} papers, {name}",
                "present F1@M": f"{f1.mean():.1f}",
                "over documents": "{:.1f} to {:.1f}".format(*over_documents(runs)),
                "minus random, over seeds": "",
                "minus random, over documents": "",
                "precision": f"{np.mean([each['precision'] for each in runs]):.1f}",
                "recall": f"{np.mean([each['recall'] for each in runs]):.1f}",
                "predictions": f"{np.mean([each['predictions'] for each in runs]):.1f}",
                "CPU seconds": round(float(np.mean([each["cpu_seconds"] for each in runs]))),
            }
            if name != "random":
                gain = f1 - np.array([each["f1"] for each in base])
                if len(seeds) > 1:
                    over = t_interval(gain)
                    span = f"{over.mean:+.1f} ({over.low:+.1f} to {over.high:+.1f})"
                    row["minus random, over seeds"] = span
                row["minus random, over documents"] = "{:+.1f} to {:+.1f}".format(*over_documents(runs, base))
            out.append(row)
    for name, each in low.items():
        out.append({
            "name": name,
            "present F1@M": f"{each['f1']:.1f}",
            "over documents": "{:.1f} to {:.1f}".format(*over_documents([each])),
            "minus random, over seeds": "",
            "minus random, over documents": "",
            "precision": f"{each['precision']:.1f}",
            "recall": f"{each['recall']:.1f}",
            "predictions": f"{each['predictions']:.1f}",
            "CPU seconds": "",
        })  # fmt: skip
    return out


def main(
    tiny: bool = False, work: Path = Path("runs/keyphrase-plm/claim-in-domain"), processes: int = 2
) -> list[Row]:
    """All arms and seeds; kept in benchmarks/results unless they are tiny."""
    if data_folder("papers") is None or data_folder("stackexchange-kp") is None:
        print("claim_in_domain: skipped, the real data (NONET_DATA) is not here")
        return []
    of = setting(tiny)
    texts = corpora(of)
    tokenizer = vocabulary(of, texts["abstracts"], work / "tokenizer")
    pieces = sum(map(len, tokenizer(texts["posts"], add_special_tokens=False, verbose=False)["input_ids"]))
    seeds = SEEDS[:1] if tiny else SEEDS
    processes = 1 if tiny else processes
    starts = run_arms(
        [(f"pretrain-{name}", pretrained, (of, name, work, pieces)) for name in ("abstracts", "posts")],
        work / "arms",
        processes=processes,
    )
    for name, each in zip(("abstracts", "posts"), starts, strict=True):
        print(f"{name}: {each['pieces']:,} pieces, {each['passes']:.1f} passes, loss {each['loss']}")
    jobs = [
        (f"{name}-{size}-{seed}", arm, (replace(of), name, size, seed, work, tiny))
        for seed in seeds
        for size in SIZES
        for name in ARMS
    ]
    results = run_arms(jobs, work / "arms", processes=processes)
    found = {job[2][1:4]: result for job, result in zip(jobs, results, strict=True)}
    learn, test = papers(*FEW) if tiny else papers()
    told = rows(found, floors(test, lambda: learn), seeds)
    print(table(told))
    if not tiny:
        save(
            "keyphrase-plm", told, table="in-domain", versions=("torch", "transformers", "lightning"),
            data="papers: 400 scored; 300 or 3,000 learnt from; StackExchange posts", seed=list(seeds),
            pretraining=dict(zip(("abstracts", "posts"), starts, strict=True)),
        )  # fmt: skip
    return told


if __name__ == "__main__":
    parsed = arguments(__doc__, "runs/keyphrase-plm/claim-in-domain").parse_args()
    main(work=parsed.work, processes=parsed.processes)
