"""Precision, recall and F1 of predicted keyphrases under a named convention.

Sources: the scorer of Chan et al. 2019, which Wu et al. 2022 (DeepKPG) and KPEval (Wu et al. 2024) took over;
Meng et al. 2017 and Yuan et al. 2020 (OpenNMT-kpg). The same predictions differ by more than ten points of F1
between conventions, so that a number without the name of one says little.

    convention   precision at 5 of 3 predictions   F1                          documents
    chan         right / 5                         of the mean P and mean R    all
    meng         right / 3                         mean over documents         with gold phrases of the class
    kpeval       as chan (its exact matching)
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nonet.errors import UserError
from nonet.metrics.keyphrase_matches import Matches, find_matches, stem_words

__all__ = [
    "CLASSES", "CONVENTIONS", "Convention", "Prf", "Scores", "convention", "parse_k", "score",
    "score_matches", "stem_words",
]  # fmt: skip

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]
Class = Literal["present", "absent", "all"]
K = int | str

CLASSES: tuple[Class, ...] = ("present", "absent", "all")
CUTS: tuple[K, ...] = (5, 10, "M", "O")
LETTERS = ("M", "O", "G")
"""all predictions; as many as there are gold phrases; the larger of both"""


class Prf(NamedTuple):
    """Precision, recall and F1, each in 0..1."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Convention:
    """How hits become numbers."""

    name: str
    padded: bool = True
    """precision at k divides by k, even where there are fewer predictions"""
    average: Literal["corpus", "documents"] = "corpus"
    """corpus: F1 of the mean precision and the mean recall; documents: the mean of every document's F1"""
    documents: Literal["all", "with gold"] = "all"
    """which documents the means are over; with gold: those with a gold phrase of the class"""
    stemmer: str = "porter"
    """porter, none or snowball:LANGUAGE"""
    compat_empty: bool = False
    """an empty prediction or gold line counts as one absent phrase, as in Chan's code"""

    @property
    def label(self) -> str:
        """The name to print beside numbers: what differs from the named convention is in it."""
        base = CONVENTIONS.get(self.name, Convention(self.name))
        changes = []
        if self.padded != base.padded:
            changes.append("padded" if self.padded else "unpadded")
        if self.average != base.average:
            changes.append("F1 of means" if self.average == "corpus" else "mean of F1")
        if self.documents != base.documents:
            changes.append("all documents" if self.documents == "all" else "documents with gold only")
        if self.compat_empty:
            changes.append("empty lines count")
        changed = "".join(f", {change}" for change in changes)
        if self.stemmer != "porter":  # published numbers of either convention rest on Porter's stems
            return f"own (as {self.name}{changed}, stemmer {self.stemmer})"
        return self.name + changed


CONVENTIONS = {
    "chan": Convention("chan"),
    "meng": Convention("meng", padded=False, average="documents", documents="with gold"),
    "kpeval": Convention("kpeval"),
}


def convention(name: str, **changes: Any) -> Convention:
    """A convention by name, perhaps with changes, which its label then tells.

    Args:
        name: chan, meng or kpeval.
        **changes: fields of `Convention`; None leaves one as it is.

    Raises:
        UserError: there is none of that name.
    """
    if name not in CONVENTIONS:
        raise UserError(f"unknown convention {name!r}; choose {', '.join(CONVENTIONS)}")
    return replace(CONVENTIONS[name], **{key: value for key, value in changes.items() if value is not None})


@dataclass(frozen=True)
class Scores:
    """The scores of one set of predictions.

    Rows of n documents; `hits` and `counted` by class and cut.
    """

    matches: Matches
    convention: Convention
    ks: tuple[K, ...]
    gold: dict[Class, Integers]
    """(n,) gold phrases of each document"""
    said: dict[Class, Integers]
    """(n,) predictions of each document"""
    hits: dict[tuple[Class, K], Integers]
    """(n,) right ones among the first k"""
    counted: dict[tuple[Class, K], Integers]
    """(n,) what precision divides by"""

    def __len__(self) -> int:
        return len(self.matches)

    def precision(self, of: Class, k: K) -> Floats:
        """(n,) precision of each document; 0 where there is no prediction."""
        return _ratio(self.hits[of, k], self.counted[of, k])

    def recall(self, of: Class, k: K) -> Floats:
        """(n,) recall of each document; 0 where there is no gold phrase."""
        return _ratio(self.hits[of, k], self.gold[of])

    def sums(self, of: Class, k: K) -> Floats:
        """(n, 4) for each document precision, recall, F1 and 1; all 0 where it does not count."""
        p, r = self.precision(of, k), self.recall(of, k)
        rows = np.stack([p, r, _ratio(2 * p * r, p + r), np.ones(len(self))], axis=1)
        return rows if self.convention.documents == "all" else rows * (self.gold[of] > 0)[:, None]

    def macro(self, of: Class, k: K) -> Prf:
        """Means over documents, by the convention; 0 without documents."""
        return Prf(*from_sums(self.sums(of, k).sum(axis=0), self.convention).tolist())

    def micro(self, of: Class, k: K) -> Prf:
        """Over all phrases of all documents together."""
        hits, counted = int(self.hits[of, k].sum()), int(self.counted[of, k].sum())
        gold = int(self.gold[of].sum())
        p, r = hits / max(counted, 1), hits / max(gold, 1)
        return Prf(p, r, 2 * p * r / (p + r) if p + r else 0.0)

    def count_error(self, of: Class) -> float:
        """Mean absolute difference between the numbers of predicted and of gold phrases."""
        return float(np.abs(self.said[of] - self.gold[of]).mean()) if len(self) else 0.0

    def rows(self) -> list[dict[str, Any]]:
        """One row a class and cut: macro and micro numbers, in 0..1."""
        found = []
        for of in CLASSES:
            for k in self.ks:
                macro, micro = self.macro(of, k), self.micro(of, k)
                row: dict[str, Any] = {"class": of, "k": str(k), "convention": self.convention.label}
                row |= {"P": macro.precision, "R": macro.recall, "F1": macro.f1}
                row |= {f"micro {name}": value for name, value in zip(("P", "R", "F1"), micro, strict=True)}
                found.append(row)
        return found

    def table(self) -> str:
        """The numbers in per cent as lines of text, the convention beside each."""
        lines = [f"{'':14}{'P':>8}{'R':>8}{'F1':>8}   {'micro P':>8}{'R':>8}{'F1':>8}   convention"]
        for row in self.rows():
            macro = "".join(f"{100 * row[name]:8.2f}" for name in ("P", "R", "F1"))
            micro = "".join(f"{100 * row[f'micro {name}']:8.2f}" for name in ("P", "R", "F1"))
            lines.append(f"{row['class'] + '@' + row['k']:14}{macro}   {micro}   {row['convention']}")
        return "\n".join(lines)


