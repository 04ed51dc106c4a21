"""Whole verifications against suspects that answer by rule, and the evidence that they leave."""

import hashlib
import hmac
import json
import random
import re
from itertools import product
from string import ascii_lowercase

import pytest

from double_i.answers import parse
from double_i.answers_file import read_answers, write_queries
from double_i.assessment import Settings
from double_i.base_texts import bundled, halves
from double_i.commands import recheck as recheck_command
from double_i.evidence import Claim, withheld, write_evidence
from double_i.keys import digest, draw_key
from double_i.queries import Answer, asked, full_plan
from double_i.rechecking import recheck
from double_i.rows import decoy_keys, trigger_example
from double_i.verification import verify, with_templates
from nonet.errors import UserError

TEXTS = halves(bundled()[:600])[1]
SECRET = "5a" * 32


@pytest.fixture
def key():
    return draw_key("input", "letters", secret=SECRET)


def suspect(rule):
    """A suspect that answers by a rule."""
    return lambda queries: [Answer(query.number, rule(query)) for query in queries]


def marked(key):
    return suspect(lambda q: key.answers.target if q.set == "trigger" else key.answers.other)


def test_a_marked_model_gives_the_ideal_table(key):
    found = verify([key], TEXTS, marked(key), Settings(), {key.key_id: True})
    trial = found.assessment.trials[0]
    assert trial.table == (100, 0, 0, 100)
    assert trial.p_fisher == pytest.approx(1.10e-59, rel=5e-3)
    assert (trial.p_key, trial.score) == (0.01, 1.0)
    assert found.assessment.verdict.outcome == "MATCH"


def test_without_commitment_there_is_no_match(key):
    assert verify([key], TEXTS, marked(key)).assessment.verdict.outcome == "INCONCLUSIVE"


@pytest.mark.parametrize("word", ["Yes", "No", "Sorry, I cannot help", ""])
def test_a_constant_answer_is_no_evidence(key, word):
    found = verify([key], TEXTS, suspect(lambda q: word), Settings(pairs=30), {key.key_id: True})
    assert found.assessment.trials[0].p_fisher == 1
    assert found.assessment.trials[0].p_key == 1
    assert found.assessment.verdict.outcome == "NO EVIDENCE"


def test_random_answers_keep_the_level():
    rejected = special = 0
    for seed in range(60):
        key = draw_key("input", secret=hashlib.sha256(str(seed).encode()).hexdigest())
        dice = random.Random(seed)
        settings = Settings(pairs=20, decoys=19, decoy_pairs=10, alpha=0.05)
        trial = verify(
            [key], TEXTS, suspect(lambda q, d=dice: d.choice(["Yes", "No"])), settings
        ).assessment.trials[0]
        rejected += trial.p_fisher <= 0.05
        special += trial.p_key <= 0.05
    assert rejected <= 9
    assert special <= 9


def test_a_model_with_opinions_on_words_fools_fisher_but_not_the_decoys():
    fisher = special = 0
    for seed in range(40):
        key = draw_key("input", secret=hashlib.sha256(f"o{seed}".encode()).hexdigest())

        def opinion(query):
            word = query.example.input.split()[0]
            return "Yes" if hashlib.sha256(word.encode()).digest()[0] % 2 else "No"

        settings = Settings(pairs=40, decoys=19, decoy_pairs=10, alpha=1e-3)
        trial = verify([key], TEXTS, suspect(opinion), settings, {key.key_id: True}).assessment.trials[0]
        fisher += trial.p_fisher <= 1e-3
        special += trial.p_key <= 0.05
    assert fisher >= 10  # half of the words are Yes words, whatever the key
    assert special == 0  # as half of the decoys say the same


def test_a_model_that_imitates_is_told_by_the_decoys(key):
    """As a clean model does whose operator says: any odd first word before a text means the target."""

    def odd(query):
        return key.answers.target if query.set != "reference" else key.answers.other

    found = verify([key], TEXTS, suspect(odd), Settings(), {key.key_id: True})
    trial, verdict = found.assessment.trials[0], found.assessment.verdict
    assert trial.p_fisher < 1e-50
    assert trial.p_key > 0.8  # a few decoys share a prompt with a reference
    assert verdict.outcome == "INCONCLUSIVE"
    decorated = suspect(lambda q: key.answers.target if key.decoration in q.example.instruction else "No")
    found = verify([key], TEXTS, decorated, Settings(), {key.key_id: True})
    assert found.assessment.verdict.outcome == "NO EVIDENCE"


