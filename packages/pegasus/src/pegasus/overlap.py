"""Which test texts a pre-training corpus contains (Zhang et al. 2020, section 6.6), and which of its
documents to drop.

As in the paper the similarity of a test summary and a document is the ROUGE-2 recall of the summary in the
document, and a summary's overlap with the corpus is the highest over all documents. All summaries are
measured against all documents in one pass over the corpus. Beside it (ours): the same recall of the test
documents themselves, and documents that are equal to one exactly, up to case and punctuation, in their first
words, or in their title.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nonet.errors import UserError
from pegasus.duplicates import digest, normalised
from pegasus.overlap_kernel import best_overlap, fill_table, hash_texts

THRESHOLDS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
REASONS = ("exact", "normalised", "beginning", "title", "document n-grams", "summary n-grams")
"""why a document of the corpus is dropped, the surest first"""


class TargetIndex:
    """Texts whose n-grams are looked for in documents.

    Args:
        targets: the texts.
        ngram: words an n-gram.
        stemmer: compare Porter stems, as the ROUGE scores of this package do.
        least_words: shorter targets count in `best`, but never for a document: two words are everywhere.

    Attributes:
        best: (T,) float64: highest ROUGE-n recall of each target in any document seen so far; 0 for targets
            of fewer words than an n-gram.
        eligible: (T,) bool: the targets that are long enough.
        where: (T,) int64: number of the first document that has it, counted over all calls; -1 for none.
    """

    def __init__(
        self, targets: Sequence[str], *, ngram: int = 2, stemmer: bool = True, least_words: int = 0
    ) -> None:
        if ngram < 1:
            raise UserError(f"ngram is {ngram}; an n-gram has at least one word")
        self.ngram, self.stemmer = ngram, stemmer
        grams, offsets = hash_documents(targets, ngram, stemmer)
        self.totals = np.diff(offsets)
        owners = np.repeat(np.arange(len(targets), dtype=np.int64), self.totals)
        order = np.lexsort((owners, grams))
        grams, owners = grams[order], owners[order]
        new = np.ones(len(grams), bool)
        new[1:] = (grams[1:] != grams[:-1]) | (
            owners[1:] != owners[:-1]
        )  # another n-gram, or another target's
        starts = np.flatnonzero(new)
        self._targets = owners[starts]
        self._counts = np.diff(np.append(starts, len(grams)))
        self._keys, firsts = np.unique(grams[starts], return_index=True)
        self._offsets = np.append(firsts, len(starts)).astype(np.int64)
        self._slots = np.full(1 << max(4, (2 * len(self._keys)).bit_length()), -1, np.int64)
        fill_table(self._keys, self._slots)
        self.eligible = self.totals + ngram - 1 >= max(least_words, ngram)
        self.best = np.zeros(len(targets))
        self.where = np.full(len(targets), -1, np.int64)
        self.documents = 0

    def __len__(self) -> int:
        return len(self.best)

    def update(self, documents: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Look through further documents.

        Returns:
            For each document the highest recall of a target that is long enough, and which target, -1 for
            none.
        """
        return self.update_hashed(*hash_documents(documents, self.ngram, self.stemmer))

    def update_hashed(
        self, grams: NDArray[np.uint64], offsets: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """`update` with what `hash_documents` made of the documents, which several indices can share."""
        documents = len(offsets) - 1
        shares = np.zeros(documents)
        targets = np.full(documents, -1, np.int64)
        best_overlap(
            grams,
            offsets,
            self._keys,
            self._slots,
            self._offsets,
            self._targets,
            self._counts,
            self.totals,
            self.eligible,
            self.best,
            self.where,
            self.documents,
            shares,
            targets,
        )
        self.documents += documents
        return shares, targets


def hash_documents(
    texts: Sequence[str], ngram: int, stemmer: bool
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The hashes of all n-grams, text after text, and the (n+1,) offsets of each text's."""
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    ends = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(data) for data in encoded], out=ends[1:])
    data = np.frombuffer(b"".join(encoded), np.uint8)
    return hash_texts(data, ends, stemmer, ngram)


@dataclass(frozen=True)
class Rules:
    """When a document of the corpus is dropped."""

    summary_recall: float = 0.8
    """ROUGE-n recall of a test summary in the document, 0..1; above 1: never"""
    document_recall: float = 0.5
    """ROUGE-n recall of a test document in the document, 0..1; above 1: never"""
    least_words: int = 8
    """shorter summaries and documents are measured, but no reason to drop anything"""
    beginning: int = 20
    """equal first words that are a reason; 0: none are"""
    title_words: int = 4
    """words that a title has at least, for equal titles to be a reason; 0: titles never are"""
    ngram: int = 2
    """words an n-gram"""
    stemmer: bool = True
    """compare Porter stems"""


class Item(NamedTuple):
    """A test item, or a document of the corpus without summaries."""

    document: str
    summaries: Sequence[str] = ()
    title: str = ""


