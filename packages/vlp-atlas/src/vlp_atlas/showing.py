"""One record as text: every fact with its confidence, and on demand with its sources (ours)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vlp_atlas.tables import MARKS, bold, faint, text

if TYPE_CHECKING:
    from vlp_atlas import Atlas

QUIET = {
    "id", "source", "confidence", "name", "title", "alternatives", "local", "error", "missing",
}  # fmt: skip
"""keys of a record that are shown elsewhere, or are no fact"""
FIRST = (
    "what", "definition", "paper", "model", "authors", "year", "month", "venue", "venue_status",
    "first_public", "published", "checkpoint", "task", "dataset", "split", "metric", "setting",
    "protocol", "value", "unit", "group", "takes", "gives", "formula", "latex", "inputs",
    "masking", "reduction", "hyperparameters", "impl", "primary_metric", "datasets",
    "modalities", "domain", "vision_fe", "granularity", "text_fe", "fusion", "interaction", "codec",
    "objectives", "objectives_listed", "params", "pretrain_pairs", "pretrain_images", "pretrain_data", "kind",
    "n_images", "n_texts", "n_pairs", "n_clips", "hours", "splits",
)  # fmt: skip
"""fields in the order in which people ask for them; the others follow by name"""
WIDTH = 18  # columns for the names of fields


def is_fact(value: Any) -> bool:
    """Whether a field's value is a fact with its own confidence."""
    return isinstance(value, Mapping) and "confidence" in value and ("value" in value or "missing" in value)


def where(atlas: "Atlas", reference: str) -> str:
    """A reference for people: title, place in it, kind, address, day, and how much of it was read."""
    name, _, locator = reference.partition("#")
    source: Mapping[str, Any] = atlas.names.ids["sources"].get(name, {})
    parts = [source.get("title") or name]
    if locator:
        parts.append(locator)
    parts.append(source.get("kind", "unknown source"))
    address = source.get("url") or ""
    if not address and source.get("repo"):
        pieces = ["https://github.com", source["repo"]]
        if source.get("commit"):
            pieces += ["blob" if source.get("path") else "tree", source["commit"]]
        if source.get("commit") and source.get("path"):
            pieces.append(source["path"])
        address = "/".join(pieces)
    if not address and source.get("paper"):
        address = paper_address(atlas, source["paper"])
    if address:
        parts.append(address)
    if source.get("retrieved"):
        parts.append(f"read {source['retrieved']}")
    told = ", ".join(parts)
    return f"{told} ({source['note']})" if source.get("note") else told


def paper_address(atlas: "Atlas", paper: str) -> str:
    """Where a paper can be had: arXiv, DOI or its own address; empty where none is known."""
    record: Mapping[str, Any] = atlas.names.ids["papers"].get(paper, {})
    for field, prefix in (("arxiv", "https://arxiv.org/abs/"), ("doi", "https://doi.org/"), ("url", "")):
        value = (record.get(field) or {}).get("value")
        if value:
            return f"{prefix}{value}"
    return ""


def heading(kind: str, record: Mapping[str, Any]) -> str:
    """The record's name, id and kind."""
    name = record.get("name") or text((record.get("title") or {}).get("value")
                                      if is_fact(record.get("title")) else record.get("title"))  # fmt: skip
    return f"{name or record['id']}  [{kind.removesuffix('s')} {record['id']}]"


def in_order(record: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The fields and their values, what people ask for first."""
    place = {field: number for number, field in enumerate(FIRST)}
    return sorted(record.items(), key=lambda item: (place.get(item[0], len(FIRST)), item[0]))


def lines(
    atlas: "Atlas", kind: str, record: Mapping[str, Any], *, sources: bool = False, colour: bool = False
) -> list[str]:
    """The record as lines; a last one counts the facts that stay hidden."""
    told = [bold(heading(kind, record), colour=colour)]
    hidden = 0
    for field, value in in_order(record):
        if field in QUIET or value in (None, [], {}, ""):
            continue
        if is_fact(value):
            if value["confidence"] == "unverified" and not atlas.unverified:
                hidden += 1
                continue
            told += _fact(atlas, field, value, sources=sources, colour=colour)
        else:
            told += _plain(field, value)
    if sources and record.get("source"):
        told.append(f"  {'record':<{WIDTH}}{record.get('confidence', '')}")
        told += [faint(f"  {'':<{WIDTH}}  {where(atlas, each)}", colour=colour) for each in record["source"]]
    if hidden:
        word = "fact is" if hidden == 1 else "facts are"
        told.append(
            faint(f"  {hidden} {word} from memory and hidden; --unverified shows them", colour=colour)
        )
    return told


def _fact(
    atlas: "Atlas", field: str, fact: Mapping[str, Any], *, sources: bool, colour: bool
) -> Iterator[str]:
    name = field.replace("_", " ")
    value = exact(fact.get("value")) if "value" in fact and fact["value"] is not None else ""
    value = value or f"({fact.get('missing', 'unknown')})"
    extra = [fact["convention"]] if fact.get("convention") else []
    extra += [f"± {fact['error']}"] if fact.get("error") else []
    extra += ["local"] if fact.get("local") else []
    told = f"{value}{' (' + ', '.join(extra) + ')' if extra else ''}"
    mark = MARKS.get(fact["confidence"], "")
    confidence = f"  [{fact['confidence']}]" if sources else mark
    yield f"  {name:<{WIDTH}}{told}{confidence}"
    if sources:
        for reference in fact.get("source", []):
            yield faint(f"  {'':<{WIDTH}}  {where(atlas, reference)}", colour=colour)
        if fact.get("note"):
            yield faint(f"  {'':<{WIDTH}}  note: {text(fact['note'])}", colour=colour)
    for other in fact.get("alternatives", []):
        if other["confidence"] == "unverified" and not atlas.unverified:
            continue
        said = ", ".join(other["source"])
        yield f"  {'':<{WIDTH}}or {exact(other['value'])}  [{other['confidence']}: {said}]"


def _plain(field: str, value: Any) -> Iterator[str]:
    name = field.replace("_", " ")
    if isinstance(value, Mapping):
        for number, (key, item) in enumerate(value.items()):
            yield f"  {name if number == 0 else '':<{WIDTH}}{key}: {exact(item)}"
    elif isinstance(value, list | tuple) and any(isinstance(item, str) and " " in item for item in value):
        for number, item in enumerate(value):
            yield f"  {name if number == 0 else '':<{WIDTH}}- {exact(item)}"
    else:
        yield f"  {name:<{WIDTH}}{exact(value)}"


def exact(value: Any) -> str:
    """A value in full; large whole numbers with commas."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10_000:
        return f"{value:,}"
    return text(value)


def results_of(atlas: "Atlas", checkpoints: Sequence[str]) -> list[Mapping[str, Any]]:
    """The results of some checkpoints, those from memory only where they are asked for."""
    wanted = set(checkpoints)
    return [
        each
        for each in atlas.all("results")
        if each["checkpoint"] in wanted and (atlas.unverified or each["confidence"] != "unverified")
    ]
