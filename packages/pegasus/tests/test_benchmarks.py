"""Every benchmark of this package runs, at its smallest size, and checks that both contenders agree."""

import importlib
import inspect
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "benchmarks" / "pegasus"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem.startswith(("speed_", "claim_")))
PEERS = {"speed_gsg": "rouge_score", "speed_rouge": "rouge_score"}


@pytest.mark.skipif(not NAMES, reason="benchmarks are in the repository's checkout, which is not here")
@pytest.mark.parametrize("name", [
    pytest.param(name, marks=[pytest.mark.slow] if name.startswith("claim_") else []) for name in NAMES
])  # fmt: skip
def test_a_benchmark_runs_at_its_smallest_size(name, monkeypatch, tmp_path, capsys):
    if name in PEERS:
        pytest.importorskip(PEERS[name], reason=f"{name} compares with {PEERS[name]}")
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.setenv("NONET_PROGRESS", "0")
    monkeypatch.chdir(tmp_path)
    kept = ROOT / "benchmarks" / "results" / "pegasus.json"
    before = kept.stat().st_mtime_ns if kept.exists() else None
    module = importlib.import_module(f"benchmarks.pegasus.{name}")
    assert "tiny" in inspect.signature(module.main).parameters
    rows = module.main(tiny=True)
    if not rows:
        pytest.skip(capsys.readouterr().out.strip() or f"{name} has no data here")
    assert all(row["name"] for row in rows)
    assert (kept.stat().st_mtime_ns if kept.exists() else None) == before, "a tiny run keeps no results"
    assert "benchmarks.harness" in sys.modules
