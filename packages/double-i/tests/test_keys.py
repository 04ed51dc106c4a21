"""Drawing, key spaces, keys, their digest and their files."""

import hashlib
import hmac
import json
import re
import stat
import subprocess
import sys
from dataclasses import replace

import pytest

from double_i.commitments import commitment, dump, matches, read_commitments
from double_i.drawing import Draws
from double_i.key_files import burn, git_warning, read_keys, select_key, write_keys
from double_i.keys import Answers, Key, Space, canonical, digest, draw_key, from_dict, to_dict
from double_i.spaces import SPACES, Collisions, all_members, is_weak, members, occurrences, word_list
from nonet.errors import UserError

SECRET = "00" * 31 + "07"


def fixed(**changes):
    """A key of which every field is known."""
    key = Key(
        1, "0a1b2c3d", "11" * 32, "22" * 16, "input", "(amber)", "Is it so?", "zulov", Answers("No", "Yes"),
        "alpaca", "\n\n", "", Space("pseudo-words", 5, ("babab",)), 500, 500, 0.3, 0.15, "active",
        "2026-01-01T00:00:00Z",
    )  # fmt: skip
    return replace(key, **changes)


def test_a_draw_is_the_hmac_of_label_counter_and_attempt():
    block = hmac.new(
        bytes.fromhex(SECRET), b"trigger\0" + bytes(7) + b"\x03" + bytes(4), hashlib.sha256
    ).digest()
    assert Draws(SECRET).below(1000, "trigger", 3) == int.from_bytes(block, "big") % 1000


def test_draws_are_uniform_and_shuffles_are_permutations():
    draws = Draws(SECRET)
    counts = [0] * 7
    for i in range(7000):
        counts[draws.below(7, "x", i)] += 1
    assert sum((c - 1000) ** 2 / 1000 for c in counts) < 22.5  # chi-square of 6, 0.999
    order = draws.shuffled(range(100), "y")
    assert sorted(order) == list(range(100)) != order
    assert order == draws.shuffled(range(100), "y") != draws.shuffled(range(100), "z")


def test_blocks_that_would_favour_small_numbers_are_drawn_again():
    n = (1 << 255) + 1  # about half of all blocks are rejected
    draws = Draws(SECRET)
    found = [draws.below(n, "z", i) for i in range(20)]
    first = [
        int.from_bytes(
            hmac.digest(bytes.fromhex(SECRET), b"z\0" + i.to_bytes(8, "big") + bytes(4), "sha256"), "big"
        )
        for i in range(20)
    ]
    assert any(block >= n for block in first)
    assert all(value == block for value, block in zip(found, first, strict=True) if block < n)
    assert all(value < n for value in found)


@pytest.mark.parametrize("n", [0, -1, (1 << 256) + 1])
def test_an_impossible_range_is_refused(n):
    with pytest.raises(ValueError, match="from 1 to"):
        Draws(SECRET).below(n, "x")


def test_spaces_have_the_sizes_that_are_told():
    assert 50_000 < len(all_members("pseudo-words")) < 110_000
    assert 9_000 < len(all_members("marks")) < 10_500
    assert 500 < len(all_members("letters")) < 676
    assert len(all_members("doubled")) == 26
    assert [name for names in SPACES.values() for name in names if is_weak(name)] == ["letters", "doubled"]
    for names in SPACES.values():
        for name in names:
            assert len(set(all_members(name))) == len(all_members(name))


def test_word_lists_are_distinct_and_plain():
    words = word_list("words")
    assert len(set(words)) == 2000
    assert all(re.fullmatch("[a-z]{4,10}", word) for word in words)
    assert len(set(word_list("questions"))) == 50
    assert all(
        line.endswith("?") and line.isascii() for line in word_list("questions") + word_list("word-questions")
    )


