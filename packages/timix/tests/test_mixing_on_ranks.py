"""Two processes, each with its batch, against one that holds both: losses, and whole runs.

The processes are started once, as each imports torch anew.
"""

import dataclasses
import signal
import sys
from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

from nonet.data.batching import generator
from nonet.runs import read_metrics
from nonet.testing import normal, numbers, one_thread, plain_pages, seeded
from nonet.testing_ranks import two_processes
from nonet.training.checkpoints import read_checkpoint
from nonet.training.trainer import global_mean
from nonet.vision_language.pair_module import Moment
from timix import TextAwareMix, mix_targets, mixed_itc
from timix.hosts import mixed_term
from timix.mix_training import pretrain
from timix.mixed_targets import text_targets
from timix.module import MixModule

sys.path.insert(0, str(Path(__file__).parent / "support_timix"))
from tiny_training import BARE, ITC_ALONE, built, options

pytestmark = pytest.mark.slow

BATCH, WIDTH = 4, 6  # of each process; of the shared space
MIX = TextAwareMix(4, 0.5, 0.5)
ROWS = [torch.tensor([0, 1, 2, 3]), torch.tensor([4, 5])]  # of a batch of 6, unevenly shared out
KEYS = ("images", "input_ids", "attention_mask", "image_ids", "caption_ids")


def everything():
    """Scores, images, texts, probabilities and weights of an encoder: all of both processes."""
    texts = normalize(normal(2 * BATCH, WIDTH, seed=6), dim=1)
    weights = normal(48, WIDTH, seed=5).requires_grad_()
    probs = normal(2 * BATCH, 2 * BATCH, seed=3).softmax(1)
    return normal(2 * BATCH, 4, 4), normal(2 * BATCH, 3, 4, 4), texts, probs, weights


def in_a_loop_of_others(rank):
    """Loss and gradient of a process, and its hard and soft labels of images and texts."""
    *parts, weights = everything()
    scores, images, texts, probs = (part[rank * BATCH : (rank + 1) * BATCH] for part in parts)
    plan = MIX.plan(scores, seeded())
    term, _ = mixed_term(lambda x: x.flatten(1) @ weights, images, texts, plan, MIX, scale=5.0)
    term.backward()
    labels = [mix_targets(plan, mode, probs, world=(rank, 2)) for mode in ("hard", "soft")]
    return term.item(), weights.grad, [(part, text_targets(part, (rank, 2))) for part in labels]


def every_option(folder):
    """Options of a module, of a run without mixed images, and of one with all losses.

    The first two have nothing that differs between processes, such as regions and the words that are masked.
    """
    mix = {"score": "random", "region": "cutmix", "labels": "hard", "ramp": 0, "partner": "roll"}
    alone = {"losses": ITC_ALONE, "regions": []}
    plain = {"mix": {"enabled": False}, "val_size": 2, "itc": {"queue": 16}}
    return (
        options(folder, mix=mix, itc=BARE, **alone),
        options(folder, **alone, **plain),
        options(folder, val_size=2),
    )


def in_a_module(rank, given):
    """A process's mean loss of mixed images, and gradients of the first and the last weight."""
    begin, module, batch = built(given, wide=True)
    data = batch(0)
    own = {name: data[name][ROWS[rank]] for name in KEYS}
    moment = Moment(2, 0, 0.5)
    found = module.main_terms(own, moment)
    loss = global_mean(*module.extra_terms(own, found, moment)["mix"])
    loss.backward()
    return loss.item(), begin.model.vision.vit.patch_embed.proj.weight.grad, begin.model.tau.grad


def on_devices(given, out, devices):
    """Options of the same run on so many devices."""
    trainer = dataclasses.replace(given.trainer, devices=devices)
    return dataclasses.replace(given, out=out, trainer=trainer)


def resumed_after_a_signal(given, folder, rank):
    """A run that a signal to one process ends after a step, and the rest of it; whether it was ended."""
    step = MixModule.training_step

    def interrupted(self, batch, number):
        if rank == 1 and self.global_step == 1:
            signal.raise_signal(signal.SIGTERM)
        return step(self, batch, number)

    MixModule.training_step = interrupted
    stopped = False
    try:
        pretrain(on_devices(given, folder, 2))
    except KeyboardInterrupt:
        stopped = True
    MixModule.training_step = step
    pretrain(dataclasses.replace(on_devices(given, None, 2), resume=folder))
    return stopped


