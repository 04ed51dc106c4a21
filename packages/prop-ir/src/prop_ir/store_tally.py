"""Numbers the types of a collection and counts them while a store is built, or from its shards (ours)."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import count, islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nonet.data.safetensors_file import map_tensors
from nonet.data.shard_index import read_index
from nonet.errors import UserError
from prop_ir.documents import Document
from prop_ir.encoding import Batch, Encoded, Encoder, batches
from prop_ir.store import texts_of_bytes


class StoreTally:
    """What the documents of a collection have had so far.

    Attributes:
        numbers: type -> number, in the order of first appearance.
        ctf: (at least types,) occurrences of each.
        df: (at least types,) documents with each.
        ids: of the documents that are kept.
        empty: id and reason of those that are not.
        counts: sums for the account.
    """

    def __init__(self) -> None:
        self.numbers: defaultdict[str, int] = defaultdict(count().__next__)
        self.ctf = np.zeros(1024, np.int64)
        self.df = np.zeros(1024, np.int64)
        self.ids: list[str] = []
        self.empty: list[dict[str, str]] = []
        self.counts: Counter[str] = Counter()

    def restore(self, folder: Path) -> None:
        """Read the complete shards of an unfinished store back."""
        for entry in read_index(folder)["shards"]:
            shard = map_tensors(folder / entry["file"])
            types = shard["new"].tobytes().decode("utf-8").split("\0")[:-1]
            for word in types:
                self.numbers[word]  # a look-up gives a new word its number
            self._room(len(self.numbers))
            places = shard["words.offsets"]
            self.ctf += np.bincount(shard["words"], minlength=len(self.ctf))
            for begin, end in pairwise(places):
                self.df[shard["words"][begin:end]] += 1  # a type's repetitions in one document add 1
            self.ids += texts_of_bytes(shard["id"], shard["id.offsets"])
            self.counts["words"] += len(shard["words"])
            self.counts["pieces"] += len(shard["pieces"])
            self.counts["documents"] += entry["rows"]

    def behind(
        self, documents: Iterator[Document], done: int, encoder: Encoder, folder: Path
    ) -> Iterator[Batch]:
        """Batches of what comes after the first `done` documents, which have to be those of the shards."""
        kept = iter(self.ids)
        expected, seen = next(kept, None), 0
        others: list[Document] = []
        for document in islice(documents, done):
            seen += 1
            if document.id == expected:
                expected = next(kept, None)
            else:
                others.append(document)
        for batch in batches(others):
            encoded = encoder(batch)
            if "" in encoded.reasons:
                expected = expected or encoded.ids[encoded.reasons.index("")]
            self._leave_out(encoded)
        if seen < done or expected is not None:
            raise UserError(
                f"{folder}: the collection is not the one that this store was begun with; "
                "add --overwrite to build it again"
            )
        self.counts["read"] += done
        return batches(documents)

    def rows(self, encoded: Encoded) -> Iterator[dict[str, NDArray[Any]] | None]:
        """The rows of a batch, None for the documents that are left out."""
        before = len(self.numbers)
        words, pieces = encoded.words, encoded.pieces
        numbers = np.fromiter(map(self.numbers.__getitem__, words.types), np.int64, len(words.types))
        self._room(len(self.numbers))
        self.ctf[numbers] += np.bincount(words.flat, minlength=len(numbers))
        self.df[numbers] += encoded.df
        flat = numbers[words.flat].astype(np.uint32)
        self._leave_out(encoded)
        self.counts.update(
            read=len(encoded.ids), words=len(flat), pieces=len(pieces.flat), documents=len(pieces.offsets) - 1
        )
        row = known = 0
        for name, reason in zip(encoded.ids, encoded.reasons, strict=True):
            if reason:
                yield None
                continue
            after = int(words.types_after[row])
            new = (words.types[t] for t in range(known, after) if numbers[t] >= before)
            piece = slice(pieces.offsets[row], pieces.offsets[row + 1])
            self.ids.append(name)
            yield {
                "pieces": pieces.flat[piece],
                "starts": pieces.starts[piece],
                "words": flat[words.offsets[row] : words.offsets[row + 1]],
                "id": np.frombuffer(name.encode("utf-8"), np.uint8),
                "new": np.frombuffer("".join(f"{word}\0" for word in new).encode("utf-8"), np.uint8),
            }
            row, known = row + 1, after

    def left_out(self) -> Counter[str]:
        """Reason -> documents left out."""
        return Counter(entry["reason"] for entry in self.empty)

    def _leave_out(self, encoded: Encoded) -> None:
        for name, reason in zip(encoded.ids, encoded.reasons, strict=True):
            if reason:
                self.empty.append({"id": name, "reason": reason})
                self.counts[f"left out: {reason}"] += 1

    def _room(self, types: int) -> None:
        if types > len(self.ctf):
            more = np.zeros(max(types, 2 * len(self.ctf)) - len(self.ctf), np.int64)
            self.ctf, self.df = np.concatenate([self.ctf, more]), np.concatenate([self.df, more])
