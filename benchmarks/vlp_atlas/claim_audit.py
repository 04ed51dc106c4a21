"""`make bench-vlp-atlas`: a survey's table and charts against the catalogue, and its claim on years.

Written down before it was run:

1. the rules find at least 15 true defects in the survey's table as it stands: sizes of data sets that are ten
   times too small, code of third parties given as the papers' own, stale preprints; and the chart of models a
   year has other heights than the table has rows in 2021 and 2022 (37 and 20, not 35 and 30);
2. in the chart of VQA, no value of their own is behind the bars of VisDial-BERT and UNITER, and the chart
   mixes test-dev with test-std;
3. VQA accuracy (test-dev) rises with the year in which a paper was public: Spearman's correlation above .6 on
   rows that are read, not remembered; given the logarithm of the number of pre-training pairs, it is smaller.

The table is in the catalogue (`venue_listed`, rows of models and sizes of data sets); here the links to code
lose our mark of whose they are, and sizes our remarks, as in the survey. The charts are the overlay
survey/charts.yaml. Source: ours, after Wang et al. 2023.
"""

import argparse
import copy
from collections import Counter
from pathlib import Path

from benchmarks.harness import Row, save, table
from benchmarks.vlp_atlas.trend import READ, Catalogue, Record, trend_rows, value

from vlp_atlas import Atlas
from vlp_atlas.linting import lint
from vlp_atlas.measurements import tolerance
from vlp_atlas.overlay import overlaid

CHARTS = Path(__file__).parent / "survey" / "charts.yaml"
MODELS_A_YEAR = {"2019": 7, "2020": 17, "2021": 37, "2022": 20}
"""heights of the bars of figures/modelsGPUsParmas.png (a) in the survey's repository"""
SIZES = ("n_images", "n_texts", "n_pairs", "n_clips")
ROUNDING = 0.05
"""what printed numbers may be off by"""


def as_listed(catalogue: Catalogue) -> Catalogue:
    """The catalogue with code and sizes as the survey's tables give them: bare."""
    catalogue = copy.deepcopy(catalogue)
    listed = {model["paper"] for model in catalogue["models"] if "W" in model["in_survey"]}
    for paper in catalogue["papers"]:
        for link in value(paper, "code") or [] if paper["id"] in listed else []:
            link.pop("official", None)
    for dataset in catalogue["datasets"]:
        for fact in (dataset[field] for field in SIZES if field in dataset):
            for holder in (fact, *fact.get("alternatives", [])):
                holder.pop("note", None)
    return catalogue


def rows_of_models(catalogue: Catalogue) -> list[Row]:
    """Rows of the survey's table by the year of their venue, and the bar of its chart."""
    years = Counter(model["venue_listed"][-4:] for model in catalogue["models"] if model.get("venue_listed"))
    return [
        {
            "name": year,
            "rows of the table": years[year],
            "bar": bar,
            "verdict": "same" if years[year] == bar else "differs",
        }
        for year, bar in MODELS_A_YEAR.items()
    ]


def defect_rows(catalogue: Catalogue, listed: Catalogue) -> list[Row]:
    """A row a rule: what it finds in the survey's table and charts, and how much of it is true.

    A link to code is truly foreign if the catalogue says so; a stale venue if the paper's date was read; what
    several papers may share with good reason (code) is left open.
    """
    found = sorted({*lint(listed), *lint(listed, strict=True, rules=["L4", "L6", "L16"])})
    papers = {paper["id"]: paper for paper in catalogue["papers"]}
    models = {model["id"]: model for model in catalogue["models"]}
    rows = []
    for rule in sorted({defect.rule for defect in found}, key=lambda rule: int(rule[1:])):
        messages = [defect.message for defect in found if defect.rule == rule]
        true = [message for message in messages if _true(rule, message, papers, models)]
        example = (true or messages)[0]
        rows.append({"name": rule, "found": len(messages), "true": len(true), "such as": example[:110]})
    return rows


def _true(rule: str, message: str, papers: dict[str, Record], models: dict[str, Record]) -> bool:
    what = message.split()[1].rstrip(":")
    if rule == "L7":
        return any(
            link["url"] in message and link.get("official") is False
            for link in value(papers[what], "code") or []
        )
    if rule == "L6" and message.startswith("models"):
        return value(papers[models[what]["paper"]], "published") is not None
    return rule != "L16"


def foreign_row(catalogue: Catalogue, listed: Catalogue) -> Row:
    """How well the rule on foreign code does without being told: against the catalogue's marks."""
    suspects = {defect.message.split()[1].rstrip(":") for defect in lint(listed, rules=["L7"])}
    survey = {model["paper"] for model in catalogue["models"] if "W" in model["in_survey"]}
    links = {
        paper["id"]: [link.get("official") for link in value(paper, "code") or []]
        for paper in catalogue["papers"]
        if paper["id"] in survey
    }
    foreign = {paper for paper, marks in links.items() if False in marks}
    return {
        "name": "L7 without marks",
        "papers with code": sum(bool(marks) for marks in links.values()),
        "foreign": len(foreign),
        "found of these": len(foreign & suspects),
        "false alarms": len({paper for paper in suspects if paper in links} - foreign),
    }


