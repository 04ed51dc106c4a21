"""What may have gone stale: unchecked links, old facts, preprints that may have been published (ours)."""

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

from nonet.errors import UserError
from vlp_atlas.checking import Places
from vlp_atlas.defects import Defect
from vlp_atlas.linting.view import Finding, Record, View, value
from vlp_atlas.vocabulary import KINDS

__all__ = ["stale"]

PREPRINT_DAYS = 730  # two years: by then most are published, or will not be


def stale(
    catalogue: Mapping[str, Any], today: str, days: int = 365, places: Places | None = None
) -> list[Defect]:
    """What should be looked at again, by rule `stale`.

    Args:
        catalogue: built.
        today: YYYY-MM-DD.
        days: how old a look at a link or at a source may be.
        places: where the records are written.

    Returns:
        Links that nobody checked, or not for `days`; sources that were read longer ago, with the number of
        facts that rest on them alone; preprints that were public for two years.

    Raises:
        UserError: `today` is no day, or `days` is negative.
    """
    now = _day(today)
    if now is None or len(today) != len("YYYY-MM-DD"):
        raise UserError(f"{today!r} is no day: write YYYY-MM-DD")
    if days < 0:
        raise UserError(f"{days} days: a negative age")
    view = View({kind: catalogue[kind] for kind in KINDS})
    places = Places() if places is None else places
    found = [*_links(view, now, days), *_sources(view, now, days), *_preprints(view, now)]
    return sorted(
        Defect.at(places.of(one.kind, one.id, *one.path), "stale", f"{one.kind} {one.id}: {one.message}")
        for one in found
    )


def _day(text: str | None) -> date | None:
    """A day, or the first of a month or of a year; None if it is none."""
    try:
        parts = [int(part) for part in (text or "").split("-")]
        return date(*[*parts, 1, 1][:3]) if len(parts) <= 3 else None
    except ValueError:
        return None


def _links(view: View, now: date, days: int) -> Iterator[Finding]:
    holders: list[tuple[str, Record, tuple[str | int, ...], list[Record]]] = []
    for paper in view["papers"]:
        holders.append(("papers", paper, ("code", "value"), value(paper, "code") or []))
    for dataset in view["datasets"]:
        holders.append(("datasets", dataset, ("links",), dataset["links"]))
    for kind, record, path, links in holders:
        for number, link in enumerate(links):
            checked = _day(link.get("checked"))
            if checked is None:
                message = f"{link['url']} was never checked"
            elif (now - checked).days > days:
                message = f"{link['url']} was last checked {link['checked']}"
            else:
                continue
            yield Finding(kind, record["id"], (*path, number), message)


def _sources(view: View, now: date, days: int) -> Iterator[Finding]:
    resting: dict[str, int] = {}
    facts = (
        fact for _, _, _, fact in view.facts(*(kind for kind in KINDS if kind not in ("sources", "aliases")))
    )
    for fact in (*facts, *view["results"]):
        names = {ref.split("#")[0] for ref in fact["source"]}
        if len(names) == 1:
            name = names.pop()
            resting[name] = resting.get(name, 0) + 1
    for source in view["sources"]:
        read = _day(source["retrieved"])
        if read is not None and (now - read).days > days and source["kind"] != "personal-memory":
            count = resting.get(source["id"], 0)
            message = f"was read {source['retrieved']}, and {count} facts rest on it alone"
            yield Finding("sources", source["id"], ("retrieved",), message)


def _preprints(view: View, now: date) -> Iterator[Finding]:
    for paper in view["papers"]:
        if value(paper, "venue_status") != "preprint":
            continue
        year = value(paper, "year")
        first = value(paper, "first_public") or (str(year) if year is not None else None)
        public = _day(first)
        if public is not None and (now - public).days > PREPRINT_DAYS:
            message = f"a preprint since {first}: was it published?"
            yield Finding("papers", paper["id"], ("venue_status",), message)
