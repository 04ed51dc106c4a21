"""The table of data sets: filters, order, what is unknown (ours)."""

from typing import TYPE_CHECKING, Any

from vlp_atlas.sieving import Step, matches, note_hidden, order, sieve, word
from vlp_atlas.tabular import Table
from vlp_atlas.vocabulary import Modality

if TYPE_CHECKING:
    from vlp_atlas import Atlas

FACTS = (
    "year", "modalities", "languages", "n_images", "n_texts", "n_pairs", "n_clips", "hours", "availability",
    "licence",
)  # fmt: skip
COLUMNS = ["id", "name", *FACTS, "used_for"]


def datasets(
    atlas: "Atlas",
    *,
    text: str | None = None,
    modality: str | None = None,
    availability: str | None = None,
    used_for: str | None = None,
    after: int | None = None,
    before: int | None = None,
    sort: str | None = None,
) -> Table:
    """Data sets that fit all filters; one that does not say does not fit.

    Args:
        atlas: the catalogue.
        text: part of an id, name or alias.
        modality: one it has.
        availability: open, on-request, withdrawn or private.
        used_for: pre-training or evaluation.
        after: a year, exclusive.
        before: a year, exclusive.
        sort: a column; with `-` in front the largest first. Unknown comes last.

    Raises:
        UserError: the modality or column is unknown.
    """
    steps: list[Step] = []
    if text is not None:
        steps.append((f"text {text!r}", lambda row: matches(text, row["id"], row["name"], *row["_aliases"])))
    if modality is not None:
        kind = word("modality", modality, Modality)
        steps.append((f"modality {kind}", lambda row: kind in (row["modalities"] or [])))
    if availability is not None:
        steps.append((f"availability {availability}", lambda row: row["availability"] == availability))
    if used_for is not None:
        steps.append((f"used-for {used_for}", lambda row: used_for in row["used_for"]))
    if after is not None:
        steps.append((f"after {after}", lambda row: row["year"] is not None and row["year"] > after))
    if before is not None:
        steps.append((f"before {before}", lambda row: row["year"] is not None and row["year"] < before))
    rows, footer = sieve([_row(atlas, record) for record in atlas.all("datasets")], steps)
    order(rows, sort, COLUMNS, footer)
    hidden = sum(
        not atlas.shows(fact) for row in rows for fact in row["_facts"].values() if fact["value"] is not None
    )
    note_hidden(hidden, "values", footer)
    columns = [
        name for name in COLUMNS if name in ("id", "name") or any(row[name] not in (None, []) for row in rows)
    ]
    return Table(columns, rows, [f"{len(rows)} data sets", *footer])


def _row(atlas: "Atlas", record: dict[str, Any]) -> dict[str, Any]:
    row = {name: atlas.value(record, name) for name in FACTS}
    row |= {"id": record["id"], "kind": "dataset", "name": record["name"]}
    row["used_for"] = record.get("used_for", [])
    row["_aliases"] = record.get("aliases", [])
    row["_facts"] = {name: record[name] for name in FACTS if name in record}
    return row
