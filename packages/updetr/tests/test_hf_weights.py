"""Weights to and from transformers: equal answers of its own classes, and every set of names."""

import sys
from pathlib import Path

import pytest
import torch
import transformers

sys.path.insert(0, str(Path(__file__).parent / "support_updetr"))
from small_detectors import SIZES, answers, batch, same, shake, small

from nonet.errors import UserError
from updetr.detector import Detector
from updetr.detector_config import DetectorConfig
from updetr.hf_configs import preprocessor, read_config, resnet_config, sizes_of, write_config
from updetr.hf_weights import POST_NORM, PRE_NORM, class_of, from_hf, to_hf

CLASS = {"detr-prenorm": PRE_NORM, "detr": POST_NORM}


def theirs(config, state, backbone=None):
    """The model of transformers with these weights; what does not match is an error."""
    found = write_config(config, backbone or resnet_config(config.backbone))
    kind = getattr(transformers, CLASS[config.arch])
    built = kind.config_class.from_dict({k: v for k, v in found.items() if k != "model_type"})
    model, info = kind.from_pretrained(None, config=built, state_dict=state, output_loading_info=True)
    assert not any(info.values()), info
    return model.eval()


@torch.no_grad()
def asked(model, images):
    found = model(pixel_values=images.pixels, pixel_mask=images.mask.long())
    return found.logits, found.pred_boxes


@pytest.mark.parametrize(
    ("arch", "backbone"), [("detr-prenorm", "resnet-tiny"), ("detr", "resnet-tiny"), ("detr", "resnet26")]
)
def test_transformers_gives_the_same_answers_with_our_weights(arch, backbone):
    detector = small(arch=arch, backbone=backbone)
    hf = theirs(detector.config, to_hf(detector.state_dict()))
    assert same(asked(hf, batch()), answers(detector), atol=1e-5)


def test_all_layers_come_before_the_decoders_last_norm_and_none_is_fed_by_it():
    detector = small(decoder_layers=3)
    hf = theirs(detector.config, to_hf(detector.state_dict()))
    with torch.no_grad():
        ours = detector(batch()).logits
        for count in (1, 2):
            cut = torch.nn.ModuleList(hf.model.decoder.layers[:count])
            whole, hf.model.decoder.layers = hf.model.decoder.layers, cut
            found = hf(pixel_values=batch().pixels, pixel_mask=batch().mask.long()).logits
            hf.model.decoder.layers = whole
            assert torch.allclose(ours[count - 1], found, rtol=0, atol=1e-5)


@pytest.mark.parametrize("arch", ["detr-prenorm", "detr"])
def test_weights_come_back_from_every_set_of_names(arch, tmp_path):
    detector = small(arch=arch)
    state = detector.state_dict()
    hf = theirs(detector.config, to_hf(state))
    hf.save_pretrained(tmp_path)
    from safetensors.torch import load_file

    on_disk, in_memory = load_file(tmp_path / "model.safetensors"), hf.state_dict()
    if arch == "detr":
        assert on_disk.keys() != in_memory.keys(), "transformers renames these on disk"
    for names in (on_disk, in_memory, to_hf(state, timm=True)):
        names = {name: tensor for name, tensor in names.items()}
        found = from_hf(names)
        assert found.left == ()
        assert found.state.keys() == state.keys()
        assert all(torch.equal(found.state[name], state[name]) for name in state)


def test_a_segmentation_models_names_lose_their_prefix_and_its_mask_head_is_left():
    state = to_hf(small(arch="detr").state_dict())
    masked = {f"detr.{name}": tensor for name, tensor in state.items()} | {
        "mask_head.lay1.weight": torch.zeros(1),
        "model.backbone.conv_encoder.model.embedder.embedder.normalization.num_batches_tracked": torch.zeros(
            1
        ),
    }
    found = from_hf(masked)
    assert found.state.keys() == from_hf(state).state.keys()
    assert found.left == ("mask_head.lay1.weight",)


def test_an_attention_without_its_keys_is_refused():
    state = to_hf(small().state_dict())
    del state["model.decoder.layers.1.encoder_attn.k_proj.bias"]
    with pytest.raises(UserError, match=r"decoder\.layers\.1\.multihead_attn has no k_proj"):
        from_hf(state)