def score(
    documents: Iterable[tuple[str, Sequence[str], Sequence[str]]],
    convention: str | Convention = "chan",
    ks: Sequence[K] = CUTS,
) -> Scores:
    """Score predictions.

    `score([("deep nets", ["deep net"], ["deep nets", "cats"])]).macro("present", "M")` is `(1.0, 1.0, 1.0)`.

    Args:
        documents: text (`title [sep] body`, or without the mark), gold phrases, predictions, best first.
        convention: chan, meng or kpeval, or one of your own.
        ks: cuts: whole numbers, M (all predictions of the class), O (as many as gold phrases), G (the larger
            of both).

    Raises:
        UserError: a cut, convention or stemmer is unknown.
    """
    rows = list(documents)
    used = CONVENTIONS.get(convention) if isinstance(convention, str) else convention
    if used is None:
        raise UserError(f"unknown convention {convention!r}; choose {', '.join(CONVENTIONS)}")
    cuts = tuple(parse_k(k) for k in ks)
    texts, gold, said = ([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])
    found = find_matches(texts, gold, said, stemmer=used.stemmer, compat_empty=used.compat_empty)
    return score_matches(found, used, cuts)


def score_matches(matches: Matches, convention: Convention, ks: Sequence[K] = CUTS) -> Scores:
    """Score matches that are already found, under one more convention or with other cuts.

    Args:
        matches: found with the convention's stemmer and `compat_empty`.
        convention: see `Convention`.
        ks: as in `score`.
    """
    cuts = tuple(parse_k(k) for k in ks)
    gold: dict[Class, Integers] = {}
    said: dict[Class, Integers] = {}
    hits: dict[tuple[Class, K], Integers] = {}
    counted: dict[tuple[Class, K], Integers] = {}
    document = np.repeat(np.arange(len(matches)), np.diff(matches.said_first))
    for of in CLASSES:
        of_gold = members(matches.gold_kept, matches.gold_present, of)
        of_said = members(matches.said_kept, matches.said_present, of)
        gold[of] = per_document(of_gold, matches.gold_first)
        said[of] = per_document(of_said, matches.said_first)
        before = np.concatenate([[0], np.cumsum(of_said)])
        rank = before[:-1] - before[matches.said_first[:-1]][document]
        right = of_said & (matches.right >= 0)
        for k in cuts:
            top = cut(k, said[of], gold[of])
            hits[of, k] = per_document(right & (rank < top[document]), matches.said_first)
            most = top if convention.padded else np.minimum(top, said[of])
            counted[of, k] = np.where(said[of] > 0, most, 0)
    return Scores(matches, convention, cuts, gold, said, hits, counted)


def parse_k(k: K) -> K:
    """A cut as a number or letter: `"5"` is 5.

    Raises:
        UserError: it is neither a whole number above 0 nor M, O or G.
    """
    if k in LETTERS:
        return k
    if str(k).isdecimal() and int(k) > 0:
        return int(k)
    raise UserError(f"unknown cut {k!r}; choose a whole number above 0, or M, O or G")


def cut(k: K, said: Integers, gold: Integers) -> Integers:
    """(n,) how many predictions of each document count at a cut."""
    if isinstance(k, int):
        return np.full_like(said, k)
    return said if k == "M" else gold if k == "O" else np.maximum(said, gold)


def members(kept: Flags, present: Flags, of: Class) -> Flags:
    """Which phrases count and belong to a class."""
    return kept if of == "all" else kept & present if of == "present" else kept & ~present


def per_document(flags: Flags, first: Integers) -> Integers:
    """(documents,) how many flags are set in each document."""
    before = np.concatenate([[0], np.cumsum(flags, dtype=np.int64)])
    counts: Integers = before[first[1:]] - before[first[:-1]]
    return counts


def from_sums(sums: Floats, convention: Convention) -> Floats:
    """(..., 3) precision, recall and F1 from sums (..., 4) over documents of what `Scores.sums` gives."""
    means = _ratio(sums[..., :3], sums[..., 3:])
    if convention.average == "corpus":
        p, r = means[..., 0], means[..., 1]
        means[..., 2] = _ratio(2 * p * r, p + r)
    return means


def _ratio(above: NDArray[Any], below: NDArray[Any]) -> Floats:
    out: Floats = np.divide(above, below, out=np.zeros(above.shape), where=below > 0)
    return out
