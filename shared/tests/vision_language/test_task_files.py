"""Files of questions, statements and expressions, good and bad."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "support_tasks"))
import tiny_tasks

from nonet.errors import UserError
from nonet.vision_language.tasks.task_files import (
    read_answers,
    read_expressions,
    read_questions,
    read_statements,
    refuse_shared,
)

QUESTION = {"question_id": 4, "question": "What is this?", "answer": ["dog"], "image": "image0.png"}
STATEMENT = {"images": ["image0.png", "image1.png"], "sentence": "two dogs", "label": "True"}
EXPRESSION = {"image": "image0.png", "text": "the dog", "bbox": [1, 2, 3, 4]}


@pytest.fixture
def written(tmp_path):
    tiny_tasks.images(tmp_path, 2)
    return lambda *records: str(tiny_tasks.lines(tmp_path / "file.jsonl", list(records)))


def test_answers_weigh_as_many_people_as_gave_them(written):
    people = ["dog"] * 6 + ["cat"] * 3 + ["Dog"]
    (found,) = read_questions([written(QUESTION | {"answer": people})])
    assert found.weighted() == [("dog", 0.6), ("cat", 0.3), ("Dog", 0.1)]
    (graph,) = read_questions([written(QUESTION | {"answer": "dog", "dataset": "vg"})])
    assert graph.weighted() == [("dog", 0.5)]


def test_a_list_and_lines_are_the_same(written, tmp_path):
    lines = read_questions([written(QUESTION)])
    path = tmp_path / "list.json"
    path.write_text(json.dumps([QUESTION]))
    (found,) = read_questions([str(path)])
    assert found._replace(place="") == lines[0]._replace(place="")
    assert Path(found.image).is_file()


def test_labels_and_boxes_are_read(written):
    found = read_statements([written(STATEMENT, STATEMENT | {"label": False, "identifier": "dev-1-0-0"})])
    assert [one.label for one in found] == [True, False]
    assert found[1].id == "dev-1-0-0"
    assert all(Path(image).is_file() for image in found[0].images)
    (one,) = read_expressions([written(EXPRESSION)])
    assert one.box == (1, 2, 3, 4)


def test_elements_of_a_region_file_are_expressions(written):
    elems = [{"bb": [0, 0, 5, 5], "caption": ["a", "b"]}, {"bb": [1, 1, 2, 2], "caption": "c"}]
    found = read_expressions([written({"image": "image1.png", "elems": elems})])
    assert [one.text for one in found] == ["a", "b", "c"]
    assert len({one.id for one in found}) == 3


@pytest.mark.parametrize(
    ("read", "record", "reason"),
    [
        (read_questions, QUESTION | {"answer": []}, "a question without answer"),
        (read_questions, QUESTION | {"answer": 3}, "answer is 3"),
        (read_questions, QUESTION | {"answer": ["a", 3]}, "an answer is no text"),
        (read_questions, QUESTION | {"question": " "}, "question is ' '"),
        (read_questions, {"question": "?", "answer": "a"}, "no field 'image'"),
        (read_statements, STATEMENT | {"label": "maybe"}, "label is 'maybe'"),
        (read_statements, STATEMENT | {"images": ["a"]}, "list of two paths"),
        (read_expressions, EXPRESSION | {"bbox": [1, 2, 0, 4]}, "has no area"),
        (read_expressions, EXPRESSION | {"bbox": [1, 2, 3]}, "it is \\[x, y, width, height\\]"),
        (read_expressions, EXPRESSION | {"bbox": [1, 2, float("nan"), 4]}, "has no area"),
        (read_expressions, {"image": "image0.png", "text": "a"}, "bbox is None"),
        (read_expressions, EXPRESSION | {"text": ""}, "no text of the expression"),
    ],
)
def test_a_broken_record_is_named_with_its_line(written, read, record, reason):
    good = {read_questions: QUESTION, read_statements: STATEMENT, read_expressions: EXPRESSION}[read]
    with pytest.raises(UserError, match=rf"file\.jsonl:2.*{reason}"):
        read([written(good, record)])


def test_without_truth_nothing_is_asked_for(written):
    (question,) = read_questions([written({"question": "?", "image": "image0.png"})], answered=False)
    assert question.answers == ()
    (found,) = read_statements([written(STATEMENT | {"label": None})], labelled=False)
    assert found.label is None


def test_images_that_are_not_there_are_an_error(written, tmp_path):
    with pytest.raises(UserError, match=r"images are not beside it, such as other\.png"):
        read_questions([written(QUESTION | {"image": "other.png"})])
    with pytest.raises(UserError, match="images are not below"):
        read_questions([written(QUESTION)], tmp_path / "nowhere")


def test_examples_of_both_sides_are_refused_by_id_and_by_content(written):
    train = read_questions([written(QUESTION)])
    by_id = read_questions([written(QUESTION | {"question": "another"})])
    by_content = read_questions([written(QUESTION | {"question_id": 9})])
    other = read_questions([written(QUESTION | {"question_id": 9, "question": "another"})])
    for shared in (by_id, by_content):
        with pytest.raises(UserError, match="1 of 1 examples for validation are trained on, too"):
            refuse_shared(train, shared, "validation")
    refuse_shared(train, other, "validation")


def test_a_list_of_answers_is_read_once_each(tmp_path):
    path = tmp_path / "answers.json"
    path.write_text('["yes", "no", "yes"]')
    assert read_answers(path) == ["yes", "no"]
    path.write_text('{"yes": 1}')
    with pytest.raises(UserError, match="not a JSON list of answers"):
        read_answers(path)
    with pytest.raises(UserError, match="no such file"):
        read_answers(tmp_path / "none.json")
