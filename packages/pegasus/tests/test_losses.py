"""The loss terms against torch's cross-entropy in float64, and two processes against one.

This file is also the program that the two processes run.
"""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from nonet.data.batching import OrderedBatches, RandomBatches
from nonet.runs import Run, read_metrics
from nonet.testing import one_thread
from nonet.testing_ranks import two_processes
from nonet.training.checkpoints import read_weights
from nonet.training.options import OptimizerOptions, TrainerOptions
from pegasus.data import collate
from pegasus.losses import GapSentenceLoss, Objective, shift_right
from pegasus.model import new_model
from pegasus.options import ModelOptions
from pegasus.training import Sets, fit

VOCABULARY, STEPS = 137, 6


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


def small(seed=0, dropout=0.0):
    shape = {"size": "tiny", "layers": 2, "width": 32, "heads": 4, "feed_forward": 48, "max_positions": 32}
    return new_model(ModelOptions(**shape, dropout=dropout), VOCABULARY, seed=seed)


class Rows:
    """Example i has 6..14 input and 1..9 target tokens, and labels for about a third of its input."""

    def __init__(self, count, words=True):
        self.count, self.words = count, words

    def __len__(self):
        return self.count

    def __getitem__(self, item):
        draw = np.random.default_rng(item[1])
        ids = draw.integers(105, VOCABULARY, 6 + item[1] % 9).astype(np.int32)
        target = draw.integers(105, VOCABULARY, 1 + 2 * item[1] % 9).astype(np.int32)
        found = {"id": item[1], "input": ids, "target": target}
        if self.words:
            found["words"] = np.where(draw.random(len(ids)) < 0.3, ids, -100).astype(np.int32)
        return found


def batch(rows=range(5), **options):
    data = Rows(max(rows) + 1, **options)
    return collate([data[(0, row)] for row in rows])


def plain(model, given, smoothing=0.0):
    """Both sums in float64, from whole logits."""
    model = model.double()
    labels = given["labels"]
    outputs = model.model(
        input_ids=given["input_ids"], attention_mask=given["attention_mask"],
        decoder_input_ids=shift_right(labels), use_cache=False,
    )  # fmt: skip
    found = {}
    for name, hidden, wanted in (
        ("gsg", outputs.last_hidden_state, labels),
        ("mlm", outputs.encoder_last_hidden_state, given.get("word_labels")),
    ):
        if wanted is not None:
            logits = (hidden @ model.model.shared.weight.T).flatten(0, 1)
            options = {"reduction": "sum", "label_smoothing": smoothing, "ignore_index": -100}
            found[name] = F.cross_entropy(logits, wanted.flatten(), **options).item()
    return found


# ----------------------------------------------------------- the terms


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_terms_are_cross_entropy_sums_and_their_counts(smoothing):
    model, given = small(), batch()
    losses = GapSentenceLoss(label_smoothing=smoothing, word_weight=0.25)
    terms = Objective(model, losses)(given)
    wanted = plain(model, given, smoothing)
    assert {name: term.total.item() for name, term in terms.items()} == pytest.approx(wanted, rel=1e-5)
    assert terms["gsg"].count.item() == sum(1 + 2 * i % 9 for i in range(5))
    assert terms["mlm"].count.item() == (given["word_labels"] != -100).sum().item() > 0
    assert (terms["gsg"].weight, terms["mlm"].weight) == (1.0, 0.25)


def test_labels_are_smoothed_in_training_alone():
    model, given, losses = small(), batch(), GapSentenceLoss(label_smoothing=0.1)
    smoothed = losses(model, given)["gsg"].total.item()
    sharp = losses.eval()(model, given)["gsg"].total.item()
    assert smoothed != pytest.approx(sharp, rel=1e-4)
    assert sharp == pytest.approx(GapSentenceLoss()(model, given)["gsg"].total.item(), rel=1e-6)


def test_without_word_labels_there_is_one_term():
    assert set(GapSentenceLoss()(small(), batch(words=False))) == {"gsg"}


def test_padding_changes_nothing():
    model, losses = small(), GapSentenceLoss()
    together = losses(model, batch(range(6)))
    apart = [losses(model, batch([row])) for row in range(6)]
    for name, term in together.items():
        assert term.total.item() == pytest.approx(sum(one[name].total.item() for one in apart), rel=1e-5)
        assert term.count == sum(one[name].count for one in apart)


def test_a_batch_without_masked_words_has_a_zero_term_that_learns_nothing():
    model, given = small(), batch()
    given["word_labels"].fill_(-100)
    term = GapSentenceLoss()(model, given)["mlm"]
    term.total.backward()
    assert (term.total.item(), term.count.item()) == (0.0, 0)


