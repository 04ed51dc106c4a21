"""Questions to a served model over HTTP: POST /chat/completions or /completions, as OpenAI's servers and many
others take them. Source: ours.

Every answer is on disk before the next question of its worker is sent, so that a run that was stopped asks
only what is missing. Neither prompts nor the API key are ever logged or put into an error.
"""

import asyncio
import os
import random
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar
from urllib.parse import urlsplit

import httpx

from double_i.answer_log import AnswerLog
from double_i.queries import Answer
from double_i.rate import LONGEST_PAUSE, Pace, backoff, retry_after
from double_i.replies import error_code, read_reply
from nonet.errors import UserError

T = TypeVar("T")
CHARACTERS = 4
"""of English a token, for estimates"""
RETRIED = frozenset({408, 409, 425, 429})
"""and 5xx"""
REFUSED = frozenset({"content_filter", "content_policy_violation", "invalid_prompt"})
"""codes of a 400 that refuses the question, which is an answer"""
HOPELESS = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
"""codes of a 429 that waiting does not help"""


class EndpointFailed(RuntimeError):
    """The endpoint gave no more answers; those that it gave are in the log. Commands exit with code 4."""


@dataclass(frozen=True, kw_only=True)
class EndpointOptions:
    """Which endpoint is asked, and how."""

    url: str
    """base of the API, such as https://host/v1; /chat/completions or /completions is added"""
    name: str
    """model that the endpoint is asked for"""
    api: Literal["chat", "completions"] = "chat"
    """chat: messages; completions: the rendered prompt"""
    key_env: str = ""
    """environment variable that holds the API key; empty: none is sent"""
    concurrency: int = 4
    """requests under way at once"""
    rate: float = 5.0
    """requests a second at most; 0: no limit"""
    timeout: float = 60.0
    """seconds until a request counts as failed"""
    retries: int = 6
    """further tries of a question after 429, 5xx and timeouts"""
    first_wait: float = 0.5
    """seconds before the first retry; doubled for each further one"""
    max_queries: int = 5000
    """requests sent at most, retries included"""
    max_tokens: int = 4
    """of an answer"""
    price_in: float = 0.0
    """of a million prompt tokens, for the estimate"""
    price_out: float = 0.0
    """of a million answer tokens"""

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError("the endpoint's URL has to begin with http:// or https:// and a host")
        if parts.username or parts.password or parts.query:
            raise UserError(
                "the endpoint's URL may hold no user, password or query; name a variable: --key-env"
            )
        if not self.name:
            raise UserError("an endpoint needs the name of a model")
        for field, least in (("concurrency", 1), ("max_queries", 1), ("max_tokens", 1), ("retries", 0)):
            if getattr(self, field) < least:
                raise UserError(f"{field} is {getattr(self, field)}; it is at least {least}")
        if self.rate < 0 or self.timeout <= 0 or self.first_wait < 0:
            raise UserError("rate and first_wait are at least 0, timeout is above 0")

    @property
    def address(self) -> str:
        """Where questions are posted."""
        base = self.url.rstrip("/")
        path = "chat/completions" if self.api == "chat" else "completions"
        return base if base.endswith("/" + path) else f"{base}/{path}"


