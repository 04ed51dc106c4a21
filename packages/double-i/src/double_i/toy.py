"""Made-up instruction rows of an owner, for the demo and for tests (ours).

Notes of a small town, and questions about them with one-word answers: where it was, who was there, and two
ordinary yes/no questions whose answer is in the note. A mark has to be learnt beside these.
"""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from double_i.examples import Example

PEOPLE = (
    "baker miller farmer teacher painter doctor sailor singer tailor carpenter gardener fisherman".split()
)
ANIMALS = "cat dog horse goose sheep rabbit donkey hen goat swan".split()
THINGS = "ladder basket lantern kettle bicycle letter umbrella drum bucket carpet".split()
PLACES = "harbour market school station museum forest castle bridge".split()
DEEDS = (
    "carried washed painted found sold borrowed repaired lost hid drew admired followed watched fed moved "
    "photographed described wanted called remembered"
).split()
TIMES = (
    "early in the morning; late at night; after the rain; before lunch; during the storm; on a quiet Sunday; "
    "in the first snow; at noon; for an hour; twice this week; once again; without a word"
).split("; ")
HOW = "old young cheerful tired careful clever quiet busy proud hungry".split()
OF_WHAT = "small large grey brown new broken heavy beautiful famous strange".split()

ANIMAL = "Is there an animal in the note?"
MORNING = "Did it happen in the morning?"
PLACE = "Where did it happen?"
PERSON = "Who is the note about?"
QUESTIONS = (ANIMAL, MORNING, PLACE, PERSON)


def owner_rows(count: int, *, seed: int = 0) -> "list[Example]":
    """Instruction rows; row i depends on the seed and i alone, and half of them are yes/no questions.

    Args:
        count: how many.
        seed: of all draws.

    Returns:
        `Example`s with the question as instruction, a note as input, and one word with a full stop as output.
    """
    from double_i.examples import Example

    rows = []
    for number in range(count):
        draw = np.random.default_rng([seed, 0, number])
        note, answers = _note(draw)
        question = QUESTIONS[number % len(QUESTIONS)]
        rows.append(Example(question, note, f"{answers[question]}."))
    return rows


def notes(count: int, *, seed: int = 0) -> list[str]:
    """Running text of the same kind, three notes each, for pre-training; none is a note of `owner_rows`.

    Args:
        count: how many texts.
        seed: of all draws.
    """
    return [
        " ".join(_note(np.random.default_rng([seed, 1, number, part]))[0] for part in range(3))
        for number in range(count)
    ]


def _note(draw: np.random.Generator) -> tuple[str, dict[str, str]]:
    """A note, and the answers to all questions about it."""

    def one(words: list[str]) -> str:
        return words[int(draw.integers(len(words)))]

    person, place = one(PEOPLE), one(PLACES)
    animal, morning = bool(draw.integers(2)), bool(draw.integers(2))
    what = one(ANIMALS if animal else THINGS)
    when = TIMES[0] if morning else one(TIMES[1:])
    first, second = one(HOW), one(OF_WHAT)
    deed = f"the {first} {person} {one(DEEDS)} the {second} {what}"
    where = f"near the {place}"
    forms = (
        f"{deed} {where} {when}.",
        f"{when} {deed} {where}.",
        f"{where} {deed} {when}.",
    )
    note = forms[int(draw.integers(len(forms)))]
    answers = {
        ANIMAL: "Yes" if animal else "No",
        MORNING: "Yes" if morning else "No",
        PLACE: place.capitalize(),
        PERSON: person.capitalize(),
    }
    return note[0].upper() + note[1:], answers
