"""Scores of predicted summaries: ROUGE, BLEU, length, repetition, copying; with intervals, and two systems
compared.

The measures are those of the released PEGASUS code. Means are plain means over all items with a seeded
bootstrap interval (the code reports medians of unseeded resampling, and drops the last incomplete batch).
With several references each ROUGE type takes the best one, BLEU clips by all, and lengths and shares of the
references are means over them.

What a paper calls ROUGE-L is `rougeL`, the text as one sequence, for every data set of PEGASUS except
CNN/DailyMail, whose numbers are `rougeLsum`, sentence by sentence. `rougeLsum` knows sentences by line ends
alone: `<n>` becomes a line end, and texts without line ends are split into sentences.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nonet.errors import UserError
from nonet.metrics.rouge import TYPES, score_multi
from nonet.metrics.stats import Interval, column_intervals, holm, paired_bootstrap
from pegasus import bleu
from pegasus.data_sets import RougeL
from pegasus.extractiveness import Copied, extractiveness
from pegasus.repetition import NAMES as REPETITION
from pegasus.repetition import repetition
from pegasus.sentences import split_sentences

Lines = Literal["auto", "given", "split"]
Floats = NDArray[np.float64]

NEWLINE = "<n>"
"""how SentencePiece models of PEGASUS spell a line end"""

MANY = 0.1
"""share of texts with line ends from which on line ends are taken to mean sentences"""

COMPARED = (*TYPES, "sentence_bleu")
"""measures that `compare` tests"""


@dataclass(frozen=True)
class Report:
    """The scores of one set of predictions.

    `scores` has one float64 row of n numbers a measure; ROUGE and BLEU lie in 0..1.
    """

    predictions: list[str]
    references: list[list[str]]
    documents: list[str] | None
    scores: dict[str, Floats]
    bleu_counts: NDArray[np.int64]
    """(n, 10), of which corpus BLEU is a function"""
    counts: dict[str, int]
    """blank predictions and what else is worth knowing"""
    notes: list[str]
    """what was done to the texts"""
    rouge_l: RougeL
    """which measure the literature calls ROUGE-L on these data"""
    level: float = 0.95
    resamples: int = 1000
    seed: int = 0
    means: dict[str, Interval] = field(default_factory=dict)
    """mean and bootstrap interval of each measure"""

    def __len__(self) -> int:
        return len(self.predictions)

    @property
    def corpus_bleu(self) -> float:
        """BLEU over all predictions together, 0..1."""
        return bleu.score(self.bleu_counts.sum(axis=0))

    @property
    def headline(self) -> str:
        """ROUGE-1, ROUGE-2 and ROUGE-L as papers print them: `R1/R2/RL 37.68/21.25/36.51 (rougeL)`."""
        values = "/".join(f"{100 * self.means[name].mean:.2f}" for name in ("rouge1", "rouge2", self.rouge_l))
        return f"R1/R2/RL {values} ({self.rouge_l})"

    def select(self, keep: Sequence[int]) -> "Report":
        """The report of some of the items alone; nothing is scored again.

        Raises:
            UserError: no item is kept.
        """
        if not len(keep):
            raise UserError("no item is left to be scored")
        rows = np.asarray(keep, np.int64)
        chosen = {name: values[rows] for name, values in self.scores.items()}
        return Report(
            [self.predictions[i] for i in rows],
            [self.references[i] for i in rows],
            None if self.documents is None else [self.documents[i] for i in rows],
            chosen,
            self.bleu_counts[rows],
            _count(self.predictions, self.references, rows),
            self.notes,
            self.rouge_l,
            self.level,
            self.resamples,
            self.seed,
            _means(chosen, self.level, self.resamples, self.seed),
        )

    def as_dict(self) -> dict[str, Any]:
        """The report without texts and without single scores, for a JSON file."""
        scores = {name: interval._asdict() for name, interval in self.means.items()}
        return {
            "items": len(self),
            "rouge_l": self.rouge_l,
            "scores": scores,
            "corpus_bleu": self.corpus_bleu,
            "counts": self.counts,
            "notes": self.notes,
            "interval": {"level": self.level, "resamples": self.resamples, "seed": self.seed},
        }


def evaluate(
    predictions: Sequence[str],
    references: Sequence[str | Sequence[str]],
    documents: Sequence[str] | None = None,
    *,
    rouge_l: RougeL = "rougeL",
    lines: Lines = "auto",
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
    threads: int = 1,
) -> Report:
    """Score predictions against references.

    Args:
        predictions: n texts; blank ones score 0 and are counted.
        references: n texts, or n lists of one or more.
        documents: n texts that were summarised, for the measures of copying.
        rouge_l: what the literature calls ROUGE-L on these data; see `pegasus.data_sets`.
        lines: where rougeLsum finds sentences. `given`: at line ends; `split`: texts without line ends are
            split by PEGASUS's sentence rule; `auto`: as `split`, on each side (predictions, references) where
            less than a tenth of the texts have line ends.
        level: of the intervals, 0..1.
        resamples: bootstrap samples.
        seed: of the bootstrap.
        threads: for ROUGE.

    Raises:
        UserError: the numbers of texts differ, there are none, or an item has no reference.
    """
    if len(predictions) != len(references):
        raise UserError(
            f"{len(predictions):,} predictions but {len(references):,} references: "
            "they must pair up line by line"
        )
    if documents is not None and len(documents) != len(predictions):
        raise UserError(
            f"{len(predictions):,} predictions but {len(documents):,} documents: they must pair up"
        )
    if not predictions:
        raise UserError("there are no predictions to score")
    known = [[item] if isinstance(item, str) else list(item) for item in references]
    bare = next((i for i, item in enumerate(known) if not item), None)
    if bare is not None:
        raise UserError(f"item {bare + 1} has no reference; every prediction needs at least one")
    notes: list[str] = []
    said, known = _newlines(list(predictions), known, notes)
    scores = _rouge(said, known, lines, threads, notes)
    counts = np.stack([bleu.counts(item, text) for item, text in zip(known, said, strict=True)])
    scores["sentence_bleu"] = np.array([bleu.score(row) for row in counts])
    scores |= _lengths(said, known) | _repetition(said, known)
    if documents is not None:
        scores |= _copying(documents, said, known)
    tally = _count(said, known, np.arange(len(said)))
    means = _means(scores, level, resamples, seed)
    kept = None if documents is None else list(documents)
    return Report(said, known, kept, scores, counts, tally, notes, rouge_l, level, resamples, seed, means)


@dataclass(frozen=True)
class Comparison:
    """Two systems on the same items, by one measure."""

    measure: str
    first: float
    second: float
    difference: float
    low: float
    high: float
    p: float
    """two-sided, by paired bootstrap"""
    p_holm: float
    """corrected for the number of measures (Holm 1979)"""


def compare(first: Report, second: Report, *, seed: int = 0, resamples: int = 10_000) -> list[Comparison]:
    """Whether two systems differ on the same items: paired bootstrap of the mean difference, first - second.

    Raises:
        UserError: the reports are of other references.
    """
    if len(first) != len(second):
        raise UserError(
            f"{len(first):,} predictions against {len(second):,}: both systems must have all items"
        )
    if first.references != second.references:
        raise UserError(
            "the two systems were scored against different references: they cannot be compared item by item"
        )
    found = [
        paired_bootstrap(first.scores[name], second.scores[name], seed, resamples, first.level)
        for name in COMPARED
    ]
    corrected = holm([difference.p for difference in found])
    return [
        Comparison(name, first.means[name].mean, second.means[name].mean, *difference, p_holm=float(p))
        for name, difference, p in zip(COMPARED, found, corrected, strict=True)
    ]


def _newlines(
    predictions: list[str], references: list[list[str]], notes: list[str]
) -> tuple[list[str], list[list[str]]]:
    """Turn `<n>` into line ends, and say so."""
    for name, texts in (
        ("predictions", predictions),
        ("references", [t for item in references for t in item]),
    ):
        marked = sum(NEWLINE in text for text in texts)
        if marked:
            notes.append(f"{marked:,} {name} had {NEWLINE}, which was turned into a line end")
    return [_lined(text) for text in predictions], [[_lined(text) for text in item] for item in references]


def _lined(text: str) -> str:
    return "\n".join(part.strip() for part in text.split(NEWLINE)) if NEWLINE in text else text


def _rouge(
    predictions: list[str], references: list[list[str]], lines: Lines, threads: int, notes: list[str]
) -> dict[str, Floats]:
    sides = []
    for name, items in (("predictions", [[text] for text in predictions]), ("references", references)):
        lined = [_has_lines(text) for item in items for text in item]
        if lines == "split" or (lines == "auto" and sum(lined) < MANY * len(lined)):
            items = [[_split(text) for text in item] for item in items]
            notes.append(f"rougeLsum: {name} without line ends were split into sentences")
        sides.append(items)
    split = [item[0] for item in sides[0]]
    found = score_multi(references, predictions, TYPES[:3], threads=threads)
    found |= score_multi(sides[1], split, TYPES[3:], threads=threads)
    out = {name: values[:, 2] for name, values in found.items()}
    for name in TYPES:
        out[f"{name}_precision"], out[f"{name}_recall"] = found[name][:, 0], found[name][:, 1]
    return out


def _has_lines(text: str) -> bool:
    return "\n" in text.strip()


def _split(text: str) -> str:
    return text if _has_lines(text) else "\n".join(part.strip() for part in split_sentences(text))


def _lengths(predictions: list[str], references: list[list[str]]) -> dict[str, Floats]:
    found: dict[str, Floats] = {}
    measures = {"words": lambda text: len(text.split()), "characters": len}
    for name, measure in measures.items():
        said = np.array([measure(text) for text in predictions], np.float64)
        known = np.array([np.mean([measure(text) for text in item]) for item in references])
        found[name], found[f"reference_{name}"] = said, known
        found[f"{name}_ratio"] = np.divide(said, known, out=np.zeros_like(said), where=known > 0)
    return found


def _repetition(predictions: list[str], references: list[list[str]]) -> dict[str, Floats]:
    said = [repetition(text) for text in predictions]
    known = [[repetition(text) for text in item] for item in references]
    found = {}
    for name in REPETITION:
        found[name] = np.array([values[name] for values in said])
        found[f"reference_{name}"] = np.array([np.mean([values[name] for values in item]) for item in known])
    return found


def _copying(
    documents: Sequence[str], predictions: list[str], references: list[list[str]]
) -> dict[str, Floats]:
    texts = [[text, *item] for text, item in zip(predictions, references, strict=True)]
    copied = extractiveness(documents, texts)
    found = {}
    for k, name in enumerate(("coverage", "density", "normalised_density")):
        found[name] = np.array([item[0][k] for item in copied])
        found[f"reference_{name}"] = np.array([_mean(item[1:], k) for item in copied])
    return found


def _mean(copied: Sequence[Copied], k: int) -> float:
    return sum(item[k] for item in copied) / len(copied)


def _means(scores: Mapping[str, Floats], level: float, resamples: int, seed: int) -> dict[str, Interval]:
    try:
        rows = column_intervals(np.stack(list(scores.values()), axis=1), seed, level, resamples)
    except ValueError as error:
        raise UserError(str(error)) from error
    return dict(zip(scores, rows, strict=True))


def _count(
    predictions: Sequence[str], references: Sequence[Sequence[str]], rows: NDArray[np.int64]
) -> dict[str, int]:
    said = [predictions[i] for i in rows]
    known = [references[i] for i in rows]
    common = Counter(said).most_common(1)[0][1]
    return {
        "items": len(said),
        "references": sum(len(item) for item in known),
        "blank_predictions": sum(not text.strip() for text in said),
        "blank_references": sum(not any(text.strip() for text in item) for item in known),
        "most_frequent_prediction": common,
    }
