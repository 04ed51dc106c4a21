"""The dense network with hidden positions against a sparse one that computes visible positions alone."""

import logging

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from nonet.errors import UserError
from nonet.testing import normal, seeded, whole
from ponderv2.masked_convnext import MEAN, STD, STRIDES, MaskedConvNeXt

timm = pytest.importorskip("timm")
NAME = "convnext_atto"


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    made = MaskedConvNeXt(NAME, frozen_stages=0)
    with torch.no_grad():
        for name, weight in made.named_parameters():
            # as drawn, blocks add a millionth of what they compute, and norms and biases do nothing
            weight.copy_(torch.randn(weight.shape) * (0.1 if weight.dim() > 1 else 0.5))
            if "norm.weight" in name or name.endswith("gamma"):
                weight.add_(1)
    return made.eval()


@pytest.fixture(scope="module")
def images():
    return whole(256, 2, 3, 96, 160).to(torch.uint8)


@pytest.fixture(scope="module")
def visible():
    mask = torch.rand(2, 3, 5, generator=seeded(1)) > 0.4
    assert 5 < mask.sum() < 25
    return mask


class Sparse:
    """Features of visible positions in a dictionary (row, column) -> (C,): nothing else exists."""

    def __init__(self, values):
        self.values = values

    def strided(self, conv, norm=None, after=None):
        """A convolution whose windows do not overlap, over the positions that all of a window has."""
        k = conv.stride[0]
        out = {}
        for row, column in {(r // k, c // k) for r, c in self.values}:
            window = [[self.values[row * k + i, column * k + j] for j in range(k)] for i in range(k)]
            x = torch.stack([torch.stack(line) for line in window])  # (k, k, C)
            if norm is not None:
                x = layer_norm(x, norm)
            total = torch.einsum("ijc,ocij->o", x, conv.weight) + conv.bias
            out[row, column] = total if after is None else layer_norm(total, after)
        return Sparse(out)

    def block(self, block):
        """A ConvNeXt block: the depth-wise convolution adds up visible neighbours only."""
        weight, reach = block.conv_dw.weight[:, 0], block.conv_dw.kernel_size[0] // 2
        out = {}
        for (row, column), value in self.values.items():
            total = block.conv_dw.bias.clone()
            for i in range(-reach, reach + 1):
                for j in range(-reach, reach + 1):
                    if (near := self.values.get((row + i, column + j))) is not None:
                        total = total + weight[:, i + reach, j + reach] * near
            x = layer_norm(total, block.norm)
            x = linear(F.gelu(linear(x, block.mlp.fc1)), block.mlp.fc2)
            out[row, column] = value + block.gamma * x
        return Sparse(out)


def layer_norm(x, norm):
    return F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps)


def linear(x, layer):
    return x @ layer.weight.flatten(1).T + layer.bias


@torch.no_grad()
def sparse_maps(network, image, visible):
    pixels = ((image.float() / 255).permute(1, 2, 0) - torch.tensor(MEAN)) / torch.tensor(STD)
    there = visible.repeat_interleave(32, 0).repeat_interleave(32, 1)
    maps = [Sparse({(r, c): pixels[r, c] for r, c in there.nonzero().tolist()})]
    x = maps[0].strided(network.stem[0], after=network.stem[1])
    found = []
    for stage in network.stages:
        if isinstance(stage.downsample, torch.nn.Sequential):
            x = x.strided(stage.downsample[1], norm=stage.downsample[0])
        for block in stage.blocks:
            x = x.block(block)
        found.append(x)
    return found


@pytest.mark.slow
def test_hidden_positions_are_as_if_they_were_not_there(network, images, visible):
    image, mask = images[:1, :, :64, :96], visible[:1, :2, :3]
    with torch.no_grad():
        dense = network(image, mask)
    sparse = sparse_maps(network, image[0], mask[0])
    for map_, expected in zip(dense, sparse, strict=True):
        rows, columns = zip(*expected.values, strict=True)
        found = map_[0][:, rows, columns].T
        wanted = torch.stack(list(expected.values.values()))
        assert torch.allclose(found, wanted, rtol=1e-3, atol=1e-3 * wanted.abs().max())
        assert wanted.std() > 0.1
        nothing = torch.ones(map_.shape[-2:], dtype=torch.bool)
        nothing[rows, columns] = False
        assert (map_[0][:, nothing] == 0).all()


def test_what_masked_patches_show_changes_nothing(network, images, visible):
    hidden = ~visible.repeat_interleave(32, 1).repeat_interleave(32, 2)[:, None].expand(-1, 3, -1, -1)
    other = torch.where(hidden, 255 - images, images)
    with torch.no_grad():
        for one, two in zip(network(images, visible), network(other, visible), strict=True):
            assert torch.equal(one, two)
        assert not torch.equal(network(images)[0], network(other)[0])


def test_without_a_mask_it_is_timms_network(network, images):
    reference = timm.create_model(NAME, features_only=True)
    state = {name.replace("stem.", "stem_").replace("stages.", "stages_"): value
             for name, value in network.state_dict().items()}  # fmt: skip
    reference.load_state_dict(state)
    pixels = (images.float() / 255 - network.mean) / network.std
    with torch.no_grad():
        maps = network(images)
        for stride, width, found, expected in zip(
            STRIDES, network.widths, maps, reference.eval()(pixels), strict=True
        ):
            assert found.shape == (2, width, 96 // stride, 160 // stride)
            assert torch.equal(found, expected)


def test_two_masks_in_turn_do_not_mix(network, images, visible):
    with torch.no_grad():
        first = network(images, visible)[3]
        network(images, ~visible)
        assert torch.equal(network(images, visible)[3], first)
        both = network(torch.cat([images, images]), torch.cat([visible, ~visible]))[3]
        assert torch.allclose(both[:2], first, atol=1e-4 * first.abs().max())


def test_frozen_stages_do_not_learn_and_stay_in_evaluation_mode():
    network = MaskedConvNeXt(NAME, frozen_stages=2).train()
    assert not any(weight.requires_grad for weight in network.stem.parameters())
    assert [all(w.requires_grad for w in stage.parameters()) for stage in network.stages] == [
        False, False, True, True,
    ]  # fmt: skip
    assert [stage.training for stage in network.stages] == [False, False, True, True]
    assert MaskedConvNeXt(NAME, frozen_stages=0).train().stem.training


def test_weights_are_read_from_a_file(tmp_path):
    torch.manual_seed(1)
    whole_model = timm.create_model(NAME, num_classes=7)
    save_file(whole_model.state_dict(), tmp_path / "weights.safetensors")
    torch.manual_seed(2)
    network = MaskedConvNeXt(NAME, weights=str(tmp_path / "weights.safetensors"))
    assert torch.equal(network.stem[0].weight, whole_model.stem[0].weight)
    save_file({"stem.0.weight": normal(3, 3)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match=r"other\.safetensors does not fit convnext_atto"):
        MaskedConvNeXt(NAME, weights=str(tmp_path / "other.safetensors"))
    with pytest.raises(UserError, match="no such file; say timm to download"):
        MaskedConvNeXt(NAME, weights=str(tmp_path / "absent.safetensors"))
    (tmp_path / "text.safetensors").write_text("no tensors")
    with pytest.raises(UserError, match="not safetensors"):
        MaskedConvNeXt(NAME, weights=str(tmp_path / "text.safetensors"))


def test_weights_that_cannot_be_downloaded_name_the_way_out(monkeypatch, capsys, caplog):
    def unreachable(name, *, pretrained, **_):
        assert pretrained
        logging.getLogger("huggingface_hub.utils._http").warning("Retrying in 1s [Retry 1/5].")
        raise OSError("no connection:\n  try later")

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(UserError) as caught:
        MaskedConvNeXt(NAME, weights="timm")
    assert str(caught.value) == (
        f"the weights of {NAME} cannot be downloaded: give --outdoor.image-weights None to begin with random "
        "ones, or a .safetensors file of them (no connection: try later)"
    )
    assert capsys.readouterr().err == f"weights of {NAME}: those of timm, which are downloaded once\n"
    assert not caplog.records


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("convnext_nothing", "has no model convnext_nothing"),
        ("resnet18", "no ConvNeXt with four stages"),
        ("convnextv2_atto", "normalises over the whole image"),
        ("convnext_atto_ols", "patches of convnext_atto_ols overlap"),
    ],
)
def test_networks_that_cannot_be_masked_are_refused(name, text):
    with pytest.raises(UserError, match=text):
        MaskedConvNeXt(name)


def test_sizes_that_do_not_fit_are_refused(network, images, visible):
    with pytest.raises(ValueError, match="160 x 90 are not multiples of 32"):
        network(images[:, :, :90])
    with pytest.raises(ValueError, match="does not fit 2 images"):
        network(images, visible[:, :2])
