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
from typing import Literal

import numpy as np

from nonet.errors import UserError, needs
from pegasus.byte_pass import join, scan
from pegasus.words import STOP_WORDS, SentenceWords

__all__ = [
    "STOP_WORDS",
    "SentenceRule",
    "SentenceWords",
    "WordRule",
    "check_script",
    "cut_texts",
    "number_words",
    "split_sentences",
    "words_of_sentences",
    "words_of_texts",
]

# B documents, S sentences in all of them, W words in all of them.

WordRule = Literal["ascii", "unicode", "subword"]
SentenceRule = Literal["pegasus", "unicode", "newline", "sentencex"]


def words_of_texts(texts: Sequence[str], *, stop_words: bool = True) -> tuple[SentenceWords, np.ndarray]:
    """Split texts into sentences by PEGASUS's rule and number their ASCII words, in one pass over the bytes.

    Args:
        texts: B documents.
        stop_words: leave English stop-words out.

    Returns:
        The numbered words, and the end of each sentence in the characters of all texts one character apart,
        (S,) int64; `cut_texts` makes sentences of them.
    """
    data, segments = join(texts)
    return scan(data, segments, np.arange(len(texts) + 1), True, stop_words)


def cut_texts(texts: Sequence[str], words: SentenceWords, ends: np.ndarray) -> list[list[str]]:
    """The sentences that `words_of_texts` found; those of a text joined give it back."""
    sentences, before = [], 0
    for b, text in enumerate(texts):
        own = (ends[words.sentence_offsets[b] : words.sentence_offsets[b + 1]] - before).tolist()
        sentences.append([text[i:j] for i, j in itertools.pairwise([0, *own])])
        before += len(text) + 1
    return sentences


def words_of_sentences(documents: Sequence[Sequence[str]], *, stop_words: bool = True) -> SentenceWords:
    """Number the ASCII words of documents that are already split into sentences.

    Args:
        documents: B documents, each a list of sentences; empty sentences count as sentences without words.
        stop_words: leave English stop-words out.
    """
    data, segments = join([sentence for sentences in documents for sentence in sentences])
    offsets = np.concatenate([[0], np.cumsum([len(sentences) for sentences in documents])]).astype(np.int64)
    return scan(data, segments, offsets, False, stop_words)[0]


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
