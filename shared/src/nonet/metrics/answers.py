"""Free-text answers brought into one form, as the evaluation of VQA does it: punctuation, digits, articles.

Source: Antol et al. 2015, "VQA", section 3; the steps and their order are those of the published evaluation
(GT-Vision-Lab/VQA, 458a8b2). Its table of contractions, with straight quotes since October 2016, follows from
the words below: it gives back apostrophes that were left out. Its three oddities are kept, as scores depend
on them: "somebody'd" loses its apostrophe, and "let's" and "she's" stand for themselves.
"""

import re

ONE = (
    "ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd how'll "
    "how's i'm i've isn't it'd it'll ma'am mightn't might've mustn't must've needn't not've o'clock oughtn't "
    "shan't should've shouldn't somebody'll somebody's someone'd someone'll someone's something'd "
    "something'll that's there'd there're there's they'd they'll they're they've 'twas wasn't we've weren't "
    "what'll what're what's what've when's where'd where's where've who'd who'll who's who've why'll why're "
    "why's won't would've wouldn't y'all you'd you'll you're you've"
).split()
"""words that are written without their apostrophe, and get it back"""
CAPITAL = {"i'm": "I'm", "i've": "I've"}  # such keys never match, as words are lower-cased before
TWO = (
    "couldn't've hadn't've he'd've I'd've it'd've mightn't've she'd've shouldn't've somebody'd've "
    "someone'd've something'd've there'd've they'd've we'd've who'd've wouldn't've y'all'll you'd've"
).split()
"""words in which either of two apostrophes may be missing"""
ODD = {
    "let's": "let's", "she's": "she's", "somebody'd": "somebodyd", "ow's'at": "'ow's'at",
    "'ows'at": "'ow's'at", "'ow'sat": "'ow's'at", "yall'd've": "y'all'd've", "y'alld've": "y'all'd've",
    "y'all'dve": "y'all'd've",
}  # fmt: skip
DIGITS = {
    "none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6",
    "seven": "7", "eight": "8", "nine": "9", "ten": "10",
}  # fmt: skip
"""words for numbers; "none" is one of them"""
ARTICLES = ("a", "an", "the")
MARKS = ';/[]"{}()=+\\_-><@`,?!'
PERIODS = (
    32  # how many a text loses at most: the published code gives re.UNICODE (32) in the place of a count
)

_PERIOD = re.compile(r"\.(?!\d)")
_NUMBER_WITH_COMMA = re.compile(r"\d,\d")
_ANY_MARK = re.compile("[" + re.escape(MARKS) + "]")


def _contractions() -> dict[str, str]:
    table = {}
    for word in ONE:
        whole = CAPITAL.get(word, word)
        table[whole.replace("'", "")] = whole
    for whole in TWO:
        first, second = (match.start() for match in re.finditer("'", whole))
        table[whole[:first] + whole[first + 1 :]] = whole
        table[whole[:second] + whole[second + 1 :]] = whole
    return table | ODD


CONTRACTIONS = _contractions()
"""how a word is written -> how it should be"""


def trimmed(answer: str) -> str:
    """The answer on one line, without blanks around it."""
    return answer.replace("\n", " ").replace("\t", " ").strip()


def without_punctuation(answer: str, *, periods: int = 0) -> str:
    """The answer without punctuation marks.

    A mark becomes a blank; it vanishes if one like it stands beside a blank, or if the answer has a number
    with a comma, as in `"1,000"`. Periods vanish unless a digit follows. Apostrophes stay.
    `without_punctuation("dark-blue, red.")` is `"dark blue red"`.

    Args:
        answer: any text.
        periods: how many periods vanish at most; 0: all.
    """
    text = answer
    if _ANY_MARK.search(answer):
        number = _NUMBER_WITH_COMMA.search(answer) is not None
        for mark in MARKS:
            if mark in answer:
                beside = number or mark + " " in answer or " " + mark in answer
                text = text.replace(mark, "" if beside else " ")
    return _PERIOD.sub("", text, count=periods) if "." in text else text


def plain_words(answer: str) -> str:
    """The answer's words in lower case, numbers as digits, without articles, apostrophes put back.

    `plain_words("The two dogs dont")` is `"2 dogs don't"`.
    """
    words = (DIGITS.get(word, word) for word in answer.lower().split())
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)


def normalised(answer: str) -> str:
    """All steps: `normalised(" Yes, the 2nd one. ")` is `"yes 2nd 1"`."""
    return plain_words(without_punctuation(trimmed(answer)))


def stemmed(answer: str) -> str:
    """The answer's words stemmed (Porter), as OK-VQA compares them: `stemmed("running dogs")` is `"run dog"`.

    Raises:
        UserError: numba is not installed, which the stemmer needs.
    """
    from nonet.metrics.porter import stem

    return " ".join(stem(word) for word in answer.split())
