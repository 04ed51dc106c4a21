"""Whether depth can be metres: a room whose views' median says otherwise is in another unit (ours)."""

import numpy as np

from nonet.errors import UserError

MILLIMETRES = 1000.0
"""units of a depth image a metre, unless a data set says something else"""
PLAUSIBLE = (0.3, 8.0)
"""metres: the median depth of a room's views lies between"""
SAID = (0.02, 80.0)
"""metres: the same, where the user named the unit"""

_UNITS = {
    1.0: "metres",
    100.0: "centimetres",
    1000.0: "millimetres",
    4000.0: "1/4000 m, as in S3DIS",
    5000.0: "1/5000 m, as in TUM",
    10_000.0: "1/10000 m",
}
_TYPICAL = 2.0  # metres, a usual median of rooms


def check_median(median: float | None, scale: float, *, said: bool, name: str) -> None:
    """Refuse depth that no room has.

    Args:
        median: of some views of a scene, metres; None without any depth passes.
        scale: units a metre that it was read with.
        said: whether the user named that unit, which widens what passes.
        name: of the scene.

    Raises:
        UserError: the median is implausible; the text names the unit that is suspected.
    """
    low, high = SAID if said else PLAUSIBLE
    if median is None or low <= median <= high:
        return
    suspected = suspected_unit(median * scale)
    advice = "" if suspected == scale else f" (depth looks like {_UNITS[suspected]})"
    raise UserError(
        f"scene {name}: at {scale:g} units a metre the median depth is {median:.3g} m, which is no room: "
        f"give --depth-scale{f' {suspected:g}' if advice else ''}{advice}"
    )


def suspected_unit(median: float) -> float:
    """The units a metre for which a median in raw units is closest to that of a usual room."""
    return min(_UNITS, key=lambda scale: abs(np.log(median / scale / _TYPICAL)))
