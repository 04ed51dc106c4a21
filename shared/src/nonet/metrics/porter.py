"""Porter's suffix stripper with the extensions of NLTK's default mode, as a kernel on bytes.

Source: Porter 1980, "An algorithm for suffix stripping", steps 1a to 5b, with these departures that NLTK
    makes:

- a table of irregular forms; words of one or two letters stay as they are;
- step 1a: ies -> ie in words of four letters; step 1b: ied -> ie in words of four letters, else i;
- step 1c: y -> i after a consonant that is not the first letter, vowel before it or not;
- step 2: bli -> ble for abli -> able; alli -> al comes first, and what it leaves goes through step 2 again;
  fulli -> ful and logi -> log are new, and the l of logi counts as part of the stem;
- condition *o (stem ends consonant, vowel, consonant) also holds for two letters, vowel and consonant.

Letters: `word` is a uint8 array, the word lies at word[at : at + length]. Whatever is not a, e, i, o, u or y
counts as a consonant, digits included. A *tail* is the last eight letters in one uint64, the last letter
lowest; a shorter word's is filled with zeros.
"""

import numpy as np
from numpy.typing import NDArray

from nonet.metrics.compiled import compiled

Bytes = NDArray[np.uint8]

# (suffix, what replaces it), tried in this order. A suffix written with a bar, as in "l|ogi", counts what
# stands before the bar as part of the stem whose measure decides.
IRREGULAR = (
    ("sky", "sky"), ("skies", "sky"), ("dying", "die"), ("lying", "lie"), ("tying", "tie"),
    ("news", "news"), ("innings", "inning"), ("inning", "inning"), ("outings", "outing"),
    ("outing", "outing"), ("cannings", "canning"), ("canning", "canning"), ("howe", "howe"),
    ("proceed", "proceed"), ("exceed", "exceed"), ("succeed", "succeed"),
)  # fmt: skip
STEP_2 = (  # measure > 0
    ("ational", "ate"), ("tional", "tion"), ("enci", "ence"), ("anci", "ance"), ("izer", "ize"),
    ("bli", "ble"), ("alli", "al"), ("entli", "ent"), ("eli", "e"), ("ousli", "ous"), ("ization", "ize"),
    ("ation", "ate"), ("ator", "ate"), ("alism", "al"), ("iveness", "ive"), ("fulness", "ful"),
    ("ousness", "ous"), ("aliti", "al"), ("iviti", "ive"), ("biliti", "ble"), ("fulli", "ful"),
    ("l|ogi", "log"),
)  # fmt: skip
STEP_3 = (  # measure > 0
    ("icate", "ic"), ("ative", ""), ("alize", "al"), ("iciti", "ic"), ("ical", "ic"), ("ful", ""),
    ("ness", ""),
)  # fmt: skip
STEP_4 = (  # measure > 1
    ("al", ""), ("ance", ""), ("ence", ""), ("er", ""), ("ic", ""), ("able", ""), ("ible", ""), ("ant", ""),
    ("ement", ""), ("ment", ""), ("ent", ""), ("s|ion", "s"), ("t|ion", "t"), ("ou", ""), ("ism", ""),
    ("ate", ""), ("iti", ""), ("ous", ""), ("ive", ""), ("ize", ""),
)  # fmt: skip
LIMITS = (0, 0, 0, 1)  # the measure must be larger: one number for each list (irregular forms do not ask)


def stem(word: str) -> str:
    """The stem of one word, equal to NLTK's `PorterStemmer().stem(word)`.

    `stem("relational")` is `"relat"`, `stem("Skies")` is `"sky"`.

    Args:
        word: any text; it is lower-cased as a whole. Letters beyond ASCII count as consonants.

    Returns:
        The stem; words of one or two characters only lower-cased.
    """
    lowered = word.lower()
    if len(word) <= 2:
        return lowered
    letters = np.zeros(PADDING + len(lowered), np.uint8)
    if lowered.isascii():
        letters[PADDING:] = np.frombuffer(lowered.encode("ascii"), np.uint8)
        length = stem_bytes(letters, PADDING, len(lowered))
        return letters[PADDING : PADDING + length].tobytes().decode("ascii")
    # The kernel only asks whether such letters are equal to their neighbour: bytes from 128 on can say that.
    # Stemming changes nothing but the end of a word, so that every letter beyond ASCII that is left is where
    # it was.
    other = 128
    for i, letter in enumerate(lowered):
        if not letter.isascii() and i and letter != lowered[i - 1]:
            other ^= 1
        letters[PADDING + i] = ord(letter) if letter.isascii() else other
    stemmed = letters[PADDING : PADDING + stem_bytes(letters, PADDING, len(lowered))].tolist()
    return "".join(chr(letter) if letter < 128 else lowered[i] for i, letter in enumerate(stemmed))


