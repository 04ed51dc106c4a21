"""The command `vlp-atlas`: names its verbs; a verb's code is loaded when the verb is asked for."""

import sys
from importlib.metadata import version

from nonet.cli import Verb
from nonet.cli import main as run_command

PROG = "vlp-atlas"

ABOUT = (
    "An executable catalogue of vision-language pre-training: models, objectives, data sets, tasks, metrics "
    "and results, each fact with its source."
)

VERBS = {
    "demo": Verb(
        "ask, compute and draw, and build the page of the whole catalogue",
        "vlp_atlas.commands.demo",
        "vlp-atlas demo",
    ),
    "models": Verb(
        "models by objective, year, modality, architecture; sorted by size or year",
        "vlp_atlas.commands.models",
        "vlp-atlas models --objective=itc --after 2021 --sort=params",
    ),
    "compare": Verb(
        "models side by side; only equal split, metric and setting are compared",
        "vlp_atlas.commands.compare",
        "vlp-atlas compare ALBEF BLIP --tasks=vqa,nlvr2",
    ),
    "show": Verb(
        "one record with every fact, its confidence and its sources",
        "vlp_atlas.commands.show",
        "vlp-atlas show UNITER --sources",
    ),
    "search": Verb(
        "find records by any text in them",
        "vlp_atlas.commands.search",
        "vlp-atlas search momentum contrast",
    ),
    "task": Verb(
        "how a task is scored: data sets, splits, metric, traps",
        "vlp_atlas.commands.task",
        "vlp-atlas task vqa",
    ),
    "objective": Verb(
        "how a loss is computed, who uses it; --run computes a worked example",
        "vlp_atlas.commands.objective",
        "vlp-atlas objective mlm --run",
    ),
    "metric": Verb(
        "how a metric is computed, its conventions and traps; --run computes a worked example",
        "vlp_atlas.commands.metric",
        "vlp-atlas metric vqa-acc --run",
    ),
    "datasets": Verb(
        "data sets with sizes, licence and availability",
        "vlp_atlas.commands.datasets",
        "vlp-atlas datasets --modality=video",
    ),
    "results": Verb(
        "reported numbers with split, setting, protocol and source",
        "vlp_atlas.commands.results",
        "vlp-atlas results --task=vqa --split=test-dev",
    ),
    "score": Verb(
        "score your predictions with the catalogue's own formulas",
        "vlp_atlas.commands.score",
        "vlp-atlas score vqa --pred predictions.json --gold annotations.json",
    ),
    "plot": Verb(
        "SVG or PNG of the catalogue's numbers, with a CSV of every point",
        "vlp_atlas.commands.plot",
        "vlp-atlas plot params-vs-year --out=params.svg",
    ),
    "export": Verb(
        "the catalogue as CSV, JSON, JSON lines, Markdown, BibTeX or Every Eval Ever",
        "vlp_atlas.commands.export",
        "vlp-atlas export --what=results --format=csv",
    ),
    "build-site": Verb(
        "one HTML file with search, filters and permalinks, for file://",
        "vlp_atlas.commands.build_site",
        "vlp-atlas build-site site",
    ),
    "serve": Verb(
        "the same page on a port of this machine",
        "vlp_atlas.commands.serve",
        "vlp-atlas serve --port 8000",
    ),
    "check": Verb(
        "schema, references, rules and staleness of the catalogue or of your files",
        "vlp_atlas.commands.check",
        "vlp-atlas check",
    ),
    "lint": Verb(
        "the semantic rules alone, on the catalogue or on your files",
        "vlp_atlas.commands.lint",
        "vlp-atlas lint --strict",
    ),
    "new": Verb(
        "a YAML skeleton for a record of your own",
        "vlp_atlas.commands.new",
        "vlp-atlas new model",
    ),
    "diff": Verb(
        "what was added, changed or removed between two built catalogues",
        "vlp_atlas.commands.diff",
        "vlp-atlas diff old.json new.json",
    ),
    "info": Verb(
        "versions, content hash, counts and freshness of the catalogue",
        "vlp_atlas.commands.info",
        "vlp-atlas info",
    ),
}


def main() -> int:
    """Run the command line; the result is the exit code."""
    said = version("vlp-atlas")
    if sys.argv[1:2] == ["--version"]:
        from vlp_atlas.freshness import versions

        said += f"\n{versions()}"
    return run_command(PROG, ABOUT, said, VERBS, presets="vlp_atlas")


if __name__ == "__main__":
    raise SystemExit(main())
