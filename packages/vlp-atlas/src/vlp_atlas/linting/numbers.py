"""Rules on numbers: where they are from, in which unit, on which scale (ours)."""

from collections.abc import Iterator
from typing import Any

from vlp_atlas.linting.view import Finding, Record, View

__all__ = [
    "cider_scale",
    "factor_ten",
    "number_without_locator",
    "params_without_convention",
    "percent_or_fraction",
]

DATES = ("year", "month")
"""of a paper or a data set: a title page or a survey's row needs no locator"""
CIDER = ("cider", "cider-d")
LEAST_X100 = 12.0
"""a CIDEr below this is on the scale from 0 to 10, not times 100: no published captioner is that bad"""
SIZES = ("n_images", "n_texts", "n_pairs", "n_clips", "hours")
SLACK = 0.02


def number_without_locator(view: View) -> Iterator[Finding]:
    """L1: a number whose sources all lack the place in them, memory aside."""
    for kind, record, field, fact in view.facts("papers", "checkpoints", "datasets"):
        if field not in DATES and _numeric(fact["value"]) and _unlocated(view, fact):
            yield Finding(kind, record["id"], (field,), f"{field}: a number without a locator (SOURCE#PLACE)")
    for result in view["results"]:
        if _unlocated(view, result):
            yield Finding("results", result["id"], ("source",), "a number without a locator (SOURCE#PLACE)")


def _numeric(found: Any) -> bool:
    if isinstance(found, dict):
        return any(_numeric(item) for item in found.values())
    if isinstance(found, list):
        return any(_numeric(item) for item in found if isinstance(item, dict))
    return isinstance(found, (int, float)) and not isinstance(found, bool)


def _unlocated(view: View, fact: Record) -> bool:
    refs = [ref for ref in fact["source"] if view.kinds_of([ref]) != {"personal-memory"}]
    return bool(refs) and not any("#" in ref for ref in refs)


def percent_or_fraction(view: View) -> Iterator[Finding]:
    """L2: a value that its unit, or its metric's range, does not allow."""
    for result in view["results"]:
        metric = view.get("metrics", result["metric"])
        found, unit = result["value"], result["unit"]
        if metric and unit != metric["unit"]:
            message = f"the unit is {unit}, and {metric['id']} is written in {metric['unit']}"
        elif unit == "percent" and 0 < abs(found) < 1:
            message = f"{found:g} percent looks like a fraction: write percent"
        elif unit == "fraction" and abs(found) > 1:
            message = f"{found:g} as a fraction looks like percent: write a fraction"
        elif metric and not _within(found, metric["range"]):
            low, high = metric["range"]
            message = f"{found:g} is outside the range of {metric['id']}, {_bound(low)} to {_bound(high)}"
        else:
            continue
        yield Finding("results", result["id"], ("value",), message)


def _bound(bound: float | None) -> str:
    return "any" if bound is None else f"{bound:g}"


def _within(found: float, bounds: list[float | None]) -> bool:
    low, high = bounds
    return (low is None or found >= low) and (high is None or found <= high)


def factor_ten(view: View) -> Iterator[Finding]:
    """L8: the size of a data set is ten times that of another source, or a tenth, and nobody says why."""
    for kind, record, field, fact in view.facts("datasets"):
        if field not in SIZES:
            continue
        for number, other in enumerate(fact.get("alternatives", [])):
            if fact.get("note") or other.get("note") or not other["value"]:
                continue
            ratio = fact["value"] / other["value"]
            if any(abs(ratio / factor - 1) <= SLACK for factor in (10, 0.1)):
                where = ", ".join(other["source"])
                message = f"{field}: {fact['value']} here, and {other['value']} in {where}: ten times"
                yield Finding(kind, record["id"], (field, "alternatives", number), message)


def params_without_convention(view: View) -> Iterator[Finding]:
    """L11: a number of parameters that does not say what it counts."""
    for kind, record, field, fact in view.facts("checkpoints"):
        if field == "params" and not fact.get("convention"):
            yield Finding(kind, record["id"], (field,), "params without a convention (total, trainable, ...)")


def cider_scale(view: View) -> Iterator[Finding]:
    """L13: a CIDEr on the scale from 0 to 10 in a column of hundreds, or above all that there is."""
    for result in view["results"]:
        if (
            result["metric"] in CIDER
            and result["unit"] == "x100"
            and not LEAST_X100 <= result["value"] <= 1000
        ):
            message = f"CIDEr {result['value']:g} is not on the scale times 100 (0 to 1000)"
            yield Finding("results", result["id"], ("value",), message)