@compiled
def stem_bytes(word: Bytes, at: int, length: int) -> int:
    """Stem a word of three or more lower-case letters in place.

    Args:
        word: uint8, changed; the word lies at word[at : at + length].
        at: where it begins, at least PADDING; whatever lies before it does not matter.
        length: letters of the word; with fewer than three the answer is not NLTK's.

    Returns:
        Letters of the stem, at most `length`; it begins at `at`, and what lies behind it is undefined.
    """
    tail = _tail(word, at, length)
    irregular = _rule(tail, FORMS)
    if irregular >= 0 and SUFFIX_LENGTHS[irregular] == length:
        return _replace(word, at, length, irregular)
    length, tail = _step_1a(word, at, length, tail)
    length, tail = _step_1b(word, at, length, tail)
    length, tail = _step_1c(word, at, length, tail)
    if tail & MASK_4 == ALLI:  # before all others, and if it was replaced, step 2 runs once more
        length, tail = _apply(word, at, length, tail, SECOND)
    for step in (SECOND, THIRD, FOURTH):
        length, tail = _apply(word, at, length, tail, step)
    return _step_5(word, at, length)


def _packed(letters: str) -> int:
    """Up to eight letters as one number, the last letter lowest."""
    return int.from_bytes(letters.encode("ascii"), "big")


# The numbers of the lists; a plain 0 is a type of its own, for which kernels would be compiled once more.
FORMS, SECOND, THIRD, FOURTH = (np.int64(number) for number in range(4))
PADDING = 8  # bytes before a word that may be read
LETTER_D, LETTER_E, LETTER_I, LETTER_L, LETTER_S, LETTER_Y = (ord(letter) for letter in "deilsy")
VOWELS, NEVER_SHORT, NEVER_SINGLE = (tuple(map(ord, letters)) for letters in ("aeiou", "wxy", "lsz"))
AT, BL, ED, IZ, SS, STAR_D, EED, IED, IES, ING, ALLI, SSES = (
    np.uint64(_packed(suffix))
    for suffix in ("at", "bl", "ed", "iz", "ss", "*d", "eed", "ied", "ies", "ing", "alli", "sses")
)
MASK_1, MASK_2, MASK_3, MASK_4 = (np.uint64(256**letters - 1) for letters in (1, 2, 3, 4))
EIGHT = np.uint64(8)

# The four lists one after the other, each sorted by the last letter of the suffix (in the old order where
# that is the same, so that the first rule that fits is still the first): the rules of list k for a last
# letter c are those from FIRST_RULES[k, c] to FIRST_RULES[k, c + 1].
_LISTS = [sorted(rules, key=lambda rule: rule[0][-1]) for rules in (IRREGULAR, STEP_2, STEP_3, STEP_4)]
_RULES = [rule for rules in _LISTS for rule in rules]
SUFFIXES = np.array([_packed(suffix.replace("|", "")) for suffix, _ in _RULES], np.uint64)
SUFFIX_LENGTHS = np.array([len(suffix.replace("|", "")) for suffix, _ in _RULES])
SUFFIX_MASKS = np.array([256 ** int(letters) - 1 for letters in SUFFIX_LENGTHS], np.uint64)
STEM_LETTERS = np.array([max(suffix.find("|"), 0) for suffix, _ in _RULES])  # what stands before the bar
REPLACEMENTS = np.array([_packed(replacement) for _, replacement in _RULES], np.uint64)
REPLACEMENT_LENGTHS = np.array([len(replacement) for _, replacement in _RULES])
FIRST_RULES = np.array(
    [
        [sum(map(len, _LISTS[:k])) + sum(ord(suffix[-1]) < c for suffix, _ in rules) for c in range(257)]
        for k, rules in enumerate(_LISTS)
    ]
)
MEASURES = np.array(LIMITS)


@compiled
def _tail(word: Bytes, at: int, length: int) -> np.uint64:
    tail = np.uint64(0)
    end = at + length
    for i in range(8):
        tail = (tail << EIGHT) | np.uint64(word[end - 8 + i])
    if length < 8:
        tail &= (np.uint64(1) << np.uint64(8 * length)) - np.uint64(1)
    return tail


@compiled
def _vowel(word: Bytes, at: int, i: int) -> bool:
    """Whether letter i is a vowel: y is one after a consonant, and is none at the beginning."""
    turns = False
    while i > 0 and word[at + i] == LETTER_Y:
        turns = not turns
        i -= 1
    letter = word[at + i]
    return bool((letter in VOWELS) != turns)


@compiled
def _measure(word: Bytes, at: int, length: int) -> int:
    """Porter's m: how often a consonant follows a vowel in the first `length` letters."""
    count = 0
    vowel = False
    for i in range(length):
        letter = word[at + i]
        before = vowel
        if letter == LETTER_Y:
            vowel = i > 0 and not before
        else:
            vowel = letter in VOWELS
        count += before and not vowel
    return count


