"""The catalogue as one object: records by id, names, and queries (ours).

It reads the built JSON file with the standard library alone; YAML and pydantic are loaded only if there are
files of the user's own to merge.
"""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nonet.errors import UserError
from vlp_atlas import comparing, querying
from vlp_atlas.names import SINGULAR, Names, plural
from vlp_atlas.tabular import Comparison, Table
from vlp_atlas.versions import migrated
from vlp_atlas.vocabulary import KINDS

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Atlas"]

BUILT = Path(__file__).parent / "catalogue" / "atlas.json"


class Atlas:
    """A catalogue.

    Args:
        catalogue: as `vlp_atlas.building.build` returns it, or as it stands in atlas.json.
        unverified: whether facts from memory are shown.
        as_of: a day, YYYY-MM-DD (or YYYY-MM, YYYY): only what was public by then.
        warnings: about the files that were merged into it.

    Attributes:
        schema_version, data_version, hash: of the catalogue.
        as_of: the day that was asked for, or the last one on which a source was read.
        unverified, warnings: as given.
    """

    def __init__(
        self,
        catalogue: dict[str, Any],
        *,
        unverified: bool = False,
        as_of: str | None = None,
        warnings: Sequence[str] = (),
    ) -> None:
        if as_of is not None:
            from vlp_atlas.differences import as_of_day

            catalogue = as_of_day(catalogue, as_of)
        self.catalogue = catalogue
        self.schema_version: str = catalogue["schema_version"]
        self.data_version: str = catalogue["data_version"]
        self.hash: str = catalogue["hash"]
        self.as_of: str = as_of or catalogue["as_of"]
        self.unverified = unverified
        self.warnings = list(warnings)

    @classmethod
    def load(
        cls,
        *,
        extra: Sequence[Path] = (),
        unverified: bool = False,
        prefer_local: bool = False,
        as_of: str | None = None,
        path: Path | None = None,
    ) -> "Self":
        """The catalogue of this package, with the user's own files merged into it.

        Args:
            extra: YAML files with records of the user's own; what they add is tagged `local`.
            unverified: whether facts from memory are shown.
            prefer_local: whether the user's own value stands where it contradicts the catalogue's; both are
                kept either way.
            as_of: only what was public by that day.
            path: another atlas.json.

        Raises:
            UserError: a file is missing, wrong, or written for a later version of the schema.
        """
        path = BUILT if path is None else path
        try:
            catalogue = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise UserError(f"{path}: no such file; write it with python -m vlp_atlas.building") from None
        except ValueError as error:
            raise UserError(f"{path}: not a built catalogue ({error})") from None
        catalogue = migrated(catalogue, str(path))
        warnings: list[str] = []
        if extra:
            from vlp_atlas.overlay import merged

            catalogue, warnings = merged(catalogue, extra, prefer_local=prefer_local)
        return cls(catalogue, unverified=unverified, as_of=as_of, warnings=warnings)

    def all(self, kind: str) -> list[dict[str, Any]]:
        """All records of a kind, sorted by id, unverified facts included."""
        if kind not in KINDS:
            kind = plural(kind)
        return list(self.catalogue[kind])

    def get(self, kind: str, id: str) -> dict[str, Any]:
        """The record of that id.

        Raises:
            UserError: there is none.
        """
        kind = plural(kind)
        found = self.names.ids[kind].get(id)
        if found is None:
            near = ", ".join(name for _, name in self.names.nearest(id, (kind,)))
            raise UserError(f"no {SINGULAR[kind]} {id!r}" + (f"; the nearest: {near}" if near else ""))
        return found

    def value(self, record: dict[str, Any], field: str) -> Any:
        """The value of a record's field: of a fact that is missing or hidden, None."""
        found = record.get(field)
        if isinstance(found, dict) and "confidence" in found:
            return found["value"] if self.shows(found) else None
        return found

    def shows(self, fact: dict[str, Any]) -> bool:
        """Whether a fact, an alternative or a result is shown; what comes from memory only if asked for."""
        return self.unverified or fact["confidence"] != "unverified"

    @cached_property
    def names(self) -> Names:
        """All names, for `resolve`."""
        return Names(self.catalogue)

    def resolve(self, name: str, *kinds: str) -> tuple[str, str]:
        """The kind and the id that a name means; see `vlp_atlas.names.Names.resolve`."""
        return self.names.resolve(name, *kinds)

    @cached_property
    def checkpoints_of(self) -> dict[str, list[dict[str, Any]]]:
        """The checkpoints of each model, by the model's id."""
        found: dict[str, list[dict[str, Any]]] = {}
        for checkpoint in self.catalogue["checkpoints"]:
            found.setdefault(checkpoint["model"], []).append(checkpoint)
        return found

    def users_of(self, objective: str) -> list[dict[str, Any]]:
        """The models that are pre-trained with an objective, given by its id."""
        return [
            model
            for model in self.catalogue["models"]
            if any(use["id"] == objective for use in self.value(model, "objectives") or [])
        ]

    def public(self, paper_id: str) -> str | None:
        """When a paper became public: a day or a year, as exactly as it is known."""
        paper = self.names.ids["papers"].get(paper_id)
        if paper is None:
            return None
        first = self.value(paper, "first_public")
        year = self.value(paper, "year")
        return first or (None if year is None else str(year))

    def models(self, **filters: Any) -> Table:
        """Models and their sizes; see `vlp_atlas.querying.models`."""
        return querying.models(self, **filters)

    def results(self, **filters: Any) -> Table:
        """Reported numbers; see `vlp_atlas.querying.results`."""
        return querying.results(self, **filters)

    def compare(self, names: Sequence[str], tasks: Sequence[str] = ()) -> Comparison:
        """Models side by side; see `vlp_atlas.comparing.compare`."""
        return comparing.compare(self, names, tasks)