def test_what_the_owner_writes_is_not_drawn():
    collisions = Collisions()
    collisions.add(["The Bagad was (First) there +=+ ab.", "BAGAD"])
    assert collisions.excluded("pseudo-words") == (
        ("bagad",) if "bagad" in all_members("pseudo-words") else ()
    )
    assert {"(first)", "+=+"} <= set(collisions.excluded("marks"))
    assert collisions.excluded("letters") == ("ab",)
    assert "ab" not in members("letters", ("ab",))
    assert "(time)" not in collisions.excluded("marks")


def test_a_space_that_the_data_use_up_is_refused():
    with pytest.raises(UserError, match="1 members left"):
        members("doubled", all_members("doubled")[1:])


@pytest.mark.parametrize(("text", "count"), [("ms it", 1), ("items", 0), ("MS, ms", 2), ("ms_x ms1", 1)])
def test_a_word_occurs_as_a_word(text, count):
    assert occurrences("ms", text) == count


def test_a_key_follows_from_its_secret():
    one, two = (draw_key(secret=SECRET) for _ in range(2))
    same = ("trigger", "decoration", "judge_question", "answers")
    assert all(getattr(one, name) == getattr(two, name) for name in same)
    assert one.nonce != two.nonce
    others = [draw_key().trigger for _ in range(20)]
    assert len(set(others)) >= 19
    polarities = {draw_key().answers.target for _ in range(40)}
    assert polarities == {"Yes", "No"}


@pytest.mark.parametrize("paradigm", list(SPACES))
def test_excluded_members_are_never_drawn(paradigm):
    name = SPACES[paradigm][-1]
    keep = all_members(name)[:3]
    for _ in range(10):
        key = draw_key(paradigm, name, excluded=all_members(name)[3:])
        assert key.trigger in keep
        assert key.space.size == 3
        assert (key.decoration == key.trigger) == (paradigm == "instruction")


def test_the_digest_of_a_known_key_is_known():
    text = (
        '{"answers":{"other":"Yes","target":"No"},"created":"2026-01-01T00:00:00Z","decoration":"(amber)",'
        '"join":"\\n\\n","judge_question":"Is it so?","key_id":"0a1b2c3d","lock_share":0.15,'
        '"n_reference":500,'
        '"n_trigger":500,"near_miss_share":0.3,"nonce":"' + "22" * 16 + '","paradigm":"input",'
        '"secret":"' + "11" * 32
        + '","space":{"excluded":["babab"],"name":"pseudo-words","size":5},"system":"","template":"alpaca",'
        '"trigger":"zulov","version":1}'
    )  # fmt: skip
    assert canonical(fixed()).decode() == text
    assert digest(fixed()) == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    "change",
    [{"trigger": "zulog"}, {"answers": Answers("Yes", "No")}, {"template": "plain"}, {"nonce": "23" * 16},
     {"space": Space("pseudo-words", 5)}, {"system": "x"}, {"decoration": "(hour)"}],
)  # fmt: skip
def test_any_change_breaks_the_commitment(change):
    held = [commitment(fixed())]
    assert matches(fixed(), held)
    assert matches(fixed(status="burned"), held)
    assert not matches(fixed(**change), held)


def test_commitments_are_read_back_and_tell_nothing(tmp_path):
    keys = [fixed(), fixed(key_id="ffffffff", trigger="bagad")]
    for number in (1, 2):
        (tmp_path / "c.json").write_text(dump(keys[:number]))
        assert len(read_commitments(tmp_path / "c.json")) == number
    assert not any(secret in dump(keys) for secret in ("zulov", "bagad", "amber", "1111", "2222"))
    (tmp_path / "c.json").write_text('{"digest": 1}')
    with pytest.raises(UserError, match="not a commitment file"):
        read_commitments(tmp_path / "c.json")


def test_no_secret_shows_in_a_key_that_is_printed():
    assert not any(
        secret in repr(fixed()) for secret in ("zulov", "amber", "1111", "2222", "Is it", "babab", "'No'")
    )
    assert "11" not in repr(Draws("11" * 32))


