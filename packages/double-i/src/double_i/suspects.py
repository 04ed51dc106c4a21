"""Who is asked: a model in our hands, a served one, or a file of answers. Source: ours.

Each is a function from queries to answers, so that the rest of a verification knows no difference.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from double_i.answers import AnswerWords
from double_i.queries import Answer, Query
from nonet.errors import UserError

if TYPE_CHECKING:
    from double_i.endpoint import EndpointOptions
    from double_i.first_words import LocalModel

Advance = Callable[[int], Any]
NUMBER = re.compile(rb'\{"number": (\d+),')
"""as a line of an answer log begins"""


def prompt_of(query: Query, tokenizer: Any = None) -> str:
    """The text of a query up to the answer.

    Raises:
        UserError: the template is a chat's, and there is no tokenizer that writes it.
    """
    from double_i.templates import prompt_text

    if query.template == "chat" and tokenizer is None:
        raise UserError("the template chat needs the model's tokenizer or an endpoint for chats (--api chat)")
    return str(prompt_text(query.template, query.example, query.join, tokenizer))


def messages_of(query: Query) -> list[dict[str, str]]:
    """The messages of a query, for servers of chats."""
    from double_i.templates import messages

    return list(messages(query.example, query.join))


class Local:
    """Asks a model in our hands.

    Args:
        model: the model.
        words: answer words that count, which decide how far an answer is followed.
        advance: is told how many prompts were answered.
    """

    def __init__(self, model: "LocalModel", words: AnswerWords, advance: Advance | None = None) -> None:
        self.model, self.words, self.advance = model, words, advance

    def __call__(self, queries: list[Query]) -> list[Answer]:
        """Answers in the order of the queries."""
        prompts = [prompt_of(query, self.model.tokenizer) for query in queries]
        texts = self.model.answer(prompts, self.words, self.advance)
        return [Answer(query.number, text) for query, text in zip(queries, texts, strict=True)]


class Served:
    """Asks an endpoint; every call has a log of its own in a folder, so that a stopped run can go on.

    Args:
        options: which endpoint.
        folder: of the logs, and of the count of requests, which holds for all calls and where a run goes on.
        advance: is told how many prompts were answered.
    """

    def __init__(self, options: "EndpointOptions", folder: Path, advance: Advance | None = None) -> None:
        from double_i.endpoint import Budget

        self.options, self.folder, self.advance = options, folder, advance
        self.calls = 0
        self.budget = Budget(options.max_queries, folder / "requests")

    def check(self, certain: Sequence[Query]) -> None:
        """Refuse what cannot be enough, before anything is asked.

        Args:
            certain: what will be asked whatever the answers are, answered before or not.

        Raises:
            UserError: fewer requests are left, or there is no API key where one was named.
        """
        from double_i.endpoint import headers_of

        headers_of(self.options)
        lines = [line for log in self.folder.glob("asked-*.jsonl") for line in log.read_bytes().splitlines()]
        kept = {int(found[1]) for line in lines if (found := NUMBER.match(line))}
        open_ = sum(query.number not in kept for query in certain)
        if open_ > self.budget.left:
            raise UserError(
                f"{open_:,} questions are left, but at most {self.budget.left:,} requests are "
                "allowed: raise --max-queries or ask for fewer pairs and decoys"
            )

    def __call__(self, queries: list[Query]) -> list[Answer]:
        """Answers in the order of the queries.

        Raises:
            EndpointFailed: the endpoint gave no more answers, or the budget is spent; run again to go on.
        """
        from double_i.endpoint import Question, ask

        completions = self.options.api == "completions"
        questions = [
            Question(
                query.number, query.prompt_hash, prompt_of(query) if completions else "", messages_of(query)
            )
            for query in queries
        ]
        self.calls += 1
        log = self.folder / f"asked-{self.calls:04}.jsonl"
        more: dict[str, Any] = {"say": lambda text: None} if self.calls > 1 else {}
        return ask(
            self.options, questions, log, budget=self.budget, until=_never, advance=self.advance, **more
        )


def _never(answer: Answer) -> bool:
    """Whether enough was said: what is short of requests then fails where it is, and can go on."""
    return False


class Written:
    """Takes answers from a file that somebody else made.

    Args:
        answers: by number.
    """

    def __init__(self, answers: Sequence[Answer]) -> None:
        self.answers = {answer.number: answer for answer in answers}

    def __call__(self, queries: list[Query]) -> list[Answer]:
        """Those that there are; missing ones count against the owner."""
        return [self.answers[query.number] for query in queries if query.number in self.answers]
