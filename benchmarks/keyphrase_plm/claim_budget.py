"""Where should the layers of a small encoder-decoder be? B2B of equal size, on a CPU.

`python -m benchmarks.keyphrase_plm.claim_budget` trains three BERT2BERTs of 128 wide with 8 + 4, 6 + 6 and
4 + 8 layers from random weights on 4,945 posts of StackExchange (cut to 96 pieces) and scores 500 others by
the convention chan: F1@M of present and of absent phrases, with the number of predictions beside them; and
it times greedy decoding of one document at a time, in CPU seconds of one thread. A decoder layer has more
weights than an encoder layer, so that all are brought to the size of 8 + 4 by the width of their
feed-forward layers (`keyphrase-plm budget` does the same). Three seeds; about two hours of one core.

Said before it was run: latency grows with the number of decoder layers, 4 + 8 taking half as long again as
8 + 4 or more, for decoding goes through the decoder once a piece; differences in F1 lie within the noise of
three seeds at this size, so that nothing is claimed of them.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.arms import arguments, run_arms
from benchmarks.data import data_folder
from benchmarks.harness import Row, save, table
from benchmarks.keyphrase_plm.experiment import (
    Setting,
    finetune,
    measured,
    over_documents,
    posts,
    predicted,
    vocabulary,
)

DEPTHS = ((8, 4), (6, 6), (4, 8))
SEEDS = (0, 1, 2)
STEPS = 600
SCORED = 500  # posts
TARGET = 40  # pieces written at most
TIMED = 40  # documents


def setting(tiny: bool = False) -> Setting:
    """The sizes of the experiment; tiny ones are for tests."""
    if tiny:
        return Setting(
            layers=12, width=64, heads=1, vocabulary=300, pieces=32, pretrain_steps=1, pretrain_batch=2,
            finetune_batch=4, texts=12,
        )  # fmt: skip
    return Setting(layers=12, pieces=96)


def shapes(of: Setting, words: int) -> dict[str, Any]:
    """The three shapes at the size of the first, by their names."""
    from keyphrase_plm.budgets import Shape, equal_size

    plain = [Shape(of.width, e, d, vocabulary=words, positions=512) for e, d in DEPTHS]
    return {f"{each.encoder} + {each.decoder}": each for each in equal_size(plain)}


def latency(family: Any, documents: Sequence[Any]) -> float:
    """The median of milliseconds a document, one at a time, each written to the full length."""
    from keyphrase_plm.decoding_options import DecodeOptions
    from keyphrase_plm.predicting import predict

    options = DecodeOptions(min_length=TARGET, max_length=TARGET)
    found = []
    for document in documents:
        start = time.process_time()
        list(predict(family, [document], options))
        found.append(1000 * (time.process_time() - start))
    return float(np.median(found))


def arm(of: Setting, name: str, seed: int, work: Path, tiny: bool) -> dict[str, Any]:
    """One shape and seed: trained, scored and timed."""
    from keyphrase_plm.bert2bert import Bert2Bert

    tokenizer = vocabulary(of, [], work / "tokenizer")
    shape = shapes(of, len(tokenizer))[name]
    family = Bert2Bert.from_shapes(
        tokenizer, encoder_layers=shape.encoder, decoder_layers=shape.decoder, width=of.width, heads=of.heads,
        feed_forward=shape.width, dropout=0.1, max_source=of.pieces, max_target=TARGET, max_output=TARGET,
        seed=seed,
    )  # fmt: skip
    size = sum(part.numel() for part in family.parameters())
    learn, test = posts("valid", of.texts), posts("test", 3 if tiny else SCORED)
    folder = work / f"{name.replace(' ', '')}-{seed}"
    family = finetune(of, family, learn, folder, steps=1 if tiny else STEPS, seed=seed)
    said = predicted(family, test)
    return {
        "present": measured(test, said, "M"),
        "absent": measured(test, said, "M", of="absent"),
        "parameters": size,
        "feed_forward": shape.width,
        "milliseconds": latency(family, test[: 1 if tiny else TIMED]),
    }


def rows(found: dict[tuple[str, int], dict[str, Any]], seeds: Sequence[int]) -> list[Row]:
    """A row a shape: means over the seeds, and the interval of the difference to 8 + 4 over documents."""
    out: list[Row] = []
    first = next(iter(found))[0]
    for name in dict.fromkeys(key[0] for key in found):
        runs = [found[name, seed] for seed in seeds]
        base = [found[first, seed] for seed in seeds]
        row: Row = {"name": f"{name} layers", "parameters": f"{runs[0]['parameters']:,}"}
        row["feed-forward"] = runs[0]["feed_forward"]
        for of in ("present", "absent"):
            f1 = np.array([each[of]["f1"] for each in runs])
            deviation = f" (sd {f1.std(ddof=1):.1f})" if len(seeds) > 1 else ""
            row[f"{of} F1@M"] = f"{f1.mean():.1f}{deviation}"
            row[f"{of}, minus {first}"] = (
                ""
                if name == first
                else "{:+.1f} to {:+.1f}".format(
                    *over_documents([each[of] for each in runs], [each[of] for each in base])
                )
            )
        row["predictions"] = f"{np.mean([each['present']['all'] for each in runs]):.1f}"
        row["ms a document"] = f"{np.median([each['milliseconds'] for each in runs]):.0f}"
        out.append(row)
    return out


def main(
    tiny: bool = False, work: Path = Path("runs/keyphrase-plm/claim-budget"), processes: int = 2
) -> list[Row]:
    """All shapes and seeds; kept in benchmarks/results unless they are tiny."""
    if data_folder("stackexchange-kp") is None:
        print("claim_budget: skipped, the real data (NONET_DATA) is not here")
        return []
    of = setting(tiny)
    texts = [f"{each.title} {each.body}" for each in posts("valid", of.texts)]
    tokenizer = vocabulary(of, texts, work / "tokenizer")
    seeds = SEEDS[:1] if tiny else SEEDS
    processes = 1 if tiny else processes
    sized = shapes(of, len(tokenizer))
    jobs = [
        (f"{name.replace(' ', '')}-{seed}", arm, (of, name, seed, work, tiny))
        for seed in seeds
        for name in sized
    ]
    results = run_arms(jobs, work / "arms", processes=processes)
    found = {job[2][1:3]: result for job, result in zip(jobs, results, strict=True)}
    told = rows(found, seeds)
    print(table(told))
    if not tiny:
        save(
            "keyphrase-plm", told, table="budget", versions=("torch", "transformers", "lightning"),
            data="StackExchange: 4,945 posts learnt from, 500 scored", seed=list(seeds),
        )  # fmt: skip
    return told


if __name__ == "__main__":
    parsed = arguments(__doc__, "runs/keyphrase-plm/claim-budget").parse_args()
    main(work=parsed.work, processes=parsed.processes)