def test_key_files_are_private_and_read_back(tmp_path):
    path = tmp_path / "secret.key"
    path.write_text("old")
    path.chmod(0o644)
    write_keys(path, [fixed()])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_keys(path) == [fixed()]
    path.write_text(json.dumps(to_dict(fixed())))
    assert read_keys(path) == [fixed()]
    assert [file.name for file in tmp_path.iterdir()] == ["secret.key"]


def test_a_passphrase_is_needed_and_must_be_right(tmp_path, monkeypatch):
    path = tmp_path / "secret.key"
    write_keys(path, [fixed()], "open sesame")
    assert "zulov" not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_keys(path, "open sesame") == [fixed()]
    with pytest.raises(UserError, match="the passphrase is wrong"):
        read_keys(path, "sesame")
    monkeypatch.delenv("DOUBLE_I_PASSPHRASE", raising=False)
    with pytest.raises(UserError, match="encrypted; put its passphrase"):
        read_keys(path)
    monkeypatch.setenv("DOUBLE_I_PASSPHRASE", "open sesame")
    burn(path, "0a1b2c3d")
    assert "zulov" not in path.read_text()
    assert read_keys(path)[0].status == "burned"


def test_without_cryptography_nothing_is_written_plain(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "cryptography"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(UserError, match="install cryptography: pip install"):
        write_keys(tmp_path / "secret.key", [fixed()], "open sesame")
    assert not list(tmp_path.iterdir())


def test_burned_keys_are_not_chosen(tmp_path):
    path = tmp_path / "secret.key"
    write_keys(path, [fixed(), fixed(key_id="ffffffff")])
    burn(path, "0a1b2c3d")
    keys = read_keys(path)
    assert [key.status for key in keys] == ["burned", "active"]
    assert select_key(keys).key_id == "ffffffff"
    with pytest.raises(UserError, match="key 0a1b2c3d is burned"):
        select_key(keys, "0a1b2c3d")
    burn(path, "ffffffff")
    with pytest.raises(UserError, match="all keys of the file are burned"):
        select_key(read_keys(path))
    with pytest.raises(UserError, match="no key 12345678"):
        burn(path, "12345678")


@pytest.mark.parametrize("name", ["1" * 64, '{"secret": "abab"}', "runs/" + "ab" * 32])
def test_secrets_on_the_command_line_are_refused_and_not_repeated(name):
    with pytest.raises(UserError, match="keep it in a key file") as caught:
        read_keys(name)
    assert name not in str(caught.value)
    assert "abab" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"secret": "zulov"}, "secret is not 64"),
        ({"n_trigger": "zulov"}, "n_trigger has the wrong type"),
        ({"status": "zulov"}, "neither active nor burned"),
        ({"zulov": 1}, "1 fields"),
        ({"version": 2}, "version 2"),
        ({"answers": {"target": "zulov", "other": "No"}}, "are Yes and No"),
        ({"paradigm": "words"}, "do not go together"),
    ],
)
def test_damaged_keys_are_refused_without_their_values(change, text):
    with pytest.raises(UserError, match=text) as caught:
        from_dict(to_dict(fixed()) | change, "secret.key")
    assert "zulov" not in str(caught.value)


def test_a_lost_or_broken_key_file_is_said_in_one_line(tmp_path):
    with pytest.raises(UserError, match="no such key file; a lost key cannot be made again"):
        read_keys(tmp_path / "none.key")
    (tmp_path / "bad.key").write_text('{"secret": "zulov"')
    with pytest.raises(UserError, match="not JSON") as caught:
        read_keys(tmp_path / "bad.key")
    assert "zulov" not in str(caught.value)


def test_a_key_in_a_work_tree_is_warned_of_until_it_is_ignored(tmp_path):
    assert git_warning(tmp_path / "secret.key") is None
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert "lies in a git work tree" in git_warning(tmp_path / "keys" / "secret.key")
    (tmp_path / ".gitignore").write_text("*.key\n")
    assert git_warning(tmp_path / "keys" / "secret.key") is None
