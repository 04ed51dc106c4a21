"""MATCH, INCONCLUSIVE or NO EVIDENCE, and why. Source: ours.

A match takes both: answers that differ in the committed direction, and a key that is special among decoys.
The first alone is what models with an opinion on a word give as well.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from double_i.fisher import least_p, smallest_n
from double_i.key_randomisation import Combine, combined, decoys_needed
from double_i.sequential import LAMBDA, pairs_needed
from nonet.errors import UserError

Outcome = Literal["MATCH", "INCONCLUSIVE", "NO EVIDENCE"]
LEVEL_KEY = 0.01
"""of p_key; 99 decoys reach it"""
MOST_UNPARSED = 0.2
"""share of answers that are neither yes nor no, above which there is no match"""
EXIT = {"MATCH": 0, "NO EVIDENCE": 1, "INCONCLUSIVE": 3}
"""exit codes of the command"""


class Evidence(NamedTuple):
    """What one key gave under one template."""

    p: float
    """Fisher's, or that of early stopping"""
    p_key: float
    decoys: int
    unparsed: float
    """share, the larger of the key's own queries and of the decoys"""
    committed: bool
    """the digest was checked against a commitment"""


class Verdict(NamedTuple):
    """The outcome, the p-values that it rests on, and sentences that say why."""

    outcome: Outcome
    p: float
    """of the key that carries the claim, corrected for all that were asked"""
    p_key: float
    best: int
    """place of that key"""
    reasons: list[str]


def decide(found: Sequence[Evidence], *, alpha: float, combine: Combine) -> Verdict:
    """The verdict.

    Args:
        found: one for each key and template.
        alpha: level of the first test.
        combine: of several, as declared before asking.

    Returns:
        MATCH if both tests hold for one key, its digest was committed and enough answers were parsed;
        INCONCLUSIVE if one test holds, or both without the rest; else NO EVIDENCE.
    """
    tests = combined([one.p for one in found], combine)
    ranks = combined([one.p_key for one in found], combine)
    slack = 1 + 1e-9
    holds = [(p <= alpha * slack, q <= LEVEL_KEY * slack) for p, q in zip(tests, ranks, strict=True)]
    sound = [one.committed and one.unparsed <= MOST_UNPARSED for one in found]
    if combine == "fisher":  # one claim by all keys: what one lacks, all lack
        sound = [all(sound)] * len(sound)
    order = sorted(
        range(len(found)), key=lambda k: (-(all(holds[k]) + (all(holds[k]) and sound[k])), tests[k], ranks[k])
    )
    best = order[0]
    differs, special = holds[best]
    outcome: Outcome = "NO EVIDENCE"
    if differs and special and sound[best]:
        outcome = "MATCH"
    elif any(any(pair) for pair in holds):
        outcome = "INCONCLUSIVE"
    reasons = [
        f"Trigger and reference answers {'differ' if differs else 'do not differ enough'} in the committed "
        f"direction: p = {tests[best]:.3g}, level {alpha:.3g}.",
        f"The key {'is special' if special else 'is not special enough'} among {found[best].decoys} decoys: "
        f"p_key = {ranks[best]:.3g}, level {LEVEL_KEY:g}.",
    ]
    reasons += _limits(found, best, combine)
    return Verdict(outcome, tests[best], ranks[best], best, reasons)


def _limits(found: Sequence[Evidence], best: int, combine: Combine) -> list[str]:
    shown = found if combine == "fisher" else [found[best]]
    reasons = []
    if any(not one.committed for one in shown):
        reasons.append("No commitment was checked, so that the key could have been made up: no MATCH.")
    if max(one.unparsed for one in shown) > MOST_UNPARSED:
        reasons.append(
            f"{max(one.unparsed for one in shown):.0%} of the answers are neither yes nor no (more than "
            f"{MOST_UNPARSED:.0%}): the template or the model is unsuited, no MATCH."
        )
    reasons += decoy_limit(min(one.decoys for one in found), len(found), combine)
    return reasons


def decoy_limit(decoys: int, tests: int, combine: Combine) -> list[str]:
    """What is to be said if so few decoys cannot give a MATCH; empty if they can."""
    needed = decoys_needed(tests, combine, LEVEL_KEY)
    if decoys >= needed:
        return []
    least = combined([1 / (decoys + 1)] * tests, combine)[0]
    return [
        f"With {decoys} decoys p_key cannot be below {least:.3g}, and a MATCH needs {LEVEL_KEY:g}: "
        f"that takes {needed} decoys."
    ]


def check_reachable(alpha: float, pairs: int, tests: int, combine: Combine, sequential: bool) -> None:
    """Refuse a level that perfect answers could not reach.

    Args:
        alpha: level of the first test.
        pairs: of each key.
        tests: keys times templates.
        combine: of them.
        sequential: whether pairs stop early.

    Raises:
        UserError: it says how many pairs are needed.
    """

    def reachable(count: int) -> bool:
        least = (1 + LAMBDA) ** -count if sequential else least_p(count)
        return combined([least] * tests, combine)[0] <= alpha * (1 + 1e-9)

    if reachable(pairs):
        return
    most = (pairs_needed if sequential else smallest_n)(alpha / (tests if combine == "holm" else 1))
    needed = next(count for count in range(1, most + 2) if reachable(count))
    raise UserError(
        f"alpha {alpha:g} cannot be reached with {pairs} pairs; it needs at least {needed}: "
        "ask for more with --pairs, give more base texts with --data, or take a larger --alpha"
    )
