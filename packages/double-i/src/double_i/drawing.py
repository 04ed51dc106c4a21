"""Choices from a secret: HMAC-SHA256 in counter mode, made uniform by rejection.

Ours. A choice is a function of (secret, label, counter) only, so no draw moves another, and nobody without
the secret can tell the choices from fair dice.
"""

import hashlib
import hmac
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

_SIZE = 1 << 256


class Draws:
    """Uniform choices that a secret and a label determine.

    Args:
        secret: hexadecimal digits of the HMAC key, or its bytes.
    """

    def __init__(self, secret: str | bytes) -> None:
        self._secret = bytes.fromhex(secret) if isinstance(secret, str) else bytes(secret)

    def __repr__(self) -> str:
        return "Draws(<hidden>)"

    def below(self, n: int, label: str, counter: int = 0) -> int:
        """A uniform integer in [0, n).

        The message is label, NUL, counter (8 bytes), attempt (4 bytes); a block that would favour small
        numbers is
        drawn again with the next attempt.

        Raises:
            ValueError: n is not in 1..2^256.
        """
        if not 1 <= n <= _SIZE:
            raise ValueError(f"below({n}): n is from 1 to 2^256")
        limit = _SIZE - _SIZE % n
        head = label.encode() + b"\0" + counter.to_bytes(8, "big")
        attempt = 0
        while True:
            block = hmac.digest(self._secret, head + attempt.to_bytes(4, "big"), hashlib.sha256)
            number = int.from_bytes(block, "big")
            if number < limit:
                return number % n
            attempt += 1

    def choice(self, items: Sequence[T], label: str, counter: int = 0) -> T:
        """One of `items`, all equally likely."""
        return items[self.below(len(items), label, counter)]

    def shuffled(self, items: Sequence[T], label: str) -> list[T]:
        """A copy of `items` in a random order (Fisher-Yates)."""
        order = list(items)
        for i in range(len(order) - 1, 0, -1):
            j = self.below(i + 1, label, i)
            order[i], order[j] = order[j], order[i]
        return order

    def hexdigest(self, label: str, text: str) -> str:
        """The HMAC of a text, 64 hexadecimal digits: a hash that cannot be searched without the secret."""
        message = label.encode() + b"\0" + text.encode()
        return hmac.new(self._secret, message, hashlib.sha256).hexdigest()