def test_the_class_is_told_by_the_encoders_last_norm():
    for arch, kind in CLASS.items():
        state = small(arch=arch).state_dict()
        assert class_of(state) == class_of(to_hf(state)) == kind


def test_a_backbone_of_transformers_keeps_its_names_and_its_answers():
    from transformers import AutoBackbone, ConvNextConfig

    from updetr.backbones import TransformersBackbone

    inner = ConvNextConfig(depths=[1, 1], hidden_sizes=[8, 16], num_stages=2, out_features=["stage2"])
    torch.manual_seed(0)
    config = DetectorConfig(**(SIZES | {"backbone": "owner/convnext"}))
    detector = shake(Detector(config, TransformersBackbone(AutoBackbone.from_config(inner)))).eval()
    state = to_hf(detector.state_dict())
    hf = theirs(config, state, inner.to_dict())
    assert same(asked(hf, batch()), answers(detector), atol=1e-5)
    back = from_hf(state, own_backbone=False)
    assert all(torch.equal(back.state[name], tensor) for name, tensor in detector.state_dict().items())


@pytest.mark.parametrize("backbone", ["resnet-tiny", "resnet18", "resnet34", "resnet50", "resnet101"])
def test_a_config_is_read_as_it_was_written(backbone):
    config = DetectorConfig(**(SIZES | {"backbone": backbone, "arch": "detr", "patches": 6}))
    found = read_config(write_config(config, resnet_config(backbone)), "config.json")
    assert found.backbone is None
    assert found.detector == config


def test_a_dilated_backbone_is_one_of_timm_and_is_read_back():
    config = DetectorConfig(**(SIZES | {"backbone": "resnet50", "dilation": True, "patches": 6}))
    written = write_config(config, resnet_config("resnet50"))
    assert written["backbone_config"]["output_stride"] == 16
    assert read_config(written, "config.json").detector == config


def test_configs_as_the_hub_has_them_are_read():
    """The entries of the two best known folders, as they stood before transformers 5 and as 5 writes them."""
    names = {"0": "table", "1": "table rotated"}
    old = {
        "model_type": "table-transformer", "backbone": "resnet18", "use_timm_backbone": True,
        "dilation": False, "num_queries": 15, "d_model": 256, "encoder_layers": 6, "id2label": names,
    }  # fmt: skip
    found = read_config(old, "config.json").detector
    assert (found.arch, found.backbone, found.queries, found.patches) == ("detr-prenorm", "resnet18", 15, 5)
    assert found.labels == ("table", "table rotated")
    new = transformers.DetrConfig(num_labels=3).to_dict()
    found = read_config(new, "config.json").detector
    assert (found.arch, found.backbone, found.dilation, len(found.labels)) == ("detr", "resnet50", False, 3)


@pytest.mark.parametrize(
    ("entry", "value", "text"),
    [
        ("model_type", "vit", "model_type is 'vit'; there are table-transformer, detr"),
        ("position_embedding_type", "learned", "position_embedding_type is 'learned'"),
        ("activation_function", "gelu", "activation_function is 'gelu'; detectors here have 'relu'"),
        ("decoder_ffn_dim", 7, "ffn_dim is 24 in the encoder and 7 in the decoder"),
        ("id2label", {"1": "a", "2": "b"}, r"id2label has the numbers \[1, 2\]; they go from 0 up"),
        (
            "backbone_config",
            {"model_type": "timm_backbone", "backbone": "hrnet"},
            "its backbone is timm's hrnet",
        ),
    ],
)
def test_configs_of_other_models_are_refused(entry, value, text):
    found = write_config(small().config, resnet_config("resnet-tiny")) | {entry: value}
    with pytest.raises(UserError, match=f"^here: {text}"):
        read_config(found, "here")


def test_sizes_of_images_are_read_from_every_form():
    assert sizes_of(preprocessor(480, 640)) == (480, 640)
    assert sizes_of({"size": 800, "max_size": 1000}) == (800, 1000)
    assert sizes_of({"size": {"longest_edge": 1000}}) == (1000, 1000)
    assert sizes_of({}) == (800, 1333)
