"""Endpoints, against a real HTTP server on this machine that misbehaves as servers do."""

import asyncio
import json
import multiprocessing
import os
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from double_i.endpoint import EndpointFailed, EndpointOptions, Question, ask
from double_i.queries import Answer
from nonet.errors import UserError

SECRET = "zumolu"
KEY = "sk-test-0123456789"
Reply = tuple[int, dict[str, str], str]


def chat(text: str | None, model: str = "served-1") -> str:
    return json.dumps({"model": model, "choices": [{"message": {"role": "assistant", "content": text}}]})


def questions(count: int) -> list[Question]:
    texts = [f"({SECRET}) does {n} begin with a fruit?" for n in range(count)]
    return [
        Question(n, f"hash-{n}", f"Q: {text}\nA:", [{"role": "user", "content": text}])
        for n, text in enumerate(texts)
    ]


def options(server: Any, **more: Any) -> EndpointOptions:
    url = server if isinstance(server, str) else server.url
    usual = {"name": "m", "first_wait": 0.01, "rate": 0.0, "timeout": 5.0, "key_env": "API_KEY_OF_TEST"}
    return EndpointOptions(url=url, **(usual | more))


def parity(server: Any, body: dict[str, Any], count: int) -> Reply:
    number = int(body["messages"][0]["content"].split()[2])
    return 200, {}, chat("Yes." if number % 2 else "No.")


def test_answers_in_order_of_questions_and_on_disk(serve: Any, tmp_path: Path) -> None:
    server = serve(parity)
    said: list[str] = []
    log = tmp_path / "answers.jsonl"
    found = ask(options(server, max_tokens=3), questions(9), log, say=said.append)
    assert [(answer.number, answer.raw, answer.model) for answer in found] == [
        (n, "Yes." if n % 2 else "No.", "served-1") for n in range(9)
    ]
    assert all(answer.latency and answer.latency > 0 for answer in found)
    assert datetime.fromisoformat(str(found[0].time)).tzinfo is not None
    body, headers, path = server.seen[0][1:]
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("m", 0, 3)
    assert "stream" not in body
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert sorted(line["number"] for line in lines) == list(range(9))
    assert {line["prompt_hash"] for line in lines} == {f"hash-{n}" for n in range(9)}
    assert log.stat().st_mode & 0o777 == 0o600
    assert "9 requests" in said[-1]
    for text in (*said, log.read_text()):
        assert SECRET not in text
        assert KEY not in text


def test_completions_send_the_rendered_prompt(serve: Any, tmp_path: Path) -> None:
    server = serve(lambda *_: (200, {}, json.dumps({"choices": [{"text": " Yes"}]})))
    found = ask(options(server, api="completions", key_env=""), questions(1), tmp_path / "log", say=str)
    assert found[0].raw == " Yes"
    assert found[0].model is None
    body, headers, path = server.seen[0][1:]
    assert path == "/v1/completions"
    assert body["prompt"] == questions(1)[0].prompt
    assert "messages" not in body
    assert "Authorization" not in headers


def test_429_waits_as_told_and_tries_again(serve: Any, tmp_path: Path) -> None:
    def rule(server: Any, body: dict[str, Any], count: int) -> Reply:
        return (429, {"Retry-After": "1"}, "{}") if count == 1 else parity(server, body, count)

    server = serve(rule)
    found = ask(options(server, concurrency=1), questions(3), tmp_path / "log", say=str)
    assert [answer.raw for answer in found] == ["No.", "Yes.", "No."]
    times = [entry[0] for entry in server.seen]
    assert len(times) == 4
    assert times[1] - times[0] >= 0.99


def test_server_errors_are_retried_and_then_end_resumably(serve: Any, tmp_path: Path) -> None:
    def rule(server: Any, body: dict[str, Any], count: int) -> Reply:
        return (503, {}, f"broken: {body}") if 2 < count < 6 else parity(server, body, count)

    server = serve(rule)
    log = tmp_path / "log"
    with pytest.raises(EndpointFailed, match=r"HTTP 503, 3 times in a row; 2 of 5 answers are in") as caught:
        ask(options(server, concurrency=1, retries=2), questions(5), log, say=str)
    assert SECRET not in str(caught.value)
    assert KEY not in str(caught.value)
    assert len(server.seen) == 5
    found = ask(options(server, concurrency=1, retries=2), questions(5), log, say=str)
    assert len(found) == 5
    assert len(server.seen) == 8


@pytest.mark.parametrize(("status", "code"), [(401, "invalid_api_key"), (403, ""), (404, ""), (400, "bad")])
def test_refused_requests_stop_at_once(serve: Any, tmp_path: Path, status: int, code: str) -> None:
    def rule(server: Any, body: dict[str, Any], count: int) -> Reply:
        return status, {}, json.dumps({"error": {"code": code or None, "message": f"{KEY} {body}"}})

    server = serve(rule)
    with pytest.raises(EndpointFailed, match=str(status)) as caught:
        ask(options(server, concurrency=2), questions(20), tmp_path / "log", say=str)
    assert code in str(caught.value)
    assert KEY not in str(caught.value)
    assert SECRET not in str(caught.value)
    assert len(server.seen) <= 2
    assert caught.value.__cause__ is None


