"""Training: what it changes, LoRA and merging, going on bit for bit, several processes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from double_i.adapters import add_lora, merged, quiet_peft
from double_i.data import Encoded
from double_i.training import fit
from double_i.tune_options import LoraOptions
from nonet.errors import UserError
from nonet.runs import Run, read_metrics
from nonet.testing import one_thread
from nonet.testing_ranks import two_processes
from nonet.training.checkpoints import read_checkpoint
from nonet.training.options import OptimizerOptions, TrainerOptions

TRAINER = TrainerOptions(
    steps=8, clip=1.0, validate_every=4, checkpoint_every=3, log_every=1, devices=1, accelerator="cpu"
)
OPTIMIZER = OptimizerOptions(lr=5e-3)
LORA = LoraOptions(rank=4, alpha=8, dropout=0.1)


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


def rows(count=24, seed=0):
    """Row i ends with one of two tokens, by whether its third token is even."""
    found = []
    for i in range(count):
        draw = np.random.default_rng([seed, i])
        ids = draw.integers(3, 300, int(draw.integers(5, 12)))
        found.append(Encoded(np.append(ids, [10 + ids[2] % 2, 2]).astype(np.int32), len(ids), i))
    return found


def contrary(count=10, seed=1):
    """Rows that say the opposite: what is learnt of them at first is which two answers there are."""
    found = [row._replace(ids=row.ids.copy()) for row in rows(count, seed)]
    for row in found:
        row.ids[-2] = 21 - row.ids[-2]
    return found


def new_run(folder):
    folder.mkdir(parents=True, exist_ok=True)
    return Run(folder, "double_i", "train", writes=True)


def train(model, folder=None, **more):
    given = {"pad": 0, "batch": 8, "trainer": TRAINER, "optimizer": OPTIMIZER} | more
    run = None if folder is None else new_run(folder)
    return fit(model, rows(), run=run, **given)


def weights(model):
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(value, b[name]) for name, value in a.items())


def logits(model):
    with torch.no_grad():
        return model(input_ids=torch.arange(3, 30)[None]).logits


def test_it_learns_its_rows(tiny_model):
    result = train(tiny_model(), trainer=replace(TRAINER, steps=40))
    losses = [line["train/loss"] for line in result.metrics if "train/loss" in line]
    assert len(losses) == 40
    assert losses[0] == pytest.approx(np.log(400), rel=0.05)
    assert losses[-1] < 1
    assert result.adapter is None
    assert not result.model.training


def test_the_same_seed_gives_the_same_weights_and_another_one_others(tiny_model):
    one, two = (weights(train(tiny_model()).model) for _ in range(2))
    assert same(one, two)
    assert not same(one, weights(train(tiny_model(), trainer=replace(TRAINER, seed=1)).model))


def test_memory_and_a_folder_give_the_same_weights(tiny_model, tmp_path):
    for lora in (None, LORA):
        kept = train(tiny_model(), tmp_path / str(lora is None), lora=lora)
        assert same(weights(train(tiny_model(), lora=lora).model), weights(kept.model))


def test_adapters_alone_change_and_merging_them_changes_no_answer(tiny_model, tmp_path):
    start = weights(tiny_model())
    result = train(tiny_model(), tmp_path, lora=LORA)
    base = {
        name.removeprefix("base_model.model.").replace(".base_layer", ""): value
        for name, value in result.adapter.state_dict().items()
        if "lora_" not in name
    }
    assert same(base, start)
    difference = (logits(result.adapter) - logits(result.model)).abs().max()
    assert difference < 1e-5
    assert (logits(result.model) - logits(tiny_model())).abs().max() > 1e-2
    assert weights(result.model).keys() == start.keys()
    saved = read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["state_dict"]
    assert all("lora_" in name for name in saved)
    layers = 2 * 7  # q, k, v, o, gate, up, down
    assert len(saved) == 2 * layers


def test_a_saved_adapter_is_read_back(tiny_model, tmp_path, tiny_tokenizer):
    from double_i.loading import load_model
    from double_i.small_models import save

    save(tiny_model(), tiny_tokenizer, tmp_path / "base", "Untrained.")
    result = train(tiny_model(), lora=LORA)
    result.adapter.save_pretrained(tmp_path / "adapter")
    with quiet_peft():
        found, _ = load_model(tmp_path / "base", adapter=tmp_path / "adapter")
    torch.testing.assert_close(logits(found), logits(result.model), rtol=1e-5, atol=1e-5)


def test_new_adapters_change_nothing(tiny_model):
    model = add_lora(tiny_model(), LORA).eval()
    assert torch.equal(logits(model), logits(tiny_model()))
    assert torch.equal(logits(merged(model)), logits(tiny_model()))


def test_listed_targets(tiny_model):
    model = add_lora(tiny_model(), replace(LORA, targets=("q_proj", "v_proj")))
    assert {name.split(".")[-4] for name, _ in model.named_parameters() if "lora_A" in name} == {
        "q_proj",
        "v_proj",
    }


def test_targets_that_cannot_be_meant(tiny_model):
    with pytest.raises(UserError, match="no module 'query'; it has down_proj, embed_tokens"):
        add_lora(tiny_model(), replace(LORA, targets=("query",)))
    for name in ("embed_tokens", "lm_head"):
        with pytest.raises(UserError, match=f"'{name}' is one matrix for embeddings and output layer"):
            add_lora(tiny_model(), replace(LORA, targets=(name,)))
        add_lora(tiny_model(tied=False), replace(LORA, targets=(name,)))


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
def test_an_interrupted_training_goes_on_and_ends_with_the_same_bits(tiny_model, tmp_path, monkeypatch, lora):
    from double_i.data import Rows

    held = rows(10, seed=1)
    whole = train(tiny_model(), tmp_path / "whole", lora=lora, val=held)
    items, seen = Rows.__getitem__, []

    def failing(self, key):
        seen.append(key)
        if len(seen) > 8 * 5 + 10:  # five steps and a validation
            raise KeyboardInterrupt
        return items(self, key)

    with monkeypatch.context() as patch:
        patch.setattr(Rows, "__getitem__", failing)
        with pytest.raises(KeyboardInterrupt):
            train(tiny_model(), tmp_path / "broken", lora=lora, val=held)
    saved = read_checkpoint(tmp_path / "broken" / "checkpoints" / "last.ckpt")
    assert 0 < saved["global_step"] < 8
    again = train(tiny_model(), tmp_path / "broken", lora=lora, val=held)
    assert same(weights(again.model), weights(whole.model))
    finished = train(tiny_model(), tmp_path / "broken", lora=lora, val=held)
    assert same(weights(finished.model), weights(whole.model))

    def numbers(name):
        lines = read_metrics(tmp_path / name)
        return [{k: v for k, v in line.items() if "second" not in k} for line in lines]

    assert numbers("broken") == numbers("whole")


def test_other_settings_are_refused_when_going_on(tiny_model, tmp_path):
    train(tiny_model(), tmp_path, state={"loss": "completion"})
    with pytest.raises(UserError, match="loss is full here but completion"):
        train(tiny_model(), tmp_path, state={"loss": "full"}, trainer=replace(TRAINER, steps=9))
    with pytest.raises(UserError, match="batch"):
        train(tiny_model(), tmp_path, batch=4, trainer=replace(TRAINER, steps=9))


def test_the_best_weights_are_those_of_the_lowest_validation_loss(tiny_model, tmp_path):
    more = {
        "val": contrary(), "optimizer": OptimizerOptions(lr=2e-2),
        "trainer": replace(TRAINER, steps=40, validate_every=1),
    }  # fmt: skip
    result = train(tiny_model(), tmp_path, weights="best", **more)
    losses = {line["step"]: line["val/loss"] for line in result.metrics if "val/loss" in line}
    best = min(losses, key=lambda step: losses[step])
    assert best < 40  # else the last ones would do
    stopped = train(tiny_model(), **more | {"trainer": replace(TRAINER, steps=best), "val": ()})
    assert same(weights(result.model), weights(stopped.model))
    assert same(weights(train(tiny_model(), weights="best", **more).model), weights(stopped.model))


def test_epochs_are_passes_over_the_rows(tiny_model):
    assert train(tiny_model(), epochs=2).steps == 2 * 3
    assert train(tiny_model(), epochs=0.5).steps == 2
    accumulated = replace(TRAINER, accumulate=3)
    assert train(tiny_model(), epochs=2, trainer=accumulated).steps == 2


def test_what_cannot_be_meant(tiny_model):
    with pytest.raises(UserError, match="no rows to train on"):
        fit(tiny_model(), [], pad=0)
    with pytest.raises(UserError, match="hold rows out"):
        train(tiny_model(), weights="best")
    with pytest.raises(UserError, match="give a run folder"):
        train(tiny_model(), trainer=replace(TRAINER, strategy="fsdp"))


# ------------------------------------------------------------ two processes


def both(folder, base):
    """Two processes with half of each batch each; DDP and FSDP, fully and with adapters."""
    from double_i.loading import load_model

    found = []
    for strategy in ("ddp", "fsdp"):
        for lora in (None, replace(LORA, dropout=0.0)):
            model, _ = load_model(base)
            options = replace(TRAINER, strategy=strategy, devices=2, steps=4, accelerator="cpu")
            run = new_run(folder / f"{strategy}-{lora is None}")
            run.writes = torch.distributed.get_rank() == 0
            result = fit(
                model, rows(), pad=0, batch=8, trainer=options, optimizer=OPTIMIZER, lora=lora, run=run,
                val=rows(10, seed=1),
            )  # fmt: skip
            found.append({name: value.numpy() for name, value in result.model.state_dict().items()})
    return found


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_from_the_whole_batch(tiny_lm, tmp_path):
    from double_i.loading import load_model

    first, second = two_processes(both, tmp_path, tiny_lm, timeout=480)
    for place, (strategy, lora) in enumerate(
        (strategy, lora) for strategy in ("ddp", "fsdp") for lora in (None, replace(LORA, dropout=0.0))
    ):
        folder = tmp_path / f"alone-{lora is None}"
        alone = train(
            load_model(tiny_lm)[0], folder, lora=lora, trainer=replace(TRAINER, steps=4),
            val=rows(10, seed=1),
        )  # fmt: skip
        for name, value in weights(alone.model).items():
            np.testing.assert_allclose(
                first[place][name], value.numpy(), rtol=1e-3, atol=2e-5, err_msg=f"{strategy} {name}"
            )
            assert np.array_equal(first[place][name], second[place][name]), name
        lines = {
            where: [line["val/loss"] for line in read_metrics(where) if "val/loss" in line]
            for where in (folder, tmp_path / f"{strategy}-{lora is None}")
        }
        a, b = lines.values()
        assert a == pytest.approx(b, rel=1e-4)
        assert a
