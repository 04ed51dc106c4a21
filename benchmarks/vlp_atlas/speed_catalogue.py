"""`make bench-vlp-atlas`: loading and asking the catalogue, against a YAML file of the same records.

The peer is what one would write by hand: `yaml.load` with PyYAML's C loader (its fastest safe one), and a
loop over the records. Rows "cold" are whole processes with the interpreter's own start in them: CPU seconds
of the child. Both sides give the same ids, which is checked before anything is timed. Source: ours.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from benchmarks.harness import Row, save, table, versus

from vlp_atlas import Atlas
from vlp_atlas.atlas import BUILT

OBJECTIVE = "itc"
OURS = """
import sys
from vlp_atlas import Atlas
print(sorted({row["model"] for row in Atlas.load().models(objective=sys.argv[1]).rows}))
"""
PEER = """
import sys, yaml
with open(sys.argv[2], encoding="utf-8") as file:
    catalogue = yaml.load(file, yaml.CSafeLoader)
found = []
for model in catalogue["models"]:
    fact = model.get("objectives") or {"value": None, "confidence": "unverified"}
    if fact["confidence"] != "unverified" and any(use["id"] == sys.argv[1] for use in fact["value"] or []):
        found.append(model["id"])
print(sorted(found))
"""


def asked(catalogue: dict[str, Any]) -> list[str]:
    """The models with the objective, by a loop."""
    return sorted(
        model["id"]
        for model in catalogue["models"]
        for fact in [model.get("objectives")]
        if fact
        and fact["confidence"] != "unverified"
        and any(use["id"] == OBJECTIVE for use in fact["value"] or [])
    )


def cold(program: str, *arguments: str) -> str:
    """What a fresh process prints."""
    command = [sys.executable, "-c", program, OBJECTIVE, *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout


def child_seconds(run: Callable[[], Any]) -> float:
    """CPU seconds of the processes that a call starts."""
    before = os.times()
    run()
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def of_processes(name: str, ours: Callable[[], str], peer: Callable[[], str], rounds: int) -> Row:
    """A row of whole processes, in turns; the harness counts this process's own time, which is not theirs."""
    if ours() != peer():
        raise AssertionError(f"{name}: the results differ")
    turns = [(child_seconds(ours), child_seconds(peer), child_seconds(ours)) for _ in range(rounds)]
    middle = rounds // 2
    ratios = sorted(2 * theirs / (one + two) for one, theirs, two in turns)
    noise = [one / two for one, _, two in turns]
    margin = max(max(noise), 1 / min(noise))
    verdict = "too few rounds" if rounds < 3 else "faster" if ratios[0] > margin else "no difference shown"
    return {
        "name": name,
        "ours_seconds": sorted(seconds for one, _, two in turns for seconds in (one, two))[rounds],
        "peer_seconds": sorted(theirs for _, theirs, _ in turns)[middle],
        "ratio": ratios[middle],
        "ratio_low": ratios[0],
        "ratio_high": ratios[-1],
        "noise_low": min(noise),
        "noise_high": max(noise),
        "verdict": "slower" if rounds >= 3 and ratios[-1] < 1 / margin else verdict,
        "rounds": rounds,
        "calls": [1, 1],
        "clock": "cpu",
    }


def main(tiny: bool = False) -> list[Row]:
    """All rows; kept in benchmarks/results unless they are tiny."""
    rounds = 1 if tiny else 9
    options: dict[str, Any] = {"rounds": rounds, "min_seconds": 0 if tiny else 0.2}
    atlas = Atlas.load()
    facts = sum(
        isinstance(value, dict) and "confidence" in value
        for records in atlas.catalogue.values()
        if isinstance(records, list)
        for record in records
        for value in record.values()
    ) + len(atlas.all("results"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "catalogue.yaml"
        text = yaml.dump(atlas.catalogue, Dumper=yaml.CSafeDumper, allow_unicode=True)
        path.write_text(text, encoding="utf-8")

        def peer_load() -> Any:
            with open(path, encoding="utf-8") as file:
                return yaml.load(file, yaml.CSafeLoader)

        def ours_query() -> list[str]:
            return sorted({str(row["model"]) for row in atlas.models(objective=OBJECTIVE).rows})

        rows = [
            of_processes(
                "cold: a process that asks for the models with ITC, against YAML",
                lambda: cold(OURS),
                lambda: cold(PEER, str(path)),
                rounds,
            ),
            versus(
                "warm: load, against YAML",
                lambda: Atlas.load().catalogue,
                peer_load,
                lambda ours, theirs: ours == theirs,
                **options,
            ),
            versus(
                "query: the models with ITC as a table, against a bare loop over the records",
                ours_query,
                lambda: asked(atlas.catalogue),
                lambda ours, theirs: ours == theirs,
                **options,
            ),
        ]
    rows = [row | {"facts": facts, "bytes": BUILT.stat().st_size} for row in rows]
    print(table(rows))
    if not tiny:
        save("vlp-atlas", rows, table="catalogue", versions=("pyyaml",))
    return rows


if __name__ == "__main__":
    main()
