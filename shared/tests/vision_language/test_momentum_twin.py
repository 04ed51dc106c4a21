"""The twin of an image-text model: it follows every weight, as a running mean does."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "support_pairs"))
from tiny_pairs import tiny_model

from nonet.errors import UserError
from nonet.testing import normal
from nonet.vision_language.momentum import Twin


def test_after_n_updates_a_twin_of_zeros_is_1_minus_decay_to_the_n_of_the_model():
    model = tiny_model()
    twin = Twin(model, 0.9)
    with torch.no_grad():
        for weight in twin.model.parameters():
            weight.zero_()
    for _ in range(7):
        twin.update(model)
    theirs = dict(model.named_parameters())
    for name, weight in twin.model.named_parameters():
        torch.testing.assert_close(weight, (1 - 0.9**7) * theirs[name].detach(), msg=name)


def test_the_twin_has_every_weight_of_the_model_and_follows_each_of_them():
    model = tiny_model(fusion_layers=2, stride=1)
    twin = Twin(model, 0.0)  # which takes the model over at once
    with torch.no_grad():
        for number, weight in enumerate(model.parameters()):
            weight.add_(normal(*weight.shape, seed=number) if weight.ndim else 0.01)
    twin.update(model)
    mine, theirs = dict(twin.model.named_parameters()), dict(model.named_parameters())
    assert mine.keys() == theirs.keys()
    assert any(name.startswith("fusion.") for name in mine)  # which the released code forgets
    for name, weight in mine.items():
        assert torch.equal(weight, theirs[name]), name


def test_the_twin_learns_nothing_drops_nothing_and_lies_elsewhere():
    model = tiny_model(dropout=0.5)
    twin = Twin(model).train()
    assert not any(part.training for part in twin.modules())
    assert not any(weight.requires_grad for weight in twin.parameters())
    places = {weight.data_ptr() for weight in model.parameters()}
    assert not places & {weight.data_ptr() for weight in twin.parameters()}
    assert all(weight.requires_grad for weight in model.parameters())


def test_what_the_twin_needs_not_is_not_copied():
    model = tiny_model()
    twin = Twin(model, skip=["decoder", "itm_head"])
    assert twin.model.decoder is None
    names = {name.split(".")[0] for name, _ in twin.named_parameters(prefix="")}
    assert names == {"model"}
    mine = {name.split(".")[0] for name, _ in twin.model.named_parameters()}
    assert mine == {name.split(".")[0] for name, _ in model.named_parameters()} - {"decoder", "itm_head"}
    twin.update(model)
    assert model.decoder is not None


def test_words_that_are_shared_in_the_model_are_shared_in_the_twin():
    twin = Twin(tiny_model())
    assert twin.model.mlm_head.words is twin.model.text.embeddings.words.weight


def test_a_decay_of_one_and_unknown_parts_are_refused():
    with pytest.raises(UserError, match=r"a decay of 1 .* lies in \[0, 1\)"):
        Twin(tiny_model(), 1.0)
    with pytest.raises(UserError, match="the model has no writer"):
        Twin(tiny_model(), skip=["writer"])