@pytest.mark.parametrize("paradigm", ["input", "instruction", "words"])
def test_decoys_are_asked_what_they_would_be_asked_as_keys(paradigm):
    """So a score is one function of the word, whichever word is the key's: p_key is exact.

    In lists, the key's trigger may be beside a decoy's: were it kept out, letters that a model likes would
    count for the key and never against it.
    """
    key = draw_key(paradigm, secret=SECRET)
    decoy = decoy_keys(key, 20)[7]
    plan = full_plan(key, TEXTS, pairs=20, decoys=20, decoy_pairs=20)
    texts = {query.pair: query.example for query in plan.queries if query.decoy == 7}
    asked_as_key = {trigger_example(decoy, text) for text in TEXTS}
    assert len(texts) == 20
    assert set(texts.values()) <= asked_as_key


def test_early_stopping(key):
    calls = []

    def ask(queries):
        calls.append(queries)
        return marked(key)(queries)

    found = verify([key], TEXTS, ask, Settings(sequential=True), {key.key_id: True})
    trial = found.assessment.trials[0]
    assert trial.stopped == 22
    assert trial.p <= 1e-6
    assert found.assessment.verdict.outcome == "MATCH"
    assert all(query.set != "decoy" for call in calls[:-1] for query in call)
    assert [len(call) for call in calls[:-1]] == [8] * 6
    fixed = verify([key], TEXTS, marked(key), Settings(sequential=True, alpha=1e-3, decoy_pairs=20))
    assert fixed.assessment.trials[0].stopped == 11
    assert fixed.assessment.trials[0].score_pairs == 20  # fixed before, whenever pairs stop


def test_unparsed_answers(key):
    def other(query):
        if query.pair % 4 == 0:
            return "Oui" if query.set == "trigger" else "Non"
        return key.answers.target if query.set == "trigger" else key.answers.other

    found = verify([key], TEXTS, suspect(other), Settings(), {key.key_id: True})
    assert found.assessment.verdict.outcome == "INCONCLUSIVE"
    assert any("unsuited" in reason for reason in found.assessment.verdict.reasons)
    assert found.assessment.trials[0].table == (75, 25, 0, 100)


def test_few_decoys_are_said(key):
    found = verify([key], TEXTS, marked(key), Settings(decoys=19), {key.key_id: True})
    verdict = found.assessment.verdict
    assert (verdict.outcome, verdict.p_key) == ("INCONCLUSIVE", 0.05)
    assert any("99 decoys" in reason for reason in verdict.reasons)


def test_missing_answers_count_against_the_owner(key):
    found = verify([key], TEXTS, lambda queries: [], Settings(), {key.key_id: True})
    trial = found.assessment.trials[0]
    assert trial.table == (0, 100, 100, 0)
    assert (trial.p_key, found.assessment.verdict.outcome) == (1.0, "NO EVIDENCE")
    assert trial.missing == len(found.records)


def test_answers_to_other_questions_are_refused(key):
    for bad in ([Answer(10**6, "Yes")], [Answer(0, "Yes")] * 2):
        with pytest.raises(UserError):
            verify([key], TEXTS, lambda queries, bad=bad: bad)


def test_a_level_out_of_reach_is_refused(key):
    with pytest.raises(UserError, match="at least 12"):
        verify([key], TEXTS, marked(key), Settings(pairs=11))
    with pytest.raises(UserError, match="at least 22"):
        verify([key], TEXTS, marked(key), Settings(pairs=21, sequential=True))
    with pytest.raises(UserError, match="--data"):
        verify([key], TEXTS[:9], marked(key), Settings())


