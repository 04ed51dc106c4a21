"""What tests start from: an untrained Llama of two layers with a byte-level tokenizer, and a server that
misbehaves as it is told to."""

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

TYPES = 400
KEY = "sk-test-0123456789"
Reply = tuple[int, dict[str, str], str]
Rule = Callable[["Server", dict[str, Any], int], Reply | None]


@pytest.fixture(autouse=True)
def the_same_keys_each_time(request, monkeypatch):
    """Secrets that are drawn in this process follow from the test's name; each draw gives another one."""
    from types import SimpleNamespace

    from double_i import keys

    draw = random.Random(request.node.nodeid.rpartition("/")[2])
    monkeypatch.setattr(keys, "secrets", SimpleNamespace(token_hex=lambda count: draw.randbytes(count).hex()))


@pytest.fixture(scope="session")
def tiny_tokenizer():
    """A byte-level BPE tokenizer of 400 types, learnt from made-up notes; it has pad, bos and eos."""
    from double_i.small_models import train_tokenizer
    from double_i.toy import notes

    return train_tokenizer(notes(200, seed=7), TYPES, positions=512)


@pytest.fixture(scope="session")
def tiny_model(tiny_tokenizer):
    """A function that gives the untrained model anew: hidden 32, 2 layers, tied embeddings."""
    from double_i.small_models import Shape, new_model

    def make(seed=0, tied=True):
        return new_model(Shape(32, 2, 2, 64, positions=512, tied=tied), tiny_tokenizer, seed)

    return make


@pytest.fixture(scope="session")
def tiny_lm(tmp_path_factory, tiny_model, tiny_tokenizer):
    """The folder of that model and its tokenizer."""
    from double_i.small_models import save

    return save(
        tiny_model(), tiny_tokenizer, tmp_path_factory.mktemp("models") / "tiny-lm", "Untrained, for tests."
    )


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
    """A function that starts a server on this machine; API_KEY_OF_TEST holds a key for it.

    The rule is given the server, the body of a request and its number from 1; it gives status, headers and
    body of the reply, or None to hang up.
    """
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
