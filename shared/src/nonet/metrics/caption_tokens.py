"""Words of captions as the evaluation of COCO captions takes them, without its Java.

That evaluation splits captions with Stanford's PTBTokenizer 3.4.1 (lines kept, lower case) and drops the
tokens of `DROPPED`. Here are that tokenizer's rules as far as captions of people use them (ours, found by
comparing its output): contractions and possessives (`isn't` -> `is n't`, `dog's` -> `dog 's`, `cannot` ->
`can not`), hyphenated words, decimal and thousands' marks, times, initials (`u.s.`), common abbreviations
(`mr.`), quotation marks, brackets (`(` -> `-lrb-`, which stays, as it does there), dashes, dots, amounts of
money, ampersands.

Not covered, and therefore possibly split otherwise: emoticons, markup, telephone numbers, rarer currencies
and abbreviations, and exclamation or question marks with words on both sides. All 5,795 captions of samples
of Flickr8k and COCO come out as from the Java.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from nonet.errors import UserError
from nonet.metrics.predictions import align

DROPPED = frozenset(["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"])
"""tokens that do not count"""

BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
ABBREVIATIONS = (
    "mr|mrs|ms|messrs|dr|prof|rev|gen|sen|rep|gov|sgt|capt|col|lt|maj|cmdr|hon|st|mt|ft|ave|blvd|rd|jr|sr|"
    "inc|corp|co|ltd|bros|etc|vs|v|al|jan|feb|mar|apr|jun|jul|aug|sept|sep|oct|nov|dec|mon|tues|tue|wed|"
    "thurs|thu|fri|dept|est|assn|ph\\.d"
)
HALVES = {
    "cannot": ("can", "not"), "gonna": ("gon", "na"), "gotta": ("got", "ta"), "wanna": ("wan", "na"),
    "gimme": ("gim", "me"), "lemme": ("lem", "me"), "'tis": ("'t", "is"), "'twas": ("'t", "was"),
    "d'ye": ("d'", "ye"), "y'all": ("y'", "all"), "more'n": ("more", "'n"),
}  # fmt: skip
"""words that are two tokens"""

_LETTERS = r"[^\W\d_]+"
_TOKEN = re.compile(
    rf"""
    https?://\S+ | [\w.+-]+@[\w-]+(?:\.[\w-]+)+             # addresses
  | [#@]{_LETTERS}\w*                                       # names with a mark
  | \d{{1,2}}:\d\d | \d+/\d+(?:/\d+)*                        # times, fractions, dates
  | (?:{_LETTERS}\.)(?<=\b\w\.)(?:\w\.)+                    # initials
  | (?:{ABBREVIATIONS})\.(?!\w) | no\.(?=\s*\d)             # abbreviations
  | (?<!\d)'\d\ds?\b                                             # the '90s
  | 'n'?(?!\w) | '(?:em|cause|til|till|tis|twas)\b          # rock 'n' roll
  | (?:o|d|l|ma|y)'(?=\w)[\w]+(?:-\w+)*(?:(?=n't\b))?       # o'clock, ma'am
  | \d+(?:[.,:]\d+)+(?:-\w+)* | \.\d+                       # 3.5, 1,000
  | \w+?(?=n't\b) | n't\b                                   # is n't
  | \w+(?:[-/.](?=\w)\w+?)*?(?=(?:'(?:s|m|d|re|ll|ve))\b)      # dog 's, we 've
  | '(?:s|m|d|re|ll|ve)\b
  | \w+(?:[-/.&+]\w+)*                                       # words
  | -{{2,}} | \.{{3}} | [!?]+ | `` | '' | .
    """,
    re.VERBOSE,
)
_PLAIN = re.compile(r"[a-z]+(?:-[a-z]+)*")
_SAME = str.maketrans({
    "’": "'", "‘": "`", "“": "``", "”": "''", "—": " -- ", "–": " -- ", "…": "...", "\xa0": " ",
    "£": "#", "€": "$", "¢": " cents", "½": "1/2", "¼": "1/4", "¾": "3/4",
})  # fmt: skip


class Captions(NamedTuple):
    """What is scored, image by image: the words of a caption and of its references."""

    images: list[str]
    captions: list[list[str]]
    references: list[list[list[str]]]


def tokens(caption: str) -> list[str]:
    """The words of a caption.

    `tokens("A man's dog isn't here, it's a T-shirt.")` is
    `["a", "man", "'s", "dog", "is", "n't", "here", "it", "'s", "a", "t-shirt"]`.

    Args:
        caption: any text.

    Returns:
        Lower-case words without punctuation; none for an empty text.
    """
    found: list[str] = []
    chunks = caption.translate(_SAME).lower().split()
    for place, chunk in enumerate(chunks):
        found += _split(chunk, place + 1 < len(chunks) and chunks[place + 1][0].isdigit())
    return found


@lru_cache(maxsize=1 << 16)
def _split(chunk: str, number_follows: bool) -> tuple[str, ...]:
    """Tokens of what stands between blanks."""
    if _PLAIN.fullmatch(chunk) and chunk not in HALVES:
        return (chunk,)
    if number_follows and chunk == "no.":
        return (chunk,)
    parts: list[str] = []
    for token in _TOKEN.findall(chunk):
        parts += HALVES.get(token, (BRACKETS.get(token, token),))
    return tuple(part for part in parts if part not in DROPPED and part != '"')


def gather(
    captions: Mapping[str, str], references: Mapping[str, Sequence[str]], *, tokenised: bool = False
) -> Captions:
    """Captions and references as words.

    Args:
        captions: image -> caption; captions of other images do not count.
        references: image -> captions of people.
        tokenised: the texts are tokens with blanks between them already.

    Raises:
        UserError: a caption is missing or no text, or an image has no references.
    """
    images = align(captions, references).ids
    words = str.split if tokenised else tokens
    for image in images:
        if isinstance(references[image], str) or not references[image]:
            what = "one text and not a list of them" if references[image] else "empty"
            raise UserError(f"the references of image {image} are {what}; give a list of captions")
        for text in (captions[image], *references[image]):
            if not isinstance(text, str):
                raise UserError(f"a caption of image {image} is {text!r}; it must be text")
    return Captions(
        images,
        [words(captions[image]) for image in images],
        [[words(text) for text in references[image]] for image in images],
    )
