"""Pruning step by step: counts, resuming to the bit, the dense limit, failures that leave levels whole."""

import copy
import errno
import re

import pytest
import torch

from cap_prune import toy
from cap_prune.architectures import units_of
from cap_prune.banks import Banks
from cap_prune.contrast import Contrast
from cap_prune.criteria import CRITERIA
from cap_prune.encoding import read_task, resolve_task
from cap_prune.evaluating import evaluate, plain_batches
from cap_prune.examples import collate
from cap_prune.gates import Gates
from cap_prune.levels import complete, levels_of, read_facts
from cap_prune.loading import load_model
from cap_prune.objective import Objective
from cap_prune.representations import encode
from cap_prune.selection import choose
from cap_prune.slimming import slim
from cap_prune.structured import Schedule, prune
from cap_prune.training import train
from cap_prune.units import Units
from nonet.errors import RunFailed, UserError
from nonet.runs import Run, read_metrics
from nonet.training.options import OptimizerOptions, TrainerOptions

SHAPE = {"layers": 2, "width": 16, "heads": 4, "neurons": 20, "dropout": 0.1}
OPTIMIZER = OptimizerOptions(lr=1e-3, weight_decay=0.01, schedule="linear")
TARGETS = (20.0, 45.0, 70.0)


@pytest.fixture(autouse=True, scope="module")
def quiet():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NONET_PROGRESS", "0")
        yield


@pytest.fixture(scope="module")
def task_data(tmp_path_factory):
    """The task, its tokenizer and 40 training examples."""
    folder = toy.write_task(tmp_path_factory.mktemp("task"), train=40, dev=16)
    words = toy.tokenizer()
    task = resolve_task("classify", folder)
    return task, words, *(read_task(task, folder, side, words, max_length=24) for side in ("train", "dev"))


def trainer(**values):
    return TrainerOptions(
        **{"clip": 1.0, "validate_every": 0, "checkpoint_every": 2, "accelerator": "cpu"} | values
    )


def schedule(targets=TARGETS, **values):
    return Schedule(
        **{
            "targets": targets, "epochs": 1, "batch": 10, "optimizer": OPTIMIZER, "trainer": trainer(),
            "importance_samples": 30,
        } | values
    )  # fmt: skip


def parts(task_data, snapshots=2):
    """A model, banks and the whole loss, always the same ones."""
    examples = task_data[2]
    banks = Banks(len(examples), 16, snapshots=snapshots)
    labels = torch.from_numpy(examples.labels)
    weights = {kind: (0.1, 0.1) for kind in ("pre", "snap")}
    contrast = Contrast(banks, weights=weights, extra=8, labels=labels)
    return toy.new_bert(**SHAPE), banks, Objective("classification", ce=1.0, kd=0.0, contrast=contrast)


def go(task_data, run, objective=None, plan=None, model=None):
    made, banks, whole = parts(task_data)
    _, words, examples, dev = task_data
    return prune(
        model or made, words, examples, objective(whole) if objective else whole, plan or schedule(), run=run,
        banks=banks, score=lambda student: evaluate(student.cpu(), task_data[0], dev), facts={"task": "toy"},
    )  # fmt: skip


def start(folder):
    return Run.create("cap_prune", "prune", schedule(), seed=0, folder=folder)


