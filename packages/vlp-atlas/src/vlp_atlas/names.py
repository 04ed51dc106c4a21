"""From what somebody writes to the one record that it means, or to all that it may mean (ours)."""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from nonet.errors import UserError

__all__ = ["NAMED", "SINGULAR", "Names", "distance", "folded", "plural"]

NAMED = ("models", "checkpoints", "objectives", "datasets", "tasks", "metrics", "papers")
"""kinds of records that people name"""
SINGULAR = {
    "models": "model", "checkpoints": "checkpoint", "objectives": "objective", "datasets": "dataset",
    "tasks": "task", "metrics": "metric", "papers": "paper", "sources": "source", "results": "result",
}  # fmt: skip


def folded(name: str) -> str:
    """A name without case, accents, spaces and punctuation; `+` stays, since RefCOCO+ is not RefCOCO."""
    letters = unicodedata.normalize("NFKD", name)
    return "".join(letter for letter in letters.casefold() if letter.isalnum() or letter == "+")


def plural(kind: str) -> str:
    """The name of a kind's list, of either form.

    Raises:
        UserError: there is no such kind.
    """
    for several, one in SINGULAR.items():
        if kind.casefold() in (several, one):
            return several
    raise UserError(f"no kind {kind!r}: one of {', '.join(SINGULAR)}")


def distance(one: str, other: str) -> int:
    """Edit distance with swaps of neighbours (optimal string alignment): `distance("itmc", "itcm")` is 1."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        two_before, before = before, row
        row = [i]
        for j, there in enumerate(other, 1):
            best = min(before[j] + 1, row[-1] + 1, before[j - 1] + (letter != there))
            if i > 1 and j > 1 and letter == other[j - 2] and there == one[i - 2]:
                best = min(best, two_before[j - 2] + 1)
            row.append(best)
    return row[-1]


class Sense(NamedTuple):
    """One thing that a name may mean; `kind` is `unmapped` for what is not in the catalogue."""

    kind: str
    id: str
    note: str | None = None

    def __str__(self) -> str:
        text = self.id if self.kind == "unmapped" else f"{SINGULAR[self.kind]}:{self.id}"
        return f"{text} ({self.note})" if self.note else text


class Names:
    """All names of a catalogue.

    Args:
        catalogue: lists of records by kind.
    """

    def __init__(self, catalogue: Mapping[str, list[dict[str, Any]]]) -> None:
        self.ids = {kind: {record["id"]: record for record in catalogue[kind]} for kind in SINGULAR}
        self._senses: dict[str, list[Sense]] = {}
        self._names: dict[tuple[str, str], list[str]] = {}
        for kind in NAMED:
            for record in catalogue[kind]:
                names = [record.get("name"), *record.get("aliases", [])]
                if kind == "papers":
                    names = [record["title"].get("value")]
                self._names[kind, record["id"]] = [name for name in names if name]
                for key in {folded(name) for name in (record["id"], *names) if name}:
                    self._senses.setdefault(key, []).append(Sense(kind, record["id"]))
        for alias in catalogue["aliases"]:
            senses = [_sense(sense) for sense in alias["senses"]]
            key = folded(alias["alias"])
            own = self._senses.get(key, [])
            if len(senses) > 1:
                covered = {sense[:2] for sense in senses}
                senses += [sense for sense in own if sense[:2] not in covered]
            else:
                kinds = {sense.kind for sense in senses}
                senses += [sense for sense in own if sense.kind not in kinds]
            self._senses[key] = senses

    def resolve(self, name: str, *kinds: str) -> tuple[str, str]:
        """The kind and the id of what a name means.

        Args:
            name: an id, a name, an alias, or `KIND:ID`; case, accents and punctuation do not matter.
            *kinds: which kinds of records are meant; all that people name by default.

        Raises:
            UserError: nothing of these kinds has that name (the three nearest are told), or several have
                (all are told; none is picked).
        """
        wanted = tuple(plural(kind) for kind in kinds) or NAMED
        written = name.strip()
        prefix, colon, rest = written.partition(":")
        if colon and prefix.casefold() in (*SINGULAR, *SINGULAR.values()):
            wanted, written = (plural(prefix),), rest.strip()
        exact = self._families([Sense(kind, written) for kind in wanted if written in self.ids[kind]])
        if len(exact) == 1 or (exact and colon):
            return self._now(exact[0])
        senses = exact or self._families(
            [
                sense
                for sense in self._senses.get(folded(written), [])
                if sense.kind in wanted or sense.kind == "unmapped"
            ]
        )
        if len(senses) == 1 and senses[0].kind != "unmapped":
            return self._now(senses[0])
        what = " or ".join(SINGULAR[kind] for kind in wanted) if len(wanted) < 3 else "record"
        if not senses or all(sense.kind == "unmapped" for sense in senses):
            known = (
                f"; it is known as {', '.join(map(str, senses))}, which is not in the catalogue"
                if senses
                else ""
            )
            near = ", ".join(self._shown(*found) for found in self.nearest(written, wanted))
            raise UserError(f"no {what} {written!r}{known}; the nearest: {near or 'none'}")
        raise UserError(f"{written!r} may mean {', '.join(map(str, senses))}: write one of them as KIND:ID")

    def nearest(self, name: str, kinds: Iterable[str] = NAMED, count: int = 3) -> list[tuple[str, str]]:
        """Kind and id of the records with the nearest names, by edit distance."""
        key, wanted = folded(name), set(kinds)
        found: dict[tuple[str, str], tuple[int, str]] = {}
        for known, senses in self._senses.items():
            for sense in senses:
                if sense.kind in wanted:
                    off = (distance(key, known), known)
                    found[sense[:2]] = min(found.get(sense[:2], off), off)
        ranked = sorted(found, key=lambda sense: (found[sense][0], sense[1], sense[0]))
        return ranked[:count]

    def _families(self, senses: Sequence[Sense]) -> list[Sense]:
        """Without checkpoints whose model has the same name: the model stands for them."""
        models = {sense.id for sense in senses if sense.kind == "models"}
        unique = dict.fromkeys(senses)
        return [
            sense
            for sense in unique
            if sense.kind != "checkpoints" or self.ids["checkpoints"][sense.id]["model"] not in models
        ]

    def _now(self, sense: Sense) -> tuple[str, str]:
        """The record that stands for one whose id was given up."""
        seen = {sense.id}
        id_ = sense.id
        while (after := self.ids[sense.kind][id_].get("replaced_by")) and after not in seen:
            seen.add(after)
            id_ = after
        return sense.kind, id_

    def _shown(self, kind: str, id_: str) -> str:
        names = [name for name in self._names.get((kind, id_), []) if name != id_][:3]
        return f"{id_} ({', '.join(names)})" if names else id_


def _sense(sense: Mapping[str, Any]) -> Sense:
    kind = sense["kind"]
    return Sense(kind if kind == "unmapped" else plural(kind), sense["id"], sense.get("note"))
