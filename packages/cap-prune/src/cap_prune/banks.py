"""Banks: a unit vector of every training example from the pre-trained model, the teacher and each snapshot.

Xu et al. 2022, section 3, figure 2; one table, filled in place, where the released code concatenates (ours).
"""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from nonet.data.batching import generator
from nonet.errors import UserError

# Shapes: N training examples, S snapshots that there is room for, d width, B examples at once, R vectors that
# a bank has of an example, K extra examples.

KINDS = ("pre", "snap", "fine")
"""the pre-trained model, snapshots of the pruned one, the fine-tuned teacher"""
CHUNK = 8192  # rows that devices add up at once


class Banks:
    """The representations that a model is contrasted with.

    A vector of 16 bits is off by at most 1e-3 in any cosine. With 393 000 examples, width 768, 9 snapshots
    and 16 bits the table has 6.6 GB.

    Args:
        count: training examples, N.
        width: of a vector, d.
        snapshots: how many there will be, S.
        device: where the table lies; losses fetch rows from there.
        dtype: `"fp16"` or `"fp32"`.
        file: a file to map into memory instead, for tables that do not fit; only with device `"cpu"`. Several
            processes may share one.

    Raises:
        UserError: the disk has no room for the file.

    Attributes:
        names: the banks that are complete: `"pre"`, `"fine"`, `"snap-1"`, `"snap-2"`, ...
    """

    def __init__(
        self,
        count: int,
        width: int,
        *,
        snapshots: int = 0,
        device: torch.device | str = "cpu",
        dtype: Literal["fp16", "fp32"] = "fp16",
        file: Path | None = None,
    ) -> None:
        self.count, self.width, self.snapshots = count, width, snapshots
        kind = {"fp16": torch.float16, "fp32": torch.float32}[dtype]
        shape = (count, 2 + snapshots, width)
        self.table_NVd: Tensor
        if file is None:
            self.table_NVd = torch.zeros(shape, dtype=kind, device=device)
        elif torch.device(device).type == "cpu":
            file.parent.mkdir(parents=True, exist_ok=True)
            _room(file, count * shape[1] * width * kind.itemsize)
            mapped: Any = torch.from_file(str(file), shared=True, size=count * shape[1] * width, dtype=kind)
            self.table_NVd = mapped.view(shape)
        else:
            raise ValueError(f"a table in {file} lies in the CPU's memory, not on {device}")
        self.names: set[str] = set()
        self._written: dict[str, Tensor] = {}

    def write(self, name: str, index_B: Tensor, z_Bd: Tensor) -> None:
        """Put vectors into a bank that is not complete yet.

        Args:
            name: `"pre"`, `"fine"`, or `"snap-K"` with K from 1.
            index_B: (B,) numbers of the examples.
            z_Bd: (B, d) unit vectors.
        """
        place = index_B.to(self.table_NVd.device)
        written = self._written.setdefault(name, torch.zeros(self.count, dtype=torch.bool))
        self.table_NVd[place, self._column(name)] = z_Bd.detach().to(self.table_NVd)
        written[index_B.cpu()] = True

    def finish(self, name: str) -> None:
        """Call a bank complete; where several devices wrote parts of it, each gets the others' here.

        Raises:
            ValueError: examples are missing.
        """
        written = self._written.pop(name, torch.zeros(self.count, dtype=torch.bool))
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            written = _share(self.table_NVd[:, self._column(name)], written)
        missing = int((~written).sum())
        if missing:
            raise ValueError(f"bank {name} lacks {missing} of {self.count} examples")
        self.names.add(name)

    def fill(self, name: str, encoded: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Write a whole bank.

        Args:
            name: see `write`.
            encoded: pairs (index_B, z_Bd); over all devices every example is among them.

        Raises:
            ValueError: examples are missing.
        """
        for index_B, z_Bd in encoded:
            self.write(name, index_B, z_Bd)
        self.finish(name)

    def has(self, kind: str) -> bool:
        """Whether a bank of that kind (`KINDS`) is complete."""
        return (f"{kind}-1" if kind == "snap" else kind) in self.names

    def bank(self, kind: str) -> Tensor:
        """(N, R, d), a view: R is 1, or the number of complete snapshots for `"snap"`.

        Raises:
            ValueError: there is none yet.
        """
        if not self.has(kind):
            raise ValueError(f"bank {kind} is not complete")
        if kind != "snap":
            column = self._column(kind)
            return self.table_NVd[:, column : column + 1]
        done = 0
        while f"snap-{done + 1}" in self.names:
            done += 1
        return self.table_NVd[:, 2 : 2 + done]

    def _column(self, name: str) -> int:
        if name in ("pre", "fine"):
            return ("pre", "fine").index(name)
        kind, _, number = name.partition("-")
        if kind != "snap" or not number.isdecimal() or not 1 <= int(number) <= self.snapshots:
            raise ValueError(f"no bank is called {name}: pre, fine, or snap-1 to snap-{self.snapshots}")
        return 1 + int(number)


def _room(file: Path, size: int) -> None:
    """Refuse a file that the disk has no room for: writing to its mapping would end the process.

    Raises:
        UserError: there is none.
    """
    free = shutil.disk_usage(file.parent).free + (file.stat().st_size if file.exists() else 0)
    if size > free:
        raise UserError(
            f"{file}: the banks need {size / 1e9:.1f} GB, and the disk has {free / 1e9:.1f} GB left"
        )


def draw(count: int, wanted: int, seed: int, step: int, kind: str) -> Tensor:
    """Extra examples of a step, drawn uniformly without replacement, the same on every device.

    Args:
        count: training examples, N.
        wanted: how many to draw; all N if there are no more.
        seed: of the run.
        step: of the training.
        kind: of the bank; each draws its own.

    Returns:
        (min(wanted, N),) int64, ascending.
    """
    if wanted >= count:
        return torch.arange(count)
    chosen = generator(seed, "extra examples", kind, step).choice(count, wanted, replace=False, shuffle=False)
    chosen.sort()
    return torch.from_numpy(chosen)


def _share(column_Nd: Tensor, written_N: Tensor) -> Tensor:
    """Add up what the devices wrote, in place; rows that several wrote are theirs on average."""
    where = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
    counts_N = written_N.float().to(where)
    torch.distributed.all_reduce(counts_N)
    for start in range(0, len(column_Nd), CHUNK):
        here = slice(start, start + CHUNK)
        mine = column_Nd[here].to(where, torch.float32) * written_N[here, None].to(where)
        part = mine.contiguous()  # columns of a table are not, and gloo would mix them up
        torch.distributed.all_reduce(part)
        column_Nd[here] = (part / counts_N[here, None].clamp(min=1)).to(column_Nd)
    return (counts_N > 0).cpu()
