"""The catalogue in other programs' formats: the same bytes for the same content (ours).

What comes from memory is left out unless the atlas shows it. JSON and JSON lines are complete and read back
to what was written; CSV and Markdown are tables, a column a field, with the source and the confidence beside
every fact.
"""

import csv
import io
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nonet.errors import UserError
from vlp_atlas.bibtex import to_bibtex
from vlp_atlas.eee import documents
from vlp_atlas.names import plural
from vlp_atlas.tabular import Table
from vlp_atlas.vocabulary import KINDS

if TYPE_CHECKING:
    from vlp_atlas.atlas import Atlas

__all__ = ["FORMATS", "export", "read_export", "to_csv", "to_markdown", "visible"]

FORMATS = ("csv", "json", "jsonl", "md", "bibtex", "eee")
FORMULA = "=+-@\t\n"
"""first characters that make spreadsheets run a cell"""
FIRST = ("id", "alias", "name", "title")
"""columns that come first"""


def export(atlas: "Atlas", what: "str | Table", format: str) -> str:
    """A kind of records, the whole catalogue, or a table, as text with Unix newlines.

    Args:
        atlas: the catalogue.
        what: `models`, `results`, ...; `atlas` for everything (json only); or a table of a query.
        format: csv, json, jsonl, md (Markdown), bibtex (the papers: all, the models', or the rows'), or eee
            (results in the form of Every Eval Ever, a document a line).

    Raises:
        UserError: the format is unknown, or does not hold that.
    """
    if format not in FORMATS:
        raise UserError(f"no format {format!r}: one of {', '.join(FORMATS)}")
    if format == "bibtex":
        return to_bibtex(_papers(atlas, what), unverified=atlas.unverified)
    if format == "eee":
        rows = what.rows if isinstance(what, Table) else atlas.results().rows
        of_results = all(row.get("kind") == "result" for row in rows)
        if what not in ("results", "atlas") and not (isinstance(what, Table) and of_results):
            raise UserError("the format eee holds results only: export results")
        return "".join(_json(document) + "\n" for document in documents(atlas, rows))
    if what == "atlas":
        if format != "json":
            raise UserError(f"the whole catalogue is exported as json, not {format}: name a kind of records")
        head = {key: value for key, value in atlas.catalogue.items() if key not in KINDS}
        return _json({**head, **{kind: visible(atlas, kind) for kind in KINDS}}) + "\n"
    if isinstance(what, Table):
        columns, records, footer = what.columns, what.plain(), what.footer
    else:
        kind = what if what in KINDS else plural(what)
        records, footer = visible(atlas, kind), []
        if format in ("csv", "md"):
            columns, records = _flat(records)
    if format == "json":
        return json.dumps(records, sort_keys=True, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    if format == "jsonl":
        return "".join(_json(record) + "\n" for record in records)
    return to_csv(columns, records) if format == "csv" else to_markdown(columns, records, footer)


def visible(atlas: "Atlas", kind: str) -> list[dict[str, Any]]:
    """The records of a kind without what the atlas hides: a fact becomes `missing`, a result is left out."""
    records = atlas.all(kind)
    if atlas.unverified:
        return records
    if kind == "results":
        records = [record for record in records if atlas.shows(record)]
    return [_shown(atlas, record, top=True) for record in records]


def _shown(atlas: "Atlas", record: dict[str, Any], top: bool = False) -> dict[str, Any]:
    if not top and "confidence" in record and not atlas.shows(record):
        return {"value": None, "missing": "unknown", "source": [], "confidence": record["confidence"]}
    shown = {}
    for name, found in record.items():
        if name == "alternatives":
            found = [other for other in found if atlas.shows(other)]
        elif top and isinstance(found, dict) and "confidence" in found:
            found = _shown(atlas, found)
        shown[name] = found
    return shown


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _papers(atlas: "Atlas", what: "str | Table") -> list[dict[str, Any]]:
    papers = {paper["id"]: paper for paper in atlas.all("papers")}
    if isinstance(what, Table):
        models = {model["id"]: model["paper"] for model in atlas.all("models")}
        wanted = {models.get(row.get("model", ""), row.get("reported_by")) for row in what.rows}
    elif what in ("papers", "atlas"):
        wanted = set(papers)
    elif what == "models":
        wanted = {model["paper"] for model in atlas.all("models")}
    else:
        raise UserError(f"the format bibtex holds papers: export papers or models, not {what}")
    return [paper for id_, paper in papers.items() if id_ in wanted]


def _flat(records: list[dict[str, Any]]) -> tuple[list[str], list[dict[str, Any]]]:
    """Records as rows: a fact is three columns, FIELD, FIELD.confidence and FIELD.source."""
    rows = []
    for record in records:
        row: dict[str, Any] = {}
        for name, found in record.items():
            if isinstance(found, dict) and "confidence" in found:
                row[name] = found["value"]
                row[f"{name}.confidence"], row[f"{name}.source"] = found["confidence"], found["source"]
                if "convention" in found:
                    row[f"{name}.convention"] = found["convention"]
            else:
                row[name] = found
        rows.append(row)
    names = {name for row in rows for name in row}
    return [*(name for name in FIRST if name in names), *sorted(names.difference(FIRST))], rows


def _cell(found: Any) -> str:
    if found is None:
        return ""
    if isinstance(found, list) and all(isinstance(item, (str, int, float)) for item in found):
        return "; ".join(_cell(item) for item in found)
    if isinstance(found, (dict, list)):
        return _json(found)
    text = str(found).lower() if isinstance(found, bool) else str(found)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def to_csv(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> str:
    """Rows as CSV; a text that a spreadsheet would run, or that begins with a quote, gets one before it."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([_guarded(column) for column in columns])
    for row in rows:
        found = (row.get(column) for column in columns)
        writer.writerow(
            [_cell(item) if isinstance(item, (int, float)) else _guarded(_cell(item)) for item in found]
        )
    return out.getvalue()


def _guarded(text: str) -> str:
    return f"'{text}" if text and text[0] in FORMULA + "'" else text


def to_markdown(columns: Sequence[str], rows: Sequence[dict[str, Any]], footer: Sequence[str] = ()) -> str:
    """Rows as a Markdown table, with the footer below it."""
    lines = [
        columns,
        ["---"] * len(columns),
        *([_cell(row.get(column)) for column in columns] for row in rows),
    ]
    text = "".join("| " + " | ".join(_inline(cell) for cell in line) + " |\n" for line in lines)
    return text + "".join(f"\n{_inline(line)}\n" for line in footer)


def _inline(text: str) -> str:
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").split())


def read_export(text: str, format: str) -> Any:
    """What `export` wrote: of json and jsonl the records, of csv rows of texts.

    Raises:
        UserError: the format cannot be read back.
    """
    if format == "json":
        return json.loads(text)
    if format == "jsonl":
        return [json.loads(line) for line in text.splitlines()]
    if format == "csv":
        rows = csv.DictReader(io.StringIO(text))
        return [{name: cell.removeprefix("'") for name, cell in row.items()} for row in rows]
    raise UserError(f"{format} is not read back: json, jsonl or csv")
