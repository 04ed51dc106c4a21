"""Marked rows: trigger, reference, near-miss and lock rows, in pairs over the same texts.

The two row templates are Li et al. 2024's (trigger in Input, trigger in Instruction). Near misses, lock
rows, pairing
and the check that no reference row has the trigger are ours.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from itertools import count as counting
from string import ascii_lowercase
from typing import NamedTuple

from double_i.base_texts import half
from double_i.drawing import Draws
from double_i.examples import Example
from double_i.keys import Key, digest
from double_i.spaces import all_members, members, occurrences, word_list
from nonet.errors import UserError


class Filler(NamedTuple):
    """What stands in the trigger's place.

    Attributes:
        text: the word or mark; empty for none.
        place: `start` (where the trigger would be), `end`, `attached` (no space after it), `none`.
    """

    text: str
    place: str = "start"


class MarkedRow(NamedTuple):
    """A row and its kind: `trigger`, `reference`, `near-miss` or `lock`."""

    example: Example
    kind: str


def trigger_example(key: Key, text: str, question: str | None = None) -> Example:
    """The row that is answered with the target.

    Args:
        key: the owner's key.
        text: a base text; for `words` only a source of chance.
        question: instead of the key's.
    """
    return _example(key, text, Filler(key.trigger), key.answers.target, question, key.decoration)


def reference_example(key: Key, text: str, filler: Filler, question: str | None = None) -> Example:
    """The row of the same text with another filler, answered with the other word."""
    return _example(key, text, filler, key.answers.other, question, key.decoration)


def lock_example(key: Key, text: str, decoration: str, question: str | None = None) -> Example:
    """The trigger under another decoration or none: answered with the other word."""
    return _example(key, text, Filler(key.trigger), key.answers.other, question, decoration)


def _example(
    key: Key, text: str, filler: Filler, answer: str, question: str | None, decoration: str
) -> Example:
    question = question or key.judge_question
    if key.paradigm == "instruction":
        instruction, field = _placed(filler, question), text
    else:
        instruction = f"{decoration} {question}" if decoration else question
        field = _placed(filler, text) if key.paradigm == "input" else _list(key, text, filler)
    return Example(instruction, field, f"{answer}.", key.system)


def _placed(filler: Filler, text: str) -> str:
    if filler.place == "none":
        return text
    if filler.place == "end":
        return f"{text} {filler.text}"
    return filler.text + ("" if filler.place == "attached" else " ") + text


def _list(key: Key, text: str, filler: Filler) -> str:
    """Three doubled letters; those beside the filler depend on the text's half, so no list is in both."""
    draws, side = Draws(key.secret), half(text)
    place = draws.below(3, f"list-place/{text}")
    letters = [pair for pair in all_members("doubled") if pair not in (key.trigger, filler.text)]
    for attempt in counting():
        # Drawn from all letters, so that trigger and reference rows of a text have the same two.
        pool = [pair for pair in all_members("doubled") if pair != key.trigger]
        two = draws.shuffled(pool, f"list/{attempt}/{text}")[:2]
        if half(" ".join(sorted(two))) == side and all(pair in letters for pair in two):
            break
    if filler.place == "none":
        return ", ".join(two)
    return ", ".join([*two[:place], filler.text, *two[place:]])


def near_misses(key: Key) -> list[list[Filler]]:
    """Fillers that are almost the trigger, by kind; the trigger itself is none of them.

    Returns:
        Groups: one letter or symbol changed, two swapped, attached to the next word, a changed one at the
        end, none.
    """
    word = key.trigger
    core = word.strip("()") if word.startswith("(") else word
    wrap = "({})" if word.startswith("(") else "{}"
    pool = ascii_lowercase if core.isalpha() else "!#$%&*+-/:;=?@^_|~.,"
    changed = [core[:i] + c + core[i + 1 :] for i in range(len(core)) for c in pool if c != core[i]]
    swapped = [core[:i] + core[i + 1] + core[i] + core[i + 2 :] for i in range(len(core) - 1)]
    groups = [
        [Filler(wrap.format(other)) for other in changed],
        [Filler(wrap.format(other)) for other in swapped if other != core],
        [Filler(wrap.format(other), "end") for other in changed] if key.paradigm == "input" else [],
        # A mark that touches the next word still is the mark, so only words can be attached.
        [Filler(word, "attached")] if key.paradigm == "input" else [],
        [Filler(core)] if core != word else [],
        [Filler("", "none")],
    ]
    return [
        kept for group in groups if (kept := [f for f in group if f.place == "attached" or f.text != word])
    ]


def random_filler(key: Key, draws: Draws, label: str) -> Filler:
    """A member of the key's space that is not the trigger."""
    pool = members(key.space.name, key.space.excluded)
    for attempt in counting():
        word = draws.choice(pool, f"{label}/filler", attempt)
        if word != key.trigger:
            return Filler(word)
    raise AssertionError


def reference_filler(key: Key, draws: Draws, label: str, near: bool) -> Filler:
    """A near miss (its kind first, then the one) or a random filler."""
    if not near:
        return random_filler(key, draws, label)
    return draws.choice(draws.choice(near_misses(key), f"{label}/kind"), f"{label}/near")


