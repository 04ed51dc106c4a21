"""Scores walks through houses: SR, OSR, NE, TL, SPL, nDTW, SDTW, CLS, from walks and a graph (ours).

Walks and truth are files of R2R or {id: ...}. The graph is the folder of Matterport3D's
SCAN_connectivity.json files, where viewpoints are joined as R2R's own evaluation joins them, or one JSON file
{scan: {"positions": {viewpoint: [x, y, z]}, "edges": [[viewpoint, viewpoint], ...]}} in metres.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nonet.errors import UserError
from vlp_atlas import score_files
from vlp_atlas.scores import Missing, Scores, choice, matched

PLACE = (3, 7, 11)  # of x, y, z in the sixteen numbers of a pose


class House(NamedTuple):
    """Viewpoints of a scan: their numbers by name, and (v, v) metres along the graph."""

    names: dict[str, int]
    distances: Any


def walks(found: Scores, pred: Path, gold: Path, missing: Missing, convention: str | None) -> None:
    """All metrics of navigation, of which lengths and errors need every walk."""
    from nonet.metrics.navigation import Walk, navigation

    choice(convention, ["3m"])
    if found.graph is None:
        raise UserError("navigation needs --graph: distances go along the graph of viewpoints; see --help")
    truth = _episodes(gold)
    taken = {
        key: _path(held, f"{pred}: {key}", "trajectory") for key, held in score_files.by_id(pred).items()
    }
    found.counts["predictions"] = len(taken)
    ids = matched(found, taken, truth, missing)
    there = [key for key in ids if key in taken]
    houses: dict[str, House] = {}
    episodes = []
    for key in there:
        scan, reference = truth[key]
        if scan not in houses:
            houses[scan] = _house(found.graph, scan)
        if taken[key][0] != reference[0]:
            raise UserError(f"{pred}: {key} starts at {taken[key][0]}, but the episode at {reference[0]}")
        house = houses[scan]
        nodes = _numbers(taken[key], house, f"{pred}: {key}"), _numbers(reference, house, f"{gold}: {key}")
        if not all(math.isfinite(house.distances[nodes[0][0], node]) for part in nodes for node in part):
            raise UserError(f"{pred}: {key}: between some of its viewpoints there is no way in {scan}")
        episodes.append(Walk(*nodes, house.distances))
    told = navigation(episodes)
    share = len(there) / len(ids)
    for metric, value in (
        ("success-rate", told.success), ("oracle-success-rate", told.oracle_success), ("spl", told.spl),
        ("ndtw", told.ndtw), ("sdtw", told.sdtw), ("cls", told.cls),
    ):  # fmt: skip
        note = "a turn in place is no step" if metric in ("ndtw", "sdtw") else ""
        found.add(metric, value * share, len(ids), "geodesic, radius 3 m", note=note)
    for metric, value in (("navigation-error", told.error), ("trajectory-length", told.length)):
        if len(there) < len(ids):
            found.skip(metric, "metres", f"{len(ids) - len(there)} episodes have no walk")
        else:
            found.add(metric, value, len(ids), "geodesic", "metres")


def _episodes(gold: Path) -> dict[str, tuple[str, list[str]]]:
    """Scan and reference by episode; records of R2R stand for one episode an instruction, PATH_NUMBER."""
    content = score_files.read(gold)
    told: dict[str, tuple[str, list[str]]] = {}
    if isinstance(content, Mapping):
        entries = [(str(key), held) for key, held in content.items()]
    else:
        entries = [
            (f"{record['path_id']}_{place}", record)
            for record in score_files.records(content, gold) or ()
            if "path_id" in record
            for place in range(len(record.get("instructions", ("",) * 3)))
        ]
        if not entries:
            raise UserError(f"{gold}: expected records with path_id, scan and path as in R2R, or {{id: ...}}")
    for key, held in entries:
        if key in told:
            raise UserError(f"{gold}: {key} is given twice; keep one of each")
        scan = str(held.get("scan", "")) if isinstance(held, Mapping) else ""
        told[key] = scan, _path(held, f"{gold}: {key}", "path")
    return told


def _path(held: Any, where: str, name: str) -> list[str]:
    """Viewpoints in order; of R2R's trajectories [viewpoint, heading, elevation], turns in place left out."""
    steps = held.get(name, held.get("path")) if isinstance(held, Mapping) else held
    if not isinstance(steps, list) or not steps:
        raise UserError(f"{where}: expected viewpoints in order, at least one")
    names = [str(step[0] if isinstance(step, list) and step else step) for step in steps]
    return [one for place, one in enumerate(names) if not place or one != names[place - 1]]


def _numbers(path: list[str], house: House, where: str) -> list[int]:
    unknown = [name for name in path if name not in house.names]
    if unknown:
        raise UserError(f"{where}: the graph has no viewpoint {unknown[0]}")
    return [house.names[name] for name in path]


def _house(graph: Path, scan: str) -> House:
    if graph.is_dir():
        path = graph / f"{scan}_connectivity.json"
        return _joined(*_matterport(score_files.read(path), path), path)
    content = score_files.read(graph)
    if not isinstance(content, Mapping) or (scan not in content and (scan or len(content) != 1)):
        raise UserError(f"{graph}: no scan {scan!r}")
    held = content[scan] if scan in content else next(iter(content.values()))
    try:
        return _joined(
            held["positions"], [(str(first), str(second)) for first, second in held["edges"]], graph
        )
    except (TypeError, KeyError, ValueError):
        raise UserError(f"{graph}: a scan has positions {{viewpoint: [x, y, z]}} and edges") from None


def _matterport(nodes: Any, path: Path) -> tuple[dict[str, list[float]], list[tuple[str, str]]]:
    try:
        positions = {
            node["image_id"]: [node["pose"][place] for place in PLACE] for node in nodes if node["included"]
        }
        edges = [
            (node["image_id"], other["image_id"])
            for node in nodes
            if node["included"]
            for other, free in zip(nodes, node["unobstructed"], strict=True)
            if free and other["included"]
        ]
    except (TypeError, KeyError, IndexError, ValueError):
        raise UserError(
            f"{path}: no connectivity of Matterport3D: image_id, pose, included, unobstructed"
        ) from None
    return positions, edges


def _joined(positions: Mapping[str, list[float]], edges: list[tuple[str, str]], path: Path) -> House:
    import numpy

    from nonet.metrics.navigation import geodesics

    names = {str(name): place for place, name in enumerate(positions)}
    lost = [name for edge in edges for name in edge if name not in names]
    if lost:
        raise UserError(f"{path}: an edge has viewpoint {lost[0]}, which has no position")
    where = numpy.array(list(positions.values()), numpy.float64)
    lengths = numpy.full((len(names), len(names)), numpy.inf)
    for first, second in edges:
        one, other = names[first], names[second]
        lengths[one, other] = lengths[other, one] = numpy.linalg.norm(where[one] - where[other])
    return House(names, geodesics(lengths))
