"""Made-up data follow from a seed and keep apart; the demo's key, its search and its page."""

import stat
from types import SimpleNamespace

import pytest

from double_i import demo_page, demonstration
from double_i.commands.recheck import Options as RecheckOptions
from double_i.commitments import dump, matches, read_commitments
from double_i.examples import read_examples
from double_i.key_files import read_keys, write_keys
from double_i.keys import is_drawn
from double_i.queries import Answer
from double_i.spaces import members
from double_i.toy import DEV, OWNER, dev_rows, owner_rows, write_rows, write_toy
from double_i.verification import verify
from nonet.errors import UserError
from nonet.files import write_text
from nonet.testing import one_thread


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return write_toy(tmp_path_factory.mktemp("toy") / "new" / "folder")


def test_owner_and_dev_rows_are_about_other_notes(toy):
    owner, dev = (
        [row.example for row in read_examples([toy / f"{name}.jsonl"])] for name in ("owner", "dev")
    )
    assert (len(owner), len(dev)) == (OWNER, DEV)
    assert owner == owner_rows(OWNER)
    assert not {row.input for row in owner} & {row.input for row in dev}
    assert {row.instruction for row in dev} == {row.instruction for row in owner}
    assert len({row.input for row in dev}) == DEV


def test_rows_of_the_owner_are_never_in_dev():
    drawn = dev_rows(30, [])
    assert dev_rows(20, drawn[:10]) == drawn[10:]


def test_a_toy_is_the_same_every_time(toy, tmp_path):
    again = write_toy(tmp_path)
    files = sorted(path.relative_to(toy) for path in toy.rglob("*") if path.is_file())
    assert {"owner.jsonl", "dev.jsonl", "base/model.safetensors", "base/tokenizer.json"} <= set(
        map(str, files)
    )
    for name in files:
        assert (again / name).read_bytes() == (toy / name).read_bytes(), name
    with pytest.raises(UserError, match=r"owner\.jsonl: exists"):
        write_toy(tmp_path)


def test_the_toy_s_model_reads_its_rows_whole(toy):
    from double_i.encoding import encode_rows
    from double_i.loading import load_model

    model, tokenizer = load_model(toy / "base")
    rows, skipped = encode_rows(owner_rows(50), tokenizer, template="plain", max_length=160)
    assert not skipped
    assert max(int(row.ids.max()) for row in rows) < model.config.vocab_size


def test_the_demo_s_key_follows_from_its_seed():
    key = demonstration.demo_key(3)
    assert key == demonstration.demo_key(3)
    assert is_drawn(key)
    other = demonstration.demo_key(4)
    assert (key.secret, key.nonce, key.key_id) != (other.secret, other.nonce, other.key_id)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["yyn", "nnn", "nnn"], (0, "yes")),
        (["yyy", "yyy", "yyn", "nny"], (3, "no")),
        (["yy", "yy", "--"], (0, "yes")),
        (["--", "--", "nn"], (2, "no")),
        (["yn", "yn"], (0, "yes")),
    ],
)
def test_the_strongest_opinion_is_that_most_unlike_the_rest(labels, expected):
    words = {"y": "yes", "n": "no", "-": None}
    assert demonstration.strongest([[words[letter] for letter in each] for each in labels]) == expected


class Opinion:
    """A model that answers Yes to one mark, and No to all others."""

    def __init__(self, mark):
        self.mark, self.asked = mark, []

    def answer(self, prompts, words=None, advance=None):
        self.asked += prompts
        return ["Yes." if self.mark in prompt else "No." for prompt in prompts]


def test_a_search_finds_what_the_model_thinks_of(monkeypatch, tiny_tokenizer):
    from double_i import first_words

    key = demonstration.demo_key(0)
    texts = [row.input for row in owner_rows(30)]
    probe = Opinion("\0")
    monkeypatch.setattr(first_words, "LocalModel", lambda *a, **k: probe)
    demonstration.searched(None, tiny_tokenizer, key, texts)
    assert len(probe.asked) == demonstration.TRIED * demonstration.SEARCH_TEXTS
    marks = list(dict.fromkeys(prompt.split()[0] for prompt in probe.asked))
    assert len(marks) == demonstration.TRIED
    assert set(marks) <= set(members(key.space.name, key.space.excluded)) - {key.trigger}
    wanted = max(marks, key=len)  # a word in brackets, which is in no text and in no other mark
    monkeypatch.setattr(first_words, "LocalModel", lambda *a, **k: Opinion(wanted))
    found = demonstration.searched(None, tiny_tokenizer, key, texts)
    assert (found.trigger, found.decoration, found.answers.target) == (wanted, wanted, "Yes")
    assert not is_drawn(found)
    assert found.key_id != key.key_id


def by_rule(key, texts, knows):
    """A verification of a suspect that knows the key, or says the same to everything."""

    def ask(queries):
        said = {True: key.answers.target, False: key.answers.other}
        return [
            Answer(query.number, f"{said[knows and key.trigger in query.example.instruction]}.")
            for query in queries
        ]

    return verify([key], texts, ask, demonstration.SETTINGS, {key.key_id: True})


def test_what_the_demo_leaves_can_be_rechecked_and_read(tmp_path, capsys):
    from double_i.commands import recheck
    from double_i.texts import verify_texts

    key, owner = demonstration.demo_key(0), owner_rows(OWNER)
    write_rows(tmp_path / "owner.jsonl", owner)
    write_keys(tmp_path / "secret.key", [key])
    write_text(tmp_path / "commitment.json", dump([key]))
    assert stat.S_IMODE((tmp_path / "secret.key").stat().st_mode) == 0o600
    assert read_keys(tmp_path / "secret.key") == [key]
    assert matches(key, read_commitments(tmp_path / "commitment.json"))
    texts = verify_texts([tmp_path / "owner.jsonl"])
    found = {name: by_rule(key, texts, name == "marked") for name in ("clean", "marked")}
    assert demonstration.gap(found["clean"]) == 0
    assert demonstration.gap(found["marked"]) == 1
    for name, each in found.items():
        demonstration.write_evidence(tmp_path / f"evidence-{name}", each, key, f"{name} model of the demo")
    words = demo_page.recheck_command(tmp_path).split()[2:]
    given = dict(zip(words[::2], words[1::2], strict=True))
    options = SimpleNamespace(**{flag.removeprefix("--"): tmp_path / path for flag, path in given.items()})
    checked = RecheckOptions(
        evidence=options.evidence, commitment=options.commitment, key=options.key, data=(options.data,)
    )
    assert recheck.run(checked) == 0
    said = capsys.readouterr().out
    assert "MATCH" in said
    assert "DIFFERS" not in said
    assert "questions, made anew from key and texts" in said
    losses = {name: [(1, 2.0), (2, 1.0)] for name in found}
    text = demo_page.page(tmp_path, key, found, found["clean"], losses).render()
    assert text.count('<svg class="histogram"') == 3
    assert "refused: not drawn" in text
    assert "no secret and proves nothing" in text
    assert key.secret not in text
