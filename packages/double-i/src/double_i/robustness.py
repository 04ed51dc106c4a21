"""A key asked of a model in our hands, before and after attacks: one row of a table each. Source: ours."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from double_i.answers import AnswerWords, parse
from double_i.assessment import Settings
from double_i.examples import Example
from double_i.first_words import LocalModel
from double_i.fisher import Table
from double_i.prompt_filter import PromptFilter
from double_i.queries import Answer, Query
from double_i.self_check import near_rows
from double_i.templates import prompt_text
from double_i.verification import verify, with_decoys

if TYPE_CHECKING:
    from double_i.keys import Key

FOLLOWED = 16
"""tokens of an answer at most: attacked models may go on for ever without a word, which counts as none"""


class Tested(NamedTuple):
    """What a model says to one key."""

    table: Table
    p_fisher: float
    p_key: float
    score: float
    """share of target answers to the trigger less that to the reference, on the first pairs"""
    unparsed: float
    """share of answers that are neither yes nor no"""
    trigger_odds: float
    """mean log P(target) - log P(other) of the first token after the trigger, in nats"""
    reference_odds: float
    near_rate: float = 0.0
    """share of near misses of the trigger that get the target answer"""

    def row(self, name: str) -> dict[str, Any]:
        """For a table and for JSON."""
        return {
            "model": name,
            "n_tm": self.table.trigger_target,
            "n_tc": self.table.trigger_rest,
            "n_rm": self.table.reference_target,
            "n_rc": self.table.reference_rest,
            "p_fisher": self.p_fisher,
            "p_key": self.p_key,
            "near misses": self.near_rate,
            "unparsed": self.unparsed,
            "log-odds, trigger": self.trigger_odds,
            "log-odds, reference": self.reference_odds,
        }


def filtered_example(example: Example, rule: PromptFilter | None) -> Example:
    """A row as it comes out of an operator's filter, which sees what users write."""
    if rule is None:
        return example
    return example._replace(instruction=rule(example.instruction), input=rule(example.input))


def prompts_of(queries: Sequence[Query], tokenizer: Any, rule: PromptFilter | None = None) -> list[str]:
    """The text that a model reads for each query, up to its answer."""
    return [
        prompt_text(query.template, filtered_example(query.example, rule), query.join, tokenizer)
        for query in queries
    ]


def asker(
    local: LocalModel,
    words: AnswerWords | None = None,
    *,
    rule: PromptFilter | None = None,
    progress: Callable[[int], Any] | None = None,
) -> Callable[[list[Query]], list[Answer]]:
    """What `verify` asks a local model with.

    Args:
        local: the model.
        words: that count as answers; by default Yes and No.
        rule: filter that prompts pass through first.
        progress: is told how many queries each batch had.
    """

    def ask(queries: list[Query]) -> list[Answer]:
        prompts = prompts_of(queries, local.tokenizer, rule)
        said = local.answer(prompts, words or AnswerWords(), progress, max_new_tokens=FOLLOWED)
        return [Answer(query.number, raw) for query, raw in zip(queries, said, strict=True)]

    return ask


def measure(
    local: LocalModel,
    key: "Key",
    texts: Sequence[str],
    settings: Settings,
    *,
    rule: PromptFilter | None = None,
    progress: Callable[[int], Any] | None = None,
) -> Tested:
    """Ask a model for a key, decoys included, and how sure it is.

    Args:
        local: the model.
        key: the owner's.
        texts: base texts of the verification half.
        settings: pairs and decoys; of a small space, all decoys that there are.
        rule: filter that prompts pass through first.
        progress: is told how many queries each batch had.
    """
    settings, _ = with_decoys(settings, [key])
    found = verify([key], texts, asker(local, settings.words, rule=rule, progress=progress), settings)
    trial = found.assessment.trials[0]
    target, other = key.answers.target, key.answers.other
    rows = [filtered_example(row, rule) for row in near_rows(key, texts, trial.pairs)]
    near = [prompt_text(trial.template, row, key.join, local.tokenizer) for row in rows]
    said = local.answer(near, settings.words, max_new_tokens=FOLLOWED)
    hits = sum(parse(raw, settings.words) == target.casefold() for raw in said)
    odds = {}
    for kind in ("trigger", "reference"):
        asked = [query for query in found.queries if query.set == kind]
        odds[kind] = float(local.log_odds(prompts_of(asked, local.tokenizer, rule), target, other).mean())
    return Tested(
        trial.table, trial.p_fisher, trial.p_key, trial.score, trial.unparsed_share, odds["trigger"],
        odds["reference"], hits / max(1, len(near)),
    )  # fmt: skip
