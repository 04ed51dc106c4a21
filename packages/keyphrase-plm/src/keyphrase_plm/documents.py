"""What every part works on: a document with its keyphrases, and what a model says of it (ours)."""

from typing import NamedTuple


class Document(NamedTuple):
    """A text and, where they are known, its keyphrases.

    Attributes:
        id: unique in its file.
        title: may be empty.
        body: may be empty.
        present: phrases that occur in the text, in the order of the source.
        absent: phrases that do not.
        where: file:line it was read from, for messages.
    """

    id: str
    title: str
    body: str
    present: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    where: str = ""


class Prediction(NamedTuple):
    """What a model says of a document.

    Attributes:
        id: of the document.
        phrases: best first, none of them empty, none twice in the same spelling.
        scores: one a phrase, the mean log-probability of its tokens; empty where the model has none.
        spans: for taggers, (first word, last word + 1) of each phrase's first place in the text; else empty.
        cut: input pieces (for taggers: words) beyond the longest input.
    """

    id: str
    phrases: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    spans: tuple[tuple[int, int], ...] = ()
    cut: int = 0
