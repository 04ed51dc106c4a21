"""Every benchmark of this package runs, at its smallest size, and checks that both contenders agree."""

import importlib.util

import pytest

from nonet.testing import benchmarks_of, check_tiny_benchmark

_, NAMES = benchmarks_of("ponderv2")
PEERS = {"speed_sparse": "spconv"}


@pytest.mark.skipif(not NAMES, reason="benchmarks are in the repository's checkout, which is not here")
@pytest.mark.parametrize("name", [
    pytest.param(name, marks=[pytest.mark.slow] if name.startswith("claim_") else []) for name in NAMES
])  # fmt: skip
def test_a_benchmark_runs_at_its_smallest_size(name, monkeypatch, tmp_path):
    if name in PEERS and importlib.util.find_spec(PEERS[name]) is None:
        pytest.skip(f"{name} compares with {PEERS[name]}, which is not installed")
    check_tiny_benchmark("ponderv2", name, "ponderv2", tmp_path, monkeypatch)
