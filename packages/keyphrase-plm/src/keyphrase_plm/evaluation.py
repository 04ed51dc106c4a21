"""Predictions brought together with their documents, and scored under a named convention (ours).

Files with ids are joined by id; of files with one line a document the lines count. The numbers come from
`nonet.metrics.keyphrases`, the shared scorer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from keyphrase_plm.documents import Document, Prediction
from keyphrase_plm.prediction_files import read_predictions
from keyphrase_plm.sequences import characters, phrases_of, source_words
from nonet.data.text import TextReader
from nonet.errors import UserError
from nonet.metrics.keyphrase_intervals import f1_intervals
from nonet.metrics.keyphrase_ranking import alpha_ndcg, ranking
from nonet.metrics.keyphrase_semantics import Encode, SemanticScores, semantic_scores
from nonet.metrics.keyphrases import CLASSES, Class, Convention, K, Scores, score
from nonet.metrics.stats import Interval

Missing = Literal["error", "empty", "skip"]
Order = Literal["given", "text"]

PACKED = (".gz", ".zst")
WITH_FIELDS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
LISTED = 5  # ids that a message names


@dataclass(frozen=True)
class Joined:
    """Documents that are scored, with the phrases said of each."""

    documents: list[Document]
    phrases: list[list[str]]
    missing: list[str] = field(default_factory=list)
    """ids of documents without a prediction"""
    extra: list[str] = field(default_factory=list)
    """ids of predictions without a document"""

    def remarks(self, name: str) -> list[str]:
        """What is odd, in words."""
        found = []
        if self.missing:
            found.append(f"{name}: no prediction for {_some(self.missing)}")
        if self.extra:
            found.append(f"{name}: predictions of no document, left out: {_some(self.extra)}")
        return found


@dataclass(frozen=True)
class Evaluation:
    """The scores of one prediction file."""

    joined: Joined
    scores: Scores
    intervals: dict[tuple[Class, K], Interval]
    """F1 in 0..1"""
    label: str
    """the convention, and what else the numbers depend on"""
    remarks: list[str]
    alpha: dict[Class, dict[K, float]]
    """alpha-NDCG, where it was asked for"""
    semantic: SemanticScores | None = None
    level: float = 0.95
    """of the intervals"""

    def rows(self) -> list[dict[str, Any]]:
        """One row a class and cut, shares in 0..1."""
        found = []
        for row in self.scores.rows():
            of = row["class"]
            k = next(k for k in self.scores.ks if str(k) == row["k"])
            row["convention"] = self.label
            row["F1 low"], row["F1 high"] = self.intervals[of, k].low, self.intervals[of, k].high
            row["MAP"], row["NDCG"] = ranking(self.scores, of, k)
            if of in self.alpha:
                row["alpha-NDCG"] = self.alpha[of][k]
            found.append(row)
        return found

    def counts(self) -> dict[str, Any]:
        """Documents and phrases, by class."""
        scores = self.scores
        found: dict[str, Any] = {"documents": len(scores)}
        for of in CLASSES:
            found[of] = {
                "documents with gold": int((scores.gold[of] > 0).sum()),
                "gold phrases": int(scores.gold[of].sum()),
                "predictions": int(scores.said[of].sum()),
                "error of counts": scores.count_error(of),
            }
        return found

    def items(self) -> list[dict[str, Any]]:
        """One row a document: id, and precision and recall of every class and cut in 0..1."""
        columns = {
            f"{name} {of}@{k}": values.round(6).tolist()
            for of in CLASSES
            for k in self.scores.ks
            for name, values in (("P", self.scores.precision(of, k)), ("R", self.scores.recall(of, k)))
        }
        if self.semantic is not None:
            columns["SemF1"] = self.semantic.f1.round(6).tolist()
        ids = [document.id for document in self.joined.documents]
        return [
            {"id": key, **{name: values[i] for name, values in columns.items()}} for i, key in enumerate(ids)
        ]

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        found = {"convention": self.label, "counts": self.counts(), "scores": self.rows()}
        if self.semantic is not None:
            p, r = float(self.semantic.precision.mean()), float(self.semantic.recall.mean())
            found["semantic"] = {"SemP": p, "SemR": r, "SemF1": self.semantic.semf1}
        return found | {"remarks": self.remarks}


def join(
    documents: Sequence[Document],
    path: Path | str,
    *,
    missing: Missing = "error",
    order: Order = "given",
    compat_empty: bool = False,
    limited: bool = False,
) -> Joined:
    """Find the prediction of every document.

    Args:
        documents: with gold phrases, in the order of their file.
        path: predictions, as `prediction_files.read_predictions` reads them.
        missing: what to do with documents without one in a file with ids; `"empty"`: they score as if nothing
            was said; `"skip"`: they are left out.
        order: `"text"`: phrases of taggers in the order of their places, as DeepKPG has them.
        compat_empty: keep the empty phrases of a file of lines.
        limited: the documents are the first ones of a longer file; further predictions are no surprise.

    Raises:
        UserError: the numbers of lines differ, an id is missing, or spans are.
    """
    if not by_id(path):
        said = _lines(Path(path), compat_empty)
        if len(said) < len(documents) or (len(said) > len(documents) and not limited):
            at = min(len(said), len(documents))
            first = (
                f"the first document without one is {documents[at].id!r}"
                if at < len(documents)
                else f"line {at + 1:,} is the first one too many"
            )
            raise UserError(
                f"{path} has {len(said):,} lines of predictions, but there are {len(documents):,} documents; "
                f"{first}"
            )
        if order == "text":
            raise UserError(f"{path}: lines have no spans; --order text goes with predictions of a tagger")
        return Joined(list(documents), said[: len(documents)])
    found = {prediction.id: prediction for prediction in read_predictions(path)}
    known = {document.id for document in documents}
    absent = [document.id for document in documents if document.id not in found]
    extra = [] if limited else [key for key in found if key not in known]
    if absent and missing == "error":
        both = f"{len(found):,} predictions, {len(documents):,} documents"
        more = f"; predictions of no document: {_some(extra)}" if extra else ""
        raise UserError(
            f"{path}: no prediction for {_some(absent)} ({both}){more}; --missing empty or skip goes on"
        )
    kept = [document for document in documents if document.id in found or missing != "skip"]
    phrases = [_ordered(found[one.id], order, path) if one.id in found else [] for one in kept]
    return Joined(kept, phrases, absent, extra)


def evaluate(
    joined: Joined,
    convention: Convention,
    ks: Sequence[K],
    *,
    name: str = "predictions",
    tokenise: Callable[[str], list[str]] | None = None,
    stemmer_given: bool = False,
    source_limit: int | None = None,
    alpha: bool = False,
    encode: Encode | None = None,
    threshold: float = 0.0,
    legacy: bool = False,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Evaluation:
    """Score predictions.

    Args:
        joined: of `join`, at least one document.
        convention: see `nonet.metrics.keyphrases`.
        ks: cuts.
        name: of the predictions, for remarks.
        tokenise: a text to words, for texts, gold phrases and predictions that are not prepared:
            `sequences.apart`, for else "scan," would not be "scan", or `sequences.characters`, whose name the
            label then has; None: they are split at spaces.
        stemmer_given: the convention's stemmer was asked for, so that its name stays whatever the language.
        source_limit: a phrase is present if it occurs in so many first words of the text (at least 1); None:
            in all of it.
        alpha: with alpha-NDCG.
        encode: with SemF1, by this encoder.
        threshold: of SemF1.
        legacy: SemF1 as KPEval's code has it.
        level: of the intervals of F1.
        resamples: draws for them.
        seed: of the draws.

    Raises:
        UserError: there is no document, or a cut or stemmer is unknown.
    """
    if not joined.documents:
        raise UserError("no document is left to be scored")
    gold = [[*document.present, *document.absent] for document in joined.documents]
    said = joined.phrases
    words = [source_words(document) for document in joined.documents]
    if tokenise is not None:
        words = [tokenise(" ".join(some)) for some in words]
        gold, said = ([[" ".join(tokenise(one)) for one in some] for some in lists] for lists in (gold, said))
    texts = [" ".join(some[:source_limit]) for some in words]
    scores = score(zip(texts, gold, said, strict=True), convention, ks)
    remarks = joined.remarks(name)
    blank, bare = sum(not some for some in words), int((scores.gold["all"] == 0).sum())
    if blank:
        remarks.append(f"documents without text: {blank:,}; all their phrases are absent")
    if bare:
        remarks.append(f"documents without gold phrases: {bare:,}; they stay in, as the convention has it")
    if scores.matches.empty:
        what = "count as one absent phrase" if convention.compat_empty else "left out"
        remarks.append(f"empty phrases and lists, {what}: {scores.matches.empty:,}")
    label = convention.label
    if convention.stemmer == "porter" and _beyond_english(words):
        if not stemmer_given:
            label = f"own (as {label}, texts beyond English)"
        remarks.append(
            "most letters are not English ones, but Porter's stems are; give --stemmer none or snowball:NAME"
        )
    if tokenise is characters:
        label += ", words are characters"
    if source_limit is not None:
        label += f", text cut to {source_limit} words"
        cut = sum(len(some) > source_limit for some in words)
        remarks.append(f"texts cut to {source_limit:,} words: {cut:,} ({cut / len(words):.1%})")
    semantic = None
    if encode is not None:
        semantic = semantic_scores(scores.matches, gold, said, encode, threshold=threshold, legacy=legacy)
    return Evaluation(
        joined,
        scores,
        f1_intervals(scores, seed, level, resamples),
        label,
        remarks,
        {of: alpha_ndcg(scores, of) for of in CLASSES} if alpha else {},
        semantic,
        level,
    )


def _beyond_english(words: Sequence[Sequence[str]]) -> bool:
    """Whether most letters of the first texts are not those of English."""
    letters = [letter for some in words[:100] for word in some[:500] for letter in word if letter.isalpha()]
    return sum(not letter.isascii() for letter in letters) * 2 > len(letters)


def by_id(path: Path | str) -> bool:
    """Whether a prediction file has fields, by its name; else it is one line a document."""
    path = Path(path)
    if path.suffix.lower() in PACKED:
        path = path.with_suffix("")
    return path.suffix.lower() in WITH_FIELDS


def _lines(path: Path, compat_empty: bool) -> list[list[str]]:
    if not path.is_file():
        raise UserError(f"{path}: no such file; predictions are JSON lines, or lines of text")
    reader = TextReader([path], "line", keep_blank=True, format="text")
    texts = [str(record.fields["text"]) for record in reader]
    return [text.split(";") if compat_empty else phrases_of(text) for text in texts]


def _ordered(prediction: Prediction, order: Order, path: Path | str) -> list[str]:
    if order == "given" or not prediction.phrases:
        return list(prediction.phrases)
    if not prediction.spans:
        raise UserError(
            f"{path}: the prediction of {prediction.id!r} has no spans; --order text needs those of a tagger"
        )
    return [phrase for _, phrase in sorted(zip(prediction.spans, prediction.phrases, strict=True))]


def _some(ids: Sequence[str]) -> str:
    """How many, and the first ones."""
    more = ", ..." if len(ids) > LISTED else ""
    return f"{len(ids):,} id{'s' * (len(ids) != 1)}: {', '.join(map(repr, ids[:LISTED]))}{more}"
