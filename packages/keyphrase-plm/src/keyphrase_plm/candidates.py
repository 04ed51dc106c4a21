"""A text read for phrases, and the phrases in it that could be keyphrases; no tagger is needed (ours).

Words are split at white space and lose the punctuation at their ends; that punctuation ends a *block*, and
a full stop, question or exclamation mark a *sentence*. In tokenised text, where no word has a comma or full
stop attached, words with lone hyphens between them ("coarse - to - fine") are one word. A candidate lies in
one block and neither begins nor ends with a stop word, a number, or a word of fewer than three letters that
is not written in capitals; by one of two rules:

- `ngrams`: every such run of 1 to `longest` words; stop words may stand inside (as in YAKE);
- `runs`: the longest runs without a stop word, for they come closest to noun phrases.
"""

import re
from collections.abc import Callable
from typing import Literal, NamedTuple

from keyphrase_plm.documents import Document

Rule = Literal["ngrams", "runs"]

HYPHEN = "-"
_MARKS = re.compile(r"\[(?:digit|sep|semi)\]", re.IGNORECASE)
_ENDS = re.compile(r"^(\W*)(.*?)(\W*)$", re.DOTALL)
_KEPT = re.compile(r"^[+#]+")  # c++, c#: what follows a letter belongs to the word
_ATTACHED = re.compile(r"\w[.,;:]$")
_STOPS = frozenset(".?!")
_SHORT = frozenset(
    {"e.g", "i.e", "etc", "cf", "al", "vs", "fig", "dr", "mr", "mrs", "prof", "st", "no", "eq"}
)


class Word(NamedTuple):
    """A word of a text.

    Attributes:
        text: as written, without punctuation at its ends.
        sentence: its number from 0.
        block: its number from 0; between blocks there is punctuation.
        place: in its sentence, from 0, punctuation counted.
    """

    text: str
    sentence: int
    block: int
    place: int


class Candidate(NamedTuple):
    """A phrase that occurs in a text, in all its inflections.

    Attributes:
        phrase: lower case, as it stands at its first place.
        key: its stems, joined by a space.
        places: of its first word among the words of the text, ascending.
        length: in words.
    """

    phrase: str
    key: str
    places: tuple[int, ...]
    length: int


def read_words(document: Document) -> list[Word]:
    """The words of title and body; the title is a sentence of its own.

    `"Graph colouring: a survey."` gives 4 words in one sentence and two blocks. Source: ours.
    """
    texts = (document.title.split(), document.body.split())
    tokenised = not any(_ATTACHED.search(chunk) for chunks in texts for chunk in chunks)
    words: list[Word] = []
    sentence = block = 0
    for chunks in texts:
        place = 0
        for chunk in _joined(chunks) if tokenised else chunks:
            before, word, after = _parts(chunk)
            if before or not word:
                block += 1
                place += 1
            if word:
                words.append(Word(word, sentence, block, place))
                place += 1
                if after:
                    block += 1
                    place += 1
            if _ends_sentence(word, after if word else chunk) and place > 1:
                sentence, place = sentence + 1, 0
        sentence, block = sentence + (1 if place else 0), block + 1
    return words


def _joined(chunks: list[str]) -> list[str]:
    """Words with lone hyphens between them as one, hyphens and spaces kept."""
    found: list[str] = []
    glue = False
    for place, chunk in enumerate(chunks):
        last = place + 1 == len(chunks)
        if chunk == HYPHEN and found and not last and _is_word(found[-1]) and _is_word(chunks[place + 1]):
            found[-1] += f" {HYPHEN} "
            glue = True
        elif glue:
            found[-1] += chunk
            glue = False
        else:
            found.append(chunk)
    return found


def _is_word(chunk: str) -> bool:
    return chunk[-1].isalnum() or chunk == "[digit]"


def _parts(chunk: str) -> tuple[str, str, str]:
    """Punctuation before a word, the word, and punctuation after it."""
    if HYPHEN in chunk and " " in chunk:
        return "", chunk, ""
    if _MARKS.fullmatch(chunk):
        return ("", "", chunk) if chunk.lower() != "[digit]" else ("", chunk, "")
    found = _ENDS.match(chunk)
    before, word, after = found.groups() if found else ("", chunk, "")
    if word and (more := _KEPT.match(after)):
        word, after = word + more[0], after[more.end() :]
    return before, word, after


def _ends_sentence(word: str, after: str) -> bool:
    if not _STOPS & set(after):
        return False
    return not (after == "." and (word.lower() in _SHORT or (len(word) == 1 and word.isupper())))


def is_number(word: str) -> bool:
    """Whether a word has digits and no letter, or stands for them."""
    return word.lower() == "[digit]" or not any(character.isalpha() for character in word)


def is_edge(word: str, stop_words: frozenset[str]) -> bool:
    """Whether a candidate may begin or end with this word."""
    if is_number(word) or word.lower() in stop_words:
        return False
    return len(word) > 2 or word.isupper()


def find_candidates(
    words: list[Word],
    stop_words: frozenset[str],
    stem: Callable[[str], str],
    *,
    rule: Rule = "ngrams",
    longest: int = 3,
) -> list[Candidate]:
    """The candidates of a text, in the order of their first places, shorter ones first.

    Args:
        words: of `read_words`.
        stop_words: in lower case.
        stem: of a word; candidates with equal stems are one.
        rule: `ngrams` or `runs`.
        longest: words of a candidate; longer runs are left out.
    """
    edges = [is_edge(word.text, stop_words) for word in words]
    pairs = _ngrams(words, edges, longest) if rule == "ngrams" else _runs(words, edges, stop_words, longest)
    lower = [word.text.lower() for word in words]
    stems = [stem(text) for text in lower]
    places: dict[str, list[int]] = {}
    first: dict[str, tuple[str, int]] = {}
    for start, end in pairs:
        key = " ".join(stems[start:end])
        if key not in places:
            places[key], first[key] = [], (" ".join(lower[start:end]), end - start)
        places[key].append(start)
    return [Candidate(first[key][0], key, tuple(found), first[key][1]) for key, found in places.items()]


def _ngrams(words: list[Word], edges: list[bool], longest: int) -> list[tuple[int, int]]:
    found = []
    for start, word in enumerate(words):
        if not edges[start]:
            continue
        for end in range(start, min(start + longest, len(words))):
            if words[end].block != word.block:
                break
            if edges[end]:
                found.append((start, end + 1))
    return found


def _runs(
    words: list[Word], edges: list[bool], stop_words: frozenset[str], longest: int
) -> list[tuple[int, int]]:
    found, start = [], 0
    for end in range(1, len(words) + 1):
        inside = (
            end < len(words)
            and words[end].block == words[start].block
            and words[end].text.lower() not in stop_words
            and words[start].text.lower() not in stop_words
        )
        if inside:
            continue
        left, right = start, end
        while left < right and not edges[left]:
            left += 1
        while left < right and not edges[right - 1]:
            right -= 1
        if 0 < right - left <= longest:
            found.append((left, right))
        start = end
    return found
