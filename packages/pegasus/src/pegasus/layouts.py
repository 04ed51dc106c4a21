"""How files hold documents and summaries: which fields are which, found from the first record. Ours.

Known are the data sets of the paper by their field names, AESLC and SciTLDR as their authors publish them,
and the names that people give such fields.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from nonet.errors import UserError
from pegasus.data_sets import DATA_SETS, DataSet, RougeL, data_set

DOCUMENT_FIELDS = (
    "document", "article", "text", "inputs", "input", "source", "body", "email_body", "description",
    "documents", "dialogue", "content", "maintext", "report", "post", "abstract",
)  # fmt: skip
"""where the document is looked for, in this order"""

SUMMARY_FIELDS = (
    "summary", "highlights", "targets", "target", "tldr", "subject_line", "subject", "headline", "summaries",
    "references", "reference", "abstract", "title",
)  # fmt: skip
"""where the summary is looked for, in this order, the document's field left out"""

ANNOTATIONS = ("ann0", "ann1", "ann2")
"""further human subject lines of AESLC's dev and test sets (Zhang and Tetreault 2019)"""


@dataclass(frozen=True)
class Layout:
    """Which fields of a record are what."""

    document: str
    summary: str
    join: str = " "
    """what stands between the sentences of a document that comes as a list"""
    further: tuple[str, ...] = ()
    """fields with further references, where a record has them"""
    name: str = ""
    """what the layout is called; empty if only the fields are known"""
    rouge_l: RougeL = "rougeL"
    """what the literature calls ROUGE-L on this data set"""


def detect(
    fields: Mapping[str, Any],
    where: str,
    *,
    text_field: str | None = None,
    summary_field: str | None = None,
    named: str | None = None,
    annotations: bool = False,
) -> Layout:
    """Find the layout of a record.

    Args:
        fields: the first record.
        where: its place, for the message.
        text_field: the document's field, if the user named it.
        summary_field: the summary's field, if the user named it.
        named: one of the paper's data sets, if the user named it.
        annotations: take AESLC's further subject lines as references as well; the paper takes the first
            alone.

    Raises:
        UserError: a field is missing, or none of the known ones is there.
    """
    chosen = data_set(named) if named else None
    document = text_field or _first(fields, DOCUMENT_FIELDS if chosen is None else (chosen.document,), set())
    summary = summary_field or _first(
        fields, SUMMARY_FIELDS if chosen is None else (chosen.summary,), {document} if document else set()
    )
    if chosen and chosen.name == "aeslc" and "body" in fields and "subject" in fields:
        document, summary = text_field or "body", summary_field or "subject"
    _require(fields, where, document, "document", "--text-field", text_field, chosen)
    _require(fields, where, summary, "summary", "--summary-field", summary_field, chosen)
    assert document is not None  # or _require has raised
    assert summary is not None
    if document == summary:
        raise UserError(
            f"{where}: document and summary are both field {document!r}; name another with --summary-field"
        )
    if summary in ("subject", "subject_line") and document in ("body", "email_body"):
        further = ANNOTATIONS if annotations else ()
        return Layout(document, summary, "\n", further, "aeslc")
    if (
        document == "source"
        and isinstance(fields.get("source"), list)
        and isinstance(fields.get(summary), list)
    ):
        return Layout(document, summary, name="scitldr")
    chosen = chosen or _guess(document, summary)
    if chosen:
        return Layout(document, summary, name=chosen.name, rouge_l=chosen.rouge_l)
    return Layout(document, summary)


def _first(fields: Mapping[str, Any], names: Iterable[str], taken: set[str]) -> str | None:
    return next((name for name in names if name in fields and name not in taken), None)


def _require(
    fields: Mapping[str, Any],
    where: str,
    name: str | None,
    what: str,
    option: str,
    asked: str | None,
    chosen: DataSet | None,
) -> None:
    if name in fields:
        return
    wanted = f"field {asked!r}" if asked else f"{what} field"
    if chosen and not asked:
        wanted = f"field {getattr(chosen, what)!r}, the {what} of {chosen.name}"
    there = ", ".join(fields) or "none"
    raise UserError(f"{where}: no {wanted}; fields are {there}: name one with {option}")


def _guess(document: str, summary: str) -> DataSet | None:
    """The data set of the paper that alone has these two fields."""
    same = [entry for entry in DATA_SETS.values() if (entry.document, entry.summary) == (document, summary)]
    return same[0] if len(same) == 1 else None
