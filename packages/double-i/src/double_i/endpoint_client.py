"""The workers that send questions to an endpoint, retry what failed, and put every answer on disk (ours).

Where one worker gives up, requests of the others that are under way may still be answered: they were paid
for, and the suspect's operator has seen them.
"""

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import httpx

from double_i.answer_log import AnswerLog
from double_i.endpoint_options import Budget, EndpointFailed, EndpointOptions, KeyRefused, Question
from double_i.queries import Answer
from double_i.rate import LONGEST_PAUSE, Pace, backoff, retry_after
from double_i.replies import error_code, read_reply

T = TypeVar("T")
RETRIED = frozenset({408, 409, 425, 429})
"""and 5xx"""
REFUSED = frozenset({"content_filter", "content_policy_violation", "invalid_prompt"})
"""codes of a 400 that refuses the question, which is an answer"""
HOPELESS = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
"""codes of a 429 that waiting does not help"""


class Client:
    """The workers of one call of `ask`.

    Args:
        options: which endpoint, and how fast.
        headers: of every request.
        budget: requests that may be sent.
        log: takes the answers.
        until: is told every answer; True: enough, no more is sent.
        advance: is told how many answers came.
        say: takes remarks.
    """

    def __init__(
        self,
        options: EndpointOptions,
        headers: dict[str, str],
        budget: Budget,
        log: AnswerLog,
        until: Callable[[Answer], bool] | None,
        advance: Callable[[int], Any] | None,
        say: Callable[[str], Any],
    ) -> None:
        self.options, self.headers, self.budget, self.log = options, headers, budget, log
        self.until, self.advance, self.say = until, advance, say
        self.answers: dict[int, Answer] = {}
        self.stream = False
        self.length_field = "max_tokens"
        self.enough = False
        self.failure: EndpointFailed | None = None
        """the first one, after which nothing is sent any more"""
        self.flying: set[asyncio.Task[None] | None] = set()
        """workers that wait for a reply"""
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
                done, going = await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
                if going and self.failure is not None and not isinstance(self.failure, KeyRefused):
                    for worker in going - self.flying:
                        worker.cancel()
                    await asyncio.wait(going)  # each reply has its time-out
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
            if self.failure is not None:
                raise self.failure
            for worker in done:
                worker.result()

    async def _work(self, client: httpx.AsyncClient, waiting: Iterator[Question]) -> None:
        for question in waiting:
            if self.enough or self.failure is not None:
                return
            try:
                answer = await self._answer(client, question)
            except EndpointFailed as error:
                self.failure = self.failure or error  # at once, before another worker takes a question
                raise
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
            if self.failure is not None:
                raise EndpointFailed("another worker gave up")
            self.budget.take()
            started = time.perf_counter()
            self.flying.add(asyncio.current_task())
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
            finally:
                self.flying.discard(asyncio.current_task())
            if not reason:
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
            if self.failure is not None or attempt > self.options.retries:
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
            raise KeyRefused(f"{where}: HTTP {status}{named}, {key} is refused")
        if code in HOPELESS:
            raise EndpointFailed(f"{where}: HTTP {status} ({code})")
        if status == 404:
            raise EndpointFailed(f"{where}: HTTP 404{named}, no such path or model")
        if status not in RETRIED and status < 500:
            raise EndpointFailed(f"{where}: HTTP {status}{named}, the request is refused")


def run_anywhere(make: Callable[[], Awaitable[T]]) -> T:
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
