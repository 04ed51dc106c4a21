"""The files of an embedded index: weights column by column in the layout of bm25s, ids and the order of ties.

Columns are written batch by batch into mapped files, so that they need not fit into memory. Source of the
layout: `BM25.save` of bm25s 0.3; ids and ties are ours.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nonet.errors import UserError
from nonet.files import write_json, write_text
from prop_ir import weighting
from prop_ir.index_folder import LEFT_OUT
from prop_ir.postings import Postings

# The names that bm25s gives its files.
WEIGHTS, ROWS, BEGINS = "data.csc.index.npy", "indices.csc.index.npy", "indptr.csc.index.npy"
TERMS, PARAMETERS, ABSENT = "vocab.index.json", "params.index.json", "nonoccurrence_array.index.npy"
# Ours.
IDS, ID_ENDS, TIES = "ids.npy", "ids.ends.npy", "ties.npy"


def write_files(
    folder: Path, postings: Postings, names: Sequence[str], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Write all files of an index but `meta.json`.

    Args:
        folder: of the index.
        postings: of all documents.
        names: their ids.
        settings: variant, k1, b, delta and lengths.

    Returns:
        Documents, those left out, terms, postings and the mean length, for `meta.json`.

    Raises:
        UserError: nothing to index, or two documents of the same id.
    """
    lengths = postings.lengths()
    kept = lengths > 0
    empty = [name for name, has_terms in zip(names, kept, strict=True) if not has_terms]
    if not kept.any():
        raise UserError(
            f"none of {len(names):,} documents has a term to index; look at words, stemmer and stop words"
            if names
            else "the collection has no documents"
        )
    ties = _places(names, kept)
    df = postings.document_frequencies()
    mean = float(lengths[kept].mean())
    _write_weights(folder, postings, df, lengths, kept, mean, settings)
    encoded = [name.encode() for name, has_terms in zip(names, kept, strict=True) if has_terms]
    ends = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(name) for name in encoded], out=ends[1:])
    np.save(folder / IDS, np.frombuffer(b"".join(encoded), np.uint8))
    np.save(folder / ID_ENDS, ends)
    np.save(folder / TIES, ties)
    write_text(folder / TERMS, json.dumps(postings.terms, ensure_ascii=False))
    write_text(folder / LEFT_OUT, "".join(f"{name}\n" for name in empty))
    parameters = {
        "k1": settings["k1"], "b": settings["b"], "delta": settings["delta"], "method": settings["variant"],
        "idf_method": settings["variant"], "dtype": "float32", "int_dtype": "int32",
        "num_docs": len(encoded), "backend": "numpy",
    }  # fmt: skip
    write_json(folder / PARAMETERS, parameters)
    return {
        "documents": len(encoded), "left_out": len(empty), "terms": len(df), "postings": int(df.sum()),
        "mean_length": mean,
    }  # fmt: skip


def _places(names: Sequence[str], kept: NDArray[np.bool_]) -> NDArray[np.int32]:
    """The place of each document that is kept in the order of ids.

    Raises:
        UserError: an id occurs twice.
    """
    order = sorted(range(len(names)), key=names.__getitem__)
    for one, two in pairwise(order):
        if names[one] == names[two]:
            raise UserError(
                f"document id {names[one]!r} occurs twice (documents {one + 1:,} and {two + 1:,}); "
                "ids have to be different"
            )
    order = [row for row in order if kept[row]]
    places = np.empty(len(names), np.int32)
    places[order] = np.arange(len(order), dtype=np.int32)
    return places[kept]


def _write_weights(
    folder: Path,
    postings: Postings,
    df: NDArray[np.int64],
    lengths: NDArray[np.int64],
    kept: NDArray[np.bool_],
    mean: float,
    settings: Mapping[str, Any],
) -> None:
    """The columns of weights: every batch fills its part of each column."""
    variant, k1, delta = settings["variant"], settings["k1"], settings["delta"]
    rarity = weighting.rarity(variant, df, int(kept.sum()))
    norms = weighting.norms(lengths, mean, settings["b"], settings["lengths"])
    row_of = (np.cumsum(kept) - 1).astype(np.int32)
    begins = np.zeros(len(df) + 1, np.int64)
    np.cumsum(df, out=begins[1:])
    size = (int(begins[-1]),)
    weights = np.lib.format.open_memmap(folder / WEIGHTS, "w+", np.float32, size)
    rows = np.lib.format.open_memmap(folder / ROWS, "w+", np.int32, size)
    filled = begins[:-1].copy()
    for batch in postings.batches():
        ends = np.cumsum(batch.sizes)
        places = np.arange(len(batch.documents)) + np.repeat(
            filled[batch.terms] - (ends - batch.sizes), batch.sizes
        )
        weights[places] = np.repeat(rarity[batch.terms], batch.sizes) * weighting.frequency(
            variant, batch.counts.astype(np.float64), norms[batch.documents], k1, delta
        )
        rows[places] = row_of[batch.documents]
        filled[batch.terms] += batch.sizes
    weights.flush()
    rows.flush()
    np.save(folder / BEGINS, begins)
    if weighting.absent(variant, k1, delta):
        np.save(folder / ABSENT, (rarity * weighting.absent(variant, k1, delta)).astype(np.float32))
