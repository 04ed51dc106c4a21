"""Queries that are told their patches: groups apart, fewer patches, what is zeroed, a mask that was wrong."""

import pytest
import torch

from nonet.errors import UserError
from nonet.testing import devices, normal
from updetr.batches import Images
from updetr.detector import Detector
from updetr.detector_config import DetectorConfig
from updetr.query_patches import PatchDetector, keep_queries, patch_means, shuffled_queries

TINY = {
    "backbone": "resnet-tiny",
    "width": 16,
    "heads": 2,
    "hidden": 24,
    "encoder_layers": 1,
    "decoder_layers": 2,
}


def build(**changes):
    torch.manual_seed(0)
    sizes = {"queries": 12, "patches": 4}
    return PatchDetector(Detector(DetectorConfig(**TINY, **{**sizes, **changes}))).eval()


@pytest.fixture(scope="module")
def model():
    return build()


@pytest.fixture(scope="module")
def memory(model):
    mask = torch.ones(2, 64, 96, dtype=torch.bool)
    mask[1, :, 64:] = False
    with torch.no_grad():
        return model.detector.encode(Images(normal(2, 3, 64, 96) * mask[:, None], mask))


@pytest.fixture(scope="module")
def features(model):
    return model.patch_features(normal(2, 4, 3, 32, 32, seed=1))


def test_another_patch_changes_the_answers_of_its_own_queries_alone(model, memory, features):
    before = model(memory, features)
    other = features.clone()
    other[:, 2] += 1.0
    after = model(memory, other)
    own = slice(6, 9)
    for name in ("logits", "boxes", "features"):
        first, second = getattr(before, name), getattr(after, name)
        changed = (first != second).any(-1)
        assert changed[:, :, own].all()
        changed[:, :, own] = False
        assert not changed.any()


@pytest.mark.parametrize("patches", [1, 2, 3])
def test_fewer_patches_are_the_first_groups_of_all(model, memory, features, patches):
    fewer, all_of_them = model(memory, features[:, :patches]), model(memory, features)
    for name in ("logits", "boxes", "features"):
        found = getattr(fewer, name)
        assert found.shape[2] == 3 * patches
        torch.testing.assert_close(found, getattr(all_of_them, name)[:, :, : 3 * patches])


def test_more_patches_than_groups_are_refused(model, memory):
    with pytest.raises(ValueError, match="5 patches of 3 queries are more than 12 queries"):
        model(memory, torch.zeros(2, 5, 128))


def test_images_and_what_was_encoded_of_them_give_the_same(model, features):
    images = Images(normal(2, 3, 64, 96, seed=4), torch.ones(2, 64, 96, dtype=torch.bool))
    torch.testing.assert_close(model(images, features), model(model.detector.encode(images), features))


def test_a_patch_feeds_consecutive_queries(model, features):
    added = model.added(features, 3)
    assert torch.equal(added[:, 3], added[:, 5])
    torch.testing.assert_close(added[:, 3], model.patch2query(features[:, 1]))


def test_a_query_that_is_not_told_its_patch_asks_as_before(model, memory, features):
    keep = torch.ones(2, 12, dtype=torch.bool)
    keep[1, 4] = False
    added = model.added(features, 3, keep)
    assert not added[1, 4].any()
    assert torch.equal(added[0], model.added(features, 3)[0])
    nothing = torch.zeros_like(keep)
    untold = model(memory, features, keep_BN=nothing)
    torch.testing.assert_close(untold.boxes, model.detector.decode(memory, groups=4).boxes)


@devices
def test_a_device_finds_what_the_reference_finds(device, memory, features):
    here = build().to(device)
    moved = memory._replace(**{name: getattr(memory, name).to(device) for name in memory._fields[:3]})
    torch.testing.assert_close(
        here(moved, features.to(device)).boxes.cpu(), build()(memory, features).boxes, atol=1e-3, rtol=0
    )


def test_all_queries_may_look_for_one_patch_and_then_see_each_other(model, memory, features):
    one = model(memory, features[:, :1], group=12)
    told = model.patch2query(features[:, :1]).expand(-1, 12, -1)
    torch.testing.assert_close(one.boxes, model.detector.decode(memory, query_extra=told).boxes)


def test_shuffled_queries_keep_the_patch_of_their_place(model, memory, features):
    order = shuffled_queries(0, 5, 12)
    assert sorted(order.tolist()) == list(range(12))
    found = model(memory, features, order=order)
    told = model.added(features, 3)
    wanted = model.detector.decode(memory, query_extra=told, groups=4, order=order)
    torch.testing.assert_close(found.boxes, wanted.boxes)
    assert not torch.equal(order, shuffled_queries(0, 6, 12))


