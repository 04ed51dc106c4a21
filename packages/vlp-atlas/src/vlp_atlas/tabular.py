"""What queries give: tables and comparisons, of plain values (ours)."""

from dataclasses import dataclass, field
from typing import Any

from nonet.errors import needs

__all__ = ["Comparison", "Table"]


@dataclass
class Table:
    """Rows of plain values.

    Attributes:
        columns: names, in order.
        rows: a value for each column; also `id`, `kind` and `_facts` (column -> fact, with its sources).
        footer: what a reader must know: what is hidden, unknown or not comparable.
        heads: what is printed above a column, where its name alone does not say it.
    """

    columns: list[str]
    rows: list[dict[str, Any]]
    footer: list[str] = field(default_factory=list)
    heads: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def plain(self) -> list[dict[str, Any]]:
        """The rows with the columns only."""
        return [{column: row.get(column) for column in self.columns} for row in self.rows]

    def to_frame(self) -> Any:
        """The rows as a pandas DataFrame, a column for each column; the footer is in `attrs`."""
        pandas: Any = needs("pandas", to="make a DataFrame", install="vlp-atlas[frame]")
        frame = pandas.DataFrame(self.plain(), columns=self.columns)
        frame.attrs["footer"] = list(self.footer)
        return frame


@dataclass
class Comparison:
    """Models side by side.

    Attributes:
        columns: names of the checkpoints.
        ids: their ids.
        rows: each with `label`, what was measured (`task`, `dataset`, `split`, `metric`, `setting`,
            `protocol`, `unit`), `cells` (a dict with `value`, `mark`, `best`, `delta`, `id`, `confidence`,
            or None; one a column), and `delta` (the best comparable value of the last name less that of
            the first, or None). A cell's `delta` is to the first name's best.
        footer: what a reader must know.
    """

    columns: list[str]
    ids: list[str]
    rows: list[dict[str, Any]]
    footer: list[str] = field(default_factory=list)

    def to_table(self) -> Table:
        """A row a measurement, with a text for each checkpoint: the value, and its mark."""
        rows = []
        for row in self.rows:
            cells = {
                name: None
                if cell is None
                else f"{cell['value']:g}{' ' + cell['mark'] if cell['mark'] else ''}"
                for name, cell in zip(self.columns, row["cells"], strict=True)
            }
            rows.append({"measurement": row["label"], **cells, "difference": row["delta"]})
        return Table(["measurement", *self.columns, "difference"], rows, list(self.footer))

    def to_frame(self) -> Any:
        """`to_table` as a pandas DataFrame."""
        return self.to_table().to_frame()
