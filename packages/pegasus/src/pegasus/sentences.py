"""From text to sentences and numbered words, in one pass over the bytes.

The importance of a sentence is counted over words, so a document is reduced to the numbers of its words,
sentence by sentence. Two rules come from PEGASUS (Zhang et al. 2020, and its released code): a sentence ends
after a run of `.`, `!` or `?` that whitespace follows; a word is a run of ASCII letters and digits in lower
case, and English stop-words do not count. Both are English; the rules `unicode` and `subword` (ours) serve
other languages.
"""

import functools
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
        The numbered words, and the end of each sentence in the bytes of all texts one byte apart, (S,) int64;
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
            before += len(text) + 1
        else:
            data = text.encode("utf-8", "surrogatepass")
            pieces = [
                data[i:j].decode("utf-8", "surrogatepass")
                for i, j in zip(starts, ends.tolist(), strict=False)
            ]
            sentences.append(pieces)
            before += len(data) + 1
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

_SEPARATOR, _STOP, _SPACE = 0, 1, 2  # what a byte between words is
_MIX = np.uint64(0x9E3779B97F4A7C15)
_ONES, _LOW, _HIGH = (np.uint64(byte * 0x0101010101010101) for byte in (0x01, 0x7F, 0x80))


def _byte_kinds() -> np.ndarray:
    kinds = np.full(256, _SEPARATOR, np.uint8)
    for byte in b".!?":
        kinds[byte] = _STOP
    for byte in b" \t\n\v\f\r":
        kinds[byte] = _SPACE
    return kinds


_KINDS = _byte_kinds()


def _join(documents: Sequence[Sequence[str]]) -> tuple[np.ndarray, np.ndarray]:
    """All segments as bytes with a zero behind each, and where each begins: (segments+1,) int64.

    Segment g is bytes starts[g] to starts[g+1]-1. Fifteen more zeros follow, so that bytes can be read eight at
    a time.
    """
    segments = [segment for sentences in documents for segment in sentences]
    joined = "\0".join([*segments, "\0" * 15])
    if joined.isascii():
        data, lengths = joined.encode(), np.fromiter(map(len, segments), np.int64, len(segments))
    else:
        pieces = [segment.encode("utf-8", "surrogatepass") for segment in segments]
        data, lengths = b"\0".join([*pieces, bytes(15)]), np.fromiter(map(len, pieces), np.int64, len(pieces))
    starts = np.zeros(len(segments) + 1, np.int64)
    np.cumsum(lengths + 1, out=starts[1:])
    return np.frombuffer(data, np.uint8), starts


@numba.njit(cache=True, nogil=True)
def _mix(value):
    """Spread a packed word over 64 bits; words of up to eight bytes differ in it because it is a bijection."""
    value = (value ^ (value >> np.uint64(32))) * _MIX
    return value ^ (value >> np.uint64(29))


@functools.cache
def _stop_table() -> np.ndarray:
    """The stop-words' hashes in an open-addressing table of 512 slots, 0 where empty."""

    def mix(value: int) -> int:  # `_mix` in Python's integers, so that importing compiles nothing
        value = (value ^ value >> 32) * int(_MIX) % 2**64
        return value ^ value >> 29

    table = np.zeros(512, np.uint64)
    for word in sorted(STOP_WORDS):
        value, data = 0, word.encode()
        for start in range(0, len(data) - len(data) % 8, 8):
            value = mix(value ^ int.from_bytes(data[start : start + 8], "little"))
        value = mix(value ^ int.from_bytes(data[len(data) - len(data) % 8 :], "little"))
        slot = value & 511
        while table[slot]:
            slot = (slot + 1) & 511
        table[slot] = value
    return table


