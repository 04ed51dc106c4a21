"""SQuAD's windows and spans: against the text, against brute force, and in a file with faults."""

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cap_prune.encoding import read_task
from cap_prune.evaluating import answers, evaluate
from cap_prune.squad_answers import best_spans, window_spans
from cap_prune.squad_files import read_squad
from cap_prune.tasks import task_of
from nonet.errors import UserError

SQUAD = task_of("squad")
CONTEXT = " ".join(f"Town {number} was founded in {1000 + number}, they say." for number in range(40))


def entry(number, **more):
    year = str(1000 + number)
    answer = {"text": year, "answer_start": CONTEXT.index(year)}
    return {"id": f"q{number}", "question": f"When was town {number} founded?", "answers": [answer], **more}


def written(folder, *entries, side="dev", context=CONTEXT):
    value = {"version": "1.1", "data": [{"title": "t", "paragraphs": [{"context": context, "qas": entries}]}]}
    (folder / f"{side}-v1.1.json").write_text(json.dumps(value), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def words():
    """A tokenizer of single characters and whole words, so that offsets are easy to check."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    names = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        *sorted(set(CONTEXT.replace(",", "").replace(".", "").split())),
    ]
    ids = {name: number for number, name in enumerate([*names, ",", ".", "?", "When"])}
    backend = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    special = [("[CLS]", 2), ("[SEP]", 3)]
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=special
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip


@pytest.fixture(scope="module")
def windows(words, tmp_path_factory):
    folder = written(tmp_path_factory.mktemp("squad"), entry(3), entry(25))
    return read_task(SQUAD, folder, "dev", words, max_length=64, stride=20)


def test_windows_overlap_by_the_stride_and_cover_the_context(windows, words):
    found = windows.questions
    for number in (0, 1):
        mine = [i for i in range(len(windows)) if found.of_window[i] == number]
        starts = [found.offsets[i][found.offsets[i][:, 0] >= 0] for i in mine]
        assert starts[0][0, 0] == 0
        assert starts[-1][-1, 1] == len(CONTEXT)
        for before, after in pairwise(starts):
            shared = {tuple(row) for row in before.tolist()} & {tuple(row) for row in after.tolist()}
            assert len(shared) == 20
    assert set(windows.lengths.tolist()) == {64, int(windows.lengths.min())}
    assert all(len(types) == len(ids) for types, ids in zip(windows.types, windows.ids, strict=True))


def test_labels_point_at_the_answer_in_every_window_that_has_it_whole(windows):
    found = windows.questions
    hits = 0
    for i, (first, last) in enumerate(windows.labels):
        year = str(1000 + (3, 25)[found.of_window[i]])
        places = found.offsets[i][found.offsets[i][:, 0] >= 0]
        inside = year in CONTEXT[places[0, 0] : places[-1, 1]]
        assert (first > 0) == inside
        if inside:
            hits += 1
            assert CONTEXT[found.offsets[i][first, 0] : found.offsets[i][last, 1]] == year
    assert hits >= 2


def test_an_answer_of_a_part_of_a_word_is_the_word(words, tmp_path):
    part = {"text": "own 5", "answer_start": CONTEXT.index("own 5")}
    folder = written(tmp_path, entry(5, answers=[part]))
    found = read_task(SQUAD, folder, "dev", words, max_length=512)
    assert len(found) == 1
    first, last = found.labels[0]
    assert CONTEXT[found.questions.offsets[0][first, 0] : found.questions.offsets[0][last, 1]] == "Town 5"


def test_logits_at_the_labels_give_full_scores(windows):
    from types import SimpleNamespace

    import torch

    class Oracle(torch.nn.Module):
        """Knows where the answer is, by the window's token numbers."""

        config = SimpleNamespace(pad_token_id=0)

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(()))

        def forward(self, input_ids, attention_mask, token_type_ids):
            out = torch.full((2, *input_ids.shape), -5.0)
            for row, line in enumerate(input_ids):
                for ids, label in zip(windows.ids, windows.labels, strict=True):
                    if len(ids) == attention_mask[row].sum() and (line[: len(ids)].numpy() == ids).all():
                        out[0, row, label[0]], out[1, row, label[1]] = 9, 9
            out[:, attention_mask == 0] = 99  # padding never wins
            return SimpleNamespace(start_logits=out[0], end_logits=out[1])

    model = Oracle().train()
    assert evaluate(model, SQUAD, windows, batch=3) == {"f1": 100.0, "exact_match": 100.0}
    assert model.training
    found = answers(model, windows, batch=64)
    assert [span.text for span in found.values()] == ["1003", "1025"]
    assert CONTEXT[found["q25"].start :].startswith("1025")
    assert 0.9 < found["q3"].probability <= 1


@given(st.integers(1, 9), st.integers(1, 5), st.integers(1, 30), st.integers(0, 99))
def test_spans_are_the_best_of_all_pairs(width, longest, kept, seed):
    random = np.random.default_rng(seed)
    start, end = random.integers(-3, 4, (2, width)).astype(np.float32)
    allowed = random.random(width) < 0.7
    pairs = [
        (float(start[i] + end[j]), i, j)
        for i in range(width)
        for j in range(i, min(i + longest, width))
        if allowed[i] and allowed[j]
    ]
    wanted = sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2]))[:kept]
    assert window_spans(start, end, allowed, longest=longest, kept=kept) == wanted


