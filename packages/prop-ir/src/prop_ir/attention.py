"""The attention that [CLS] pays the words of a document, which B-PROP draws words by (Ma et al. 2021, 3.1).

One forward pass of a plain encoder over the document's first pieces; of the last layer, the [CLS] row of the
attention weights, as a mean over the heads. A word's weight is that of its first piece, and the weights of a
type's occurrences are summed. In the released code only first pieces are visible to attention at all, an
accident of its mask that `first_pieces` repeats.

Only that one row is computed as weights: transformers lets us register an attention function, and ours is
its own `sdpa` with the row beside it. Models that do not ask for attention functions (DeBERTa) run with all
weights written out.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, AutoModel

from nonet.data.shard_index import INDEX
from nonet.data.shards import ShardWriter
from nonet.errors import UserError
from prop_ir.contrastive_terms import KIND, fingerprint
from prop_ir.inputs import PairTemplate
from prop_ir.loading import config_of, load_kind
from prop_ir.model import longest_input
from prop_ir.pieces import backend_of, load_tokenizer
from prop_ir.store import Store
from prop_ir.words import Words

# Shapes: B documents, L pieces of the longest with [CLS] and [SEP], H heads, D width of a head.

NAME = "sdpa_with_first_row"
CHUNK = 2048  # documents sorted by length together; a shard holds a whole number of chunks
SHARD = 8 * CHUNK
REMEMBERED = 1_000_000  # spellings of words that are looked up once


class FirstRow:
    """An encoder of which a pass leaves the last layer's attention weights of the first piece.

    Args:
        name: folder or hub name of the encoder.
        device: to run on.
        dtype: of the multiplications; weights and softmax are float32.
    """

    def __init__(self, name: str | Path, device: str, dtype: torch.dtype = torch.float32) -> None:
        folder, config = config_of(name)
        self.model, _ = load_kind(AutoModel, folder, config)
        self.model.to(device).eval()
        self.dtype = dtype
        self._row: Tensor | None = None
        AttentionInterface.register(NAME, self._attend)
        AttentionMaskInterface.register(NAME, AttentionMaskInterface()["sdpa"])
        try:
            self.model.set_attn_implementation(NAME)
            self.own = self.model.config._attn_implementation == NAME
        except ValueError:
            self.own = False
        if not self.own:
            self.model.set_attn_implementation("eager")

    @torch.inference_mode()
    def __call__(self, ids: NDArray[np.int64], visible: NDArray[np.int64]) -> NDArray[np.float32]:
        """The weights.

        Args:
            ids: (B, L) pieces.
            visible: (B, L) 1 for those that attention sees.

        Returns:
            (B, L) float32, mean over the heads; a row adds up to 1.
        """
        device = self.model.device
        inputs = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(visible)}
        inputs = {name: value.to(device) for name, value in inputs.items()}
        if self.own:
            AttentionInterface.register(NAME, self._attend)  # another encoder may have taken the name
        with torch.autocast(device.type, self.dtype, enabled=self.dtype != torch.float32):
            out = self.model(**inputs, output_attentions=not self.own)
        row = self._row if self.own else out.attentions[-1][:, :, 0].float()
        if row is None:
            raise UserError(f"{type(self.model).__name__} does not tell its attention; take another encoder")
        self._row = None
        return row.mean(1).cpu().numpy()

    def _attend(
        self, module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None,
        *arguments: Any, scaling: float | None = None, **options: Any,
    ) -> tuple[Tensor, None]:  # fmt: skip
        """Attention as `sdpa` does it; the weights of the first query are kept, the last layer's last."""
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        with torch.autocast(query.device.type, enabled=False):
            logits = torch.einsum("bhd,bhkd->bhk", query[:, :, 0].float(), key.float()) * scale
            if mask is not None and mask.dtype == torch.bool:
                logits = logits.masked_fill(~mask[:, :, 0], float("-inf"))
            elif mask is not None:
                logits = logits + mask[:, :, 0]
            self._row = logits.softmax(-1)
        sdpa: Callable[..., Any] = AttentionInterface()["sdpa"]
        return sdpa(module, query, key, value, mask, *arguments, scaling=scaling, **options)


class PieceWords:
    """Which type of a store's language model the pieces of a word stand for.

    Args:
        store: has the types, and says what a word is.
        tokenizer: of transformers; the store's.
    """

    def __init__(self, store: Store, tokenizer: Any) -> None:
        self._tokenizer, self._words = tokenizer, Words(store.word_options)
        backend = backend_of(tokenizer)
        self._prefix = None if backend.decoder else getattr(backend.model, "continuing_subword_prefix", "")
        self._number = {name: number for number, name in enumerate(store.types)}
        self._known: dict[bytes, int] = {}

    def __call__(self, pieces: NDArray[Any]) -> int:
        """The type, or -1 for what is no word of the model: a stop word, a number, a mark."""
        key = pieces.tobytes()
        if key not in self._known:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            found = self._words.find(self._text(pieces.tolist()))
            self._known[key] = self._number.get(found[0], -1) if found else -1
        return self._known[key]

    def _text(self, pieces: list[int]) -> str:
        if self._prefix is None:
            return str(self._tokenizer.decode(pieces))
        first, *rest = self._tokenizer.convert_ids_to_tokens(
            pieces
        )  # there is no decoder to undo the cutting
        return first + "".join(piece.removeprefix(self._prefix) for piece in rest)


