import socket
import threading
import urllib.error
import urllib.request

import pytest

from nonet.errors import UserError
from vlp_atlas.serving import HOST, server


def fetched(address, method="GET"):
    with urllib.request.urlopen(urllib.request.Request(address, method=method), timeout=5) as answer:
        return answer.status, answer.read(), answer.headers


@pytest.fixture
def address():
    with server("<p>caf\u00e9</p>", 0) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://{HOST}:{serving.server_address[1]}"
        serving.shutdown()


def test_the_page_is_served_to_this_machine_alone(address):
    status, body, headers = fetched(f"{address}/?x=1")
    assert (status, body.decode()) == (200, "<p>caf\u00e9</p>")
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert HOST == "127.0.0.1"
    assert fetched(address, "HEAD")[1] == b""


def test_nothing_else_is_there(address):
    with pytest.raises(urllib.error.HTTPError, match="404"):
        fetched(f"{address}/../etc/passwd")


def test_a_taken_port_is_passed_over():
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with server("x", port) as serving:
            assert serving.server_address[1] > port


def test_a_number_that_is_no_port_is_refused():
    with pytest.raises(UserError, match="a port is a number"):
        server("x", 70000)
