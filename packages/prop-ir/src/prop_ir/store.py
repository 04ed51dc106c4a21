"""A store: a collection as word pieces and as words of its language model, memory-mapped (ours).

A folder of shards (`nonet.data.shards`) with the columns

    pieces  word pieces of the document's beginning, without special ones: uint16, or uint32
    starts  True where a piece begins a word
    words   types of all of the document's counted words in order: uint32
    id      the document's id
    new     the types that no document before has, each ended by a NUL: what a resumed build goes on from

and with `statistics.safetensors` (types, their frequencies and pieces, ids) and `meta.json`, which is
written last: settings, counts, checksums, and the documents that were left out for want of words.
"""

import json
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from nonet.data.safetensors_file import map_tensors
from nonet.data.shard_index import INDEX, check_files, read_index
from nonet.errors import UserError
from nonet.files import sha256
from prop_ir.options import WordOptions
from prop_ir.pieces import tokenizer_hash

__all__ = ["Store", "is_store", "tokenizer_hash"]

FORMAT = 1
KIND = "prop-ir store"
META = "meta.json"
STATISTICS = "statistics.safetensors"
OPEN_SHARDS = 256  # mapped at the same time; each holds a file descriptor

Array = NDArray[Any]


class Store:
    """A complete store; opening is quick, reading copies nothing, and it pickles as its folder.

    Args:
        folder: what `prop-ir prepare` (or `prop_ir.building.build_store`) made.

    Attributes:
        meta: settings, counts and checksums.

    Raises:
        UserError: no store there, an unfinished one, or one with a file missing or cut.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        if not (self.folder / INDEX).is_file():
            raise UserError(f"{self.folder}: no store here; make one with prop-ir prepare")
        index = read_index(self.folder)
        kind = index["meta"].get("kind")
        if kind != KIND:
            raise UserError(f"{self.folder}: no store but {kind or 'other shards'}; name a store")
        try:
            self.meta: dict[str, Any] = json.loads((self.folder / META).read_bytes())
            version = self.meta["format"]
        except FileNotFoundError:
            raise UserError(
                f"{self.folder}: an unfinished store; give the command that began it again"
            ) from None
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{self.folder / META}: damaged ({error}); prepare the store again") from error
        if version != FORMAT:
            raise UserError(
                f"{self.folder}: a store of format {version}, this program reads {FORMAT}; prepare it again"
            )
        files = self.meta["files"]
        check_files(self.folder, [*files, self.meta["statistics"]])
        self._files = [self.folder / entry["file"] for entry in files]
        self._ends = list(accumulate(entry["rows"] for entry in files))
        self._mapped: OrderedDict[int, dict[str, Array]] = OrderedDict()

    def __reduce__(self) -> tuple[type["Store"], tuple[Path]]:
        return Store, (self.folder,)

    def __len__(self) -> int:
        """Documents."""
        return self._ends[-1] if self._ends else 0

    # ------------------------------------------------------------------------------------------- documents

    @cached_property
    def ids(self) -> list[str]:
        """The documents' ids, in order."""
        return texts_of_bytes(self._statistics["ids"], self._statistics["ids.offsets"])

    @cached_property
    def number(self) -> dict[str, int]:
        """Id -> number of the document."""
        return {name: number for number, name in enumerate(self.ids)}

    def pieces(self, document: int) -> NDArray[np.uint16] | NDArray[np.uint32]:
        """A document's first `meta["max_pieces"]` word pieces, without special ones: (n,), a view."""
        return self.column("pieces", document)

    def starts(self, document: int) -> NDArray[np.bool_]:
        """True for the pieces that begin a word of the tokenizer's: (n,), a view."""
        return self.column("starts", document)

    def words(self, document: int) -> NDArray[np.uint32]:
        """Types of all counted words of a document, in the order of its text: (m,), a view."""
        return self.column("words", document)

    def column(self, name: str, document: int) -> Array:
        """A document's part of a column of the shards: a read-only view.

        Raises:
            IndexError: there is no such document.
        """
        if not 0 <= document < len(self):
            raise IndexError(f"document {document} of {len(self)}")
        shard = bisect_right(self._ends, document)
        tensors = self._shard(shard)
        row = document - (self._ends[shard - 1] if shard else 0)
        begin, end = tensors[name + ".offsets"][row : row + 2].tolist()
        return tensors[name][begin:end]

    def gather(
        self, name: str, documents: Sequence[int] | NDArray[np.int64]
    ) -> tuple[Array, NDArray[np.int64]]:
        """A column of several documents, one after the other: a copy.

        Args:
            name: `pieces`, `starts` or `words`.
            documents: (n,) their numbers, in any order.

        Returns:
            The values, and (n + 1,) where each document begins in them.
        """
        parts = [self.column(name, int(document)) for document in documents]
        offsets = np.zeros(len(parts) + 1, np.int64)
        np.cumsum([len(part) for part in parts], out=offsets[1:])
        if not parts:
            return np.zeros(0, self._shard(0)[name].dtype if len(self) else np.uint32), offsets
        return np.concatenate(parts), offsets

    @cached_property
    def piece_counts(self) -> NDArray[np.int64]:
        """(documents,) pieces kept of each."""
        return self._lengths("pieces")

    @cached_property
    def word_counts(self) -> NDArray[np.int64]:
        """(documents,) counted words of each: |D|."""
        return self._lengths("words")

    # ----------------------------------------------------------------------------------------------- types

    @cached_property
    def types(self) -> list[str]:
        """The different words, in the order of first appearance."""
        return texts_of_bytes(self._statistics["types"], self._statistics["types.offsets"])

    @property
    def ctf(self) -> NDArray[np.int64]:
        """(types,) occurrences in the collection."""
        return cast(NDArray[np.int64], self._statistics["ctf"])

    @property
    def df(self) -> NDArray[np.int64]:
        """(types,) documents with the type."""
        return cast(NDArray[np.int64], self._statistics["df"])

    def type_pieces(self, number: int) -> Array:
        """The word pieces of a type as it is written within a text: (n,), a view."""
        begin, end = self.type_piece_offsets[number : number + 2].tolist()
        return self.type_piece_flat[begin:end]

    @property
    def type_piece_flat(self) -> Array:
        """Word pieces of all types, one type after the other."""
        return self._statistics["type_pieces"]

    @property
    def type_piece_offsets(self) -> NDArray[np.int64]:
        """(types + 1,) where each type begins in `type_piece_flat`."""
        return cast(NDArray[np.int64], self._statistics["type_pieces.offsets"])

    # -------------------------------------------------------------------------------------------- settings

    @property
    def tokenizer_hash(self) -> str:
        """What `tokenizer_hash` says of the tokenizer that the pieces are from."""
        return str(self.meta["tokenizer"])

    @property
    def word_options(self) -> WordOptions:
        """What was counted as a word."""
        return WordOptions(**self.meta["words"])

    @property
    def max_pieces(self) -> int:
        """Pieces kept of a document at most."""
        return int(self.meta["max_pieces"])

    @property
    def total_words(self) -> int:
        """Counted words of the whole collection."""
        return int(self.meta["counts"]["words"])

    @property
    def mean_words(self) -> float:
        """Mean number of counted words of a document: the code's mu."""
        return self.total_words / max(len(self), 1)

    def check_tokenizer(self, tokenizer: Any, name: str = "this model") -> None:
        """Refuse a tokenizer other than the one that the pieces are from.

        Args:
            tokenizer: of transformers, or of tokenizers.
            name: whose it is, for the message.

        Raises:
            UserError: it makes other pieces.
        """
        if tokenizer_hash(tokenizer) != self.tokenizer_hash:
            raise UserError(
                f"{self.folder}: was made with another tokenizer than that of {name}; "
                f"prepare a store with --tokenizer {name}"
            )

    def verify(self) -> None:
        """Read every file and compare its SHA-256 with `meta.json`.

        Raises:
            UserError: a file has changed.
        """
        for entry in [*self.meta["files"], self.meta["statistics"]]:
            if sha256(self.folder / entry["file"]) != entry["sha256"]:
                raise UserError(f"{self.folder / entry['file']}: has changed; prepare the store again")

    # --------------------------------------------------------------------------------------------- private

    @cached_property
    def _statistics(self) -> dict[str, Array]:
        return map_tensors(self.folder / STATISTICS)

    def _shard(self, shard: int) -> dict[str, Array]:
        if shard not in self._mapped:
            self._mapped[shard] = map_tensors(self._files[shard])
            if len(self._mapped) > OPEN_SHARDS:
                self._mapped.popitem(last=False)  # views that are in use keep their own file mapped
        return self._mapped[shard]

    def _lengths(self, name: str) -> NDArray[np.int64]:
        parts = [np.diff(self._shard(shard)[name + ".offsets"]) for shard in range(len(self._files))]
        return np.concatenate([np.zeros(0, np.int64), *parts])


def is_store(folder: Path) -> bool:
    """Whether a folder holds a store, finished or not."""
    try:
        return read_index(folder)["meta"].get("kind") == KIND
    except UserError:
        return False


def texts_of_bytes(flat: Array, offsets: Array) -> list[str]:
    """Texts of their UTF-8 bytes.

    Args:
        flat: (n,) uint8, one text after the other.
        offsets: (texts + 1,) where each begins.
    """
    data, places = flat.tobytes(), offsets.tolist()
    return [data[begin:end].decode("utf-8") for begin, end in pairwise(places)]


def bytes_of_texts(texts: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The UTF-8 bytes of texts, one after the other, and where each begins; see `texts_of_bytes`."""
    coded = [text.encode("utf-8") for text in texts]
    offsets = np.zeros(len(coded) + 1, np.int64)
    np.cumsum([len(text) for text in coded], out=offsets[1:])
    return np.frombuffer(b"".join(coded), np.uint8), offsets
