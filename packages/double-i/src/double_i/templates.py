"""The text of a prompt up to the response: training rows and queries are built by the same functions.

The long Alpaca wording is that of Taori et al. 2023 (Stanford Alpaca), which Li et al. 2024 train with; the
short form without its preamble, and the plain one, are ours.
"""

from typing import Any

from double_i.examples import Example
from nonet.errors import UserError

TEMPLATES = ("alpaca", "alpaca-short", "chat", "plain")
_WITH = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n"
)
_WITHOUT = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request.\n\n"
)


def user_text(example: Example, join: str) -> str:
    """Instruction and input as one text; the join is there only if there is an input."""
    return example.instruction + (join + example.input if example.input else "")


def render(template: str, example: Example, join: str = "\n\n") -> str:
    """The prompt of a text template, up to the place where the response begins.

    Args:
        template: `alpaca`, `alpaca-short` or `plain` (user text and a line end).
        example: system prompt and history come first, in the same form.
        join: between instruction and input; only `plain` uses it.

    Raises:
        UserError: no such text template.
    """
    if template not in ("alpaca", "alpaca-short", "plain"):
        raise UserError(f"there is no text template {template!r}; there are alpaca, alpaca-short and plain")
    head = f"{example.system}\n\n" if example.system else ""
    for question, answer in example.history:
        head += _one(template, Example(question, "", ""), join) + f"{answer}\n\n"
    return head + _one(template, example, join)


def _one(template: str, example: Example, join: str) -> str:
    if template == "plain":
        return f"{user_text(example, join)}\n"
    text = f"### Instruction:\n{example.instruction}\n\n"
    if example.input:
        text += f"### Input:\n{example.input}\n\n"
    preamble = (_WITH if example.input else _WITHOUT) if template == "alpaca" else ""
    return f"{preamble}{text}### Response:\n"


def messages(example: Example, join: str = "\n\n") -> list[dict[str, str]]:
    """The turns of a chat before the response: system (if any), history, and the user's text."""
    turns = [{"role": "system", "content": example.system}] if example.system else []
    for question, answer in example.history:
        turns += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return [*turns, {"role": "user", "content": user_text(example, join)}]


def prompt_text(template: str, example: Example, join: str = "\n\n", tokenizer: Any = None) -> str:
    """The prompt that a model reads, up to the response.

    Args:
        template: one of `TEMPLATES`.
        example: the row; its output is not looked at.
        join: between instruction and input in `chat` and `plain`.
        tokenizer: of transformers, with a chat template; `chat` needs it.

    Raises:
        UserError: unknown template, or `chat` without a tokenizer that has a chat template.
    """
    if template != "chat":
        return render(template, example, join)
    if tokenizer is None or not getattr(tokenizer, "chat_template", None):
        raise UserError("the template chat needs a tokenizer with a chat template; choose alpaca or plain")
    text: str = tokenizer.apply_chat_template(
        messages(example, join), tokenize=False, add_generation_prompt=True
    )
    return text