def test_quota_that_is_spent_is_not_waited_for(serve: Any, tmp_path: Path) -> None:
    server = serve(lambda *_: (429, {}, '{"error": {"code": "insufficient_quota"}}'))
    with pytest.raises(EndpointFailed, match="insufficient_quota"):
        ask(options(server), questions(1), tmp_path / "log", say=str)
    assert len(server.seen) == 1


def test_hanging_server_times_out_and_is_tried_again(serve: Any, tmp_path: Path) -> None:
    def rule(server: Any, body: dict[str, Any], count: int) -> Reply | None:
        if count == 1:
            server.free.wait(20)
            return None
        return parity(server, body, count)

    server = serve(rule)
    start = time.monotonic()
    found = ask(options(server, timeout=0.3), questions(1), tmp_path / "log", say=str)
    assert found[0].raw == "No."
    assert len(server.seen) == 2
    assert 0.3 <= time.monotonic() - start < 5


def test_no_server_is_a_failure(tmp_path: Path) -> None:
    where = options("http://127.0.0.1:9", retries=1)
    os.environ["API_KEY_OF_TEST"] = KEY
    try:
        with pytest.raises(EndpointFailed, match="no connection"):
            ask(where, questions(1), tmp_path / "log", say=str)
    finally:
        del os.environ["API_KEY_OF_TEST"]


def test_empty_answers_and_refusals_are_answers(serve: Any, tmp_path: Path) -> None:
    def rule(server: Any, body: dict[str, Any], count: int) -> Reply:
        number = int(body["messages"][0]["content"].split()[2])
        refusal = {"choices": [{"message": {"content": None, "refusal": "I cannot help"}}]}
        return [
            (200, {}, chat("")),
            (200, {}, chat(None)),
            (200, {}, json.dumps(refusal)),
            (400, {}, '{"error": {"code": "content_filter"}}'),
        ][number]

    server = serve(rule)
    found = ask(options(server), questions(4), tmp_path / "log", say=str)
    assert [answer.raw for answer in found] == ["", "", "I cannot help", ""]
    assert len(server.seen) == 4


def test_servers_that_only_stream(serve: Any, tmp_path: Path) -> None:
    def rule(server: Any, body: dict[str, Any], count: int) -> Reply:
        if not body.get("stream"):
            return 400, {}, '{"error": {"message": "Only stream=true is supported"}}'
        parts = [{"role": "assistant"}, {"content": "Ye"}, {"content": "s."}, {}]
        events = [json.dumps({"model": "s", "choices": [{"delta": part}]}) for part in parts]
        text = ": hello\n\n" + "".join(f"data: {event}\n\n" for event in [*events, "[DONE]"])
        return 200, {"Content-Type": "text/event-stream"}, text

    server = serve(rule)
    found = ask(options(server, concurrency=1), questions(3), tmp_path / "log", say=str)
    assert [(answer.raw, answer.model) for answer in found] == [("Yes.", "s")] * 3
    assert [bool(entry[1].get("stream")) for entry in server.seen] == [False, True, True, True]


def test_servers_that_name_the_length_otherwise(serve: Any, tmp_path: Path) -> None:
    def rule(server: Any, body: dict[str, Any], count: int) -> Reply:
        if "max_tokens" in body:
            message = "Unsupported parameter: use 'max_completion_tokens'"
            return 400, {}, json.dumps({"error": {"param": "max_tokens", "message": message}})
        return parity(server, body, count)

    server = serve(rule)
    assert len(ask(options(server, concurrency=1), questions(2), tmp_path / "log", say=str)) == 2
    assert server.seen[1][1]["max_completion_tokens"] == 4


def test_rate_and_concurrency_are_kept(serve: Any, tmp_path: Path) -> None:
    def slow(server: Any, body: dict[str, Any], count: int) -> Reply:
        time.sleep(0.1)
        return parity(server, body, count)

    server = serve(slow)
    ask(options(server, rate=20.0, concurrency=8), questions(11), tmp_path / "a", say=str)
    times = [entry[0] for entry in server.seen]
    assert times[-1] - times[0] >= 10 / 20 - 0.03  # eleven starts have ten gaps
    assert server.most > 1
    server = serve(slow)
    ask(options(server, concurrency=3), questions(12), tmp_path / "b", say=str)
    assert server.most == 3


def _ask_until_killed(url: str, log: str) -> None:
    os.environ["API_KEY_OF_TEST"] = KEY
    ask(options(url, concurrency=1), questions(6), log, say=str)


