"""Files of the user's own, merged into the catalogue in memory (ours).

Such a file is a mapping from kinds to lists of records (`models: [...]`, `results: [...]`), or a list named
after its kind. A record with a new id is written in full; one with an id of the catalogue says only what it
adds. What it adds is tagged `local`. Where it says something else than the catalogue, both are kept and the
fact is disputed, with a warning; what comes from memory gives way without a dispute.
"""

import copy
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vlp_atlas.building import assemble, entries_of, finished
from vlp_atlas.checking import Entry, Places, name_of, validate, wrong_references
from vlp_atlas.defects import Defect, Place, Rejected, shown
from vlp_atlas.expanding import FACTS
from vlp_atlas.measurements import identify
from vlp_atlas.versions import migrated
from vlp_atlas.vocabulary import KINDS, SCHEMA_VERSION
from vlp_atlas.yaml_reader import PlacedDict, PlacedList, read_all

__all__ = ["Merged", "merged", "overlaid"]

HEAD = ("schema_version", "data_version")
KEPT = ("value", "source", "confidence", "note", "local")
"""what an alternative keeps of a fact"""
OWN = ("id", "source", "confidence", "as_of", "local")
"""what a record that adds to another says of itself"""


class Merged(NamedTuple):
    """A catalogue with the user's own records, what to warn of, and where these records are written.

    The contradictions are the same as the warnings, as defects with their places.
    """

    catalogue: dict[str, Any]
    warnings: list[str]
    places: Places
    contradictions: list[Defect]


def merged(
    catalogue: dict[str, Any], paths: Sequence[Path], *, prefer_local: bool = False
) -> tuple[dict[str, Any], list[str]]:
    """A catalogue with the records of the files in it, and what to warn of; see `overlaid`."""
    return overlaid(catalogue, paths, prefer_local=prefer_local)[:2]


def overlaid(catalogue: dict[str, Any], paths: Sequence[Path], *, prefer_local: bool = False) -> Merged:
    """A catalogue with the records of the files in it.

    Args:
        catalogue: as built; it is not changed.
        paths: YAML files, merged in this order.
        prefer_local: whether the files' values stand where they say something else than the catalogue.

    Raises:
        Rejected: something is wrong in the files; all of it is told, and nothing is merged.
        UserError: a file is written for a later schema.
    """
    contents, defects = read_all(list(paths))
    entries: list[Entry] = []
    for path, content in contents.items():
        entries += _entries(path, content, defects)
    records = {kind: copy.deepcopy(catalogue[kind]) for kind in KINDS}
    known = {kind: {_name(kind, record).casefold(): record for record in records[kind]} for kind in KINDS}
    places = Places()
    contradictions: list[Defect] = []
    new: list[Entry] = []
    for entry in entries:
        there = known[entry.kind].get(_name(entry.kind, entry.record).casefold())
        if there is None:
            new.append(Entry(entry.kind, entry.written, {**entry.record, "local": True}))
            continue
        problems = _patch(entry, there, prefer_local, contradictions)
        checked, more = validate(Entry(entry.kind, entry.written, there))
        defects += [*problems, *more]
        if checked is not None:
            places.add(entry.kind, _name(entry.kind, there), entry.written)
    added, new_places = assemble(new, defects, known=catalogue)
    for kind in KINDS:
        records[kind] += added[kind]
        records[kind].sort(
            key=lambda record, kind=kind: (_name(kind, record).casefold(), _name(kind, record))
        )  # type: ignore[misc]
    places.update(new_places)
    if not defects:
        defects += wrong_references(records, places)
    if defects:
        raise Rejected(defects)
    warnings = [f"{Place(one.file, one.line, one.column)}: {one.message}" for one in contradictions]
    catalogue = finished(records, f"{catalogue['data_version']}+local")
    return Merged(catalogue, warnings, places, contradictions)


def _entries(path: Path, content: Any, defects: list[Defect]) -> Iterable[Entry]:
    if isinstance(content, PlacedList) and path.stem in KINDS:
        return entries_of(path.stem, content, path, defects)
    if not isinstance(content, PlacedDict):
        message = f"must be a mapping from kinds ({', '.join(KINDS)}) to lists of records"
        defects.append(Defect(shown(path), 1, "schema", message))
        return []
    remedy = f"write its records as `vlp-atlas new` does, then schema_version: {SCHEMA_VERSION}"
    migrated(content, shown(path), remedy=remedy)  # refuses what was written for another schema
    entries: list[Entry] = []
    for kind, items in content.items():
        if kind in KINDS:
            entries += entries_of(kind, items, path, defects)
        elif kind not in HEAD:
            message = f"no kind {kind!r}: one of {', '.join(KINDS)}"
            defects.append(Defect.at(content.places[kind], "schema", message))
    return entries


