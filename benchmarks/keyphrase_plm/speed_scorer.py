"""`make bench-keyphrase-plm`: predicted keyphrases that are scored in a second, against DeepKPG's algorithm.

The peer (plain_scorer.py) has the original's arrangement and NLTK's stemmer; all its numbers and ours are
checked to 1e-9 before anything is timed. alpha-NDCG, which the original always computes, is in one row; in
the others neither side does. Compilation is not timed. Source: ours.
"""

import random
from collections.abc import Sequence
from functools import partial

from benchmarks.data import data_folder
from benchmarks.harness import Row, save, table, versus
from benchmarks.keyphrase_plm.plain_scorer import Document, plain_scores

from nonet.errors import needs
from nonet.metrics.keyphrase_ranking import alpha_ndcg, ranking
from nonet.metrics.keyphrases import CLASSES, convention, score

SEED = 0
KS: tuple[int | str, ...] = (5, 10, "M", "O")
MANY = 20_000  # documents of a test set such as KP20k's
DOCUMENT_WORDS = 175  # words of a KP20k document


def main(tiny: bool = False) -> list[Row]:
    """All rows; kept in benchmarks/results unless they are tiny."""
    posts = real_documents()
    many = grown(posts or made_up(random.Random(SEED)), 30 if tiny else MANY)
    rows = [
        contest(f"{len(many):,} documents of {DOCUMENT_WORDS} words, 20 predictions each", many, False, tiny)
    ]
    if posts:
        some = posts[:20] if tiny else posts
        rows.append(contest("StackExchange test set with real predictions", some, False, tiny))
        rows.append(contest("the same with alpha-NDCG", some, True, tiny))
    print(table(rows))
    if not tiny:
        save(
            "keyphrase-plm", rows, versions=("numpy", "numba", "nltk"), data="StackExchange (TAKG)", seed=SEED
        )
    return rows


def contest(name: str, documents: Sequence[Document], alpha: bool, tiny: bool) -> Row:
    """Time both on the same documents."""
    peer = needs("nltk.stem.porter", to="compare with it", install="nltk").PorterStemmer()
    used = convention("chan", compat_empty=True)

    def ours() -> dict[str, float]:
        scores = score(documents, used, KS)
        found = {}
        for of in CLASSES:
            better = alpha_ndcg(scores, of) if alpha else {}
            for k in KS:
                numbers = (*scores.macro(of, k), *ranking(scores, of, k))
                named = zip(("P", "R", "F1", "MAP", "NDCG"), numbers, strict=True)
                found |= {f"{measure} {of}@{k}": value for measure, value in named}
                if alpha:
                    found[f"alpha-NDCG {of}@{k}"] = better[k]
        return found

    def same(ours: dict[str, float], theirs: dict[str, float]) -> bool | str:
        if ours.keys() != theirs.keys():
            return "other measures"
        worst = max(abs(value - theirs[key]) for key, value in ours.items())
        return worst < 1e-9 or f"largest difference {worst:g}"

    return versus(
        name,
        ours,
        partial(plain_scores, documents, KS, peer, alpha),
        same,
        rounds=1 if tiny else 3,
        min_seconds=0 if tiny else 0.2,
        unit="documents",
        per_call=len(documents),
    ) | {"documents": len(documents)}


def real_documents() -> list[Document]:
    """The test set of StackExchange posts and a model's 20 predictions for each; none without the data."""
    folder = data_folder("stackexchange-kp")
    if folder is None:
        return []
    names = ("data/StackExchange/test_src.txt", "data/StackExchange/test_trg.txt",
             "my_sample_prediction/StackExchange_predictions.txt")  # fmt: skip
    texts, gold, said = ((folder / name).read_text(encoding="utf-8").splitlines() for name in names)
    return [
        (text.replace("<eos>", "[sep]"), of.split(";"), line.split(";"))
        for text, of, line in zip(texts, gold, said, strict=True)
    ]


def grown(documents: Sequence[Document], count: int) -> list[Document]:
    """Documents of about 175 words: two texts in one, some words changed, predictions in another order."""
    rng = random.Random(SEED)
    out: list[Document] = []
    for i in range(count):
        text, gold, said = documents[i % len(documents)]
        words = [*text.split(), *rng.choice(documents)[0].replace("[sep]", "").split()][:DOCUMENT_WORDS]
        words = [word if word == "[sep]" or rng.random() > 0.05 else f"{word}{i % 97}" for word in words]
        out.append((" ".join(words), gold, rng.sample(list(said), len(said))))
    return out


def made_up(rng: random.Random) -> list[Document]:
    """A few documents where there is no real data."""
    words = [
        f"{start}{end}"
        for start in ("graph", "colour", "learn", "deep")
        for end in ("", "s", "ing", "ed", "er")
    ]

    def phrases(count: int) -> list[str]:
        return [" ".join(rng.choices(words, k=rng.randint(1, 3))) for _ in range(count)]

    return [(" ".join(rng.choices(words, k=90)), phrases(3), phrases(20)) for _ in range(50)]


if __name__ == "__main__":
    main()
