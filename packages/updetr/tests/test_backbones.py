"""Backbones: ResNets against transformers', norms that stay what they are, dilation, what is frozen."""

import copy
import re

import pytest
import torch
from transformers import AutoBackbone, ConvNextConfig, Dinov2Config, ResNetConfig, SwinConfig

from nonet.errors import UserError
from nonet.testing import normal
from updetr.backbones import RESNETS, TransformersBackbone, build_backbone
from updetr.detector_config import DetectorConfig
from updetr.resnet import ResNet


def small(*, bottleneck, **changes):
    torch.manual_seed(0)
    return stirred(ResNet((2, 1, 2), (4, 8, 12), bottleneck=bottleneck, stem=6, **changes))


def stirred(module):
    """The same module with statistics and factors of its norms away from 0 and 1."""
    drawn = torch.Generator().manual_seed(1)
    for name, tensor in module.state_dict().items():
        if name.endswith("running_mean") or (name.endswith("bias") and tensor.dim() == 1):
            tensor.copy_(torch.randn(tensor.shape, generator=drawn) * 0.3)
        elif name.endswith("running_var") or (name.endswith("weight") and tensor.dim() == 1):
            tensor.copy_(torch.rand(tensor.shape, generator=drawn) + 0.5)
    return module


def theirs_of(ours, *, bottleneck):
    """Transformers' ResNet with our weights, renamed."""
    outer = [channels * (4 if bottleneck else 1) for channels in (4, 8, 12)]
    layer_type = "bottleneck" if bottleneck else "basic"
    config = ResNetConfig(
        embedding_size=6,
        hidden_sizes=outer,
        depths=[2, 1, 2],
        layer_type=layer_type,
        out_features=["stage1", "stage2", "stage3"],
    )
    model = AutoBackbone.from_config(config)
    renamed = {}
    for name, tensor in ours.state_dict().items():
        for pattern, new in [
            (r"layer(\d)\.(\d)\.conv(\d)", r"encoder.stages.s\1.layers.\2.layer.l\3.convolution"),
            (r"layer(\d)\.(\d)\.bn(\d)", r"encoder.stages.s\1.layers.\2.layer.l\3.normalization"),
            (r"layer(\d)\.(\d)\.downsample\.0", r"encoder.stages.s\1.layers.\2.shortcut.convolution"),
            (r"layer(\d)\.(\d)\.downsample\.1", r"encoder.stages.s\1.layers.\2.shortcut.normalization"),
            (r"^conv1", "embedder.embedder.convolution"),
            (r"^bn1", "embedder.embedder.normalization"),
        ]:
            name = re.sub(pattern, new, name)
        renamed[re.sub(r"\b[sl](\d)", lambda number: str(int(number[1]) - 1), name)] = tensor
    missing, unexpected = model.load_state_dict(renamed, strict=False)
    assert not unexpected
    assert all(name.endswith("num_batches_tracked") for name in missing)
    return model.eval()


@pytest.mark.parametrize("bottleneck", [False, True])
def test_maps_are_those_of_transformers_with_the_same_weights(bottleneck):
    ours = small(bottleneck=bottleneck, maps=3)
    pixels = normal(2, 3, 50, 70)
    wanted = theirs_of(ours, bottleneck=bottleneck)(pixels).feature_maps
    found = ours(pixels)
    assert [each.shape[1] for each in found] == list(ours.channels)
    for mine, their in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, their, atol=1e-4, rtol=1e-4)


def test_training_changes_no_norm_and_no_norm_learns():
    backbone = small(bottleneck=True).train()
    before = copy.deepcopy(backbone.state_dict())
    pixels = normal(2, 3, 32, 32)
    first = backbone(pixels)[0]
    first.sum().backward()
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.state_dict().items())
    assert all("bn" not in name and "downsample.1" not in name for name, _ in backbone.named_parameters())
    torch.testing.assert_close(backbone.eval()(pixels)[0], first)