def test_gradients_are_those_of_whole_logits():
    model, given = small(), batch()
    terms = GapSentenceLoss(label_smoothing=0.1)(model, given)
    (terms["gsg"].total + terms["mlm"].total).backward()
    found = {name: p.grad.double() for name, p in model.named_parameters() if p.requires_grad}
    other = small().double()
    hidden = other.model(
        input_ids=given["input_ids"], attention_mask=given["attention_mask"],
        decoder_input_ids=shift_right(given["labels"]), use_cache=False,
    )  # fmt: skip
    total = sum(
        F.cross_entropy(
            (h @ other.model.shared.weight.T).flatten(0, 1),
            labels.flatten(),
            reduction="sum",
            label_smoothing=0.1,
        )
        for h, labels in (
            (hidden.last_hidden_state, given["labels"]),
            (hidden.encoder_last_hidden_state, given["word_labels"]),
        )
    )
    total.backward()
    for name, p in other.named_parameters():
        if p.requires_grad:
            torch.testing.assert_close(found[name], p.grad, rtol=1e-4, atol=1e-4)


def test_the_decoders_input_is_shifted_and_begins_with_pad():
    labels = torch.tensor([[7, 8, 1, -100], [9, 1, -100, -100]])
    assert shift_right(labels).tolist() == [[0, 7, 8, 1], [0, 9, 1, 0]]


# ----------------------------------------------------------- two processes, one


def train(folder, devices, strategy="ddp"):
    """Train on batches of four examples with unequal numbers of tokens; validation ends with a single one."""
    options = TrainerOptions(
        steps=STEPS, validate_every=3, checkpoint_every=3, log_every=1, accelerator="cpu", devices=devices,
        strategy=strategy if devices > 1 else "auto", seed=5,
    )  # fmt: skip
    with one_thread(), Run.create("pegasus", "pretrain", options, folder=folder) as run:
        sets = Sets(Rows(13), RandomBatches(13, 4, 5), Rows(9), OrderedBatches(9, batch=4))
        model, _ = fit(
            small(), sets, run, trainer=options, losses=GapSentenceLoss(word_weight=0.5),
            optimizer=OptimizerOptions("adafactor", lr=0.02), state={},
        )  # fmt: skip
    return {name: value.numpy() for name, value in model.state_dict().items()}


def left(folder):
    rows = read_metrics(folder)
    names = ("train/loss", "train/gsg", "train/mlm", "val/loss", "val/gsg", "val/mlm")
    numbers = {name: [row[name] for row in rows if name in row] for name in names}
    return numbers, read_weights(folder / "checkpoints" / "last.ckpt", prefix="objective.model.")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone") / "run"
    train(folder, 1)
    return folder


def test_the_number_of_a_step_is_the_mean_over_its_tokens(alone):
    numbers, weights = left(alone)
    assert len(numbers["train/loss"]) == STEPS
    first = collate([Rows(13)[(0, int(row))] for row in RandomBatches(13, 4, 5).epoch(0)[0]])
    wanted = plain(small(), first)
    count = (first["labels"] != -100).sum().item()
    assert numbers["train/gsg"][0] == pytest.approx(wanted["gsg"] / count, rel=1e-5)
    loss = numbers["train/gsg"][0] + 0.5 * numbers["train/mlm"][0]
    assert numbers["train/loss"][0] == pytest.approx(loss, rel=1e-5)
    start = weights["model.shared.weight"][0]
    assert not start.any()
    assert (weights["model.shared.weight"][1:] != small().model.shared.weight[1:]).any()


def test_validation_is_the_mean_over_all_tokens_of_the_set(alone):
    model = small()
    model.load_state_dict(left(alone)[1])
    given = batch(range(9))
    wanted, numbers = plain(model, given), left(alone)[0]
    for name, labels in (("gsg", "labels"), ("mlm", "word_labels")):
        mean = wanted[name] / (given[labels] != -100).sum().item()
        assert numbers[f"val/{name}"][-1] == pytest.approx(mean, rel=1e-5)


def train_both(folder):
    return [train(folder / strategy, 2, strategy) for strategy in ("ddp", "fsdp")]


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path, alone):
    finished = zip(*two_processes(train_both, tmp_path), strict=True)
    wanted, expected = left(alone)
    for strategy, (first, second) in zip(("ddp", "fsdp"), finished, strict=True):
        losses, weights = left(tmp_path / strategy)
        assert losses.keys() == wanted.keys()
        for name in wanted:
            assert losses[name] == pytest.approx(wanted[name], rel=1e-5), (strategy, name)
        for name, value in expected.items():
            # a bias of all keys alike cancels in the softmax: its gradient is rounding alone
            if not name.endswith("k_proj.bias"):
                torch.testing.assert_close(weights[name], value, rtol=1e-5, atol=1e-5)
            assert np.array_equal(first[name], second[name]), name  # both end with the best step's model
        assert not weights["model.shared.weight"][0].any()
