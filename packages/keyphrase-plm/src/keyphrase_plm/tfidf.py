"""TF-IDF: phrases that a document has often and few documents have (Sparck Jones 1972)."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from keyphrase_plm.candidates import Candidate, find_candidates, read_words
from keyphrase_plm.documents import Document
from nonet.errors import UserError
from nonet.files import write_text


class DocumentFrequencies:
    """In how many documents of a corpus each phrase occurs.

    Args:
        counts: documents by stemmed phrase.
        documents: of the corpus.
    """

    def __init__(self, counts: Counter[str], documents: int) -> None:
        self.counts, self.documents = counts, documents

    @classmethod
    def of(
        cls,
        corpus: Iterable[Document],
        stop_words: frozenset[str],
        stem: Callable[[str], str],
        *,
        longest: int = 3,
    ) -> "DocumentFrequencies":
        """Count the candidates of a corpus.

        Args:
            corpus: read once.
            stop_words: in lower case.
            stem: of a word.
            longest: words of a phrase.
        """
        counts: Counter[str] = Counter()
        documents = 0
        for document in corpus:
            documents += 1
            counts.update(
                each.key for each in find_candidates(read_words(document), stop_words, stem, longest=longest)
            )
        return cls(counts, documents)

    def add(self, candidates: Iterable[Candidate]) -> None:
        """Count one more document."""
        self.documents += 1
        self.counts.update(each.key for each in candidates)

    def scores(self, candidates: Iterable[Candidate]) -> list[float]:
        """Occurrences times ln((1 + documents) / (1 + documents with the phrase)) + 1, so that one that all
        documents have counts a little, and one that the corpus does not know the most."""
        most = 1 + self.documents
        return [
            len(each.places) * (math.log(most / (1 + self.counts.get(each.key, 0))) + 1)
            for each in candidates
        ]

    def save(self, path: str | Path) -> None:
        """Write as JSON, phrases of two documents and more alone."""
        kept = {key: count for key, count in sorted(self.counts.items()) if count > 1}
        write_text(Path(path), json.dumps({"documents": self.documents, "counts": kept}, ensure_ascii=False))

    @classmethod
    def load(cls, path: str | Path) -> "DocumentFrequencies":
        """Read what `save` has written; phrases of one document then count as unknown.

        Raises:
            UserError: the file cannot be read, or is another one.
        """
        try:
            found = json.loads(Path(path).read_text(encoding="utf-8"))
            return cls(Counter({str(k): int(v) for k, v in found["counts"].items()}), int(found["documents"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path}: no file of document frequencies: {error}") from None
