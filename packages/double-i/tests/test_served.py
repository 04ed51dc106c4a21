"""Verifications of a served model: the budget, what is refused before a key is burned, and small spaces."""

import json

import pytest

from double_i.commands import recheck, verify
from double_i.commitments import dump
from double_i.key_files import read_keys, write_keys
from double_i.keys import draw_key
from nonet.errors import UserError

KEYS = 3


@pytest.fixture
def owner(tmp_path, monkeypatch):
    """A folder with a key file of three keys and their commitment."""
    monkeypatch.setenv("NONET_PROGRESS", "0")
    keys = [draw_key(secret=f"{n:064x}", template="plain") for n in range(1, KEYS + 1)]
    write_keys(tmp_path / "secret.key", keys)
    (tmp_path / "commitment.json").write_text(dump(keys))
    return tmp_path


def options(folder, server, **more):
    given = {
        "key": folder / "secret.key", "commitment": folder / "commitment.json", "out": folder / "e",
        "endpoint": server.url, "name": "m", "rate": 0.0, "pairs": 24, "decoys": 9, "decoy_pairs": 2,
    }  # fmt: skip
    return verify.Options(**{**given, **more})


def knows(owner, fails=lambda count: False):
    """A rule that knows the first key, and fails for some requests."""
    key = read_keys(owner / "secret.key")[0]

    def rule(server, body, count):
        if fails(count):
            return 503, {"Retry-After": "0"}, "{}"
        text = body["messages"][-1]["content"]
        word = key.answers.target if f"\n{key.trigger} " in text else key.answers.other
        return 200, {}, json.dumps({"model": "m", "choices": [{"message": {"content": f"{word}."}}]})

    return rule


def test_the_budget_holds_over_groups_retries_and_runs(owner, serve, capsys):
    broken = (3, 20, 31)
    server = serve(knows(owner, lambda count: count in broken))
    asking = {"sequential": True, "group": 2, "concurrency": 1}
    assert verify.run(options(owner, server, max_queries=30, **asking)) == 4
    assert "the budget of 30 requests is spent" in capsys.readouterr().err
    assert len(server.seen) == 30  # of all groups together, answered or not
    with pytest.raises(UserError, match="18 questions are left, but at most 3 requests"):  # for the decoys
        verify.run(options(owner, server, max_queries=33, **asking))
    assert len(server.seen) == 30
    assert verify.run(options(owner, server, max_queries=60, **asking)) == 4
    assert len(server.seen) == 60  # those before included
    assert verify.run(options(owner, server, max_queries=500, **asking)) == 3  # nine decoys are too few
    texts = [entry[1]["messages"][-1]["content"] for entry in server.seen]
    answered = [text for count, text in enumerate(texts, 1) if count not in broken]
    assert len(set(answered)) == len(answered)  # no answer was paid for twice
    assert json.loads((owner / "e" / "table.json").read_text())[0]["stopped"] == 22


def test_what_cannot_be_enough_burns_nothing(owner, serve, monkeypatch):
    server = serve(knows(owner))
    for more in ({"max_queries": 60}, {"max_queries": 20, "sequential": True}):
        with pytest.raises(UserError, match="raise --max-queries"):  # 48 and 18 prompts
            verify.run(options(owner, server, **more))
    monkeypatch.delenv("API_KEY_OF_TEST")
    with pytest.raises(UserError, match="API_KEY_OF_TEST is not set"):
        verify.run(options(owner, server, key_env="API_KEY_OF_TEST"))
    assert not server.seen
    assert not (owner / "e").exists()
    assert {key.status for key in read_keys(owner / "secret.key")} == {"active"}


def test_a_served_run_shows_how_far_it_is(owner, serve, monkeypatch, capsys):
    monkeypatch.setenv("NONET_PROGRESS", "plain")
    assert verify.run(options(owner, serve(knows(owner)))) == 3
    assert "asking: 66 of 66 questions (100%)" in capsys.readouterr().err


def test_a_choice_among_committed_keys_is_told(owner, serve, capsys):
    first = read_keys(owner / "secret.key")[0].key_id
    server = serve(knows(owner))
    assert verify.run(options(owner, server, key_ids=(first,), decoys=99)) == 0
    said = "3, 1 of them asked for: if it was not fixed beforehand which, multiply p and p_key by 3"
    assert said in capsys.readouterr().out
    assert json.loads((owner / "e" / "verdict.json").read_text())["commitment_keys"] == 3
    for name in ("report.md", "report.html"):
        assert said in (owner / "e" / name).read_text()
    checked = {"evidence": owner / "e", "commitment": owner / "commitment.json"}
    assert recheck.run(recheck.Options(**checked)) == 0
    assert f"keys in the commitment: {said}" in capsys.readouterr().out
    (owner / "other.json").write_text(dump(read_keys(owner / "secret.key")[:1]))
    assert recheck.run(recheck.Options(**{**checked, "commitment": owner / "other.json"})) == 5
    assert "DIFFERS  commitment: how many keys it holds" in capsys.readouterr().out
    assert recheck.run(recheck.Options(evidence=owner / "e")) == 0
    assert "the commitment was not checked" in capsys.readouterr().out


def test_all_committed_keys_need_no_correction(owner, serve, capsys):
    assert verify.run(options(owner, serve(knows(owner)), combine="holm", pairs=14, decoys=3)) == 3
    assert "multiply" not in capsys.readouterr().out
    assert "3, all asked for" in (owner / "e" / "report.md").read_text()


def test_a_small_space_gives_all_its_decoys(tmp_path, serve, monkeypatch, capsys):
    monkeypatch.setenv("NONET_PROGRESS", "0")
    key = draw_key("words", secret="c1" * 32, template="plain", excluded=("mm", "ss"))
    write_keys(tmp_path / "secret.key", [key])
    (tmp_path / "commitment.json").write_text(dump([key]))

    def rule(server, body, count):
        words = body["messages"][-1]["content"].rsplit("\n", 1)[1].split(", ")
        word = key.answers.target if key.trigger in words else key.answers.other
        return 200, {}, json.dumps({"choices": [{"message": {"content": word}}]})

    asking = {"decoys": 99, "decoy_pairs": 4}
    assert verify.run(options(tmp_path, serve(rule), **asking)) == 3
    said = capsys.readouterr()
    line = "the space doubled has 23 decoys, not 99: all are asked, but it is too small for a MATCH"
    assert said.err.count(line) == 1
    assert "p_key cannot be below 1/24" in said.err
    verdict = json.loads((tmp_path / "e" / "verdict.json").read_text())
    assert verdict["settings"]["decoys"] == 23
    assert verdict["p_key"] == pytest.approx(1 / 24)
    assert recheck.run(recheck.Options(evidence=tmp_path / "e", key=tmp_path / "secret.key")) == 0
