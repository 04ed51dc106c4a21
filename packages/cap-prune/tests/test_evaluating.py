"""Measures and outputs of a model against one example at a time and against sklearn and scipy."""

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
import torch

from cap_prune import toy
from cap_prune.encoding import encode_texts
from cap_prune.evaluating import class_logits, evaluate, plain_batches
from cap_prune.tasks import Task, task_of
from cap_prune.texts import Texts
from nonet.errors import RunFailed, UserError

THREE = Task("mnli", "classification", ("entailment", "neutral", "contradiction"), ("accuracy",), "accuracy")


@pytest.fixture(scope="module")
def texts():
    return [each.text for each in toy.sentences(40, 1)]


def examples_of(texts, labels, **more):
    return encode_texts(Texts(texts, None, labels), toy.tokenizer(), 24, **more)


@pytest.fixture(scope="module")
def three():
    model = toy.new_bert(labels=THREE.labels, seed=3)
    with torch.no_grad():
        model.classifier.weight.mul_(40)  # so that all classes occur
    return model


def alone(model, texts):
    """Logits of one text at a time, without padding."""
    words = toy.tokenizer()
    with torch.no_grad():
        return np.concatenate([model(**words(text, return_tensors="pt")).logits.numpy() for text in texts])


def test_outputs_do_not_depend_on_batches_and_keep_the_order(three, texts):
    wanted = alone(three, texts)
    examples = examples_of(texts, [0] * 40)
    for batch in (1, 7, 64):
        found = class_logits(three, THREE, examples, batch=batch)
        np.testing.assert_allclose(found, wanted, atol=2e-5)
        assert (found.argmax(1) == wanted.argmax(1)).all()


def test_measures_are_those_of_sklearn(three, texts):
    random = np.random.default_rng(0)
    gold = random.integers(0, 2, 40).tolist()
    two = toy.new_bert(seed=5)
    with torch.no_grad():
        two.classifier.weight.mul_(40)
        two.classifier.bias.copy_(torch.tensor([0.0, -np.median(np.diff(alone(two, texts)))]))
    guess = alone(two, texts).argmax(1)
    assert 0 < guess.sum() < 40
    measures = ("accuracy", "f1", "macro_f1", "matthews")
    task = Task("classify", "classification", toy.LABELS, measures, "accuracy")
    found = evaluate(two, task, examples_of(texts, gold), batch=9)
    assert found == {
        "accuracy": pytest.approx(sklearn.metrics.accuracy_score(gold, guess)),
        "f1": pytest.approx(sklearn.metrics.f1_score(gold, guess)),
        "macro_f1": pytest.approx(sklearn.metrics.f1_score(gold, guess, average="macro")),
        "matthews": pytest.approx(sklearn.metrics.matthews_corrcoef(gold, guess)),
    }


def test_a_regression_is_scored_by_correlations(texts):
    model = toy.new_bert(labels=("score",), seed=2)
    gold = np.random.default_rng(1).random(40).astype(np.float32)
    found = evaluate(model, task_of("stsb"), examples_of(texts, gold.tolist(), regression=True))
    values = alone(model, texts)[:, 0]
    assert found["pearson"] == pytest.approx(scipy.stats.pearsonr(values, gold)[0], abs=1e-4)
    assert found["spearman"] == pytest.approx(scipy.stats.spearmanr(values, gold)[0], abs=1e-3)
    with pytest.raises(UserError, match="tells 2 classes apart; stsb is a regression"):
        evaluate(toy.new_bert(), task_of("stsb"), examples_of(texts, gold.tolist(), regression=True))


def test_a_model_that_names_its_labels_in_another_order_scores_the_same(three, texts):
    gold = np.random.default_rng(2).integers(0, 3, 40).tolist()
    examples = examples_of(texts, gold)
    old = toy.new_bert(labels=("contradiction", "entailment", "neutral"), seed=3)
    old.load_state_dict(three.state_dict())
    with torch.no_grad():
        for part in (old.classifier.weight, old.classifier.bias):
            part.copy_(part[[2, 0, 1]])
    assert evaluate(old, THREE, examples) == evaluate(three, THREE, examples)
    np.testing.assert_allclose(
        class_logits(old, THREE, examples), class_logits(three, THREE, examples), atol=1e-5
    )


def test_the_mode_of_the_model_is_restored_and_dropout_is_off(texts):
    model = toy.new_bert(dropout=0.5).train()
    task = task_of("classify", toy.LABELS)
    examples = examples_of(texts, [0] * 40)
    assert (class_logits(model, task, examples) == class_logits(model, task, examples)).all()
    assert model.training


def test_every_example_is_in_one_of_the_plain_batches(texts):
    examples = examples_of(texts, [0] * 40)
    batches = list(plain_batches(examples, 0, batch=16))
    assert sorted(torch.cat([batch["index"] for batch in batches]).tolist()) == list(range(40))
    assert max(len(batch["index"]) for batch in batches) <= 16
    widths = [batch["input_ids"].shape[1] for batch in batches]
    assert widths == sorted(widths, reverse=True)
    (one,) = plain_batches(examples, 0, batch=16, order=[5, 3])
    assert one["index"].tolist() == [5, 3]


def test_what_cannot_be_scored_is_refused(three, texts):
    task = task_of("classify", toy.LABELS)
    with pytest.raises(UserError, match="labels of this side are hidden"):
        evaluate(toy.new_bert(), task, examples_of(texts, None))
    with pytest.raises(UserError, match="those of task classify are"):
        evaluate(three, task, examples_of(texts, [0] * 40))
    with pytest.raises(UserError, match="BertModel has no head for task classify"):
        evaluate(toy.new_bert().bert, task, examples_of(texts, [0] * 40))
    broken = toy.new_bert()
    torch.nn.init.constant_(broken.classifier.bias, float("nan"))
    with pytest.raises(RunFailed, match="not finite"):
        evaluate(broken, task, examples_of(texts, [0] * 40))
