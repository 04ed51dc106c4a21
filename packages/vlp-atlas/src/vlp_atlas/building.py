"""The catalogue from its YAML files: read, expanded, checked, and written as atlas.json (ours).

`python -m vlp_atlas.building` writes atlas.json and atlas.schema.json beside the files; with `--check` it
only says what is wrong. The bytes depend on the content alone.
"""

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nonet.files import write_text
from vlp_atlas.checking import Entry, Places, name_of, validate, wrong_references
from vlp_atlas.defects import Defect, Place, Rejected, shown
from vlp_atlas.expanding import expand, flatten, objectives_of, senses_of
from vlp_atlas.measurements import identify, merge
from vlp_atlas.schema import FILES, json_schema
from vlp_atlas.vocabulary import SCHEMA_VERSION
from vlp_atlas.yaml_reader import PlacedDict, PlacedList, read_all

__all__ = [
    "CATALOGUE",
    "Built",
    "Rejected",
    "build",
    "check",
    "collect",
    "entries_of",
    "is_current",
    "text_of",
    "write",
]

CATALOGUE = Path(__file__).parent / "catalogue"
BUILT, SCHEMA, VERSION = "atlas.json", "atlas.schema.json", "version.yaml"


class Built(NamedTuple):
    """A built catalogue, and where its records were written."""

    atlas: dict[str, Any]
    places: Places


def build(folder: Path | None = None) -> dict[str, Any]:
    """The catalogue of a folder of YAML files; by default the one in this package.

    Returns:
        `schema_version`, `data_version`, `as_of` (the last day on which a source was read), `hash` (SHA-256
        of the rest), and a list of records for each kind, sorted by id.

    Raises:
        Rejected: something is wrong in the files; all of it is told.
    """
    return collect(folder).atlas


def collect(folder: Path | None = None) -> Built:
    """As `build`, with the places of the records."""
    folder = CATALOGUE if folder is None else folder
    found = [(kind, path) for kind in FILES for path in _files(folder, kind)]
    if not found:
        raise Rejected(
            [Defect(shown(folder), 0, "yaml", f"has none of {', '.join(f'{k}.yaml' for k in FILES)}")]
        )
    version = folder / VERSION
    contents, defects = read_all([path for _, path in found] + [version])
    entries = []
    for kind, path in found:
        if path in contents:
            entries += entries_of(kind, contents[path], path, defects)
    data_version = (contents.get(version) or {}).get("data_version")
    if version in contents and not isinstance(data_version, str):
        defects.append(Defect(shown(version), 0, "schema", "data_version is missing"))
    records, places = assemble(entries, defects)
    if not defects:
        defects += wrong_references(records, places)
    if defects:
        raise Rejected(defects)
    return Built(finished(records, str(data_version)), places)


def _files(folder: Path, kind: str) -> list[Path]:
    alone = folder / f"{kind}.yaml"
    return [*([alone] if alone.exists() else []), *sorted((folder / kind).glob("*.yaml"))]


def entries_of(kind: str, content: Any, path: Path, defects: list[Defect]) -> list[Entry]:
    """The expanded records of a list of one kind; what is not a record is added to `defects`."""
    if content is None:
        return []
    if not isinstance(content, PlacedList):
        defects.append(Defect(shown(path), 1, "schema", f"{kind}: must be a list of records"))
        return []
    entries = []
    for number, item in enumerate(content):
        if not isinstance(item, PlacedDict):
            defects.append(Defect.at(content.places[number], "schema", f"{kind}: a record must be a mapping"))
            continue
        for written in flatten(item) if kind == "results" else [item]:
            entries.append(Entry(kind, written, expand(kind, written)))
    return entries


