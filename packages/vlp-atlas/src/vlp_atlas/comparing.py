"""Models side by side: only numbers that were measured in the same way are compared (ours).

Two results are the same measurement if task, data set, split, metric, unit, setting and all of the protocol
are equal. Where a checkpoint has a number for the task, but none that was measured as another model's was,
the number is shown with what differs, such as `≠split`, and takes part in no difference and no best. Those
are between the models that were named: a model's own checkpoints are not compared with one another.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nonet.errors import UserError
from vlp_atlas.measurements import protocol_of
from vlp_atlas.sieving import note_hidden
from vlp_atlas.tabular import Comparison

if TYPE_CHECKING:
    from vlp_atlas.atlas import Atlas

__all__ = ["compare", "differences", "measured"]

Way = dict[str, Any]
SHOWN = {"scst": "SCST", "text_premise": "text-premise", "extra_data": "extra-data"}


def measured(result: dict[str, Any]) -> Way:
    """How a result was measured within its task, data set and metric: equal ways can be compared."""
    way = {"split": result["split"], "setting": result["setting"], "unit": result["unit"]}
    return way | dict(protocol_of(result))


def differences(one: Way, other: Way) -> list[str]:
    """What differs between two ways."""
    return [name for name in dict.fromkeys([*one, *other]) if one.get(name) != other.get(name)]


def compare(atlas: "Atlas", names: Sequence[str], tasks: Sequence[str] = ()) -> Comparison:
    """Models, or checkpoints, side by side.

    Args:
        atlas: the catalogue.
        names: two or more; a model stands for all of its checkpoints that have results, less those that
            are named themselves. A row's difference is the best of the last name less the best of the first.
        tasks: names of tasks; all by default.

    Raises:
        UserError: fewer than two names, or an unknown one.
    """
    if len(names) < 2:
        raise UserError(f"{len(names)} to compare: name two or more models")
    wanted = [atlas.resolve(task, "tasks")[1] for task in tasks]
    found = [
        result
        for result in atlas.catalogue["results"]
        if not wanted or result["task"] in wanted
    ]  # fmt: skip
    shown = [result for result in found if atlas.shows(result)]
    by_checkpoint: dict[str, list[dict[str, Any]]] = {}
    for result in shown:
        by_checkpoint.setdefault(result["checkpoint"], []).append(result)
    columns, owners, footer = _columns(atlas, names, set(by_checkpoint))
    hidden = sum(result["checkpoint"] in columns and not atlas.shows(result) for result in found)
    groups: dict[tuple[str, str, str], dict[str, list[dict[str, Any]]]] = {}
    for checkpoint in columns:
        for result in by_checkpoint.get(checkpoint, []):
            group = groups.setdefault((result["task"], result["dataset"], result["metric"]), {})
            group.setdefault(checkpoint, []).append(result)
    order = {task: place for place, task in enumerate(wanted)}
    rows = []
    for key in sorted(groups, key=lambda key: (order.get(key[0], 0), key)):
        rows += _rows(atlas, key, groups[key], owners, len(names))
    if not rows:
        footer.append("no result of these models" + (f" for {', '.join(wanted)}" if wanted else ""))
    note_hidden(hidden, "results", footer)
    if any(cell and cell["mark"].startswith("≠") for row in rows for cell in row["cells"]):
        footer.append("≠: measured in another way, so not compared")
    if any(row["delta"] is not None for row in rows):
        first, last = (
            atlas.get(*atlas.resolve(name, "models", "checkpoints")) for name in (names[0], names[-1])
        )
        footer.append(f"difference: the best of {last['name']} less the best of {first['name']}")
    titles = [atlas.get("checkpoints", checkpoint)["name"] for checkpoint in columns]
    return Comparison(titles, columns, rows, footer)


def _columns(
    atlas: "Atlas", names: Sequence[str], with_results: set[str]
) -> tuple[list[str], dict[str, int], list[str]]:
    """The checkpoints to show, the place in `names` of the name that each belongs to, and the footer."""
    named = [atlas.resolve(name, "models", "checkpoints") for name in names]
    owners = {found: place for place, (kind, found) in reversed([*enumerate(named)]) if kind == "checkpoints"}
    columns: list[str] = []
    footer = []
    for place, (kind, found) in enumerate(named):
        ids = [found]
        if kind == "models":
            of_model = [checkpoint["id"] for checkpoint in atlas.checkpoints_of.get(found, [])]
            ids = [id_ for id_ in of_model if id_ in with_results] or of_model[:1]
        if not any(id_ in with_results for id_ in ids):
            footer.append(f"{names[place]}: no result here")
        for id_ in ids:
            owners.setdefault(id_, place)
        columns += [id_ for id_ in ids if id_ not in columns]
    return columns, {id_: owners[id_] for id_ in columns}, footer


def _rows(
    atlas: "Atlas",
    key: tuple[str, str, str],
    group: dict[str, list[dict[str, Any]]],
    owners: dict[str, int],
    names: int,
) -> list[dict[str, Any]]:
    """The rows of one task, data set and metric: a row a way of measuring, the most shared first."""
    ways: dict[tuple[tuple[str, Any], ...], Way] = {}
    holders: dict[tuple[tuple[str, Any], ...], dict[str, dict[str, Any]]] = {}
    for name, results in group.items():
        for result in results:
            way = measured(result)
            key_of_way = tuple(sorted(way.items()))
            ways.setdefault(key_of_way, way)
            holders.setdefault(key_of_way, {}).setdefault(name, result)
    named = {way: len({owners[name] for name in found}) for way, found in holders.items()}
    shared = {name for way, found in holders.items() if named[way] > 1 for name in found}
    task, dataset, metric = key
    higher = atlas.get("metrics", metric)["higher_is_better"]
    rows = []
    for key_of_way in sorted(ways, key=lambda way: (-named[way], -len(holders[way]))):
        way = ways[key_of_way]
        cells: list[dict[str, Any] | None] = []
        for name in owners:
            same = holders[key_of_way].get(name)
            if same is not None:
                cells.append(_cell(same, "disputed" if same["confidence"] == "disputed" else ""))
            elif name in group and name not in shared:  # compared nowhere: show what it has, and why not
                near = min(group[name], key=lambda result: len(differences(way, measured(result))))
                marks = differences(way, measured(near))
                cells.append(_cell(near, " ".join(f"≠{SHOWN.get(mark, mark)}" for mark in marks)))
            else:
                cells.append(None)
        protocol = {name: value for name, value in way.items() if name not in ("split", "setting", "unit")}
        rows.append(
            {
                "label": _label(dataset, metric, way, protocol),
                "task": task,
                "dataset": dataset,
                "metric": metric,
                "split": way["split"],
                "setting": way["setting"],
                "unit": way["unit"],
                "protocol": protocol,
                "cells": cells,
                "delta": _judge(cells, list(owners.values()), names - 1, higher),
            }
        )
    return rows


def _cell(result: dict[str, Any], mark: str) -> dict[str, Any]:
    kept = {name: result[name] for name in ("value", "id", "confidence", "source")}
    return kept | {"mark": mark, "best": False, "delta": None}


def _judge(cells: list[dict[str, Any] | None], owners: list[int], last: int, higher: bool) -> float | None:
    """Mark the best of the comparable cells of different names, and the distance of each to the first name.

    Args:
        cells: of a row; `best` and `delta` are set in them.
        owners: the place of the name that each cell belongs to.
        last: the place of the last name.
        higher: whether more is better.

    Returns:
        The best of the last name less the best of the first; None if one of them has no comparable cell.
    """
    exact: dict[int, list[dict[str, Any]]] = {}
    for owner, cell in zip(owners, cells, strict=True):
        if cell is not None and not cell["mark"].startswith("≠"):
            exact.setdefault(owner, []).append(cell)
    if len(exact) < 2:
        return None
    pick = max if higher else min
    bests = {owner: pick(cell["value"] for cell in found) for owner, found in exact.items()}
    for cell in (cell for found in exact.values() for cell in found):
        cell["best"] = cell["value"] == pick(bests.values())
        cell["delta"] = round(cell["value"] - bests[0], 6) if 0 in bests else None
    return round(float(bests[last] - bests[0]), 6) if {0, last} <= set(bests) else None


def _label(dataset: str, metric: str, way: Way, protocol: dict[str, Any]) -> str:
    parts = [dataset, way["split"], metric]
    if way["setting"] != "fine-tuned":
        parts.append(way["setting"])
    for name, value in protocol.items():
        parts.append(SHOWN.get(name, name) if value is True else f"{SHOWN.get(name, name)} {value}")
    return " ".join(parts)
