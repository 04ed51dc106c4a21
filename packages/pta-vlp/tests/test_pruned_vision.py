"""The tower in two halves against timm's whole one, against a loop over pairs, and against itself."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nonet.errors import UserError
from nonet.testing import normal
from pta_vlp.pruned_vision import PrunedVision
from pta_vlp.select_options import SelectOptions

sys.path.insert(0, str(Path(__file__).parent / "support_pta_vlp"))

from tiny_towers import tiny_tower

OF_IMAGE = torch.tensor([0, 1, 1, 0, 2, 1])
IMAGES, TEXT = normal(3, 3, 32, 32), normal(6, 32, seed=1)


@pytest.fixture(scope="module")
def pruned():
    return tiny_tower(options=SelectOptions(block=1, keep=0.5))


@pytest.fixture(autouse=True)
def no_gradient_unless_asked():
    with torch.no_grad():
        yield


def by_hand(pruned, image, text, keep):
    """Tokens (1, 2 + k, d) of one pair, with timm's parts, a sort and a softmax."""
    vit, block = pruned.vision.vit, pruned.options.block
    x = vit.norm_pre(vit._pos_embed(vit.patch_embed(image[None])))
    for part in vit.blocks[: block + 1]:
        x = part(x)
    scores = pruned.detector.log_score(pruned.detector(x[:, 1:], text[None]))[0].double()
    order = sorted(range(len(scores)), key=lambda i: (-scores[i].item(), i))
    kept, gone = sorted(order[: int(keep * len(scores))]), sorted(order[int(keep * len(scores)) :])
    weights = ((scores - scores.mean()) / scores.std(correction=0))[gone].softmax(0).float()
    x = torch.cat([x[0, :1], x[0, 1:][kept], (weights[:, None] * x[0, 1:][gone]).sum(0, keepdim=True)])[None]
    for part in vit.blocks[block + 1 :]:
        x = part(x)
    return vit.norm(x), kept


def test_pairs_are_those_of_a_loop_over_timms_parts(pruned):
    found = pruned(IMAGES, TEXT, OF_IMAGE)
    assert found.tokens.shape == (6, 10, 32)
    for e, image in enumerate(OF_IMAGE.tolist()):
        wanted, kept = by_hand(pruned, IMAGES[image], TEXT[e], 0.5)
        assert found.kept[e].tolist() == kept
        torch.testing.assert_close(found.tokens[e], wanted[0], rtol=1e-5, atol=1e-5)
    assert len({tuple(row) for row in found.kept[OF_IMAGE == 1].tolist()}) > 1  # texts keep different patches


def test_a_kept_trunk_gives_the_same_bits(pruned):
    trunk = pruned.trunk(IMAGES)
    wanted = pruned(IMAGES, TEXT, OF_IMAGE)
    for _ in range(2):
        found = pruned.finish(trunk, TEXT, OF_IMAGE)
        assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_a_trunk_per_pair_gives_the_same_tokens(pruned):
    shared, apart = pruned(IMAGES, TEXT, OF_IMAGE), pruned(IMAGES[OF_IMAGE], TEXT)
    assert torch.equal(apart.kept, shared.kept)
    torch.testing.assert_close(apart.tokens, shared.tokens, rtol=1e-5, atol=1e-5)


