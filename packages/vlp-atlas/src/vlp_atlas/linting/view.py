"""The catalogue as the rules see it (ours)."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from vlp_atlas.expanding import FACTS, senses_of

__all__ = ["Finding", "Record", "Rule", "View", "value"]

Record = Mapping[str, Any]


class Finding(NamedTuple):
    """What a rule found: in which record, in which field, and what."""

    kind: str
    id: str
    path: tuple[str | int, ...]
    message: str


class View:
    """Records by kind, and by id.

    Args:
        catalogue: a list of records for each kind.
    """

    def __init__(self, catalogue: Mapping[str, Sequence[Record]]) -> None:
        self.catalogue = catalogue

    def __getitem__(self, kind: str) -> Sequence[Record]:
        return self.catalogue[kind]

    def get(self, kind: str, id_: str | None) -> Record:
        """A record; an empty one if there is none."""
        return self._by_id[kind].get(id_ or "", {})

    @cached_property
    def _by_id(self) -> dict[str, dict[str, Record]]:
        return {
            kind: {record["id"]: record for record in records}
            for kind, records in self.catalogue.items()
            if kind != "aliases"
        }

    @cached_property
    def senses(self) -> dict[str, set[str]]:
        """What the acronyms of objectives mean, by their case-folded form."""
        return senses_of(self["objectives"], self["aliases"])

    def facts(self, *kinds: str) -> Iterator[tuple[str, Record, str, Record]]:
        """All facts that have a value: (kind, record, field, fact)."""
        for kind in kinds:
            for record in self[kind]:
                for field in sorted(FACTS[kind]):
                    fact = record.get(field)
                    if fact and fact.get("value") is not None:
                        yield kind, record, field, fact

    def kinds_of(self, refs: Iterable[str]) -> set[str]:
        """The kinds of sources that refs name."""
        return {self.get("sources", ref.split("#")[0]).get("kind", "") for ref in refs}

    def model_of(self, result: Record) -> Record:
        """The model whose checkpoint a result is of."""
        return self.get("models", self.get("checkpoints", result["checkpoint"]).get("model"))


Rule = Callable[[View], Iterable[Finding]]


def value(record: Record, field: str) -> Any:
    """The value of a record's fact; None if there is none."""
    return (record.get(field) or {}).get("value")
