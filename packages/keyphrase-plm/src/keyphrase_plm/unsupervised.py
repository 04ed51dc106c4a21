"""Keyphrases without training: the floors that a trained model has to lie above.

`extract` gives the predictions of one of six methods: the first phrases of a text, TF-IDF, TextRank,
MultipartiteRank, YAKE and EmbedRank; each has a file that names its paper. All of them find candidates by
the rules in `candidates.py`, without a tagger of parts of speech, so that numbers lie below those of
programs that have one.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Literal

from keyphrase_plm.candidates import Word, find_candidates, read_words
from keyphrase_plm.documents import Document, Prediction
from keyphrase_plm.presence import stemmer
from keyphrase_plm.stop_words import chosen
from nonet.errors import UserError

if TYPE_CHECKING:
    from keyphrase_plm.embedrank import Encoder
    from keyphrase_plm.tfidf import DocumentFrequencies

Method = Literal["first-phrases", "tfidf", "textrank", "multipartiterank", "yake", "embedrank"]
METHODS: tuple[Method, ...] = (
    "first-phrases", "tfidf", "textrank", "multipartiterank", "yake", "embedrank"
)  # fmt: skip

Scored = list[tuple[str, float]]
"""phrases and scores, large ones are good, in the order of the text"""
Stem = Callable[[str], str]


def extract(
    method: Method,
    documents: Iterable[Document],
    *,
    top: int = 10,
    language: str = "en",
    stop_words: Iterable[str] | None = None,
    stem: Stem | None = None,
    longest: int | None = None,
    frequencies: "DocumentFrequencies | None" = None,
    encoder: "Encoder | None" = None,
    diversity: float = 0.5,
) -> Iterator[Prediction]:
    """The best phrases of each document, in the order of the documents.

    Args:
        method: one of `METHODS`.
        documents: read as they are needed; `tfidf` without `frequencies` reads all of them first.
        top: phrases a document at most.
        language: of the stop words, and of the stems of which a text gets one phrase each.
        stop_words: instead of those of the language.
        stem: of a word; none: Porter's for `en`, else lower case.
        longest: words of a phrase at most; none: 3, and 5 for the three methods that want noun phrases.
        frequencies: of `tfidf`: in how many documents of a corpus each phrase occurs; none: of these
            documents.
        encoder: of `embedrank`: texts to vectors, such as `sentence_encoder(FOLDER)`.
        diversity: of `embedrank`: 0 looks only at the document, 1 only at the phrases picked before.

    Yields:
        Phrases in lower case, best first, of those with equal stems the best, of those with equal scores the
        one that comes first in the text; their scores, which are comparable within a document (YAKE's
        with a minus sign, so that large is good; EmbedRank's are cosines, in the order of picking).

    Raises:
        UserError: an unknown method, `embedrank` without an encoder, no stop words for the language, or a top
            below 1.
    """
    if method not in METHODS:
        raise UserError(f"unknown method {method!r}; there are {', '.join(METHODS)}")
    if top < 1:
        raise UserError(f"top is {top}; it is at least 1")
    if method == "embedrank" and encoder is None:
        raise UserError("embedrank needs a sentence encoder: give a folder of sentence-transformers")
    stops = chosen(stop_words, language)
    stem = stem or stemmer("porter" if language == "en" else "none")
    default = 5 if method in ("first-phrases", "textrank", "multipartiterank") else 3
    longest = longest or default
    if method == "tfidf":
        from keyphrase_plm.tfidf import DocumentFrequencies

        if frequencies is None:
            documents = list(documents)
            frequencies = DocumentFrequencies.of(documents, stops, stem, longest=longest)
        known = frequencies
        return _each(documents, top, stem, lambda words: _tfidf(words, stops, stem, longest, known))
    if method == "embedrank":
        assert encoder is not None
        return _embedded(documents, top, stops, stem, longest, encoder, diversity)
    score = {
        "first-phrases": _first,
        "textrank": _textrank,
        "multipartiterank": _multipartite,
        "yake": _yake,
    }[method]
    return _each(documents, top, stem, lambda words: score(words, stops, stem, longest))


def _each(
    documents: Iterable[Document], top: int, stem: Stem, score: Callable[[list[Word]], Scored]
) -> Iterator[Prediction]:
    for document in documents:
        yield best(document.id, score(read_words(document)), top, stem)


def best(name: str, scored: Scored, top: int, stem: Stem) -> Prediction:
    """The best phrases as a prediction: large scores first, ties in the order given, stems once.

    Scores that differ beyond the tenth digit count as equal, so that rounding decides nothing.
    """
    kept: dict[str, tuple[str, float]] = {}
    for phrase, score in sorted(scored, key=lambda each: -float(f"{each[1]:.10g}")):
        kept.setdefault(" ".join(map(stem, phrase.split())), (phrase, score))
        if len(kept) == top:
            break
    return Prediction(
        name, tuple(phrase for phrase, _ in kept.values()), tuple(score for _, score in kept.values())
    )


def _first(words: list[Word], stops: frozenset[str], stem: Stem, longest: int) -> Scored:
    found = find_candidates(words, stops, stem, rule="runs", longest=longest)
    return [(each.phrase, -float(place)) for place, each in enumerate(found)]


def _tfidf(
    words: list[Word], stops: frozenset[str], stem: Stem, longest: int, known: "DocumentFrequencies"
) -> Scored:
    found = find_candidates(words, stops, stem, longest=longest)
    return [(each.phrase, score) for each, score in zip(found, known.scores(found), strict=True)]


def _textrank(words: list[Word], stops: frozenset[str], stem: Stem, longest: int) -> Scored:
    from keyphrase_plm.textrank import textrank

    return [(each.phrase, score) for each, score in textrank(words, stops, stem, longest=longest)]


def _multipartite(words: list[Word], stops: frozenset[str], stem: Stem, longest: int) -> Scored:
    from keyphrase_plm.multipartiterank import multipartiterank

    found = find_candidates(words, stops, stem, rule="runs", longest=longest)
    return [(each.phrase, score) for each, score in zip(found, multipartiterank(found), strict=True)]


def _yake(words: list[Word], stops: frozenset[str], stem: Stem, longest: int) -> Scored:
    from keyphrase_plm.yake import yake_phrases

    sentences: list[list[str]] = [[] for _ in range(words[-1].sentence + 1)] if words else []
    block = -1
    for word in words:
        sentence = sentences[word.sentence]
        if word.block != block and sentence:
            sentence.append(",")
        sentence.append(word.text)
        block = word.block
    return [(each.text, -each.score) for each in yake_phrases(sentences, stops, longest=longest)]


WINDOW = 256
"""documents whose phrases `embedrank` embeds together, each phrase once"""


def _embedded(
    documents: Iterable[Document],
    top: int,
    stops: frozenset[str],
    stem: Stem,
    longest: int,
    encoder: "Encoder",
    diversity: float,
) -> Iterator[Prediction]:
    held: list[Document] = []
    for document in documents:
        held.append(document)
        if len(held) == WINDOW:
            yield from _embedded_window(held, top, stops, stem, longest, encoder, diversity)
            held = []
    yield from _embedded_window(held, top, stops, stem, longest, encoder, diversity)


def _embedded_window(
    documents: list[Document],
    top: int,
    stops: frozenset[str],
    stem: Stem,
    longest: int,
    encoder: "Encoder",
    diversity: float,
) -> Iterator[Prediction]:
    from keyphrase_plm.embedrank import pick_diverse

    found = [find_candidates(read_words(each), stops, stem, longest=longest) for each in documents]
    texts = [" ".join(f"{each.title} {each.body}".split()) for each in documents]
    unique = list(dict.fromkeys([*(each.phrase for each_of in found for each in each_of), *texts]))
    if not unique:
        return
    place = {text: number for number, text in enumerate(unique)}
    vectors = encoder(unique)
    for document, text, candidates in zip(documents, texts, found, strict=True):
        own = vectors[[place[each.phrase] for each in candidates]] if candidates else vectors[:0]
        order, cosines = pick_diverse(own, vectors[place[text]], top, diversity=diversity)
        yield Prediction(document.id, tuple(candidates[each].phrase for each in order), tuple(cosines))
