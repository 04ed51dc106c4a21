"""Tables of models and of results, with a footer that says what is hidden or unknown (ours)."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from nonet.errors import UserError
from vlp_atlas.measurements import protocol_of
from vlp_atlas.sieving import Step, matches, note_hidden, order, sieve, word
from vlp_atlas.tabular import Table
from vlp_atlas.views import VIEWS, Granularity, Interaction, word_of
from vlp_atlas.vocabulary import (
    AS_LISTED,
    Codec,
    Domain,
    Fusion,
    Modality,
    Setting,
    TextFeatures,
    VisionFeatures,
)

if TYPE_CHECKING:
    from vlp_atlas.atlas import Atlas

__all__ = ["matches", "models", "results"]

MODEL_COLUMNS = [
    "id", "name", "year", "venue", "modalities", "domain", "vision_fe", "text_fe", "fusion", "codec",
    "objectives", "params", "convention", "pretrain_pairs", "pretrain_images", "batch", "gpu_hours",
]  # fmt: skip
RESULT_COLUMNS = [
    "checkpoint", "task", "dataset", "split", "metric", "setting", "protocol", "value", "unit", "confidence",
    "reported_by", "source",
]  # fmt: skip
SIZES = ("params", "pretrain_pairs", "pretrain_images")
"""what gives a checkpoint a row of its own"""

Names = str | Sequence[str] | None
Test = Callable[[dict[str, Any]], bool]


def models(
    atlas: "Atlas",
    *,
    objective: Names = None,
    after: str | int | None = None,
    before: str | int | None = None,
    modality: Names = None,
    domain: str | None = None,
    vision_fe: str | None = None,
    text_fe: str | None = None,
    fusion: str | None = None,
    codec: str | None = None,
    interaction: str | None = None,
    granularity: str | None = None,
    survey: str | None = None,
    text: str | None = None,
    sort: str | None = None,
    strict_params: bool = False,
) -> Table:
    """Models with their sizes: a row a checkpoint that has sizes, or the model where none has.

    Args:
        atlas: the catalogue.
        objective: name or id of a pre-training objective, or several, all of which are used.
        after: a year, month or day; the model's paper was first public later (after 2021: from 2022).
        before: the same, earlier.
        modality: image, video, text, ...; or several, all of which it reads.
        domain: general, fashion, medical, ...; these five are lists of `vlp_atlas.vocabulary`.
        vision_fe: od-rf, cnn-gf, vit-pf, ...
        text_fe: embedding, transformer-encoder, rnn.
        fusion: single-stream, dual-stream, dual-encoder, ...
        codec: encoder-only, encoder-decoder or decoder-only.
        interaction: self-attention, co-attention or vse; this and the next as `vlp_atlas.views` derives them.
        granularity: roi, patch, pixel or image.
        survey: W or C, the survey that lists it.
        text: part of a name, title, author, venue, objective or note.
        sort: a column; `-` before it turns the order round. Rows without a value come last.
        strict_params: whether parameter counts that count different things are refused.

    Raises:
        UserError: a filter or a column is unknown, or parameter counts do not compare under `strict_params`.
    """
    steps: list[Step] = []
    for wanted in _several(objective):
        steps.append((f"objective {wanted}", _uses(atlas, _objective(atlas, wanted))))
    for name, bound in (("after", after), ("before", before)):
        if bound is not None:
            steps.append((f"{name} {bound}", _dated(atlas, name, str(bound))))
    for wanted in _several(modality):
        found = word("modality", wanted, Modality)
        steps.append((f"modality {found}", _holds(atlas, "modalities", found)))
    chosen: list[tuple[str, str | None, Any]] = [
        ("domain", domain, Domain),
        ("vision_fe", vision_fe, VisionFeatures),
        ("text_fe", text_fe, TextFeatures),
        ("fusion", fusion, Fusion),
        ("codec", codec, Codec),
    ]
    for field, value, words in chosen:
        if value is not None:
            found = word(field, value, words)
            steps.append((f"{field} {found}", _holds(atlas, field, found)))
    for field, value, words in (
        ("interaction", interaction, Interaction),
        ("granularity", granularity, Granularity),
    ):
        if value is not None:
            found = word(field, value, words)
            steps.append((f"{field} {found}", _seen_as(atlas, field, found)))
    if survey is not None:
        listed = word("survey", survey.upper(), Literal["W", "C"])
        steps.append((f"survey {listed}", lambda model: listed in model["in_survey"]))
    if text is not None:
        steps.append((f"text {text!r}", lambda model: matches(text, *_texts(atlas, model))))
    kept, footer = sieve([model for model in atlas.catalogue["models"] if "replaced_by" not in model], steps)
    rows = [row for model in kept for row in _rows(atlas, model)]
    hidden = sum(
        not atlas.shows(fact) for row in rows for fact in row["_facts"].values() if fact["value"] is not None
    )
    _note_params(rows, strict_params, footer)
    _note_listed(atlas, rows, footer)
    order(rows, sort, MODEL_COLUMNS, footer)
    note_hidden(hidden, "values", footer)
    return Table(list(MODEL_COLUMNS), rows, footer, heads={"year": "first public year"})


def results(
    atlas: "Atlas",
    *,
    task: str | None = None,
    dataset: str | None = None,
    split: str | None = None,
    metric: str | None = None,
    checkpoint: str | None = None,
    setting: str | None = None,
    sort: str | None = None,
) -> Table:
    """Reported numbers, a row each.

    Args:
        atlas: the catalogue.
        task: name or id.
        dataset: name or id.
        metric: name or id.
        split: as written, such as test-dev.
        checkpoint: of one checkpoint, or of all of a model.
        setting: fine-tuned, zero-shot, few-shot or linear-probe.
        sort: a column; `-` before it turns the order round.

    Raises:
        UserError: a filter or a column is unknown.
    """
    steps: list[Step] = []
    for field, name in (("task", task), ("dataset", dataset), ("metric", metric)):
        if name is not None:
            _, found = atlas.resolve(name, field)
            steps.append((f"{field} {found}", _holds(atlas, field, found)))
    if checkpoint is not None:
        kind, found = atlas.resolve(checkpoint, "models", "checkpoints")
        ids = {found} if kind == "checkpoints" else {c["id"] for c in atlas.checkpoints_of.get(found, [])}
        steps.append((f"checkpoint {found}", lambda result: result["checkpoint"] in ids))
    if setting is not None:
        way = word("setting", setting, Setting)
        steps.append((f"setting {way}", lambda result: result["setting"] == way))
    if split is not None:
        steps.append((f"split {split}", lambda result: result["split"].casefold() == split.casefold()))
    kept, footer = sieve(atlas.catalogue["results"], steps)
    rows = []
    for result in kept:
        if atlas.shows(result):
            protocol = ", ".join(f"{name}={str(value).lower()}" for name, value in protocol_of(result))
            rows.append({**result, "protocol": protocol, "kind": "result", "_facts": {"value": result}})
    order(rows, sort, RESULT_COLUMNS, footer)
    note_hidden(len(kept) - len(rows), "results", footer)
    return Table(list(RESULT_COLUMNS), rows, footer)


def _several(names: Names) -> list[str]:
    return [] if names is None else [names] if isinstance(names, str) else list(names)


def _objective(atlas: "Atlas", name: str) -> str:
    if name.startswith("unmapped:"):
        return name
    return atlas.resolve(name, "objectives")[1]


def _uses(atlas: "Atlas", objective: str) -> Test:
    return lambda model: objective in _objectives(atlas, model)


def _holds(atlas: "Atlas", field: str, wanted: str) -> Test:
    def holds(record: dict[str, Any]) -> bool:
        value = atlas.value(record, field)
        return wanted in value if isinstance(value, list) else bool(value == wanted)

    return holds


def _seen_as(atlas: "Atlas", view: str, wanted: str) -> Test:
    return lambda model: word_of(atlas.value(model, VIEWS[view].field), view) == wanted


def _objectives(atlas: "Atlas", model: dict[str, Any]) -> list[str]:
    return [use["id"] for use in atlas.value(model, "objectives") or []]


def _dated(atlas: "Atlas", which: str, bound: str) -> Test:
    parts = bound.split("-")
    if not (
        len(parts) <= 3 and all(part.isascii() and part.isdigit() for part in parts) and len(parts[0]) == 4
    ):
        raise UserError(f"{which} {bound!r}: write a year, YYYY-MM or YYYY-MM-DD")
    bound = "-".join(part.zfill(2) for part in parts)

    def right(model: dict[str, Any]) -> bool:
        day = atlas.public(model["paper"])
        if day is None:
            return False
        length = min(len(day), len(bound))  # a paper of which only the year is known is compared by it
        return day[:length] > bound[:length] if which == "after" else day[:length] < bound[:length]

    return right


def _texts(atlas: "Atlas", model: dict[str, Any]) -> Iterable[str | None]:
    yield from (model["id"], model["name"], model.get("note"), *model["aliases"])
    for use in atlas.value(model, "objectives") or []:
        yield from (use["id"], use.get("acronym"))
    for checkpoint in atlas.checkpoints_of.get(model["id"], []):
        yield from (checkpoint["id"], checkpoint["name"])
    paper = atlas.names.ids["papers"].get(model["paper"])
    if paper is not None:
        yield from (atlas.value(paper, "title"), atlas.value(paper, "venue"), paper["id"])
        yield from atlas.value(paper, "authors") or []


def _rows(atlas: "Atlas", model: dict[str, Any]) -> list[dict[str, Any]]:
    paper = atlas.names.ids["papers"].get(model["paper"], {})
    day = atlas.public(model["paper"])
    fields = ("modalities", "domain", "vision_fe", "text_fe", "fusion", "codec", "objectives")
    facts = {field: model[field] for field in fields if field in model}
    if "venue" in paper:
        facts["venue"] = paper["venue"]
    shared: dict[str, Any] = {field: fact["value"] for field, fact in facts.items() if atlas.shows(fact)}
    if "objectives" in shared:
        shared["objectives"] = _objectives(atlas, model)
    shared |= {"year": None if day is None else int(day[:4]), "model": model["id"]}
    sized = [
        checkpoint
        for checkpoint in atlas.checkpoints_of.get(model["id"], [])
        if any(atlas.value(checkpoint, field) is not None for field in SIZES)
    ]
    rows = []
    for record in sized or [model]:
        kind = "checkpoint" if sized else "model"
        row = {**dict.fromkeys(MODEL_COLUMNS), **shared} | {
            "id": record["id"],
            "name": record["name"],
            "kind": kind,
        }
        row["_facts"] = dict(facts)
        for field in (*SIZES, "batch", "gpu_hours"):
            if field in record:
                row["_facts"][field] = record[field]
                row[field] = atlas.value(record, field)
        if row["params"] is not None:
            row["convention"] = record["params"].get("convention")
        rows.append(row)
    return rows


def _note_params(rows: list[dict[str, Any]], strict: bool, footer: list[str]) -> None:
    ways = sorted({row["convention"] or "not said" for row in rows if row["params"] is not None})
    if len(ways) > 1:
        found = ", ".join(ways)
        if strict:
            raise UserError(
                f"parameters are counted in different ways here ({found}): filter, or do not be strict"
            )
        footer.append(f"parameters are counted in different ways: {found} (column convention)")


def _note_listed(atlas: "Atlas", rows: list[dict[str, Any]], footer: list[str]) -> None:
    """Say of how many models the objectives only interpret acronyms that a survey or a file lists."""

    def listed(fact: dict[str, Any]) -> bool:
        sources = (atlas.names.ids["sources"].get(ref.split("#")[0], {}) for ref in fact["source"])
        kinds = [source.get("kind", "") for source in sources]
        return fact.get("note") == AS_LISTED or all(kind.startswith("survey-") for kind in kinds)

    models = {row["model"] for row in rows if row["objectives"] and listed(row["_facts"]["objectives"])}
    if models:
        whose = "1 model" if len(models) == 1 else f"{len(models)} models"
        footer.append(f"objectives of {whose} are from acronyms in a list, not read in the paper")
