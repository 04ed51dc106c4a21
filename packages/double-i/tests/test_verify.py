"""The commands power and verify: who is asked, what is refused, what is burned, and exit codes."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from double_i.commands import power, recheck, verify
from double_i.commitments import dump
from double_i.key_files import read_keys, write_keys
from double_i.keys import draw_key
from nonet.errors import UserError

SMALL = {"pairs": 14, "decoy_pairs": 2}


@pytest.fixture
def owner(tmp_path, monkeypatch):
    """A folder with a key file of two keys and their commitment."""
    monkeypatch.setenv("NONET_PROGRESS", "0")
    keys = [draw_key(secret=f"{n:064x}", template="plain") for n in (5, 6)]
    write_keys(tmp_path / "secret.key", keys)
    (tmp_path / "commitment.json").write_text(dump(keys))
    return tmp_path


def options(folder, **more):
    given = {
        "key": folder / "secret.key",
        "commitment": folder / "commitment.json",
        "out": folder / "e",
        **SMALL,
    }
    return verify.Options(**{**given, **more})


class Handler(BaseHTTPRequestHandler):
    """Knows a key's trigger; fails from a number of requests on."""

    def do_POST(self):
        text = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"][-1]["content"]
        server = self.server
        server.asked.append(text)
        failed = len(server.asked) > server.limit
        answers = server.key.answers
        word = answers.target if f"\n{server.key.trigger} " in text else answers.other
        reply = json.dumps({"model": "served-7", "choices": [{"message": {"content": f"{word}."}}]}).encode()
        self.send_response(401 if failed else 200)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *arguments):
        """Nothing on the terminal."""


