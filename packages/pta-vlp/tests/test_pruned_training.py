"""What training sees of images: no text in the contrast, the pair's text in matching, one process as two."""

import sys
from pathlib import Path

import pytest
import torch

from nonet.data.batching import RandomBatches
from nonet.options import build, read
from nonet.testing import one_thread
from nonet.testing_ranks import two_processes
from nonet.training.seeds import seed_all
from nonet.training.trainer import global_mean
from nonet.vision_language.objectives.matching import image_text_matching
from nonet.vision_language.pair_module import Moment
from nonet.vision_language.pair_passes import look
from nonet.vision_language.patch_alignment import patch_alignment_loss
from nonet.vision_language.pretraining.method import begin_with
from nonet.vision_language.pretraining.running import build_losses
from pta_vlp.commands.pretrain import Options
from pta_vlp.pretraining import build_module, method
from pta_vlp.pruned_vision import PrunedVision
from pta_vlp.select_options import SelectOptions

sys.path.insert(0, str(Path(__file__).parent / "support_pta_vlp"))
from square_regions import config, write_squares

BARE = {"queue": 0, "momentum": 0.0, "alpha": 0.0}
ASKED = {"score_alpha": 1.0, "allow_text_conditioned_itc": True}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("squares")
    write_squares(made)
    return made


def options(folder, **values):
    lines = {name: [str(folder / f"{name}.jsonl")] for name in ("pairs", "regions")}
    return build(Options, [read(config(folder, **lines | values))])


def built(given):
    """The module of a run, and its batches by number; weights are large enough to tell texts apart."""
    seed_all(given.trainer.seed)
    begin = begin_with(given, method(given), lambda line: None)
    draws = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for part in (begin.model, begin.detector):
            for name, weight in part.named_parameters():
                if weight.ndim > 1 and "norm" not in name:
                    weight.add_(0.1 * torch.randn(weight.shape, generator=draws))
    module = build_module(given, begin, 100, 4)
    visits, collate = begin.visits(given), begin.collate(given)
    visits.regions = begin.make_regions(given)(0, 1)
    batches = RandomBatches(len(begin.train), given.batch, given.trainer.seed)

    def batch(number):
        items = batches.epoch(0)[number]
        return collate([visits[(0, int(item))] for item in items] + [visits[(number, -1)]])

    return begin, module, batch


def cls_of(module, batch):
    return module.model.image_features(module.look(module.model, batch).tokens)


def test_image_features_do_not_know_the_texts_unless_the_detector_is_asked(folder):
    """Oracle 17 of the contract: with a share of 0 the order of the texts changes nothing, to the bit."""
    late = {"score_alpha": 1.0, "select": {"late": True}}
    for values, same in (({}, True), ({"itm_reprune": True}, True), (ASKED, False), (late, True)):
        _, module, batch = built(options(folder, **values))
        data = batch(0)
        turned = data | {name: data[name].roll(1, 0) for name in ("input_ids", "attention_mask")}
        assert torch.equal(cls_of(module, data), cls_of(module, turned)) == same, values


def test_the_main_pass_is_the_attention_of_the_selected_block_and_no_more_patches(folder):
    _, module, batch = built(options(folder, select={"keep": 0.25, "block": 1}))
    data = batch(0)
    found = module.main_terms(data, Moment(3, 0, 0.75)).seen.tokens
    model = module.model
    wanted = PrunedVision(
        model.vision, None, SelectOptions(selection="attention", block=1, keep=0.25)
    )(data["images"], None)  # fmt: skip
    assert torch.equal(found, wanted.tokens)
    assert found.shape[1] == 1 + 9 + 1
    twin = module.losses.see(module.twin.model, data)
    assert twin.tokens.shape[1] == 11


