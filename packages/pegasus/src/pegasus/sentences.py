"""From text to sentences and numbered words, in one pass over the bytes.

The importance of a sentence is counted over words, so a document is reduced to the numbers of its words,
sentence by sentence. Two rules come from PEGASUS (Zhang et al. 2020, and its released code): a sentence ends
after a run of `.`, `!` or `?` that whitespace follows; a word is a run of ASCII letters and digits in lower
case, and English stop-words do not count. Both are English; the rules `unicode` and `subword` (ours) serve
other languages.
"""

import itertools
import re
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numba
import numpy as np

from nonet.errors import UserError, needs

# B documents, S sentences in all of them, W words in all of them.

WordRule = Literal["ascii", "unicode", "subword"]
SentenceRule = Literal["pegasus", "unicode", "newline", "sentencex"]

STOP_WORDS = frozenset(
    """
    i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she her
    hers herself it its itself they them their theirs themselves what which who whom this that these
    those am is are was were be been being have has had having do does did doing a an the and but if or
    because as until while of at by for with about against between into through during before after
    above below to from up down in out on off over under again further then once here there when where
    why how all any both each few more most other some such no nor not only own same so than too very s
    t can will just don should now
    """.split()
)
"""The 127 English words that PEGASUS leaves out of the importance of a sentence."""


class SentenceWords(NamedTuple):
    """The words of a batch of documents as numbers.

    Words are numbered from 0 within each document, in order of first appearance; words that do not count
    (stop-words) are absent. All offsets are cumulative over the batch, so that every level is one flat array.
    """

    words: np.ndarray
    """(W,) int32, the number of each word within its document"""
    word_offsets: np.ndarray
    """(S+1,) int64; sentence s has words[word_offsets[s]:word_offsets[s+1]]"""
    sentence_offsets: np.ndarray
    """(B+1,) int64; document b has sentences sentence_offsets[b]:sentence_offsets[b+1]"""

    def document(self, b: int) -> tuple[np.ndarray, np.ndarray]:
        """Document b alone: its words (int32) and the end of each of its sentences in them (int64)."""
        first, last = self.sentence_offsets[b], self.sentence_offsets[b + 1]
        ends = self.word_offsets[first : last + 1]
        return self.words[ends[0] : ends[-1]], ends[1:] - ends[0]


def words_of_texts(texts: Sequence[str], *, stop_words: bool = True) -> tuple[SentenceWords, np.ndarray]:
    """Split texts into sentences by PEGASUS's rule and number their ASCII words, in one pass over the bytes.

    Args:
        texts: B documents.
        stop_words: leave English stop-words out.

    Returns:
        The numbered words, and the end of each sentence in the bytes of all texts together, (S,) int64;
        `cut_texts` makes sentences of them.
    """
    data, segments = _join([[text] for text in texts])
    return _scan_batch(data, segments, np.arange(len(texts) + 1), True, stop_words)


def cut_texts(texts: Sequence[str], words: SentenceWords, byte_ends: np.ndarray) -> list[list[str]]:
    """The sentences that `words_of_texts` found; those of a text joined give it back."""
    sentences, before = [], 0
    for b, text in enumerate(texts):
        ends = byte_ends[words.sentence_offsets[b] : words.sentence_offsets[b + 1]] - before
        starts = [0, *ends[:-1].tolist()]
        if text.isascii():
            sentences.append([text[i:j] for i, j in zip(starts, ends.tolist(), strict=False)])
            before += len(text)
        else:
            data = text.encode("utf-8", "surrogatepass")
            pieces = [
                data[i:j].decode("utf-8", "surrogatepass")
                for i, j in zip(starts, ends.tolist(), strict=False)
            ]
            sentences.append(pieces)
            before += len(data)
    return sentences


def words_of_sentences(documents: Sequence[Sequence[str]], *, stop_words: bool = True) -> SentenceWords:
    """Number the ASCII words of documents that are already split into sentences.

    Args:
        documents: B documents, each a list of sentences; empty sentences count as sentences without words.
        stop_words: leave English stop-words out.
    """
    data, segments = _join(documents)
    offsets = np.concatenate([[0], np.cumsum([len(sentences) for sentences in documents])]).astype(np.int64)
    return _scan_batch(data, segments, offsets, False, stop_words)[0]


_UNICODE_WORD = re.compile(
    # scripts written without spaces count character by character; elsewhere a word is a run of letters and
    # digits
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
    r"|[^\W_\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    r"\U00020000-\U0003ffff]+"
)


