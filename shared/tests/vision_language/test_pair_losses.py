"""Losses of image-text pairs, against sums over single pairs, open_clip, and numbers by hand."""

import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parent / "support_pairs"))
import two_ranks
from tiny_pairs import BEGIN, MASK, WORDS, every_third, pairs, queue_of, tiny_model

from nonet.errors import UserError
from nonet.testing import seeded
from nonet.testing_ranks import two_processes
from nonet.vision_language.feature_queue import FeatureQueue
from nonet.vision_language.momentum import Twin
from nonet.vision_language.objectives.objective import IGNORE
from nonet.vision_language.pair_losses import PairLosses, word_losses
from nonet.vision_language.word_mask import WordMask


def losses(*names, **more):
    return PairLosses(every_third, weights=dict.fromkeys(names, 1.0), **more)


def mean(step, name):
    total, count = step.terms[name]
    return total / count


def run(made, model, batch, **more):
    return made(model, batch, generator=seeded(), **more)


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def twin():
    return Twin(tiny_model(seed=1))


@pytest.mark.parametrize("with_twin", [False, True])
def test_contrast_alone_is_open_clips(model, with_twin):
    open_clip = pytest.importorskip("open_clip")
    batch = pairs(5)
    more = {"twin": Twin(model), "queue": FeatureQueue(8, 16)} if with_twin else {}
    with torch.no_grad():
        found = mean(run(losses("itc"), model, batch, **more), "itc")
        images, texts = model(batch["images"], batch["input_ids"], batch["attention_mask"])
        wanted = open_clip.ClipLoss()(images, texts, 1 / model.tau)
    torch.testing.assert_close(found, wanted)


def test_contrast_with_a_queue_is_a_sum_over_pairs(model, twin):
    batch, queue, alpha = pairs(4), queue_of(6), 0.3
    batch["image_ids"] = torch.tensor([5, 100, 5, 7])  # 100 is in the queue, too
    tau = float(model.tau.detach())
    with torch.no_grad():
        found = mean(
            run(losses("itc", by_image=True), model, batch, twin=twin, queue=queue, alpha=alpha), "itc"
        )
        mine = model(batch["images"], batch["input_ids"], batch["attention_mask"])
        theirs = twin.model(batch["images"], batch["input_ids"], batch["attention_mask"])
    ids = [5, 100, 5, 7, *range(100, 106)]
    total = 0.0
    for side in (0, 1):
        keys = torch.cat([theirs[1 - side], queue.earlier()[1 - side]])
        for i in range(4):
            right = [j for j in range(10) if ids[j] == ids[i]]
            logs = (mine[side][i] @ keys.T / tau).log_softmax(0)
            taught = (theirs[side][i] @ keys.T / tau).softmax(0)
            for j in range(10):
                share = alpha * taught[j] + (1 - alpha) * (j in right) / len(right)
                total -= float(share * logs[j]) / 8
    assert float(found) == pytest.approx(total, rel=1e-5)


def test_with_alpha_one_only_the_twin_says_what_is_right(model, twin):
    batch = pairs(4)
    with torch.no_grad():
        found = run(losses("itc", online_keys=True), model, batch, twin=twin, alpha=1.0)
        wanted = [
            F.cross_entropy(logits, taught.softmax(1))
            for logits, taught in (
                (found.similarity, found.teacher_similarity),
                (found.similarity.T, found.teacher_similarity.T),
            )
        ]
    torch.testing.assert_close(mean(found, "itc"), sum(wanted) / 2)


def test_contrast_gives_gradients_to_both_towers_and_the_temperature_but_not_to_the_twin(model, twin):
    model.zero_grad()
    mean(run(losses("itc"), model, pairs(3), twin=twin, alpha=0.5), "itc").backward()
    for part in (model.vision_proj.weight, model.text_proj.weight, model.tau):
        assert part.grad.isfinite().all()
        assert part.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in twin.parameters())
    model.zero_grad()


