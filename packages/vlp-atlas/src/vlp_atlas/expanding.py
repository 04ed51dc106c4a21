"""From what is written by hand to full records: bare values become facts, groups become results (ours)."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from vlp_atlas.facts import Fact
from vlp_atlas.schema import FILES, facts_of
from vlp_atlas.vocabulary import AS_LISTED
from vlp_atlas.yaml_reader import PlacedDict, PlacedList

__all__ = ["expand", "flatten", "objectives_of", "plain", "pruned", "senses_of"]

FACTS = {name: frozenset(facts_of(kind)) for name, kind in FILES.items()}


def plain(value: Any) -> Any:
    """A value without its places."""
    if isinstance(value, PlacedDict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, PlacedList):
        return [plain(item) for item in value]
    return value


def flatten(written: PlacedDict) -> Iterator[PlacedDict]:
    """The results of a group, each with the group's values where it has none; a result alone is itself."""
    inner = written.get("results")
    if not isinstance(inner, PlacedList) or not all(isinstance(item, PlacedDict) for item in inner):
        yield written
        return
    shared = {key: value for key, value in written.items() if key != "results"}
    for item in inner:
        result = PlacedDict(item.place)
        result.update({**shared, **item})
        result.places = {**{key: written.places[key] for key in shared}, **item.places}
        yield result


def expand(kind: str, written: Mapping[str, Any]) -> dict[str, Any]:
    """A record whose facts are full: source, confidence and day are the record's where they have none."""
    record: dict[str, Any] = {}
    for name, value in written.items():
        if name in FACTS[kind]:
            record[name] = _fact(plain(value), written)
        else:
            record[name] = plain(value)
    return record


def _fact(value: Any, record: Mapping[str, Any]) -> dict[str, Any]:
    fact = value if isinstance(value, dict) and ("value" in value or "missing" in value) else {"value": value}
    for name in ("source", "confidence", "as_of"):
        if name not in fact and record.get(name) is not None:
            fact[name] = plain(record[name])
    return fact


def pruned(model: BaseModel) -> dict[str, Any]:
    """A record as the built catalogue holds it: without what is not set; a fact always has `value`."""
    found: dict[str, Any] = {}
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if value is None and not field.is_required() and not (name == "value" and isinstance(model, Fact)):
            continue
        if isinstance(model, Fact) and name == "alternatives" and not value:
            continue
        found[name] = _written_out(value)
    return found


def _written_out(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return pruned(value)
    if isinstance(value, (list, tuple)):
        return [_written_out(item) for item in value]
    if isinstance(value, dict):
        return {key: _written_out(item) for key, item in value.items()}
    return value


def senses_of(
    objectives: Iterable[Mapping[str, Any]], aliases: Iterable[Mapping[str, Any]]
) -> dict[str, set[str]]:
    """What each acronym of an objective means: ids, or `unmapped:ACRONYM`; keys are case-folded.

    The table of aliases has the last word over an objective's own names.
    """
    found: dict[str, set[str]] = {}
    for objective in objectives:
        for name in (objective["id"], objective.get("name"), *objective.get("aliases", [])):
            if isinstance(name, str):
                found.setdefault(name.casefold(), set()).add(objective["id"])
    for alias in aliases:
        senses = [sense for sense in alias["senses"] if sense["kind"] in ("objective", "unmapped")]
        if senses:
            found[alias["alias"].casefold()] = {
                sense["id"] if sense["kind"] == "objective" else f"unmapped:{alias['alias']}"
                for sense in senses
            }
    return found


def objectives_of(listed: Mapping[str, Any], senses: Mapping[str, set[str]]) -> dict[str, Any]:
    """The objectives that a list of acronyms stands for: a fact with the list's source.

    An acronym that nobody explains, or that means several things, is kept as `unmapped:ACRONYM`.
    """
    uses: list[dict[str, str]] = []
    for acronym in listed["value"]:
        known = senses.get(acronym.casefold(), set())
        meant = next(iter(known)) if len(known) == 1 else f"unmapped:{acronym}"
        if not any(use["id"] == meant for use in uses):
            uses.append({"id": meant, "acronym": re.sub(r"\s+", " ", acronym).strip()})
    fact = {key: value for key, value in listed.items() if key in ("source", "confidence", "as_of", "local")}
    return {"value": uses, **fact, "note": AS_LISTED}