def number_words(
    documents: Sequence[Sequence[str]],
    rule: WordRule,
    *,
    stop_words: bool = True,
    encode: Callable[[str], Sequence[int]] | None = None,
) -> SentenceWords:
    """Number the words of documents under any rule.

    Args:
        documents: B documents, each a list of sentences.
        rule: `ascii` as PEGASUS; `unicode`: runs of letters and digits of any script in case-folded form,
            Chinese, Japanese, Thai, Lao, Khmer and Burmese by character; `subword`: the pieces that `encode`
            gives.
        stop_words: leave English stop-words out (rules `ascii` and `unicode`).
        encode: text to piece ids, for `subword`.

    Raises:
        ValueError: `subword` without `encode`.
    """
    if rule == "ascii":
        return words_of_sentences(documents, stop_words=stop_words)
    split: Callable[[str], Sequence[str | int]]
    if rule == "subword":
        if encode is None:
            raise ValueError("the word rule 'subword' needs the tokenizer's encode function")
        split = encode
    else:
        ignored = STOP_WORDS if stop_words else frozenset()

        def split(sentence: str) -> list[str | int]:
            return [word for word in _UNICODE_WORD.findall(sentence.casefold()) if word not in ignored]

    words: list[int] = []
    word_offsets, sentence_offsets = [0], [0]
    for sentences in documents:
        numbers: dict[str | int, int] = {}
        for sentence in sentences:
            words.extend(numbers.setdefault(word, len(numbers)) for word in split(sentence))
            word_offsets.append(len(words))
        sentence_offsets.append(len(word_offsets) - 1)
    return SentenceWords(
        np.array(words, np.int32), np.array(word_offsets, np.int64), np.array(sentence_offsets, np.int64)
    )


_ENDS = {
    "pegasus": re.compile(r"[.!?]+[ \t\n\v\f\r]+"),
    "unicode": re.compile(
        r"[.!?\u2026\u061f\u06d4]+\s+|[\u3002\uff01\uff1f\uff61\u0964\u0965\u104b\u17d4]+\s*"
    ),
    "newline": re.compile(r"\n+"),
}


def split_sentences(text: str, rule: SentenceRule = "pegasus", language: str = "en") -> list[str]:
    """Split a text into sentences that joined give the text back.

    Args:
        text: any text; "" has no sentences.
        rule: `pegasus`: after `.`, `!`, `?` and whitespace; `unicode`: also after the full stops of Chinese,
            Japanese, Hindi, Arabic, Urdu, Burmese and Khmer; `newline`: after every line; `sentencex`: the
            package of that name (extra `segment`), which knows the abbreviations of some 200 languages.
        language: ISO 639-1 code, for `sentencex` alone.
    """
    if rule == "sentencex":
        module = needs("sentencex", to="split sentences with sentencex", install="pegasus[segment]")
        sentences, start = [], 0
        for piece in module.segment(language, text):
            end = text.index(piece, start) + len(piece)
            sentences.append(text[start:end])
            start = end
        if start < len(text):  # whitespace at the end belongs to the last sentence
            sentences[-1:] = [(sentences[-1] if sentences else "") + text[start:]]
        return sentences
    ends = [match.end() for match in _ENDS[rule].finditer(text)]
    bounds = [0, *ends] if ends and ends[-1] == len(text) else [0, *ends, len(text)]
    return [text[a:b] for a, b in itertools.pairwise(bounds) if a < b]


def check_script(sentences: Sequence[str], words: int, where: str) -> None:
    """Stop when the ASCII rule would find next to nothing to count.

    Args:
        sentences: a sample of the corpus.
        words: how many words the ASCII rule found in it.
        where: where the sample comes from, for the message.

    Raises:
        UserError: more than a fifth of the letters lie outside ASCII, and there is less than one word a
            sentence.
    """
    letters = [character for sentence in sentences for character in sentence if character.isalpha()]
    foreign = sum(not character.isascii() for character in letters)
    if foreign > 0.2 * len(letters) and words < len(sentences):
        raise UserError(
            f"{where}: {foreign / len(letters):.0%} of the letters are outside ASCII and the ASCII rule "
            f"finds {words} words in {len(sentences)} sentences; use --words unicode or --words subword"
        )


# ---------------------------------------------------------------------------------------------- the byte pass

_SEPARATOR, _WORD, _STOP, _SPACE = 0, 1, 2, 3  # what a byte is


def _byte_classes() -> np.ndarray:
    classes = np.full(256, _SEPARATOR, np.uint8)
    for byte in range(256):
        character = chr(byte)
        if byte < 128 and character.isalnum():
            classes[byte] = _WORD
    for byte in b".!?":
        classes[byte] = _STOP
    for byte in b" \t\n\v\f\r":
        classes[byte] = _SPACE
    return classes


_CLASSES = _byte_classes()
_FNV_BASIS, _FNV_PRIME = np.uint64(14695981039346656037), np.uint64(1099511628211)  # FNV-1a, 64 bits


def _join(documents: Sequence[Sequence[str]]) -> tuple[np.ndarray, np.ndarray]:
    """All segments as one byte array (uint8) and the (segments+1,) int64 offsets of each."""
    pieces = [segment.encode("utf-8", "surrogatepass") for segments in documents for segment in segments]
    offsets = np.zeros(len(pieces) + 1, np.int64)
    np.cumsum([len(piece) for piece in pieces], out=offsets[1:])
    return np.frombuffer(b"".join(pieces), np.uint8), offsets


