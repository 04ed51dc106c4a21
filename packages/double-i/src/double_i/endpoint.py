"""Questions to a served model over HTTP: POST /chat/completions or /completions, as OpenAI's servers and many
others take them. Source: ours.

Every answer is on disk before the next question of its worker is sent, so that a run that was stopped asks
only what is missing. Neither prompts nor the API key are ever logged or put into an error.
"""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from double_i.answer_log import AnswerLog
from double_i.endpoint_client import Client, run_anywhere
from double_i.endpoint_options import Budget, EndpointFailed, EndpointOptions, KeyRefused, Question
from double_i.queries import Answer
from nonet.errors import UserError

__all__ = [
    "Budget", "EndpointFailed", "EndpointOptions", "Estimate", "KeyRefused", "Question", "ask", "estimate",
    "headers_of",
]  # fmt: skip

CHARACTERS = 4
"""of English a token, for estimates"""


class Estimate(NamedTuple):
    """What the questions that are left will take."""

    requests: int
    tokens_in: int
    tokens_out: int
    cost: float
    seconds: float
    """at least, by the rate"""

    def __str__(self) -> str:
        price = f", about {self.cost:.2f} at the given prices" if self.cost else ""
        return (
            f"{self.requests:,} requests, about {self.tokens_in:,} tokens in and at most "
            f"{self.tokens_out:,} out{price}, at least {self.seconds:.0f} s"
        )


def estimate(options: EndpointOptions, questions: Sequence[Question]) -> Estimate:
    """Requests, tokens (four characters each), cost and time of questions, before any is sent."""
    if options.api == "chat":
        signs = sum(len(part["content"]) for question in questions for part in question.messages)
    else:
        signs = sum(len(question.prompt) for question in questions)
    tokens_in, tokens_out = -(-signs // CHARACTERS), options.max_tokens * len(questions)
    cost = (tokens_in * options.price_in + tokens_out * options.price_out) / 1e6
    seconds = len(questions) / options.rate if options.rate else 0.0
    return Estimate(len(questions), tokens_in, tokens_out, cost, seconds)


def ask(
    options: EndpointOptions,
    questions: Sequence[Question],
    log: str | Path,
    *,
    budget: Budget | None = None,
    until: Callable[[Answer], bool] | None = None,
    advance: Callable[[int], Any] | None = None,
    say: Callable[[str], Any] | None = None,
) -> list[Answer]:
    """Ask what the log does not hold yet.

    Args:
        options: which endpoint, and how fast.
        questions: in the order in which they are to be asked.
        log: JSON lines, one an answer; made with mode 0600, continued if it is there.
        budget: requests that may be sent, which several calls can share; by default those of the options.
        until: is told every answer, those of the log first; True: enough, no more is sent.
        advance: is told how many answers came.
        say: takes the estimate and remarks; by default they go to standard error.

    Returns:
        The answers in the order of the questions; with `until`, only those that there are.

    Raises:
        UserError: the key's variable is not set, the budget is smaller than the questions, or the log is of
            other questions.
        EndpointFailed: the endpoint refused the key or the request, or went on failing.
    """
    say = say or (lambda text: print(text, file=sys.stderr))
    headers = headers_of(options)
    budget = budget or Budget(options.max_queries)
    with AnswerLog(Path(log)) as kept:
        known = kept.matching([(question.number, question.prompt_hash) for question in questions])
        left = [question for question in questions if question.number not in known]
        if until is None and len(left) > budget.left:
            raise UserError(
                f"{len(left):,} questions are left, but at most {budget.left:,} requests are "
                "allowed: raise --max-queries or ask for fewer pairs and decoys"
            )
        enough = until is not None and any([until(known[q.number]) for q in questions if q.number in known])
        if known:
            say(f"{log}: {len(known):,} of {len(questions):,} answers are there")
        if advance is not None and known:
            advance(len(known))
        if left and not enough:
            say(f"{options.address}: {estimate(options, left)}")
            client = Client(options, headers, budget, kept, until, advance, say)
            try:
                run_anywhere(lambda: client.ask(left))
            except EndpointFailed as error:
                done = len(known) + len(client.answers)
                raise EndpointFailed(
                    f"{error}; {done:,} of {len(questions):,} answers are in {log}, run again to go on"
                ) from None
            known |= client.answers
    return [known[question.number] for question in questions if question.number in known]


def headers_of(options: EndpointOptions) -> dict[str, str]:
    """What goes with every request: the API key, if there is one.

    Raises:
        UserError: its variable is not set or holds none, or it would leave in the clear.
    """
    if not options.key_env:
        return {}
    key = os.environ.get(options.key_env, "").strip()
    if not key:
        raise UserError(f"the environment variable {options.key_env} is not set; it should hold the API key")
    if not key.isascii() or not key.isprintable():
        raise UserError(f"the environment variable {options.key_env} holds no API key: it has odd characters")
    parts = urlsplit(options.url)
    if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise UserError("an API key is not sent over plain http; use https")
    return {"Authorization": f"Bearer {key}"}
