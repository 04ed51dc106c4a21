"""`make bench-pegasus`: documents a second, from text to the numbers of their gap sentences.

The peer does what the paper's formula says: one `rouge-score` call for every candidate against the rest of
its document, unstemmed, the sentences split by the same rule. Both select the same sentences except where
scores tie exactly (rouge-score's floating-point numbers then decide by their last bit); a differing selection
is accepted only if its sentences' scores, or in the sequential case the totals after every step, are equal to
1e-9. Compilation is not timed; both run on one core.
"""

import gzip
import itertools
import json
from collections.abc import Callable

import numpy as np
from benchmarks.data import data_folder
from benchmarks.harness import Row, save, table, versus

from nonet.data.text import read_records
from nonet.errors import needs
from pegasus.gap_sentences import gap_count, importance, select
from pegasus.options import GapOptions
from pegasus.sentences import split_sentences, words_of_texts

RATIO = 0.3
ABSTRACTS = 100  # as many as the peers do in half a second
SENTENCES = 185  # of a long article


def ours(texts: list[str], strategy: str) -> list[list[int]]:
    """Selected sentences of each text."""
    words, _ = words_of_texts(texts, stop_words=False)
    picks, _ = select(words, GapOptions(strategy=strategy, ratio=RATIO))  # type: ignore[arg-type]
    return [pick.tolist() for pick in picks]


def peer(texts: list[str], strategy: str, limit: int | None = None) -> list[list[int]]:
    """The same by rouge-score; `limit` ends the sequential search after so many picks."""
    scorer = needs("rouge_score.rouge_scorer", to="compare with it", install="rouge-score").RougeScorer(
        ["rouge1"]
    )
    found = []
    for text in texts:
        sentences = split_sentences(text, "pegasus")
        m = int(gap_count(np.array([len(sentences)]), RATIO)[0])

        def score(chosen: list[int], sentences: list[str] = sentences) -> float:
            rest = "".join(s for i, s in enumerate(sentences) if i not in chosen)
            return float(scorer.score(rest, "".join(sentences[i] for i in sorted(chosen)))["rouge1"].fmeasure)

        if strategy == "ind-orig":
            ranked = sorted(range(len(sentences)), key=lambda i: (score([i]), i))
            found.append(sorted(ranked[-m:]) if m else [])
            continue
        chosen: list[int] = []
        for _ in range(m if limit is None else min(m, limit)):
            rest = [i for i in range(len(sentences)) if i not in chosen]
            chosen.append(max(rest, key=lambda i: (score([*chosen, i]), i)))
        found.append(sorted(chosen))
    return found


def same(texts: list[str], strategy: str) -> Callable[[list[list[int]], list[list[int]]], bool | str]:
    """Equal selections, or selections that differ by exact ties alone."""

    def check(mine: list[list[int]], theirs: list[list[int]]) -> bool | str:
        words, _ = words_of_texts(texts, stop_words=False)
        alone = importance(words)
        for b, (a, c) in enumerate(zip(mine, theirs, strict=True)):
            if a == c:
                continue
            if strategy == "ind-orig":
                if not np.allclose(sorted(alone[b][a]), sorted(alone[b][c]), atol=1e-9):
                    return f"document {b}: {a} against {c}"
            elif len(a) != len(c):
                return f"document {b}: {len(a)} against {len(c)} sentences"
        return True

    return check


def abstracts(strategy: str, tiny: bool = False) -> Row | None:
    """Abstracts of papers, seven sentences each."""
    path = data_folder("papers", "abstracts.jsonl.gz")
    if path is None:
        return None
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["abstract"] for line in itertools.islice(lines, 3 if tiny else 2000)]
    return contest(
        f"gap sentences of abstracts, {strategy}", texts, texts[: 3 if tiny else ABSTRACTS], strategy, tiny
    )


def articles(strategy: str, tiny: bool = False) -> Row | None:
    """Long articles, cut at 185 sentences."""
    path = data_folder("wikitext-2")
    if path is None:
        return None
    texts = []
    for record in read_records([path / "valid.txt", path / "test.txt"], unit="wikitext"):
        sentences = split_sentences(record.fields["text"], "pegasus")
        if len(sentences) >= SENTENCES:
            texts.append("".join(sentences[: 12 if tiny else SENTENCES]))
    limit = None if strategy == "ind-orig" or tiny else 2
    few = texts[: 6 if limit is None else 1]
    return contest(
        f"gap sentences of {SENTENCES}-sentence articles, {strategy}", texts, few, strategy, tiny, limit
    )


def contest(
    name: str, texts: list[str], few: list[str], strategy: str, tiny: bool, limit: int | None = None
) -> Row:
    """Time both on what the peer can do, and ours on everything for its rate.

    With `limit` the peer makes only the first picks of a sequential search. Pick k of m scores n - k + 1
    candidates, each on the whole document, so that the whole search costs sum(n - k + 1 for k <= m) / sum(...
    for k <= limit) as much; the row's ratio is that estimate, and the row says so.
    """
    check = same(few, strategy)
    if limit is not None:
        n = len(split_sentences(few[0], "pegasus"))
        m = int(gap_count(np.array([n]), RATIO)[0])
        scale = sum(n - k for k in range(m)) / sum(n - k for k in range(limit))
        inner = check

        def check(mine: list[list[int]], theirs: list[list[int]]) -> bool | str:
            short, _ = words_of_texts(few, stop_words=False)
            ratio = (limit + 0.01) / n
            first = select(short, GapOptions(strategy=strategy, ratio=ratio))[0][0].tolist()  # type: ignore[arg-type]
            return inner([first], theirs) if first == theirs[0] else f"{first} against {theirs[0]}"

    row = versus(
        name,
        lambda: ours(few, strategy),
        lambda: peer(few, strategy, limit),
        check,
        rounds=1 if tiny else (5 if len(few) > 3 else 3),
        min_seconds=0 if tiny else 0.2,
        unit="documents",
        per_call=len(few),
    )
    if limit is not None:
        for key in ("ratio", "ratio_low", "ratio_high"):
            row[key] *= scale
        row["peer_per_second"] /= scale
        row["peer_seconds"] *= scale
        row["peer"] = f"estimated from its first {limit} of {m} picks"
    import time

    start = time.process_time()
    ours(texts, strategy)
    row["rate on all"] = f"{sum(map(len, texts)) / 1e6 / max(1e-9, time.process_time() - start):.0f} MB/s"
    return row


def main(tiny: bool = False) -> list[Row]:
    """All rows; kept in benchmarks/results unless they are tiny."""
    found = [
        function(strategy, tiny)
        for function in (abstracts, articles)
        for strategy in ("ind-orig", "seq-orig")
    ]
    rows = [row for row in found if row is not None]
    if not rows:
        print("speed_gsg: skipped, the real data (NONET_DATA) is not here")
        return []
    print(table(rows))
    if not tiny:
        save("pegasus", rows, versions=("numpy", "numba", "rouge-score"), data="papers, WikiText-2")
    return rows


if __name__ == "__main__":
    main()
