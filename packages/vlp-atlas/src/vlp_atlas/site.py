"""The page of the whole catalogue: one HTML file that needs nothing else (ours).

The catalogue is inlined as JSON in which no `<` is left, so nothing in it can end the script; the page's own
rules (Content-Security-Policy) forbid it to load anything.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlp_atlas import search_index
from vlp_atlas.freshness import confidences
from vlp_atlas.showing import FIRST

if TYPE_CHECKING:
    from vlp_atlas import Atlas

FILES = Path(__file__).parent / "site_files"
SCRIPTS = ("search.js", "facts.js", "parts.js", "lists.js", "records.js", "home.js", "main.js")
"""in the order in which they use each other"""


def page(atlas: "Atlas") -> str:
    """The page as text; the same catalogue gives the same bytes."""
    text = (FILES / "template.html").read_text(encoding="utf-8")
    style = (FILES / "site.css").read_text(encoding="utf-8")
    script = "\n".join((FILES / name).read_text(encoding="utf-8") for name in SCRIPTS)
    parts = {"<!--STYLE-->": style, "<!--SCRIPT-->": script, "<!--DATA-->": inlined(data(atlas))}
    for marker, part in parts.items():  # the data come last: no text of theirs can be a marker
        text = text.replace(marker, part, 1)
    return text


def data(atlas: "Atlas") -> dict[str, Any]:
    """What the page holds: versions, records, and the search index."""
    meta = {
        "data_version": atlas.data_version,
        "schema_version": atlas.schema_version,
        "hash": atlas.hash,
        "as_of": atlas.as_of,
        "unverified": atlas.unverified,
        "confidences": confidences(atlas),
    }
    kinds = {kind: atlas.all(kind) for kind in (*search_index.KINDS, "aliases")}
    return {
        "meta": meta,
        "kinds": kinds,
        "order": list(search_index.KINDS),
        "fields": list(FIRST),
        "index": search_index.packed(search_index.build(atlas)),
    }


def inlined(value: Any) -> str:
    """JSON that may stand inside a script element."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
