"""The patch detector."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nonet.vision_language.patch_detector import PatchDetector, detector_from_released


@pytest.fixture
def detector() -> PatchDetector:
    torch.manual_seed(0)
    return PatchDetector(32, text_width=24)


def unfactorised(detector: PatchDetector, patches: Tensor, text: Tensor) -> Tensor:
    """Text, mean and patch side by side for every pair, as the released code does it."""
    u = F.gelu(F.linear(F.layer_norm(patches, (32,)), detector.inner.weight, detector.inner.bias))
    N = patches.shape[1]
    mean = u[:, :, 16:].mean(1, keepdim=True).expand(-1, N, -1)
    z = torch.cat([u[:, :, :16], mean, text[:, None].expand(-1, N, -1)], dim=-1)
    first, second = detector.rest[1], detector.rest[3]
    hidden = F.gelu(F.linear(z, detector.joint.weight, detector.joint.bias))
    return F.linear(F.gelu(F.linear(hidden, first.weight, first.bias)), second.weight, second.bias)


def test_it_has_as_many_parameters_as_the_released_one_at_width_768() -> None:
    with torch.device("meta"):
        detector = PatchDetector(768)
    assert sum(value.numel() for value in detector.parameters()) == 1_256_642


def test_a_sum_of_parts_gives_what_the_long_vector_gives(detector: PatchDetector) -> None:
    patches, text = torch.randn(5, 9, 32), torch.randn(5, 24)
    assert torch.allclose(detector(patches, text), unfactorised(detector, patches, text), atol=1e-6)


def test_many_texts_of_one_image_are_joined_with_its_part(detector: PatchDetector) -> None:
    patches, text = torch.randn(2, 9, 32), torch.randn(5, 24)
    of_image = torch.tensor([1, 0, 1, 1, 0])
    expected = unfactorised(detector, patches[of_image], text)
    assert torch.allclose(detector(patches, text, of_image), expected, atol=1e-6)
    everyone = detector.join(detector.image_part(patches)[:, None], detector.text_part(text))
    assert everyone.shape == (2, 5, 9, 2)
    assert torch.allclose(everyone[of_image, torch.arange(5)], expected, atol=1e-6)


def test_scores_are_the_probability_of_the_second_class(detector: PatchDetector) -> None:
    logits = torch.tensor([[0.0, 0.0], [0.0, torch.log(torch.tensor(3.0))]])
    assert detector.score(logits).tolist() == pytest.approx([0.5, 0.75])
    assert torch.allclose(detector.log_score(logits), detector.score(logits).log())


def test_patches_change_places_with_their_logits(detector: PatchDetector) -> None:
    patches, text = torch.randn(3, 9, 32), torch.randn(3, 24)
    order = torch.randperm(9)
    assert torch.allclose(detector(patches[:, order], text), detector(patches, text)[:, order], atol=1e-6)


def test_gradients_reach_the_patches_and_the_text(detector: PatchDetector) -> None:
    patches = torch.randn(1, 4, 32, requires_grad=True)
    text = torch.randn(1, 24, requires_grad=True)
    detector(patches, text).sum().backward()
    assert patches.grad.abs().sum() > 0
    assert text.grad.abs().sum() > 0


def released(detector: PatchDetector) -> dict[str, Tensor]:
    names = {"norm": "in_conv.0", "inner": "in_conv.1", "joint": "out_conv.0", "rest.1": "out_conv.2"}
    names["rest.3"] = "softmax_output.0"
    return {
        f"{names[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}": value
        for name, value in detector.state_dict().items()
    }


def test_weights_under_the_released_names_are_taken(detector: PatchDetector) -> None:
    patches, text = torch.randn(2, 9, 32), torch.randn(2, 24)
    found = detector_from_released(released(detector))
    assert torch.equal(found(patches, text), detector(patches, text))


def test_other_weights_are_refused(detector: PatchDetector) -> None:
    weights = released(detector)
    del weights["softmax_output.0.bias"]
    with pytest.raises(
        ValueError, match=r"not the weights of a patch detector: softmax_output\.0\.bias missing"
    ):
        detector_from_released(weights)
    weights = released(detector) | {"out_conv.2.weight": torch.zeros(3, 3)}
    with pytest.raises(ValueError, match="not the weights of a patch detector"):
        detector_from_released(weights)


def test_a_width_that_cannot_be_halved_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="width is 30"):
        PatchDetector(30)