def weigh_words(
    store: Store,
    name: str,
    folder: Path,
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    batch: int = 32,
    max_length: int = 512,
    first_pieces: bool = True,
    progress: Callable[[int], None] = lambda documents: None,
) -> int:
    """Write the attention that each document's words get, or go on where an interrupted run stopped.

    Args:
        store: the documents.
        name: folder or hub name of the encoder; its tokenizer is the store's.
        folder: where the shards go, a row for each document: `types` (uint32, ascending) and `weights`.
        device: to run on.
        dtype: of the multiplications.
        batch: documents at once.
        max_length: pieces of a document, special ones included; what is longer is cut.
        first_pieces: hide the other pieces of words from attention, as the released code does.
        progress: called with the number of documents done since the last call.

    Returns:
        How many documents were done already.

    Raises:
        UserError: another tokenizer than the store's, too long a `max_length`, or a folder with other things.
    """
    tokenizer = load_tokenizer(name)
    store.check_tokenizer(tokenizer, name)
    template = PairTemplate.of(tokenizer)
    encoder = FirstRow(name, device, dtype)
    limit = longest_input(encoder.model)
    if limit is not None and max_length > limit:
        raise UserError(f"max_length is {max_length}, but {name} has {limit} positions: give at most {limit}")
    room = min(max_length - len(template.before) - len(template.after), store.max_pieces)
    if room < 1:
        raise UserError(f"max_length {max_length} leaves no room for a document")
    taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    if taken and not (folder / INDEX).exists():
        raise UserError(f"{folder}: holds other files; name an empty folder or a new one")
    about = {
        "kind": KIND, "store": fingerprint(store), "model": name, "max_length": max_length,
        "first_pieces": first_pieces,
    }  # fmt: skip
    with ShardWriter.open(folder, about, rows_per_shard=SHARD) as writer:
        done = writer.position
        progress(done)
        words = PieceWords(store, tokenizer)
        for first in range(done, len(store), CHUNK):
            rows = np.arange(first, min(first + CHUNK, len(store)))
            found: dict[int, tuple[NDArray[Any], NDArray[Any]]] = {}
            lengths = np.minimum(store.piece_counts[rows], room)
            order = rows[np.argsort(-lengths, kind="stable")]
            for start in range(0, len(order), batch):
                some = order[start : start + batch]
                found.update(_weigh(store, some, encoder, words, template, room, first_pieces))
                progress(len(some))
            for row in rows.tolist():
                types, weights = found[row]
                writer.append({"types": types, "weights": weights})
                writer.consumed()
    return done


def _weigh(
    store: Store, rows: NDArray[np.int64], encoder: FirstRow, words: PieceWords, template: PairTemplate,
    room: int, first_pieces: bool,
) -> Iterator[tuple[int, tuple[NDArray[np.uint32], NDArray[np.float32]]]]:  # fmt: skip
    """Each row with its types and their weights."""
    pieces = [store.pieces(row)[:room] for row in rows.tolist()]
    starts = [store.starts(row)[:room] for row in rows.tolist()]
    before, after = len(template.before), len(template.after)
    ids = np.zeros((len(rows), before + max(map(len, pieces)) + after), np.int64)
    visible = np.zeros(ids.shape, np.int64)
    for b, (piece, start) in enumerate(zip(pieces, starts, strict=True)):
        end = before + len(piece)
        ids[b, : end + after] = [*template.before, *piece.tolist(), *template.after]
        visible[b, : end + after] = 1
        if first_pieces:
            visible[b, before:end] = start
    weights = encoder(ids, visible)
    for b, row in enumerate(rows.tolist()):
        yield row, _by_type(pieces[b], starts[b], weights[b, before:], words, room)


def _by_type(
    pieces: NDArray[Any],
    starts: NDArray[np.bool_],
    weights: NDArray[np.float32],
    words: PieceWords,
    room: int,
) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """Sum the weights of first pieces by type; where the document is cut its last word may be, too."""
    places = np.flatnonzero(starts)
    bounds = [*places.tolist(), len(pieces)]
    numbers = np.array([words(pieces[a:b]) for a, b in pairwise(bounds)], np.int64)
    if len(pieces) == room:
        numbers[-1] = -1
    known = numbers >= 0
    types, where = np.unique(numbers[known], return_inverse=True)
    sums = np.bincount(where, weights=weights[places[known]], minlength=len(types))
    return types.astype(np.uint32), sums.astype(np.float32)
