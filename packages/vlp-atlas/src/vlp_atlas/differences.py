"""What changed between two catalogues, and what of one was public by a day (ours)."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from nonet.errors import UserError
from vlp_atlas.versions import migrated
from vlp_atlas.vocabulary import KINDS

__all__ = ["Change", "as_of_day", "diff", "load"]


class Change(NamedTuple):
    """A difference.

    Attributes:
        kind, id: of the record.
        field: of the record; None where the whole record came or went.
        what: added, removed or changed.
        old, new: the values: of a fact with all that belongs to it, None on the side that lacks it.
    """

    kind: str
    id: str
    field: str | None
    what: Literal["added", "removed", "changed"]
    old: Any
    new: Any

    def __str__(self) -> str:
        where = f"{self.kind} {self.id}" + (f" {self.field}" if self.field else "")
        if self.field is None:
            return f"{self.what} {where}"
        return f"{self.what} {where}: {_short(self.old)} -> {_short(self.new)}"


def _short(found: Any) -> str:
    if isinstance(found, dict) and "confidence" in found:
        kept = found.get("value", found.get("missing"))
        return f"{_short(kept)} ({found['confidence']}, {', '.join(found['source'])})"
    return "nothing" if found is None else json.dumps(found, ensure_ascii=False, sort_keys=True)


def load(path: Path) -> dict[str, Any]:
    """A built catalogue from a file, or from a folder that has atlas.json or YAML files.

    Raises:
        UserError: there is none, or it is of a later schema.
    """
    if path.is_dir() and not (path / "atlas.json").exists():
        from vlp_atlas.building import build

        return build(path)
    file = path / "atlas.json" if path.is_dir() else path
    try:
        catalogue = json.loads(file.read_bytes())
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{file}: not a built catalogue ({error})") from None
    if not isinstance(catalogue, dict) or any(not isinstance(catalogue.get(kind), list) for kind in KINDS):
        raise UserError(f"{file}: not a built catalogue: it lacks lists of {', '.join(KINDS)}")
    return migrated(catalogue, str(file))


def diff(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """All differences of two built catalogues, by kind, id and field."""
    return [change for kind in KINDS for change in _of_kind(kind, old[kind], new[kind])]


def _of_kind(kind: str, old: list[dict[str, Any]], new: list[dict[str, Any]]) -> Iterator[Change]:
    name = "alias" if kind == "aliases" else "id"
    before, after = ({record[name]: record for record in records} for records in (old, new))
    for id_ in sorted(before.keys() | after.keys()):
        one, other = before.get(id_), after.get(id_)
        if one is None or other is None:
            yield Change(kind, id_, None, "added" if one is None else "removed", one, other)
            continue
        for field in sorted(one.keys() | other.keys()):
            was, is_ = one.get(field), other.get(field)
            if was != is_:
                what: Literal["added", "removed", "changed"] = "changed"
                if field not in one or field not in other:
                    what = "added" if field not in one else "removed"
                yield Change(kind, id_, field, what, was, is_)


def as_of_day(catalogue: Mapping[str, Any], day: str) -> dict[str, Any]:
    """What of a catalogue was public by a day.

    A paper counts from its first public day, or, where only that is known, its year; a model with its paper,
    a checkpoint with its model, a result with its checkpoint, its data set and the paper that reports it, a
    data set with its paper or year. A fact that says since when it holds (`as_of`) goes if that is later.
    Definitions (objectives, tasks, metrics, aliases, sources) stay.

    Args:
        catalogue: built; it is not changed.
        day: YYYY-MM-DD, YYYY-MM or YYYY: the end of it.

    Raises:
        UserError: it is no day.
    """
    parts = day.split("-")
    if len(parts) > 3 or not all(part.isascii() and part.isdigit() for part in parts) or len(parts[0]) != 4:
        raise UserError(f"{day!r} is no day: write YYYY-MM-DD, YYYY-MM or YYYY")
    papers = [paper for paper in catalogue["papers"] if _public(paper) is None or _by(_public(paper), day)]
    known = {paper["id"] for paper in papers}
    models = [model for model in catalogue["models"] if model["paper"] in known]
    model_ids = {model["id"] for model in models}
    checkpoints = [point for point in catalogue["checkpoints"] if point["model"] in model_ids]
    points = {point["id"] for point in checkpoints}
    datasets = [
        dataset
        for dataset in catalogue["datasets"]
        if _by(str(dataset["year"]["value"]), day) and dataset.get("paper", None) in {None, *known}
    ]
    data = {dataset["id"] for dataset in datasets}
    results = [
        result
        for result in catalogue["results"]
        if result["checkpoint"] in points
        and result["dataset"] in data
        and result.get("reported_by") in {None, *known}
        and _by(result.get("as_of"), day)
    ]
    kept = {
        "papers": papers,
        "models": models,
        "checkpoints": checkpoints,
        "datasets": datasets,
    }
    return {**catalogue, "results": results} | {
        kind: [_holding(record, day) for record in records] for kind, records in kept.items()
    }


def _public(paper: Mapping[str, Any]) -> str | None:
    first = (paper.get("first_public") or {}).get("value")
    year = (paper.get("year") or {}).get("value")
    return first or (None if year is None else str(year))


def _by(when: str | None, day: str) -> bool:
    """Whether something of that day, month or year was there by the end of `day`; what has no day was."""
    if when is None:
        return True
    length = min(len(when), len(day))
    return when[:length] <= day[:length]


def _holding(record: dict[str, Any], day: str) -> dict[str, Any]:
    return {
        field: fact
        for field, fact in record.items()
        if not (isinstance(fact, dict) and "confidence" in fact and not _by(fact.get("as_of"), day))
    }