def bar_rows(catalogue: Catalogue, charts: Catalogue) -> list[Row]:
    """A row a bar: its height, the nearest value of the checkpoint in the catalogue, and who else has it.

    A bar is flagged if its checkpoint has another value, or if the model's paper does not evaluate the task.
    """
    strange = {defect.message.split()[1].rstrip(":") for defect in lint(charts, rules=["L5"])}
    rows = []
    for bar in charts["results"]:
        same = [result for result in catalogue["results"] if _alike(result, bar)]
        read = [result for result in same if result["confidence"] in READ]
        near = min(read or same, key=lambda result: abs(result["value"] - bar["value"]), default=None)
        row = {"name": f"{bar['checkpoint']} {bar['metric']}", "bar": f"{bar['value']:.2f}"}
        row |= _beside(bar, near, bar["id"] in strange)
        rows.append({**row, "who has it": _elsewhere(bar, catalogue) if "FLAGGED" in row["verdict"] else ""})
    return rows


def _alike(result: Record, bar: Record) -> bool:
    parts = ("checkpoint", "dataset", "metric", "setting")
    return all(result[part] == bar[part] for part in parts)


def _beside(bar: Record, near: Record | None, strange: bool) -> Row:
    if near is None:
        verdict = "FLAGGED: its paper does not evaluate this" if strange else "no value"
        return {"catalogue": "", "split": "", "deviation": "", "verdict": verdict}
    apart = bar["value"] - near["value"]
    verdict = "agrees" if abs(apart) <= tolerance(bar["value"], bar["error"]) + ROUNDING else "FLAGGED"
    return {
        "catalogue": f"{near['value']:.2f}",
        "split": near["split"],
        "deviation": f"{apart:+.2f}",
        "verdict": verdict if near["confidence"] in READ else f"{verdict} (remembered)",
    }


def _elsewhere(bar: Record, catalogue: Catalogue) -> str:
    """Values within the error: of the same metric of another checkpoint, or of another metric of this one."""
    allowed = tolerance(bar["value"], bar["error"]) + ROUNDING
    found = [
        result
        for result in catalogue["results"]
        if abs(result["value"] - bar["value"]) <= allowed
        and (
            result["checkpoint"] == bar["checkpoint"]
            or _alike({**result, "checkpoint": bar["checkpoint"]}, bar)
        )
    ]
    names = [
        f"{result['checkpoint']} {result['metric']} {result['value']:g}"
        + ("" if result["confidence"] in READ else " (remembered)")
        for result in found
    ]
    return ", ".join(names)


def _count(rows: list[Row], start: str) -> int:
    return sum(str(row["verdict"]).startswith(start) for row in rows)


def main(tiny: bool = False) -> list[Row]:
    """Audit the survey; kept in benchmarks/results unless it is tiny.

    Args:
        tiny: with few bootstrap draws.
    """
    atlas = Atlas.load(unverified=True)
    catalogue = {kind: atlas.all(kind) for kind in ("sources", "papers", "models", "checkpoints", "results")}
    catalogue |= {kind: atlas.all(kind) for kind in ("objectives", "datasets", "tasks", "metrics", "aliases")}
    head = {
        "schema_version": atlas.schema_version,
        "data_version": atlas.data_version,
        "as_of": "",
        "hash": "",
    }
    merged = overlaid({**head, **catalogue}, [CHARTS]).catalogue
    only = overlaid({**head, **catalogue, "results": []}, [CHARTS]).catalogue
    listed = as_listed(merged)
    by_year, defects = rows_of_models(catalogue), defect_rows(catalogue, listed)
    foreign, bars = foreign_row(catalogue, listed), bar_rows(catalogue, only)
    trends = trend_rows(catalogue, 100 if tiny else 5000)
    wrong_bars = sum(row["verdict"] == "differs" for row in by_year)
    print(table(by_year), table(defects), table([foreign]), sep="\n\n")
    print(f"\n{sum(row['true'] for row in defects) + wrong_bars} true defects (expected: at least 15)")
    print("", table(bars), "", table(trends), sep="\n")
    if not tiny:
        data = f"catalogue {atlas.data_version}, sha256 {atlas.hash[:12]}"
        flagged = [row for row in bars if "FLAGGED" in row["verdict"]]
        counts: Row = {
            "name": "bars of the charts", "all": len(bars), "agree": _count(bars, "agrees"),
            "no value to compare with": _count(bars, "no value"), "flagged": len(flagged),
        }  # fmt: skip
        save("vlp-atlas", by_year, table="audit-years", data=data)
        save("vlp-atlas", [*defects], table="audit-defects", data=data)
        save("vlp-atlas", [foreign], table="audit-code", data=data)
        save("vlp-atlas", [counts], table="audit-charts", data=data)
        save("vlp-atlas", flagged, table="audit-flagged", data=data)
        save("vlp-atlas", trends, table="audit-trend", data=data)
    return [*by_year, *defects, foreign, *bars, *trends]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tiny", action="store_true", help="few bootstrap draws")
    main(parser.parse_args().tiny)
