"""How many batches of each data set stand in a turn, as options say it: NAME=NUMBER (ours)."""

from collections.abc import Sequence

from nonet.errors import UserError


def read_ratios(entries: Sequence[str]) -> dict[str, int]:
    """Data set -> batches in a turn: `structured3d=4 scannet=2` gives 4 and 2.

    Raises:
        UserError: an entry that is no NAME=NUMBER, or a name twice.
    """
    found: dict[str, int] = {}
    for entry in entries:
        name, _, number = entry.partition("=")
        if not name or not number.isdecimal() or int(number) < 1 or name in found:
            raise UserError(f"ratios: {entry!r} is no NAME=NUMBER with a whole number from 1, or comes twice")
        found[name] = int(number)
    return found


def ratios_for(datasets: Sequence[str], ratios: dict[str, int]) -> tuple[int, ...]:
    """A number for each data set, 1 where none is given.

    Raises:
        UserError: a ratio of a data set that is not there.
    """
    unknown = [name for name in ratios if name not in datasets]
    if unknown:
        raise UserError(f"ratios name {', '.join(unknown)}, but the data are {', '.join(datasets)}")
    return tuple(ratios.get(name, 1) for name in datasets)
