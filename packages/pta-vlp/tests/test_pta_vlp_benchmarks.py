"""Every benchmark of this package runs, at its smallest size, and checks that both contenders agree."""

import pytest

from nonet.testing import benchmarks_of, check_tiny_benchmark

_, NAMES = benchmarks_of("pta_vlp")


@pytest.mark.skipif(not NAMES, reason="benchmarks are in the repository's checkout, which is not here")
@pytest.mark.parametrize("name", [
    pytest.param(name, marks=[pytest.mark.slow] if name.startswith("claim_") else []) for name in NAMES
])  # fmt: skip
def test_a_benchmark_runs_at_its_smallest_size(name, monkeypatch, tmp_path):
    check_tiny_benchmark("pta_vlp", name, "pta-vlp", tmp_path, monkeypatch)
