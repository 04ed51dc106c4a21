"""Papers as BibTeX (ours)."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["entry", "escaped", "keys", "to_bibtex"]

SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}
MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()
WHERE = {"article": "journal", "inproceedings": "booktitle", "misc": "howpublished"}
"""the field that has the venue"""


def escaped(text: str) -> str:
    """A text in which no character means something to TeX; braces and accents are kept as letters."""
    return "".join(SPECIAL.get(letter, letter) for letter in " ".join(text.split()))


def keys(papers: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """A unique key for each paper's id: the id with letters first, `uniter-2020` for `2020-uniter`."""
    found: dict[str, str] = {}
    used: set[str] = set()
    for paper in sorted(papers, key=lambda paper: paper["id"]):
        match = re.fullmatch(r"(\d{4})-(.+)", paper["id"])
        key = f"{match[2]}-{match[1]}" if match else paper["id"]
        if not key[0].isalpha():
            key = f"p-{key}"
        while key.casefold() in used:
            key += "a"
        used.add(key.casefold())
        found[paper["id"]] = key
    return found


def entry(paper: Mapping[str, Any], key: str, *, unverified: bool = False) -> str:
    """One paper; facts from memory are left out unless asked for."""

    def value(field: str) -> Any:
        fact = paper.get(field) or {}
        hidden = fact.get("confidence") == "unverified" and not unverified
        return None if hidden else fact.get("value")

    kind = paper["bibtex_type"]
    fields: list[tuple[str, str]] = []
    for name in ("authors", "title"):
        found = value(name)
        if found and name == "authors":
            fields.append(("author", " and ".join(_author(author) for author in found)))
        elif found:
            fields.append((name, f"{{{escaped(found)}}}"))  # a second pair of braces keeps capitals
    if value("venue"):
        fields.append((WHERE[kind], escaped(value("venue"))))
    if value("year") is not None:
        fields.append(("year", str(value("year"))))
    if value("arxiv"):
        fields += [("eprint", value("arxiv")), ("archiveprefix", "arXiv")]
    if value("doi"):
        fields.append(("doi", value("doi")))
    if value("url"):
        fields.append(("url", value("url")))
    lines = [f"  {name} = {{{text}}}" for name, text in fields]
    if value("month"):
        lines.append(f"  month = {MONTHS[value('month') - 1]}")
    body = ",\n".join(lines)
    return f"@{kind}{{{key},\n{body}\n}}\n"


def _author(name: str) -> str:
    text = escaped(name)
    # "and" separates authors, and a comma the family name: a name with either is one unit
    return f"{{{text}}}" if re.search(r"\band\b|,", text) else text


def to_bibtex(papers: Iterable[Mapping[str, Any]], *, unverified: bool = False) -> str:
    """Papers as a BibTeX file, sorted by id."""
    papers = sorted(papers, key=lambda paper: paper["id"])
    names = keys(papers)
    return "\n".join(entry(paper, names[paper["id"]], unverified=unverified) for paper in papers)