def test_a_step_costs_less_the_fewer_patches_are_kept(folder):
    """Operations of the losses of pairs, forward and backward, with a momentum model that drops as much."""
    from torch.utils.flop_counter import FlopCounterMode

    found = []
    for keep in (1.0, 0.5, 0.25):
        _, module, batch = built(options(folder, select={"keep": keep}))
        data = batch(0)
        with FlopCounterMode(display=False) as counter:
            terms = module.main_terms(data, Moment(3, 0, 0.75)).terms
            torch.stack([global_mean(*term) for term in terms.values()]).sum().backward()
        found.append(counter.get_total_flops())
    assert found[0] > 1.2 * found[1] > 1.2 * 1.1 * found[2]


def test_keeping_everything_is_plain_pre_training(folder):
    given = options(folder, select={"keep": 1.0})
    begin, module, batch = built(given)
    data, moment = batch(0), Moment(1, 0, 0.25)
    found = module.main_terms(data, moment)
    plain = build_losses(given, begin, look)
    wanted = plain(
        begin.model, data, generator=module.generator(moment, torch.device("cpu")), twin=module.twin,
        queue=module.queue, alpha=0.4 * 0.25,
    )  # fmt: skip
    assert found.terms.keys() == wanted.terms.keys() == {"itc", "itm", "mlm", "prefix"}
    for name, (total, count) in wanted.terms.items():
        torch.testing.assert_close(found.terms[name], (total, count), rtol=0, atol=0)


def test_alignment_trains_detector_trunk_and_text_but_no_later_block(folder):
    _, module, batch = built(options(folder, select={"block": 1}))
    data, moment = batch(0), Moment(0, 0, 0.0)
    total, count = module.extra_terms(data, module.main_terms(data, moment), moment)["pta"]
    regions, model = data["regions"], module.model
    tokens = model.vision.blocks(model.vision.embed(regions["images"]), 0, 2)[:, 1:]
    text = model.encode_text(regions["input_ids"], regions["attention_mask"])[:, 0]
    logits = module.detector(tokens[regions["of_image"]], text)
    torch.testing.assert_close(total / count, patch_alignment_loss(logits, regions["masks"]).loss)
    (total / count).backward()
    touched = {name for name, weight in module.named_parameters() if weight.grad is not None}
    assert all(f"detector.{name}" in touched for name, _ in module.detector.named_parameters())
    assert any(name.startswith("model.vision.vit.blocks.1.") for name in touched)
    assert any(name.startswith("model.text.layers.") for name in touched)
    assert not any(".blocks.2." in name or ".fusion." in name for name in touched)


def test_nothing_but_alignment_trains_the_detector(folder):
    _, module, batch = built(options(folder, itm_reprune=True, **ASKED))
    found = module.main_terms(batch(0), Moment(3, 0, 1.0))
    torch.stack([global_mean(*term) for term in found.terms.values()]).sum().backward()
    assert all(weight.grad is None for weight in module.detector.parameters())


def test_repruned_matching_looks_at_each_image_with_the_text_of_its_pair(folder, monkeypatch):
    """Against whole passes of every pair through the tower, one by one, whichever negatives were drawn."""
    from nonet.vision_language import pair_losses

    begin, module, batch = built(options(folder, itm_reprune=True, itc=BARE))
    drawn = []
    made = pair_losses.matching_pairs
    monkeypatch.setattr(pair_losses, "matching_pairs", lambda *rows: drawn.append(made(*rows)) or drawn[-1])
    data, model = batch(0), begin.model
    found = module.main_terms(data, Moment(4, 0, 1.0))
    (pairs,) = drawn
    text = model.encode_text(data["input_ids"], data["attention_mask"])
    vision = PrunedVision(model.vision, begin.detector, SelectOptions(selection="text", block=0, keep=0.5))
    logits, kept = [], []
    for image, own in zip(pairs.images.tolist(), pairs.texts.tolist(), strict=True):
        seen = vision(data["images"][image : image + 1], text[own : own + 1, 0])
        kept.append(seen.kept[0].tolist())
        fused = model.fusion(seen.tokens, None, text[own : own + 1], data["attention_mask"][own : own + 1])[1]
        logits.append(model.itm_logits(fused))
    wanted, aux = image_text_matching(torch.cat(logits), pairs.labels)
    total, count = found.terms["itm"]
    assert int(count) == int(aux["count"])
    torch.testing.assert_close(total / count, wanted, rtol=1e-4, atol=1e-6)
    of_image = {image: {tuple(own) for number, own in zip(pairs.images.tolist(), kept, strict=True)
                        if number == image} for image in range(6)}  # fmt: skip
    assert any(len(selections) > 1 for selections in of_image.values()), "another text keeps other patches"
    assert found.seen.tokens.shape[1] == 1 + 18 + 1


