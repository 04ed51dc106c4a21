"""The pages of a pruning run: scores by sparsity, what is live in each layer, losses by step (ours)."""

from pathlib import Path
from typing import Any

from cap_prune.levels import levels_of, read_facts
from nonet.report.page import Page
from nonet.report.run_page import run_page


def save_pages(run: Path) -> Path:
    """Write `report.html` (levels) and `losses.html` (numbers by step, options, machine) into a run's folder.

    Returns:
        The first one.

    Raises:
        UserError: it is not the folder of a run.
    """
    run_page(run).save(run / "losses.html")
    return levels_page(run).save(run / "report.html")


def levels_page(run: Path) -> Page:
    """The levels that a run's folder has so far."""
    page = Page("cap-prune prune", f"`{run}`; losses by step and options are in [losses.html](losses.html)")
    levels = [read_facts(folder) for folder in levels_of(run)]
    if not levels:
        return page.text("No level is complete yet.")
    structured = [facts for facts in levels if "percent" in facts]
    axis = "percent pruned" if structured else "percent of encoder weights gone"
    points = [(_gone(facts), facts.get("metrics", {})) for facts in levels]
    names = list(dict.fromkeys(name for _, metrics in points for name in metrics))
    page.text("# Score at each level")
    page.table([_row(facts) for facts in levels], f"{levels[0].get('task', '')}, dev side")
    for name in names:
        curve = [(gone, float(metrics[name])) for gone, metrics in points if name in metrics]
        if len(curve) > 1:
            page.lines(f"{name} by sparsity", {name: curve}, x=axis, y=name)
    if structured:
        page.text("# Live in each layer")
        for unit, label in (("heads", "live heads"), ("neurons", "live neurons")):
            page.table([_layers(facts, f"live_{unit}") for facts in structured], label)
        series = {
            f"{facts['percent']:g} %": [(float(layer), float(count)) for layer, count in enumerate(live, 1)]
            for facts in structured
            if len(live := facts["live_heads"]) > 1
        }
        if series:
            page.lines("live heads by layer", series, x="layer", y="heads")
    return page


def _gone(facts: dict[str, Any]) -> float:
    return float(facts["percent"]) if "percent" in facts else 100 * (1 - float(facts["density"]))


def _row(facts: dict[str, Any]) -> dict[str, Any]:
    size: dict[str, Any] = (
        {
            "pruned %": facts["percent"],
            "live heads": sum(facts["live_heads"]),
            "live neurons": sum(facts["live_neurons"]),
        }
        if "percent" in facts
        else {"density": facts["density"]}
    )
    return {**size, **facts.get("metrics", {})}


def _layers(facts: dict[str, Any], name: str) -> dict[str, Any]:
    return {"pruned %": facts["percent"], **{f"layer {n}": live for n, live in enumerate(facts[name], 1)}}