def in_a_process(folder, module, plain, mixed):
    rank = torch.distributed.get_rank()
    found = {"loop": in_a_loop_of_others(rank), "module": in_a_module(rank, module)}
    with plain_pages():
        pretrain(on_devices(plain, folder / "plain", 2))
        pretrain(on_devices(mixed, folder / "mixed", 2))
        return found | {"stopped": resumed_after_a_signal(mixed, folder / "resumed", rank)}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder of runs, and their options."""
    folder = tmp_path_factory.mktemp("runs")
    return folder, every_option(folder)


@pytest.fixture(scope="module")
def ranks(runs):
    folder, given = runs
    return two_processes(in_a_process, folder, *given, timeout=500)


def test_labels_loss_and_gradient_are_those_of_one_process(ranks):
    ranks = [rank["loop"] for rank in ranks]
    scores, images, texts, probs, weights = everything()
    partner = [3, 2, 1, 0, 7, 6, 5, 4]  # within each process, where the released code takes 7, 6, 5, ...
    for number, own in enumerate((torch.eye(2 * BATCH), probs)):
        wanted = 0.75 * own + 0.25 * own[partner]
        of_images, of_texts = (torch.cat([rank[2][number][side] for rank in ranks]) for side in (0, 1))
        torch.testing.assert_close(of_images, wanted)
        torch.testing.assert_close(of_texts, (wanted / wanted.sum(0)).mT)

    halves = [slice(0, BATCH), slice(BATCH, 2 * BATCH)]
    plans = [MIX.plan(scores[half], seeded()) for half in halves]
    mixed = torch.cat([MIX.pixels(images[half], plan) for half, plan in zip(halves, plans, strict=True)])
    targets = torch.block_diag(*(mix_targets(plan) for plan in plans))
    wanted, _ = mixed_itc(normalize(mixed.flatten(1) @ weights, dim=1), texts, targets, 0.2)
    wanted.backward()
    assert sum(rank[0] for rank in ranks) / 2 == pytest.approx(wanted.item())
    torch.testing.assert_close(sum(rank[1] for rank in ranks) / 2, weights.grad)


def test_the_module_has_the_loss_and_the_gradient_of_one_process_with_uneven_shares(ranks, runs):
    """The labels' columns, the gathered features, the mean over unequal counts."""
    first, second = (rank["module"] for rank in ranks)
    with one_thread():
        begin, _module, batch = built(runs[1][0], wide=True)
        data = batch(0)
        model, mixer = begin.model, TextAwareMix(6, region="cutmix", partner="roll")
        images, labels = [], torch.zeros(6, 6)
        for rows in ROWS:
            plan = mixer.plan(torch.zeros(len(rows), 6, 6), generator(0, "mix", 2, 0))
            images.append(mixer.pixels(data["images"][rows], plan))
            labels[rows[:, None], rows] = mix_targets(plan)
        text = model.text_features(model.encode_text(data["input_ids"], data["attention_mask"]))
        image = model.image_features(model.encode_image(torch.cat(images)))
        loss, _ = mixed_itc(image, text, labels, model.tau)
        loss.backward()
    assert (first[0] + second[0]) / 2 == pytest.approx(float(loss.detach()), rel=1e-5)
    for place, weight in ((1, model.vision.vit.patch_embed.proj.weight), (2, model.tau)):
        assert weight.grad.abs().max() > 1e-2
        torch.testing.assert_close((first[place] + second[place]) / 2, weight.grad, rtol=1e-4, atol=1e-5)


def test_a_run_without_mixed_images_is_that_of_one_device(ranks, runs):
    folder, (_, given, _) = runs
    with one_thread(), plain_pages():
        alone = numbers(pretrain(on_devices(given, folder / "alone", 1)))
    both = numbers(folder / "plain")
    assert len(both) == len(alone) == 5  # four steps, and what was validated
    for mine, theirs in zip(both, alone, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-4, abs=1e-6)


def test_a_run_that_a_signal_to_one_process_ends_goes_on_to_the_bit(ranks, runs):
    whole, part = runs[0] / "mixed", runs[0] / "resumed"
    assert [rank["stopped"] for rank in ranks] == [True, True]
    assert numbers(part) == numbers(whole)
    trained = [line for line in read_metrics(whole) if "train/mix" in line]
    assert [line["train/mix"] > line["train/mix_floor"] for line in trained] == [False, True, True, True]
    one, two = (read_checkpoint(run / "checkpoints/last.ckpt") for run in (whole, part))
    assert one["processes"] == 2
    assert one["state_dict"].keys() == two["state_dict"].keys()
    for name, value in one["state_dict"].items():
        same = value == two["state_dict"][name]
        assert bool(same if isinstance(same, bool) else same.all()), name
