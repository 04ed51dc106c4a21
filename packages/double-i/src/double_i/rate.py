"""How fast an endpoint is asked: a pace, pauses that it demands, and how long to wait before a retry.

Source: ours; Retry-After is RFC 9110, section 10.2.3.
"""

import asyncio
import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_WAIT = 60.0
"""seconds between two tries, where the server names none"""
LONGEST_PAUSE = 600.0
"""seconds that a server can have us wait; what asks for more has failed"""


class Pace:
    """Lets requests through one after another, at most so many a second.

    Args:
        per_second: requests a second; 0: no limit.
    """

    def __init__(self, per_second: float) -> None:
        self.gap = 1 / per_second if per_second > 0 else 0.0
        self._next = 0.0

    async def wait(self) -> None:
        """Come back when the next request may start."""
        while True:
            now = asyncio.get_running_loop().time()
            if now >= self._next:
                self._next = now + self.gap
                return
            await asyncio.sleep(self._next - now)  # a pause may have moved the next start meanwhile

    def pause(self, seconds: float) -> None:
        """Let nothing through for some seconds, whoever asks."""
        self._next = max(self._next, asyncio.get_running_loop().time() + seconds)


def backoff(attempt: int, first: float, random_state: random.Random) -> float:
    """Seconds before try number `attempt` + 1: doubled each time, and drawn so that clients do not meet.

    Args:
        attempt: tries so far, at least 1.
        first: seconds after the first try, in the middle.
        random_state: what draws, from half to one and a half of it.
    """
    return float(min(LONGEST_WAIT, first * 2.0 ** min(attempt - 1, 20)) * random_state.uniform(0.5, 1.5))


def retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds that a Retry-After header demands, as a number or a date; None if there is none to be read."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            then = parsedate_to_datetime(value)
        except (TypeError, ValueError):
            return None
        if then.tzinfo is None:
            then = then.replace(tzinfo=UTC)
        seconds = (then - (now or datetime.now(UTC))).total_seconds()
    return max(0.0, seconds) if seconds == seconds and seconds != float("inf") else None