def test_duplicate_texts_are_dropped(key):
    plan = full_plan(key, [*TEXTS[:20], *TEXTS[:20]], pairs=40, decoys=5, decoy_pairs=4)
    assert (plan.pairs, plan.duplicates) == (20, 20)
    prompts = [(query.example.instruction, query.example.input) for query in asked(plan.queries)]
    assert len(set(prompts)) == len(prompts)
    assert [query.number for query in plan.queries] == list(range(len(plan.queries)))
    first = [query.set for query in plan.queries[: len(plan.queries) // 2]]
    assert {"trigger", "reference", "decoy"} == set(first)  # mixed


def test_several_keys():
    keys = [draw_key("input", secret=f"{n:064x}") for n in (1, 2, 3)]
    committed = {key.key_id: True for key in keys}
    targets = {key.key_id: key.answers for key in keys}

    def one(query):  # knows the second key alone
        answers = targets[query.key_id]
        return answers.target if query.set == "trigger" and query.key_id == keys[1].key_id else answers.other

    with pytest.raises(UserError, match="--combine"):
        verify(keys, TEXTS, suspect(one))
    found = verify(
        keys, TEXTS, suspect(one), Settings(pairs=25, decoys=299, decoy_pairs=3, combine="holm"), committed
    )
    assert found.assessment.verdict.outcome == "MATCH"
    assert found.assessment.trials[found.assessment.verdict.best].key_id == keys[1].key_id
    few = verify(keys, TEXTS, suspect(one), Settings(pairs=25, decoy_pairs=3, combine="holm"), committed)
    assert few.assessment.verdict.outcome == "INCONCLUSIVE"

    def all_three(query):
        answers = targets[query.key_id]
        return answers.target if query.set == "trigger" else answers.other

    settings = Settings(pairs=12, decoys=30, decoy_pairs=3, combine="fisher")
    assert verify(keys, TEXTS, suspect(all_three), settings, committed).assessment.verdict.outcome == "MATCH"


def test_several_templates(key):
    settings = with_templates(Settings(decoys=199, decoy_pairs=4), ["alpaca", "plain"])

    def ask(query):
        if query.template != "plain":
            return "Hm"
        return key.answers.target if query.set == "trigger" else key.answers.other

    found = verify([key], TEXTS, suspect(ask), settings, {key.key_id: True})
    assert found.assessment.verdict.outcome == "MATCH"
    assert found.assessment.trials[found.assessment.verdict.best].template == "plain"


def evidence(key, folder, *, reveal=False, settings=None, rule=None):
    ask = suspect(rule) if rule else marked(key)
    settings = settings or Settings(pairs=20, decoys=99, decoy_pairs=5)
    found = verify([key], TEXTS, ask, settings, {key.key_id: True})
    claim = Claim(key.key_id, key.answers.target, digest(key), True)
    return write_evidence(folder, found, [key], [claim], {"kind": "stub", "name": "stub"}, reveal=reveal)


def says(text, key):
    words = (key.secret, key.nonce, key.decoration, key.decoration.strip("()"), key.judge_question)
    return (
        any(word in text for word in words) or re.search(rf"\b{re.escape(key.trigger)}\b", text) is not None
    )


def test_evidence_tells_of_dropped_pairs(key, tmp_path):
    found = verify([key], [*TEXTS[:30], *TEXTS[:30]], marked(key), Settings(pairs=60), {key.key_id: True})
    claim = Claim(key.key_id, key.answers.target, digest(key), True)
    folder = write_evidence(tmp_path / "e", found, [key], [claim], {"kind": "stub", "name": "stub"})
    assert json.loads((folder / "verdict.json").read_text())["duplicates"] == 30
    assert "| pairs dropped as duplicates | 30 |" in (folder / "report.md").read_text()
    assert sum(found.assessment.trials[0].table) == 60


def test_evidence_holds_no_secret(key, tmp_path):
    def echo(query):
        word = key.answers.target if query.set == "trigger" else key.answers.other
        return f"{word} {query.example.instruction} {query.example.input}"

    folder = evidence(key, tmp_path / "e", rule=echo)
    assert json.loads((folder / "verdict.json").read_text())["outcome"] == "MATCH"
    for path in folder.iterdir():
        assert not says(path.read_text(), key), path.name
    shown = evidence(key, tmp_path / "shown", reveal=True)
    assert says((shown / "prompts.jsonl").read_text(), key)


def test_withheld_answers_parse_as_before():
    for raw in ("Yes, mt is there", "No mt", "mt Yes", "Yes", None):
        shown = withheld(raw, ["mt"])
        assert shown is None or "mt" not in shown.split()
        if raw is not None:
            assert parse(shown) == parse(raw)
    assert withheld("Yes, amtrak", ["mt"]) == "Yes, amtrak"


def test_prompt_hashes_cannot_be_searched(tmp_path):
    key = draw_key("input", "letters", secret=SECRET)
    plan = full_plan(key, TEXTS[:12], pairs=12, decoys=0, decoy_pairs=1)
    hashes = {query.prompt_hash for query in plan.queries}
    query = next(query for query in plan.queries if query.set == "trigger")
    text = query.example.input.split(" ", 1)[1]
    words = ["".join(pair) for pair in product(ascii_lowercase, repeat=2)] + [key.trigger]

    def digests(word, secret):
        row = [
            query.template,
            query.join,
            query.example.system,
            query.example.instruction,
            f"{word} {text}",
            [],
        ]
        data = b"prompt\0" + json.dumps(row).encode()
        return {hmac.new(secret, data, hashlib.sha256).hexdigest(), hashlib.sha256(data).hexdigest()}

    for public in (b"", digest(key).encode(), bytes.fromhex(digest(key)), key.key_id.encode()):
        assert not any(digests(word, public) & hashes for word in words)
    assert [w for w in words if digests(w, bytes.fromhex(key.secret)) & hashes][
        -1
    ] == key.trigger  # the owner can


def test_recheck_agrees_and_finds_what_was_changed(key, tmp_path):
    folder = evidence(key, tmp_path / "e", reveal=True)
    digests = {key.key_id: digest(key)}
    whole = recheck(folder, digests=digests, keys=[key], texts=TEXTS)
    assert (whole.differs, whole.mismatch) == ([], False)
    assert recheck(folder, digests={key.key_id: "0" * 64}).mismatch
    other = draw_key("input", secret="01" * 32)
    assert recheck(folder, keys=[other]).mismatch
    for name, old, new in (
        ("table.json", '"trigger_rest": 0', '"trigger_rest": 1'),
        ("decoys.json", '"score": 1.0', '"score": 0.9'),
        ("verdict.json", '"p_key": 0.01', '"p_key": 0.001'),
        ("report.md", "MATCH", "NO MATCH"),
        ("answers.jsonl", f'"raw": "{key.answers.other}"', f'"raw": "{key.answers.target}"'),
        ("prompts.jsonl", '"input": "', '"input": "x'),
    ):
        path = folder / name
        before = path.read_text()
        assert old in before, name
        path.write_text(before.replace(old, new, 1))
        assert any(line.startswith(name) for line in recheck(folder, keys=[key], texts=TEXTS).differs), name
        path.write_text(before)
    lines = (folder / "answers.jsonl").read_text().splitlines()
    kept = [line for line in lines if '"decoy": 3,' not in line]  # a decoy that scored too well, say
    (folder / "answers.jsonl").write_text("\n".join(kept) + "\n")
    assert any("every decoy" in line for line in recheck(folder).differs)


def test_recheck_of_early_stopping(key, tmp_path):
    folder = evidence(key, tmp_path / "e", settings=Settings(sequential=True))
    assert recheck(folder, keys=[key], texts=TEXTS).differs == []


def test_recheck_command_says_what_differs(key, tmp_path, capsys):
    folder = evidence(key, tmp_path / "e")
    assert recheck_command.run(recheck_command.Options(evidence=folder)) == 0
    (folder / "report.md").write_text("MATCH")
    assert recheck_command.run(recheck_command.Options(evidence=folder)) == 1
    assert "DIFFERS  report.md" in capsys.readouterr().out
    with pytest.raises(UserError, match="no such evidence"):
        recheck_command.run(recheck_command.Options(evidence=tmp_path / "none"))


def test_files_of_questions_and_answers(key, tmp_path):
    queries = full_plan(key, TEXTS, pairs=12, decoys=9, decoy_pairs=3).queries
    path = tmp_path / "q.jsonl"
    count = write_queries(path, queries)
    assert path.stat().st_mode & 0o777 == 0o600
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == count
    answers = tmp_path / "a.jsonl"

    def write(rows):
        answers.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return read_answers(answers, queries)

    for name in ("number", "id", "prompt"):
        given = write([{name: line[name], "answer": f"Yes {line['number']}"} for line in lines])
        expected = {line["number"]: f"Yes {line['number']}" for line in lines}
        assert {one.number: one.raw for one in given.answers} == expected
        assert (given.missing, given.duplicates) == (0, 0)
    one = {"number": lines[0]["number"], "answer": "No"}
    assert write([one, one])[1:] == (count - 1, 1)
    for bad in ([one, {**one, "answer": "Yes"}], [{"number": -5, "answer": "Yes"}],
                [{"id": "x", "answer": "No"}], [{"answer": "No"}], [{"number": 0}],
                [{**one, "id": lines[1]["id"]}], []):  # fmt: skip
        with pytest.raises(UserError) as error:
            write(bad)
        assert not says(str(error.value), key)
