"""The device that work outside training runs on."""

import pytest
import torch

from nonet.errors import UserError
from nonet.training.devices import pick_device


@pytest.mark.parametrize("name", ["cuda:99", "abacus"])
def test_a_device_that_is_not_there_is_refused(name):
    with pytest.raises(UserError, match=f"device '{name}' cannot be used here"):
        pick_device(name)


def test_auto_is_the_first_gpu_or_the_cpu():
    assert pick_device() == ("cuda" if torch.cuda.is_available() else "cpu")
    assert pick_device("cpu") == "cpu"
