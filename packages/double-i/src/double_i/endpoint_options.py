"""Which endpoint is asked, how, and with how many requests at most. Source: ours."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from nonet.errors import UserError


class EndpointFailed(RuntimeError):
    """The endpoint gave no more answers; those that it gave are in the log. Commands exit with code 4."""


class KeyRefused(EndpointFailed):
    """The endpoint does not take the API key; nothing that is sent with it will be answered."""


@dataclass(frozen=True, kw_only=True)
class EndpointOptions:
    """Which endpoint is asked, and how."""

    url: str
    """base of the API, such as https://host/v1; /chat/completions or /completions is added"""
    name: str
    """model that the endpoint is asked for"""
    api: Literal["chat", "completions"] = "chat"
    """chat: messages; completions: the rendered prompt"""
    key_env: str = ""
    """environment variable that holds the API key; empty: none is sent"""
    concurrency: int = 4
    """requests under way at once"""
    rate: float = 5.0
    """requests a second at most; 0: no limit"""
    timeout: float = 60.0
    """seconds until a request counts as failed"""
    retries: int = 6
    """further tries of a question after 429, 5xx and timeouts"""
    first_wait: float = 0.5
    """seconds before the first retry; doubled for each further one"""
    max_queries: int = 5000
    """requests sent at most, retries included"""
    max_tokens: int = 4
    """of an answer"""
    price_in: float = 0.0
    """of a million prompt tokens, for the estimate"""
    price_out: float = 0.0
    """of a million answer tokens"""

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError("the endpoint's URL has to begin with http:// or https:// and a host")
        if parts.username or parts.password or parts.query:
            raise UserError(
                "the endpoint's URL may hold no user, password or query; name a variable: --key-env"
            )
        if not self.name:
            raise UserError("an endpoint needs the name of a model")
        for field, least in (("concurrency", 1), ("max_queries", 1), ("max_tokens", 1), ("retries", 0)):
            if getattr(self, field) < least:
                raise UserError(f"{field} is {getattr(self, field)}; it is at least {least}")
        if self.rate < 0 or self.timeout <= 0 or self.first_wait < 0:
            raise UserError("rate and first_wait are at least 0, timeout is above 0")

    @property
    def address(self) -> str:
        """Where questions are posted."""
        base = self.url.rstrip("/")
        path = "chat/completions" if self.api == "chat" else "completions"
        return base if base.endswith("/" + path) else f"{base}/{path}"


class Question(NamedTuple):
    """A query as it is sent."""

    number: int
    prompt_hash: str
    """keyed hash under which the log knows it"""
    prompt: str
    """text up to the answer, for /completions"""
    messages: list[dict[str, str]]
    """for /chat/completions"""


class Budget:
    """Requests that may be sent in all, whoever sends them.

    Args:
        most: requests, retries included.
        path: file that has one byte for each request sent, so that a run that goes on knows of those before;
            None: they are counted in memory alone.
    """

    def __init__(self, most: int, path: Path | None = None) -> None:
        self.most, self.path = most, path
        self.sent = path.stat().st_size if path is not None and path.is_file() else 0

    @property
    def left(self) -> int:
        """Requests that may still be sent."""
        return max(0, self.most - self.sent)

    def take(self) -> None:
        """Count a request that is about to be sent.

        Raises:
            EndpointFailed: there is none left.
        """
        if not self.left:
            raise EndpointFailed(f"the budget of {self.most:,} requests is spent")
        if self.path is not None:  # before it leaves, as a run may be killed at any time
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "ab") as file:
                file.write(b".")
        self.sent += 1
