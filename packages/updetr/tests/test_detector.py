"""The detector: its parts' sizes and beginnings, padding, fewer queries, maps that were computed before."""

import pytest
import torch

from nonet.testing import normal
from updetr.batches import Images
from updetr.detector import Detector, parameter_count
from updetr.detector_config import DetectorConfig
from updetr.query_patches import PatchDetector

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
    sizes = {"queries": 12, "patches": 4, "labels": ("cell", "cup", "dog")}
    return Detector(DetectorConfig(**TINY, **{**sizes, **changes})).eval()


@pytest.fixture(scope="module")
def detector():
    return build()


@pytest.fixture(scope="module")
def images():
    mask = torch.ones(2, 64, 96, dtype=torch.bool)
    mask[1, 48:], mask[1, :, 64:] = False, False
    return Images(normal(2, 3, 64, 96) * mask[:, None], mask)


def test_there_is_an_answer_of_every_query_after_every_layer(detector, images):
    logits, boxes, features = detector(images)
    assert (logits.shape, boxes.shape, features) == ((2, 2, 12, 4), (2, 2, 12, 4), None)
    assert 0 < boxes.min() < boxes.max() < 1


@pytest.mark.parametrize("arch", ["detr", "detr-prenorm"])
def test_what_is_in_the_padding_changes_nothing(arch, images):
    detector = build(arch=arch)
    maps = detector.backbone(images.pixels)
    other = maps[0].clone()
    other[1, :, 3:], other[1, :, :, 4:] = 7.0, -7.0  # 48 and 64 pixels
    first = detector.decode(detector.encode_maps(maps, images.mask))
    second = detector.decode(detector.encode_maps((other,), images.mask))
    torch.testing.assert_close(first, second)


def test_an_image_says_the_same_alone_and_beside_a_larger_one(detector, images):
    maps = detector.backbone(images.pixels)
    cut = (maps[0][1:, :, :3, :4],)
    alone = detector.decode(detector.encode_maps(cut, torch.ones(1, 48, 64, dtype=torch.bool)))
    together = detector.decode(detector.encode_maps(maps, images.mask))
    torch.testing.assert_close(alone.boxes, together.boxes[:, 1:])
    torch.testing.assert_close(alone.logits, together.logits[:, 1:])


def test_maps_computed_before_give_the_same_with_either_mask(detector, images):
    maps = detector.backbone(images.pixels)
    wanted = detector(images)
    small = images.mask[:, ::16, ::16]
    for mask in (images.mask, small):
        torch.testing.assert_close(detector.decode(detector.encode_maps(maps, mask)), wanted)


def test_the_first_queries_alone_say_what_they_would_without_others(detector, images):
    memory = detector.encode(images)
    few = detector.decode(memory, queries=6, groups=2)
    all_of_them = detector.decode(memory, groups=4)
    torch.testing.assert_close(few.boxes, all_of_them.boxes[:, :, :6])


def test_an_order_of_the_queries_is_an_order_of_the_answers(detector, images):
    memory = detector.encode(images)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(
        detector.decode(memory, order=order).boxes, detector.decode(memory).boxes[:, :, order]
    )


def test_what_is_added_to_the_queries_is_where_they_ask(images):
    detector = build()
    memory = detector.encode(images)
    extra = normal(1, 12, 16).expand(2, -1, -1)
    told = detector.decode(memory, query_extra=extra)
    with torch.no_grad():
        detector.query_embed.weight.add_(extra[0])
    torch.testing.assert_close(told, detector.decode(memory))


def test_states_are_what_the_heads_answer_from(detector, images):
    outputs, states = detector.decode_with_states(detector.encode(images))
    assert states.shape == (2, 2, 12, 16)
    torch.testing.assert_close(detector.class_embed(states[1]), outputs.logits[1])


def test_queries_begin_as_standard_normal_and_not_as_transformers_has_them():
    weight = build(queries=400).query_embed.weight
    assert weight.std().item() == pytest.approx(1, abs=0.03)


def test_the_released_model_has_42_62_million_numbers_of_which_19_16_learn():
    labels = ("never used", "patch")  # as in the released files
    with torch.device("meta"):
        model = PatchDetector(Detector(DetectorConfig(labels=labels)))
    assert len(model.state_dict()) == 466
    assert round(parameter_count(model) / 1e6, 2) == 42.62
    model.detector.backbone.freeze()
    assert round(parameter_count(model, trainable=True) / 1e6, 2) == 19.16


def test_boxes_are_said_in_full_precision_under_autocast(detector, images):
    with torch.autocast("cpu", torch.bfloat16):
        outputs, states = detector.decode_with_states(detector.encode(images))
    assert (states.dtype, outputs.logits.dtype, outputs.boxes.dtype) == (torch.float32,) * 3
    torch.testing.assert_close(outputs.boxes, detector(images).boxes, atol=0.05, rtol=0)


def test_other_architectures_are_built_elsewhere():
    with pytest.raises(ValueError, match="rt-detr is built by updetr"):
        build(arch="rt-detr")