@pytest.fixture(scope="module")
def undisturbed(task_data, tmp_path_factory):
    """The levels of a run that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    with start(folder) as run:
        return go(task_data, run)


class Breaks:
    """An objective that does something else at one of its calls."""

    def __init__(self, whole, at, happens):
        self.whole, self.left, self.happens, self.align = whole, at, happens, whole.align

    def loss(self, *arguments):
        return self.whole.loss(*arguments)

    def __call__(self, *arguments):
        self.left -= 1
        terms = self.whole(*arguments)
        return self.happens(terms) if self.left == 0 else terms


def interrupted(terms):
    raise KeyboardInterrupt


def weights(folder):
    return load_model(folder)[0].state_dict()


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_each_level_has_lost_the_share_of_all_units_rounded_down(undisturbed):
    # 8 heads and 40 neurons: 20 % are 1.6 and 8, 45 % are 3.6 and 18, 70 % are 5.6 and 28
    live = [units_of(load_model(folder)[0]) for folder in undisturbed]
    assert [(each.live_heads, each.live_neurons) for each in live] == [(7, 32), (5, 22), (3, 12)]
    assert live[0].holds(live[1])
    assert live[1].holds(live[2])


def test_a_level_says_what_it_is(undisturbed, task_data):
    facts = read_facts(undisturbed[1])
    model, _ = load_model(undisturbed[1])
    assert facts["percent"] == 45
    assert facts["task"] == "toy"
    assert facts["method"] == "first-order"
    assert Units.from_dict(facts["units"]) == units_of(model)
    assert facts["metrics"] == pytest.approx(evaluate(model, task_data[0], task_data[3]))
    assert set(facts["importance_agreement"]) == {"heads", "neurons"}
    assert levels_of(undisturbed[0].parent) == undisturbed


def test_banks_hold_the_model_before_the_first_cut_and_then_each_level(task_data, tmp_path):
    examples = task_data[2]
    model, banks, whole = parts(task_data)
    with start(tmp_path / "run") as run:
        levels = prune(model, task_data[1], examples, whole, schedule(TARGETS[:2]), run=run, banks=banks)
    assert banks.names == {"pre", "snap-1"}
    sources = {"pre": toy.new_bert(**SHAPE), "snap": load_model(levels[0])[0]}
    for kind, source in sources.items():
        batches = plain_batches(examples, 0, order=range(40))
        wanted = torch.cat([z_Bd for _, z_Bd in encode(source, batches, "mean-pooling")])
        torch.testing.assert_close(banks.bank(kind)[:, 0].float(), wanted, rtol=0, atol=1e-3)


def test_steps_are_counted_on_over_levels_and_each_has_a_fresh_schedule(undisturbed):
    lines = read_metrics(undisturbed[0].parent)
    ends = [line["step"] for line in lines if "percent" in line]
    assert ends == [4, 8, 12]
    assert {"train/ce", "train/prc", "train/prc_sup"} <= set(lines[0])
    assert "train/snc" not in lines[0]
    assert "train/snc" in lines[-2]


@pytest.mark.parametrize("at", [5, 8])
def test_an_interrupted_run_goes_on_to_the_same_bits(at, undisturbed, task_data, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt), start(folder) as run:
        go(task_data, run, lambda whole: Breaks(whole, at, interrupted))
    assert [complete(folder / path.name) for path in undisturbed] == [at > 4, False, False]
    with Run.resume(folder) as run:
        levels = go(task_data, run)
    for level, wanted in zip(levels, undisturbed, strict=True):
        assert read_facts(level)["units"] == read_facts(wanted)["units"]
        assert same(weights(level), weights(wanted))
    steps = [line["step"] for line in read_metrics(folder) if "train/loss" in line]
    assert steps == [line["step"] for line in read_metrics(undisturbed[0].parent) if "train/loss" in line]


def test_resuming_a_finished_run_changes_nothing(undisturbed, task_data):
    before = (undisturbed[-1] / "model.safetensors").stat().st_mtime_ns
    with Run.resume(undisturbed[0].parent) as run:
        assert go(task_data, run) == undisturbed
    assert (undisturbed[-1] / "model.safetensors").stat().st_mtime_ns == before


def test_a_run_does_not_go_on_with_another_model(task_data, tmp_path):
    with pytest.raises(KeyboardInterrupt), start(tmp_path / "run") as run:
        go(task_data, run, lambda whole: Breaks(whole, 3, interrupted))
    with (
        pytest.raises(UserError, match=r"units\.json: chosen for another model"),
        Run.resume(run.folder) as run,
    ):
        go(task_data, run, model=toy.new_bert(**SHAPE, seed=1))


def test_nothing_pruned_and_labels_alone_is_ordinary_fine_tuning(task_data, tmp_path):
    _, words, examples, _ = task_data
    plain, pruned = (toy.new_bert(**SHAPE) for _ in range(2))
    alone = Objective("classification", ce=1.0, kd=0.0)
    with start(tmp_path / "pruned") as run:
        (level,) = prune(pruned, words, examples, alone, schedule((0.0,)), run=run)
    with start(tmp_path / "plain") as run:
        train(
            plain, examples, lambda rows: collate(rows, 0), alone, run=run, batch=10, epochs=1,
            trainer=trainer(), optimizer=OPTIMIZER, warmup_share=0.1,
        )  # fmt: skip
    assert level.name == "step-00"
    assert same(weights(level), plain.state_dict())


def test_training_the_smaller_model_is_training_the_masked_one(task_data):
    """Three steps of clipped AdamW without dropout: what is left has the same weights.

    With a greater eps, as the gradient of a key's bias is 0 but for rounding.
    """
    examples = task_data[2]
    keep = Units(((0, 2), (3,)), (tuple(range(5, 20)), tuple(range(0, 20, 2))), 4, 20)
    masked = toy.new_bert(**SHAPE | {"dropout": 0.0})
    smaller = copy.deepcopy(masked)
    slim(smaller, keep)
    batch = collate([examples[(0, place)] for place in range(12)], 0)
    objective = Objective("classification", ce=1.0, kd=0.0)
    for model, gates in ((masked, Gates(masked, keep)), (smaller, Gates(smaller))):
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0, eps=1e-4)
        for _ in range(3):
            optimizer.zero_grad()
            with gates:
                objective.loss(model, batch).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    slim(masked, keep)
    for name, value in masked.state_dict().items():
        torch.testing.assert_close(smaller.state_dict()[name], value, rtol=1e-3, atol=1e-5)


def test_a_loss_that_is_not_finite_ends_the_run_with_step_rate_and_parts(task_data, tmp_path):
    def poison(terms):
        return terms | {"prc": (terms["prc"][0] * float("nan"), terms["prc"][1])}

    text = (
        r"step 2: the loss is nan; .*; there is no checkpoint yet: lower .*; the last complete level is "
        r"\S+/step-20; lr \S+, parts of the loss: ce [\d.]+, prc nan"
    )
    with pytest.raises(RunFailed, match=text), start(tmp_path / "run") as run:
        go(task_data, run, lambda whole: Breaks(whole, 6, poison))
    assert complete(tmp_path / "run" / "step-20")
    assert not (tmp_path / "run" / "step-45").exists()


def test_a_full_disk_leaves_levels_before_whole_and_the_run_goes_on(
    undisturbed, task_data, tmp_path, monkeypatch
):
    save = type(toy.new_bert(**SHAPE)).save_pretrained
    saved = []

    def full(model, folder, **options):
        saved.append(folder)
        save(model, folder, **options)
        if len(saved) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(type(toy.new_bert(**SHAPE)), "save_pretrained", full)
    folder = tmp_path / "run"
    with pytest.raises(RunFailed, match=r"step-45: not written, the disk is full"), start(folder) as run:
        go(task_data, run)
    assert [path.name for path in folder.iterdir() if re.match(r"\.?step", path.name)] == ["step-20"]
    with Run.resume(folder) as run:
        assert same(weights(go(task_data, run)[1]), weights(undisturbed[1]))


def test_a_slim_model_is_pruned_on_from_its_own_units(undisturbed, task_data, tmp_path):
    model, _ = load_model(undisturbed[0])
    before = units_of(model)
    with start(tmp_path / "run") as run:
        (level,) = go(task_data, run, plan=schedule((50.0,), epochs=0, trainer=trainer(steps=1)), model=model)
    after = units_of(load_model(level)[0])
    assert before.holds(after)
    assert after.live_heads == 4
    assert after.live_neurons == 20
    with pytest.raises(UserError, match="target 10 is below what is pruned already: 1 of 8 heads"):
        go(task_data, run, plan=schedule((10.0,)), model=load_model(undisturbed[0])[0])


def test_random_units_are_cut_without_looking_at_examples(task_data, tmp_path):
    wanted = choose(CRITERIA["random"](toy.new_bert(**SHAPE), [], None), units_of(toy.new_bert(**SHAPE)), 50)
    with start(tmp_path / "run") as run:
        (level,) = go(
            task_data, run, plan=schedule((50.0,), method="random", epochs=0, trainer=trainer(steps=1))
        )
    assert read_facts(level)["importance_agreement"] == {}
    assert read_facts(level)["units"] == wanted.to_dict()