def assemble(
    entries: Iterable[Entry], defects: list[Defect], known: Mapping[str, list[dict[str, Any]]] | None = None
) -> tuple[dict[str, list[dict[str, Any]]], Places]:
    """Valid records by kind, sorted by id, with objectives and results derived.

    Args:
        entries: what was written.
        defects: what is wrong is added to them.
        known: a catalogue whose objectives, aliases and sources the entries may mean.
    """
    known = known or {}
    records: dict[str, list[dict[str, Any]]] = {kind: [] for kind in FILES}
    places = Places()
    first: dict[tuple[str, str], Place] = {}
    valid = []
    for entry in entries:
        record, problems = validate(entry)
        defects += problems
        if record is None:
            continue
        name = name_of(entry.kind, record)
        if entry.kind != "results":
            key = (entry.kind, name.casefold())
            if key in first:
                message = f"{entry.kind} {name}: stands here for the second time (first: {first[key]})"
                defects.append(Defect.at(entry.written.place, "schema", message))
                continue
            first[key] = entry.written.place
            places.add(entry.kind, name, entry.written)
        records[entry.kind].append(record)
        valid.append((record, entry))
    senses = senses_of(
        [*known.get("objectives", []), *records["objectives"]],
        [*known.get("aliases", []), *records["aliases"]],
    )
    for model in records["models"]:
        if "objectives" not in model and (model.get("objectives_listed") or {}).get("value"):
            model["objectives"] = objectives_of(model["objectives_listed"], senses)
    kinds = {source["id"]: source["kind"] for source in [*known.get("sources", []), *records["sources"]]}
    written = {id(record): entry.written for record, entry in valid}
    for result in records["results"]:
        places.add("results", identify(result), written[id(result)])
    records["results"] = merge(records["results"], kinds)
    for kind, found in records.items():
        found.sort(key=lambda record, kind=kind: (name_of(kind, record).casefold(), name_of(kind, record)))  # type: ignore[misc]
    return records, places


def finished(records: dict[str, list[dict[str, Any]]], data_version: str) -> dict[str, Any]:
    """The built catalogue of valid records: with its versions, day and hash."""
    days = [source["retrieved"] for source in records["sources"]]
    head = {"schema_version": SCHEMA_VERSION, "data_version": data_version, "as_of": max(days, default="")}
    digest = hashlib.sha256(text_of({**head, **records}).encode()).hexdigest()
    return {**head, "hash": digest, **records}


def text_of(atlas: dict[str, Any]) -> str:
    """A catalogue as JSON: keys sorted, a record a line, so that a change is seen where it is."""
    parts = []
    for key in sorted(atlas):
        value = atlas[key]
        if isinstance(value, list):
            lines = ",\n".join(_json(record) for record in value)
            parts.append(f"{_json(key)}:[\n{lines}\n]" if value else f"{_json(key)}:[]")
        else:
            parts.append(f"{_json(key)}:{_json(value)}")
    return "{" + ",\n".join(parts) + "}\n"


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def write(folder: Path | None = None) -> dict[str, Any]:
    """Build a folder's catalogue, and write atlas.json and atlas.schema.json into it."""
    folder = CATALOGUE if folder is None else folder
    atlas = build(folder)
    write_text(folder / BUILT, text_of(atlas))
    schema = json.dumps(json_schema(), sort_keys=True, ensure_ascii=False, indent=1)
    write_text(folder / SCHEMA, schema + "\n")
    return atlas


def is_current(folder: Path | None = None) -> bool:
    """Whether a folder's atlas.json is what its YAML files give."""
    folder = CATALOGUE if folder is None else folder
    return _holds(folder, build(folder))


def _holds(folder: Path, atlas: dict[str, Any]) -> bool:
    built = folder / BUILT
    return built.exists() and built.read_bytes() == text_of(atlas).encode()


def check(paths: Sequence[Path] = ()) -> list[Defect]:
    """What is wrong with overlays, or without any with the catalogue in this package; empty if nothing is."""
    from vlp_atlas.differences import load
    from vlp_atlas.overlay import merged

    try:
        if paths:
            merged(load(CATALOGUE), paths)
        else:
            build()
    except Rejected as error:
        return error.defects
    return []


def main(arguments: Sequence[str]) -> int:
    """Build, or with --check look only; FOLDER is the catalogue's, by default this package's."""
    only_check, current = "--check" in arguments, True
    folders = [Path(word) for word in arguments if word != "--check"] or [CATALOGUE]
    try:
        for folder in folders:
            atlas = build(folder) if only_check else write(folder)
            holds = _holds(folder, atlas)
            current = current and holds
            state = "" if holds else "; atlas.json is not current"
            counts = ", ".join(f"{len(atlas[kind])} {kind}" for kind in FILES)
            print(f"{shown(folder)}: {counts}; hash {atlas['hash'][:12]}{state}")
    except Rejected as error:
        print(error, file=sys.stderr)
        return 1
    return 0 if current else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
