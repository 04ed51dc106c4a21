"""Trainings with masks against a plain loop that sorts, and against themselves when interrupted."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.func import functional_call
from torch.nn import functional as F
from transformers import AutoModelForSequenceClassification

from cap_prune import toy
from cap_prune.architectures import parts_of
from cap_prune.banks import Banks
from cap_prune.contrast import Contrast
from cap_prune.examples import Examples, collate
from cap_prune.levels import read_facts
from cap_prune.mask_options import MaskOptions
from cap_prune.objective import Objective
from cap_prune.training import train, train_batches
from cap_prune.unstructured import MaskSchedule, prune_masked, snapshot_count
from nonet.errors import RunFailed
from nonet.runs import Run, read_metrics
from nonet.testing_ranks import two_processes
from nonet.training.options import OptimizerOptions, TrainerOptions

COUNT, BATCH = 24, 6


@pytest.fixture(scope="module")
def examples():
    """Short texts whose first piece says the label."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, COUNT)
    ids = [
        np.array([2, 5 + label, *random.integers(8, 20, random.integers(1, 5)), 3], np.int32)
        for label in labels
    ]
    lengths = np.array([len(each) for each in ids], np.int64)
    types = [np.zeros(len(each), np.int32) for each in ids]
    return Examples(ids, types, labels.astype(np.int64), lengths)


def new(dropout=0.0):
    return toy.new_bert(layers=1, width=16, heads=2, neurons=24, dropout=dropout)


def schedule(method="movement", *, epochs=3, lr=1e-2, **masks):
    trainer = {"validate_every": 0, "checkpoint_every": 0, "accelerator": "cpu", "log_every": 1}
    return MaskSchedule(
        method=method, masks=MaskOptions(**masks), epochs=epochs, batch=BATCH, bucket=False, warmup_share=0.0,
        trainer=TrainerOptions(**trainer),
        optimizer=OptimizerOptions(lr=lr, schedule="linear", weight_decay=0.1),
    )  # fmt: skip


def pruned(folder, examples, plan, *, model=None, banks=None, objective=None, **more):
    if objective is None:
        contrast = None
        if banks is not None:
            weights = {"pre": (0.1, 0.0), "snap": (0.1, 0.0)}
            contrast = Contrast(
                banks, weights=weights, tau=0.1, extra=10, reduction="paper", labels=None, seed=0
            )
        objective = Objective("classification", ce=1.0, kd=0.0, contrast=contrast)
    resumed = (folder / "run.json").exists()
    with Run.resume(folder) if resumed else Run.create("cap_prune", "prune", plan, folder=folder) as run:
        return prune_masked(new() if model is None else model, toy.tokenizer(), examples, objective, plan,
                            run=run, banks=banks, facts={"task": "classify"}, **more)  # fmt: skip


def matrices(folder):
    """The six matrices of the only layer of a saved level, read as any model."""
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    return list(parts_of(model)[0].matrices.values())


