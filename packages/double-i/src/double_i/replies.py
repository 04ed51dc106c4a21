"""What servers reply, read without trust: answers whole or streamed, and codes of errors. Source: ours."""

import json
import re
from typing import Any, NamedTuple

CODE = re.compile(r"[A-Za-z0-9_.-]{1,48}")
"""what may be shown of an error: a server can put the prompt into anything longer"""
FIELDS = ("stream", "max_completion_tokens")


class Reply(NamedTuple):
    """The text of an answer, and the model that the server says it asked."""

    text: str
    model: str | None


def read_reply(content_type: str, body: str) -> Reply | None:
    """The answer in a body of status 200.

    Args:
        content_type: as the server names it; a stream is also known by its first characters.
        body: JSON, or server-sent events.

    Returns:
        The answer, empty where the model said nothing, its refusal where it refused; None if the body is in
        another form.
    """
    if "event-stream" in content_type or body.lstrip().startswith(("data:", "event:", ":")):
        return _streamed(body)
    value = _json(body)
    if value is None or ("error" in value and "choices" not in value):
        return None
    text = _text(value, "message")
    return None if text is None else Reply(text, _model(value))


def error_code(body: str) -> tuple[str, str, frozenset[str]]:
    """Code and parameter of an error, and which of the fields we know its message names.

    Returns:
        Both may be empty. Nothing else of the body is given away, as it can repeat the prompt.
    """
    value = _json(body)
    error: Any = None if value is None else value.get("error", value)
    if not isinstance(error, dict):
        error = {"message": error}
    code, parameter = (
        text if isinstance(text, str) and CODE.fullmatch(text) else ""
        for text in (error.get("code") or error.get("type"), error.get("param"))
    )
    message = str(error.get("message") or error.get("detail") or "").casefold()
    return code, parameter, frozenset(field for field in FIELDS if field in message)


def _streamed(body: str) -> Reply | None:
    parts: list[str] = []
    model = None
    seen = False
    for line in body.splitlines():
        if not line.startswith("data:"):
            continue
        data = line[5:].strip()
        if data == "[DONE]":
            break
        value = _json(data)
        if value is None or "error" in value:
            return None
        model = model or _model(value)
        text = _text(value, "delta")
        if text is not None:
            seen = True
            parts.append(text)
    return Reply("".join(parts), model) if seen else None


def _text(value: dict[str, Any], field: str) -> str | None:
    """Text of the first choice; None: there is no choice in it."""
    choices = value.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        return None
    choice = choices[0]
    part = choice.get(field)
    if isinstance(part, dict):
        content = part.get("content")
        if isinstance(content, list):  # parts with a type each
            content = "".join(str(piece.get("text") or "") for piece in content if isinstance(piece, dict))
        return str(content or part.get("refusal") or "")
    text = choice.get("text")
    return text if isinstance(text, str) else None


def _model(value: dict[str, Any]) -> str | None:
    model = value.get("model")
    return model[:200] if isinstance(model, str) else None


def _json(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
