"""How old and how sure the catalogue is: versions, counts, confidence (ours)."""

from collections import Counter
from typing import TYPE_CHECKING, Any

from vlp_atlas.showing import is_fact

if TYPE_CHECKING:
    from vlp_atlas import Atlas

KINDS = (
    "models", "checkpoints", "objectives", "datasets", "tasks", "metrics", "papers", "results", "sources",
    "aliases",
)  # fmt: skip
ORDER = ("verified", "secondary", "digitised", "disputed", "unverified")
"""confidence, the surest first"""


def versions() -> str:
    """One line on the shipped catalogue: data version, schema version, content hash."""
    from nonet.errors import UserError
    from vlp_atlas import Atlas

    try:
        atlas = Atlas.load()
    except UserError as error:
        return f"no catalogue: {error}"
    return f"data {atlas.data_version}, schema {atlas.schema_version}, sha256 {atlas.hash}"


def counts(atlas: "Atlas") -> dict[str, int]:
    """How many records of each kind there are."""
    return {kind: len(atlas.all(kind)) for kind in KINDS}


def confidences(atlas: "Atlas") -> dict[str, int]:
    """How many facts and results there are of each confidence."""
    found: Counter[str] = Counter()
    for kind in KINDS:
        for record in atlas.all(kind):
            if kind == "results":
                found[record["confidence"]] += 1
            found.update(value["confidence"] for value in record.values() if is_fact(value))
    return {name: found[name] for name in ORDER}


def newest_source(atlas: "Atlas") -> str:
    """The day on which a source was last read."""
    return max((source["retrieved"] for source in atlas.all("sources")), default="")


def describe(atlas: "Atlas") -> dict[str, dict[str, Any]]:
    """What `info` says."""
    return {
        "catalogue": {
            "data version": atlas.data_version,
            "schema version": atlas.schema_version,
            "as of": atlas.as_of,
            "sha256": atlas.hash,
            "sources last read": newest_source(atlas),
        },
        "records": dict(counts(atlas)),
        "facts and results": dict(confidences(atlas)),
    }
