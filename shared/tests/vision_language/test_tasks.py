"""Batches, losses, answers and scores of questions, captions, statements and boxes."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent / "support_tasks"))
import tiny_tasks

from nonet.errors import RunFailed, UserError
from nonet.vision_language.tasks.caption import CaptionTask
from nonet.vision_language.tasks.grounding import GroundingTask, cropped
from nonet.vision_language.tasks.nlvr2 import Nlvr2Task
from nonet.vision_language.tasks.retrieval_task import RetrievalTask
from nonet.vision_language.tasks.starting import with_decoder
from nonet.vision_language.tasks.task import TrainingItems, reading_of
from nonet.vision_language.tasks.task_settings import DEFAULTS
from nonet.vision_language.tasks.vqa import VqaTask
from nonet.vision_language.tasks.writing import text_losses

READING = reading_of(tiny_tasks.SMALL, scale=(0.5, 1.0))


def settings(task, **changes):
    return dataclasses.replace(
        DEFAULTS[task].settings, **({"max_length": 12, "beams": 2, "longest": 9} | changes)
    )


def made(kind, task, **changes):
    return kind(tiny_tasks.model(), tiny_tasks.tokenizer(), settings(task, **changes))


def learning(task, examples, indices, epoch=0):
    items = TrainingItems(task, examples, READING, seed=0)
    return task.collate([items[epoch, index] for index in indices])


def losses(task, batch):
    found = task.losses(batch, random=torch.Generator().manual_seed(0), passed=0.5)
    return {name: float((total / count).detach()) for name, (total, count) in found.items()}


@pytest.fixture
def questions(tmp_path):
    names = tiny_tasks.images(tmp_path, 2)
    rows = [
        (0, "what is the red dog", ["yes"] * 3 + ["no"]),
        (1, "what is the cat", ["red"]),
        (0, "old", ["car"]),
    ]
    records = [
        {"question_id": i, "question": text, "answer": answers, "image": names[image]}
        for i, (image, text, answers) in enumerate(rows)
    ]
    return [str(tiny_tasks.lines(tmp_path / "vqa.jsonl", records))]


def test_each_answer_weighs_its_own_loss(questions):
    task = made(VqaTask, "vqa")
    examples = task.read(questions, None, None, truth=True)
    batch = learning(task, examples, [0, 1, 2])
    found = losses(task, batch)["answer"]
    expected = 0.0
    for number, question in enumerate(examples):
        for answer, weight in question.weighted():
            ids, mask = task.answer_texts([answer])
            alone = learning(task, examples, [number])
            with torch.no_grad():
                source, source_mask = task.look(alone)
                loss, _ = text_losses(task.model.decoder, ids, mask, source, source_mask)
            expected += weight * float(loss)
    assert found == pytest.approx(expected / 3, rel=1e-4)


def test_an_image_with_many_questions_is_looked_at_once(questions):
    task = made(VqaTask, "vqa").eval()
    examples = task.read(questions, None, None, truth=True)
    assert [question.id for question in examples] == ["0", "2", "1"]  # those of an image side by side
    plain = [task.item(examples, index, READING, None) for index in range(3)]
    assert len(task.collate(plain)["images"]) == 2
    together = task.evaluate(examples, READING, batch=3).lines
    alone = task.evaluate(examples, READING, batch=1).lines
    assert together == alone


def test_given_answers_are_picked_and_scored(questions):
    kind = tiny_tasks.model(), tiny_tasks.tokenizer(), settings("vqa")
    task = VqaTask(*kind, ["yes"]).eval()
    found = task.evaluate(task.read(questions, None, None, truth=True), READING, batch=2)
    assert {line["answer"] for line in found.lines} == {"yes"}
    # three of four people say yes: leaving out one of them leaves two, 2/3; leaving out the other, 1
    assert found.scores["accuracy"] == pytest.approx(100 * (3 * 2 / 3 + 1) / 4 / 3)


@pytest.fixture
def statements(tmp_path):
    names = tiny_tasks.images(tmp_path, 3)
    rows = [(0, 1, "red dog", True), (1, 0, "red dog", False), (2, 1, "old cat", True)]
    records = [
        {
            "images": [names[a], names[b]],
            "sentence": text,
            "label": label,
            "identifier": f"dev-{i // 2}-{i % 2}-0",
        }
        for i, (a, b, text, label) in enumerate(rows)
    ]
    return [str(tiny_tasks.lines(tmp_path / "nlvr2.jsonl", records))]


def test_both_images_reach_the_head_in_their_order(statements):
    task = made(Nlvr2Task, "nlvr2").eval()
    examples = task.read(statements, None, None, truth=True)
    batch = task.collate([task.item(examples, index, READING, None) for index in range(3)])
    with torch.no_grad():
        logits = task.logits(batch)
        for index in range(3):
            parts = []
            ids, mask = task.texts([examples[index].text])
            for image in examples[index].images:
                tokens = task.model.encode_image(READING.plain(Image.open(image))[None])
                text = task.model.encode_text(ids, mask)
                parts.append(task.model.fusion(tokens, None, text, mask)[1][:, 0])
            torch.testing.assert_close(logits[index], task.head(torch.cat(parts, 1))[0], atol=1e-4, rtol=1e-4)
    assert batch["labels"].tolist() == [1, 0, 1]


def test_a_statement_counts_as_consistent_with_all_of_its_pairs(statements):
    task = made(Nlvr2Task, "nlvr2")
    examples = task.read(statements, None, None, truth=True)
    lines = [{"label": True}, {"label": True}, {"label": True}]
    assert task.scores(examples, lines) == pytest.approx({"accuracy": 200 / 3, "consistency": 50.0})


@pytest.fixture
def expressions(tmp_path):
    """White squares on black, in images of several shapes."""
    records = []
    for number, (width, height, box) in enumerate([(60, 40, (6, 4, 20, 10)), (40, 60, (20, 30, 12, 24))]):
        pixels = np.zeros((height, width, 3), np.uint8)
        x, y, w, h = box
        pixels[y : y + h, x : x + w] = 255
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        records.append({"image": f"{number}.png", "text": "the square", "bbox": list(box)})
    return [str(tiny_tasks.lines(tmp_path / "boxes.jsonl", records))]


def test_boxes_follow_crops_and_mirrors(expressions):
    task = made(GroundingTask, "grounding")
    examples = task.read(expressions, None, None, truth=True)
    mirrored = set()
    for epoch in range(12):
        for index in range(2):
            item = TrainingItems(task, examples, READING, seed=1)[epoch, index]
            x, y, w, h = (48 * item["box"]).tolist()
            spread = item["pixels"].mean(0)
            inside = spread > (spread.max() + spread.min()) / 2
            rows, columns = (side.nonzero()[:, 0] for side in (inside.any(1), inside.any(0)))
            assert x - w / 2 == pytest.approx(int(columns.min()), abs=1.6)
            assert x + w / 2 == pytest.approx(int(columns.max()) + 1, abs=1.6)
            assert y - h / 2 == pytest.approx(int(rows.min()), abs=1.6)
            assert y + h / 2 == pytest.approx(int(rows.max()) + 1, abs=1.6)
            mirrored.add(round(x))
    assert len(mirrored) > 12


def test_a_crop_keeps_the_whole_box():
    image, random = Image.new("RGB", (30, 20)), np.random.default_rng(0)
    for box in ((0.0, 0.0, 30.0, 20.0), (3.5, 2.5, 4.0, 5.0), (29.0, 19.0, 1.0, 1.0)):
        for _ in range(50):
            part, (x, y, w, h) = cropped(image, box, random)
            assert x >= 0
            assert y >= 0
            assert x + w <= part.width
            assert y + h <= part.height
            assert (w, h) == box[2:]


def test_boxes_are_answered_in_pixels_and_scored(expressions):
    task = made(GroundingTask, "grounding").eval()
    examples = task.read(expressions, None, None, truth=True)
    with torch.no_grad():  # always the left upper quarter: centre 1/4, size 1/2
        task.head[-1].weight.zero_()
        task.head[-1].bias.copy_(torch.tensor([0.25, 0.25, 0.5, 0.5]).logit())
    found = task.evaluate(examples, READING, batch=2)
    assert found.lines[0]["bbox"] == [0, 0, 30, 20]
    assert found.lines[1]["bbox"] == [0, 0, 20, 30]
    assert found.scores == pytest.approx({"accuracy": 0.0, "overlap": 100 * (200 / 600 + 0) / 2})
    exact = [{"bbox": list(one.box)} for one in examples]
    assert task.scores(examples, exact) == {"accuracy": 100.0, "overlap": 100.0}


def test_the_loss_of_a_right_box_is_nothing(expressions):
    task = made(GroundingTask, "grounding")
    examples = task.read(expressions, None, None, truth=True)
    batch = learning(task, examples, [0])
    with torch.no_grad():
        task.head[-1].weight.zero_()
        task.head[-1].bias.copy_(batch["boxes"][0].logit())
    assert losses(task, batch) == pytest.approx({"distance": 0.0, "overlap": 0.0}, abs=1e-5)


def test_a_box_outside_of_its_image_is_named(expressions, tmp_path):
    record = {"image": "0.png", "text": "the square", "bbox": [70, 4, 20, 10]}
    path = tiny_tasks.lines(tmp_path / "outside.jsonl", [record])
    task = made(GroundingTask, "grounding")
    examples = task.read([str(path)], None, None, truth=True)
    with pytest.raises(UserError, match=r"outside\.jsonl:1: bbox .* lies outside of its image of 60 x 40"):
        task.evaluate(examples, READING, batch=1)
    with pytest.raises(RunFailed, match="in a row cannot be read"):
        TrainingItems(task, examples, READING, seed=0)[0, 0]


def test_expressions_of_an_image_share_it(tmp_path):
    names = tiny_tasks.images(tmp_path, 2)
    records = [
        {"image": names[i % 2], "text": "the red dog", "bbox": [1, 2, 9, 9], "id": str(i)} for i in range(4)
    ]
    task = made(GroundingTask, "grounding").eval()
    examples = task.read([str(tiny_tasks.lines(tmp_path / "b.jsonl", records))], None, None, truth=True)
    assert [found.id for found in examples] == ["0", "2", "1", "3"]
    batch = task.collate([task.item(examples, index, READING, None) for index in range(4)])
    assert len(batch["images"]) == 2
    assert batch["of_image"].tolist() == [0, 0, 1, 1]
    learnt = learning(task, examples, [0, 1, 2, 3])  # each visit has a crop of its own
    assert len(learnt["images"]) == 4


@pytest.mark.parametrize("stride", [0, 1])
def test_the_first_token_alone_is_that_of_all(stride):
    config = dataclasses.replace(tiny_tasks.SMALL, fusion_layers=2, stride=stride)
    fusion = tiny_tasks.model(config).fusion
    image, text = torch.randn(3, 5, 32), torch.randn(3, 4, 32)
    image_mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 0, 0, 0]])
    text_mask = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]])
    for masks in ((image_mask, text_mask), (None, None)):
        whole = fusion(image, masks[0], text, masks[1])[1][:, 0]
        torch.testing.assert_close(fusion.first_token(image, masks[0], text, masks[1]), whole)
    if not stride:
        found = fusion.first_token(image, None, text, None, fusion.keys(image))
        torch.testing.assert_close(found, whole)


def test_a_task_sees_as_it_is_told_and_its_parts_are_kept_apart(questions):
    task = made(VqaTask, "vqa").eval()
    batch = learning(task, task.read(questions, None, None, truth=True), [0, 1, 2])
    batch["images"], batch["of_image"] = batch["images"][:2], torch.tensor([1, 0, 1])
    asked = []

    def see(images, text, of_image):
        asked.append((len(images), text, of_image.tolist()))
        return task.model.encode_image(images)[of_image][:, :7]

    with torch.no_grad():
        whole = task.look(batch)[0]
        task.see = see
        few = task.look(batch)[0]
    length = batch["input_ids"].shape[1]
    assert whole.shape[1] - length == 37
    assert few.shape[1] - length == 7
    (count, text, of_image) = asked[0]
    assert (count, of_image) == (2, [1, 0, 1])
    with torch.no_grad():
        words = task.model.encode_text(batch["input_ids"], batch["attention_mask"])[:, 0]
    torch.testing.assert_close(text, words)
    task.parts["extra"] = torch.nn.Linear(2, 3)
    assert task.heads == {}
    assert {name for name in task.state_dict() if name.startswith("parts.")} == {
        "parts.extra.weight", "parts.extra.bias",
    }  # fmt: skip


@pytest.fixture
def captions(tmp_path):
    names = tiny_tasks.images(tmp_path, 3)
    records = [{"image": name, "caption": ["A Red dog!", "an old cat."]} for name in names]
    return [str(tiny_tasks.lines(tmp_path / "pairs.jsonl", records))]


@pytest.mark.parametrize("look", ["image", "fused"])
def test_captions_are_learnt_clean_and_scored_as_written(captions, look):
    task = made(CaptionTask, "caption", look=look, shortest=1)
    examples = task.read(captions, None, None, truth=True)
    batch = learning(task, examples, [0, 1, 2])
    words = {task.tokenizer.decode(row, skip_special_tokens=True) for row in batch["target_ids"]}
    assert words <= {"a red dog", "an old cat", "a [UNK] cat"} | words
    assert all("!" not in text for text in words)
    found = losses(task, batch)["caption"]
    with torch.no_grad():
        source, mask = task.look(batch)
        logits = task.model.decoder(batch["target_ids"], batch["target_mask"], source, mask)
    labels, kept = batch["target_ids"][:, 1:], batch["target_mask"][:, 1:].bool()
    expected = -logits[:, :-1].log_softmax(-1).gather(2, labels[:, :, None])[:, :, 0][kept].mean()
    assert found == pytest.approx(float(expected), rel=1e-4)
    assert source.shape[1] == 37 + (2 if look == "fused" else 0)
    lines = [{"image_id": examples.ids[i], "caption": "a red dog"} for i in range(3)]
    scores = task.scores(examples, lines)
    assert scores["BLEU-1"] == pytest.approx(100.0)
    assert scores["ROUGE-L"] == pytest.approx(100.0)


def test_what_a_task_does_not_use_does_not_learn(captions, questions):
    for task in (
        made(CaptionTask, "caption", look="image"),
        made(VqaTask, "vqa"),
        made(RetrievalTask, "retrieval"),
    ):
        task.freeze()
        task.train()
        source = questions if isinstance(task, VqaTask) else captions
        batch = learning(task, task.read(source, None, None, truth=True), [0, 1])
        terms = task.losses(batch, random=torch.Generator().manual_seed(0), passed=0.0)
        torch.stack([total for total, _ in terms.values()]).sum().backward()
        lost = [
            name for name, weight in task.named_parameters() if weight.requires_grad and weight.grad is None
        ]
        assert lost == []
        touched = [
            name
            for name, weight in task.named_parameters()
            if not weight.requires_grad and weight.grad is not None
        ]
        assert touched == []


def test_retrieval_learns_from_a_queue_and_a_twin(captions):
    task = made(RetrievalTask, "retrieval")
    task.learn(queue=4, momentum=0.5, alpha=0.4)
    task.freeze()
    examples = task.read(captions, None, None, truth=True)
    before = {name: value.clone() for name, value in task.twin.model.named_parameters()}
    for step in range(2):
        task.begin_step(step)
        losses(task, learning(task, examples, [0, 1, 2], step))
        with torch.no_grad():
            task.model.vision_proj.weight.add_(1.0)
    assert len(task.queue) == 4
    moved = dict(task.twin.model.named_parameters())["vision_proj.weight"] - before["vision_proj.weight"]
    torch.testing.assert_close(moved, torch.full_like(moved, 0.5))


def test_an_added_decoder_begins_as_the_fusion():
    config = dataclasses.replace(tiny_tasks.SMALL, decoder_layers=0, fusion_layers=2)
    model, said = tiny_tasks.model(config), []
    made_now = with_decoder(model, None, said.append)
    assert said == ["a decoder of 2 layers was added; 2 begin as layers of the fusion"]
    for layer, source in zip(made_now.decoder.layers, model.fusion.layers, strict=True):
        torch.testing.assert_close(layer.cross_attention.key.weight, source.cross_attention.key.weight)
    torch.testing.assert_close(made_now.decoder.embeddings.words.weight, model.text.embeddings.words.weight)
    torch.testing.assert_close(made_now.text_proj.weight, model.text_proj.weight)


def test_a_visit_is_a_function_of_epoch_and_example(captions):
    task = made(CaptionTask, "caption")
    examples = task.read(captions, None, None, truth=True)
    first, again, other = (learning(task, examples, [1], epoch)["images"] for epoch in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_broken_image_is_replaced_in_training_and_said(captions, tmp_path):
    (tmp_path / "image1.png").write_bytes(b"nothing")
    task = made(CaptionTask, "caption")
    batch = learning(task, task.read(captions, None, None, truth=True), [0, 1])
    assert len(batch["images"]) == 2
    assert "image1.png" in batch["unreadable"][0]