@pytest.mark.parametrize("stride", [0, 1])
def test_matching_of_two_pairs_is_that_of_all_six_combinations(stride):
    model = tiny_model(fusion_layers=2, stride=stride)
    batch = pairs(2)  # so that each negative is certain
    with torch.no_grad():
        found = run(losses("itm"), model, batch).terms["itm"]
        image = model.encode_image(batch["images"])
        total = torch.tensor(0.0)
        for i, t in ((0, 0), (1, 1), (1, 0), (0, 1), (0, 1), (1, 0)):
            text = model.encode_text(batch["input_ids"][t : t + 1], batch["attention_mask"][t : t + 1])
            fused = model.fusion(image[i : i + 1], None, text, batch["attention_mask"][t : t + 1])[1]
            total -= model.itm_logits(fused).log_softmax(1)[0, int(i == t)]
    torch.testing.assert_close(found[0], total, atol=1e-4, rtol=1e-5)
    assert int(found[1]) == 6


@pytest.mark.parametrize("ids", [[3], [3, 3, 3]])
def test_matching_without_a_negative_is_of_the_pairs_that_belong_together(model, ids):
    batch = pairs(len(ids)) | {"image_ids": torch.tensor(ids)}
    total, count = run(losses("itm"), model, batch).terms["itm"]
    assert int(count) == len(ids)
    assert total.isfinite()


@pytest.mark.parametrize("alpha", [0.0, 0.4])
def test_masked_words_are_judged_at_their_places_over_the_vocabulary(model, twin, alpha):
    batch = pairs(4)
    ids, mask = batch["input_ids"], batch["attention_mask"]
    with torch.no_grad():
        total, count = run(losses("mlm"), model, batch, twin=twin, alpha=alpha).terms["mlm"]
        hidden = every_third(ids, mask, None)
        logits = []
        for each in (model, twin.model):
            text, image = each.encode_text(hidden.ids, mask), each.encode_image(batch["images"])
            logits.append(each.mlm_logits(each.fusion(image, None, text, mask)[1]))
        wanted = 0.0
        for b, place in hidden.mask.nonzero().tolist():
            logs = logits[0][b, place].log_softmax(0)
            wanted -= (1 - alpha) * float(logs[ids[b, place]])
            wanted -= alpha * float((logits[1][b, place].softmax(0) * logs).sum())
    assert int(count) == int(hidden.mask.sum()) > 3
    assert float(total) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("stride", [0, 1])
def test_the_rest_of_a_text_is_judged_word_by_word(stride):
    model = tiny_model(fusion_layers=2, stride=stride)
    batch = pairs(3)
    with torch.no_grad():
        total, count = run(losses("prefix"), model, batch).terms["prefix"]
        wanted, words = 0.0, 0
        for b in range(3):
            prefix = batch["prefix_ids"][b : b + 1]
            image = model.encode_image(batch["images"][b : b + 1])
            source = torch.cat(model.fusion(image, None, model.encode_text(prefix), None), 1)
            target = batch["target_ids"][b, : int(batch["target_mask"][b].sum())]
            for place in range(1, len(target)):
                logits = model.decoder(target[None, :place], None, source)[0, -1]
                wanted -= float(logits.log_softmax(0)[target[place]])
                words += 1
    assert int(count) == words
    assert float(total) == pytest.approx(wanted, rel=1e-5)


def test_a_twin_without_decoder_will_do_where_it_is_not_asked_for_the_rest(model):
    plain = losses("itc", "itm", "mlm", "prefix")
    assert plain.skipped_by_twin(model) == ["decoder", "itm_head"]
    skipping = Twin(tiny_model(seed=1), skip=plain.skipped_by_twin(model))
    assert run(plain, model, pairs(3), twin=skipping, alpha=0.4).terms.keys() == plain.weights.keys()
    asking = losses("itc", "prefix", distil=("prefix",))
    assert asking.skipped_by_twin(model) == ["mlm_head", "itm_head"]
    some, none = (
        float(
            mean(run(asking, model, pairs(3), twin=Twin(tiny_model(seed=1)), alpha=alpha), "prefix").detach()
        )
        for alpha in (0.4, 0.0)
    )
    assert some != pytest.approx(none, rel=1e-3)


