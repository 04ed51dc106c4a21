"""benchmarks/: timing, weighing, keeping and rendering of results."""

import json
import re
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from benchmarks import circumstances, harness, render
from benchmarks.harness import Disagreement, peak_memory, save, table, versus

MIB = 2**20


def busy(seconds):
    """Use up CPU time: sleeping would not count."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
    return 1


def equal(ours, peer):
    return ours == peer


def test_ratio_says_how_many_times_faster_ours_is():
    row = versus("busy", partial(busy, 0.004), partial(busy, 0.02), equal, rounds=3, min_seconds=0.02)
    assert row["ratio"] == pytest.approx(5, rel=0.2)
    assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
    assert row["noise_low"] == pytest.approx(1, abs=0.3)
    assert row["verdict"] == "faster"
    assert row["ours_seconds"] == pytest.approx(0.004, rel=0.2)
    assert row["peer_seconds"] == pytest.approx(0.02, rel=0.2)
    assert row["calls"][0] >= 5
    assert row["calls"][1] >= 1


def test_sleep_is_no_cpu_time_but_shows_on_the_wall_clock():
    row = versus(
        "sleep",
        partial(busy, 0.01),
        lambda: (busy(0.01), time.sleep(0.3))[0],
        equal,
        rounds=1,
        min_seconds=0,
    )
    assert row["ratio"] == pytest.approx(1, rel=0.3)
    assert row["wall_ratio"] > 3


def test_turns_are_ours_peer_ours_and_long_work_is_not_repeated():
    turns = []
    versus("order", lambda: turns.append("o"), lambda: turns.append("p"), equal, rounds=2, min_seconds=0)
    assert "".join(turns) == "op" + 2 * "opo"  # the first two are compared, not timed


def test_rates_are_units_a_call_over_seconds():
    row = versus(
        "r", lambda: busy(0.01), lambda: busy(0.01), equal, rounds=1, min_seconds=0, unit="docs", per_call=50
    )
    assert row["ours_per_second"] == pytest.approx(5000, rel=0.2)
    assert "docs/s" in table([row])


@pytest.mark.parametrize(
    ("answer", "text"), [(False, "sums: the results differ$"), ("3 is not 4", "sums: .*: 3 is not 4$")]
)
def test_nothing_is_timed_when_results_differ(answer, text):
    with pytest.raises(Disagreement, match=text):
        versus("sums", lambda: 3, lambda: 4, lambda ours, peer: answer)


def test_a_comparison_that_forgets_to_answer_is_no_agreement():
    with pytest.raises(TypeError, match="same\\(\\) returned None; return True"):
        versus("sums", lambda: 3, lambda: 4, lambda ours, peer: None)


def test_rounds_and_units_are_checked():
    with pytest.raises(ValueError, match="0 rounds; at least one"):
        versus("x", int, int, equal, rounds=0)
    with pytest.raises(ValueError, match="unit and per_call go together"):
        versus("x", int, int, equal, unit="docs")


@pytest.mark.parametrize(
    ("ratios", "noise", "verdict"),
    [
        ([1.3, 1.6, 1.5], [0.9, 1.2, 1.0], "faster"),
        ([1.15, 1.6, 1.5], [0.9, 1.2, 1.0], "no difference shown"),  # inside the noise
        ([1.15, 1.6, 1.5], [0.8, 1.0, 1.0], "no difference shown"),  # 1 / 0.8 is noise as well
        ([0.9, 2.0, 2.0], [1.0, 1.0, 1.0], "no difference shown"),
        ([0.5, 0.7, 0.6], [0.9, 1.1, 1.0], "slower"),
        ([1.0, 1.0, 1.0], [1.0, 1.0, 1.0], "no difference shown"),
        ([5.0, 5.0], [1.0, 1.0], "too few rounds"),
    ],
)
def test_a_claim_needs_the_whole_range_outside_the_noise(ratios, noise, verdict):
    assert harness._verdict(ratios, noise) == verdict


def hold(mib):
    return len(b"\1" * (mib * MIB))


def hold_after(prepared, mib):
    return hold(mib) + len(prepared)


def prepared(mib):
    hold(2 * mib)  # a peak of its own, which is not the call's
    return b"\1" * (mib * MIB)


def fails():
    raise OSError("no such thing")


def test_peak_memory_is_what_the_call_takes():
    assert peak_memory(hold, 64) == pytest.approx(64, abs=4)


def test_peak_memory_leaves_out_preparation_and_the_parent():
    ballast = b"\1" * (200 * MIB)
    assert peak_memory(hold_after, 40, prepare=partial(prepared, 48)) == pytest.approx(40, abs=4)
    del ballast


def test_peak_memory_hands_errors_on():
    with pytest.raises(RuntimeError, match="fails failed: OSError: no such thing"):
        peak_memory(fails)
    with pytest.raises(TimeoutError, match="busy took longer than 0"):
        peak_memory(busy, 60, timeout=0.5)


def test_save_replaces_rows_of_the_same_name_and_keeps_the_others(tmp_path, monkeypatch):
    path = save("p", [{"name": "a", "x": 1}, {"name": "b", "x": 2}], folder=tmp_path, data="first")
    save("p", [{"name": "b", "x": 3}, {"name": "c", "x": 4}], folder=tmp_path, data="second", seed=7)
    save("p", [{"name": "a", "x": 5}], table="claim", folder=tmp_path, data="second", seed=7)
    kept = json.loads(path.read_text())
    assert path == tmp_path / "p.json"
    assert [(row["name"], row["x"]) for row in kept["tables"]["speed"]] == [("a", 1), ("b", 3), ("c", 4)]
    assert [kept["runs"][row["run"]]["data"] for row in kept["tables"]["speed"]] == [
        "first",
        "second",
        "second",
    ]
    assert len(kept["runs"]) == 2
    run = kept["runs"][kept["tables"]["claim"][0]["run"]]
    assert run["seed"] == 7
    assert run["versions"]["numpy"]
    assert set(run["machine"]) >= {"cpu", "cores", "torch_threads", "gpu", "memory_gib"}
    save("p", [{"name": "a", "x": 6}], folder=tmp_path, data="third")
    assert "first" not in path.read_text(), "circumstances that no row needs go"
    assert [file.name for file in tmp_path.iterdir()] == ["p.json"]


def test_save_refuses_rows_that_it_could_not_tell_apart(tmp_path):
    with pytest.raises(ValueError, match="needs a name of its own"):
        save("p", [{"name": "a"}, {"name": "a"}], folder=tmp_path)
    with pytest.raises(ValueError, match="needs a name of its own"):
        save("p", [{"x": 1}], folder=tmp_path)


def test_the_command_names_no_folder_of_this_machine(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x", str(harness.ROOT / "a" / "b.txt"), "/elsewhere/c.txt", "--fast"])
    command = circumstances.circumstances()["command"]
    assert command.endswith(" a/b.txt c.txt --fast")


def test_table_of_a_timing_and_of_other_rows():
    row = {
        "name": "job", "ours_seconds": 0.0012, "peer_seconds": 3.0, "ratio": 2500.0, "ratio_low": 2400.0,
        "ratio_high": 2600.0, "noise_low": 0.95, "noise_high": 1.05, "verdict": "faster", "memory MiB": 12.0,
    }  # fmt: skip
    assert table([row]).splitlines() == [
        "| what | ours | peer | ours is x times as fast | noise | verdict | memory MiB |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| job | 1.20 ms | 3.00 s | 2500.00 (2400.00-2600.00) | 0.95-1.05 | faster | 12.0 |",
    ]
    assert table(
        [{"name": "a", "n": 12345.6}, {"name": "b|c", "more": None, "run": "run-1"}]
    ).splitlines() == [
        "| name | n | more |",
        "| --- | ---: | ---: |",
        "| a | 12,346 |  |",
        "| b\\|c |  |  |",
    ]
    assert table([]) == "(no rows)"


README = "# A\n\n<!-- results p:speed -->\nold\n<!-- end -->\n\ntext\n"


def test_render_puts_the_table_between_the_marks_and_check_only_looks(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(README)
    save("p", [{"name": "a", "x": 1}], folder=tmp_path, data="toy data")
    assert render.render(readme, check=True, results=tmp_path)
    assert readme.read_text() == README
    assert render.render(readme, results=tmp_path)
    text = readme.read_text()
    assert text.startswith("# A\n\n<!-- results p:speed -->\n| name | x |\n")
    assert text.endswith("\n<!-- end -->\n\ntext\n")
    assert "old" not in text
    assert "data: toy data" in text
    assert re.search(r"\d cores, \d+ GiB; load \d+\.\d at the start; python 3", text)
    assert not render.render(readme, results=tmp_path), "a second time there is nothing to do"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("<!-- results q:speed -->\n<!-- end -->\n", "q.json is missing"),
        ("<!-- results p:nothing -->\n<!-- end -->\n", "no table 'nothing', only speed"),
        ("<!-- results p:speed -->\n", "no '<!-- end -->' line"),
        ("<!-- results p:speed -->\n<!-- results p:speed -->\n<!-- end -->\n", "no '<!-- end -->' line"),
    ],
)
def test_render_refuses_marks_that_it_cannot_fill(tmp_path, text, error):
    save("p", [{"name": "a"}], folder=tmp_path)
    readme = tmp_path / "README.md"
    readme.write_text(text)
    with pytest.raises(render.StaleResults, match=error):
        render.render(readme, results=tmp_path)
    assert readme.read_text() == text


def test_the_check_fails_for_a_stale_readme_and_a_plain_one_passes(tmp_path, capsys):
    stale, plain = tmp_path / "stale.md", tmp_path / "plain.md"
    stale.write_text("<!-- results p:speed -->\n")
    plain.write_text("# B\n")
    assert render.main(["--check", str(plain)]) == 0
    assert render.main(["--check", str(stale)]) == 1
    assert "stale.md" in capsys.readouterr().err


def test_the_readmes_say_what_the_results_say():
    assert render.main(["--check"]) == 0, "run python -m benchmarks.render"


def test_importing_the_harness_is_cheap():
    code = "import sys, benchmarks.harness; print(sorted({'torch', 'numpy'} & set(sys.modules)))"
    root = Path(harness.__file__).parents[1]
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert ran.stdout.strip() == "[]"


def test_the_loss_benchmark_runs(capsys):
    from benchmarks.pegasus import speed_loss

    (row,) = speed_loss.main(tiny=True)
    assert row["name"] == "loss, 16 x 8, V = 101, float32, cpu, 40% padding"
    assert row["name"] in capsys.readouterr().out


@pytest.mark.parametrize("broken", [0, 1, 2])
def test_the_loss_benchmark_sees_a_difference(broken):
    from benchmarks.pegasus import speed_loss

    given = speed_loss.inputs(speed_loss.TINY)
    right = speed_loss.step(given, speed_loss.peer)
    wrong = [part if isinstance(part, float) else part.clone() for part in right]
    wrong[broken] = wrong[broken] * 1.001
    assert speed_loss.same(tuple(wrong), right) is not True
    assert speed_loss.same(right, right) is True


@pytest.mark.slow
def test_the_loss_takes_one_chunk_at_a_time():
    from benchmarks.pegasus import speed_loss

    from nonet.kernels.linear_cross_entropy import CHUNK_BYTES

    case = speed_loss.Case(rows=16_384, width=8, vocabulary=4096, padding=0)  # two chunks
    chunk, logits = CHUNK_BYTES["cpu"] / MIB, 16_384 * 4096 * 4 / MIB
    assert logits == 2 * chunk
    # the kernel counts resident memory in pages, some of which were there before
    assert 0.98 * chunk < speed_loss.memory(case, speed_loss.ours) < 1.2 * chunk
    assert speed_loss.memory(case, speed_loss.peer) > 2 * logits