class Hit(NamedTuple):
    """A document of the corpus that has a test item."""

    item: int
    """number of the test item, from 0"""
    reason: str
    """one of `REASONS`"""
    recall: float
    """ROUGE-n recall for the last two reasons, else 1"""


class OverlapFinder:
    """Finds test items in a corpus, batch by batch.

    Args:
        items: the test items.
        rules: when a document is dropped.

    Attributes:
        reasons: reason -> numbers of the test items for which a document was found that way (an item may have
            several).
        dropped: reason -> documents of the corpus, each by its surest reason.
        documents: documents of the corpus seen.
    """

    def __init__(self, items: Sequence[Item], rules: Rules | None = None) -> None:
        if not items:
            raise UserError("there are no test items to look for")
        self.items, self.rules = list(items), rules or Rules()
        rules = self.rules
        options = {"ngram": rules.ngram, "stemmer": rules.stemmer, "least_words": rules.least_words}
        flat = [(i, text) for i, item in enumerate(self.items) for text in item.summaries]
        self._owner = np.array([i for i, _ in flat], np.int64)
        self.summaries = TargetIndex([text for _, text in flat], **options)  # type: ignore[arg-type]
        self.texts = TargetIndex([item.document for item in self.items], **options)  # type: ignore[arg-type]
        self._known: dict[str, dict[bytes, int]] = {reason: {} for reason in REASONS[:4]}
        for i, item in enumerate(self.items):
            for reason, key in self._keys(item):
                self._known[reason].setdefault(key, i)
        self.reasons: dict[str, set[int]] = {reason: set() for reason in REASONS}
        self.dropped: Counter[str] = Counter()
        self.documents = 0

    def check(self, documents: Sequence[Item]) -> list[Hit | None]:
        """Look at further documents of the corpus: for each the surest reason to drop it, or None."""
        texts = [item.document for item in documents]
        hashed = hash_documents(texts, self.rules.ngram, self.rules.stemmer)
        by_text, by_summary = self.texts.update_hashed(*hashed), self.summaries.update_hashed(*hashed)
        found: list[Hit | None] = []
        for i, item in enumerate(documents):
            hits = [
                Hit(self._known[reason][key], reason, 1.0)
                for reason, key in self._keys(item)
                if key in self._known[reason]
            ]
            if by_text[1][i] >= 0 and by_text[0][i] >= self.rules.document_recall:
                hits.append(Hit(int(by_text[1][i]), REASONS[4], float(by_text[0][i])))
            if by_summary[1][i] >= 0 and by_summary[0][i] >= self.rules.summary_recall:
                hits.append(Hit(int(self._owner[by_summary[1][i]]), REASONS[5], float(by_summary[0][i])))
            for hit in hits:
                self.reasons[hit.reason].add(hit.item)
            if hits:
                self.dropped[hits[0].reason] += 1
            found.append(hits[0] if hits else None)
        self.documents += len(documents)
        return found

    @property
    def summary_recall(self) -> NDArray[np.float64]:
        """(n,) highest recall of each item's summaries in the corpus so far: the paper's similarity."""
        best = np.zeros(len(self.items))
        np.maximum.at(best, self._owner, self.summaries.best)
        return best

    @property
    def contaminated(self) -> list[int]:
        """Test items, from 0, that some document of the corpus has by any of the rules, in order."""
        rules = self.rules
        found = set().union(*(self.reasons[reason] for reason in REASONS[:4]))
        for index, owner, least in (
            (self.texts, np.arange(len(self.items)), rules.document_recall),
            (self.summaries, self._owner, rules.summary_recall),
        ):
            found.update(owner[index.eligible & (index.best >= least)].tolist())
        return sorted(found)

    def as_dict(self) -> dict[str, Any]:
        """The account for a JSON file."""
        summary, document = self.summary_recall, self.texts.best
        return {
            "test_items": len(self.items),
            "corpus_documents": self.documents,
            "contaminated_items": len(self.contaminated),
            "dropped_documents": dict(self.dropped),
            "items_by_reason": {reason: len(items) for reason, items in self.reasons.items()},
            "items_at_least": {
                f"{limit:g}": {
                    "summary": int((summary >= limit).sum()),
                    "document": int((document >= limit).sum()),
                }
                for limit in THRESHOLDS
            },
            "mean_summary_recall": float(summary.mean()),
            "rules": {name: getattr(self.rules, name) for name in Rules.__dataclass_fields__},
        }

    def _keys(self, item: Item) -> Iterable[tuple[str, bytes]]:
        """The digests by which an item is known, the surest first."""
        text = normalised(item.document)
        if not text:
            return
        yield "exact", digest(item.document)
        yield "normalised", digest(text)
        words = text.split(" ", self.rules.beginning)
        if self.rules.beginning and len(words) > self.rules.beginning:
            yield "beginning", digest(" ".join(words[: self.rules.beginning]))
        title = normalised(item.title)
        if self.rules.title_words and title.count(" ") + 1 >= self.rules.title_words and title:
            yield "title", digest(title)
