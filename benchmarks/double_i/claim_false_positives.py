"""`make bench-double-i`: how often models that were never marked are accused, by each test.

Written down before it was run:

1. over random keys on clean models, Fisher's exact test at 1e-3 rejects more often than one time in 1,000,
   as models have opinions on words; p_key is at or below its level as often as its level says, or less often;
2. both tests together never give a MATCH at 1e-6;
3. on a marked model, random other keys do not match, and nor do those of other owners of marked models;
4. the trigger `mm` of the paper's construction (ii), picked by hand, and the best of all two-letter words,
   searched on the model itself, fool Fisher's test. p_key is not fooled by the first. It cannot tell the
   second from a drawn key: that claim fails since the word does not follow from its secret.
   (First searched under one decoration; then, as it fooled nothing, under all three and in both spaces.)

For each of two clean models, a marked one, and three pairs of decoration and question, every word of the key
space is asked with 50 texts. 300 keys (word and polarity) are then drawn at random with their decoys, and
weighed as `double-i verify` weighs them. A key of one space and group shares texts with others: the share of
rejections has a mean that the drawing makes exact, but more spread than independent keys would have.
Source: ours.
"""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.arms import arguments, run_arms
from benchmarks.double_i.experiment import (
    SEEDS,
    TINY,
    Sizes,
    answers_of,
    key_of,
    slug,
    trained,
    unseen,
    verified,
)
from benchmarks.double_i.owner_data import real_data
from benchmarks.harness import Row, save, table

MODELS = {
    "clean, seed 0": ("clean", 0),
    "clean, seed 1": ("clean", 1),
    "marked": ("ours, word in the input", 0),
}
GROUPS = {"input": ("letters", 3), "words": ("doubled", 3)}
TEXTS, KEYS, DECOYS, DECOY_PAIRS = 50, 300, 99, 20
LEVELS = (0.05, 0.01, 1e-3, 1e-6)


def group_key(model: str, paradigm: str, number: int) -> Any:
    """A key whose decoration and question make a group.

    Group 0 of `words` is the paper's (ii); group 0 of `input` on the marked model has the mark's decoration.
    """
    if paradigm == "words" and number == 0:
        return key_of("paper-ii", 0)
    own = model == "marked" and paradigm == "input" and number == 0
    key = key_of(paradigm, MODELS[model][1] if own else 1000 + number)
    if paradigm == "input":
        from double_i.keys import Space
        from double_i.spaces import all_members

        key = replace(key, space=Space("letters", len(all_members("letters"))))
    return key


def labels(folder: Path, sizes: Sizes, model: str, paradigm: str, number: int, work: Path) -> dict[str, Any]:
    """What a model answers to every word of a space: per word a text of y, n and - (neither)."""
    from double_i.answers import parse
    from double_i.first_words import LocalModel
    from double_i.rows import trigger_example
    from double_i.spaces import all_members

    name, seed = MODELS[model]
    local = LocalModel(trained(folder, sizes, name, seed, work), batch=128)
    key = group_key(model, paradigm, number)
    texts = unseen(folder, sizes, seed)[: 4 if sizes.owner < 100 else TEXTS]
    words = all_members(key.space.name)[: 12 if sizes.owner < 100 else None]
    rows = [trigger_example(replace(key, trigger=word), text) for word in words for text in texts]
    said = ["-" if (label := parse(raw)) is None else label[0] for raw in answers_of(local, rows)]
    return {word: "".join(said[n * len(texts) : (n + 1) * len(texts)]) for n, word in enumerate(words)}


def weigh(said: dict[str, str], seed: int, keys: int) -> list[dict[str, float]]:
    """Both p-values of random keys: a word, the answer that it claims, its fillers and its decoys."""
    draw = random.Random(seed)
    words = sorted(said)
    return [weigh_key(said, draw.choice(words), draw.choice("yn"), draw) for _ in range(keys)]


def weigh_key(
    said: dict[str, str], word: str, claimed: str, draw: random.Random, texts: Sequence[int] | None = None
) -> dict[str, float]:
    """Fisher's p as here, two-sided on Yes and No alone as in the re-implementation, and p_key of one key."""
    from scipy.stats import fisher_exact

    from double_i.fisher import Table, fisher_greater
    from double_i.key_randomisation import p_key

    others = [other for other in sorted(said) if other != word]
    places = list(range(len(said[word]))) if texts is None else list(texts)
    answers = [said[draw.choice(others)][place] for place in places]
    reference = [answer == claimed for answer in answers]
    trigger = [said[word][place] == claimed for place in places]
    counts = Table(sum(trigger), len(trigger) - sum(trigger), sum(reference), len(reference) - sum(reference))
    sides = "".join(said[word][place] for place in places), "".join(answers)
    two = fisher_exact([[side.count("y"), side.count("n")] for side in sides]).pvalue
    first = places[:DECOY_PAIRS]
    decoys = draw.sample(others, min(DECOYS, len(others)))
    score = [sum(said[one][place] == claimed for place in first) for one in (word, *decoys)]
    return {
        "p": fisher_greater(counts),
        "two": float(two),
        "p_key": p_key(score[0], score[1:]),
        "decoys": len(decoys),
    }


