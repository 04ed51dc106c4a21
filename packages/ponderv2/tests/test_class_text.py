"""Text vectors of classes: each class's own mean, the released mixture, files and CLIP folders."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from nonet.errors import UserError
from nonet.testing import normal
from ponderv2.class_text import RELEASED, TEMPLATES, read_class_text, reduce_templates, spelling


def test_the_released_configuration_has_21_sentences_and_36_classes():
    assert len(TEMPLATES) == 21
    assert len(RELEASED) == 36
    assert RELEASED[22:24] == ("shower curtain", "nightstand")
    assert RELEASED[33:] == ("other structure", "other furniture", "other property")


def test_a_row_is_the_mean_of_its_own_sentences():
    vectors = normal(20, 21, 8)
    found = reduce_templates(vectors)
    for k in range(20):
        mean = sum(v / v.norm() for v in vectors[k]) / 21
        torch.testing.assert_close(found[k], mean / mean.norm())


def test_no_released_row_is_of_a_single_class():
    """21 sentences, 20 classes, each class's vectors equal to its axis: a pure row would have one entry."""
    vectors = torch.eye(20)[:, None].expand(20, 21, 20)
    assert (reduce_templates(vectors) > 0).sum(1).tolist() == [1] * 20
    assert int(((reduce_templates(vectors, "legacy") > 0).sum(1) == 1).sum()) == 0


def test_the_released_mixture_is_that_of_its_lines():
    """The released lines: class-major rows, reshaped to (templates, classes), averaged over the first."""
    rows = normal(5 * 3, 4)
    unit = rows / rows.norm(dim=-1, keepdim=True)
    mean = unit.reshape(3, 5, 4).mean(0)
    expected = mean / mean.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(reduce_templates(rows.reshape(5, 3, 4), "legacy"), expected)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_files_give_unit_vectors_in_the_order_of_the_names(suffix, tmp_path):
    vectors = {"wall": normal(4, seed=1), "refrigerator": normal(4, seed=2)}
    path = tmp_path / f"text{suffix}"
    if suffix == ".npz":
        np.savez(path, **{name: vector.numpy() for name, vector in vectors.items()})
    else:
        save_file(vectors, path)
    found = read_class_text(["refridgerator", "wall"], str(path))
    torch.testing.assert_close(found[1], vectors["wall"] / vectors["wall"].norm())
    torch.testing.assert_close(found[0], vectors["refrigerator"] / vectors["refrigerator"].norm())


def test_the_released_rows_depend_on_all_the_released_classes(tmp_path):
    vectors = {name: normal(3, 6, seed=k) for k, name in enumerate(RELEASED)}
    save_file(vectors, tmp_path / "text.safetensors")
    all_rows = reduce_templates(torch.stack(list(vectors.values())), "legacy")
    found = read_class_text(["chair", "wall"], tmp_path / "text.safetensors", reduce="legacy")
    torch.testing.assert_close(found, all_rows[[RELEASED.index("chair"), 0]])


def test_spellings_of_data_sets_are_put_right():
    assert spelling("otherfurniture") == "other furniture"
    assert spelling(" Shower_Curtain ") == "shower curtain"


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"wall": np.ones(4)}, r"no text vectors for chair, sofa; it has wall"),
        (
            {"wall": np.ones(4), "chair": np.ones(5), "sofa": np.ones(4)},
            r"different shapes: \(1, 4\), \(1, 5\)",
        ),
        ({"wall": np.ones(4), "chair": np.zeros(4), "sofa": np.ones(4)}, "zero or not finite"),
    ],
)
def test_faults_of_a_file_are_named(arrays, message, tmp_path):
    np.savez(tmp_path / "text.npz", **arrays)
    with pytest.raises(UserError, match=message):
        read_class_text(["wall", "chair", "sofa"], tmp_path / "text.npz")


def test_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"absent\.npz"):
        read_class_text(["wall"], tmp_path / "absent.npz")
    (tmp_path / "broken.npz").write_bytes(b"PK not really")
    with pytest.raises(UserError, match=r"broken.npz: cannot be read"):
        read_class_text(["wall"], tmp_path / "broken.npz")
    with pytest.raises(UserError, match="no folder"):
        read_class_text(["wall"], tmp_path / "no" / "such" / "model")
    with pytest.raises(UserError, match="no class names"):
        read_class_text([], tmp_path / "absent.npz")


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    """A tiny CLIP text encoder with a tokenizer of bytes."""
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

    folder = tmp_path_factory.mktemp("clip")
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    tokenizer = CLIPTokenizer(vocab={word: index for index, word in enumerate(words)}, merges=[])
    tokenizer.save_pretrained(folder)
    config = CLIPTextConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=16, projection_dim=8, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=40, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    torch.manual_seed(0)
    CLIPTextModelWithProjection(config).save_pretrained(folder)
    return folder


def test_a_clip_folder_gives_the_mean_of_its_projected_sentences(clip_folder):
    from transformers import AutoTokenizer, CLIPTextModelWithProjection

    found = read_class_text(["wall", "bed"], clip_folder, templates=("a [x]", "the [x]"))
    assert found.shape == (2, 8)
    model = CLIPTextModelWithProjection.from_pretrained(clip_folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(clip_folder)
    with torch.inference_mode():
        alone = [model(**tokenizer([s], return_tensors="pt")).text_embeds[0] for s in ("a bed", "the bed")]
    mean = sum(v / v.norm() for v in alone) / 2
    torch.testing.assert_close(found[1], mean / mean.norm(), atol=1e-5, rtol=1e-5)


def test_templates_without_a_place_for_the_class_are_refused(clip_folder):
    with pytest.raises(UserError, match=r"\[x\]"):
        read_class_text(["wall"], clip_folder, templates=("a photo",))