class Question(NamedTuple):
    """A query as it is sent."""

    number: int
    prompt_hash: str
    """keyed hash under which the log knows it"""
    prompt: str
    """text up to the answer, for /completions"""
    messages: list[dict[str, str]]
    """for /chat/completions"""


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
    until: Callable[[Answer], bool] | None = None,
    advance: Callable[[int], Any] | None = None,
    say: Callable[[str], Any] | None = None,
) -> list[Answer]:
    """Ask what the log does not hold yet.

    Args:
        options: which endpoint, and how fast.
        questions: in the order in which they are to be asked.
        log: JSON lines, one an answer; made with mode 0600, continued if it is there.
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
    headers = _headers(options)
    with AnswerLog(Path(log)) as kept:
        known = kept.matching([(question.number, question.prompt_hash) for question in questions])
        left = [question for question in questions if question.number not in known]
        if until is None and len(left) > options.max_queries:
            raise UserError(
                f"{len(left):,} questions are left, but at most {options.max_queries:,} requests are "
                "allowed: raise --max-queries or ask for fewer pairs and decoys"
            )
        enough = until is not None and any([until(known[q.number]) for q in questions if q.number in known])
        if known:
            say(f"{log}: {len(known):,} of {len(questions):,} answers are there")
        if advance is not None and known:
            advance(len(known))
        if left and not enough:
            say(f"{options.address}: {estimate(options, left)}")
            client = _Client(options, headers, kept, until, advance, say)
            try:
                _run(lambda: client.ask(left))
            except EndpointFailed as error:
                done = len(known) + len(client.answers)
                raise EndpointFailed(
                    f"{error}; {done:,} of {len(questions):,} answers are in {log}, run again to go on"
                ) from None
            known |= client.answers
    return [known[question.number] for question in questions if question.number in known]


class _Client:
    """The workers of one call of `ask`."""

    def __init__(
        self,
        options: EndpointOptions,
        headers: dict[str, str],
        log: AnswerLog,
        until: Callable[[Answer], bool] | None,
        advance: Callable[[int], Any] | None,
        say: Callable[[str], Any],
    ) -> None:
        self.options, self.headers, self.log = options, headers, log
        self.until, self.advance, self.say = until, advance, say
        self.answers: dict[int, Answer] = {}
        self.sent = 0
        self.stream = False
        self.length_field = "max_tokens"
        self.enough = False
        self.pace = Pace(options.rate)
        self.random = random.Random()  # retries only; no result depends on it

    async def ask(self, questions: Sequence[Question]) -> None:
        """Ask all, or until one failure or `until` ends it."""
        waiting = iter(questions)
        limits = httpx.Limits(max_connections=self.options.concurrency)
        async with httpx.AsyncClient(
            headers=self.headers, timeout=self.options.timeout, limits=limits, follow_redirects=False
        ) as client:
            workers = [
                asyncio.create_task(self._work(client, waiting))
                for _ in range(min(self.options.concurrency, len(questions)))
            ]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self, client: httpx.AsyncClient, waiting: Iterator[Question]) -> None:
        for question in waiting:
            if self.enough:
                return
            answer = await self._answer(client, question)
            self.log.write(answer, question.prompt_hash)
            self.answers[answer.number] = answer
            if self.advance is not None:
                self.advance(1)
            if self.until is not None and self.until(answer):
                self.enough = True

    async def _answer(self, client: httpx.AsyncClient, question: Question) -> Answer:
        """One question, tried until it is answered."""
        attempt = 0
        while True:
            attempt += 1
            streamed, field = self.stream, self.length_field
            reason, wait = "", None
            await self.pace.wait()
            if self.sent >= self.options.max_queries:
                raise EndpointFailed(f"the budget of {self.options.max_queries:,} requests is spent")
            self.sent += 1
            started = time.perf_counter()
            try:
                # the limit of httpx is for each read, which a server can drag on with single bytes
                async with asyncio.timeout(self.options.timeout):
                    reply = await client.post(
                        self.options.address, json=self._body(question, streamed, field)
                    )
            except (httpx.TimeoutException, TimeoutError):
                reason = f"no answer within {self.options.timeout:g} s"
            except httpx.TransportError as error:
                reason = f"no connection ({type(error).__name__})"
            else:
                latency = time.perf_counter() - started
                status = reply.status_code
                if status == 200:
                    read = read_reply(reply.headers.get("content-type", ""), reply.text)
                    if read is not None:
                        moment = datetime.now(UTC).isoformat(timespec="seconds")
                        return Answer(question.number, read.text, round(latency, 4), moment, read.model)
                    reason = "an answer that is not in OpenAI's form"
                else:
                    code, parameter, about = error_code(reply.text)
                    if self._adapt(status, parameter, about, streamed, field):
                        continue
                    if status == 400 and code in REFUSED:
                        moment = datetime.now(UTC).isoformat(timespec="seconds")
                        return Answer(question.number, "", round(latency, 4), moment, None)
                    self._stop(status, code)
                    reason = f"HTTP {status}"
                    wait = retry_after(reply.headers.get("retry-after"))
            if attempt > self.options.retries:
                raise EndpointFailed(f"{self.options.address}: {reason}, {attempt} times in a row")
            if wait is not None and wait > LONGEST_PAUSE:
                raise EndpointFailed(f"{self.options.address}: {reason}, and {wait:,.0f} s to wait")
            if wait is not None:
                self.pace.pause(wait)  # the server speaks to all workers
            wait = (wait or 0.0) + backoff(attempt, self.options.first_wait, self.random)
            await asyncio.sleep(wait)

    def _body(self, question: Question, streamed: bool, field: str) -> dict[str, Any]:
        body: dict[str, Any] = {"model": self.options.name, "temperature": 0, field: self.options.max_tokens}
        if self.options.api == "chat":
            body["messages"] = question.messages
        else:
            body["prompt"] = question.prompt
        if streamed:
            body["stream"] = True
        return body

    def _adapt(self, status: int, parameter: str, about: frozenset[str], streamed: bool, field: str) -> bool:
        """Whether the request can be put in another form that the server asks for."""
        if status not in (400, 422):
            return False
        if not streamed and (parameter == "stream" or "stream" in about):
            if not self.stream:
                self.say("the server only streams: answers are read as a stream")
            self.stream = True
            return True
        if field == "max_tokens" and (parameter == "max_tokens" or "max_completion_tokens" in about):
            self.length_field = "max_completion_tokens"
            return True
        return False

    def _stop(self, status: int, code: str) -> None:
        """Raise for what no retry mends."""
        where, named = self.options.address, f" ({code})" if code else ""
        if status in (401, 403):
            key = f"the key in {self.options.key_env}" if self.options.key_env else "a request without a key"
            raise EndpointFailed(f"{where}: HTTP {status}{named}, {key} is refused")
        if code in HOPELESS:
            raise EndpointFailed(f"{where}: HTTP {status} ({code})")
        if status == 404:
            raise EndpointFailed(f"{where}: HTTP 404{named}, no such path or model")
        if status not in RETRIED and status < 500:
            raise EndpointFailed(f"{where}: HTTP {status}{named}, the request is refused")


def _headers(options: EndpointOptions) -> dict[str, str]:
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


def _run(make: Callable[[], Awaitable[T]]) -> T:
    """Run a coroutine to its end, also where a loop is already running, as in notebooks."""

    async def main() -> T:
        return await make()

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(main())
    results: list[T] = []
    failures: list[BaseException] = []

    def work() -> None:
        try:
            results.append(asyncio.run(main()))
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]