def _scan_batch(
    data: np.ndarray, segments: np.ndarray, documents: np.ndarray, split: bool, stop_words: bool
) -> tuple[SentenceWords, np.ndarray]:
    """Run the byte pass over a batch; also the end of each sentence in bytes, (S,) int64."""
    longest = int((segments[documents[1:]] - segments[documents[:-1]]).max(initial=0))
    most = len(data) // 2 + 1  # words, and sentences; memory that is not touched costs nothing
    words, word_offsets = np.empty(most, np.int32), np.empty(most + 1, np.int64)
    byte_ends, sentence_offsets = np.empty(most, np.int64), np.empty(len(documents), np.int64)
    eights = np.frombuffer(data, np.uint64, len(data) // 8)
    for share in (4, 2):  # bytes a slot of the table of words; with two there is room for any text
        table = np.zeros((2 << max(6, (longest // share).bit_length()), 2), np.uint64)
        W, S = _scan(
            data, eights, segments, documents.astype(np.int64), share, split, stop_words, _KINDS, _stop_table(),
            table, words, word_offsets, byte_ends, sentence_offsets,
        )  # fmt: skip
        if W >= 0:
            break
    numbered = SentenceWords(words[:W].copy(), word_offsets[: S + 1].copy(), sentence_offsets)
    return numbered, byte_ends[:S].copy()


@numba.njit(cache=True, nogil=True)
def _letters(eights, i):
    """The eight bytes from byte i on in lower case, and a mask whose high bits mark ASCII letters and digits.

    Byte b is in first..last if adding 128 - first sets its high bit and adding 127 - last does not; bytes below 128
    do not carry into their neighbours.
    """
    shift = np.uint64((i & 7) * 8)
    block = (eights[i >> 3] >> shift) | ((eights[(i >> 3) + 1] << np.uint64(1)) << (np.uint64(63) - shift))
    seven = block & _LOW
    lower = seven | (_ONES * np.uint64(0x20))
    letter = (lower + _ONES * np.uint64(0x80 - 0x61)) & ~(lower + _ONES * np.uint64(0x7F - 0x7A))
    digit = (seven + _ONES * np.uint64(0x80 - 0x30)) & ~(seven + _ONES * np.uint64(0x7F - 0x39))
    letter &= ~block & _HIGH
    return block | (letter >> np.uint64(2)), letter | (digit & ~block & _HIGH)


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _scan(data, eights, segments, documents, share, split, stop_words, kinds, stop_table, table,
          words, word_offsets, byte_ends, sentence_offsets):  # fmt: skip
    """One pass over the bytes, eight at a time within words: words hashed, numbered per document, sentences cut.

    The table of a document's words is open-addressed. A slot has a word's hash, and the document that put it there
    with the word's number (document << 32 | number, documents counted from 1, the number all ones for a stop-word),
    so that nothing has to be cleared between documents. A document has at least one slot for `share` of its bytes; if
    its different words fill three quarters of them, the result is (-1, -1). Longer words may share a 64-bit hash and
    then count as one: for 50,000 different words the chance is 7e-11.
    """
    stop_number = np.int64(0xFFFFFFFF)
    W = 0
    S = 0
    word_offsets[0] = 0
    sentence_offsets[0] = 0
    for document in range(len(documents) - 1):
        first, last = documents[document], documents[document + 1]
        owner = np.int64(document + 1)
        mask = np.uint64(63)
        while np.int64(mask) * share < segments[last] - segments[first]:
            mask = (mask << np.uint64(1)) | np.uint64(1)
        room = np.int64(mask - (mask >> np.uint64(2)))
        types, held_slots = np.int64(0), np.int64(0)
        for segment in range(first, last):
            i, end = segments[segment], segments[segment + 1] - 1
            sentence_start = i
            while i < end:
                block, marks = _letters(eights, i)
                if marks & np.uint64(0x80):  # a word, to its end; a zero byte ends the segment
                    value = np.uint64(0)
                    while marks == _HIGH:
                        value = _mix(value ^ block)
                        i += 8
                        block, marks = _letters(eights, i)
                    other = ~marks & _HIGH
                    tail = ((other & (~other + np.uint64(1))) >> np.uint64(7)) - np.uint64(1)  # ones below it
                    value = _mix(value ^ (block & tail))
                    i += np.int64(((tail & _ONES) * _ONES) >> np.uint64(56))
                    slot = value & mask
                    held = np.int64(table[slot, 1])
                    while (held >> 32 == owner) & (table[slot, 0] != value):
                        slot = (slot + np.uint64(1)) & mask
                        held = np.int64(table[slot, 1])
                    new = held >> 32 != owner  # half of the words are: no branch, it could not be foretold
                    number = types if new else held & stop_number
                    if stop_words and new:
                        probe = value & np.uint64(511)
                        while stop_table[probe] != 0 and stop_table[probe] != value:
                            probe = (probe + np.uint64(1)) & np.uint64(511)
                        if stop_table[probe] == value:
                            number = stop_number
                    held_slots += new
                    if held_slots > room:
                        return -1, -1
                    types += new & (number != stop_number)
                    table[slot, 0] = value
                    table[slot, 1] = np.uint64((owner << 32) | number)
                    words[W] = number
                    W += number != stop_number
                    if i >= end:
                        break
                kind = kinds[data[i]]
                i += 1
                if kind != _STOP or not split:
                    continue
                while i < end and kinds[data[i]] == _STOP:
                    i += 1
                if i == end or kinds[data[i]] != _SPACE:
                    continue
                while i < end and kinds[data[i]] == _SPACE:
                    i += 1
                byte_ends[S] = i  # terminators, then whitespace: a sentence ends
                S += 1
                word_offsets[S] = W
                sentence_start = i
            if not split or sentence_start < end:
                byte_ends[S] = end
                S += 1
                word_offsets[S] = W
        sentence_offsets[document + 1] = S
    return W, S
