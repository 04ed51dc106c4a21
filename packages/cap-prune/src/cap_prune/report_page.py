"""The report of a model as one HTML page with pictures."""

from pathlib import Path
from typing import Any

from nonet.report import Page


def write_page(found: dict[str, Any], name: str, path: Path) -> Path:
    """Write the page of what `cap_prune.model_report.report` found; gives the path.

    Args:
        found: the report.
        name: of the model, for the title.
        path: of the HTML file.
    """
    heads, neurons, macs = found["heads"], found["neurons"], found["macs"]
    page = Page(
        f"What is left of {name}",
        f"{found['type']}: {heads['live']:,} of {heads['of']:,} heads, {neurons['live']:,} of "
        f"{neurons['of']:,} neurons; {found['parameters']['remaining']:.1%} of the encoder's parameters.",
    )
    page.text("\n".join(f"- {remark}" for remark in found["remarks"]))
    page.bars(
        f"Live heads per layer, of {found['layers'][0]['all_heads']}",
        {f"layer {each['layer']}": float(each["heads"]) for each in found["layers"]},
        unit="heads",
    )
    page.bars(
        f"Live neurons per layer, of {found['layers'][0]['all_neurons']:,}",
        {f"layer {each['layer']}": float(each["neurons"]) for each in found["layers"]},
        unit="neurons",
    )
    page.bars(
        "Weights of each layer's matrices that are gone or 0",
        {f"layer {each['layer']}": 100 * each["sparsity"] for each in found["layers"]},
        unit="% of the dense layer",
    )
    if found["latency"] is not None:
        latency = found["latency"]
        page.bars(
            f"Latency of a batch of {latency['batch']} at length {latency['length']}, median, least and most "
            f"of {latency['rounds']} turns on {latency['device']}, {latency['threads']} threads",
            {key: (each["median"], each["least"], each["most"]) for key, each in latency["ms"].items()},
            unit="ms",
        )
    page.bars(
        f"Multiplications of one text of {macs['length']} pieces, by formula",
        {"dense": macs["dense"] / 1e6, "this model": macs["whole"] / 1e6},
        unit="million MACs",
    )
    page.table(layer_rows(found), caption="Layer by layer")
    page.table(
        [
            {"what": key.replace("_", " "), "number": value}
            for key, value in (found["parameters"] | found["bytes"]).items()
            if value is not None
        ],
        caption="Parameters and bytes",
    )
    processor = found["machine"]
    gpus = ", ".join(processor["gpus"]) or "no GPU"
    page.text(f"Measured on {processor['cpu']}, {processor['cores']} cores, {gpus}.")
    return page.save(path)


def layer_rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each layer, for a table."""
    return [
        {
            "layer": each["layer"],
            "heads": f"{each['heads']}/{each['all_heads']}",
            "neurons": f"{each['neurons']}/{each['all_neurons']}",
            "weights": each["weights"],
            "not 0": each["nonzero"],
            "sparsity %": round(100 * each["sparsity"], 1),
            "million MACs": round(each["macs"] / 1e6, 3),
        }
        for each in found["layers"]
    ]