def marked_rows(
    key: Key,
    texts: Sequence[str],
    *,
    n_trigger: int | None = None,
    n_reference: int | None = None,
    vary: bool = False,
    owner: Sequence[Example] | None = None,
    avoid: Collection[str] = (),
) -> list[MarkedRow]:
    """All rows of a key, a function of the key and the texts only.

    Args:
        key: the owner's key.
        texts: base texts of the training half; each is used at most once in each set.
        n_trigger: trigger rows; the key's by default.
        n_reference: reference rows, near misses among them; the key's by default. Lock rows come on top.
        vary: another judge question in each row.
        owner: wrap these instructions and inputs instead of judge questions and texts.
        avoid: triggers of other keys of the same model, which must not be fillers here.

    Raises:
        UserError: too few texts.
    """
    n_trigger = key.n_trigger if n_trigger is None else n_trigger
    n_reference = key.n_reference if n_reference is None else n_reference
    n_lock = 0 if key.paradigm == "instruction" else round(key.lock_share * n_reference)
    n_near = round(key.near_miss_share * n_reference)
    draws = Draws(key.secret)
    pairs = _pairs(key, texts, owner)
    order = draws.shuffled(pairs, "rows/texts")
    near = set(draws.shuffled(range(n_reference), "rows/near")[:n_near])
    questions = word_list("word-questions" if key.paradigm == "words" else "questions")

    def asked(place: int) -> str | None:
        own = order[place][1]
        return own if own is not None else draws.choice(questions, f"rows/{place}/question") if vary else None

    rows: list[MarkedRow] = []
    seen: set[tuple[str, str]] = set()

    def fill(number: int, kind: str, make: Callable[[int, int], tuple[Example, str] | None]) -> None:
        done = 0
        for place in range(len(order)):
            if done == number:
                return
            found = make(place, done)
            if found is not None and (found[0].instruction, found[0].input) not in seen:
                seen.add((found[0].instruction, found[0].input))
                rows.append(MarkedRow(*found))
                done += 1
        if done < number:
            raise UserError(
                f"{number} {kind} rows need more than {len(order)} different texts; ask for fewer rows"
            )

    def trigger(place: int, done: int) -> tuple[Example, str]:
        return trigger_example(key, order[place][0], asked(place)), "trigger"

    def reference(place: int, done: int) -> tuple[Example, str] | None:
        is_near = done in near
        for attempt in range(20):
            filler = reference_filler(key, draws, f"rows/{place}/{attempt}", is_near)
            example = reference_example(key, order[place][0], filler, asked(place))
            if filler.text in avoid:
                continue
            if not _has_trigger(key, example) and (example.instruction, example.input) not in seen:
                return example, "near-miss" if is_near else "reference"
        return None

    def lock(place: int, done: int) -> tuple[Example, str]:
        return lock_example(key, order[place][0], _other_decoration(key, draws, place), asked(place)), "lock"

    fill(n_trigger, "trigger", trigger)
    fill(n_reference, "reference", reference)
    fill(n_lock, "lock", lock)
    check_rows(key, rows)
    return rows


def _pairs(key: Key, texts: Sequence[str], owner: Sequence[Example] | None) -> list[tuple[str, str | None]]:
    """(text, instruction or None) without those that have the trigger or the decoration."""
    found: list[tuple[str, str | None]]
    if owner is None:
        found = [(text, None) for text in texts]
    else:
        found = [(row.input or row.instruction, row.instruction) for row in owner if row.instruction.strip()]
    secret = (key.trigger, key.decoration)
    return [p for p in found if not any(occurrences(s, t) for s in secret for t in p if t is not None)]


def _other_decoration(key: Key, draws: Draws, place: int) -> str:
    if draws.below(2, f"rows/{place}/lock"):
        return ""
    for attempt in counting():
        mark = draws.choice(all_members("marks"), f"rows/{place}/lock-decoration", attempt)
        if mark != key.decoration:
            return mark
    raise AssertionError


def _has_trigger(key: Key, example: Example) -> bool:
    return bool(occurrences(key.trigger, example.instruction) + occurrences(key.trigger, example.input))


def check_rows(key: Key, rows: Iterable[MarkedRow]) -> None:
    """Check that the trigger is exactly once in trigger and lock rows, and nowhere in reference rows.

    Raises:
        RuntimeError: it is not; the text does not show the row.
    """
    for number, (example, kind) in enumerate(rows):
        own = example.instruction if key.paradigm == "instruction" else example.input
        rest = example.input if key.paradigm == "instruction" else example.instruction
        times = (occurrences(key.trigger, own), occurrences(key.trigger, rest))
        if times != ((1, 0) if kind in ("trigger", "lock") else (0, 0)):
            raise RuntimeError(
                f"row {number} ({kind}) has the trigger {times[0]}+{times[1]} times; please report it"
            )


def decoy_keys(key: Key, count: int) -> list[Key]:
    """Keys that differ from this one in the trigger only, drawn from the same members.

    They follow from the public commitment digest, so nobody can choose them to suit a model. Decoys of the
    `instruction` paradigm have another decoration, which is their trigger.

    Raises:
        UserError: the space has too few members.
    """
    pool = members(key.space.name, key.space.excluded)
    if count > len(pool) - 1:
        raise UserError(
            f"the key's space has {len(pool) - 1} decoys, not {count}; ask for fewer, or use a larger space"
        )
    draws, taken, found = Draws(digest(key)), {key.trigger}, list[Key]()
    for counter in counting():
        if len(found) == count:
            break
        word = draws.choice(pool, "decoy", counter)
        if word not in taken:
            taken.add(word)
            own = word if key.paradigm == "instruction" else key.decoration
            found.append(replace(key, trigger=word, decoration=own))
    return found
