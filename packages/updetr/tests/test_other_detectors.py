import pytest
import torch
from transformers import RTDetrConfig

from nonet.errors import UserError
from nonet.testing import normal
from updetr.batches import Images, Outputs, Targets
from updetr.detector_config import DetectorConfig
from updetr.loading import load_into, load_model, save_model
from updetr.losses import SetLoss
from updetr.matching import Costs
from updetr.other_detectors import build, read_config
from updetr.query_patches import PatchDetector
from updetr.rt_detr import reference_grid
from updetr.transfer import FRESH, part_of, transfer, transfer_line

# 6 queries for each of 3 patches; sizes that are all different, so that a mix-up shows.
SIZES = {
    "backbone": "resnet-tiny", "width": 32, "heads": 4, "encoder_layers": 1, "decoder_layers": 2,
    "hidden": 48, "queries": 18, "patches": 3, "labels": ("a", "b"),
}  # fmt: skip
ARCHS = ("deformable-detr", "rt-detr")


def made(arch, **sizes):
    """A detector whose heads are not at their zeros, and whose norms are not at 1 and 0."""
    torch.manual_seed(0)
    detector = build(DetectorConfig(arch=arch, **{**SIZES, **sizes}))
    with torch.no_grad():
        for name, tensor in detector.named_parameters():
            if tensor.dim() == 1 or "bbox" in name:
                tensor.add_(torch.randn_like(tensor) * 0.2)
        for name, tensor in detector.named_buffers():
            if name.endswith("running_var"):
                tensor.copy_(torch.rand_like(tensor) + 0.5)
            elif name.endswith("running_mean"):
                tensor.copy_(torch.randn_like(tensor) * 0.2)
    return detector.eval()


@pytest.fixture(scope="module")
def detectors():
    return {arch: made(arch) for arch in ARCHS}


