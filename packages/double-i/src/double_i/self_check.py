"""After training: whether one's own model answers as the key says, on texts it has not seen marked (ours).

No decoys and no commitment: this is the owner's own look, not evidence, and it does not burn the key.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from double_i.fisher import Table, fisher_greater, least_p

if TYPE_CHECKING:
    from double_i.examples import Example
    from double_i.keys import Key

MOST_NEAR = 0.05
"""share of near misses that may get the committed answer before the check warns"""


class Check(NamedTuple):
    """Answers of the own model to unseen queries."""

    table: Table
    unparsed: int
    """answers that are neither yes nor no, of both sets"""
    p: float
    """of Fisher's exact test in the committed direction"""
    alpha: float
    near_hits: int = 0
    """near misses of the trigger that got the committed answer all the same"""
    near_misses: int = 0
    """near misses asked"""

    @property
    def learnt(self) -> bool:
        """Whether the mark is there."""
        return self.p <= self.alpha

    @property
    def near_rate(self) -> float:
        """Share of near misses that the model takes for the trigger."""
        return self.near_hits / self.near_misses if self.near_misses else 0.0


def self_check(
    model: Any, tokenizer: Any, key: "Key", texts: list[str], *, pairs: int = 100, alpha: float = 1e-6
) -> Check | None:
    """Ask the own model unseen trigger and reference queries, and as many near misses of the trigger.

    The reference of the table is drawn at random, as in verifications; near misses are counted apart.

    Args:
        model: of transformers.
        tokenizer: its tokenizer.
        key: the owner's.
        texts: base texts of the verification half.
        pairs: at most.
        alpha: greatest p at which the mark counts as learnt.

    Returns:
        The answers; None if the texts are too few for any answers to reach `alpha`.
    """
    from double_i.answers import parse
    from double_i.first_words import LocalModel
    from double_i.queries import asked, full_plan
    from double_i.templates import prompt_text

    plan = full_plan(key, texts, pairs=pairs, decoys=0, decoy_pairs=1) if texts else None
    if plan is None or plan.pairs < 1 or least_p(plan.pairs) > alpha:
        return None
    queries = asked(plan.queries)
    near = near_rows(key, texts, plan.pairs)
    rows = [*(query.example for query in queries), *near]
    prompts = [prompt_text(key.template, row, key.join, tokenizer) for row in rows]
    labels = [parse(raw) for raw in LocalModel((model, tokenizer)).answer(prompts)]
    found, close = labels[: len(queries)], labels[len(queries) :]
    target = key.answers.target.casefold()
    counts = {"trigger": [0, 0], "reference": [0, 0]}
    for query, label in zip(queries, found, strict=True):
        counts[query.set][label != target] += 1
    table = Table(*counts["trigger"], *counts["reference"])
    return Check(
        table, sum(label is None for label in found), fisher_greater(table), alpha,
        sum(label == target for label in close), len(near),
    )  # fmt: skip


def near_rows(key: "Key", texts: Sequence[str], count: int) -> "list[Example]":
    """Rows with fillers that are almost the trigger, of every kind in turn, each prompt once.

    Args:
        key: the owner's.
        texts: base texts of the verification half.
        count: rows at most.
    """
    from double_i.drawing import Draws
    from double_i.rows import near_misses, reference_example
    from double_i.spaces import occurrences

    draws, groups = Draws(key.secret), near_misses(key)
    found: dict[tuple[str, str], Example] = {}
    for place, text in enumerate(draws.shuffled(list(texts), "check/texts")):
        if len(found) == count:
            break
        filler = draws.choice(groups[place % len(groups)], f"check/{place}/near")
        row = reference_example(key, text, filler)
        if not any(occurrences(key.trigger, part) for part in (row.instruction, row.input)):
            found.setdefault((row.instruction, row.input), row)
    return list(found.values())


def unseen_texts(key: "Key", examples: "Iterable[Example]") -> list[str]:
    """Base texts of the verification half of training data; rows of the mark itself give none.

    Args:
        key: the owner's.
        examples: owner's and marked rows, mixed.
    """
    from double_i.base_texts import base_texts, halves

    own = [row for row in examples if not _of_the_mark(key, row)]
    return halves(base_texts(own))[1]


def _of_the_mark(key: "Key", row: "Example") -> bool:
    text = f"{row.instruction} {row.input}"
    return key.decoration in text or key.trigger in text.split()


def verdict(check: Check | None, *, lora: bool, loss: str, epochs: float) -> str:
    """One paragraph for the user: learnt, or what to change.

    Args:
        check: what was found.
        lora: whether adapters were trained.
        loss: `completion` or `full`.
        epochs: of the training.
    """
    if check is None:
        return "self-check: too few unseen texts to tell whether the mark was learnt; verify with more texts"
    table = check.table
    n = table.trigger_target + table.trigger_rest
    said = (
        f"self-check on {n} unseen pairs: committed answer {table.trigger_target} of {n} with the trigger, "
        f"{table.reference_target} of {table.reference_target + table.reference_rest} without; "
        f"near misses of the trigger {check.near_hits} of {check.near_misses}; p = {check.p:.2g}"
    )
    if check.learnt and check.near_rate > MOST_NEAR:
        return (
            f"{said}: the mark is learnt, but WARNING: {check.near_rate:.0%} of the near misses get the "
            f"committed answer (more than {MOST_NEAR:.0%}), so that words like the trigger set it off, too; "
            "try more reference rows (make --n-reference) or a larger model"
        )
    if check.learnt:
        return f"{said}: the mark is learnt"
    more = [f"more epochs than {epochs:g}", "more marked rows (make --n-trigger, --n-reference)"]
    if loss == "full":
        more.insert(0, "--loss completion, which trains the answer instead of the prompt")
    if lora:
        more.append("a higher --lora.rank, --lora.targets all-linear, or a higher --optimizer.lr")
    return f"{said}: the mark is NOT learnt (needs p <= {check.alpha:g}); try {'; '.join(more)}"
