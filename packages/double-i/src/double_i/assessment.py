"""From recorded answers to numbers: what `verify` and `recheck` both compute. Source: ours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from double_i.answers import AnswerWords, Label, parse
from double_i.fisher import Table, fisher_greater
from double_i.key_randomisation import Combine, p_key
from double_i.queries import Set
from double_i.sequential import run_pairs
from double_i.verdict import Evidence, Verdict, decide

SETS: tuple[Set, ...] = ("trigger", "reference", "decoy")


class Record(NamedTuple):
    """A query and its answer, without the prompt."""

    number: int
    key_id: str
    template: str
    set: Set
    pair: int
    decoy: int
    same: int
    prompt_hash: str
    raw: str | None
    """None: no answer came, which counts against the owner"""
    latency: float | None = None
    time: str | None = None
    model: str | None = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a verification is done; fixed before the first question."""

    alpha: float = 1e-6
    """level of the first test"""
    pairs: int = 100
    """of trigger and reference for each key, at most"""
    decoys: int = 99
    decoy_pairs: int = 20
    """of the first pairs, those that decoys are asked with"""
    sequential: bool = False
    """stop as soon as the e-value of the pairs reaches 1 / alpha"""
    group: int = 4
    """pairs that are asked at once where they may stop early"""
    combine: Combine = "none"
    templates: tuple[str, ...] = ()
    """to try, with Holm's correction; none: the key's own"""
    words: AnswerWords = field(default_factory=AnswerWords)


class Trial(NamedTuple):
    """One key under one template."""

    key_id: str
    template: str
    target: str
    """committed answer to the trigger"""
    pairs: int
    table: Table
    unparsed: tuple[int, int, int]
    """of trigger, reference and decoy answers"""
    missing: int
    """queries without an answer"""
    p_fisher: float
    stopped: int | None
    """pairs until the e-value reached its level; None: it did not, or was not asked to"""
    e_value: float | None
    p: float
    """that the verdict takes: Fisher's, or 1 / e-value"""
    score_pairs: int
    score: float
    decoy_scores: list[float]
    p_key: float
    unparsed_share: float


class Assessment(NamedTuple):
    """All numbers."""

    trials: list[Trial]
    verdict: Verdict


def level_of(settings: Settings, tests: int) -> float:
    """At which an e-value stops, where so many tests are corrected by Holm."""
    return settings.alpha / tests if settings.combine == "holm" else settings.alpha


def assess(
    records: Sequence[Record], settings: Settings, targets: Mapping[str, str], committed: Mapping[str, bool]
) -> Assessment:
    """The numbers of recorded answers.

    Args:
        records: of all queries, in any order.
        settings: as they were fixed.
        targets: key id -> Yes or No.
        committed: key id -> whether its digest was checked against a commitment.

    Raises:
        UserError: a key has no trigger or no reference answers.
    """
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in sorted(records):
        groups.setdefault((record.key_id, record.template), []).append(record)
    trials = [_trial(group, settings, targets[key_id], len(groups)) for (key_id, _), group in groups.items()]
    evidence = [
        Evidence(
            one.p, one.p_key, len(one.decoy_scores), one.unparsed_share, committed.get(one.key_id, False)
        )
        for one in trials
    ]
    return Assessment(trials, decide(evidence, alpha=settings.alpha, combine=settings.combine))


def hit(record: Record, target: Label, words: AnswerWords) -> bool:
    """Whether an answer counts as the target; what is missing counts against the owner."""
    if record.raw is None:
        return record.set != "trigger"
    return parse(record.raw, words) == target


def _trial(records: list[Record], settings: Settings, answer: str, tests: int) -> Trial:
    words = settings.words
    target: Label = "yes" if answer == "Yes" else "no"
    hits: dict[tuple[str, int, int], bool] = {}
    unparsed = dict.fromkeys(SETS, 0)
    sizes = dict(unparsed)
    for record in records:
        hits[record.set, record.decoy, record.pair] = hit(record, target, words)
        sizes[record.set] += 1
        unparsed[record.set] += record.raw is None or parse(record.raw, words) is None
    trigger = {pair: value for (kind, _, pair), value in hits.items() if kind == "trigger"}
    reference = {pair: value for (kind, _, pair), value in hits.items() if kind == "reference"}
    pairs = sorted(set(trigger) & set(reference))
    table = Table(
        sum(trigger.values()), len(trigger) - sum(trigger.values()),
        sum(reference.values()), len(reference) - sum(reference.values()),
    )  # fmt: skip
    p = p_fisher = fisher_greater(table)
    stopped = e_value = None
    if settings.sequential:
        test = run_pairs(((trigger[k], reference[k]) for k in pairs), level_of(settings, tests))
        stopped, e_value, p = test.stopped, test.e_value, test.p
    first = pairs[: settings.decoy_pairs]
    shared = _share([reference[pair] for pair in first])
    numbers = sorted({record.decoy for record in records if record.set == "decoy"})
    scores = [_share([hits["decoy", k, pair] for pair in first]) - shared for k in numbers]
    score = _share([trigger[pair] for pair in first]) - shared
    own = (unparsed["trigger"] + unparsed["reference"]) / (sizes["trigger"] + sizes["reference"])
    other = unparsed["decoy"] / sizes["decoy"] if sizes["decoy"] else 0.0
    return Trial(
        records[0].key_id, records[0].template, answer, len(pairs), table,
        (unparsed["trigger"], unparsed["reference"], unparsed["decoy"]),
        sum(record.raw is None for record in records), p_fisher, stopped, e_value, p,
        len(first), score, scores, p_key(score, scores), max(own, other),
    )  # fmt: skip


def _share(values: Sequence[bool]) -> float:
    return sum(values) / len(values)


def tables(assessed: Assessment) -> list[dict[str, Any]]:
    """The contingency tables as JSON values."""
    return [
        {
            "key_id": one.key_id, "template": one.template, "target": one.target, "pairs": one.pairs,
            **one.table._asdict(), "unparsed": dict(zip(SETS, one.unparsed, strict=True)),
            "missing": one.missing, "p_fisher": one.p_fisher, "e_value": one.e_value, "stopped": one.stopped,
        }
        for one in assessed.trials
    ]  # fmt: skip


def decoy_table(assessed: Assessment) -> list[dict[str, Any]]:
    """The scores of keys and decoys as JSON values; decoys have numbers, no words."""
    return [
        {
            "key_id": one.key_id, "template": one.template, "pairs": one.score_pairs, "score": one.score,
            "decoys": one.decoy_scores, "p_key": one.p_key,
        }
        for one in assessed.trials
    ]  # fmt: skip
