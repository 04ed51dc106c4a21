"""Rules on results: copied columns, mixed splits and training, tasks a paper does not evaluate (ours)."""

from collections import defaultdict
from collections.abc import Iterator

from vlp_atlas.linting.numbers import CIDER
from vlp_atlas.linting.view import Finding, Record, View, value

__all__ = [
    "candidates_not_said",
    "mixed_splits",
    "mixed_training",
    "same_vector_twice",
    "split_of_a_figure",
    "task_not_evaluated",
]

SERIES = {"survey-table", "survey-figure", "leaderboard"}
"""kinds of sources whose columns and charts put many models into one series"""
RELAYED = {"survey-table", "survey-figure", "third-party-paper"}
"""kinds of sources that repeat what a model's own paper reports"""
RETRIEVAL = ("image-text-retrieval", "video-retrieval")
MIN_VECTOR = 2  # equal values: one alone may be chance


def same_vector_twice(view: View) -> Iterator[Finding]:
    """L3: a checkpoint has the same values of the same metrics on two data sets."""
    vectors: dict[tuple[str, str, str], dict[str, dict[str, Record]]] = defaultdict(lambda: defaultdict(dict))
    for result in view["results"]:
        who = (result["checkpoint"], result["task"], result["setting"])
        vectors[who][result["dataset"]][f"{result['metric']} {result['split']}"] = result
    for who, by_dataset in vectors.items():
        metrics = {
            name: tuple(sorted((result["metric"], result["value"]) for result in column.values()))
            for name, column in by_dataset.items()
        }
        names = sorted(metrics)
        for place, name in enumerate(names):
            for other in names[:place]:
                if len(metrics[name]) >= MIN_VECTOR and metrics[name] == metrics[other]:
                    first = min(by_dataset[name].values(), key=lambda result: result["id"])
                    message = f"all {len(metrics[name])} values of {who[0]} on {name} are those on {other}"
                    yield Finding("results", first["id"], ("value",), message)


def mixed_splits(view: View) -> Iterator[Finding]:
    """L4: a chart or column has some models on one split and others on another."""
    for ref, group in _series(view).items():
        splits: dict[str, set[str]] = defaultdict(set)
        for result in group:
            splits[result["checkpoint"]].add(result["split"])
        ways = {tuple(sorted(found)) for found in splits.values()}
        if len(ways) > 1 and all(len(way) == 1 for way in ways):
            counts = defaultdict(list)
            for result in group:
                counts[result["split"]].append(result)
            few = min(counts.values(), key=lambda found: (len(found), found[0]["id"]))
            message = f"{ref[0]} mixes splits in one series: {', '.join(sorted(counts))}"
            yield Finding("results", few[0]["id"], ("split",), message)


def _series(view: View) -> dict[tuple[str, str, str], list[Record]]:
    found: dict[tuple[str, str, str], list[Record]] = defaultdict(list)
    for result in view["results"]:
        for holder in (result, *result.get("alternatives", [])):
            for ref in holder["source"]:
                if view.kinds_of([ref]) & SERIES:
                    found[ref, result["dataset"], result["metric"]].append(result)
    return found


def split_of_a_figure(view: View) -> Iterator[Finding]:
    """L4, strict: a value read off a chart is the verified one of another split of the same checkpoint."""
    exact: dict[tuple[str, str, str, str], list[Record]] = defaultdict(list)
    for result in view["results"]:
        exact[result["checkpoint"], result["dataset"], result["metric"], result["setting"]].append(result)
    for group in exact.values():
        for result in group:
            if not view.kinds_of(result["source"]) & SERIES:
                continue
            for other in group:
                if other["split"] != result["split"] and abs(other["value"] - result["value"]) < 0.005:
                    message = f"{result['value']:g} on {result['split']} is the value on {other['split']}"
                    yield Finding("results", result["id"], ("split",), message)


def task_not_evaluated(view: View) -> Iterator[Finding]:
    """L5: somebody repeats a result of a model on a task that the model's own paper does not evaluate.

    What a paper evaluates is written in its `tasks`, or are the tasks of the results that it reports itself.
    """
    own: dict[str, set[str]] = defaultdict(set)
    for result in view["results"]:
        paper = view.model_of(result).get("paper", "")
        if paper in {ref.split("#")[0] for ref in result["source"]}:
            own[paper].add(result["task"])
    for result in view["results"]:
        paper = view.model_of(result).get("paper", "")
        written = value(view.get("papers", paper), "tasks")
        known = set(written) if written is not None else own[paper]
        kinds = view.kinds_of(result["source"])
        relayed = kinds and kinds <= (RELAYED if written is not None else SERIES)
        if relayed and known and result["task"] not in known and result.get("reported_by") in (None, paper):
            message = f"{paper} does not evaluate {result['task']}, but {', '.join(sorted(known))}"
            yield Finding("results", result["id"], ("task",), message)


def mixed_training(view: View) -> Iterator[Finding]:
    """L12: one column of CIDEr has results trained on the metric (SCST) and others that do not say."""
    columns: dict[tuple[str, str, str, str], list[Record]] = defaultdict(list)
    for result in view["results"]:
        if result["metric"] in CIDER:
            for ref in result["source"]:
                columns[ref, result["dataset"], result["split"], result["setting"]].append(result)
    for (ref, *_), group in columns.items():
        said = {result["id"]: result["protocol"].get("scst") for result in group}
        if True in said.values():
            for result in group:
                if said[result["id"]] is None:
                    message = f"{ref} has results with and without SCST: say which this is (protocol.scst)"
                    yield Finding("results", result["id"], ("protocol",), message)


def candidates_not_said(view: View) -> Iterator[Finding]:
    """L14: a retrieval result without the number of candidates."""
    for result in view["results"]:
        if result["task"] in RETRIEVAL and not result["protocol"].get("candidates"):
            yield Finding(
                "results", result["id"], ("protocol",), "retrieval among how many? (protocol.candidates)"
            )
