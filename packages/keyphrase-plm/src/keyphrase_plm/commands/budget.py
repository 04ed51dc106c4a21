"""List the encoder-decoder shapes that fit a budget of parameters."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Options:
    """List the shapes of two BERTs, encoder + decoder layers x width, that fit a budget of parameters."""

    parameters: str
    """the most, as 150M, 1.2B or 143397690"""
    least: float = 0.9
    """leave out shapes that use less than this share of the budget, 0 to 1"""
    widths: tuple[int, ...] = (128, 256, 512, 768)
    """widths to look at"""
    encoder: tuple[int, ...] = (2, 4, 6, 8, 10, 12)
    """numbers of encoder layers to look at"""
    decoder: tuple[int, ...] = (2, 4, 6, 8, 10, 12)
    """numbers of decoder layers to look at"""
    vocabulary: int = 30522
    """words of the tokenizer"""
    positions: int = 512
    """longest input in pieces"""
    equal: bool = False
    """also say how wide the feed-forward layers must be for exactly the budget: a comparison at equal size"""
    measure: bool = False
    """write with random weights on this machine's CPU and say how long that takes"""
    batch: int = 1
    """documents at a time, for --measure; decoder depth matters most at 1"""
    written: int = 32
    """tokens written, for --measure"""
    json: bool = False
    """print JSON lines instead of a table"""

    def __post_init__(self) -> None:
        from nonet.errors import UserError

        if not 0 <= self.least <= 1:
            raise UserError(f"least is {self.least:g}; it lies in 0 to 1")
        for name in ("widths", "encoder", "decoder"):
            if min(getattr(self, name), default=0) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it holds numbers of at least 1")
        for name in ("batch", "written"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it is at least 1")


def run(options: Options) -> int:
    """Print the shapes, largest first."""
    import json

    from keyphrase_plm.budgets import count, shapes_within
    from nonet.errors import UserError

    most = count(options.parameters)
    found = shapes_within(
        most, least=round(options.least * most), widths=options.widths, encoders=options.encoder,
        decoders=options.decoder, vocabulary=options.vocabulary, positions=options.positions,
    )  # fmt: skip
    if not found:
        raise UserError(
            f"no shape has {options.least:.0%} to 100 % of {most:,} parameters; lower --least, or give other "
            "--widths"
        )
    rows = [_row(options, shape, size, most) for shape, size in found]
    if options.json:
        for row in rows:
            print(json.dumps(row))
        return 0
    print(
        f"{len(rows)} shapes of {options.least:.0%} to 100 % of {most:,} parameters, vocabulary counted twice"
    )
    names = list(rows[0])
    cells = [
        [f"{value:,}" if isinstance(value, int) else str(value) for value in row.values()] for row in rows
    ]
    widths = [max(len(name), *(len(row[i]) for row in cells)) for i, name in enumerate(names)]
    for line in [names, *cells]:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))
    return 0


def _row(options: Options, shape: Any, size: int, most: int) -> dict[str, Any]:
    from keyphrase_plm.budgets import equal_size

    row: dict[str, Any] = {
        "width": shape.hidden, "encoder": shape.encoder, "decoder": shape.decoder, "parameters": size,
        "share": round(size / most, 3),
    }  # fmt: skip
    if options.equal:
        row["feed-forward at equal size"] = equal_size([shape], most)[0].feed_forward
    if options.measure:
        from keyphrase_plm.shape_latency import seconds

        row[f"ms, batch {options.batch}"] = round(
            1000
            * seconds(shape, batch=options.batch, written=options.written, source=min(128, shape.positions)),
            1,
        )
    return row
