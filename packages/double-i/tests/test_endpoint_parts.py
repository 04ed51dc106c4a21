"""What asking an endpoint takes besides requests: options, logs, budgets, paces, replies of any form."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest

from double_i.answer_log import AnswerLog
from double_i.endpoint import Budget, EndpointFailed, EndpointOptions, Question, ask, estimate
from double_i.queries import Answer
from double_i.rate import Pace, backoff, retry_after
from double_i.replies import error_code, read_reply
from nonet.errors import UserError

QUESTION = [Question(0, "hash-0", "Q: is it?\nA:", [{"role": "user", "content": "is it?"}])]


def test_a_log_of_another_run_is_refused(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with AnswerLog(log) as kept:
        kept.write(Answer(0, "Yes", 0.1, None, None), "other")
        with pytest.raises(UserError, match="another run is writing"), AnswerLog(log):
            pass
    where = EndpointOptions(url="http://127.0.0.1:9", name="m")
    with pytest.raises(UserError, match="answer 0 is to another question"):
        ask(where, QUESTION, log, say=str)
    log.write_text('{"number": 0}\n')
    with pytest.raises(UserError, match=r"log:1: no answer"):
        ask(where, QUESTION, log, say=str)


def test_key_comes_from_the_environment_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def options(url: str) -> EndpointOptions:
        return EndpointOptions(url=url, name="m", key_env="API_KEY_OF_TEST")

    monkeypatch.delenv("API_KEY_OF_TEST", raising=False)
    with pytest.raises(UserError, match="API_KEY_OF_TEST is not set"):
        ask(options("http://127.0.0.1:9"), QUESTION, tmp_path / "log", say=str)
    monkeypatch.setenv("API_KEY_OF_TEST", "sk-test-0123456789")
    with pytest.raises(UserError, match="not sent over plain http"):
        ask(options("http://example.org/v1"), QUESTION, tmp_path / "log", say=str)
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize(
    "url", ["ftp://host/v1", "host/v1", "http://user:word@host/v1", "https://host/v1?key=1"]
)
def test_odd_urls(url: str) -> None:
    with pytest.raises(UserError, match="URL") as caught:
        EndpointOptions(url=url, name="m")
    assert "user:word" not in str(caught.value)
    assert "key=1" not in str(caught.value)


@pytest.mark.parametrize("field", ["concurrency", "max_queries", "max_tokens", "timeout"])
def test_odd_numbers(field: str) -> None:
    with pytest.raises(UserError, match=field):
        EndpointOptions(url="https://host", name="m", **{field: 0})
    with pytest.raises(UserError, match="name of a model"):
        EndpointOptions(url="https://host", name="")


def test_estimate_by_hand() -> None:
    where = EndpointOptions(url="https://h", name="m", max_tokens=4, price_in=1e6, price_out=2e6, rate=2.0)
    asked = [Question(n, "", "", [{"role": "user", "content": "x" * 10}]) for n in range(4)]
    found = estimate(where, asked)
    assert found == (4, 10, 16, 42.0, 2.0)
    assert "about 42.00" in str(found)


def test_retry_after() -> None:
    now = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
    assert retry_after("2.5") == 2.5
    assert retry_after("Thu, 01 Jan 2026 12:00:30 GMT", now) == 30
    assert retry_after("Thu, 01 Jan 2026 11:00:00 GMT", now) == 0
    assert [retry_after(text) for text in (None, "soon", "nan", "inf")] == [None] * 4


def test_backoff_doubles_and_is_bounded() -> None:
    random = Random(0)
    for attempt, middle in [(1, 0.5), (2, 1.0), (4, 4.0), (50, 60.0)]:
        drawn = [backoff(attempt, 0.5, random) for _ in range(200)]
        assert 0.5 * middle <= min(drawn) < 0.6 * middle
        assert 1.4 * middle < max(drawn) <= 1.5 * middle


def test_pause_holds_back_everyone() -> None:
    async def main() -> float:
        pace = Pace(1000)
        loop = asyncio.get_running_loop()
        start = loop.time()
        waiting = asyncio.create_task(pace.wait())
        pace.pause(0.2)
        await asyncio.gather(waiting, pace.wait())
        return loop.time() - start

    assert asyncio.run(main()) >= 0.2


def test_replies_in_odd_forms() -> None:
    parts = [{"type": "text", "text": "Yes"}, {"type": "text", "text": "!"}]
    assert read_reply("", json.dumps({"choices": [{"message": {"content": parts}}]})) == ("Yes!", None)
    for body in ("", "[]", "{}", '{"choices": []}', '{"choices": [3]}', '{"error": {}}', "data: {"):
        assert read_reply("application/json", body) is None
    assert error_code('{"error": "stream please"}') == ("", "", frozenset({"stream"}))
    assert error_code("<html>") == ("", "", frozenset())
    assert error_code(json.dumps({"error": {"type": "a b", "param": 3}}))[:2] == ("", "")


def test_a_budget_is_kept_on_disk(tmp_path: Path) -> None:
    budget = Budget(3, tmp_path / "asking" / "requests")
    budget.take()
    budget.take()
    assert Budget(3, tmp_path / "asking" / "requests").left == 1
    again = Budget(2, tmp_path / "asking" / "requests")
    assert again.left == 0
    with pytest.raises(EndpointFailed, match="budget of 2 requests is spent"):
        again.take()
    assert again.sent == 2
