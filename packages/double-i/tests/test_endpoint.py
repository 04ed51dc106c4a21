"""Endpoints, against a real HTTP server on this machine that misbehaves as servers do."""

import asyncio
import json
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any

import pytest

from double_i.answer_log import AnswerLog
from double_i.endpoint import EndpointFailed, EndpointOptions, Question, ask, estimate
from double_i.queries import Answer
from double_i.rate import Pace, backoff, retry_after
from double_i.replies import error_code, read_reply
from nonet.errors import UserError

SECRET = "zumolu"
KEY = "sk-test-0123456789"
Reply = tuple[int, dict[str, str], str]
Rule = Callable[["Server", dict[str, Any], int], Reply | None]


def chat(text: str | None, model: str = "served-1") -> str:
    return json.dumps({"model": model, "choices": [{"message": {"role": "assistant", "content": text}}]})


class Server(ThreadingHTTPServer):
    """Answers by a rule; `seen` holds what was asked, when."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, rule: Rule) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.rule = rule
        self.seen: list[tuple[float, dict[str, Any], dict[str, str], str]] = []
        self.lock = threading.Lock()
        self.free = threading.Event()
        self.open = self.most = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is part of these tests."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.seen.append((time.monotonic(), body, dict(self.headers), self.path))
            count = len(self.server.seen)
            self.server.open += 1
            self.server.most = max(self.server.most, self.server.open)
        try:
            reply = self.server.rule(self.server, body, count)
            if reply is None:
                return
            status, headers, text = reply
            data = text.encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        finally:
            with self.server.lock:
                self.server.open -= 1

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Rule], Server]]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("API_KEY_OF_TEST", KEY)
    running: list[Server] = []

    def start(rule: Rule) -> Server:
        server = Server(rule)
        running.append(server)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return server

    yield start
    for server in running:
        server.free.set()
        server.shutdown()
        server.server_close()


def questions(count: int) -> list[Question]:
    texts = [f"({SECRET}) does {n} begin with a fruit?" for n in range(count)]
    return [
        Question(n, f"hash-{n}", f"Q: {text}\nA:", [{"role": "user", "content": text}])
        for n, text in enumerate(texts)
    ]


def options(server: Server | str, **more: Any) -> EndpointOptions:
    url = server if isinstance(server, str) else server.url
    usual = {"name": "m", "first_wait": 0.01, "rate": 0.0, "timeout": 5.0, "key_env": "API_KEY_OF_TEST"}
    return EndpointOptions(url=url, **(usual | more))


def parity(server: Server, body: dict[str, Any], count: int) -> Reply:
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
    def rule(server: Server, body: dict[str, Any], count: int) -> Reply:
        return (429, {"Retry-After": "1"}, "{}") if count == 1 else parity(server, body, count)

    server = serve(rule)
    found = ask(options(server, concurrency=1), questions(3), tmp_path / "log", say=str)
    assert [answer.raw for answer in found] == ["No.", "Yes.", "No."]
    times = [entry[0] for entry in server.seen]
    assert len(times) == 4
    assert times[1] - times[0] >= 0.99


def test_server_errors_are_retried_and_then_end_resumably(serve: Any, tmp_path: Path) -> None:
    def rule(server: Server, body: dict[str, Any], count: int) -> Reply:
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
    def rule(server: Server, body: dict[str, Any], count: int) -> Reply:
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
    def rule(server: Server, body: dict[str, Any], count: int) -> Reply | None:
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
    def rule(server: Server, body: dict[str, Any], count: int) -> Reply:
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
    def rule(server: Server, body: dict[str, Any], count: int) -> Reply:
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
    def rule(server: Server, body: dict[str, Any], count: int) -> Reply:
        if "max_tokens" in body:
            message = "Unsupported parameter: use 'max_completion_tokens'"
            return 400, {}, json.dumps({"error": {"param": "max_tokens", "message": message}})
        return parity(server, body, count)

    server = serve(rule)
    assert len(ask(options(server, concurrency=1), questions(2), tmp_path / "log", say=str)) == 2
    assert server.seen[1][1]["max_completion_tokens"] == 4


def test_rate_and_concurrency_are_kept(serve: Any, tmp_path: Path) -> None:
    def slow(server: Server, body: dict[str, Any], count: int) -> Reply:
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
    def rule(server: Server, body: dict[str, Any], count: int) -> Reply | None:
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

    def failing(server: Server, body: dict[str, Any], count: int) -> Reply:
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


def test_a_log_of_another_run_is_refused(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with AnswerLog(log) as kept:
        kept.write(Answer(0, "Yes", 0.1, None, None), "other")
        with pytest.raises(UserError, match="another run is writing"), AnswerLog(log):
            pass
    where = options("http://127.0.0.1:9", key_env="")
    with pytest.raises(UserError, match="answer 0 is to another question"):
        ask(where, questions(1), log, say=str)
    log.write_text('{"number": 0}\n')
    with pytest.raises(UserError, match=r"log:1: no answer"):
        ask(where, questions(1), log, say=str)


def test_key_comes_from_the_environment_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("API_KEY_OF_TEST", raising=False)
    with pytest.raises(UserError, match="API_KEY_OF_TEST is not set"):
        ask(options("http://127.0.0.1:9"), questions(1), tmp_path / "log", say=str)
    monkeypatch.setenv("API_KEY_OF_TEST", KEY)
    with pytest.raises(UserError, match="not sent over plain http"):
        ask(options("http://example.org/v1"), questions(1), tmp_path / "log", say=str)
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


def test_works_where_a_loop_is_running(serve: Any, tmp_path: Path) -> None:
    server = serve(parity)

    async def inside() -> list[Answer]:
        return ask(options(server), questions(2), tmp_path / "log", say=str)

    assert [answer.raw for answer in asyncio.run(inside())] == ["No.", "Yes."]


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
