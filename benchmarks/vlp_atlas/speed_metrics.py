"""`make bench-vlp-atlas`: task metrics against the loops that data sets and models publish for them.

Retrieval of 1,000 images and 5,000 captions against an argsort a query, as in ALBEF's evaluation; accuracy of
VQA against its evaluation's loop over ten people, mark by mark; ANLS against a plain table of edits; nDTW
against a table filled cell by cell. The peers are written down here anew. Values agree before anything is
timed. Source: ours.
"""

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from benchmarks.harness import Row, save, table, versus
from numpy.typing import NDArray

from nonet.metrics.answers import CONTRACTIONS, DIGITS, MARKS
from nonet.metrics.cross_modal import cross_modal
from nonet.metrics.documents import anls
from nonet.metrics.navigation import geodesics
from nonet.metrics.vqa import vqa_accuracy
from nonet.metrics.warping import warp_costs

SEED = 0
IMAGES, EACH = 1000, 5
CUTS = (1, 5, 10)
PEOPLE = 10
QUESTIONS, READINGS, WALKS = 5000, 2000, 1000
VIEWPOINTS, STEPS = 200, (5, 30)  # of a scene; of a walk
RADIUS = 3.0
CLOSE = 1e-9

ANSWERS = [
    "yes", "no", "2", "two", "red", "blue", "a dog", "the cat", "black and white", "none", "Nike.",
    "tennis racket", "on the table", "right", "dont know", "stop sign", "1,000", "T-shirt", "skateboarding",
    "it is sunny",
]  # fmt: skip
ADJECTIVES = "big,small,red,dark-blue,old,new,wooden,two,the left,green,white,round,tall,broken,wet".split(
    ","
)
NOUNS = "dogs,cat,bus,trains,pizza,table,bench,kite,sign,phone,surfboard,tree,lamp,hat,clock,bike".split(",")
READS = [
    "Invoice 2041", "12 March 1998", "The Coca-Cola Company", "$1,204.50", "Dr. R. Peterson", "Philip Morris",
    "0.28", "42%", "Atlanta, Georgia", "University of California", "Brand Manager", "page 7", "B. A. Smith",
    "National Cancer Institute", "1-800-555-0199",
]  # fmt: skip
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789 "

Ranks = tuple[list[float], list[float]]


# -------------------------------------------------------------------------------------------------- retrieval


def sorted_recalls(similarity: NDArray[Any], texts_of: Sequence[Sequence[int]]) -> Ranks:
    """R@1, 5, 10 in both directions: every row and column is sorted, and the right ones are looked up."""
    image_of = {text: image for image, texts in enumerate(texts_of) for text in texts}
    to_text = np.zeros(len(similarity))
    for image, row in enumerate(similarity):
        order = np.argsort(row)[::-1]
        to_text[image] = min(np.where(order == text)[0][0] for text in texts_of[image])
    to_image = np.zeros(similarity.shape[1])
    for text, row in enumerate(similarity.T):
        to_image[text] = np.where(np.argsort(row)[::-1] == image_of[text])[0][0]
    return (
        [float((to_image < cut).mean()) for cut in CUTS],
        [float((to_text < cut).mean()) for cut in CUTS],
    )


def retrieval(tiny: bool) -> Row:
    images = 20 if tiny else IMAGES
    rng = np.random.default_rng(SEED)
    similarity = rng.standard_normal((images, images * EACH)).astype(np.float32)
    similarity[np.repeat(np.arange(images), EACH), np.arange(images * EACH)] += 2.5
    texts_of = np.arange(images * EACH).reshape(images, EACH).tolist()

    def ours() -> Ranks:
        found = cross_modal(similarity, cuts=CUTS)
        return list(found.text_to_image.recall.values()), list(found.image_to_text.recall.values())

    name = f"recall of {images:,} images and {images * EACH:,} captions against an argsort a query"
    return contest(
        name, ours, lambda: sorted_recalls(similarity, texts_of), tiny, images * (1 + EACH), "queries"
    )


# -------------------------------------------------------------------------------------------------------- VQA


def bare(text: str) -> str:
    out = text
    for mark in MARKS:
        if mark + " " in text or " " + mark in text or re.search(r"(\d)(,)(\d)", text) is not None:
            out = out.replace(mark, "")
        else:
            out = out.replace(mark, " ")
    return re.sub(r"\.(?!\d)", "", out, count=32)


def worded(text: str) -> str:
    words = []
    for word in text.lower().split():
        digit = DIGITS.get(word, word)
        if digit not in ("a", "an", "the"):
            words.append(CONTRACTIONS.get(digit, digit))
    return " ".join(words)


def looped_accuracy(guesses: dict[str, str], people: dict[str, list[str]]) -> float:
    """The evaluation of 2015: for each person of a question, the others who gave the answer are counted."""
    values = []
    for question, guess in guesses.items():
        guess = worded(bare(guess.replace("\n", " ").replace("\t", " ").strip()))
        answers = [{"answer": answer, "answer_id": place} for place, answer in enumerate(people[question])]
        if len({str(one["answer"]) for one in answers}) > 1:
            for one in answers:
                one["answer"] = bare(str(one["answer"]))
        scores = []
        for one in answers:
            others = [other for other in answers if other != one]
            agreeing = [other for other in others if other["answer"] == guess]
            scores.append(min(1, len(agreeing) / 3))
        values.append(sum(scores) / len(scores))
    return sum(values) / len(values)