def _stop_hashes() -> np.ndarray:
    """The stop-words' hashes in an open-addressing table of 512 slots, 0 where empty."""
    table = np.zeros(512, np.uint64)
    for word in sorted(STOP_WORDS):
        value = int(_FNV_BASIS)
        for byte in word.encode():
            value = (value ^ byte) * int(_FNV_PRIME) % 2**64
        slot = value & 511
        while table[slot]:
            slot = (slot + 1) & 511
        table[slot] = value
    return table


_STOP_TABLE = _stop_hashes()


def _scan_batch(
    data: np.ndarray, segments: np.ndarray, documents: np.ndarray, split: bool, stop_words: bool
) -> tuple[SentenceWords, np.ndarray]:
    """Run the byte pass over a batch; also the end of each sentence in bytes, (S,) int64."""
    lengths = (
        segments[documents[1:]] - segments[documents[:-1]] if len(documents) > 1 else np.zeros(1, np.int64)
    )
    longest = int(lengths.max(initial=0))
    slots = 1 << max(4, longest.bit_length())  # at most longest/2 + 1 words, so at most half full
    room = len(data) // 2 + len(segments) + 1
    out = (
        np.empty(room, np.int32),
        np.empty(room + 1, np.int64),
        np.empty(room, np.int64),
        np.empty(len(documents), np.int64),
    )
    tables = np.zeros(slots, np.uint64), np.full(slots, -1, np.int32), np.empty(slots, np.int32)
    counts = _scan(
        data, segments, documents.astype(np.int64), split, stop_words, _CLASSES, _STOP_TABLE, *tables, *out
    )
    words, word_offsets, byte_ends, sentence_offsets = out
    total_words, total_sentences = counts
    numbered = SentenceWords(
        words[:total_words].copy(), word_offsets[: total_sentences + 1].copy(), sentence_offsets
    )
    return numbered, byte_ends[:total_sentences].copy()


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _scan(data, segments, documents, split, stop_words, classes, stop_table, hashes, stamps, numbers,
          words, word_offsets, byte_ends, sentence_offsets):  # fmt: skip
    """One pass over the bytes: words hashed (FNV-1a), numbered per document, sentences cut.

    Two words of one document that share a 64-bit hash would count as one: for 50,000 different words the
    chance is 7e-11. The table is not cleared between documents; a slot is empty when its stamp is not the
    document's number.
    """
    W = 0
    S = 0
    word_offsets[0] = 0
    sentence_offsets[0] = 0
    for document in range(len(documents) - 1):
        first, last = documents[document], documents[document + 1]
        size = segments[last] - segments[first]
        mask = np.uint64(15)
        while mask < np.uint64(size):
            mask = (mask << np.uint64(1)) | np.uint64(1)
        types = 0
        for segment in range(first, last):
            begin, end = segments[segment], segments[segment + 1]
            in_word = False
            after_stop = False  # the byte before is a terminator
            after_space = False  # ... or whitespace behind one: a sentence ends before the next other byte
            value = _FNV_BASIS
            sentence_start = begin
            for i in range(begin, end + 1):
                kind = classes[data[i]] if i < end else _SEPARATOR
                if kind == _WORD:
                    if after_space:
                        byte_ends[S] = i
                        S += 1
                        word_offsets[S] = W
                        sentence_start = i
                    after_stop = False
                    after_space = False
                    byte = data[i]
                    if 65 <= byte <= 90:
                        byte += np.uint8(32)
                    value = (value ^ np.uint64(byte)) * _FNV_PRIME
                    in_word = True
                    continue
                if in_word:
                    slot = value & mask
                    while stamps[slot] == document and hashes[slot] != value:
                        slot = (slot + np.uint64(1)) & mask
                    if stamps[slot] != document:
                        stamps[slot] = document
                        hashes[slot] = value
                        numbers[slot] = types
                        if stop_words:
                            probe = value & np.uint64(511)
                            while stop_table[probe] != 0 and stop_table[probe] != value:
                                probe = (probe + np.uint64(1)) & np.uint64(511)
                            if stop_table[probe] == value:
                                numbers[slot] = -1
                        if numbers[slot] >= 0:
                            types += 1
                    if numbers[slot] >= 0:
                        words[W] = numbers[slot]
                        W += 1
                    in_word = False
                    value = _FNV_BASIS
                if i == end or not split:
                    continue
                if kind == _SPACE:
                    after_space = after_space or after_stop
                else:
                    if after_space:
                        byte_ends[S] = i
                        S += 1
                        word_offsets[S] = W
                        sentence_start = i
                    after_space = False
                after_stop = kind == _STOP
            if not split or sentence_start < end:
                byte_ends[S] = end
                S += 1
                word_offsets[S] = W
        sentence_offsets[document + 1] = S
    return W, S
