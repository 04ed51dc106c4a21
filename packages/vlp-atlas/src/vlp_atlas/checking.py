"""Whether written records say what the schema allows, and name only things that exist (ours)."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from vlp_atlas.defects import Defect, Place
from vlp_atlas.expanding import FACTS, pruned
from vlp_atlas.schema import FILES
from vlp_atlas.yaml_reader import PlacedDict, place_of

__all__ = ["Entry", "Places", "name_of", "references", "validate", "wrong_references"]

SENSES = {
    "model": "models",
    "objective": "objectives",
    "dataset": "datasets",
    "task": "tasks",
    "metric": "metrics",
}
POINTERS = {
    "sources": [("paper", "papers")],
    "models": [("paper", "papers")],
    "checkpoints": [("model", "models")],
    "objectives": [("introduced_by", "papers")],
    "datasets": [("paper", "papers")],
    "tasks": [("datasets", "datasets"), ("primary_metric", "metrics"), ("secondary", "metrics")],
    "results": [
        ("checkpoint", "checkpoints"), ("task", "tasks"), ("dataset", "datasets"), ("metric", "metrics"),
        ("reported_by", "papers"),
    ],
}  # fmt: skip
"""plain fields that hold an id, or a list of ids, of another kind"""
FACT_POINTERS = {
    "papers": [("tasks", "tasks"), ("abstract_objectives", "objectives")],
    "datasets": [("contains", "datasets")],
}


class Entry(NamedTuple):
    """A record: what was written, and what became of it."""

    kind: str
    written: PlacedDict
    record: dict[str, Any]


class Places:
    """Where records and their fields were written."""

    def __init__(self) -> None:
        self._written: dict[tuple[str, str], PlacedDict] = {}

    def add(self, kind: str, name: str, written: PlacedDict) -> None:
        """Keep where the record is; the first one of a name counts."""
        self._written.setdefault((kind, name), written)

    def update(self, other: "Places") -> None:
        """Take over the places of others that are not known here."""
        self._written = {**other._written, **self._written}

    def of(self, kind: str, name: str, *path: str | int) -> Place:
        """Where a field of a record stands; of one that was not read from a YAML file, atlas.json."""
        written = self._written.get((kind, name))
        return Place("atlas.json") if written is None else place_of(written, path)


def name_of(kind: str, record: Mapping[str, Any]) -> str:
    """A record's id; an alias is known by itself."""
    return str(record.get("alias" if kind == "aliases" else "id", "?"))


def validate(entry: Entry) -> tuple[dict[str, Any] | None, list[Defect]]:
    """The record as the built catalogue holds it, or all that the schema has against it."""
    try:
        return pruned(FILES[entry.kind].model_validate(entry.record)), []
    except ValidationError as error:
        problems = sorted(error.errors(include_url=False), key=lambda problem: len(problem["loc"]))
        own = {(problem["loc"][0], problem["msg"]) for problem in problems if len(problem["loc"]) == 1}
        return None, [
            _defect(entry, dict(problem))
            for problem in problems
            # what is wrong with the record's default is told once, not at each fact that takes it
            if len(problem["loc"]) == 1 or (problem["loc"][-1], problem["msg"]) not in own
        ]


def _defect(entry: Entry, problem: dict[str, Any]) -> Defect:
    path = [step for step in problem["loc"] if isinstance(step, (str, int))]
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden" and len(path) == 1:
        near = get_close_matches(str(path[0]), FILES[entry.kind].model_fields, n=1)
        message = "no such field" + (f"; {near[0]}?" if near else "")
    elif problem["type"] == "missing":
        message = "is missing"
    elif not isinstance(problem["input"], (dict, list, BaseModel)):
        message += f", not {problem['input']!r}"
    where = ".".join(str(step) for step in path)
    name = name_of(entry.kind, entry.record)
    if entry.kind == "results":
        name = "/".join(str(entry.record.get(part, "?")) for part in ("checkpoint", "dataset", "metric"))
    return Defect.at(place_of(entry.written, path), "schema", f"{entry.kind} {name}: {where}: {message}")


def references(kind: str, record: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
    """Everything that a record points at: (path to the pointer, kind, id)."""
    for field, target in POINTERS.get(kind, []):
        for found in _each(record.get(field)):
            yield (field,), target, found
    for field, target in FACT_POINTERS.get(kind, []):
        for found in _each((record.get(field) or {}).get("value")):
            yield (field,), target, found
    for use in (record.get("objectives") or {}).get("value") or [] if kind == "models" else []:
        if not use["id"].startswith("unmapped:"):
            yield ("objectives",), "objectives", use["id"]
    for use in (record.get("pretrain_data") or {}).get("value") or [] if kind == "checkpoints" else []:
        yield ("pretrain_data",), "datasets", use["dataset"]
    for number, sense in enumerate(record["senses"] if kind == "aliases" else []):
        if sense["kind"] in SENSES:
            yield ("senses", number), SENSES[sense["kind"]], sense["id"]
    if record.get("replaced_by"):
        yield ("replaced_by",), kind, record["replaced_by"]
    yield from _refs(kind, record)


def _each(value: Any) -> list[str]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _refs(kind: str, record: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
    holders: list[tuple[tuple[str | int, ...], Mapping[str, Any]]] = [((), record)]
    holders += [((field,), record[field]) for field in sorted(FACTS[kind]) if record.get(field)]
    for path, holder in holders:
        for ref in holder.get("source") or []:
            yield (*path, "source"), "sources", ref.split("#")[0]
        for number, other in enumerate(holder.get("alternatives") or []):
            for ref in other["source"]:
                yield (*path, "alternatives", number, "source"), "sources", ref.split("#")[0]


def wrong_references(records: Mapping[str, list[dict[str, Any]]], places: Places) -> list[Defect]:
    """All pointers to something that does not exist, each with the nearest that does."""
    known = {kind: {name_of(kind, record) for record in found} for kind, found in records.items()}
    defects: dict[tuple[Place, str], Defect] = {}
    for kind, found in records.items():
        for record in found:
            name = name_of(kind, record)
            of_record = {ref.split("#")[0] for ref in record.get("source") or []}
            for path, target, wanted in references(kind, record):
                if wanted in known[target]:
                    continue
                if target == "sources" and len(path) > 1 and wanted in of_record:
                    continue  # the fact has its record's source, which is told once
                near = get_close_matches(wanted, known[target], n=1)
                message = f"{kind} {name}: {path[0]}: no {target} {wanted!r}" + (
                    f"; {near[0]}?" if near else ""
                )
                place = places.of(kind, name, *path)
                defects.setdefault((place, f"{target} {wanted}"), Defect.at(place, "reference", message))
    return sorted(defects.values())
