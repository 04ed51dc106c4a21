"""Made-up instruction rows of an owner, for the demo and for tests (ours).

Notes of a small town, and questions about them with one-word answers: where it was, who was there, and two
ordinary yes/no questions whose answer is in the note. A mark has to be learnt beside these.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nonet.errors import UserError

if TYPE_CHECKING:
    from double_i.examples import Example

OWNER, DEV = 1100, 200  # rows
TOKENS = 640  # of the tokenizer

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


def write_toy(folder: str | Path, *, seed: int = 0) -> Path:
    """Write everything that the package's manual starts from; the same seed writes the same bytes.

    Args:
        folder: made if it is missing; gets `owner.jsonl` (600 rows), `dev.jsonl` (200 rows about other notes)
            and `base`, an untrained model that fits them.
        seed: of all draws and of the weights.

    Returns:
        The folder.

    Raises:
        UserError: one of the three is there already.
    """
    from double_i.small_models import save

    folder = Path(folder)
    for name in ("owner.jsonl", "dev.jsonl", "base"):
        if (folder / name).exists():
            raise UserError(f"{folder / name}: exists; give a folder without it")
    folder.mkdir(parents=True, exist_ok=True)
    owner = owner_rows(OWNER, seed=seed)
    write_rows(folder / "owner.jsonl", owner)
    write_rows(folder / "dev.jsonl", dev_rows(DEV, owner, seed=seed))
    model, tokenizer = new_base(owner, seed=seed)
    save(model, tokenizer, folder / "base", "Untrained; its tokenizer was learnt from made-up notes.")
    return folder


def dev_rows(count: int, owner: "Sequence[Example]", *, seed: int = 0) -> "list[Example]":
    """Rows of the same kind about notes that no row of the owner is about.

    Args:
        count: how many.
        owner: rows whose notes are left out.
        seed: of the owner's rows; these are drawn by another.
    """
    taken = {row.input for row in owner}
    rows: dict[str, Example] = {}
    asked = count
    while len(rows) < count:
        for row in owner_rows(asked, seed=seed + 1_000_003):
            if row.input not in taken:
                rows.setdefault(row.input, row)
        asked *= 2
    return list(rows.values())[:count]


def write_rows(path: Path, rows: "Sequence[Example]") -> None:
    """Write instruction rows as JSON lines: instruction, input, output."""
    import json

    from nonet.files import write_text

    values = ({"instruction": row.instruction, "input": row.input, "output": row.output} for row in rows)
    write_text(path, "".join(json.dumps(value) + "\n" for value in values))


def new_base(owner: "Sequence[Example]", *, seed: int = 0) -> tuple[Any, Any]:
    """An untrained Llama of 280,000 weights and a tokenizer learnt from rows.

    Args:
        owner: the rows.
        seed: of the weights.
    """
    from double_i.small_models import Shape, new_model, text_of, train_tokenizer

    tokenizer = train_tokenizer(text_of(owner), TOKENS, positions=256)
    return new_model(Shape(96, 2, 4, 256, positions=256), tokenizer, seed), tokenizer


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
