"""Judgements of relevance: TREC's four columns, BEIR's tables, LETOR's lines, entries of ir_datasets.

`query 0 document grade` (TREC); `query-id corpus-id score` with this header and tabs (BEIR); see `letor`.
The first line says which of them a file is.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from nonet.errors import UserError, needs
from prop_ir.catalogue import PREFIX
from prop_ir.letor import is_letor, letor_qrels
from prop_ir.text_lines import numbered_lines

Qrels = dict[str, dict[str, int]]

COLUMNS = "query 0 document grade"
BEIR = "query-id corpus-id score"


def read_qrels(path: Path | str) -> Qrels:
    """Read judgements.

    Args:
        path: a file, also .gz or .zst; or `ir_datasets:NAME`.

    Returns:
        query -> document -> grade, in the file's order; grades may be negative.

    Raises:
        UserError: a line of another form, a grade that is no whole number, a document judged twice for a
            query, or no judgement at all; the text begins with file and line.
    """
    if str(path).startswith(PREFIX):
        return _of_catalogue(str(path))
    lines = numbered_lines(path)
    first = next(lines, None)
    if first is None:
        raise UserError(f"{path}: is empty; judgements are lines of {COLUMNS}")
    if is_letor(first[1]):
        return letor_qrels(path)
    header = first[1].lower().split()
    beir = len(header) == 3 and not _is_int(header[2])
    found: Qrels = {}
    wanted = 3 if beir else 4
    for number, line in lines if beir else [first, *lines]:
        columns = line.split()
        if len(columns) != wanted:
            hint = f" (a BEIR table begins with its header {BEIR})" if len(columns) == 3 else ""
            raise UserError(
                f"{path}:{number}: {len(columns)} columns, but judgements have {wanted}: "
                f"{BEIR if beir else COLUMNS}{hint}"
            )
        query, document, grade = columns[0], columns[-2], columns[-1]
        if not _is_int(grade):
            raise UserError(f"{path}:{number}: grade {grade!r} is not a whole number")
        _add(found, query, document, int(grade), f"{path}:{number}")
    if not found:
        raise UserError(f"{path}: has a header and no judgement")
    return found


def catalogue_records(name: str, kind: Literal["queries", "qrels"]) -> Iterator[Any]:
    """Queries or judgements of an entry of ir_datasets, as it has them.

    Args:
        name: `ir_datasets:NAME`.
        kind: which of them.

    Raises:
        UserError: ir_datasets is not installed, or has no such entry, or this one has none of them.
    """
    catalogue: Any = needs("ir_datasets", to=f"read {name}", install="prop-ir[datasets]")
    try:
        entry = catalogue.load(name.removeprefix(PREFIX))
    except KeyError:
        raise UserError(f"{name}: ir_datasets has no such entry") from None
    if not getattr(entry, f"has_{kind}")():
        raise UserError(f"{name}: this entry of ir_datasets has no {kind}")
    found: Iterator[Any] = getattr(entry, f"{kind}_iter")()
    return found


def _add(found: Qrels, query: str, document: str, grade: int, where: str) -> None:
    judged = found.setdefault(query, {})
    if document in judged:
        raise UserError(
            f"{where}: document {document} is judged twice for query {query} "
            f"({judged[document]} and {grade}); keep one line"
        )
    judged[document] = grade


def _of_catalogue(name: str) -> Qrels:
    found: Qrels = {}
    for number, record in enumerate(catalogue_records(name, "qrels"), 1):
        _add(found, record.query_id, record.doc_id, int(record.relevance), f"{name}:{number}")
    return found


def _is_int(text: str) -> bool:
    try:
        int(text)
    except ValueError:
        return False
    return True
