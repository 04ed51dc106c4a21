"""The parts of every record of the catalogue: sources, facts with their sources, ids and days (ours)."""

from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from vlp_atlas.vocabulary import Confidence, Convention, Kind, Missing

Slug = Annotated[str, Field(pattern=r"^[a-z0-9]+(?:[.-][a-z0-9]+)*$")]
"""an id: lower-case letters and digits, joined by single hyphens or points"""
Day = Annotated[str, Field(pattern=r"^\d{4}(?:-(?:0[1-9]|1[0-2])(?:-(?:0[1-9]|[12]\d|3[01]))?)?$")]
"""a day, YYYY-MM-DD, a month, YYYY-MM, or a year, YYYY: as exactly as it is known"""
ReadDay = Annotated[str, Field(pattern=r"^\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])$")]
"""the day on which something was read, YYYY-MM-DD"""
SourceRef = Annotated[str, Field(pattern=r"^[a-z0-9]+(?:[.-][a-z0-9]+)*(?:#\S.*)?$")]
"""`ID` or `ID#LOCATOR`: an entry of the sources, and the place in it (`2020-uniter#Table 3 row UNITER-L`)"""


class Strict(BaseModel):
    """A record without unknown fields."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Source(Strict):
    """Something that was read: a paper, a file of a repository at a commit, a page.

    Attributes:
        id: what facts refer to.
        kind: what it is.
        title: of the thing.
        paper: id of its paper, where it is one.
        url, repo, commit, path: where it is; repo is owner/name on GitHub.
        retrieved: day it was read.
        note: anything a reader must know, such as that only its abstract was seen.
    """

    id: Slug
    kind: Kind
    title: str
    paper: Slug | None = None
    url: str | None = None
    repo: str | None = None
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{7,40}$")] | None = None
    path: str | None = None
    retrieved: ReadDay
    note: str | None = None
    local: Literal[True] | None = None

    @model_validator(mode="after")
    def _is_somewhere(self) -> "Source":
        if not (self.paper or self.url or self.repo or self.kind == "personal-memory"):
            raise ValueError("a source needs a paper, a url or a repo")
        return self


T = TypeVar("T")


class Alternative(Strict, Generic[T]):
    """What another source says of the same thing."""

    value: T
    source: list[SourceRef]
    confidence: Confidence
    note: str | None = None
    local: Literal[True] | None = None


class Fact(Strict, Generic[T]):
    """A value with its source.

    Attributes:
        value: None where it is missing.
        source: what says so; never empty for a value.
        confidence: verified (the primary source was read), secondary (read elsewhere), digitised (from a
            figure, with `error`), unverified (from memory: hidden unless asked for), disputed (sources that
            are not from memory disagree: see `alternatives`).
        missing: why there is no value.
        note: anything a reader must know.
        as_of: day on which it held.
        error: of a digitised value, such as "5 %".
        convention: what a parameter count counts.
        alternatives: what other sources say.
        local: it comes from the user's own file.
    """

    value: T | None = None
    source: list[SourceRef] = []
    confidence: Confidence
    missing: Missing | None = None
    note: str | None = None
    as_of: Day | None = None
    error: str | None = None
    convention: Convention | None = None
    alternatives: list[Alternative[T]] = []
    local: Literal[True] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> "Fact[T]":
        if (self.value is None) == (self.missing is None):
            raise ValueError("a fact has either a value or says why it is missing")
        if self.value is not None and not self.source:
            raise ValueError("a value needs a source")
        if self.confidence == "digitised" and not self.error:
            raise ValueError("a digitised value needs its error")
        return self


class Record(Strict):
    """What every record has: an id, and the source of the facts that name none.

    Attributes:
        id: never used again for something else.
        source, confidence: of this record's bare values.
        as_of: of this record's bare values.
        replaced_by: this record is a tombstone.
        note: anything a reader must know.
        local: it comes from the user's own file.
    """

    id: Slug
    source: list[SourceRef]
    confidence: Confidence
    as_of: Day | None = None
    replaced_by: Slug | None = None
    note: str | None = None
    local: Literal[True] | None = None
