"""How the survey at IJCAI 2022 sorts models, where architecture and visual features settle it (ours).

That survey (github.com/usydnlp/IJCAI_VLPMs) asks how the modalities meet (self-attention, co-attention, or a
common space, VSE) and of what grain the visual input is (ROI, patch, pixel or image). Both are read off
`fusion` and `vision_fe`. What these do not settle, such as a hybrid or frames of a video, stays empty, and so
does the grain of a whole image, which no visual feature of the catalogue means.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

__all__ = ["VIEWS", "Granularity", "Interaction", "View", "fact_of", "word_of"]

Interaction = Literal["self-attention", "co-attention", "vse"]
Granularity = Literal["roi", "patch", "pixel", "image"]


class View(NamedTuple):
    """A field that is derived from another: the other's name, and what its values mean here."""

    field: str
    means: Mapping[str, str]


VIEWS = {
    "interaction": View(
        "fusion",
        {"single-stream": "self-attention", "dual-stream": "co-attention", "dual-encoder": "vse"},
    ),
    "granularity": View("vision_fe", {"od-rf": "roi", "vit-pf": "patch", "cnn-gf": "pixel"}),
}


def fact_of(model: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """A model's view as a fact, with confidence and sources of what it is derived from; None if empty."""
    view = VIEWS[name]
    fact = model.get(view.field) or {}
    word = view.means.get(fact.get("value") or "")
    if word is None:
        return None
    kept = {key: fact[key] for key in ("source", "confidence", "local") if key in fact}
    return {"value": word, **kept, "note": f"derived from {view.field.replace('_', ' ')}: {fact['value']}"}


def word_of(value: str | None, name: str) -> str | None:
    """What a value of the other field means in a view; None if it settles nothing."""
    return VIEWS[name].means.get(value or "")
