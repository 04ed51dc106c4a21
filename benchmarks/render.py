"""Put the kept results into the READMEs, so that no number there is typed by hand.

In a README

    <!-- results pegasus:speed -->
    <!-- end -->

holds, after `python -m benchmarks.render`, the table "speed" of benchmarks/results/pegasus.json and one line
for each run that it was measured in. `python -m benchmarks.render --check` writes nothing and exits with 1
where a README does not say what the results say.
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.circumstances import ROOT
from benchmarks.harness import RESULTS, table

BLOCK = re.compile(
    r"(<!-- results (?P<name>[\w-]+):(?P<table>[\w-]+) -->\n).*?(<!-- end -->)", flags=re.DOTALL
)
OPENING = re.compile(r"<!-- results .*?-->")


class StaleResults(ValueError):
    """A README asks for results that are not there, or its marks are not in pairs."""


def render(readme: Path, *, check: bool = False, results: Path = RESULTS) -> bool:
    """Replace what stands between the marks of a README by the tables they name.

    Args:
        readme: the Markdown file.
        check: only compare.
        results: the folder of result files.

    Returns:
        Whether the file said something else (and was rewritten, unless `check`).

    Raises:
        StaleResults: a mark without its end, or a table that no result file has.
    """
    text = readme.read_text(encoding="utf-8")
    if len(OPENING.findall(text)) != len(BLOCK.findall(text)):
        raise StaleResults(
            f"{readme}: a '<!-- results NAME:TABLE -->' line has no '<!-- end -->' line of its own"
        )

    def block(found: re.Match[str]) -> str:
        if OPENING.search(found[0], len(found[1])):
            raise StaleResults(f"{readme}: '{found[1].strip()}' has no '<!-- end -->' line of its own")
        return f"{found[1]}{measured(results, found['name'], found['table'])}\n{found[4]}"

    fresh = BLOCK.sub(block, text)
    if fresh == text:
        return False
    if not check:
        readme.write_text(fresh, encoding="utf-8", newline="\n")
    return True


def measured(results: Path, name: str, wanted: str) -> str:
    """A kept table as Markdown, and a line on every run that its rows come from."""
    path = results / f"{name}.json"
    if not path.exists():
        raise StaleResults(f"{path} is missing: run its benchmark, or take the mark {name}:{wanted} out")
    kept = json.loads(path.read_text(encoding="utf-8"))
    if wanted not in kept["tables"]:
        raise StaleResults(f"{path} has no table '{wanted}', only {', '.join(kept['tables'])}")
    rows = kept["tables"][wanted]
    runs = [kept["runs"][key] for key in dict.fromkeys(row["run"] for row in rows)]
    lines = [f"Measured with {line}" for line in dict.fromkeys(_origin(run) for run in runs)]
    return "\n\n".join([table(rows), *lines])


def _origin(run: dict[str, Any]) -> str:
    machine = run["machine"]
    where = [machine["gpu"]] if machine["gpu"] else []
    where.append(f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB")
    versions = ", ".join(f"{package} {version}" for package, version in run["versions"].items())
    known = {"date", "command", "commit", "versions", "machine", "load_at_start"}
    more = "".join(f"; {key}: {value}" for key, value in run.items() if key not in known)
    if run["load_at_start"] is not None:
        where.append(f"load {run['load_at_start']:.1f} at the start")
    return f"`{run['command']}` at {run['commit']} on {run['date']} ({'; '.join(where)}; {versions}{more})."


def main(argv: Sequence[str] | None = None) -> int:
    """Render the READMEs named, or all of the repository."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.render", description=__doc__.split("\n")[0])
    parser.add_argument(
        "readmes", nargs="*", type=Path, help="Markdown files; all READMEs of the repository if none"
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit with 1 if a README is stale"
    )
    options = parser.parse_args(argv)
    readmes = options.readmes or [
        path for pattern in ("README.md", "shared/README.md", "packages/*/README.md", "benchmarks/README.md")
        for path in sorted(ROOT.glob(pattern))
    ]  # fmt: skip
    try:
        stale = [path for path in readmes if render(path, check=options.check)]
    except StaleResults as error:
        print(f"benchmarks.render: {error}", file=sys.stderr)
        return 1
    for path in stale:
        print(f"{path}: {'stale: run python -m benchmarks.render' if options.check else 'rendered'}")
    return 1 if stale and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