@compiled
def _short(word: Bytes, at: int, length: int) -> bool:
    """Condition *o, two letters included."""
    if length == 2:
        return _vowel(word, at, length - 2) and not _vowel(word, at, length - 1)
    if length < 2 or _vowel(word, at, length - 1):
        return False
    last = word[at + length - 1]
    if last in NEVER_SHORT:
        return False
    return _vowel(word, at, length - 2) and not _vowel(word, at, length - 3)


@compiled
def _rule(tail: np.uint64, step: np.int64) -> int:
    """The first rule of a list whose suffix the word has, or -1."""
    last = np.int64(tail & MASK_1)
    for rule in range(FIRST_RULES[step, last], FIRST_RULES[step, last + 1]):
        if tail & SUFFIX_MASKS[rule] == SUFFIXES[rule]:
            return rule
    return -1


@compiled
def _replace(word: Bytes, at: int, length: int, rule: int) -> int:
    left = length - SUFFIX_LENGTHS[rule]
    size = REPLACEMENT_LENGTHS[rule]
    for i in range(size):
        word[at + left + size - 1 - i] = (REPLACEMENTS[rule] >> np.uint64(8 * i)) & MASK_1
    return int(left + size)


@compiled
def _apply(word: Bytes, at: int, length: int, tail: np.uint64, step: np.int64) -> tuple[int, np.uint64]:
    """Steps 2, 3 and 4: the first rule that fits, if the stem before it is long enough."""
    rule = _rule(tail, step)
    if rule < 0 or _measure(word, at, length - SUFFIX_LENGTHS[rule] + STEM_LETTERS[rule]) <= MEASURES[step]:
        return length, tail
    length = _replace(word, at, length, rule)
    return length, _tail(word, at, length)


@compiled
def _step_1a(word: Bytes, at: int, length: int, tail: np.uint64) -> tuple[int, np.uint64]:
    if tail & MASK_1 != LETTER_S:
        return length, tail
    if tail & MASK_3 == IES:
        length -= 1 if length == 4 else 2
    elif tail & MASK_4 == SSES:
        length -= 2
    elif tail & MASK_2 != SS:
        length -= 1
    return length, _tail(word, at, length)


@compiled
def _step_1b(word: Bytes, at: int, length: int, tail: np.uint64) -> tuple[int, np.uint64]:
    if tail & MASK_3 == IED:
        length -= 1 if length == 4 else 2
        return length, _tail(word, at, length)
    if tail & MASK_3 == EED:
        if _measure(word, at, length - 3) > 0:
            length -= 1
        return length, _tail(word, at, length)
    left = length
    if tail & MASK_2 == ED:
        left = length - 2
    elif tail & MASK_3 == ING:
        left = length - 3
    vowels = False
    if left < length:
        for i in range(left):
            vowels = vowels or _vowel(word, at, i)
    if not vowels:
        return length, tail
    left = _tidy(word, at, left)
    return left, _tail(word, at, left)


@compiled
def _tidy(word: Bytes, at: int, length: int) -> int:
    """What follows the removal of ed or ing; the stem has a vowel."""
    tail = _tail(word, at, length)
    last = word[at + length - 1]
    if tail & MASK_2 == AT or tail & MASK_2 == BL or tail & MASK_2 == IZ:
        word[at + length] = LETTER_E
        return length + 1
    if length > 1 and word[at + length - 2] == last and not _vowel(word, at, length - 1):
        return length if last in NEVER_SINGLE else length - 1
    if tail & MASK_2 == STAR_D:  # NLTK also reads its name for double consonants, "*d", as a suffix
        word[at + length - 2] = LETTER_D
        return length - 1
    if _measure(word, at, length) == 1 and _short(word, at, length):
        word[at + length] = LETTER_E
        return length + 1
    return length


@compiled
def _step_1c(word: Bytes, at: int, length: int, tail: np.uint64) -> tuple[int, np.uint64]:
    if tail & MASK_1 != LETTER_Y or length < 3 or _vowel(word, at, length - 2):
        return length, tail
    word[at + length - 1] = LETTER_I
    return length, _tail(word, at, length)


@compiled
def _step_5(word: Bytes, at: int, length: int) -> int:
    if length > 0 and word[at + length - 1] == LETTER_E:
        measure = _measure(word, at, length - 1)
        if measure > 1 or (measure == 1 and not _short(word, at, length - 1)):
            length -= 1
    if (
        length > 1
        and word[at + length - 1] == LETTER_L
        and word[at + length - 2] == LETTER_L
        and _measure(word, at, length - 1) > 1
    ):
        length -= 1
    return length
