"""A small made-up world of reports, for the demo and for tests: deterministic, no files (ours).

Each report is a handful of sentences about one event in one place. The words that matter occur in several
sentences, so that the principal sentence is the one that says what happened; the summary says it in a few
words.
"""

from typing import NamedTuple

import numpy as np

PLACES = "Aber Bela Cano Dorn Elba Faro Gant Hald Isla Jena Kiel Lund Mora Nant Oslo Pula".split()
EVENTS = {
    "flood": ("water", "river", "bridge", "boats"),
    "storm": ("wind", "roofs", "trees", "power"),
    "fire": ("smoke", "forest", "engines", "sparks"),
    "strike": ("workers", "wages", "factory", "talks"),
    "festival": ("music", "crowds", "stages", "tickets"),
    "frost": ("ice", "pipes", "harvest", "snow"),
    "election": ("votes", "mayor", "ballots", "parties"),
    "drought": ("wells", "fields", "dust", "cattle"),
}
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
RESULTS = {
    "closed the {0} of {place}": "{place} {0} closed after {event}",
    "filled the {0} of {place}": "{place} {0} full after {event}",
    "spared the {0} of {place}": "{place} {0} safe after {event}",
}
THINGS = "harbour school market station museum library".split()
FILLERS = (
    "Nobody could say how long this would last.",
    "Shops opened late and closed early.",
    "Our paper will report again on {day}.",
    "Some had seen it coming for weeks.",
    "The council of {place} met in the evening.",
    "A visitor said that she had never seen the like.",
    "The {thing} was on the minds of many.",
)


class Report(NamedTuple):
    """A made-up report."""

    text: str
    summary: str


def reports(count: int, *, seed: int = 0) -> list[Report]:
    """Made-up reports of five to eight sentences each.

    Args:
        count: how many.
        seed: of the draws; report i depends on the seed and i alone.
    """
    return [_report(np.random.default_rng([seed, i])) for i in range(count)]


def _report(draw: np.random.Generator) -> Report:
    def pick(items: list[str] | tuple[str, ...]) -> str:
        return str(items[draw.integers(len(items))])

    place, day, thing, event = pick(PLACES), pick(DAYS), pick(THINGS), pick(list(EVENTS))
    first, second, third, _ = draw.permutation(np.array(EVENTS[event])).tolist()
    done, short = list(RESULTS.items())[draw.integers(len(RESULTS))]
    principal = f"The {event} with its {first} and {second} {done.format(thing, place=place)} on {day}."
    about = [
        f"On {day} people in {place} spoke of the {first}.",
        f"There had been {second} before the {event} came.",
        f"The {third} near the {thing} told of the {event}, too.",
    ]
    fillers = [
        str(text).format(day=day, place=place, thing=thing)
        for text in draw.choice(FILLERS, draw.integers(1, 4), replace=False)
    ]
    rest = [*about, *fillers]
    order = draw.permutation(len(rest)).tolist()
    sentences = [rest[i] for i in order]
    sentences.insert(int(draw.integers(len(sentences) + 1)), principal)
    return Report(" ".join(sentences), short.format(thing, place=place, event=event))