@pytest.fixture
def server(owner, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    found = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.key, found.asked, found.limit = read_keys(owner / "secret.key")[0], [], 10**9
    threading.Thread(target=found.serve_forever, args=(0.02,), daemon=True).start()
    yield found
    found.shutdown()
    found.server_close()


def served(server, **more):
    url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    return {"endpoint": url, "name": "m", "rate": 0.0, **more}


def test_an_endpoint_is_asked_burns_the_key_and_goes_on(owner, server, capsys):
    server.limit = 50
    assert verify.run(options(owner, **served(server))) == 4
    keys = read_keys(owner / "secret.key")
    assert [key.status for key in keys] == ["burned", "active"]
    assert not (owner / "e" / "manifest.json").exists()
    with pytest.raises(UserError, match="other questions"):
        verify.run(options(owner, **served(server, pairs=15)))
    before = len(server.asked)
    server.limit = 10**9
    assert verify.run(options(owner, **served(server))) == 0
    assert len(server.asked) - before <= 2 * 14 + 99 * 2 - 50  # no answer was asked for twice
    verdict = json.loads((owner / "e" / "verdict.json").read_text())
    assert (verdict["outcome"], verdict["source"]["kind"]) == ("MATCH", "endpoint")
    assert not (owner / "e" / "asking").exists()
    first = json.loads((owner / "e" / "answers.jsonl").read_text().splitlines()[0])
    assert (first["model"], first["latency"] > 0) == ("served-7", True)
    with pytest.raises(UserError, match="exists already"):
        verify.run(options(owner, **served(server)))
    with pytest.raises(UserError, match="burned"):
        verify.run(options(owner, out=owner / "f", key_ids=(keys[0].key_id,), **served(server)))
    everything = capsys.readouterr()
    for key in keys:
        for secret in (key.secret, key.decoration, key.judge_question, f" {key.trigger} "):
            assert secret not in everything.out + everything.err
    asked = {"evidence": owner / "e", "commitment": owner / "commitment.json", "key": owner / "secret.key"}
    assert recheck.run(recheck.Options(**asked)) == 0


def test_early_stopping_asks_an_endpoint_less(owner, server):
    many = {"pairs": 100, "sequential": True, "decoys": 20}
    assert verify.run(options(owner, **served(server), **many)) == 3  # too few decoys for a match
    assert len(server.asked) <= 2 * 24 + 20 * 2
    table = json.loads((owner / "e" / "table.json").read_text())[0]
    assert (table["stopped"], table["pairs"]) == (22, 24)


def test_answers_of_somebody_else(owner):
    asking = {"out": None, "write_queries": owner / "q.jsonl"}
    assert verify.run(options(owner, **asking)) == 0
    key = read_keys(owner / "secret.key")[0]
    assert key.status == "active"
    with open(owner / "a.jsonl", "w") as file:
        for line in map(json.loads, (owner / "q.jsonl").read_text().splitlines()):
            word = key.answers.target if f"\n{key.trigger} " in line["prompt"] else key.answers.other
            file.write(json.dumps({"id": line["id"], "answer": word}) + "\n")
    second = read_keys(owner / "secret.key")[1].key_id
    with pytest.raises(UserError, match=r"a\.jsonl:\d+: no question"):  # the wrong key
        verify.run(options(owner, answers=owner / "a.jsonl", key_ids=(second,)))
    assert read_keys(owner / "secret.key")[1].status == "active"
    assert not (owner / "e").exists()
    assert verify.run(options(owner, answers=owner / "a.jsonl")) == 0
    assert read_keys(owner / "secret.key")[0].status == "burned"


def test_a_local_model_burns_nothing(owner, tiny_lm):
    assert verify.run(options(owner, model=tiny_lm, decoys=19)) == 1  # it says neither yes nor no
    assert [key.status for key in read_keys(owner / "secret.key")] == ["active", "active"]
    assert json.loads((owner / "e" / "verdict.json").read_text())["unparsed_share"] > 0.2


def test_another_commitment(owner, tiny_lm, capsys):
    (owner / "other.json").write_text(dump([draw_key()]))
    assert verify.run(options(owner, model=tiny_lm, commitment=owner / "other.json")) == 5
    assert "no commitment to key" in capsys.readouterr().err
    assert not (owner / "e").exists()


def test_what_is_refused(owner):
    for bad in (
        {}, {"model": owner, "answers": owner}, {"endpoint": "https://h/v1"},
        {"answers": owner, "sequential": True},
        {"model": owner, "alpha": 0.0}, {"model": owner, "pairs": 0}, {"answers": owner, "adapter": owner},
        {"model": owner, "out": None},
    ):  # fmt: skip
        with pytest.raises(UserError):
            options(owner, **bad)
    with pytest.raises(UserError, match="at least 12"):
        verify.run(options(owner, answers=owner / "a.jsonl", pairs=5))
    with pytest.raises(UserError, match="no such key file"):
        verify.run(options(owner, key=owner / "lost.key", answers=owner / "a.jsonl"))


def test_power_prints_the_numbers(capsys):
    assert power.run(power.Options(alpha=1e-6)) == 0
    out = capsys.readouterr().out
    assert "27 pairs for power 0.95" in out
    assert "at least 22 pairs" in out
    with pytest.raises(UserError):
        power.run(power.Options(p_trigger=2.0))


def answered(owner):
    """A file of perfect answers, made by somebody who asked."""
    verify.run(options(owner, out=None, write_queries=owner / "q.jsonl"))
    key = read_keys(owner / "secret.key")[0]
    with open(owner / "a.jsonl", "w") as file:
        for line in map(json.loads, (owner / "q.jsonl").read_text().splitlines()):
            word = key.answers.target if f"\n{key.trigger} " in line["prompt"] else key.answers.other
            file.write(json.dumps({"id": line["id"], "answer": word}) + "\n")
    return owner / "a.jsonl"


def test_time_stamps_of_the_commitment_lie_in_the_evidence_byte_for_byte(owner, capsys):
    (owner / "stamp.tsr").write_bytes(b"\x30\x82\x00stamp")
    assert verify.run(options(owner, answers=answered(owner), proof=(owner / "stamp.tsr",))) == 0
    assert (owner / "e" / "proof-stamp.tsr").read_bytes() == b"\x30\x82\x00stamp"
    assert (owner / "e" / "commitment.json").read_bytes() == (owner / "commitment.json").read_bytes()
    capsys.readouterr()
    asked = {"evidence": owner / "e", "commitment": owner / "commitment.json"}
    assert recheck.run(recheck.Options(**asked)) == 0
    said = capsys.readouterr().out
    assert "agrees   commitment.json: the published file, byte for byte" in said
    assert "proof-stamp.tsr: a time stamp of commitment.json" in said
    (owner / "e" / "proof-stamp.tsr").write_bytes(b"another")
    assert recheck.run(recheck.Options(**asked)) == 1
    assert "DIFFERS  proof-stamp.tsr" in capsys.readouterr().out
    (owner / "commitment.json").write_text((owner / "commitment.json").read_text() + "\n")
    assert recheck.run(recheck.Options(**asked)) == 1  # the digests are the same, the stamped bytes are not
    assert "DIFFERS  commitment.json" in capsys.readouterr().out


def test_a_proof_that_is_none_or_tells_the_secret_is_refused_before_anything_is_asked(owner):
    answers = answered(owner)
    (owner / "empty.tsr").write_bytes(b"")
    (owner / "copy.tsr").write_bytes((owner / "secret.key").read_bytes())
    for name, message in (("none.tsr", "no such proof"), ("empty.tsr", "empty"), ("copy.tsr", "secret")):
        with pytest.raises(UserError, match=message):
            verify.run(options(owner, answers=answers, proof=(owner / name,)))
    with pytest.raises(UserError, match="--commitment"):
        options(owner, answers=answers, commitment=None, proof=(owner / "copy.tsr",))
    assert not (owner / "e").exists()
    assert read_keys(owner / "secret.key")[0].status == "active"
