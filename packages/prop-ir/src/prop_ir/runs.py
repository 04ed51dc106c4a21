"""Run files: six columns, `query Q0 document rank score tag`, as trec_eval reads them (TREC).

A run in memory is a dict of dicts, each query's documents from the top. It is written so that every reader
finds that order: with scores that decrease strictly as 32-bit floats, in which trec_eval compares them.
"""

import gzip
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nonet.errors import UserError, needs
from nonet.files import replacing
from prop_ir.text_lines import numbered_lines

Run = dict[str, dict[str, float]]

COLUMNS = "query Q0 document rank score tag"
LARGEST = float(np.finfo(np.float32).max)


def read_run(path: Path | str) -> Run:
    """Read a run file, also packed as .gz or .zst.

    Args:
        path: the file; `-` for standard input; `FILE@N` for the documents of a LETOR file by feature N.

    Returns:
        query -> document -> score; queries as they first occur, documents by score, the highest first, equal
        scores by the rank column and then by line.

    Raises:
        UserError: a line without six columns, a rank or score that is no number, a document twice for a
            query, or no line at all; the text begins with file and line.
    """
    name, _, feature = str(path).rpartition("@")
    if name and feature.isascii() and feature.isdigit() and not Path(path).exists() and Path(name).is_file():
        from prop_ir.letor import letor_run

        return letor_run(name, int(feature))
    found: dict[str, dict[str, tuple[float, int]]] = {}
    for number, line in numbered_lines(path):
        columns = line.split()
        if len(columns) != 6:
            hint = "; MS MARCO's three columns lack scores" if len(columns) == 3 else ""
            raise UserError(
                f"{path}:{number}: {len(columns)} columns, but a run has six: {COLUMNS}{hint}: {_cut(line)}"
            )
        query, _, document, rank, score, _ = columns
        try:
            value, place = float(score), int(rank)
        except ValueError:
            bad_rank = f"rank {rank!r} is not a whole number"
            what = bad_rank if _is_float(score) else f"score {score!r} is not a number"
            raise UserError(f"{path}:{number}: {what}; the columns are {COLUMNS}") from None
        if value != value:
            raise UserError(
                f"{path}:{number}: the score of document {document} for query {query} is NaN, which has no "
                "place in an order; write the run again"
            )
        documents = found.setdefault(query, {})
        if document in documents:
            raise UserError(
                f"{path}:{number}: document {document} occurs twice for query {query}; "
                "keep one line of each document"
            )
        documents[document] = (value, place)
    if not found:
        raise UserError(f"{path}: is empty; a run has lines of {COLUMNS}")
    return {
        query: {
            document: documents[document][0]
            for document in sorted(documents, key=lambda name: (-documents[name][0], documents[name][1]))
        }
        for query, documents in found.items()
    }


def write_run(path: Path | str, run: Mapping[str, Mapping[str, float]], tag: str) -> None:
    """Write a run file, at once or not at all; `.gz` and `.zst` are packed.

    Documents are ranked by score; equal scores keep their order in `run`. Scores are written as 32-bit
    floats with all their digits; one that would not be below the one before it is moved down by the smallest
    step that a 32-bit float has, so that no reader finds a tie.

    Args:
        path: the file.
        run: query -> document -> score.
        tag: name of the system, for the last column.

    Raises:
        UserError: a score that is not finite, or an id or tag with a blank or without a character.
    """
    _check_word(tag, "tag")
    lines = []
    for query, documents in run.items():
        _check_word(query, "query id")
        scores = steps_down(documents, f"query {query}")
        for rank, (document, score) in enumerate(scores.items(), 1):
            _check_word(document, f"query {query}: document id")
            lines.append(f"{query} Q0 {document} {rank} {score!s} {tag}\n")
    data = "".join(lines).encode()
    suffix = Path(path).suffix.lower()
    if suffix == ".gz":
        data = gzip.compress(data, mtime=0)
    elif suffix == ".zst":
        data = needs("zstandard", to="write .zst files", install="prop-ir").compress(data)
    with replacing(path) as part:
        part.write_bytes(data)


def steps_down(documents: Mapping[str, float], where: str = "") -> dict[str, np.float32]:
    """Scores by rank as 32-bit floats that decrease strictly; equal ones keep their order.

    Args:
        documents: document -> score.
        where: begins the message of an error.

    Raises:
        UserError: a score that is not finite, also as a 32-bit float.
    """
    for document, score in documents.items():
        if not math.isfinite(score) or abs(score) > LARGEST:
            raise UserError(
                f"{where}, document {document}: the score is {score}; scores have to be finite 32-bit numbers"
            )
    order = sorted(documents, key=lambda name: -documents[name])
    values = np.array([documents[document] for document in order], np.float64).astype(np.float32)
    bottom = np.float32(-np.inf)
    found = values.tolist()
    for place in np.flatnonzero(values[1:] >= values[:-1]).tolist():
        # The rest of a chain of ties: each below the one before it, until the scores have room again.
        place += 1
        with np.errstate(over="ignore"):  # refused below
            while place < len(found) and found[place] >= found[place - 1]:
                found[place] = float(np.nextafter(np.float32(found[place - 1]), bottom))
                place += 1
    if found and not math.isfinite(found[-1]):
        raise UserError(f"{where}: there are no numbers below the score {-LARGEST} left for tied documents")
    return dict(zip(order, np.array(found, np.float32), strict=True))


def _check_word(text: str, what: str) -> None:
    if not text or text.split() != [text]:
        raise UserError(f"{what} {text!r} cannot stand in a run file, whose columns are separated by blanks")


def _is_float(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _cut(line: str) -> str:
    return repr(line if len(line) <= 60 else line[:60] + "...")
