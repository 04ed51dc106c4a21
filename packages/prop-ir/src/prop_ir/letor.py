"""LETOR 4.0 files (Qin and Liu 2013): judged documents with features, as judgements and as runs.

    2 qid:10032 1:0.056537 2:0.000000 ... #docid = GX029-35-5894638 inc = 0.0119 prob = 0.139842

MQ2007 and MQ2008 re-rank these documents; a feature, such as the one of BM25, makes a first stage of them.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from nonet.errors import UserError
from prop_ir.runs import Run
from prop_ir.text_lines import numbered_lines

FORM = "GRADE qid:QUERY 1:VALUE 2:VALUE ... #docid = ID"

_DOCUMENT = re.compile(r"\bdocid\s*=\s*(\S+)", re.IGNORECASE)


class Judged(NamedTuple):
    """One line of a LETOR file."""

    query: str
    document: str
    """what stands after `docid =`; else QUERY-N, the N-th document of the query"""
    grade: int
    features: dict[int, float]
    """by number, from 1; those that the line lacks are 0"""


def is_letor(line: str) -> bool:
    """Whether a line looks like LETOR's: its second word begins with `qid:`."""
    return any(word.startswith("qid:") for word in line.split(maxsplit=2)[1:2])


def read_letor(path: Path | str) -> Iterator[Judged]:
    """The lines of a LETOR file, one after the other.

    Raises:
        UserError: a line of another form, or a document twice for a query; the text begins with file and
            line.
    """
    seen: dict[str, set[str]] = {}
    for number, line in numbered_lines(path):
        data, _, comment = line.partition("#")
        columns = data.split()
        try:
            grade, query = int(columns[0]), columns[1].removeprefix("qid:")
            features = {int(name): float(value) for name, _, value in (c.partition(":") for c in columns[2:])}
            if not columns[1].startswith("qid:") or not query or len(features) != len(columns) - 2:
                raise ValueError
        except (ValueError, IndexError):
            raise UserError(f"{path}:{number}: not a line of LETOR; they are {FORM}") from None
        documents = seen.setdefault(query, set())
        found = _DOCUMENT.search(comment)
        document = found[1] if found else f"{query}-{len(documents) + 1}"
        if document in documents:
            raise UserError(f"{path}:{number}: document {document} occurs twice for query {query}")
        documents.add(document)
        yield Judged(query, document, grade, features)


def letor_qrels(path: Path | str) -> dict[str, dict[str, int]]:
    """The grades of a LETOR file: query -> document -> grade, in the file's order."""
    found: dict[str, dict[str, int]] = {}
    for judged in read_letor(path):
        found.setdefault(judged.query, {})[judged.document] = judged.grade
    return found


def letor_run(path: Path | str, feature: int) -> Run:
    """The documents of a LETOR file, ranked by one feature.

    Args:
        path: the file.
        feature: its number, from 1.

    Returns:
        query -> document -> the feature's value, from the top; equal values in the file's order.

    Raises:
        UserError: no line has this feature, or a value is not a number.
    """
    found: Run = {}
    largest = 0
    for judged in read_letor(path):
        value = judged.features.get(feature, 0.0)
        if value != value:
            raise UserError(
                f"{path}: query {judged.query}, document {judged.document}: feature {feature} is NaN"
            )
        found.setdefault(judged.query, {})[judged.document] = value
        largest = max([largest, *judged.features])
    if not 1 <= feature <= largest:
        raise UserError(f"{path}: no feature {feature}; features are 1 to {largest}")
    return {
        query: dict(sorted(documents.items(), key=lambda entry: -entry[1]))
        for query, documents in found.items()
    }
