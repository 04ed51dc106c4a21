"""Results in the form of Every Eval Ever, schema 0.3.0 (github.com/evaleval/every_eval_ever).

Its documents have one model and one source each. What it has no field for stands in `additional_details`,
whose values are texts.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vlp_atlas.atlas import Atlas

__all__ = ["SCHEMA", "documents"]

SCHEMA = "0.3.0"
UNITS = {
    "percent": "percent", "fraction": "proportion", "x100": "points", "degrees": "degrees", "metres": "m",
    "count": "count", "none": "points",
}  # fmt: skip


def documents(atlas: "Atlas", results: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """A document for each checkpoint and source of the results, sorted by both."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for result in results:
        source = result["source"][0].split("#")[0]
        groups.setdefault((result["checkpoint"], source), []).append(result)
    return [_document(atlas, *key, groups[key]) for key in sorted(groups)]


def _document(
    atlas: "Atlas", checkpoint_id: str, source_id: str, results: list[dict[str, Any]]
) -> dict[str, Any]:
    checkpoint = atlas.get("checkpoints", checkpoint_id)
    model = atlas.get("models", checkpoint["model"])
    source = atlas.get("sources", source_id)
    stamp = str(int(datetime.fromisoformat(source["retrieved"]).replace(tzinfo=UTC).timestamp()))
    details = {"source_id": source_id, "source_kind": source["kind"]}
    for name in ("url", "repo", "commit", "path", "paper"):
        if source.get(name):
            details[name] = source[name]
    return {
        "schema_version": SCHEMA,
        "evaluation_id": f"vlp-atlas/{checkpoint_id}/{source_id}/{stamp}",
        "retrieved_timestamp": stamp,
        "source_metadata": {
            "source_name": source["title"],
            "source_type": "documentation",
            "source_organization_name": "vlp-atlas",
            "evaluator_relationship": "first_party"
            if source.get("paper") == model["paper"]
            else "third_party",
            "additional_details": details,
        },
        "eval_library": {"name": "vlp-atlas", "version": atlas.data_version},
        "model_info": {
            "name": checkpoint["name"],
            "id": f"vlp-atlas/{checkpoint_id}",
            "additional_details": {"deployment_type": "unknown", "model_availability": "unknown"},
        },
        "evaluation_results": [
            _result(atlas, result) for result in sorted(results, key=lambda one: one["id"])
        ],
    }


def _result(atlas: "Atlas", result: dict[str, Any]) -> dict[str, Any]:
    metric = atlas.get("metrics", result["metric"])
    dataset = atlas.get("datasets", result["dataset"])
    low, high = metric["range"]
    protocol = result["protocol"] if isinstance(result["protocol"], str) else ""
    details = {
        "setting": result["setting"],
        "confidence": result["confidence"],
        "locators": "; ".join(result["source"]),
        **({"protocol": protocol} if protocol else {}),
        **({"error": result["error"]} if result.get("error") else {}),
    }
    return {
        "evaluation_result_id": result["id"],
        "evaluation_name": f"{result['task']} {result['dataset']} {result['split']}",
        "source_data": {
            "dataset_name": dataset["name"],
            "source_type": "other",
            "additional_details": {"dataset_id": result["dataset"], "split": result["split"]},
        },
        "metric_config": {
            "metric_id": metric["id"],
            "metric_name": metric["name"],
            "metric_unit": UNITS[result["unit"]],
            "lower_is_better": not metric["higher_is_better"],
            "score_type": "continuous",
            "min_score": "-Infinity" if low is None else low,
            "max_score": "Infinity" if high is None else high,
        },
        "score_details": {"score": result["value"], "details": details},
    }