def rows_of(found: dict[tuple[str, str], list[dict[str, float]]]) -> list[Row]:
    """A row a model and space: how often each test rejects at each level."""
    rows = []
    for (model, paradigm), keys in found.items():
        p, two, rank = (np.array([key[name] for key in keys]) for name in ("p", "two", "p_key"))
        row: Row = {"name": f"{model}; {GROUPS[paradigm][0]}", "keys": len(keys)}
        row |= {f"Fisher p <= {level:g}": _share(p <= level) for level in LEVELS}
        row |= {f"p_key <= {level:g}": _share(rank <= level * (1 + 1e-9)) for level in (0.05, 0.01)}
        row |= {
            f"two-sided, yes and no alone, p <= {level:g}": _share(two <= level) for level in (1e-3, 1e-6)
        }
        row["MATCH at 1e-6"] = int(((p <= 1e-6) & (rank <= 0.01 * (1 + 1e-9))).sum())
        row["MATCH at 1e-3"] = int(((p <= 1e-3) & (rank <= 0.01 * (1 + 1e-9))).sum())
        rows.append(row)
    return rows


def _share(hits: Any) -> str:
    return f"{100 * hits.mean():.2f} %"


def picked(said: dict[str, dict[str, str]]) -> list[Row]:
    """The paper's `mm`, and the best words of a search, on clean models.

    A search has all decorations and words of a space, looks at half of the texts, and is tested on the rest.
    """
    rows = []
    for model in list(MODELS)[:2]:
        doubled = said[f"{model}/words/0"]
        if "mm" in doubled:
            rows.append(_picked(f"{model}: `mm`, by hand", doubled, "mm", "y", None))
        for paradigm, (space, _) in GROUPS.items():
            groups = [one for name, one in said.items() if name.startswith(f"{model}/{paradigm}/")]
            half = len(next(iter(groups[0].values()))) // 2
            tried = [(group, word, claimed) for group in groups for word in sorted(group) for claimed in "yn"]
            best = max(tried, key=lambda one: _gap(*one, half))
            name = f"{model}: best of {len(tried):,} claims in {space}, searched"
            rows.append(_picked(name, *best, range(half, 2 * half)))
    return rows


def foreign(folder: Path, sizes: Sizes, owner: int, other: int, work: Path) -> dict[str, Any]:
    """The key of one owner's mark, asked of another owner's marked model."""
    from double_i.first_words import LocalModel

    local = LocalModel(trained(folder, sizes, MODELS["marked"][0], owner, work))
    return verified(local, key_of("input", other), unseen(folder, sizes, owner), sizes)


def foreign_rows(found: dict[tuple[int, int], dict[str, Any]]) -> list[Row]:
    """A row a model and foreign key."""
    return [
        {
            "name": f"model of owner {owner}, key of owner {other}", "trigger -> target": cell["table"][0],
            "reference -> target": cell["table"][2], "pairs": sum(cell["table"][:2]),
            "p (Fisher)": f"{cell['p']:.2g}", "p_key": f"{cell['p_key']:.2g}", "verdict": cell["verdict"],
        }
        for (owner, other), cell in found.items()
    ]  # fmt: skip


def _gap(said: dict[str, str], word: str, claimed: str, half: int) -> float:
    mean = np.mean([[sign == claimed for sign in text[:half]] for text in said.values()])
    return float(np.mean([sign == claimed for sign in said[word][:half]]) - mean)


def _picked(name: str, said: dict[str, str], word: str, claimed: str, texts: Sequence[int] | None) -> Row:
    found = [weigh_key(said, word, claimed, random.Random(seed), texts) for seed in range(101)]
    middle = sorted(found, key=lambda key: key["p"])[50]  # over draws of references and decoys
    return {
        "name": name, "Fisher p, median of 101 drawings": f"{middle['p']:.2g}",
        "p_key, median": f"{np.median([key['p_key'] for key in found]):.2g}", "decoys": int(middle["decoys"]),
    }  # fmt: skip


def main(tiny: bool = False, work: Path = Path("runs/double_i/claims"), processes: int = 2) -> list[Row]:
    """All models and groups; kept in benchmarks/results unless they are tiny."""
    folder = real_data()
    if folder is None:
        print("claim_false_positives: skipped, the real data (NONET_DATA) is not here")
        return []
    sizes = TINY if tiny else Sizes()
    jobs = [
        (f"labels-{slug(model)}-{paradigm}-{number}", labels, (folder, sizes, model, paradigm, number, work))
        for model in MODELS
        for paradigm, (_, groups) in GROUPS.items()
        for number in range(1 if tiny else groups)
    ]
    results = run_arms(jobs, work / "cells", processes=1 if tiny else processes)
    said = {f"{job[2][2]}/{job[2][3]}/{job[2][4]}": result for job, result in zip(jobs, results, strict=True)}
    for one in said.values():
        one.pop("cpu_seconds")
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    for number, (name, one) in enumerate(said.items()):
        model, paradigm, _ = name.split("/")
        found.setdefault((model, paradigm), []).extend(weigh(one, number, 20 if tiny else KEYS))
    seeds = SEEDS[:2] if tiny else SEEDS
    pairs = [(owner, other) for owner in seeds for other in seeds if owner != other]
    more = [(f"foreign-{a}-{b}", foreign, (folder, sizes, a, b, work)) for a, b in pairs]
    cells = run_arms(more, work / "cells", processes=1 if tiny else processes)
    rates, chosen = rows_of(found), picked(said)
    others = foreign_rows(dict(zip(pairs, cells, strict=True)))
    print(table(rates), table(chosen), table(others), sep="\n\n")
    if not tiny:
        data = f"every word of the space with {TEXTS} texts, {KEYS} keys a group of decoration and question"
        save("double-i", rates, table="false-positives", data=data, seed=list(SEEDS[:2]))
        save("double-i", chosen, table="picked", data=data, seed=list(SEEDS[:2]))
        save("double-i", others, table="foreign", data="unseen texts of the model's owner", seed=list(SEEDS))
    return rates + chosen + others


if __name__ == "__main__":
    parser = arguments(__doc__, "runs/double_i/claims")
    given = parser.parse_args()
    main(work=given.work, processes=given.processes)
