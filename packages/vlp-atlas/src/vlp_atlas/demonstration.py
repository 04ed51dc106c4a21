"""The demo: questions, worked examples, planted errors, plots and the page, all without a network (ours).

Its measure is how many of eight errors that people really make, planted into a file of the user's own, are
found: first by the schema alone, then by the rules as well.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nonet.errors import UserError

if TYPE_CHECKING:
    from vlp_atlas import Atlas

PLANTED = {
    "L1": "a number whose place in the paper nobody can look up",
    "L2": "a fraction among percents: 0.7544 for 75.44",
    "L3": "one column copied under two data sets",
    "L6": "a preprint that was published",
    "L9": "a loss by an acronym that no table explains",
    "L11": "a parameter count that does not say what it counts",
    "L13": "a CIDEr of 1.18 among those of 118",
    "L14": "a recall without the number of candidates",
}
"""rules, and the error that each must find in ERRORS"""

ERRORS = """\
schema_version: "1.0.0"
sources:
  - {id: demo-net, kind: primary-paper, title: "Demo Net", paper: 2021-demo-net, retrieved: 2026-01-31}
papers:
  - id: 2021-demo-net
    source: [demo-net#title page]
    confidence: verified
    title: "Demo Net"
    year: 2021
    first_public: 2021-03-01
    venue: "ICCV"
    venue_status: preprint
    published: 2021-10-11
models:
  - id: demo-net
    name: "Demo Net"
    paper: 2021-demo-net
    source: [demo-net#Section 3]
    confidence: verified
    modalities: [image, text]
    objectives_listed: [MLM, QXZ]
checkpoints:
  - id: demo-net-base
    model: demo-net
    name: "Demo Net-base"
    source: [demo-net#Table 1]
    confidence: verified
    params: 110000000
    pretrain_pairs: {value: 4000000, source: [demo-net]}
results:
  - checkpoint: demo-net-base
    source: [demo-net#Table 2]
    confidence: verified
    results:
      - {task: vqa, dataset: vqa-v2, split: test-dev, metric: vqa-acc, value: 0.7544}
      - {task: captioning, dataset: coco, split: karpathy-test, metric: cider-d, value: 1.18, unit: x100,
         protocol: {scst: false}}
      - {task: image-text-retrieval, dataset: flickr30k, split: test, metric: ir-recall-at-1, value: 61.0}
      - {task: image-text-retrieval, dataset: flickr30k, split: test, metric: ir-recall-at-5,
         value: 84.5, protocol: {candidates: "1k"}}
      - {task: image-text-retrieval, dataset: flickr30k, split: test, metric: ir-recall-at-10,
         value: 90.7, protocol: {candidates: "1k"}}
      - {task: image-text-retrieval, dataset: coco, split: karpathy-test, metric: ir-recall-at-1,
         value: 61.0, protocol: {candidates: "5k"}}
      - {task: image-text-retrieval, dataset: coco, split: karpathy-test, metric: ir-recall-at-5,
         value: 84.5, protocol: {candidates: "5k"}}
      - {task: image-text-retrieval, dataset: coco, split: karpathy-test, metric: ir-recall-at-10,
         value: 90.7, protocol: {candidates: "5k"}}
"""
ROWS = 15  # of the table of models in the report
PLOTS = ("score-vs-year", "params-vs-year", "data-vs-score", "models-per-year", "gpus")


class Ran(NamedTuple):
    """A worked example that was run: what it is of, its name, what it gave and had to give."""

    of: str
    name: str
    computed: float
    expected: float
    passed: bool


def demonstrate(out: Path) -> int:
    """Run everything into a folder; prints what was found; 1 if a worked example gives another number."""
    import shutil

    from nonet.cli.progress import progress
    from nonet.files import write_json, write_text
    from vlp_atlas import Atlas, site

    start = time.monotonic()
    if (out / "demo.json").exists():
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    with progress(label="demo", unit="parts", total=5) as bar:  # type: ignore[var-annotated]
        atlas = Atlas.load()
        tables = {"models": atlas.models(objective="itc", sort="year"), "compare": _comparison(atlas)}
        bar.advance(1)
        ran, why = worked_examples(atlas)
        bar.advance(1)
        planted = out / "planted.yaml"
        write_text(planted, ERRORS)
        by_schema, by_rules = found_in(planted)
        bar.advance(1)
        pictures = _plots(atlas, out)
        bar.advance(1)
        page = site.page(atlas)
        write_text(out / "site" / "index.html", page)
        bar.advance(1)
    failed = [each.name for each in ran if not each.passed]
    seconds = time.monotonic() - start
    write_json(
        out / "demo.json",
        {
            "package": "vlp-atlas",
            "what": f"{len(PLANTED)} planted errors, {len(ran)} worked examples, the page of the catalogue",
            "measure": f"planted errors found, of {len(PLANTED)}: by the schema alone, and with the rules",
            "before": len(by_schema),
            "after": len(by_rules),
            "better": "higher",
            "seconds": seconds,
            "pictures": pictures,
            "examples": {"run": len(ran), "failed": failed},
        },
    )
    _report(atlas, tables, ran, why, by_rules, pictures).save(out / "report.html")
    print(
        f"planted errors found: {len(by_schema)} by the schema alone, "
        f"{len(by_rules)} of {len(PLANTED)} with the rules"
    )
    print(f"worked examples: {len(ran)} run, {len(failed)} gave another number{f' ({why})' if why else ''}")
    print(f"{seconds:.0f} s; report: {out / 'report.html'}; catalogue: {out / 'site' / 'index.html'}")
    return 1 if failed else 0


def found_in(planted: Path) -> tuple[list[str], list[str]]:
    """Which of the planted errors the schema finds, and which the rules find as well."""
    from vlp_atlas import building
    from vlp_atlas.linting import lint_files

    schema = {defect.rule for defect in building.check([planted])}
    rules = {defect.rule for defect in lint_files([planted])}
    return [rule for rule in PLANTED if rule in schema], [rule for rule in PLANTED if rule in schema | rules]


def worked_examples(atlas: "Atlas") -> tuple[list[Ran], str]:
    """All worked examples of the catalogue; those that need what is not installed are left out, and why."""
    from vlp_atlas.oracles import oracle

    ran, lacking = [], set()
    for kind in ("objectives", "metrics"):
        for record in atlas.all(kind):
            if not record.get("oracle"):
                continue
            example = oracle(record["oracle"])
            try:
                value = float(example.run())
            except ModuleNotFoundError as error:
                lacking.add(f"{error.name} is not installed: pip install 'vlp-atlas[objectives]'")
            except UserError as error:  # numba is missing
                lacking.add(str(error))
            else:
                passed = abs(value - example.expected) <= example.tolerance
                ran.append(Ran(record["id"], record["oracle"], value, example.expected, passed))
    return ran, "; ".join(sorted(lacking))


def _comparison(atlas: "Atlas") -> Any:
    """Two models that the catalogue knows well, side by side."""
    try:
        return atlas.compare(["uniter", "albef"], ["vqa", "nlvr2"])
    except UserError:
        known = [model["id"] for model in atlas.all("models") if atlas.checkpoints_of.get(model["id"])]
        return atlas.compare(known[:2])


def _plots(atlas: "Atlas", out: Path) -> list[str]:
    """Draw every plot that has points; the names of the pictures."""
    from vlp_atlas import plots, points

    names = []
    for kind in PLOTS:
        try:
            plot = points.plot(atlas, kind)
        except UserError:
            continue
        plots.save(plot, out / f"{kind}.svg")
        points.save(plot, out / f"{kind}.csv")
        names.append(f"{kind}.svg")
    return names


def _report(
    atlas: "Atlas", tables: dict[str, Any], ran: list[Ran], why: str, found: list[str], pictures: list[str]
) -> Any:
    from nonet.report import Page
    from vlp_atlas.freshness import confidences, counts
    from vlp_atlas.tables import text

    page = Page(
        "vlp-atlas", f"Catalogue {atlas.data_version}, as of {atlas.as_of}, sha256 {atlas.hash[:16]}."
    )
    page.text("The whole catalogue, to search and to link to: [site/index.html](site/index.html).")
    page.table([{"records": kind, "number": number} for kind, number in counts(atlas).items()])
    page.bars("Facts and results by confidence", {name: float(n) for name, n in confidences(atlas).items()})
    page.table(
        [{"rule": rule, "error": what, "found": rule in found} for rule, what in PLANTED.items()],
        "Planted errors, none of which the schema sees",
    )
    for name in pictures:
        kind = name.removesuffix(".svg")
        page.html(f'<figure><img src="{name}" alt="{kind}" style="max-width: 100%"></figure>')
    shown = tables["models"].rows[:ROWS]
    rows = [
        {"model": f"{row['name']}, {row['year']}"}
        | {name: text(row.get(name), name) for name in ("fusion", "objectives", "params")}
        for row in shown
    ]
    left = len(tables["models"]) - len(shown)
    page.table(rows, f"vlp-atlas models --objective itc --sort year{f' ({left} more)' if left else ''}")
    page.table(tables["compare"].to_table().plain(), "vlp-atlas compare UNITER ALBEF --tasks vqa,nlvr2")
    page.text("\n\n".join(tables["compare"].footer))
    told_ran = [
        {"of": one.of, "computed": one.computed, "expected": one.expected, "right": one.passed} for one in ran
    ]
    page.table(told_ran, f"Worked examples{f': {why}' if why else ''}")
    return page