def _name(kind: str, record: dict[str, Any]) -> str:
    if kind != "results":
        return name_of(kind, record)
    try:
        return identify({"setting": "fine-tuned", **record})
    except (KeyError, AttributeError, TypeError):  # incomplete: the schema says what is missing
        return "?"


def _patch(entry: Entry, record: dict[str, Any], prefer_local: bool, found: list[Defect]) -> list[Defect]:
    """Put what the entry says into the catalogue's record; what it must not say is returned."""
    kind, defects = entry.kind, []
    if kind == "sources":
        if any(record.get(field) != value for field, value in entry.record.items()):
            message = f"sources {record['id']}: the catalogue has another source of this id: choose a new one"
            defects.append(Defect.at(entry.written.place, "schema", message))
        return defects
    name = _name(kind, record)
    if kind == "results":
        checked, defects = validate(entry)
        if checked is not None:
            _weigh(record, {**checked, "local": True}, f"results {name}", entry, prefer_local, found)
        return defects
    said = {field: value for field, value in entry.record.items() if field not in OWN}
    _, defects = validate(Entry(kind, entry.written, {**record, **said}))
    if defects:
        return defects
    for field, value in said.items():
        if field in FACTS[kind] and isinstance(value, dict):
            fact = {**value, "local": True}
            if record.get(field, {}).get("value") is None:
                record[field] = fact
            else:
                _weigh(record[field], fact, f"{kind} {name}: {field}", entry, prefer_local, found)
        elif isinstance(value, list) and isinstance(record.get(field, []), list):
            record[field] = [
                *record.get(field, []),
                *(item for item in value if item not in record.get(field, [])),
            ]
        elif record.get(field) not in (None, value):
            stands = "yours" if prefer_local else "the catalogue's"
            message = f"{kind} {name}: {field} is another; {stands} stands"
            found.append(Defect.at(_at(entry, field), "contradiction", message))
            record[field] = value if prefer_local else record[field]
        else:
            record[field] = value
    return defects


def _weigh(
    fact: dict[str, Any],
    local: dict[str, Any],
    what: str,
    entry: Entry,
    prefer_local: bool,
    found: list[Defect],
) -> None:
    """Keep both of two facts about the same thing, the one that stands in `fact`."""
    if local["value"] is None:
        return
    if local["value"] == fact["value"]:  # another source says the same
        if local["confidence"] == "unverified" != fact["confidence"]:
            return  # what was read does not rest on memory
        if fact["confidence"] == "unverified" != local["confidence"]:
            fact.update({key: local[key] for key in KEPT if key in local})
            return
        fact["source"] = [*fact["source"], *(ref for ref in local["source"] if ref not in fact["source"])]
        return
    memory = "unverified"
    dispute = memory not in (fact["confidence"], local["confidence"])
    local_stands = prefer_local or (fact["confidence"] == memory and local["confidence"] != memory)
    mine = {key: local[key] for key in KEPT if key in local}
    theirs = {key: fact[key] for key in KEPT if key in fact}
    others = [*fact.get("alternatives", []), *local.get("alternatives", [])]
    if local_stands:
        replaced = {key: value for key, value in fact.items() if key in ("id", *_parts(entry))}
        fact.clear()
        fact.update({**replaced, **local, "alternatives": [theirs, *others]})
    else:
        fact["alternatives"] = [*others, mine]
    if dispute:
        fact["confidence"] = "disputed"
        stands = "yours" if local_stands else "the catalogue's"
        message = (
            f"{what}: {mine['value']!r} here, {theirs['value']!r} in the catalogue; "
            f"both are kept as disputed, {stands} stands"
        )
        field = "value" if entry.kind == "results" else what.rpartition(": ")[2]
        found.append(Defect.at(_at(entry, field), "contradiction", message))


def _parts(entry: Entry) -> tuple[str, ...]:
    return tuple(entry.record) if entry.kind == "results" else ()


def _at(entry: Entry, field: str) -> Place:
    return entry.written.places.get(field, entry.written.place)
