"""Rules on papers: dates and venues, whose code it is, addresses (ours)."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from vlp_atlas.linting.view import Finding, Record, View, value
from vlp_atlas.names import folded

__all__ = ["addresses", "code_not_said", "dates", "foreign_code", "shared_code", "venue_as_listed"]

ORGANISATIONS = frozenset(
    """
    alibaba allenai amazon-science apple baaivision baidu bytedance deepmind facebookresearch google
    google-deepmind google-research google-research-datasets huawei-noah huggingface jd-ai kakaobrain linkedin
    megvii-research meta microsoft naver-ai nvidia nvlabs ofa-sys openai opengvlab paddlepaddle pytorch
    researchmm salesforce sense-gvt sensetime showlab snap-research tencent tencentarc thudm uclanlp x-plug
    yahoo
    """.split()
)
"""owners of repositories that publish the code of their own papers"""


def dates(view: View) -> Iterator[Finding]:
    """L6: published before it was public, later than it says, or a preprint that has been published."""
    for paper in view["papers"]:
        first, published = value(paper, "first_public"), value(paper, "published")
        arxiv, status = value(paper, "arxiv"), value(paper, "venue_status")
        public = first or (f"20{arxiv[:2]}-{arxiv[2:4]}" if arxiv else None)
        year = value(paper, "year")
        if published and public and published[:4] < public[:4]:
            message = f"published {published}, before it was first public ({public})"
            yield Finding("papers", paper["id"], ("published",), message)
        elif public and year is not None and year < int(public[:4]):
            yield Finding(
                "papers", paper["id"], ("year",), f"the year {year} is before it was public ({public})"
            )
        if first and arxiv and first[2:4] + first[5:7] < arxiv[:4]:
            message = f"first public {first}, before its number on arXiv was given out ({arxiv})"
            yield Finding("papers", paper["id"], ("first_public",), message)
        if status == "preprint" and published:
            message = f"a preprint, though it was published {published}"
            yield Finding("papers", paper["id"], ("venue_status",), message)


def venue_as_listed(view: View) -> Iterator[Finding]:
    """L6, strict: the survey's venue of a model is another year than its paper's, or still a preprint."""
    for model in view["models"]:
        listed = model.get("venue_listed")
        paper = view.get("papers", model["paper"])
        published = value(paper, "published")
        found = re.search(r"(?<!\d)(?:20)?(\d\d)$", listed or "")
        if not listed or not published:
            continue
        if listed.casefold().startswith("arxiv") and value(paper, "venue_status") != "preprint":
            message = f"listed as {listed}, though it was published {published} ({value(paper, 'venue')})"
            yield Finding("models", model["id"], ("venue_listed",), message)
        elif found and found[1] != published[2:4] and not listed.casefold().startswith("arxiv"):
            message = f"listed as {listed}, though it was published {published}"
            yield Finding("models", model["id"], ("venue_listed",), message)


def foreign_code(view: View) -> Iterator[Finding]:
    """L7: code of an owner who is no author and no known organisation, and nobody says whose it is."""
    for paper, number, url, owner in _code(view, official=(None,)):
        if owner.casefold() not in ORGANISATIONS and not _author(owner, value(paper, "authors") or []):
            message = (
                f"code: {owner} is neither an author nor a known organisation: say whether {url} is official"
            )
            yield Finding("papers", paper["id"], ("code", "value", number), message)


def code_not_said(view: View) -> Iterator[Finding]:
    """L7, strict: code of which nobody says whether it is official."""
    for paper, number, url, _ in _code(view, official=(None,)):
        yield Finding("papers", paper["id"], ("code", "value", number), f"code: is {url} official?")


def _code(view: View, official: Iterable[bool | None]) -> Iterator[tuple[Record, int, str, str]]:
    for paper in view["papers"]:
        for number, link in enumerate(value(paper, "code") or []):
            parts = urlsplit(link["url"])
            owner = parts.path.strip("/").split("/")[0]
            if link.get("official") in official and parts.netloc.endswith("github.com") and owner:
                yield paper, number, link["url"], owner


def _author(owner: str, authors: list[str]) -> bool:
    handle = folded(owner)
    for author in authors:
        names = [folded(name) for name in re.split(r"[\s.-]+", author) if len(folded(name)) > 1]
        whole = "".join(names)
        family = names[-1] if names else ""
        if (len(family) > 2 and family in handle) or (whole and (whole in handle or handle in whole)):
            return True
        if len(names) > 1 and len(names[0]) > 2 and names[0] in handle:
            return True
    return False


def addresses(view: View) -> Iterator[Finding]:
    """L16: an address that is none, is dead, or stands twice; one arXiv number or DOI of two papers."""
    seen: dict[tuple[str, str], str] = {}
    for paper in view["papers"]:
        for field in ("arxiv", "doi", "url"):
            found = value(paper, field)
            if found is None:
                continue
            first = seen.setdefault((field, str(found).casefold().rstrip("/")), paper["id"])
            if first != paper["id"]:
                yield Finding("papers", paper["id"], (field,), f"{field} {found} is that of {first} too")
    for kind, record, path, link in _links(view):
        parts = urlsplit(link["url"])
        if parts.scheme not in ("http", "https") or "." not in parts.netloc or " " in link["url"]:
            yield Finding(kind, record["id"], path, f"{link['url']!r} is no address")
        elif (link.get("http") or 0) >= 400:
            yield Finding(kind, record["id"], path, f"{link['url']} is dead (HTTP {link['http']})")
    for source in view["sources"]:
        if source.get("url") and urlsplit(source["url"]).scheme not in ("http", "https"):
            yield Finding("sources", source["id"], ("url",), f"{source['url']!r} is no address")


def _links(view: View) -> Iterator[tuple[str, Record, tuple[str | int, ...], Record]]:
    for paper in view["papers"]:
        if value(paper, "url"):
            yield "papers", paper, ("url",), {"url": value(paper, "url")}
        for number, link in enumerate(value(paper, "code") or []):
            yield "papers", paper, ("code", "value", number), link
    for dataset in view["datasets"]:
        for number, link in enumerate(dataset.get("links", [])):
            yield "datasets", dataset, ("links", number), link


def shared_code(view: View) -> Iterator[Finding]:
    """L16, strict: two papers link the same code."""
    users: dict[str, list[tuple[Record, int]]] = defaultdict(list)
    for paper in view["papers"]:
        for number, link in enumerate(value(paper, "code") or []):
            users[link["url"].casefold().rstrip("/")].append((paper, number))
    for url, found in users.items():
        for paper, number in found[1:]:
            message = f"code: {url} stands at {found[0][0]['id']} too"
            yield Finding("papers", paper["id"], ("code", "value", number), message)