def test_features_of_patches_are_averages_of_the_map():
    model = build().train()
    patches = normal(2, 4, 3, 32, 48, seed=1)
    found = model.patch_features(patches)
    maps = model.detector.backbone(patches[:, 3])[-1]
    torch.testing.assert_close(found[:, 3], maps.mean((2, 3)))
    folded = model.detector.backbone.fold()
    torch.testing.assert_close(model.patch_features(patches, backbone=folded), found, atol=1e-4, rtol=1e-4)


def test_a_backbone_that_is_trained_learns_from_patches_too_and_a_frozen_one_has_no_gradient():
    model = build().train()
    backbone, patches = model.detector.backbone, normal(2, 4, 3, 32, 32, seed=1)
    assert not model.patch_features(patches, backbone=backbone.fold()).requires_grad
    backbone.freeze(1)
    model.patch_features(patches).square().sum().backward()
    learns = [weight for weight in backbone.parameters() if weight.requires_grad]
    assert len(learns) > 3
    assert all(weight.grad is not None and weight.grad.any() for weight in learns)
    backbone.freeze()
    assert not model.patch_features(patches).requires_grad


def test_tokens_of_a_patch_share_its_queries():
    model = build(queries=24, patch_tokens=2)  # 6 queries a patch, 4 tokens
    patches = normal(1, 4, 3, 32, 32, seed=1)
    tokens = model.patch_features(patches)
    assert tokens.shape == (1, 4, 4, 128)
    maps = model.detector.backbone(patches[:, 1])[-1]  # 2 x 2 features: each is a token
    torch.testing.assert_close(tokens[:, 1], maps.flatten(2).transpose(1, 2))
    added = model.added(tokens, 6)
    of_query = [0, 0, 1, 2, 2, 3]
    torch.testing.assert_close(added[:, 6:12], model.patch2query(tokens[:, 1, of_query]))
    torch.testing.assert_close(patch_means(tokens)[:, 1], maps.mean((2, 3)))
    with pytest.raises(UserError, match="4 tokens of a patch are more than its 3 queries"):
        build(patch_tokens=2)


def test_without_reconstruction_there_is_no_head_for_it(memory, features):
    model = build(reconstruct=False)
    assert model(memory, features).features is None
    assert not any(name.startswith("feature_align") for name in model.state_dict())


def test_one_query_in_ten_is_not_told_its_patch_drawn_for_each_image():
    kept = keep_queries(0, 3, torch.arange(400), 100)
    assert (~kept).float().mean().item() == pytest.approx(0.1, abs=0.005)
    assert (~kept).float().mean(0).max() < 0.2  # no query is always the one
    assert not torch.equal(kept[0], kept[1])
    assert keep_queries(0, 3, [0, 1], 100, masked=0).all()
    assert keep_queries(0, 3, [], 100).shape == (0, 100)


def test_what_is_not_told_depends_on_seed_step_and_row_alone():
    whole = keep_queries(0, 3, torch.arange(8), 20)
    assert torch.equal(keep_queries(0, 3, [1, 3, 5, 7], 20), whole[1::2])
    assert not torch.equal(keep_queries(0, 4, torch.arange(8), 20), whole)
    assert not torch.equal(keep_queries(1, 3, torch.arange(8), 20), whole)


def released_mask(queries, patches):
    """The mask as the released code fills it: as many blocks as a group has queries."""
    group = queries // patches
    mask = torch.full((queries, queries), float("-inf"))
    for block in range(group):
        mask[block * group : (block + 1) * group, block * group : (block + 1) * group] = 0
    return mask


@pytest.mark.parametrize(("patches", "blind"), [(10, 0), (20, 75), (25, 84), (50, 96), (100, 99)])
def test_every_query_sees_its_group_where_the_released_mask_leaves_queries_blind(patches, blind):
    mask = released_mask(100, patches)
    assert int(mask.isinf().all(1).sum()) == blind
    model = build(queries=100, patches=patches)
    decoder = model.detector.transformer.decoder
    places = normal(1, 100, 16).requires_grad_()
    hidden = torch.zeros(1, 6, dtype=torch.bool)
    states = decoder(places, normal(1, 6, 16), normal(1, 6, 16), hidden, groups=patches)
    group = 100 // patches
    (seen,) = torch.autograd.grad(
        states[-1, 0, 99, 0], places
    )  # of the last query: blind there beyond M = 10
    seen = seen[0].abs().sum(-1) > 0
    assert seen[-group:].all()
    assert not seen[:-group].any()