def test_the_detectors_share_in_matching_rises_over_the_first_pass(folder):
    _, module, batch = built(options(folder, itm_reprune=True))
    shares = []
    for step in (0, 2, 4, 9):
        module.main_terms(batch(0), Moment(step, 0, step / 4))
        shares.append(module.look.pair_alpha)
    assert shares == [0, 0.5, 1, 1]


def test_detectors_of_twins_follow(folder):
    _, module, batch = built(options(folder, **ASKED))
    assert module.detector_twin is not None
    before = {name: value.clone() for name, value in module.detector_twin.model.state_dict().items()}
    with torch.no_grad():
        for weight in module.detector.parameters():
            weight.add_(1.0)
    module.main_terms(batch(0), Moment(1, 0, 0.25))
    for name, value in module.detector_twin.model.state_dict().items():
        torch.testing.assert_close(value, before[name] + 0.005, rtol=0, atol=1e-6)


PARTS = {"itm": 0.0, "mlm": 0.0}  # negatives and masks are drawn by each process from its own rows


def own_rows(rank):
    return torch.tensor([[0, 1, 2, 3], [4, 5]][rank])


def part_of(batch, rank):
    """This process's pairs, and its regions with the images they are on."""
    keep, regions = own_rows(rank), batch["regions"]
    names = ("images", "input_ids", "attention_mask", "image_ids", "prefix_ids", "prefix_mask", "target_ids",
             "target_mask")  # fmt: skip
    own = {name: batch[name][keep] for name in names}
    own["regions"] = {
        "images": regions["images"],
        **{name: regions[name][keep] for name in ("of_image", "input_ids", "attention_mask", "masks")},
    }
    return own


def of_module(module, batch):
    """Mean losses of all processes, and the gradients that their mean has here."""
    moment = Moment(2, 0, 0.5)
    found = module.main_terms(batch, moment)
    terms = found.terms | module.extra_terms(batch, found, moment)
    means = {name: global_mean(*term) for name, term in terms.items()}
    torch.stack(list(means.values())).sum().backward()
    grads = {name: weight.grad for name, weight in module.named_parameters() if weight.grad is not None}
    return {name: float(value.detach()) for name, value in means.items()}, grads


def one_rank(given):
    with one_thread():
        _, module, batch = built(given)
        return of_module(module, part_of(batch(0), torch.distributed.get_rank()))


@pytest.mark.slow
def test_two_processes_have_the_losses_and_gradients_of_one(folder):
    given = options(folder, losses=PARTS, **ASKED)
    ranks = two_processes(one_rank, given)
    with one_thread():
        _, module, batch = built(given)
        losses, grads = of_module(module, batch(0))
    assert losses.keys() == {"itc", "prefix", "pta"}
    for name, value in losses.items():
        assert sum(rank[0][name] for rank in ranks) / 2 == pytest.approx(value, rel=1e-5), name
    for name, grad in grads.items():
        torch.testing.assert_close(
            sum(rank[1].get(name, torch.zeros_like(grad)) for rank in ranks) / 2, grad, rtol=1e-3, atol=1e-5
        )