def test_weights_of_learning_norms_load_into_frozen_ones():
    learning = small(bottleneck=False, norm="batch")
    assert "bn1.num_batches_tracked" in learning.state_dict()
    frozen = small(bottleneck=False)
    assert frozen.load_state_dict(learning.state_dict()) == ([], [])
    pixels = normal(2, 3, 32, 48)
    torch.testing.assert_close(frozen(pixels), learning.eval()(pixels), atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="only a backbone with frozen norms"):
        learning.fold()


@pytest.mark.parametrize("bottleneck", [False, True])
def test_folded_norms_give_the_same_maps(bottleneck):
    backbone = small(bottleneck=bottleneck, maps=2)
    folded = backbone.fold()
    pixels = normal(2, 3, 48, 64)
    torch.testing.assert_close(folded(pixels), backbone(pixels), atol=1e-4, rtol=1e-4)
    assert not any("running" in name for name in folded.state_dict())
    assert not any(weight.requires_grad for weight in folded.parameters())
    assert any("running" in name for name in backbone.state_dict())  # a copy was folded
    assert all(weight.requires_grad for weight in backbone.parameters())


@pytest.mark.parametrize("bottleneck", [False, True])
def test_every_other_feature_of_a_dilated_map_is_one_of_the_map_with_a_stride(bottleneck):
    plain, dilated = small(bottleneck=bottleneck), small(bottleneck=bottleneck, dilation=True)
    dilated.load_state_dict(plain.state_dict())
    pixels = normal(1, 3, 64, 96)
    assert (plain.stride, dilated.stride) == (16, 8)
    torch.testing.assert_close(dilated(pixels)[0][..., ::2, ::2], plain(pixels)[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "millions", "channels", "stride"),
    [
        ("resnet18", 11.69 - 0.513, 512, 32),  # torchvision's counts without their last layer
        ("resnet34", 21.80 - 0.513, 512, 32),
        ("resnet50", 25.56 - 2.049, 2048, 32),
        ("resnet101", 44.55 - 2.049, 2048, 32),
        ("resnet26", 15.99 - 2.049, 2048, 32),
        ("resnet-tiny", 0.70, 128, 16),
    ],
)
def test_sizes_by_name(name, millions, channels, stride):
    with torch.device("meta"):
        backbone = build_backbone(name, norm="batch")
    count = sum(weight.numel() for weight in backbone.parameters()) / 1e6
    assert count == pytest.approx(millions, abs=0.006)
    assert (backbone.channels[-1], backbone.stride) == (channels, stride)


def test_a_detector_names_its_backbone_and_maps_of_last_stages_can_be_asked_for():
    backbone = build_backbone(DetectorConfig(backbone="resnet-tiny", dilation=True))
    assert backbone.stride == 8
    three = build_backbone("resnet-tiny", maps=3)
    assert (three.channels, three.strides) == ((32, 64, 128), (4, 8, 16))
    with pytest.raises(UserError, match="resnet-tiny has 3 maps; 4 are asked for"):
        build_backbone("resnet-tiny", maps=4)


def test_freezing_by_stages_leaves_the_later_ones_to_learn():
    backbone = small(bottleneck=False).freeze(1)
    learning = {name.split(".")[0] for name, weight in backbone.named_parameters() if weight.requires_grad}
    assert learning == {"layer2", "layer3"}
    assert not backbone.frozen
    assert not any(weight.requires_grad for weight in backbone.freeze().parameters())
    assert {w.requires_grad for name, w in backbone.freeze(0).named_parameters() if "conv1" in name[:5]} == {
        False
    }
    with pytest.raises(ValueError, match="4 stages to freeze of 3"):
        backbone.freeze(4)


