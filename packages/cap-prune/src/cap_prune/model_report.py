"""The account of one model: what is left in each layer, its cost by formula and as measured (ours)."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from cap_prune.architectures import model_type, units_of
from cap_prune.latency import time_models
from cap_prune.layer_counts import disk_bytes, layer_counts, memory_bytes, parameters, two_of_four
from cap_prune.layer_names import RECORD
from cap_prune.operations import head_cost
from cap_prune.remarks import remarks
from nonet.machine import machine, versions

OURS, DENSE = "this model", "dense, same shape"


def report(
    model: Any,
    *,
    folder: Path | None = None,
    batch: int = 1,
    length: int = 128,
    rounds: int = 7,
    threads: int | None = None,
    measure: bool = True,
) -> dict[str, Any]:
    """Count and time a model.

    Args:
        model: a supported encoder, dense or slim, on the device to measure.
        folder: where it was loaded from, for the bytes on disk.
        batch: texts at a time.
        length: pieces of a text.
        rounds: turns of the measurement.
        threads: CPU threads; None: as torch is set.
        measure: time it beside a dense model of the same shape with random weights.

    Returns:
        What is JSON: `type`, `layers`, `parameters` (with `remaining`, a share in 0..1), `bytes`, `macs` for
        one text, `latency` (milliseconds of a batch) or None, `remarks`, `machine`.

    Raises:
        UserError: an architecture that is not supported, or a length over the model's positions.
    """
    import torch

    layers, counted, outside = layer_counts(model, length), parameters(model), head_cost(model, length)
    where = next(model.parameters())
    timings = None
    if measure:
        models = {DENSE: dense_twin(model), OURS: model}
        timings = time_models(models, batch=batch, length=length, rounds=rounds, threads=threads)
    speed_up = None
    if timings is not None:
        ours = timings[OURS]
        speed_up = (ours.ratio, ours.ratio_low, ours.ratio_high)
    weights, everything = disk_bytes(folder) if folder is not None else (None, None)
    units = units_of(model)
    return {
        "type": model_type(model),
        "heads": {"live": units.live_heads, "of": units.layers * units.all_heads},
        "neurons": {"live": units.live_neurons, "of": units.layers * units.all_neurons},
        "layers": [asdict(each) | {"sparsity": each.sparsity} for each in layers],
        "parameters": asdict(counted) | {"remaining": counted.remaining},
        "bytes": {"weights on disk": weights, "folder on disk": everything, "in memory": memory_bytes(model)},
        "macs": {
            "length": length,
            "whole": sum(each.macs for each in layers) + outside,
            "dense": sum(each.dense_macs for each in layers) + outside,
        },
        "latency": None
        if timings is None
        else {
            "batch": batch,
            "length": length,
            "rounds": rounds,
            "threads": threads or torch.get_num_threads(),
            "device": where.device.type,
            "ms": {name: asdict(each) for name, each in timings.items()},
        },
        "remarks": remarks(
            layers, pattern=two_of_four(model), device=where.device.type, dtype_bytes=where.element_size(),
            batch=batch, length=length, speed_up=speed_up,
        ),
        "machine": machine() | {"versions": versions("cap_prune")},
    }  # fmt: skip


def dense_twin(model: Any) -> Any:
    """A model of the shape that this one had before pruning, with random weights, beside it on its device."""
    import torch
    from transformers import AutoConfig

    facts = model.config.to_dict()
    for name in (RECORD, "model_type", "architectures", "auto_map", "dtype", "transformers_version"):
        facts.pop(name, None)
    config = AutoConfig.for_model(model_type(model), **facts)
    where = next(model.parameters())
    with torch.random.fork_rng(devices=[]):
        twin = _class(model).from_config(config, attn_implementation=model.config._attn_implementation)
    return twin.to(device=where.device, dtype=where.dtype).eval()


def _class(model: Any) -> Any:
    from transformers import AutoModel, AutoModelForQuestionAnswering, AutoModelForSequenceClassification

    name = type(model).__name__
    for ending, kind in (
        ("ForSequenceClassification", AutoModelForSequenceClassification),
        ("ForQuestionAnswering", AutoModelForQuestionAnswering),
    ):
        if name.endswith(ending):
            return kind
    return AutoModel
