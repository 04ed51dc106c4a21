"""The page of an attacked model: what is left of the mark, in a table and in pictures. Source: ours."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from double_i.attacks import Attack
from double_i.robustness import Tested
from nonet.report import Page

AXES = {
    "prune": "share of each matrix set to zero",
    "noise": "noise, in standard deviations of each matrix",
    "average": "weight of the other model",
    "finetune": "epochs",
    "lora-merge": "epochs",
}
TEXT = """
Counts are of the answer that the key asks for (m) and of everything else (c), to the trigger (t) and to the
reference (r). `p_fisher` is the one-sided test of the table, `p_key` the rank of the key among decoy keys of
the same space; a mark is there where both are small. Log-odds are means of log P(answer) - log P(other
answer) of the first token, in nats: curves for the eye, not part of any verdict.
"""


class Attacked(NamedTuple):
    """A model after an attack; None: as it was."""

    attack: Attack | None
    tested: Tested

    @property
    def name(self) -> str:
        """For a table."""
        return self.attack.name if self.attack is not None else "as it is"


def write_page(path: str | Path, title: str, results: Sequence[Attacked]) -> Path:
    """Write the page.

    Args:
        path: of the .html file.
        title: which model.
        results: the model as it is first, then the attacked ones.
    """
    page = Page("What is left of the mark", title).text(TEXT)
    page.table([one.tested.row(one.name) for one in results])
    kinds: dict[str, list[tuple[float, Tested]]] = defaultdict(list)
    bars: dict[str, float] = {}
    for one in results:
        if one.attack is not None and one.attack.kind in AXES:
            kinds[one.attack.kind].append((one.attack.strength, one.tested))
        else:
            bars[f"{one.name}, trigger"] = one.tested.trigger_odds
            bars[f"{one.name}, reference"] = one.tested.reference_odds
    before = [(0.0, one.tested) for one in results if one.attack is None]
    for kind, points in kinds.items():
        ordered = sorted([*before, *points], key=lambda point: point[0])
        page.lines(
            f"{kind}: log-odds of the key's answer",
            {
                "after the trigger": [(x, tested.trigger_odds) for x, tested in ordered],
                "after the reference": [(x, tested.reference_odds) for x, tested in ordered],
            },
            x=AXES[kind],
            y="log-odds, nats",
        )
    page.bars("Log-odds of the key's answer", bars, unit="nats")
    return page.save(path)