def vqa(tiny: bool) -> Row:
    rng = np.random.default_rng(SEED)
    guesses, people = {}, {}
    for number in range(20 if tiny else QUESTIONS):
        known = ANSWERS[rng.integers(len(ANSWERS))]
        chosen = [known, f"{rng.choice(ADJECTIVES)} {rng.choice(NOUNS)}", f"{known} {rng.choice(NOUNS)}"]
        people[str(number)] = [chosen[min(place, 2)] for place in (rng.geometric(0.6, PEOPLE) - 1).tolist()]
        guesses[str(number)] = chosen[rng.integers(3)]
    return contest(
        f"VQA accuracy of {len(guesses):,} questions against the published loop",
        lambda: vqa_accuracy(guesses, people).accuracy,
        lambda: looped_accuracy(guesses, people),
        tiny,
        len(guesses),
        "questions",
    )


# ------------------------------------------------------------------------------------------------------- ANLS


def table_distance(left: str, right: str) -> int:
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        above, row = row, [i]
        for j, b in enumerate(right, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (a != b)))
    return row[-1]


def plain_anls(guesses: dict[str, str], answers: dict[str, list[str]]) -> float:
    total = 0.0
    for question, right in answers.items():
        values = []
        for answer in right:
            a, b = answer.strip().lower(), guesses[question].strip().lower()
            distance = table_distance(a, b) / max(len(a), len(b))
            values.append(1 - distance if distance < 0.5 else 0.0)
        total += max(values)
    return total / len(answers)


def reading(tiny: bool) -> Row:
    """A third of the predictions is right, a third has some letters wrong, a third is another text."""
    rng = np.random.default_rng(SEED)
    guesses, answers = {}, {}
    for number in range(20 if tiny else READINGS):
        right = READS[rng.integers(len(READS))]
        answers[str(number)] = [right, right.replace(",", "")]
        letters = list(right)
        for place in rng.choice(len(letters), min(3, len(letters)), replace=False).tolist():
            letters[place] = LETTERS[rng.integers(len(LETTERS))]
        guesses[str(number)] = (right, "".join(letters), READS[rng.integers(len(READS))])[number % 3]
    return contest(
        f"ANLS of {len(guesses):,} questions against a plain table of edits",
        lambda: anls(guesses, answers).mean,
        lambda: plain_anls(guesses, answers),
        tiny,
        len(guesses),
        "questions",
    )


# ------------------------------------------------------------------------------------------------- navigation


def looped_ndtw(costs: Sequence[Sequence[Sequence[float]]]) -> float:
    total = 0.0
    for cost in costs:
        n, m = len(cost), len(cost[0])
        cells = [[math.inf] * (m + 1) for _ in range(n + 1)]
        cells[0][0] = 0.0
        for i in range(1, n + 1):
            for j in range(1, m + 1):
                least = min(cells[i - 1][j], cells[i][j - 1], cells[i - 1][j - 1])
                cells[i][j] = cost[i - 1][j - 1] + least
        total += math.exp(-cells[n][m] / (RADIUS * m))
    return total / len(costs)


def walking(tiny: bool) -> Row:
    """Both get the distances between viewpoints of path and reference: ours as arrays, the peer as lists."""
    rng = np.random.default_rng(SEED)
    places = rng.uniform(0, 20, (20 if tiny else VIEWPOINTS, 2))
    straight = np.linalg.norm(places[:, None] - places, axis=2)
    distances = geodesics(np.where(straight < 8, straight, np.inf))
    costs = [
        distances[np.ix_(*(rng.integers(len(places), size=rng.integers(*STEPS)) for _ in range(2)))]
        for _ in range(20 if tiny else WALKS)
    ]
    lists = [cost.tolist() for cost in costs]
    lengths = np.array([cost.shape[1] for cost in costs])
    return contest(
        f"nDTW of {len(costs):,} walks of {STEPS[0]} to {STEPS[1] - 1} viewpoints against loops",
        lambda: float(np.exp(-warp_costs(costs) / (RADIUS * lengths)).mean()),
        lambda: looped_ndtw(lists),
        tiny,
        len(costs),
        "walks",
    )


def contest(name: str, ours: Any, peer: Any, tiny: bool, count: int, unit: str) -> Row:
    """Time both; the row keeps both values and their largest difference."""
    seen: list[float] = []

    def same(mine: Any, theirs: Any) -> bool | str:
        seen.append(float(np.max(np.abs(np.subtract(mine, theirs)))))
        return seen[0] <= CLOSE or f"largest difference {seen[0]}"

    row = versus(
        name,
        ours,
        peer,
        same,
        rounds=1 if tiny else 5,
        min_seconds=0 if tiny else 0.2,
        unit=unit,
        per_call=count,
    )
    values = {"ours_value": np.ravel(ours()).tolist(), "peer_value": np.ravel(peer()).tolist()}
    return row | values | {"largest_difference": seen[0]}


def main(tiny: bool = False) -> list[Row]:
    """All rows; kept in benchmarks/results unless they are tiny."""
    rows = [part(tiny) for part in (retrieval, vqa, reading, walking)]
    print(table(rows))
    for row in rows:
        print(row["name"], row["ours_value"], row["peer_value"], "difference", row["largest_difference"])
    if not tiny:
        save("vlp-atlas", rows, table="metrics", versions=("numpy",), data="made-up predictions", seed=SEED)
    return rows


if __name__ == "__main__":
    main()
