"""The verbs convert, export and info on tiny models."""

import dataclasses
import json

import pytest
import torch

from nonet.errors import UserError
from nonet.testing import call_cli, normal, seeded
from nonet.vision_language.pair_config import TINY
from nonet.vision_language.pair_export import export_pair_model
from nonet.vision_language.pair_folders import load_extra, load_pair_model, save_pair_model
from nonet.vision_language.pair_model import PairModel
from nonet.vision_language.patch_detector import PatchDetector

SMALL = dataclasses.replace(
    TINY, vit_width=32, vit_depth=1, text_width=32, text_hidden=64, vocabulary=60, text_layers=1,
    decoder_layers=0, embed=16,
)  # fmt: skip


def tokenizer():
    from transformers import BertTokenizer

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "dog"]
    return BertTokenizer(vocab={word: number for number, word in enumerate(words)})


def write(folder, config=SMALL):
    torch.manual_seed(0)
    model = PairModel(config).eval()
    with torch.no_grad():
        for number, value in enumerate(model.parameters()):
            value.add_(torch.randn(value.shape, generator=seeded(number)) * 0.1)
    save_pair_model(model, tokenizer(), folder, "# card\n")
    return model


@pytest.mark.slow
@torch.no_grad()
def test_onnx_files_give_the_features_of_the_model_for_any_number_and_length(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    model = write(tmp_path / "model")
    answer = call_cli(
        "timix", "export", "--model", tmp_path / "model", "--format", "onnx", "--out", tmp_path / "onnx"
    )
    assert answer.returncode == 0, answer
    assert "largest difference" in answer.stdout
    images, ids = normal(5, 3, 48, 48), torch.tensor([[2, 5, 5, 5, 3], [2, 5, 3, 0, 0]])
    mask = (ids > 0).long()

    def run(name, **inputs):
        session = onnxruntime.InferenceSession(str(tmp_path / "onnx" / name))
        return torch.from_numpy(session.run(None, {key: each.numpy() for key, each in inputs.items()})[0])

    wanted = model.image_features(model.encode_image(images))
    torch.testing.assert_close(run("image.onnx", pixel_values=images), wanted, atol=1e-5, rtol=1e-5)
    wanted = model.text_features(model.encode_text(ids, mask))
    found = run("text.onnx", input_ids=ids, attention_mask=mask)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    facts = json.loads((tmp_path / "onnx" / "config.json").read_text())
    assert facts["tau"] == pytest.approx(model.tau.item())
    assert (tmp_path / "onnx" / "tokenizer_config.json").is_file()


@torch.no_grad()
@pytest.mark.parametrize("to", ["transformers", "timm"])
@pytest.mark.parametrize(
    "changes", [{}, {"pre_norm": False, "quick_gelu": False, "vit_width": 16}], ids=["clip", "deit"]
)
def test_folders_of_transformers_and_timm_give_the_tokens_of_the_model(to, changes, tmp_path):
    import timm
    from transformers import AutoModel, AutoTokenizer, BertModel, CLIPVisionModel

    model = write(tmp_path / "model", dataclasses.replace(SMALL, **changes))
    done = export_pair_model(tmp_path / "model", tmp_path / "out", to, install="x")
    assert done.difference < 1e-5
    images, ids = normal(2, 3, 48, 48), torch.tensor([[2, 5, 5, 3]])
    if to == "timm":
        image = timm.create_model(f"local-dir:{tmp_path / 'out' / 'image'}", pretrained=True).eval()
        tokens = image.forward_features(images)
    else:
        clip = model.config.pre_norm
        image = (CLIPVisionModel if clip else AutoModel).from_pretrained(tmp_path / "out" / "image").eval()
        tokens = image(pixel_values=images).last_hidden_state
        tokens = image.post_layernorm(tokens) if clip else tokens
    wanted = model.vision.vit.forward_features(images)
    torch.testing.assert_close(tokens, wanted, atol=1e-5, rtol=1e-5)
    text = BertModel.from_pretrained(tmp_path / "out" / "text", add_pooling_layer=False).eval()
    words = text(input_ids=ids).last_hidden_state
    torch.testing.assert_close(words, model.encode_text(ids), atol=1e-5, rtol=1e-5)
    assert AutoTokenizer.from_pretrained(tmp_path / "out" / "text")("dog")["input_ids"] == [2, 5, 3]
    # the projections lead from these tokens to the features
    from safetensors.torch import load_file

    parts = load_file(tmp_path / "out" / "projections.safetensors")
    cls = tokens[:, 0]
    if "adapt.0.weight" in parts:
        cls = cls @ parts["adapt.0.weight"].T + parts["adapt.0.bias"]
        cls = torch.nn.functional.layer_norm(
            cls, cls.shape[-1:], parts["adapt.1.weight"], parts["adapt.1.bias"], 1e-12
        )
    features = cls @ parts["vision_proj.weight"].T + parts["vision_proj.bias"]
    wanted = model.image_features(model.encode_image(images))
    torch.testing.assert_close(torch.nn.functional.normalize(features), wanted, atol=1e-4, rtol=1e-4)


def test_an_export_is_not_written_over_another_folder_and_needs_a_model(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    write(tmp_path / "model")
    with pytest.raises(UserError, match="exists and is not a model folder of ours"):
        export_pair_model(tmp_path / "model", tmp_path / "out", "timm", install="x")
    answer = call_cli(
        "timix", "export", "--model", tmp_path / "out", "--format", "timm", "--out", tmp_path / "x"
    )
    assert answer.returncode == 2
    assert "no pair_model.json in this folder" in answer.stderr
    assert not (tmp_path / "x").exists()


def test_convert_writes_a_folder_that_info_reads(tmp_path):
    from timm.models.vision_transformer import VisionTransformer
    from transformers import BertConfig, BertModel
    from transformers.models.blip.modeling_blip_text import BlipTextEncoder

    sizes = {"vocab_size": 60, "hidden_size": 64, "num_attention_heads": 1, "intermediate_size": 96}
    vision = VisionTransformer(48, 8, num_classes=0, embed_dim=64, depth=1, num_heads=1)
    text = BertModel(BertConfig(**sizes, num_hidden_layers=1), add_pooling_layer=False)
    from transformers import BlipTextConfig

    blip = BlipTextConfig(
        **sizes, num_hidden_layers=1, encoder_hidden_size=64, bos_token_id=1, sep_token_id=2
    )
    state = {f"visual_encoder.{name}": value for name, value in vision.state_dict().items()}
    state |= {f"text_encoder.bert.{name}": value for name, value in text.state_dict().items()}
    state |= {
        f"text_encoder.bert.encoder.layer.1.{name.removeprefix('layer.0.')}": value
        for name, value in BlipTextEncoder(blip).state_dict().items()
    }
    state |= {"vision_proj.weight": torch.ones(16, 64), "image_queue": torch.zeros(4)}
    torch.save({"model": state, "epoch": 1}, tmp_path / "albef.pth")
    tokenizer().save_pretrained(tmp_path / "words")
    answer = call_cli(
        "timix", "convert", tmp_path / "albef.pth", "--out", tmp_path / "model", "--tokenizer",
        tmp_path / "words",
    )  # fmt: skip
    assert (
        answer.returncode == 2
    )  # more than a tenth of so small a model is missing: the heads of pre-training
    state |= {name: value for name, value in _heads().items() if name not in state}
    torch.save({"model": state, "epoch": 1}, tmp_path / "albef.pth")
    answer = call_cli(
        "timix", "convert", tmp_path / "albef.pth", "--out", tmp_path / "model", "--tokenizer",
        tmp_path / "words",
    )  # fmt: skip
    assert answer.returncode == 0, answer
    sizes = "1 text, 1 fusion (0 connected) and 0 decoder layers of 64"
    for words in ("ALBEF", sizes, "left out: 1 weights of the queue", "assumed: 1 heads"):
        assert words in answer.stdout
    answer = call_cli("timix", "info", "--path", tmp_path / "model")
    assert answer.returncode == 0
    assert "48 x 48 pixels, 6 x 6 patches" in answer.stdout
    assert "tensors" in answer.stdout
    found = json.loads(call_cli("timix", "info", "--path", tmp_path / "model", "--json").stdout)
    assert found["model"]["fusion"] == "1 layers, 0 connected"
    assert found["model"]["tokenizer"] == "yes"


def _heads():
    return {
        "vision_proj.bias": torch.zeros(16), "text_proj.weight": torch.ones(16, 64),
        "text_proj.bias": torch.zeros(16), "itm_head.weight": torch.ones(2, 64),
        "itm_head.bias": torch.ones(2), "temp": torch.tensor(0.07),
        "text_encoder.cls.predictions.bias": torch.zeros(60),
        "text_encoder.cls.predictions.transform.dense.weight": torch.ones(64, 64),
        "text_encoder.cls.predictions.transform.dense.bias": torch.ones(64),
        "text_encoder.cls.predictions.transform.LayerNorm.weight": torch.ones(64),
        "text_encoder.cls.predictions.transform.LayerNorm.bias": torch.ones(64),
    }  # fmt: skip


def test_the_patch_predictor_of_a_clip_of_timix_is_kept_beside_the_model(tmp_path):
    open_clip = pytest.importorskip("open_clip")
    from nonet.vision_language.checkpoints import convert_checkpoint
    from nonet.vision_language.foreign_sizes import Said

    vision = open_clip.transformer.VisionTransformer(
        image_size=48, patch_size=8, width=32, layers=1, heads=1, mlp_ratio=4.0, output_dim=8
    )
    state = {f"visual.{name}": value for name, value in vision.state_dict().items()}
    sizes = {"in_conv.0": (32,), "in_conv.1": (32, 32), "out_conv.0": (16, 64), "out_conv.2": (8, 16),
             "softmax_output.0": (2, 8), "sigmoid_output.0": (1, 8)}  # fmt: skip
    for number, (name, shape) in enumerate(sizes.items()):
        name = f"visual.transformer.score_predictor.{name}"
        state |= {
            f"{name}.weight": normal(*shape, seed=number),
            f"{name}.bias": normal(shape[0], seed=number),
        }
    torch.save(state, tmp_path / "clip.pt")
    said = []
    folder = convert_checkpoint(
        tmp_path / "clip.pt", tmp_path / "model", tokenizer="", said=Said(base=SMALL), say=said.append
    )
    assert "patch predictor: 10 weights, in patch_detector.safetensors" in said
    assert "left out: 2 weights of a layer of the patch predictor, never used" in said
    detector = PatchDetector(32)
    assert load_extra(folder, "patch_detector", detector)
    torch.testing.assert_close(
        dict(detector.named_parameters())["norm.weight"],
        state["visual.transformer.score_predictor.in_conv.0.weight"],
    )


def test_what_is_no_folder_of_ours_is_told_in_one_line(tmp_path):
    answer = call_cli("timix", "info", "--path", tmp_path / "nowhere")
    assert (answer.returncode, "no such folder" in answer.stderr) == (2, True)
    answer = call_cli("timix", "info", "--path", tmp_path)
    assert (answer.returncode, "neither a model" in answer.stderr) == (2, True)
    answer = call_cli("timix", "convert", tmp_path / "x.pth", "--out", tmp_path / "y", "--tokenizer", "")
    assert (answer.returncode, "x.pth: no such file" in answer.stderr) == (2, True)
    answer = call_cli("timix", "convert", "x.pth", "--out", tmp_path / "y", "--stride", "-1")
    assert (answer.returncode, "stride is -1; it is at least 0" in answer.stderr) == (2, True)
    assert not (tmp_path / "y").exists()
    write(tmp_path / "model")
    assert load_pair_model(tmp_path / "model").model.config == SMALL
