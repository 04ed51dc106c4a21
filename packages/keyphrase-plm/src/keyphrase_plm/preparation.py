"""From a raw document to one with its phrases split into present and absent, by one of two recipes.

- `ours`: letters and signs are set apart, case and digits stay; phrases that come twice go; a phrase is
  present where its stemmed words stand in the whole text (the scorer's rule).
- `deepkpg` (Wu et al. 2022, `data/prepare.py`): lower case, the split by substring of the raw text, then
  letters and signs apart and digits as `[digit]`. Files that are tokenised and split already keep both.
"""

import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

from keyphrase_plm.documents import Document
from keyphrase_plm.presence import ReadSource, Rule, Stem, stemmer
from keyphrase_plm.raw_documents import Raw
from keyphrase_plm.sequences import SEMICOLON, apart, marked_digits, tokenised
from nonet.errors import UserError

Recipe = Literal["ours", "deepkpg"]
Words = Literal["words", "spaces", "characters"]
Digits = Literal["keep", "mark"]

_CHARACTERS = re.compile(
    "[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uff9f\u0e00-\u0eff\U00020000-\U0003ffff]"
)
"""letters of scripts that are written without spaces: Chinese, Japanese, Korean, Thai, Lao"""


class Prepared(NamedTuple):
    """A document and what was met on the way to it."""

    document: Document
    counts: dict[str, int]


@dataclass(frozen=True)
class Preparation:
    """What is done to a document; call it with one.

    Attributes:
        recipe: `"ours"` or `"deepkpg"`.
        rule: of presence; the recipe's own if None, token for ours and prep for deepkpg.
        digits: `"mark"` writes words of digits as `[digit]`; the recipe's own if None.
        words: how text is set apart: `"words"` at spaces and around signs, `"spaces"` at spaces alone,
            `"characters"` also around every letter of scripts without spaces.
        stemmer: as in `presence.stemmer`.
        escape: accept `;` inside phrases; target strings write it `[semi]`.
    """

    recipe: Recipe = "ours"
    rule: Rule | None = None
    digits: Digits | None = None
    words: Words = "words"
    stemmer: str = "porter"
    escape: bool = False

    @cached_property
    def _stem(self) -> Stem:
        return stemmer(self.stemmer)

    def __getstate__(self) -> dict[str, object]:
        """Without the stemmer, which each process makes for itself."""
        return {name: value for name, value in self.__dict__.items() if name != "_stem"}

    def __call__(self, raw: Raw) -> Prepared:
        """Prepare a document.

        Raises:
            UserError: a phrase holds `;` and `escape` is off, or it holds `[semi]`.
        """
        self._check(raw)
        counts: Counter[str] = Counter()
        if self.recipe == "deepkpg":
            title, body, present, absent = self._deepkpg(raw)
        else:
            title, body, present, absent = self._ours(raw, counts)
        if not title and not body:
            counts["documents without text"] += 1
        if not present and not absent:
            counts["documents without phrases"] += 1
        counts["present phrases"] += len(present)
        counts["absent phrases"] += len(absent)
        letters = [c for c in body[:2000] if c.isalpha()]
        if self.stemmer == "porter" and sum(not c.isascii() for c in letters) * 2 > len(letters):
            counts["documents with mostly letters beyond English"] += 1
        document = Document(raw.id, title, body, tuple(present), tuple(absent), raw.where)
        return Prepared(document, dict(counts))

    def _check(self, raw: Raw) -> None:
        for phrase in raw.all_phrases:
            if ";" in phrase and not self.escape:
                raise UserError(
                    f"{raw.where}: the phrase {phrase!r} holds ';', which stands between phrases; make it "
                    "two, or give --escape to keep it"
                )
            if SEMICOLON in phrase.lower():
                raise UserError(
                    f"{raw.where}: the phrase {phrase!r} holds {SEMICOLON}, the mark of a semicolon"
                )

    def _ours(self, raw: Raw, counts: Counter[str]) -> tuple[str, str, list[str], list[str]]:
        title, body = self._apart(raw.title, raw.tokenised), self._apart(raw.body, raw.tokenised)
        phrases: dict[str, str] = {}
        for phrase in raw.all_phrases:
            spelled = self._apart(phrase, raw.tokenised)
            if not spelled:
                counts["empty phrases (left out)"] += 1
            elif spelled.lower() in phrases:
                counts["phrases that come twice (left out)"] += 1
            else:
                phrases[spelled.lower()] = spelled
        words = [*title.lower().split(), *body.lower().split()]
        source = ReadSource(words, self._stem, rule=self.rule or "token")
        present, absent = source.split(list(phrases.values()))
        if raw.split:
            given = {self._apart(phrase, raw.tokenised).lower() for phrase in raw.present}
            moved = sum((phrase.lower() in given) != (phrase in present) for phrase in phrases.values())
            counts["phrases that the file had on the other side"] += moved
        return title, body, present, absent

    def _apart(self, text: str, already: bool) -> str:
        digits = "[digit]" if self.digits == "mark" else None
        if self.words == "characters":
            text = _CHARACTERS.sub(r" \g<0> ", text)
        if already or self.words == "spaces":
            words = marked_digits(text).split()
        else:
            words = apart(marked_digits(text))
        return " ".join(digits if digits and word.isdecimal() else word for word in words)

    def _deepkpg(self, raw: Raw) -> tuple[str, str, list[str], list[str]]:
        title, body = raw.title.strip().lower(), raw.body.strip().lower()
        if raw.split:
            present, absent = ([phrase.lower() for phrase in some] for some in (raw.present, raw.absent))
        else:
            source = ReadSource([*title.split(), *body.split()], self._stem, rule=self.rule or "prep")
            present, absent = source.split([phrase.lower() for phrase in raw.phrases])
        mark = marked_digits if raw.tokenised or self.digits == "keep" else tokenised
        title, body = mark(title), mark(body)
        return title, body, [mark(phrase) for phrase in present], [mark(phrase) for phrase in absent]