def test_parts_of_a_trunk_are_trunks(pruned):
    trunk = pruned.trunk(IMAGES)
    found = pruned.finish(trunk.of(torch.tensor([2, 0])), TEXT[[4, 3]])
    wanted = pruned.finish(trunk, TEXT, OF_IMAGE)
    assert torch.equal(found.kept, wanted.kept[[4, 3]])
    torch.testing.assert_close(found.tokens, wanted.tokens[[4, 3]], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("options", [
    SelectOptions(block=1, keep=1.0), SelectOptions(block=1, keep=1.0, fuse=False),
    SelectOptions(block=1, keep=0.5, selection="off"), SelectOptions(block=9, selection="off"),
])  # fmt: skip
def test_all_patches_are_timms_own_forward(pruned, options):
    pruned = PrunedVision(pruned.vision, pruned.detector, options)
    found = pruned(IMAGES, TEXT, OF_IMAGE)
    wanted = pruned.vision.vit.forward_features(IMAGES)
    torch.testing.assert_close(found.tokens, wanted[OF_IMAGE], rtol=0, atol=1e-6)
    assert found.kept is None
    assert found.scores is None
    assert pruned.kept() == 16


def test_attention_keeps_what_cls_looks_at_whatever_the_text(pruned):
    pruned = PrunedVision(pruned.vision, None, SelectOptions(block=1, keep=0.25, selection="attention"))
    found = pruned(IMAGES, TEXT, OF_IMAGE)
    vision = pruned.vision
    shares = vision.cls_attention(vision.blocks(vision.embed(IMAGES), 0, 1), 1)
    assert torch.equal(pruned.trunk(IMAGES).attention, shares)
    wanted = shares.topk(4).indices.sort().values
    assert torch.equal(found.kept, wanted[OF_IMAGE])
    again = pruned(IMAGES, TEXT.flip(0), OF_IMAGE)
    assert torch.equal(again.tokens, found.tokens)
    assert torch.equal(pruned(IMAGES, None).tokens[OF_IMAGE], found.tokens)


def test_the_text_decides_in_the_share_of_alpha(pruned):
    mixed = PrunedVision(pruned.vision, pruned.detector, SelectOptions(block=1, selection="mixed", alpha=0.0))
    attention = PrunedVision(pruned.vision, None, SelectOptions(block=1, selection="attention"))
    trunk = mixed.trunk(IMAGES)
    assert torch.equal(mixed.finish(trunk, TEXT, OF_IMAGE).kept, attention(IMAGES, None).kept[OF_IMAGE])
    mixed.options = replace(mixed.options, alpha=1.0)
    found = mixed.finish(trunk, TEXT, OF_IMAGE)
    assert torch.equal(found.kept, pruned(IMAGES, TEXT, OF_IMAGE).kept)
    assert not torch.equal(found.kept, attention(IMAGES, None).kept[OF_IMAGE])


def test_cls_knows_the_order_of_texts_only_where_they_are_asked(pruned):
    """Image CLS that has seen its own caption would leak it into the contrastive loss."""
    attention = PrunedVision(pruned.vision, pruned.detector, SelectOptions(block=1, selection="attention"))
    order = torch.tensor([2, 0, 1])
    cls = attention(IMAGES, TEXT[:3]).tokens[:, 0]
    assert torch.equal(attention(IMAGES, TEXT[:3][order]).tokens[:, 0], cls)
    cls = pruned(IMAGES, TEXT[:3]).tokens[:, 0]
    assert not torch.equal(pruned(IMAGES, TEXT[:3][order]).tokens[:, 0], cls)


def test_random_patches_are_drawn_once_an_image(pruned):
    pruned = PrunedVision(pruned.vision, None, SelectOptions(block=1, keep=0.5, selection="random"))
    torch.manual_seed(0)
    trunk = pruned.trunk(IMAGES)
    found = pruned.finish(trunk, None, OF_IMAGE)
    assert torch.equal(found.kept[1], found.kept[2])
    assert torch.equal(pruned.finish(trunk, None, OF_IMAGE).kept, found.kept)
    torch.manual_seed(0)
    assert torch.equal(pruned(IMAGES, None, OF_IMAGE).kept, found.kept)
    assert not torch.equal(pruned(IMAGES, None, OF_IMAGE).kept, found.kept)


def test_without_a_text_attention_stands_in_and_says_so(pruned):
    attention = PrunedVision(pruned.vision, None, SelectOptions(block=1, selection="attention"))
    with pytest.warns(UserWarning, match="selection text without a text: the attention of CLS keeps patches"):
        found = pruned(IMAGES, None)
    assert torch.equal(found.tokens, attention(IMAGES, None).tokens)


def test_keep_and_fuse_may_change_behind_the_trunk(pruned):
    other = tiny_tower(options=SelectOptions(block=1, keep=0.5))
    trunk = other.trunk(IMAGES)
    for keep, fuse, tokens in ((0.25, True, 6), (0.25, False, 5), (1.0, True, 17), (0.5, True, 10)):
        other.options = replace(other.options, keep=keep, fuse=fuse)
        assert other.finish(trunk, TEXT, OF_IMAGE).tokens.shape == (6, tokens, 32)
        assert other.kept() == round(16 * keep)


def test_permuted_patches_permute_what_is_kept(pruned):
    trunk, order = pruned.trunk(IMAGES), torch.randperm(16, generator=torch.Generator().manual_seed(0))
    moved = trunk._replace(
        tokens=torch.cat([trunk.tokens[:, :1], trunk.tokens[:, 1:][:, order]], 1),
        image_part=trunk.image_part[:, order],
    )
    wanted, found = (pruned.finish(parts, TEXT, OF_IMAGE) for parts in (trunk, moved))
    assert torch.equal(order[found.kept].sort().values, wanted.kept)
    torch.testing.assert_close(found.tokens[:, 0], wanted.tokens[:, 0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.tokens[:, -1], wanted.tokens[:, -1], rtol=1e-5, atol=1e-5)


def test_gradient_reaches_the_tower_and_not_the_detector(pruned):
    other = tiny_tower(options=SelectOptions(block=1, keep=0.5))
    text = TEXT.clone().requires_grad_()
    with torch.enable_grad():
        other(IMAGES, text, OF_IMAGE).tokens.square().sum().backward()
    assert other.vision.vit.patch_embed.proj.weight.grad.abs().sum() > 0
    assert text.grad is None
    assert all(parameter.grad is None for parameter in other.detector.parameters())


def test_what_does_not_fit_is_refused(pruned):
    with pytest.raises(UserError, match=r"block 4: the vision tower has blocks 0 to 3; set select\.block"):
        PrunedVision(pruned.vision, pruned.detector, SelectOptions(block=4))
    with pytest.raises(UserError, match="selection text needs a patch detector, which learns from regions"):
        PrunedVision(pruned.vision, None, SelectOptions(block=1))
    attention = PrunedVision(pruned.vision, pruned.detector, SelectOptions(block=1, selection="attention"))
    trunk = attention.trunk(IMAGES)
    attention.options = SelectOptions(block=1, selection="text")
    with pytest.raises(ValueError, match="the trunk was made without texts"):
        attention.finish(trunk, TEXT, OF_IMAGE)
    with pytest.raises(ValueError, match="make the trunk with with_text=False"):
        pruned.scores(pruned.trunk(IMAGES), None)
