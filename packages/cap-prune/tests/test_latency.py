"""Timing by a clock that the tests turn, and the verb that times models beside each other."""

import json

import pytest
import torch

from cap_prune import latency, toy
from cap_prune.bench import OnnxRunner, TorchRunner, bench, runners
from cap_prune.devices import placed
from cap_prune.latency import Timing, take_turns, texts, time_models, with_threads
from cap_prune.terminal_tables import table
from nonet.errors import UserError


class Clock:
    """Time that passes only in calls."""

    def __init__(self, monkeypatch):
        self.now, self.called = 0.0, []
        monkeypatch.setattr(latency.time, "perf_counter", lambda: self.now)

    def job(self, name, *seconds):
        left = list(seconds)

        def call():
            self.called.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return call


def test_times_are_medians_of_the_turns_and_ratios_those_of_each_turn(monkeypatch):
    clock = Clock(monkeypatch)
    # two calls to warm up and one to find out how long it takes, then three turns
    first = clock.job("a", 1.0, 1.0, 1.0, 0.010, 0.030, 0.020)
    second = clock.job("b", 1.0, 1.0, 1.0, 0.005, 0.010, 0.020)
    found = take_turns({"a": first, "b": second}, rounds=3)
    assert found["a"] == Timing(20.0, 10.0, 30.0) or found["a"].median == pytest.approx(20)
    assert (found["b"].median, found["b"].least, found["b"].most) == pytest.approx((10, 5, 20))
    assert (found["b"].ratio, found["b"].ratio_low, found["b"].ratio_high) == pytest.approx((2, 1, 3))
    assert clock.called[6:] == ["a", "b", "b", "a", "a", "b"]


def test_short_calls_are_repeated_until_they_take_long_enough(monkeypatch):
    clock = Clock(monkeypatch)
    assert take_turns({"a": clock.job("a", 0.001)}, rounds=2, seconds=0.02)["a"].median == pytest.approx(1)
    assert len(clock.called) == 3 + 2 * 20


def test_a_verdict_needs_the_whole_range_on_one_side():
    assert Timing(1, 1, 1, 2, 1.1, 3).verdict == "faster"
    assert Timing(1, 1, 1, 0.5, 0.4, 0.9).verdict == "slower"
    assert Timing(1, 1, 1, 1.5, 0.9, 3).verdict == "no difference shown"


def test_threads_are_put_back_and_models_get_unpadded_texts():
    before = torch.get_num_threads()
    with with_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    model = toy.new_bert(layers=1)
    given = texts(model, 3, 7)
    assert given["input_ids"].shape == (3, 7)
    assert given["attention_mask"].all()
    assert given["input_ids"].max() < model.config.vocab_size


def test_models_are_timed_on_the_same_shape_and_left_in_evaluation_mode():
    models = {"a": toy.new_bert(layers=1).train(), "b": toy.new_bert(layers=1, width=16)}
    found = time_models(models, batch=2, length=8, rounds=2, threads=1, seconds=0)
    assert (found["a"].ratio, found["a"].ratio_low, found["a"].ratio_high) == (1, 1, 1)
    assert all(0 < each.least <= each.median <= each.most for each in found.values())
    assert not models["a"].training


def test_bench_gives_a_row_for_each_model_and_shape():
    model = TorchRunner(toy.new_bert(layers=1), "toy")
    rows = list(
        bench({"a": model, "b": model}, batches=(1, 2), lengths=(4,), threads=(1,), rounds=1, seconds=0)
    )
    assert [(row["model"], row["batch"]) for row in rows] == [("a", 1), ("b", 1), ("a", 2), ("b", 2)]
    assert rows[0]["times as fast"] is None
    assert rows[1]["times as fast"] == pytest.approx(rows[0]["ms"] / rows[1]["ms"])
    assert rows[2]["texts/s"] == pytest.approx(2000 / rows[2]["ms"])
    assert table(rows).splitlines()[0].split()[:3] == ["model", "batch", "length"]


def test_an_onnx_graph_is_timed_under_onnxruntime(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    shape = ["batch", "length"]
    names = ("input_ids", "attention_mask", "token_type_ids")
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.INT64, shape) for name in names]
    nodes = [
        onnx.helper.make_node("Mul", ["input_ids", "attention_mask"], ["kept"]),
        onnx.helper.make_node("Add", ["kept", "token_type_ids"], ["sum"]),
    ]
    output = onnx.helper.make_tensor_value_info("sum", onnx.TensorProto.INT64, shape)
    graph = onnx.helper.make_graph(nodes, "g", values, [output])
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9), tmp_path / "model.onnx")
    found = runners([str(tmp_path)])[str(tmp_path)]
    assert isinstance(found, OnnxRunner)
    (result,) = found.call(2, 5, 1)()
    assert result.shape == (2, 5)
    assert (result >= 5).all()


def test_what_cannot_be_timed_is_refused(tmp_path):
    with pytest.raises(UserError, match="rounds is 0"):
        take_turns({"a": lambda: None}, rounds=0)
    with pytest.raises(UserError, match="batch is 0"):
        time_models({"a": toy.new_bert(layers=1)}, batch=0, length=4)
    with pytest.raises(UserError, match="no model to time"):
        runners([])
    with pytest.raises(UserError, match="fp16 on the CPU"):
        placed(toy.new_bert(layers=1), "cpu", "fp16")
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="torch sees no GPU"):
            placed(toy.new_bert(layers=1), "cuda")


@pytest.fixture
def encoder(tmp_path):
    return toy.write_encoder(tmp_path / "encoder", layers=1)


def test_the_verbs_report_and_bench_print_and_write_their_pages(tmp_path, encoder, capsys, monkeypatch):
    from cap_prune.commands import bench as bench_verb
    from cap_prune.commands import report as report_verb

    monkeypatch.setenv("NONET_PROGRESS", "0")
    shape = {"length": 8, "rounds": 1, "threads": 1, "device": "cpu"}
    options = report_verb.Options(model=str(encoder), out=tmp_path / "report", **shape)
    for _ in range(2):  # a report replaces a report
        assert report_verb.run(options) == 0
    assert "Nothing is pruned" in capsys.readouterr().out
    assert json.loads((tmp_path / "report" / "report.json").read_text())["bytes"]["weights on disk"] > 0
    assert "<svg" in (tmp_path / "report" / "report.html").read_text()
    with pytest.raises(UserError, match="holds something else than a report"):
        report_verb.run(report_verb.Options(model=str(encoder), out=encoder))
    shape |= {"threads": (1,), "length": (8,), "batch": (1,)}
    other = toy.write_encoder(tmp_path / "other", layers=2)
    models = (str(encoder), str(other))
    assert bench_verb.run(bench_verb.Options(models=models, out=tmp_path / "bench", **shape)) == 0
    rows = json.loads((tmp_path / "bench" / "bench.json").read_text())["rows"]
    assert [row["model"] for row in rows] == list(models)
    assert "times as fast" in capsys.readouterr().out
    assert (tmp_path / "bench" / "report.html").read_text().count("<svg") == 1
    with pytest.raises(UserError, match="is named twice"):
        bench_verb.run(bench_verb.Options(models=(str(encoder), str(encoder)), **shape))
