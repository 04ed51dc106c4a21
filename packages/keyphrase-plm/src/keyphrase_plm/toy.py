"""Made-up documents with keyphrases whose rules a tiny model can learn: tests and the demo use them (ours).

Every text is about two things, each an adjective and a noun. What follows "study" or "about" is a present
phrase; what follows "unlike" is none. The kind of the first thing ("lion" is an animal, "piano" an
instrument) stands nowhere in the text: `animal research` is the absent phrase.
"""

from keyphrase_plm.documents import Document
from nonet.data.batching import generator

KINDS = {
    "animal": ("lion", "horse", "eagle", "whale"),
    "instrument": ("piano", "violin", "trumpet", "drum"),
    "vehicle": ("truck", "ship", "train", "bicycle"),
    "plant": ("oak", "fern", "rose", "wheat"),
}
ADJECTIVES = ("small", "old", "wild", "fast", "green", "heavy", "quiet", "bright")
OPENINGS = ("we study the", "here we study the", "in this work we study the", "the authors study the")
MIDDLES = ("unlike the", "and unlike the", "this is unlike the")
CLOSINGS = ("results are about the", "we learn much about the", "data tell more about the")


def corpus(n: int, seed: int = 0) -> list[Document]:
    """Documents with two present phrases and an absent one.

    Args:
        n: how many.
        seed: of the choices; document k is the same for every `n` above k.
    """
    return [_document(number, seed) for number in range(n)]


def words() -> list[str]:
    """Every word of the documents and phrases, sorted: a vocabulary."""
    found = {"research", "the", "on", ".", *ADJECTIVES, *KINDS}
    for nouns in KINDS.values():
        found.update(nouns)
    for text in (*OPENINGS, *MIDDLES, *CLOSINGS):
        found.update(text.split())
    return sorted(found)


def _document(number: int, seed: int) -> Document:
    random = generator(seed, "toy", number)
    nouns = [(kind, noun) for kind, names in KINDS.items() for noun in names]
    things = [nouns[k] for k in random.permutation(len(nouns))[:3]]
    adjectives = [ADJECTIVES[k] for k in random.permutation(len(ADJECTIVES))[:3]]
    first, other, last = (
        f"{adjective} {noun}" for adjective, (_, noun) in zip(adjectives, things, strict=True)
    )
    opening, middle, closing = (
        texts[int(random.integers(len(texts)))] for texts in (OPENINGS, MIDDLES, CLOSINGS)
    )
    body = f"{opening} {first} . {middle} {other} . {closing} {last} ."
    absent = f"{things[0][0]} research"
    return Document(
        f"toy-{number}", f"on the {things[0][1]}", body, (first, last), (absent,), f"toy:{number + 1}"
    )
