"""Checks data sets and packs them: what is left out and why, units, labels (ours). Nothing is written to
them."""

import math
import secrets
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nonet.errors import UserError
from nonet.files import write_json
from nonet.progress import progress
from ponderv2.packed_scenes import FORMAT, INDEX
from ponderv2.packing import PackedCounts, pack_scene
from ponderv2.reading import open_scenes, parse_source
from ponderv2.scenes import Scene, SceneList
from ponderv2.tabletop import DATASET, UNLABELLED

if TYPE_CHECKING:
    from ponderv2.commands.prepare import Options

NAMED = 5
"""scenes and frames that an account names at most"""


def prepare(options: "Options") -> dict[str, Any]:
    """Read every scene and view, say what was found, and pack it if a folder is named.

    Args:
        options: of the verb `prepare`.

    Returns:
        The account, which is also in packed.json.

    Raises:
        UserError: a scene cannot be used (unless broken ones are to be left out), or none can; or the folder
            exists, or lies in a data set.
    """
    out = options.out
    if out is not None:
        _check_place(out, options.data)
    scenes = open_scenes(
        options.data, depth_scale=options.depth_scale, up=options.up, frame_step=options.frame_step,
        normals=options.normals,
    )  # fmt: skip
    part = None if out is None else out.with_name(f".{out.name}.{secrets.token_hex(4)}.part")
    try:
        entries, counts, faults = _pack_all(scenes, part, options)
        if faults and (not options.skip_broken or not entries):
            raise UserError(
                f"{len(faults)} of {len(scenes)} scenes cannot be used: {_some(faults)}"
                + ("" if options.skip_broken else "; mend them, or leave them out with --skip-broken")
            )
        told = account(scenes, counts, faults)
        if part is not None and out is not None:
            classes = {name: list(names) for name, names in scenes.classes.items()}
            index = {"format": FORMAT, "classes": classes, "account": told, "scenes": entries}
            write_json(part / INDEX, index)
            if out.exists():
                out.rmdir()
            part.rename(out)
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)
    return told


def account(
    scenes: SceneList, counts: Mapping[str, tuple[str, PackedCounts]], faults: list[str]
) -> dict[str, Any]:
    """What was found, as plain values.

    Args:
        scenes: that were opened; they know what was left out.
        counts: scene -> its data set and counts.
        faults: one line for each scene that cannot be used.
    """
    found: dict[str, Any] = {}
    for name in dict.fromkeys(dataset for dataset, _ in counts.values()):
        own = [each for dataset, each in counts.values() if dataset == name]
        depths = [each.depth for each in own if math.isfinite(each.depth)]
        classes = scenes.classes.get(name, ())
        found[name] = {
            "scenes": len(own),
            "views": sum(each.views for each in own),
            "points": sum(each.points for each in own),
            "median depth, m": round(sorted(depths)[len(depths) // 2], 3) if depths else None,
            "points have": sorted(set.intersection(*(set(each.channels) for each in own))),
            "without labelled points": [
                scene.removeprefix(f"{name}/")
                for scene, (dataset, each) in counts.items()
                if dataset == name and not each.labels
            ],
            "labelled points": _by_name([each.labels for each in own], classes),
            "labelled pixels": _by_name([each.pixels for each in own], classes),
        }
    skipped = Counter(scenes.skipped)
    remarks = list(scenes.remarks)
    for scene in scenes:  # readers share the list's counter with the scenes, a scene of its own has its own
        if scene.skipped is not scenes.skipped:
            skipped.update(scene.skipped)
            remarks += [line for line in scene.remarks if line not in remarks]
    return {
        "data sets": found,
        "left out": dict(skipped),
        "first of them": remarks[:NAMED],
        "broken scenes": faults,
    }


def lines(told: Mapping[str, Any]) -> list[str]:
    """The account for a reader."""
    found = []
    for name, facts in told["data sets"].items():
        depth = facts["median depth, m"]
        unit = "no depth" if depth is None else f"median depth {depth:g} m"
        have = ", ".join(facts["points have"]) or "neither colours nor normals"
        found.append(
            f"{name}: {facts['scenes']:,} scenes, {facts['views']:,} views, {facts['points']:,} points with "
            f"{have}; {unit}"
        )
        bare = facts["without labelled points"]
        if bare and facts["labelled points"]:
            more = f" and {len(bare) - NAMED:,} more" if len(bare) > NAMED else ""
            found.append(
                f"{name}: {len(bare):,} of {facts['scenes']:,} scenes have no labelled points: "
                f"{', '.join(bare[:NAMED])}{more}" + (f"; {UNLABELLED}" if name == DATASET else "")
            )
        for kind in ("labelled points", "labelled pixels"):
            if facts[kind]:
                shares = ", ".join(f"{label} {number:,}" for label, number in facts[kind].items())
                found.append(f"{name}: {kind}: {shares}")
            else:
                found.append(f"{name}: no {kind}")
    for reason, number in told["left out"].items():
        found.append(f"left out: {number:,} for {reason}")
    found += [f"  {line}" for line in told["first of them"]]
    found += [f"broken: {line}" for line in told["broken scenes"]]
    return found


def _pack_all(
    scenes: SceneList, part: Path | None, options: "Options"
) -> tuple[list[dict[str, Any]], dict[str, tuple[str, PackedCounts]], list[str]]:
    """Entries of packed.json, counts by scene, and a line for each scene that cannot be used."""
    entries: list[dict[str, Any]] = []
    counts: dict[str, tuple[str, PackedCounts]] = {}
    faults: list[str] = []
    with progress(  # type: ignore[var-annotated]
        total=len(scenes), label="prepare", unit="scenes"
    ) as bar:
        for number, scene in enumerate(scenes):
            folder = f"{number:05d}-{_plain(scene.name)}"
            try:
                found = pack_scene(
                    scene, None if part is None else part / folder, side=options.image_side,
                    view_step=options.view_step, hold_out=options.hold_out,
                )  # fmt: skip
            except UserError as error:
                faults.append(str(error))
                if part is not None:
                    shutil.rmtree(part / folder, ignore_errors=True)
            else:
                entries.append(_entry(scene, folder, found))
                counts[f"{scene.dataset}/{scene.name}"] = scene.dataset, found
            bar.advance(1)
    return entries, counts, faults


def _entry(scene: Scene, folder: str, found: PackedCounts) -> dict[str, Any]:
    return {
        "name": scene.name, "dataset": scene.dataset, "folder": folder, "up": list(scene.up),
        "views": found.views, "points": found.points, "channels": list(found.channels),
    }  # fmt: skip


def _check_place(out: Path, data: tuple[str, ...]) -> None:
    """Refuse a folder that holds something, or lies in a data set.

    Raises:
        UserError: it does.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: exists already; name a new folder")
    place = out.resolve()
    for entry in data:
        source = parse_source(entry)[1].resolve()
        if source.is_dir() and place.is_relative_to(source):
            raise UserError(f"{out}: lies in the data set {source}, into which nothing is written")


def _by_name(counts: list[dict[int, int]], classes: tuple[str, ...]) -> dict[str, int]:
    total: Counter[int] = Counter()
    for each in counts:
        total.update(each)
    return {
        classes[number] if number < len(classes) else str(number): total[number] for number in sorted(total)
    }


def _plain(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)


def _some(faults: list[str]) -> str:
    return "; ".join(faults[:NAMED]) + (f"; and {len(faults) - NAMED} more" if len(faults) > NAMED else "")
