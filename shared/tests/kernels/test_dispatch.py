"""Which form of a kernel runs."""

import pytest
import torch

from nonet.errors import UserError
from nonet.kernels.dispatch import backend


class OnCuda:
    """As much of a CUDA tensor as the choice looks at."""

    is_cuda, device = True, "cuda:0"


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    monkeypatch.delenv("NONET_KERNELS", raising=False)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)


def test_the_device_decides(monkeypatch):
    monkeypatch.setattr("nonet.kernels.dispatch._triton_is_installed", lambda: True)
    assert backend(torch.zeros(1)) == "reference"
    assert backend(OnCuda()) == "triton"


def test_cuda_without_triton_takes_the_reference_unless_it_must_not(monkeypatch):
    monkeypatch.setattr("nonet.kernels.dispatch._triton_is_installed", lambda: False)
    assert backend(OnCuda()) == "reference"
    monkeypatch.setenv("NONET_KERNELS", "triton")
    assert backend(OnCuda()) == "triton"


def test_the_environment_overrides(monkeypatch):
    monkeypatch.setenv("NONET_KERNELS", "reference")
    assert backend(OnCuda()) == "reference"
    monkeypatch.setenv("NONET_KERNELS", "triton")
    with pytest.raises(UserError, match="the tensors are on cpu: use CUDA, or leave it out"):
        backend(torch.zeros(1))
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert backend(torch.zeros(1)) == "triton"


def test_an_unknown_word_is_refused(monkeypatch):
    monkeypatch.setenv("NONET_KERNELS", "Triton")
    with pytest.raises(UserError, match="NONET_KERNELS=Triton: say reference or triton"):
        backend(torch.zeros(1))