def test_a_training_is_that_of_a_plain_loop_which_sorts_scores(tmp_path, examples):
    plan = schedule(density=(0.2,), score_lr=0.05, dense_share=0.25, cool_share=0.25)
    (level,) = pruned(tmp_path / "run", examples, plan)

    model, steps = new().train(), 12
    names = {id(value): name for name, value in model.named_parameters()}
    masked = [names[id(part.weight)] for part in parts_of(model)[0].matrices.values()]
    weights = dict(model.named_parameters())
    scores = {name: torch.zeros_like(weights[name]).requires_grad_() for name in masked}
    matrix = [value for value in weights.values() if value.ndim == 2]
    norms = [value for value in weights.values() if value.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrix, "weight_decay": 0.1}, {"params": norms, "weight_decay": 0.0},
         {"params": list(scores.values()), "lr": 0.05, "weight_decay": 0.0}], lr=1e-2,
    )  # fmt: skip
    batches = train_batches(examples.lengths, BATCH, seed=0, bucket=False)
    order = [items for epoch in range(3) for items in batches.epoch(epoch)]
    rates = [group["lr"] for group in optimizer.param_groups]
    kept = {}
    for step in range(steps):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * (1 - step / steps)
        left = 1 - min(1, max(0, (step - 3) / 6))
        density = 0.2 + 0.8 * left**3
        used = dict(weights)
        for name, score in scores.items():
            values = score.flatten().tolist()
            places = sorted(range(len(values)), key=lambda at, values=values: (-values[at], at))
            mask = torch.zeros(score.numel())
            mask[places[: int(density * score.numel() + 1e-9)]] = 1
            kept[name] = mask = mask.view(score.shape)
            used[name] = weights[name] * mask + (score - score.detach()) * weights[name].detach()
        batch = collate([examples[(0, int(item))] for item in order[step]], 0)
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
        loss = F.cross_entropy(functional_call(model, used, kwargs=inputs).logits, batch["labels"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = load_file(level / "model.safetensors")
    for name, value in weights.items():
        if name in scores:
            places = (
                scores[name].flatten().sort(descending=True, stable=True).indices[: int(0.2 * value.numel())]
            )
            mask = torch.zeros(value.numel()).index_fill(0, places, 1.0).view(value.shape)
            assert int(found[name].count_nonzero()) == int(mask.sum())
            value = value * mask
        torch.testing.assert_close(found[name], value.detach(), rtol=1e-4, atol=2e-5)
    assert all(score.abs().max() > 0 for score in scores.values())


def test_levels_have_exactly_their_densities_and_say_what_remains(tmp_path, examples):
    scored = []

    def score(model):
        assert not model.training
        scored.append(model)
        return {"accuracy": 0.5 + len(scored) / 10}

    plan = schedule(density=(0.6, 0.35, 0.1), score_lr=0.05)
    levels = pruned(tmp_path / "run", examples, plan, score=score)
    assert [level.name for level in levels] == ["density-0.60", "density-0.35", "density-0.10"]
    before = None
    for level, density in zip(levels, (0.6, 0.35, 0.1), strict=True):
        facts, parts = read_facts(level), matrices(level)
        assert [int(part.weight.count_nonzero()) for part in parts] == [
            int(density * part.weight.numel() + 1e-9) for part in parts
        ]
        kept = sum(int(part.weight.count_nonzero()) for part in parts)
        assert facts["kept"]["matrices_kept"] == kept
        assert facts["kept"]["density"] == pytest.approx(kept / 1792)
        assert (facts["density"], facts["method"], facts["pattern"]) == (density, "movement", None)
        assert facts["task"] == "classify"
        assert before is None or before["step"] < facts["step"]
        before = facts
    assert [read_facts(level)["last"] for level in levels] == [False, False, True]
    assert [read_facts(level)["metrics"]["accuracy"] for level in levels] == [0.6, 0.7, 0.8]
    lines = [line for line in read_metrics(tmp_path / "run") if "density" in line]
    assert [(line["density"], line["dev/accuracy"]) for line in lines] == [
        (0.6, 0.6),
        (0.35, 0.7),
        (0.1, 0.8),
    ]
    levels_seen = [line["train/level"] for line in read_metrics(tmp_path / "run") if "train/level" in line]
    assert levels_seen[0] == 1
    assert levels_seen[-1] == pytest.approx(0.1)
    assert levels_seen == sorted(levels_seen, reverse=True)
    assert not list((tmp_path / "run").glob("checkpoints/*/*"))
    again = pruned(tmp_path / "run", examples, plan, score=lambda model: pytest.fail("scored again"))
    assert again == levels


@pytest.mark.parametrize("method", ["movement", "wanda"])
def test_an_interrupted_training_leaves_the_same_levels_to_the_bit(tmp_path, examples, method):
    trainer = TrainerOptions(validate_every=0, checkpoint_every=5, accelerator="cpu", log_every=1)
    masks = {"density": (0.5, 0.2), "every": 2, "score_lr": 0.05}
    plan = MaskSchedule(
        method=method, masks=MaskOptions(**masks), epochs=3, batch=BATCH, trainer=trainer,
        optimizer=OptimizerOptions(lr=1e-2, schedule="linear"),
    )  # fmt: skip
    assert snapshot_count(examples, plan) == 2
    whole = Banks(COUNT, 16, snapshots=2)
    wanted = pruned(tmp_path / "whole", examples, plan, model=new(0.2), banks=whole)

    class Stop(Exception):
        pass

    def broken(banks):
        weights = {"pre": (0.1, 0.0), "snap": (0.1, 0.0)}
        contrast = Contrast(banks, weights=weights, tau=0.1, extra=10, reduction="paper", labels=None, seed=0)
        objective = Objective("classification", ce=1.0, kd=0.0, contrast=contrast)

        def call(model, batch, step):
            if step == 9:
                raise Stop
            return objective(model, batch, step)

        call.align = objective.align
        return call

    banks = Banks(COUNT, 16, snapshots=2)
    with pytest.raises(Stop):
        pruned(tmp_path / "run", examples, plan, model=new(0.2), banks=banks, objective=broken(banks))
    assert (tmp_path / "run" / "banks" / "snap-1.safetensors").exists()
    banks = Banks(COUNT, 16, snapshots=2)
    found = pruned(tmp_path / "run", examples, plan, model=new(0.2), banks=banks)
    assert (
        [level.name for level in found]
        == [level.name for level in wanted]
        == ["density-0.50", "density-0.20"]
    )
    for ours, theirs in zip(found, wanted, strict=True):
        assert (ours / "model.safetensors").read_bytes() == (theirs / "model.safetensors").read_bytes()
        assert read_facts(ours) == read_facts(theirs)
    assert torch.equal(banks.table_NVd, whole.table_NVd)
    assert not (tmp_path / "run" / "banks").exists()


def test_a_run_that_stopped_while_its_last_level_was_scored_trains_no_more(tmp_path, examples):
    plan = schedule(density=(0.3,), score_lr=0.05, epochs=2)

    def broken(model):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pruned(tmp_path / "run", examples, plan, score=broken)
    seen = []

    def objective(model, batch, step):
        seen.append(step)
        return Objective("classification", ce=1.0, kd=0.0)(model, batch, step)

    objective.align = "mean-pooling"
    (found,) = pruned(tmp_path / "run", examples, plan, objective=objective)
    assert not seen
    (wanted,) = pruned(tmp_path / "whole", examples, plan)
    assert (found / "model.safetensors").read_bytes() == (wanted / "model.safetensors").read_bytes()


def test_snapshots_are_taken_after_every_epoch_but_the_last_without_dropout(tmp_path, examples):
    plan = schedule(density=(1.0,), epochs=3, lr=1e-12, score_lr=1e-12)
    banks = Banks(COUNT, 16, snapshots=snapshot_count(examples, plan), dtype="fp32")
    pruned(tmp_path / "run", examples, plan, model=new(0.5), banks=banks)
    assert banks.names == {"pre", "snap-1", "snap-2"}
    cosines = (banks.bank("pre") * banks.bank("snap")).sum(-1)
    torch.testing.assert_close(cosines, torch.ones(COUNT, 2))  # a rate of next to nothing changes nothing


def test_keeping_all_weights_is_ordinary_fine_tuning(tmp_path, examples):
    plan = schedule("magnitude", density=(1.0,), epochs=2)
    (level,) = pruned(tmp_path / "run", examples, plan)
    model = new()
    with Run.create("cap_prune", "teacher", plan, folder=tmp_path / "plain") as run:
        train(
            model, examples, lambda rows: collate(rows, 0), Objective("classification", ce=1.0, kd=0.0),
            run=run, batch=BATCH, epochs=2, trainer=plan.trainer, optimizer=plan.optimizer, bucket=False,
        )  # fmt: skip
    found = load_file(level / "model.safetensors")
    for name, value in model.named_parameters():
        torch.testing.assert_close(found[name], value.detach(), rtol=0, atol=1e-7)


def test_soft_movement_says_how_dense_it_became(tmp_path, examples):
    plan = schedule("soft-movement", density=(0.9,), score_lr=0.5, penalty=50.0, threshold=0.2)
    levels = pruned(tmp_path / "run", examples, plan)
    last = read_facts(levels[-1])
    parts = matrices(levels[-1])
    kept = sum(int(part.weight.count_nonzero()) for part in parts)
    assert 0.005 < kept / 1792 < 0.9
    assert last["density"] == pytest.approx(kept / 1792, abs=1e-4)
    assert last["last"]
    lines = [line for line in read_metrics(tmp_path / "run") if "train/penalty" in line]
    assert lines[-1]["train/penalty"] > 0
    assert lines[0]["train/level"] > 0, "there is no penalty before the threshold rises"


@pytest.mark.parametrize(
    ("method", "masks"),
    [("magnitude", {"pattern": "2:4"}), ("movement", {"block": "4x1", "density": (0.25,)}),
     ("magnitude", {"density": (0.25,), "together": True, "every": 5})],
)  # fmt: skip
def test_patterns_hold_in_what_is_saved(tmp_path, examples, method, masks):
    (level,) = pruned(tmp_path / "run", examples, schedule(method, epochs=2, **masks))
    kept = [part.weight != 0 for part in matrices(level)]
    if "pattern" in masks:
        assert all((each.unflatten(1, (-1, 4)).sum(-1) == 2).all() for each in kept)
    elif "block" in masks:
        assert all(set(each.unflatten(0, (-1, 4)).sum(1).flatten().tolist()) == {0, 4} for each in kept)
        assert [int(each.sum()) for each in kept] == [each.numel() // 4 for each in kept]
    else:
        assert sum(int(each.sum()) for each in kept) == 1792 // 4
        assert len({round(float(each.float().mean()), 6) for each in kept}) > 1
    assert read_facts(level)["pattern"] == masks.get("pattern", masks.get("block"))


def test_a_pattern_that_does_not_divide_a_matrix_is_told(tmp_path, examples, capfd):
    model = toy.new_bert(layers=1, width=16, heads=2, neurons=22)
    pruned(tmp_path / "run", examples, schedule("magnitude", epochs=1, pattern="2:4"), model=model)
    assert (
        "pattern 2:4 does not divide every matrix (output of layer 0 is 16 x 22, 1 in all)"
        in capfd.readouterr().err
    )


def test_a_loss_that_is_not_finite_stops_the_run_and_levels_before_stay(tmp_path, examples):
    good = Objective("classification", ce=1.0, kd=0.0)

    def objective(model, batch, step):
        parts = good(model, batch, step)
        return {
            name: (total * (float("nan") if step == 11 else 1), count)
            for name, (total, count) in parts.items()
        }

    objective.align = good.align
    plan = schedule(density=(0.6, 0.2), dense_share=0.0, cool_share=0.5)
    with pytest.raises(RunFailed, match="lr"):
        pruned(tmp_path / "run", examples, plan, objective=objective)
    assert json.loads((tmp_path / "run" / "density-0.60" / "step.json").read_text())["density"] == 0.6
    assert not (tmp_path / "run" / "density-0.20").exists()


def on_a_device(folder, method):
    """A training in one process of several; the weights of its last level."""
    random = np.random.default_rng(0)
    ids = [np.array([2, *random.integers(5, 20, 4), 3], np.int32) for _ in range(COUNT)]
    labels = np.array([int(each[1]) % 2 for each in ids])
    types = [np.zeros(6, np.int32) for _ in ids]
    data = Examples(ids, types, labels.astype(np.int64), np.full(COUNT, 6, np.int64))
    world = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
    trainer = TrainerOptions(validate_every=0, checkpoint_every=0, accelerator="cpu", devices=world)
    plan = MaskSchedule(
        method=method, masks=MaskOptions(density=(0.5, 0.2), score_lr=0.05), epochs=2, batch=BATCH,
        bucket=False, trainer=trainer, optimizer=OptimizerOptions(lr=1e-2, schedule="linear"),
    )  # fmt: skip
    banks = Banks(COUNT, 16, snapshots=snapshot_count(data, plan), dtype="fp32")
    pruned(folder, data, plan, banks=banks)
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
    return {
        name: value.numpy() for name, value in load_file(folder / "density-0.20/model.safetensors").items()
    }


@pytest.mark.slow
def test_two_devices_train_what_one_does(tmp_path):
    one = on_a_device(tmp_path / "one", "wanda")
    first, second = two_processes(on_a_device, tmp_path / "two", "wanda")
    for name, value in one.items():
        assert np.array_equal(first[name], second[name]), name
        if name.endswith("key.bias"):
            continue  # its gradient is 0 but for rounding, which Adam scales up
        np.testing.assert_allclose(first[name], value, rtol=1e-3, atol=1e-4, err_msg=name)
