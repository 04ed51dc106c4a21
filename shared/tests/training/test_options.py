import subprocess
import sys

import pytest

from nonet.errors import UserError
from nonet.options import build, dump, undocumented
from nonet.training.options import OptimizerOptions, TrainerOptions


@pytest.mark.parametrize("kind", [TrainerOptions, OptimizerOptions])
def test_every_option_has_help_and_survives_yaml(kind):
    import yaml

    assert undocumented(kind) == []
    assert build(kind, [(yaml.safe_load(dump(kind())), "dump")]) == kind()


def test_fp16_is_refused_with_the_reason():
    with pytest.raises(UserError, match=r"precision fp16: .*overflows in PEGASUS.*: use bf16"):
        TrainerOptions(precision="fp16")


@pytest.mark.parametrize(
    ("kind", "given", "says"),
    [
        (TrainerOptions, {"steps": 0}, "steps is 0; it is at least 1"),
        (TrainerOptions, {"accumulate": -1}, "accumulate is -1; it is at least 1"),
        (TrainerOptions, {"workers": -1}, "workers is -1; it is 0 or more"),
        (TrainerOptions, {"seed": 2**63}, "it is below 2"),
        (TrainerOptions, {"devices": 0}, "devices is 0; it is auto or at least 1"),
        (TrainerOptions, {"clip": 0.0}, "clip is 0; it is positive, or none"),
        (TrainerOptions, {"clip": float("nan")}, "clip is nan"),
        (OptimizerOptions, {"lr": 0.0}, "lr is 0; it is positive"),
        (OptimizerOptions, {"betas": (0.9, 1.0)}, "betas are 0.9 and 1"),
        (OptimizerOptions, {"weight_decay": -0.1}, "weight_decay is -0.1"),
        (OptimizerOptions, {"eps": 0.0}, "eps is 0"),
        (OptimizerOptions, {"warmup": -1}, "warmup is -1"),
    ],
)
def test_impossible_numbers_are_refused_by_name(kind, given, says):
    with pytest.raises(UserError, match=says):
        kind(**given)


def test_options_load_no_torch():
    heavy = "{'torch', 'lightning', 'numpy'}"
    code = f"import sys, nonet.training.options; sys.exit(len({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
