"""Every benchmark of this package runs, at its smallest size, and checks that both contenders agree."""

import importlib
import importlib.util
import math

import pytest

from nonet.testing import benchmarks_of, check_tiny_benchmark, plain_pages

ROOT, NAMES = benchmarks_of("ponderv2")
PEERS = {"speed_sparse": "spconv"}


HERE = pytest.mark.skipif(not NAMES, reason="benchmarks are in the repository's checkout, which is not here")


@pytest.fixture
def experiment(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.ponderv2.experiment")


@HERE
@pytest.mark.parametrize("name", [
    pytest.param(name, marks=[pytest.mark.slow] if name.startswith("claim_") else []) for name in NAMES
])  # fmt: skip
def test_a_benchmark_runs_at_its_smallest_size(name, monkeypatch, tmp_path):
    if name in PEERS and importlib.util.find_spec(PEERS[name]) is None:
        pytest.skip(f"{name} compares with {PEERS[name]}, which is not installed")
    with plain_pages():
        check_tiny_benchmark("ponderv2", name, "ponderv2", tmp_path, monkeypatch)


class Counted:
    """A data set of three scenes that remembers what was asked of it."""

    seed = 0

    def __init__(self):
        self.asked = []

    def __len__(self):
        return 3

    def __getitem__(self, key):
        self.asked.append(key)
        return key


@HERE
def test_longer_arms_draw_afresh_and_share_what_was_made(experiment):
    data = Counted()
    short = experiment.Passes(data, 3, kept=2)
    short.fill(6)
    assert sorted(data.asked) == [(kept, scene) for kept in range(2) for scene in range(3)]
    short.with_kept(4).fill(12)
    assert sorted(data.asked) == [(kept, scene) for kept in range(4) for scene in range(3)]


@HERE
def test_p_of_paired_differences_is_student_s(experiment):
    t = 2 / (1 / math.sqrt(3))
    assert experiment.paired_p([1.0, 2.0, 3.0]) == pytest.approx(1 - t / math.sqrt(t * t + 2))  # 2 degrees
    assert experiment.paired_p([-1.0, -2.0, -3.0]) == experiment.paired_p([1.0, 2.0, 3.0])
    assert experiment.paired_p([1.0, -1.0]) == pytest.approx(1.0)
    assert experiment.paired_p([5.0]) is None


@HERE
def test_only_the_primary_contrast_keeps_its_p(experiment):
    first, none = [10.0, 11.0, 12.5], [0.0, 0.0, 0.0]
    one = experiment.Contrast("a", first, none)
    rows = experiment.contrast_rows([one, one._replace(name="b"), one._replace(name="c", higher=False)])
    assert [row["kind"] for row in rows] == ["primary", "secondary", "secondary"]
    assert [row["verdict"] for row in rows] == ["better", "better", "worse"]
    p = experiment.paired_p(first)
    assert [row["p"] for row in rows] == [f"{p:.3f}", f"{2 * p:.3f}", f"{2 * p:.3f}"]
    (row,) = experiment.contrast_rows([experiment.Contrast("a", [3.0], [1.0])])
    assert row == {"name": "a", "kind": "primary", "difference": "+2.0", "each seed": "+2.0"}


@HERE
def test_a_control_that_was_cheaper_than_pre_training_is_refused(experiment):
    found = [{"seconds": {"long": 50.0, "pre": 100.0}}, {"seconds": {"long": 60.0, "pre": 120.0}}]
    experiment.check_cost(found, "pre", "long")
    with pytest.raises(ValueError, match=r"55 CPU s .* 110: .* factor of 2\.00"):
        experiment.check_cost(found, "long", "pre")