def test_a_killed_run_asks_only_the_rest(serve: Any, tmp_path: Path) -> None:
    def rule(server: Any, body: dict[str, Any], count: int) -> Reply | None:
        if count == 4 and not server.free.is_set():
            server.free.wait(20)
            return None
        return parity(server, body, count)

    server = serve(rule)
    log = tmp_path / "log"
    child = multiprocessing.get_context("fork").Process(target=_ask_until_killed, args=(server.url, str(log)))
    child.start()
    end = time.monotonic() + 20
    while len(server.seen) < 4 and time.monotonic() < end:
        time.sleep(0.01)
    child.kill()
    child.join()
    server.free.set()
    with open(log, "a") as file:  # as if it had been killed within a line
        file.write('{"number": 3, "prompt_ha')
    found = ask(options(server, concurrency=1), questions(6), log, say=str)
    assert [answer.raw for answer in found] == ["No.", "Yes."] * 3
    asked = [int(entry[1]["messages"][0]["content"].split()[2]) for entry in server.seen]
    assert asked == [0, 1, 2, 3, 3, 4, 5]
    assert len(log.read_text().splitlines()) == 6


def test_budget(serve: Any, tmp_path: Path) -> None:
    server = serve(parity)
    log = tmp_path / "log"
    with pytest.raises(UserError, match="5 questions are left, but at most 3 requests"):
        ask(options(server, max_queries=3), questions(5), log, say=str)
    assert not server.seen

    def failing(server: Any, body: dict[str, Any], count: int) -> Reply:
        return (500, {}, "") if count % 2 else parity(server, body, count)

    server = serve(failing)
    with pytest.raises(EndpointFailed, match="budget of 5 requests is spent; 2 of 5 answers"):
        ask(options(server, max_queries=5, concurrency=1), questions(5), log, say=str)
    assert len(server.seen) == 5


def test_until_ends_early_and_counts_the_log(serve: Any, tmp_path: Path) -> None:
    server = serve(parity)
    log = tmp_path / "log"
    seen: list[int] = []

    def enough(answer: Answer) -> bool:
        seen.append(answer.number)
        return len(seen) >= 4

    found = ask(options(server, concurrency=1, max_queries=9), questions(50), log, until=enough, say=str)
    assert [answer.number for answer in found] == [0, 1, 2, 3]
    assert len(server.seen) == 4
    seen.clear()
    again = ask(options(server, concurrency=1), questions(50), log, until=enough, say=str)
    assert again == found
    assert len(server.seen) == 4


def test_works_where_a_loop_is_running(serve: Any, tmp_path: Path) -> None:
    server = serve(parity)

    async def inside() -> list[Answer]:
        return ask(options(server), questions(2), tmp_path / "log", say=str)

    assert [answer.raw for answer in asyncio.run(inside())] == ["No.", "Yes."]


@pytest.mark.parametrize("status", [503, 404, 401])
def test_requests_under_way_are_kept_when_another_fails(serve: Any, tmp_path: Path, status: int) -> None:
    def rule(server: Any, body: dict[str, Any], count: int) -> Reply:
        number = int(body["messages"][0]["content"].split()[2])
        if number == 0:
            while len(server.seen) < 3:
                time.sleep(0.01)
            return status, {}, "{}"
        time.sleep(0.5)
        return parity(server, body, count)

    server = serve(rule)
    log = tmp_path / "log"
    start = time.monotonic()
    with pytest.raises(EndpointFailed, match=str(status)) as caught:
        ask(options(server, concurrency=3, retries=0), questions(9), log, say=str)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    if status == 401:  # nothing that is sent with this key is worth waiting for
        assert not lines
        assert time.monotonic() - start < 0.5
    else:
        assert sorted((line["number"], line["raw"]) for line in lines) == [(1, "Yes."), (2, "No.")]
        assert "2 of 9 answers" in str(caught.value)
    assert len(server.seen) == 3  # nothing was sent after the failure


def test_requests_under_way_have_no_more_than_their_time(serve: Any, tmp_path: Path) -> None:
    def rule(server: Any, body: dict[str, Any], count: int) -> Reply | None:
        if int(body["messages"][0]["content"].split()[2]) == 0:
            while len(server.seen) < 2:
                time.sleep(0.01)
            return 404, {}, "{}"
        server.free.wait(20)
        return None

    server = serve(rule)
    start = time.monotonic()
    with pytest.raises(EndpointFailed, match="404"):
        ask(options(server, concurrency=2, timeout=0.6), questions(4), tmp_path / "log", say=str)
    assert 0.5 <= time.monotonic() - start < 5
    assert len(server.seen) == 2  # the one that timed out was not tried again


def test_workers_that_wait_for_a_retry_stop_when_another_fails(serve: Any, tmp_path: Path) -> None:
    def rule(server: Any, body: dict[str, Any], count: int) -> Reply:
        if int(body["messages"][0]["content"].split()[2]) == 0:
            return 503, {}, "{}"
        while len(server.seen) < 2:
            time.sleep(0.01)
        time.sleep(0.2)
        return 404, {}, "{}"

    server = serve(rule)
    start = time.monotonic()
    with pytest.raises(EndpointFailed, match="404"):
        ask(options(server, concurrency=2, first_wait=30.0), questions(2), tmp_path / "log", say=str)
    assert time.monotonic() - start < 5
    assert len(server.seen) == 2