def test_distillation_of_one_word_is_the_number_by_hand():
    logits = torch.tensor([[0.0, 0.0, 2.0]]).log1p().requires_grad_()  # 0, 0, ln 3: 1/5, 1/5, 3/5
    taught = torch.zeros(1, 3, requires_grad=True)
    found = word_losses(logits, torch.tensor([2]), taught, 0.4)
    assert found.item() == pytest.approx(0.6 * 0.5108256 + 0.4 * (2 * 1.6094379 + 0.5108256) / 3)
    found.sum().backward()
    assert taught.grad is None
    half = torch.tensor([[0.0, 0.0, 1.0]]).log1p()
    assert word_losses(half, torch.tensor([2]), taught, 0.4).item() == pytest.approx(0.877986, abs=1e-6)


def test_the_end_of_a_text_may_be_masked_its_beginning_and_padding_not():
    ids = torch.full((2000, 8), 9)
    ids[:, 0], ids[:, 5], ids[:, 6:] = BEGIN, 3, 0
    mask = (ids != 0).long()
    found = WordMask(WORDS, mask_id=MASK, begin_id=BEGIN)(ids, mask, seeded())
    chosen = found.mask.float().mean(0)
    assert chosen[0] == chosen[6] == chosen[7] == 0
    assert chosen[1:6].mean().item() == pytest.approx(0.15 + 0.85**5 / 5, abs=0.02)  # one at least in each
    shown = found.ids[found.mask]
    assert (shown == MASK).float().mean().item() == pytest.approx(0.8, abs=0.03)
    assert torch.equal(found.labels[found.mask], ids[found.mask])
    assert (found.labels[~found.mask] == IGNORE).all()


def test_what_no_loss_reaches_is_named(model):
    assert losses("itc").idle(model) == ["fusion", "itm_head", "mlm_head", "decoder"]
    assert losses("itm").idle(model) == ["vision_proj", "text_proj", "tau", "mlm_head", "decoder"]
    assert losses("itc", "itm", "mlm", "prefix").idle(model) == []
    for names in (["itc"], ["itm"], ["mlm"], ["prefix"]):
        made = tiny_model()
        made.requires_grad_(True)
        total, _ = run(losses(*names), made, pairs(3)).terms[names[0]]
        total.backward()
        without = {name.split(".")[0] for name, weight in made.named_parameters() if weight.grad is None}
        assert without == {name for name in losses(*names).idle(made) if name != "fusion" or names == ["itc"]}


def test_mistakes_are_named(model):
    with pytest.raises(UserError, match="there is no loss ita here: say itc, itm, mlm, prefix"):
        PairLosses(every_third, weights={"ita": 1.0})
    with pytest.raises(UserError, match="there is no loss itm here: say itc, mlm, prefix"):
        PairLosses(every_third, distil=["itm"])
    with pytest.raises(UserError, match="need something that masks them"):
        PairLosses()
    with pytest.raises(UserError, match="has no decoder"):
        run(losses("prefix"), tiny_model(decoder_layers=0), pairs(2))


@pytest.mark.slow
def test_two_processes_have_the_losses_and_gradients_of_one_with_the_whole_batch():
    one, sizes = two_ranks.InOneForward(), two_ranks.SIZES
    found = one(pairs(sum(sizes)), two_ranks.NAMES, 0)
    means = {name: mean(found, name) for name in two_ranks.NAMES}
    # Negatives of a process are its own pairs: one process has to take the two shares one by one.
    halves = [one(pairs(n, start=sizes[0] * r), ("itm",), r).terms["itm"] for r, n in enumerate(sizes)]
    means["itm"] = sum(total for total, _ in halves) / sum(count for _, count in halves)
    sum(means.values()).backward()
    wanted, losses_of_one = two_ranks.gradients(one), {n: float(value.detach()) for n, value in means.items()}
    for averages, theirs, ids, taught in two_processes(two_ranks.on_a_process, timeout=480):
        assert averages == pytest.approx(losses_of_one, rel=1e-5)
        assert theirs.keys() == wanted.keys()
        for name, gradient in wanted.items():
            torch.testing.assert_close(theirs[name], gradient, atol=2e-5, rtol=1e-4, msg=name)
        assert torch.equal(ids, torch.arange(7))
        torch.testing.assert_close(taught, found.teacher_text)
