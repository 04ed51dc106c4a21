"""The strings that models read and write: sources, targets, digits, and the way back to phrases.

Source and target are those of Wu et al. 2022 (DeepKPG, `data/format.py`): `title [sep] body` in lower case,
and `present ; present ; absent`. `[sep]` and `[digit]` are ordinary strings there, not entries of a
vocabulary; ours for a `;` inside a phrase, `[semi]`, is of the same kind.
"""

import re
import unicodedata
from collections.abc import Iterable

from keyphrase_plm.documents import Document
from nonet.errors import UserError

SEP = "[sep]"
"""between title and body"""
DIGIT = "[digit]"
"""in place of a word of digits"""
SEMICOLON = "[semi]"
"""in target strings, for a `;` inside a phrase"""
BETWEEN = " ; "
"""between phrases of a target"""

_WORDS = re.compile(r"\w+|[^\w\s]+")
_ASCII_RUN_OR_CHARACTER = re.compile(r"[A-Za-z0-9]+|.", re.DOTALL)
_DIGITS = re.compile(r"\d+")  # also the digits of other scripts and of full width
_SPLIT_MARK = re.compile(r"\[ ?(digit|semi) ?\]", re.IGNORECASE)


def source_text(document: Document, *, prefix: str = "", between: str = SEP) -> str:
    """The source string: `"title [sep] body"` in lower case, white space made single.

    Args:
        document: its title may be empty; the string then begins with `[sep]`.
        prefix: what T5 wants in front, `"generate keyphrases: "`; kept as it is.
        between: stands between title and body; other people's checkpoints have learnt other marks.
    """
    title, body = " ".join(document.title.lower().split()), " ".join(document.body.lower().split())
    return prefix + " ".join(part for part in (title, between, body) if part)


def source_words(document: Document) -> list[str]:
    """The words of title and body in lower case, split at white space, without a mark between them."""
    return [*document.title.lower().split(), *document.body.lower().split()]


def target_text(document: Document) -> str:
    """The target string: present phrases, then absent ones, joined by `" ; "`, in lower case, no empty ones.

    A `;` inside a phrase is written `[semi]`, which `phrases_of` turns back.

    Raises:
        UserError: a phrase holds `[semi]` already, so that the way back would be lost.
    """
    return BETWEEN.join(
        encoded(phrase, document.where or document.id)
        for phrase in (*document.present, *document.absent)
        if phrase.strip()
    )


def encoded(phrase: str, where: str = "") -> str:
    """One phrase as it stands in a target string: lower case, single spaces, `;` written `[semi]`.

    Args:
        phrase: of a document.
        where: the place it comes from, for the message.

    Raises:
        UserError: it holds `[semi]` already.
    """
    words = " ".join(phrase.lower().split())
    if SEMICOLON in words:
        place = f"{where}: " if where else ""
        raise UserError(
            f"{place}the phrase {phrase!r} holds {SEMICOLON}, which stands for a semicolon; rename it"
        )
    return words.replace(";", SEMICOLON)


def phrases_of(text: str) -> list[str]:
    """The phrases in a generated string.

    `"neural nets ; [ digit ] d images ; ; neural nets"` gives `["neural nets", "[digit] d images"]`.

    Args:
        text: split at every `;`, with or without spaces. What a WordPiece tokenizer took apart is joined:
            `[ digit ]` and `##s`.

    Returns:
        Phrases in the order of the text, none empty, none twice in the same spelling; `[semi]` is `;` again.
    """
    return unique(decoded(part) for part in text.split(";"))


def decoded(phrase: str) -> str:
    """One phrase of a generated string as it is shown: WordPieces joined, single spaces, `[semi]` as `;`."""
    words = " ".join(phrase.replace(" ##", "").split())
    if "[" in words:
        words = _SPLIT_MARK.sub(lambda mark: f"[{mark[1].lower()}]", words)
        words = words.replace(SEMICOLON, ";")
    return words


def unique(phrases: Iterable[str]) -> list[str]:
    """The phrases without empty ones, and of several in the same spelling only the first."""
    return list(dict.fromkeys(phrase for phrase in phrases if phrase))


def tokenised(text: str) -> str:
    """Text the way DeepKPG prepares the sets that come untokenised: runs of letters, and runs of other signs,
    apart; a run of digits is `[digit]` (`nltk.wordpunct_tokenize` as it was in 2022, then digits).

    `"a 3-d scan, in 2022."` gives `"a [digit] - d scan , in [digit] ."`.
    """
    return " ".join(DIGIT if _DIGITS.fullmatch(word) else word for word in _WORDS.findall(text))


def marked_digits(text: str) -> str:
    """`<digit>`, as KP20k's files write it, as `[digit]`."""
    return text.replace("<digit>", DIGIT)


def words_of(text: str) -> list[str]:
    """Runs of letters and digits, and runs of other signs: `"a 3-d scan,"` gives a, 3, -, d, scan and `,`."""
    return _WORDS.findall(text)


def apart(text: str) -> list[str]:
    """`words_of` a text in which `[digit]` stands for a number and stays one word."""
    return [part for word in text.split() for part in ([word] if word == DIGIT else words_of(word))]


def characters(text: str) -> list[str]:
    """The words of a text whose language sets no spaces: single characters with the marks that belong to
    them.

    Runs of ASCII letters and digits stay one word, and so does `[digit]`: `"用BERT的3-d"` gives 用, BERT, 的,
    3, - and d.
    """
    return [part for word in text.split() for part in ([word] if word == DIGIT else _characters(word))]


def _characters(word: str) -> list[str]:
    found: list[str] = []
    for part in _ASCII_RUN_OR_CHARACTER.findall(word):
        if found and unicodedata.category(part[0]).startswith("M"):  # vowel signs of Thai, accents
            found[-1] += part
        else:
            found.append(part)
    return found
