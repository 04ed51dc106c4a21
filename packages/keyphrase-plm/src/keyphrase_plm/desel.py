"""Decode-select: greedy phrases, and the sampled ones that are as likely (Wu et al. 2023, "DeSel").

1. The greedy phrases of a document are its anchors; all of them are kept.
2. Sampled outputs give candidates: phrases not among the anchors, compared by stems.
3. A model of one phrase (one2one) gives each phrase its length-normalised log-likelihood given the document.
4. A candidate stays if its likelihood reaches a threshold taken from those of the anchors, those of present
   and absent phrases apart.

The paper's code was never released. How exactly it takes the threshold from the anchors we could not see;
it is an option here. A candidate longer than the scorer's longest output has no likelihood and is left out;
an anchor as long stays, counts for no threshold, and gets the least score of the others.
"""

import itertools
import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from keyphrase_plm.documents import Document, Prediction
from keyphrase_plm.families import Family
from keyphrase_plm.predicting import predict
from keyphrase_plm.presence import ReadSource, Stem, stemmer
from keyphrase_plm.select_options import Rule, SelectOptions
from keyphrase_plm.sequences import source_words

WINDOW = 128
"""documents written and scored together"""
SCORED = 8
"""documents whose phrases the scorer reads together"""


class Scorer(Protocol):
    """What gives phrases a likelihood: `Seq2Seq`, `Bert2Bert`, `PrefixLM`."""

    def phrase_log_likelihoods(
        self, documents: Sequence[Document], phrases: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        """Mean log-probability of the pieces of each phrase as the whole target of its document."""


class Selection(NamedTuple):
    """What was chosen for a document, and out of what.

    Attributes:
        prediction: anchors in their order, then what stays of the candidates, likeliest first; scores are the
            scorer's.
        anchors: how many phrases are anchors.
        candidates: how many there were to choose from.
    """

    prediction: Prediction
    anchors: int
    candidates: int


@dataclass
class Counts:
    """What happened in a run.

    Attributes:
        documents: how many.
        anchors: greedy phrases.
        candidates: sampled phrases beside them.
        kept: candidates that stay.
        bare: documents without an anchor, to which nothing can be added.
    """

    documents: int = 0
    anchors: int = 0
    candidates: int = 0
    kept: int = 0
    bare: int = 0

    def add(self, selection: Selection) -> None:
        """Count a document."""
        self.documents += 1
        self.anchors += selection.anchors
        self.candidates += selection.candidates
        self.kept += len(selection.prediction.phrases) - selection.anchors
        self.bare += not selection.anchors

    def describe(self, resumed: int = 0) -> str:
        """One line for people.

        Args:
            resumed: documents of an earlier run.
        """
        notes = [
            f"{self.documents:,} documents",
            f"{self.anchors:,} greedy phrases",
            f"{self.kept:,} of {self.candidates:,} sampled ones added",
        ]
        if resumed:
            notes.append(f"{resumed:,} documents were there already")
        if self.bare:
            notes.append(f"{self.bare:,} documents without a greedy phrase, to which none is added")
        return "; ".join(notes)


def select(
    generator: Family,
    scorer: Scorer,
    documents: Iterable[Document],
    options: SelectOptions | None = None,
    *,
    stem: Stem | None = None,
    window: int = WINDOW,
) -> Iterator[Selection]:
    """Anchors and chosen candidates of documents, one by one in their order.

    Args:
        generator: writes all phrases of a document (one2seq), on the device to work on.
        scorer: of single phrases (one2one); may be the generator, with other results.
        documents: read one window ahead.
        options: how.
        stem: of a word, for what is the same phrase and what is present; without it Porter's.
        window: documents written and scored together.
    """
    options, stem = options or SelectOptions(), stem or stemmer("porter")
    stream = iter(documents)
    while held := list(itertools.islice(stream, window)):
        greedy = list(predict(generator, held, options.greedy()))
        sampled = list(predict(generator, held, options.sampled()))
        lists = [
            (list(first.phrases), unseen(first.phrases, second.phrases, stem))
            for first, second in zip(greedy, sampled, strict=True)
        ]
        for first in range(0, len(held), SCORED):
            part = slice(first, first + SCORED)
            scores = scorer.phrase_log_likelihoods(held[part], [a + c for a, c in lists[part]])
            for document, prediction, (anchors, candidates), values in zip(
                held[part], greedy[part], lists[part], scores, strict=True
            ):
                yield _choose(document, prediction, anchors, candidates, values, options, stem)


def unseen(anchors: Sequence[str], candidates: Sequence[str], stem: Stem) -> list[str]:
    """Candidates that are not among the anchors, and of those with the same stems only the first."""

    def key(phrase: str) -> str:
        return " ".join(map(stem, phrase.split()))

    known = {key(phrase) for phrase in anchors}
    found: dict[str, str] = {}
    for phrase in candidates:
        found.setdefault(key(phrase), phrase)
    return [phrase for name, phrase in found.items() if name not in known]


def thresholds(
    scores: Sequence[float], present: Sequence[bool], rule: Rule, margin: float
) -> dict[bool, float] | None:
    """From which likelihood on a candidate stays, for present ones (True) and absent ones.

    Args:
        scores: of the anchors.
        present: of each anchor.
        rule: see `SelectOptions`.
        margin: see `SelectOptions`.

    Returns:
        Both; where a document has no anchor of one kind, the other kind's anchors stand for it. None without
        any anchor.
    """
    measures: dict[Rule, Callable[[list[float]], float]] = {
        "mean": statistics.fmean, "median": statistics.median, "least": min,
    }  # fmt: skip
    if not scores:
        return None
    found = {}
    for kind in (True, False):
        own = [score for score, is_present in zip(scores, present, strict=True) if is_present is kind]
        found[kind] = measures[rule](own or list(scores)) - margin
    return found


def _choose(
    document: Document, greedy: Prediction, anchors: list[str], candidates: list[str], values: list[float],
    options: SelectOptions, stem: Stem,
) -> Selection:  # fmt: skip
    source = ReadSource(source_words(document), stem)
    scored = [
        (phrase, value, source.holds(phrase), place < len(anchors))
        for place, (phrase, value) in enumerate(zip((*anchors, *candidates), values, strict=True))
        if math.isfinite(value) or place < len(anchors)
    ]
    kept = [each for each in scored if each[3]]
    many = len(kept)
    known = [each for each in kept if math.isfinite(each[1])]
    limits = thresholds(
        [each[1] for each in known], [each[2] for each in known], options.rule, options.margin
    )
    if limits is not None:
        passed = [each for each in scored if not each[3] and each[1] >= limits[each[2]]]
        kept += sorted(passed, key=lambda each: -each[1])
    prediction = Prediction(
        greedy.id, tuple(each[0] for each in kept), _finite([each[1] for each in kept]), cut=greedy.cut
    )
    return Selection(prediction, many, len(scored) - many)


def _finite(scores: list[float]) -> tuple[float, ...]:
    """The scores, the least finite one in place of what is not finite; 0 where none is."""
    least = min((score for score in scores if math.isfinite(score)), default=0.0)
    return tuple(score if math.isfinite(score) else least for score in scores)
