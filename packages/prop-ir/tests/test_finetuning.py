"""Fine-tuning on made-up queries: what it learns, which weights it keeps, and that it can be taken up."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from nonet.errors import UserError
from nonet.metrics.ranking import score_run
from nonet.testing import one_thread
from nonet.training.options import OptimizerOptions, TrainerOptions
from prop_ir.finetuning import finetune
from prop_ir.groups import GroupData
from prop_ir.model import ranking_head
from prop_ir.rerank_options import ScoreOptions, TuneOptions
from prop_ir.reranking import arrange, score_candidates
from prop_ir.scoring import Scorer

SCORE = ScoreOptions(max_length=64, depth=12, device="cpu")
TRAINER = TrainerOptions(
    steps=8, validate_every=4, checkpoint_every=2, devices=1, accelerator="cpu", clip=1.0
)
OPTIMIZER = OptimizerOptions(lr=3e-3)
TUNE = TuneOptions(negatives=3, groups=4, warmup_share=0)


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


@pytest.fixture
def tuned(judged_ranker, judged_task):
    names = list(judged_task.queries)

    def make(tune=TUNE, trainer=TRAINER, seed=0, **more):
        given = {"train": names[:12], "test": names[15:], "score": SCORE, "optimizer": OPTIMIZER}
        return finetune(*judged_ranker(seed), judged_task, tune=tune, trainer=trainer, **given | more)

    return make


def weights(ranker):
    return {name: value.clone() for name, value in ranker.state_dict().items()}


def same(a, b):
    return all(torch.equal(value, b[name]) for name, value in a.items())


def test_it_learns_to_rank_its_training_queries(tuned, judged_task, judged_ranker):
    names = list(judged_task.queries)[:12]
    result = tuned(trainer=replace(TRAINER, steps=40), test=names)
    before = score_candidates(
        Scorer(*judged_ranker(), max_length=64, device="cpu"), judged_task.queries, judged_task.documents,
        {name: judged_task.run[name] for name in names}, SCORE,
    )  # fmt: skip
    judged = {name: judged_task.qrels[name] for name in names}
    means = [
        np.mean(list(score_run(judged, run, ["nDCG@20"])["nDCG@20"].values())) for run in (before, result.run)
    ]
    assert means[1] > means[0] + 0.05
    assert result.chosen == (None, None, 40)


def test_the_runs_are_those_of_its_scores_and_weight(tuned, judged_task):
    result = tuned()
    first = {name: judged_task.run[name] for name in list(judged_task.queries)[15:]}
    assert list(result.run) == list(first)
    assert result.run == arrange(first, result.scores)
    assert result.mixed == arrange(first, result.scores, weight=result.weight)
    assert 0 <= result.weight <= 1


def test_the_same_seed_gives_the_same_weights_and_another_one_others(tuned):
    one, two = (weights(tuned().ranker) for _ in range(2))
    assert same(one, two)
    assert not same(one, weights(tuned(trainer=replace(TRAINER, seed=1)).ranker))


def test_the_best_validated_weights_win_and_the_starting_ones_compete(
    tuned, judged_task, judged_ranker, tmp_path
):
    val = list(judged_task.queries)[12:15]
    result = tuned(val=val)
    assert result.chosen.best >= result.chosen.start
    assert result.chosen.step in (0, 4, 8)
    judged = {name: judged_task.qrels[name] for name in val}
    ranker, tokenizer = result.ranker, judged_ranker()[1]
    scores = score_candidates(
        Scorer(ranker, tokenizer, max_length=64, device="cpu"), judged_task.queries, judged_task.documents,
        {name: judged_task.run[name] for name in val}, SCORE,
    )  # fmt: skip
    value = np.mean(list(score_run(judged, scores, ["nDCG@20"])["nDCG@20"].values()))
    assert value == pytest.approx(result.chosen.best)
    for folder in (None, tmp_path):
        harmful = tuned(val=val, optimizer=OptimizerOptions(lr=1e-12), folder=folder)
        assert harmful.chosen.step == 0
        assert same(weights(harmful.ranker), weights(judged_ranker()[0]))


def test_the_head_alone_changes_if_that_is_wanted(tuned, judged_ranker):
    start = weights(judged_ranker()[0])
    result = tuned(replace(TUNE, train="head"))
    head = ranking_head(result.ranker)
    changed = {name for name, value in weights(result.ranker).items() if not torch.equal(value, start[name])}
    assert changed == head
    assert all(parameter.requires_grad for parameter in result.ranker.parameters())


def test_the_head_s_rate_is_its_own(tuned, judged_ranker):
    """One step of AdamW moves every weight that has a gradient by its learning rate."""
    start = weights(judged_ranker()[0])
    after = weights(tuned(replace(TUNE, head_rate=10.0), trainer=replace(TRAINER, steps=1)).ranker)
    moved = {name: float((after[name] - value).abs().max()) for name, value in start.items()}
    assert moved["classifier.weight"] == pytest.approx(10 * 3e-3, rel=1e-3)
    assert moved["bert.encoder.layer.0.output.dense.weight"] == pytest.approx(3e-3, rel=1e-3)


@pytest.mark.parametrize("validated", [False, True])
def test_an_interrupted_fine_tuning_goes_on_and_ends_with_the_same_weights(
    tuned, judged_task, tmp_path, monkeypatch, validated
):
    val = list(judged_task.queries)[12:15] if validated else ()
    whole = tuned(val=val, folder=tmp_path / "whole")
    items = GroupData.__getitem__
    seen = []

    def failing(self, key):
        seen.append(key)
        if len(seen) > 4 * 5:
            raise KeyboardInterrupt
        return items(self, key)

    with monkeypatch.context() as patch:
        patch.setattr(GroupData, "__getitem__", failing)
        with pytest.raises(KeyboardInterrupt):
            tuned(val=val, folder=tmp_path / "broken")
    assert (tmp_path / "broken" / "checkpoints" / "last.ckpt").exists()
    again = tuned(val=val, folder=tmp_path / "broken")
    assert again.chosen == whole.chosen
    assert again.run == whole.run
    assert same(weights(again.ranker), weights(whole.ranker))
    finished = tuned(val=val, folder=tmp_path / "broken")
    assert same(weights(finished.ranker), weights(whole.ranker))


def test_epochs_are_passes_over_all_groups(tuned):
    result = tuned(replace(TUNE, epochs=2, each="query"))
    assert result.groups == 12 - len(result.left_out)
    assert result.chosen.step == 2 * -(-result.groups // 4)


def test_patience_ends_a_training_that_gets_no_better(tuned, judged_task, tmp_path):
    trainer = replace(TRAINER, steps=30, validate_every=1)
    val = list(judged_task.queries)[12:15]
    tuned(
        replace(TUNE, patience=2), trainer=trainer, val=val, folder=tmp_path,
        optimizer=OptimizerOptions(lr=1e-12),
    )  # fmt: skip
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 3


def test_what_cannot_be_learned_from_is_refused(tuned, judged_task):
    with pytest.raises(UserError, match="none of the 2 training queries has a relevant and another"):
        tuned(train=["nobody", "knows"])
    with pytest.raises(UserError, match=r"leave trainer.strategy at auto or ddp"):
        tuned(trainer=replace(TRAINER, strategy="fsdp"))


@pytest.mark.parametrize("loss", ["hinge", "logistic"])
def test_other_losses_train(tuned, judged_ranker, loss):
    result = tuned(replace(TUNE, loss=loss), trainer=replace(TRAINER, steps=2))
    assert not same(weights(result.ranker), weights(judged_ranker()[0]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"negatives": 0}, "negatives is 0"), ({"groups": 0}, "groups is 0"), ({"epochs": -1}, "epochs is"),
        ({"hold_out": 1.0}, "hold_out is 1"), ({"head_rate": 0.0}, "head_rate is 0"),
        ({"warmup_share": 1.0}, "warmup_share is 1"),
    ],
)  # fmt: skip
def test_options_that_cannot_be_meant(changes, message):
    with pytest.raises(UserError, match=message):
        TuneOptions(**changes)
