"""Results: what makes two of them the same measurement, and what happens if two sources give it (ours)."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from vlp_atlas.vocabulary import Kind

__all__ = ["PARTS", "RANK", "best_kind", "identify", "key_of", "merge", "protocol_of", "tolerance"]

PARTS = ("checkpoint", "task", "dataset", "split", "metric", "setting")
"""what an id of a result is made of, before its protocol"""
FLAGS = ("scst", "ensemble", "text_premise")
"""parts of a protocol that papers mention only where they hold"""
RANK = {kind: rank for rank, kind in enumerate(get_args(Kind))}
"""kinds of sources, the best first"""
TRUST = {"verified": 0, "secondary": 1, "disputed": 1, "digitised": 2, "unverified": 3}


def protocol_of(result: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """The parts of a result's protocol that matter when two are compared; a flag that is off says nothing."""
    protocol = result.get("protocol")
    if not protocol:
        return ()
    parts = []
    for name, value in sorted(protocol.items()):
        if value is None or (name in FLAGS and not value):
            continue
        parts.append((name, "+".join(sorted(value)) if isinstance(value, list) else value))
    return tuple(parts)


def key_of(result: Mapping[str, Any]) -> tuple[Any, ...]:
    """What was measured, and how: all of a result but its value and who says so."""
    return (*(result[part] for part in PARTS), protocol_of(result))


def identify(result: Mapping[str, Any]) -> str:
    """A result's id: `checkpoint/task/dataset/split/metric/setting[/NAME=VALUE,...]`, its protocol last."""
    protocol = ",".join(f"{name}={str(value).lower()}" for name, value in protocol_of(result))
    return "/".join([*(str(result[part]) for part in PARTS), *([protocol] if protocol else [])])


def best_kind(refs: Iterable[str], kinds: Mapping[str, str]) -> int:
    """The rank of the best source among `refs`; `kinds` has the kind of each source."""
    return min((RANK.get(kinds.get(ref.split("#")[0], ""), len(RANK)) for ref in refs), default=len(RANK))


def tolerance(value: float, error: str | None) -> float:
    """How far a value may be off: `error` is a number, or a share such as `5 %`."""
    found = re.search(r"(\d+(?:\.\d+)?)\s*(%?)", error or "")
    if found is None:
        return 0.0
    return float(found[1]) * (abs(value) / 100 if found[2] else 1.0)


def merge(results: Iterable[dict[str, Any]], kinds: Mapping[str, str]) -> list[dict[str, Any]]:
    """One record a measurement, with its id, sorted by it.

    Of several that report the same measurement, the one with the best source stays: anything before memory,
    then by kind of source. Equal values join their sources, less memory where a source that was read says the
    same. Another value goes to the alternatives, and makes
    the result disputed unless it comes from memory or is read from a figure that is not that exact.
    """
    by_key: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        by_key.setdefault(identify(result), []).append(result)
    return [_one(name, group, kinds) for name, group in sorted(by_key.items())]


def _one(name: str, group: list[dict[str, Any]], kinds: Mapping[str, str]) -> dict[str, Any]:
    ranked = sorted(
        group,
        key=lambda result: (
            TRUST[result["confidence"]] == TRUST["unverified"],
            best_kind(result["source"], kinds),
            TRUST[result["confidence"]],
        ),
    )
    best = {"id": name, **ranked[0], "alternatives": list(ranked[0].get("alternatives", []))}
    for other in ranked[1:]:
        if other["value"] == best["value"]:
            refs = dict.fromkeys([*best["source"], *other["source"]])
            read = [ref for ref in refs if kinds.get(ref.split("#")[0]) != "personal-memory"]
            best["source"] = read or list(refs)
            best["alternatives"] += other.get("alternatives", [])
            continue
        fields = ("value", "source", "confidence", "note")
        best["alternatives"].append({field: other[field] for field in fields if other.get(field) is not None})
        best["alternatives"] += other.get("alternatives", [])
        apart = abs(other["value"] - best["value"])
        exact = apart > max(
            tolerance(other["value"], other.get("error")), tolerance(best["value"], best.get("error"))
        )
        if exact and "unverified" not in (other["confidence"], best["confidence"]):
            best["confidence"] = "disputed"
    return best
