"""Rules on names and lists: unknown acronyms, modalities, missing objectives, names of two things (ours)."""

from collections import defaultdict
from collections.abc import Iterator

from vlp_atlas.linting.view import Finding, Record, View, value
from vlp_atlas.names import SINGULAR, folded

__all__ = ["modality_of_data", "name_collision", "objective_of_abstract", "unknown_acronym"]

FAMILY = {"tasks": "datasets"}
"""kinds that share names on purpose: a data set and the task on it"""


def unknown_acronym(view: View) -> Iterator[Finding]:
    """L9: an acronym of an objective that no alias explains, if only by saying that nobody knows it."""
    for model in view["models"]:
        listed = value(model, "objectives_listed") or []
        for acronym in listed:
            if acronym.casefold() not in view.senses:
                message = f"objectives_listed: {acronym!r} is neither an objective nor an alias"
                yield Finding("models", model["id"], ("objectives_listed",), message)
        for use in value(model, "objectives") or []:
            acronym = use["id"].removeprefix("unmapped:")
            told = use.get("acronym") in listed
            if acronym != use["id"] and acronym.casefold() not in view.senses and not told:
                message = f"objectives: {use['id']}: no alias says that {acronym!r} is unmapped"
                yield Finding("models", model["id"], ("objectives",), message)


def modality_of_data(view: View) -> Iterator[Finding]:
    """L10: a model of images and text that is pre-trained, or fine-tuned by its own paper, on video."""
    for checkpoint in view["checkpoints"]:
        model = view.get("models", checkpoint["model"])
        for number, use in enumerate(value(checkpoint, "pretrain_data") or []):
            if _only_video(view, use["dataset"]) and _no_video(model):
                data = use["dataset"]
                message = f"pretrain_data: {data} is video, and {model['id']} has no modality video"
                path = ("pretrain_data", "value", number)
                yield Finding("checkpoints", checkpoint["id"], path, message)
    for result in view["results"]:
        model = view.model_of(result)
        if result["setting"] == "fine-tuned" and _only_video(view, result["dataset"]) and _no_video(model):
            message = f"{result['dataset']} is video, and {model['id']} has no modality video"
            yield Finding("results", result["id"], ("dataset",), message)


def _only_video(view: View, dataset: str) -> bool:
    modalities = value(view.get("datasets", dataset), "modalities") or []
    return "video" in modalities and "image" not in modalities


def _no_video(model: Record) -> bool:
    modalities = value(model, "modalities") or []
    return bool(modalities) and "video" not in modalities


def objective_of_abstract(view: View) -> Iterator[Finding]:
    """L15: a model's list lacks an objective that the abstract of its paper names."""
    for model in view["models"]:
        named = value(view.get("papers", model["paper"]), "abstract_objectives") or []
        used = {use["id"] for use in value(model, "objectives") or []}
        missing = [objective for objective in named if objective not in used]
        if missing and "objectives" in model:
            message = f"objectives: the abstract of {model['paper']} names {', '.join(missing)} too"
            yield Finding("models", model["id"], ("objectives",), message)


def name_collision(view: View) -> Iterator[Finding]:
    """L17: two things have the same name, and no alias lists both."""
    users: dict[str, dict[tuple[str, str], str]] = defaultdict(dict)
    for kind in ("models", "objectives", "datasets", "tasks", "metrics", "checkpoints"):
        for record in view[kind]:
            for name in (record["id"], record["name"], *record["aliases"]):
                if kind == "checkpoints" and ("models", record["model"]) in users[folded(name)]:
                    continue  # weights with the name of their model
                users[folded(name)].setdefault((kind, record["id"]), name)
    explained = {
        folded(alias["alias"]): {(sense["kind"], sense["id"]) for sense in alias["senses"]}
        for alias in view["aliases"]
    }
    for key, found in users.items():
        senses = explained.get(key, set())
        open_ = [(kind, id_) for kind, id_ in found if (SINGULAR[kind], id_) not in senses]
        for place, (kind, id_) in enumerate(found):
            for other_kind, other in list(found)[:place]:
                both_said = (kind, id_) not in open_ and (other_kind, other) not in open_
                if both_said or _family(kind, other_kind):
                    continue
                also = f"{SINGULAR[other_kind]} {other}"
                message = f"{found[kind, id_]!r} is also {also}: add an alias with both senses"
                yield Finding(kind, id_, ("name",), message)


def _family(kind: str, other_kind: str) -> bool:
    return kind != other_kind and FAMILY.get(kind, kind) == FAMILY.get(other_kind, other_kind)