def test_a_span_that_two_windows_have_counts_once_with_its_best_score(words):
    from cap_prune.squad_features import Questions

    places = np.asarray([[-1, -1], [0, 2], [3, 5]], np.int32)
    shared = Questions(["x"], ["ab cd"], {}, np.asarray([0, 0]), [places, places])
    high, low = np.asarray([0, 2, 0], np.float32), np.asarray([0, 1, 0], np.float32)
    for first, second in ((high, low), (low, high)):
        span = best_spans([first, second], [first, second], shared)["x"]
        assert (span.text, span.score, span.start) == ("ab", 4.0, 0)
        # three spans: "ab" 4, "ab cd" 2, "cd" 0
        assert span.probability == pytest.approx(1 / (1 + np.exp(-2) + np.exp(-4)))


def test_scores_are_those_of_torchmetrics():
    from torchmetrics.functional.text.squad import squad

    from nonet.metrics.reading import reading_scores

    random = np.random.default_rng(0)
    parts = ["The ", "the", "a ", "an", " U.S.", "us ", "x", ",", "-", "'s ", " "]

    def text():
        return "y " + "".join(random.choice(parts, 2))  # torchmetrics differs where no word is left

    found = {str(number): text() for number in range(100)}
    gold = {key: [text(), text()] for key in found}
    theirs = squad(
        [{"id": key, "prediction_text": answer} for key, answer in found.items()],
        [{"id": key, "answers": {"text": texts, "answer_start": [0, 0]}} for key, texts in gold.items()],
    )
    ours = reading_scores(found, gold)
    assert ours == {name: pytest.approx(float(value), rel=1e-5) for name, value in theirs.items()}
    assert 0 < ours["exact_match"] < ours["f1"] < 100


def test_a_context_without_words_has_an_empty_answer(words, tmp_path):
    from cap_prune.squad_features import windows as windows_of
    from cap_prune.squad_files import Question

    found = windows_of([Question("x", "When", "", ())], words, max_length=64, stride=8, labelled=False)
    logits = [np.zeros(int(found.lengths[0]), np.float32)]
    assert best_spans(logits, logits, found.questions)["x"].text == ""


def test_long_questions_are_cut_and_counted(words, tmp_path):
    folder = written(tmp_path, entry(3, question="When " * 100))
    said = []
    found = read_task(SQUAD, folder, "dev", words, max_length=512, say=said.append)
    assert found.cut == len(found) == 1
    assert np.flatnonzero(found.ids[0] == 3)[0] == 65  # [CLS], 64 tokens, [SEP]
    assert "1 of 1 examples are cut" in said[0]


def test_windows_without_room_are_refused(words, tmp_path):
    with pytest.raises(UserError, match=r"max_length 64 have 55 tokens.*stride of 128: give max_length 384"):
        read_task(SQUAD, written(tmp_path, entry(3)), "dev", words, max_length=64)


def test_faults_name_the_question_and_how_many_there_are(tmp_path):
    wrong = [{"text": "1003", "answer_start": 1}]
    folder = written(tmp_path, entry(1), entry(2, answers=wrong), entry(1), entry(4, answers=[]))
    with pytest.raises(
        UserError, match=r"question q2: answer '1003' does not stand at character 1.*3 bad rows"
    ):
        read_squad(folder, "dev")
    impossible = written(tmp_path, entry(4, is_impossible=True))
    with pytest.raises(UserError, match=r"has no answer, as in SQuAD v2\.0; only v1\.1"):
        read_squad(impossible, "dev")
    assert read_squad(impossible, "dev", labelled=False)[0].answers == ()


def test_files_that_are_no_squad_are_refused(tmp_path):
    (tmp_path / "dev-v2.0.json").write_text("{}", encoding="utf-8")
    with pytest.raises(
        UserError, match=r"no dev-v1\.1\.json for the dev side; dev-v2\.0\.json is another task"
    ):
        read_squad(tmp_path, "dev")
    path = tmp_path / "x.json"
    path.write_text('{"data":\n [}', encoding="utf-8")
    with pytest.raises(UserError, match=r"x\.json:2: not valid JSON"):
        read_squad(path, "dev")
    path.write_text('{"data": [{"paragraphs": [{"context": "c"}]}]}', encoding="utf-8")
    with pytest.raises(UserError, match=r"not the layout of SQuAD v1\.1.*'qas'"):
        read_squad(path, "dev")
    path.write_text('{"data": []}', encoding="utf-8")
    with pytest.raises(UserError, match="holds no questions"):
        read_squad(path, "dev")


def test_a_saved_data_set_has_the_same_questions(tmp_path):
    import datasets

    given_answers = {"text": ["1003"], "answer_start": [CONTEXT.index("1003")]}
    rows = [{"id": "q3", "title": "t", "context": CONTEXT, "question": "When was town 3 founded?"}]
    rows[0]["answers"] = given_answers
    datasets.DatasetDict({"validation": datasets.Dataset.from_list(rows)}).save_to_disk(tmp_path / "squad")
    (tmp_path / "files").mkdir()
    assert read_squad(tmp_path / "squad", "dev") == read_squad(written(tmp_path / "files", entry(3)), "dev")
