"""The losses against their formulas and torch's own, and two processes against one.

This file is also the program that the two processes run.
"""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification, BertConfig

from nonet.data.batching import OrderedBatches, RandomBatches
from nonet.runs import Run, read_metrics
from nonet.testing import one_thread
from nonet.testing_ranks import two_processes
from nonet.training.checkpoints import read_weights
from nonet.training.options import OptimizerOptions, TrainerOptions
from prop_ir.data import Example, Row, collate
from prop_ir.losses import Hinge, Logistic, Objective, PropLoss, SoftmaxHinge
from prop_ir.masked_words import MaskedWordHead
from prop_ir.model import PropModel, encoder_inputs
from prop_ir.module import PropModule
from prop_ir.training import Sets, fit

VOCABULARY, STEPS = 61, 6


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


def small(seed=0):
    """A BERT with random weights and without dropout."""
    config = BertConfig(
        vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=24, max_position_embeddings=40, initializer_range=0.25, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0, num_labels=1,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        ranker = AutoModelForSequenceClassification.from_config(config)
        masked = AutoModelForMaskedLM.from_config(config)
    return PropModel(ranker, MaskedWordHead(masked, ranker.get_input_embeddings().weight))


class Pairs:
    """Pair i has rows of different lengths and between no and four masked pieces in each."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, item):
        index = item[1]
        return Example(index, *(self._row(index, member) for member in (0, 1)))

    def _row(self, index, member):
        draw = np.random.default_rng([index, member])
        length = 8 + (3 * index + member) % 12
        ids = draw.integers(5, VOCABULARY, length)
        places = np.sort(draw.choice(np.arange(4, length), (index + member) % 5 % (length - 4), False))
        return Row(ids, (np.arange(length) >= 4).astype(np.int64), places, ids[places].copy())


def batch(rows=range(5)):
    return collate([Pairs(100)[(0, row)] for row in rows])


def plain(model, given):
    """Sums in float64 from whole logits of transformers' own forward."""
    model = model.double()
    scores = model.ranker(**encoder_inputs(given, model.segments)).logits[:, 0]
    d = scores[0::2] - scores[1::2]
    hidden = model.ranker.bert(**encoder_inputs(given, model.segments)).last_hidden_state
    logits = model.words.transform(inputs_embeds=hidden).logits @ model.decoder()[0].T + model.decoder()[1]
    labels = torch.full(given["input_ids"].shape, -100).flatten()
    labels[given["masked"]] = given["labels"]
    mlm = F.cross_entropy(logits.flatten(0, 1), labels, reduction="sum")
    return {"rop": (2 * torch.sigmoid(-d)).sum(), "mlm": mlm, "accuracy": (d > 0).sum()}


# ----------------------------------------------------------- preferences


def test_softmax_hinge_is_torchs_margin_loss_on_soft_maxed_scores():
    better, worse = torch.randn(2, 200, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 4
    found = SoftmaxHinge()(better, worse)
    torch.testing.assert_close(found, 2 * torch.sigmoid(-(better - worse)), rtol=0, atol=1e-12)
    torch.testing.assert_close(found, 1 - torch.tanh((better - worse) / 2), rtol=0, atol=1e-12)
    shares = torch.stack([better, worse], 1).softmax(1)
    margin = torch.nn.MarginRankingLoss(1.0, reduction="none")
    wanted = margin(shares[:, 0], shares[:, 1], torch.ones(200, dtype=torch.float64))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    assert SoftmaxHinge()(torch.zeros(1), torch.zeros(1)).item() == 1


def test_hinge_and_logistic_by_hand():
    better, worse = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([0.0, 0.0, 1.0])
    assert Hinge()(better, worse).tolist() == [0.0, 0.5, 3.0]
    wanted = [math.log1p(math.exp(-d)) for d in (2.0, 0.5, -2.0)]
    assert Logistic()(better, worse).tolist() == pytest.approx(wanted, rel=1e-6)
    assert Logistic()(torch.zeros(1), torch.zeros(1)).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("loss", [SoftmaxHinge(), Hinge(), Logistic()])
def test_losses_fall_with_the_difference_and_are_finite_far_out(loss):
    better = torch.linspace(-100, 100, 41, requires_grad=True)
    values = loss(better, torch.zeros(41))
    assert (values.diff() <= 0).all()
    values.sum().backward()
    assert torch.isfinite(values).all()
    assert torch.isfinite(better.grad).all()


# ----------------------------------------------------------- terms


def test_terms_are_sums_over_pairs_and_masked_pieces():
    model, given = small(), batch()
    terms = Objective(model, PropLoss(mlm_weight=0.25))(given)
    wanted = {name: value.item() for name, value in plain(small(), given).items()}
    assert {name: term.total.item() for name, term in terms.items()} == pytest.approx(wanted, rel=1e-5)
    assert {name: term.count.item() for name, term in terms.items()} == {
        "rop": 5, "mlm": len(given["labels"]), "accuracy": 5
    }  # fmt: skip
    assert {name: term.weight for name, term in terms.items()} == {"rop": 1.0, "mlm": 0.25, "accuracy": 0.0}
    assert len(given["labels"]) > 10


def test_gradients_are_those_of_whole_logits():
    model, given = small(), batch()
    terms = PropLoss()(model, given)
    (terms["rop"].total + terms["mlm"].total).backward()
    other = small()
    sums = plain(other, given)
    (sums["rop"] + sums["mlm"]).backward()
    found = dict(model.named_parameters())
    for name, p in other.named_parameters():
        torch.testing.assert_close(found[name].grad.double(), p.grad, rtol=1e-4, atol=1e-5)


def test_padding_and_company_change_nothing():
    model, losses = small(), PropLoss()
    together = losses(model, batch(range(6)))
    apart = [losses(model, batch([row])) for row in range(6)]
    for name, term in together.items():
        assert term.total.item() == pytest.approx(sum(one[name].total.item() for one in apart), rel=1e-5)
        assert term.count == sum(one[name].count for one in apart)


def test_without_weight_masked_words_are_not_looked_at():
    assert set(PropLoss(mlm_weight=0.0)(small(), batch())) == {"rop", "accuracy"}
    assert PropLoss(rop_weight=0.0)(small(), batch())["rop"].weight == 0


# ----------------------------------------------------------- two processes, one


def train(folder, devices, strategy="ddp", **changes):
    """Train on batches of four pairs with unequal numbers of masked pieces; validate on nine pairs."""
    options = TrainerOptions(
        steps=STEPS, validate_every=3, checkpoint_every=3, log_every=1, accelerator="cpu", devices=devices,
        strategy=strategy if devices > 1 else "auto", seed=5, clip=1.0,
    )  # fmt: skip
    with one_thread(), Run.create("prop_ir", "pretrain", options, folder=folder) as run:
        sets = Sets(Pairs(13), RandomBatches(13, 4, 5), Pairs(9), OrderedBatches(9, batch=4))
        model, _ = fit(
            small(), sets, run, trainer=options, losses=PropLoss(mlm_weight=0.5), head_rate=3.0,
            optimizer=OptimizerOptions(lr=1e-3, weight_decay=0.01), **changes,
        )  # fmt: skip
    return {name: value.numpy() for name, value in model.state_dict().items()}


def left(folder):
    rows = read_metrics(folder)
    names = [f"{part}/{name}" for part in ("train", "val") for name in ("loss", "rop", "mlm", "accuracy")]
    numbers = {name: [row[name] for row in rows if name in row] for name in names}
    return numbers, read_weights(folder / "checkpoints" / "last.ckpt", prefix="objective.model.")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone") / "run"
    train(folder, 1)
    return folder


def test_the_numbers_of_a_step_are_means_over_its_pairs_and_pieces(alone):
    numbers, _ = left(alone)
    assert len(numbers["train/loss"]) == STEPS
    first = collate([Pairs(13)[(0, int(row))] for row in RandomBatches(13, 4, 5).epoch(0)[0]])
    wanted = plain(small(), first)
    assert numbers["train/rop"][0] == pytest.approx(wanted["rop"].item() / 4, rel=1e-5)
    assert numbers["train/mlm"][0] == pytest.approx(wanted["mlm"].item() / len(first["labels"]), rel=1e-5)
    assert numbers["train/accuracy"][0] == wanted["accuracy"].item() / 4
    loss = numbers["train/rop"][0] + 0.5 * numbers["train/mlm"][0]
    assert numbers["train/loss"][0] == pytest.approx(loss, rel=1e-5)


def test_validation_is_the_mean_over_all_held_out_pairs(alone):
    model = small()
    numbers, weights = left(alone)
    model.load_state_dict(weights)
    given = batch(range(9))
    wanted = plain(model, given)
    assert numbers["val/rop"][-1] == pytest.approx(wanted["rop"].item() / 9, rel=1e-5)
    assert numbers["val/mlm"][-1] == pytest.approx(wanted["mlm"].item() / len(given["labels"]), rel=1e-5)
    assert numbers["val/accuracy"][-1] == pytest.approx(wanted["accuracy"].item() / 9)
    loss = numbers["val/rop"][-1] + 0.5 * numbers["val/mlm"][-1]
    assert numbers["val/loss"][-1] == pytest.approx(loss)


def gradients(rows):
    """Both processes' means and their averaged gradients, as DDP makes them, of one batch shared out."""
    from torch.nn.parallel import DistributedDataParallel

    from nonet.training.trainer import global_mean

    world = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
    rank = torch.distributed.get_rank() if world > 1 else 0
    model = small()
    objective = Objective(model, PropLoss(mlm_weight=0.5))
    shared = DistributedDataParallel(objective) if world > 1 else objective
    terms = shared(batch(list(rows)[rank::world]))
    means = {name: global_mean(term.total, term.count) for name, term in terms.items()}
    (means["rop"] + 0.5 * means["mlm"]).backward()
    values = {name: mean.item() for name, mean in means.items()}
    return values, {name: p.grad.numpy() for name, p in model.named_parameters()}


def both(folder):
    trained = [train(folder / strategy, 2, strategy) for strategy in ("ddp", "fsdp")]
    return gradients(range(7)), trained


@pytest.mark.slow
def test_two_processes_are_one_on_the_whole_batch_in_values_gradients_and_weights(tmp_path, alone):
    first, second = two_processes(both, tmp_path)
    wanted_values, wanted_gradients = gradients(range(7))
    for name, value in wanted_values.items():
        assert (first[0][0][name] + second[0][0][name]) / 2 == pytest.approx(value, rel=1e-5)
    for name, value in wanted_gradients.items():
        np.testing.assert_allclose(first[0][1][name], value, rtol=1e-4, atol=1e-6, err_msg=name)
        assert np.array_equal(first[0][1][name], second[0][1][name]), name
    numbers, weights = left(alone)
    for place, strategy in enumerate(("ddp", "fsdp")):
        losses, _ = left(tmp_path / strategy)
        for name, values in numbers.items():
            assert losses[name] == pytest.approx(values, rel=1e-4), (strategy, name)
        for name, value in weights.items():
            # a bias of all keys alike cancels in the softmax: its gradient is rounding alone
            if not name.endswith("key.bias"):
                np.testing.assert_allclose(first[1][place][name], value, rtol=1e-3, atol=1e-5, err_msg=name)
            assert np.array_equal(first[1][place][name], second[1][place][name]), name


# ----------------------------------------------------------- what is trained


def test_frozen_embeddings_stay_and_the_rest_learns(tmp_path):
    found = train(tmp_path / "run", 1, freeze_embeddings=True)
    for name, value in small().state_dict().items():
        moved = not np.array_equal(found[name], value.numpy())
        # the score's bias cancels in every difference of scores
        frozen = name in ("ranker.bert.embeddings.word_embeddings.weight", "ranker.classifier.bias")
        assert moved != frozen, name


def test_bert_adam_trains_and_says_that_the_clip_is_its_own(tmp_path, capsys):
    train(tmp_path / "run", 1, bert_adam=True)
    assert "BertAdam clips each gradient by itself" in capsys.readouterr().err
    assert set(left(tmp_path / "run")[0]["val/rop"]) != {None}


def test_both_heads_have_the_rate_of_heads():
    module = PropModule(small(), PropLoss(), OptimizerOptions(lr=1e-3), steps=10, head_rate=7.0)
    optimizer = module.configure_optimizers()["optimizer"]
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    fast = {name for name, p in module.objective.model.named_parameters() if rates[id(p)] != 1e-3}
    assert sorted({rates[id(p)] for p in module.parameters()}) == pytest.approx([1e-3, 7e-3])
    assert {name.split(".")[0] for name in fast} == {"ranker", "words"}
    heads = ("words.", "ranker.bert.pooler.", "ranker.classifier.")
    assert fast == {name for name, _ in small().named_parameters() if name.startswith(heads)}