def test_a_frozen_backbone_stays_as_in_evaluation_while_others_train():
    learning = small(bottleneck=False, norm="batch").train()
    torch.nn.ModuleList([learning.freeze()]).train()
    before = learning.bn1.running_mean.clone()
    learning(normal(2, 3, 32, 32))
    assert torch.equal(learning.bn1.running_mean, before)
    assert learning.freeze(1).train().training


CONFIGS = {
    "resnet": ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"),
    "convnext": ConvNextConfig(hidden_sizes=[8, 8, 16], depths=[1, 1, 1], num_stages=3, drop_path_rate=0.5),
    "swin": SwinConfig(embed_dim=8, depths=[1, 1], num_heads=[1, 1]),
}


@pytest.mark.parametrize(("kind", "stride"), [("resnet", 8), ("convnext", 16), ("swin", 8)])
def test_backbones_of_transformers_are_frozen_by_stages_too(kind, stride):
    torch.manual_seed(0)
    backbone = build_backbone(CONFIGS[kind])
    assert (backbone.channels, backbone.stride) == ((16,), stride)
    backbone.freeze(1)
    of_stage = {name: weight.requires_grad for name, weight in backbone.named_parameters()}
    first = [
        name for name in of_stage if "embed" in name or re.search(r"encoder\.(stages|layers)\.0\.", name)
    ]
    assert any("embed" in name for name in first)
    second = [name for name in of_stage if re.search(r"encoder\.(stages|layers)\.1\.", name)]
    assert not any(of_stage[name] for name in first)
    assert second
    assert all(of_stage[name] for name in second)


def test_a_vision_transformer_is_a_backbone_for_images_of_any_size():
    config = Dinov2Config(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=28)
    backbone = build_backbone(config).freeze()
    assert (backbone.channels, backbone.stride) == ((16,), 14)
    assert backbone(normal(1, 3, 128, 100))[-1].shape == (
        1,
        16,
        9,
        7,
    )  # pixels beyond the last whole cell are cut


def test_batch_norms_of_transformers_are_frozen_and_nothing_is_dropped():
    torch.manual_seed(0)
    model = stirred(AutoBackbone.from_config(CONFIGS["resnet"])).eval()
    pixels = normal(2, 3, 64, 64)
    wanted = model(pixels).feature_maps[-1]
    backbone = TransformersBackbone(model).train()
    torch.testing.assert_close(backbone(pixels)[-1], wanted)
    assert not any("normalization" in name for name, _ in backbone.named_parameters())

    dropping = TransformersBackbone(AutoBackbone.from_config(CONFIGS["convnext"])).freeze().train()
    assert torch.equal(dropping(pixels)[-1], dropping(pixels)[-1])
    torch.testing.assert_close(dropping.fold()(pixels)[-1], dropping(pixels)[-1])


def test_a_folder_of_transformers_is_a_backbone(tmp_path):
    torch.manual_seed(0)
    model = AutoBackbone.from_config(CONFIGS["resnet"])
    model.save_pretrained(tmp_path)
    backbone = build_backbone(str(tmp_path), maps=2)
    assert (backbone.channels, backbone.strides) == ((8, 16), (4, 8))
    pixels = normal(1, 3, 64, 64)
    torch.testing.assert_close(backbone(pixels)[-1], model.eval()(pixels).feature_maps[-1])
    with pytest.raises(UserError, match="has 2 maps; 3 are asked for"):
        build_backbone(str(tmp_path), maps=3)


def test_what_is_no_backbone_is_refused_with_the_names_there_are(tmp_path):
    with pytest.raises(UserError, match=r"no backbone ./resnet19: it is one of resnet-tiny, resnet18"):
        build_backbone("./resnet19")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UserError, match="transformers has no backbone of this kind"):
        build_backbone(str(tmp_path))
    with pytest.raises(UserError, match=r"only resnet-tiny, .* can be dilated"):
        build_backbone(str(tmp_path), dilation=True)
    assert next(iter(RESNETS)) == "resnet-tiny"