def pictures(*, padded=True):
    """Two pictures, the second one smaller and padded."""
    pixels = torch.randn(2, 3, 96, 80, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(2, 96, 80, dtype=torch.bool)
    if padded:
        mask[1, 64:] = False
        mask[1, :, 48:] = False
    return Images(pixels * mask[:, None], mask)


def extra(count, width=32):
    return torch.randn(2, count, width, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("arch", ARCHS)
@torch.no_grad()
def test_answers_are_those_of_the_class_of_transformers_with_the_same_tensors(arch, detectors, tmp_path):
    from transformers import AutoModelForObjectDetection

    ours, images = detectors[arch], pictures(padded=arch == "deformable-detr")
    save_model(tmp_path / "model", ours, {})
    theirs, report = AutoModelForObjectDetection.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    answer = theirs.eval()(pixel_values=images.pixels, pixel_mask=images.mask.long())
    found = ours(images)
    torch.testing.assert_close(found.logits[-1], answer.logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.boxes[-1], answer.pred_boxes, rtol=1e-4, atol=1e-5)
    assert theirs.config.id2label == {0: "a", 1: "b"}


@pytest.mark.parametrize("arch", ARCHS)
@torch.no_grad()
def test_transformers_finds_objects_with_the_saved_folder_as_we_do(arch, detectors, tmp_path):
    from PIL import Image
    from transformers import pipeline

    from nonet.data.images import normalise, to_uint8

    save_model(tmp_path / "model", detectors[arch], {}, sizes=(96, 128))
    picture = Image.radial_gradient("L").resize((96, 96)).convert("RGB")
    rows = pipeline("object-detection", str(tmp_path / "model"))(picture, threshold=0.0)
    pixels = normalise(to_uint8(picture))[None]
    found = detectors[arch](Images(pixels, torch.ones(1, 96, 96, dtype=torch.bool)))
    best = float(found.logits[-1].sigmoid().max())
    assert max(row["score"] for row in rows) == pytest.approx(best, abs=1e-3)


@pytest.mark.parametrize("arch", ARCHS)
@torch.no_grad()
def test_a_saved_detector_answers_as_before(arch, detectors, tmp_path):
    patched = PatchDetector(detectors[arch]).eval()
    save_model(tmp_path / "model", patched, {})
    again = load_model(tmp_path / "model")
    features = torch.randn(2, 3, 128, generator=torch.Generator().manual_seed(3))
    ours, theirs = patched(pictures(), features), again(pictures(), features)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=0)


@pytest.mark.parametrize("arch", ARCHS)
@torch.no_grad()
def test_groups_do_not_see_each_other_and_fewer_patches_are_the_first_groups(arch, detectors):
    detector, images = detectors[arch], pictures()
    memory, added = detector.encode(images), extra(18)
    whole = detector.decode(memory, query_extra=added, groups=3)
    changed = added.clone()
    changed[:, 6:12] = 0
    other = detector.decode(memory, query_extra=changed, groups=3)
    for name in ("logits", "boxes"):
        first, second = getattr(whole, name), getattr(other, name)
        assert torch.equal(first[:, :, :6], second[:, :, :6])
        assert torch.equal(first[:, :, 12:], second[:, :, 12:])
        assert not torch.allclose(first[:, :, 6:12], second[:, :, 6:12])
        part = detector.decode(memory, query_extra=added[:, :12], groups=2, queries=12)
        torch.testing.assert_close(getattr(part, name), first[:, :, :12], rtol=1e-4, atol=1e-5)
    together = detector.decode(memory, query_extra=added)
    assert not torch.allclose(together.logits, whole.logits)


@torch.no_grad()
def test_what_is_added_to_queries_of_deformable_detr_changes_both_their_halves():
    detector = made("deformable-detr")
    memory, added = detector.encode(pictures()), normal(18, 32, seed=4)
    found = detector.decode(memory, query_extra=added.expand(2, -1, -1))
    detector.hf.model.query_position_embeddings.weight.add_(torch.cat([added, added], -1))
    wanted = detector.decode(memory)
    torch.testing.assert_close(found.logits, wanted.logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.boxes, wanted.boxes, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_groups_of_rt_detr_are_the_block_mask_of_its_decoder(detectors):
    detector = detectors["rt-detr"]
    memory, added = detector.encode(pictures()), extra(18)
    blocks = torch.block_diag(*[torch.ones(6, 6)] * 3).bool()
    mask = torch.zeros(1, 1, 18, 18).masked_fill(~blocks, float("-inf"))
    cells = reference_grid(6).repeat(3, 1) * memory.filled[:, :1].repeat(1, 1, 2)
    found = detector.hf.model.decoder(
        inputs_embeds=added, encoder_hidden_states=memory.memory, encoder_attention_mask=mask,
        reference_points=cells.logit(), **memory.layout(),
    )  # fmt: skip
    ours = detector.decode(memory, query_extra=added, groups=3)
    torch.testing.assert_close(ours.logits, found.intermediate_logits.transpose(0, 1), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_first_boxes_of_rt_detr_are_cells_of_each_image_and_not_of_the_padding():
    torch.manual_seed(0)
    detector = build(DetectorConfig(arch="rt-detr", **SIZES)).eval()  # its boxes do not move before training
    found = detector(pictures(), query_extra=extra(18), groups=3)
    cells = reference_grid(6).repeat(3, 1).expand(2, 2, 18, 4)
    torch.testing.assert_close(found.boxes, cells, rtol=1e-4, atol=1e-4)
    centres = [1 / 6, 0.25, 0.5, 0.25, 5 / 6, 0.25, 1 / 6, 0.75, 0.5, 0.75, 5 / 6, 0.75]
    assert reference_grid(6)[:, :2].flatten().tolist() == pytest.approx(centres)


@pytest.mark.parametrize("arch", ARCHS)
def test_the_pretext_reaches_all_that_is_called_pre_trained_and_nothing_that_is_called_fresh(arch):
    detector = made(arch).train()
    patched = PatchDetector(detector)
    outputs = patched(pictures(), torch.randn(2, 3, 128))
    (outputs.boxes.sum() + outputs.features.sum() + outputs.logits.sum()).backward()
    reached = {name for name, x in detector.hf.named_parameters() if x.grad is not None}
    for name, _ in detector.hf.named_parameters():
        assert (name in reached) == (part_of(name) not in FRESH or part_of(name) == "classes"), name
    parts = {part.name: part for part in transfer(detector.hf_state())}
    assert sum(part.numbers for part in parts.values()) == sum(
        x.numel() for x in detector.state_dict().values() if x.dtype.is_floating_point
    ) - (detector.config.decoder_layers - 1) * (0 if arch == "rt-detr" else _head_numbers(detector))
    detector.freeze_choice()
    learns = {name for name, weight in detector.hf.named_parameters() if weight.requires_grad}
    assert learns == {name for name, _ in detector.hf.named_parameters() if name in reached}
    assert parts["encoder"].transferred == parts["decoder"].transferred == 1
    assert not parts["classes"].transferred
    assert ("query selection" in parts) == (arch == "rt-detr")
    assert "of" in transfer_line([*parts.values()])
    assert "fresh: " in transfer_line([*parts.values()])


def _head_numbers(detector):
    """Of the heads that Deformable-DETR's layers share, and its state dict repeats."""
    heads = (detector.hf.class_embed[0], detector.hf.bbox_embed[0])
    return sum(x.numel() for head in heads for x in head.parameters())


@pytest.mark.parametrize("arch", ARCHS)
def test_another_task_begins_with_everything_but_the_class_heads(arch, detectors, tmp_path):
    save_model(tmp_path / "model", PatchDetector(detectors[arch]), {})
    torch.manual_seed(5)
    new = build(DetectorConfig(arch=arch, **{**SIZES, "labels": ("a", "b", "c")}))
    before = {name: x.clone() for name, x in new.hf_state().items()}
    said = []
    load_into(new, tmp_path / "model", say=said.append)
    theirs = detectors[arch].hf_state()
    for name, tensor in new.hf_state().items():
        if part_of(name) == "classes" or "score_head" in name:
            assert torch.equal(tensor, before[name])
        else:
            assert torch.equal(tensor, theirs[name]), name
    assert "matched" in said[0]


def test_the_original_initial_weights_and_not_those_of_transformers():
    torch.manual_seed(0)
    deformable = build(DetectorConfig(arch="deformable-detr", **{**SIZES, "queries": 300, "patches": 10}))
    assert float(deformable.hf.model.query_position_embeddings.weight.detach().std()) == pytest.approx(
        1, abs=0.03
    )
    with torch.no_grad():
        found = deformable.eval()(pictures(padded=False))
    assert float(found.logits.sigmoid().mean()) == pytest.approx(0.01, rel=0.5)
    assert torch.allclose(found.boxes[..., 2:], torch.tensor(-2.0).sigmoid())
    rt = build(DetectorConfig(arch="rt-detr", **SIZES))
    assert all((m.weight == 1).all() for m in rt.modules() if isinstance(m, torch.nn.BatchNorm2d))


@pytest.mark.parametrize(
    ("arch", "changes", "error"),
    [
        ("deformable-detr", {"width": 48}, "width is 48; that of deformable-detr is divisible by 32"),
        (
            "deformable-detr",
            {"decoder_layers": 1},
            r"decoder_layers is 1; deformable-detr has 2 or more: raise size\.decoder_layers",
        ),
        ("rt-detr", {"dilation": True}, "rt-detr uses several maps and no dilation; leave it out"),
    ],
)
def test_sizes_that_an_architecture_cannot_have_are_refused(arch, changes, error):
    with pytest.raises(UserError, match=error):
        build(DetectorConfig(arch=arch, **{**SIZES, **changes}))


def test_images_with_fewer_features_than_queries_are_refused_by_rt_detr(detectors):
    images = Images(torch.zeros(1, 3, 16, 16), torch.ones(1, 16, 16, dtype=torch.bool))
    tiny = build(DetectorConfig(arch="rt-detr", **{**SIZES, "queries": 36}))
    with pytest.raises(UserError, match="36 queries, but images of this size have 21 features"):
        tiny.eval()(images)


def test_a_cache_of_one_map_is_refused_where_three_are_needed(tmp_path):
    from updetr.commands.pretrain import Options
    from updetr.pretrain_run import new_patch_detector
    from updetr.train_options import SizeOptions

    options = Options(
        images=tmp_path, arch="rt-detr", backbone="resnet-tiny", num_patches=2, cache_features=tmp_path,
        size=SizeOptions(width=32, heads=4, encoder_layers=1, decoder_layers=1, hidden=32, queries=4),
    )  # fmt: skip
    with pytest.raises(UserError, match="cache_features keeps the backbone's last map; rt-detr needs three"):
        new_patch_detector(options, list[str]().append)


@pytest.mark.parametrize("arch", ARCHS)
def test_a_config_of_transformers_says_the_sizes_it_was_written_with(arch, detectors):
    found = detectors[arch].hf_config().to_dict()
    wanted = DetectorConfig(arch=arch, **{**SIZES, "patches": 9})  # the most up to 10 that divide 18
    assert read_config(found, "config.json") == wanted
    with pytest.raises(UserError, match="num_feature_levels is 7"):
        read_config(found | {"num_feature_levels": 7}, "config.json")


def test_the_losses_of_rt_detr_are_those_of_transformers():
    from transformers.loss.loss_rt_detr import RTDetrLoss

    counts, queries, classes = [3, 0, 5], 12, 3
    logits, boxes = normal(2, 3, queries, classes), normal(2, 3, queries, 4, seed=1).sigmoid()
    outputs = Outputs(logits.requires_grad_(), boxes)
    true, labels = normal(8, 4, seed=2).sigmoid() * 0.5 + 0.2, torch.arange(8) % classes
    peer = RTDetrLoss(RTDetrConfig(num_labels=classes, id2label={i: str(i) for i in range(classes)}))
    rows = [
        {"class_labels": own, "boxes": some}
        for own, some in zip(labels.split(counts), true.split(counts), strict=True)
    ]
    theirs = [peer({"logits": logits[i], "pred_boxes": boxes[i]}, rows) for i in range(2)]
    loss = SetLoss(classes=classes, sigmoid=True, iou_aware=True, costs=Costs(label=2.0))
    ours = loss(outputs, Targets(labels, true, counts))
    for name, peers in (("class", "loss_vfl"), ("l1", "loss_bbox"), ("giou", "loss_giou")):
        torch.testing.assert_close(
            ours.terms[name], sum(layer[peers] for layer in theirs), rtol=1e-5, atol=1e-5
        )
    wanted = torch.autograd.grad(sum(layer["loss_vfl"] for layer in theirs), logits, retain_graph=True)[0]
    torch.testing.assert_close(
        torch.autograd.grad(ours.terms["class"], logits)[0], wanted, rtol=1e-4, atol=1e-6
    )
    with pytest.raises(ValueError, match="iou_aware needs sigmoid classes"):
        SetLoss(classes=3, iou_aware=True)
