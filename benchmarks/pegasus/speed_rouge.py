"""`make bench-pegasus`: pairs of texts that ROUGE scores in a second, against rouge-score in one process.

Both compute the same numbers, which is checked to the last bit before anything is timed. Neither remembers
stems from one pair to the next. Compilation is not timed. Source: ours.
"""

import json
import random
from collections.abc import Sequence

import numpy as np
from benchmarks.data import data_folder
from benchmarks.harness import Row, save, table, versus

from nonet.errors import needs
from nonet.metrics.rouge import TYPES, Scores, score, score_pairs

SEED = 0
WORDS, LINES = 60, 3  # of a made-up text
STARTS = "b br c ch cl d dr f fl g gr h j k l m n p pl qu r s sh st str t th tr v w".split()
MIDDLES = "a e i o u ea ai ou y".split()
ENDS = "n r l t s m ck st nd ng".split()
SUFFIXES = [
    "",
    "",
    "s",
    "ed",
    "ing",
    "er",
    "ness",
    "ation",
    "ational",
    "ive",
    "ly",
    "ment",
    "able",
    "ity",
    "e",
]


def made_up(stemmer: bool, tiny: bool = False) -> Row:
    """Pairs that share half their words, each with words of its own."""
    rng = random.Random(SEED)
    pairs = [made_up_pair(rng) for _ in range(3 if tiny else 400)]
    row = contest(f"{WORDS}-word pairs, {'stems' if stemmer else 'words as they are'}", pairs, stemmer, tiny)
    return row | {"pairs": len(pairs)}


def summaries(tiny: bool = False) -> Row | None:
    """SciTLDR: one-line summaries against the abstract's sentences, one a line; None without the data."""
    path = data_folder("scitldr", "test.jsonl")
    if path is None:
        return None
    with open(path, encoding="utf-8") as lines:
        items = [json.loads(line) for line in lines][: 3 if tiny else 150]
    pairs = [(item["target"][0], "\n".join(item["source"])) for item in items]
    return contest("SciTLDR abstracts against summaries, stems", pairs, True, tiny) | {"pairs": len(pairs)}


def one_by_one(tiny: bool = False) -> Row:
    """A call for every pair, as code written for rouge-score makes it."""
    rng = random.Random(SEED + 1)
    pairs = [made_up_pair(rng) for _ in range(3 if tiny else 200)]
    scorer = needs("rouge_score.rouge_scorer", to="compare with it", install="rouge-score").RougeScorer(
        TYPES, True
    )
    return versus(
        f"{WORDS}-word pairs, stems, one call a pair",
        lambda: [score(target, prediction) for target, prediction in pairs],
        lambda: [scorer.score(target, prediction) for target, prediction in pairs],
        lambda ours, theirs: all(
            tuple(a[k]) == tuple(b[k]) for a, b in zip(ours, theirs, strict=True) for k in TYPES
        ),
        rounds=1 if tiny else 5,
        min_seconds=0 if tiny else 0.2,
        unit="pairs",
        per_call=len(pairs),
    ) | {"pairs": len(pairs)}


def contest(name: str, pairs: Sequence[tuple[str, str]], stemmer: bool, tiny: bool) -> Row:
    """Time both on the same pairs."""
    scorer = needs("rouge_score.rouge_scorer", to="compare with it", install="rouge-score").RougeScorer(
        TYPES, stemmer
    )
    targets, predictions = [target for target, _ in pairs], [prediction for _, prediction in pairs]

    def peer() -> Scores:
        scores = [scorer.score(target, prediction) for target, prediction in pairs]
        return {kind: np.array([tuple(one[kind]) for one in scores], np.float64) for kind in TYPES}

    def same(ours: Scores, theirs: Scores) -> bool | str:
        worst = {kind: float(np.abs(ours[kind] - theirs[kind]).max()) for kind in TYPES}
        return not any(worst.values()) or f"largest differences {worst}"

    return versus(
        name,
        lambda: score_pairs(targets, predictions, TYPES, stemmer),
        peer,
        same,
        rounds=1 if tiny else 5,
        min_seconds=0 if tiny else 0.2,
        unit="pairs",
        per_call=len(pairs),
    )


def made_up_pair(rng: random.Random) -> tuple[str, str]:
    """Two texts of WORDS words on LINES lines; every second word of the prediction is the target's."""
    target = [made_up_word(rng) for _ in range(WORDS)]
    prediction = [word if rng.random() < 0.5 else made_up_word(rng) for word in target]
    each = WORDS // LINES
    first, second = (
        "\n".join(" ".join(words[i : i + each]) for i in range(0, WORDS, each))
        for words in (target, prediction)
    )
    return first, second


def made_up_word(rng: random.Random) -> str:
    """One to three syllables and a suffix."""
    syllables = (rng.choice(STARTS) + rng.choice(MIDDLES) for _ in range(rng.randint(1, 3)))
    return "".join(syllables) + rng.choice(ENDS) + rng.choice(SUFFIXES)


def main(tiny: bool = False) -> list[Row]:
    """All rows; kept in benchmarks/results unless they are tiny."""
    found = [made_up(True, tiny), made_up(False, tiny), one_by_one(tiny), summaries(tiny)]
    rows = [row for row in found if row is not None]
    print(table(rows))
    if not tiny:
        versions = ("numpy", "numba", "rouge-score", "nltk")
        save("pegasus", rows, versions=versions, data="made-up words; SciTLDR test", seed=SEED)
    return rows


if __name__ == "__main__":
    main()
