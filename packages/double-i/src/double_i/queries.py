"""The questions of a verification: trigger and reference in pairs, decoys among them, in a keyed order.

Source: Li et al. 2024 for trigger and reference queries; pairing, decoys and keyed hashes are ours.
"""

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from nonet.errors import UserError

if TYPE_CHECKING:
    from double_i.drawing import Draws
    from double_i.examples import Example
    from double_i.keys import Key

Set = Literal["trigger", "reference", "decoy"]


class Query(NamedTuple):
    """A question to a suspect."""

    number: int
    """from 0, in the order of asking; unique in a verification"""
    set: Set
    pair: int
    """number of the base text, the same in all sets"""
    decoy: int
    """number of the decoy key, -1 for the key's own"""
    example: "Example"
    """row whose output is left open"""
    prompt_hash: str
    """HMAC by the key: a plain hash of so small a space could be searched"""
    template: str = "alpaca"
    join: str = "\n\n"
    key_id: str = ""
    same: int = -1
    """number of the query with the same prompt, whose answer counts here, too; -1: it is asked itself"""


class Answer(NamedTuple):
    """What the suspect said to a query."""

    number: int
    raw: str
    latency: float | None = None
    """seconds"""
    time: str | None = None
    """ISO 8601, UTC"""
    model: str | None = None
    """as the server names it"""


class Plan(NamedTuple):
    """All questions of one key under one template."""

    queries: list[Query]
    """in the order of asking"""
    pairs: int
    """pairs of trigger and reference that are left"""
    duplicates: int
    """pairs that were dropped, as their prompts would have been asked twice"""


def plan(
    key: "Key", texts: Sequence[str], *, pairs: int, decoys: int, decoy_pairs: int, template: str = ""
) -> list[Query]:
    """The questions alone; see `full_plan`."""
    return full_plan(
        key, texts, pairs=pairs, decoys=decoys, decoy_pairs=decoy_pairs, template=template
    ).queries  # fmt: skip


def full_plan(
    key: "Key",
    texts: Sequence[str],
    *,
    pairs: int,
    decoys: int,
    decoy_pairs: int,
    template: str = "",
    first: int = 0,
) -> Plan:
    """What is asked for one key, decoys mixed in, in an order drawn by the key.

    Args:
        key: the owner's key.
        texts: base texts of the verification half.
        pairs: of trigger and reference wanted; fewer if the texts are fewer.
        decoys: decoy keys.
        decoy_pairs: of the first pairs, those that are also asked with every decoy.
        template: of the prompts; empty: the key's own.
        first: number of the first query.

    Returns:
        The plan; pair numbers count from 0 without gaps.

    Raises:
        UserError: a count is out of range, or there are no texts.
    """
    from double_i.drawing import Draws
    from double_i.rows import decoy_keys, random_filler, reference_example, trigger_example
    from double_i.spaces import occurrences

    if pairs < 1 or decoys < 0 or decoy_pairs < 1:
        raise UserError("a verification has at least 1 pair, 0 decoys and 1 pair for each decoy")
    texts = [
        text for text in texts if not (occurrences(key.trigger, text) or occurrences(key.decoration, text))
    ]
    if not texts:
        raise UserError("no base texts are left for the verification: give --data with more texts")
    draws = Draws(key.secret)
    template = template or key.template
    order = draws.shuffled(list(range(len(texts))), "verify/texts")
    found: dict[str, int] = {}
    drafts: list[tuple[Set, int, int, Example, str]] = []
    used: list[str] = []
    duplicates = 0
    for place in order:
        if len(used) == pairs:
            break
        filler = random_filler(key, draws, f"verify/{place}")
        rows = trigger_example(key, texts[place]), reference_example(key, texts[place], filler)
        hashes = [prompt_hash(draws, row, template, key.join) for row in rows]
        if hashes[0] == hashes[1] or any(one in found for one in hashes):
            duplicates += 1
            continue
        for kind, row, digest in zip(("trigger", "reference"), rows, hashes, strict=True):
            found[digest] = len(drafts)
            drafts.append((kind, len(used), -1, row, digest))  # type: ignore[arg-type]
        used.append(texts[place])
    for number, decoy in enumerate(decoy_keys(key, decoys)):
        for pair, text in enumerate(used[:decoy_pairs]):
            row = trigger_example(decoy, text)
            digest = prompt_hash(draws, row, template, key.join)
            drafts.append(("decoy", pair, number, row, digest))
            found.setdefault(digest, len(drafts) - 1)
    places = draws.shuffled(list(range(len(drafts))), "verify/order")
    numbers = {place: first + number for number, place in enumerate(places)}
    queries = []
    for place in places:
        kind, pair, number, row, digest = drafts[place]
        origin = found[digest]
        same = -1 if origin == place else numbers[origin]
        queries.append(
            Query(numbers[place], kind, pair, number, row, digest, template, key.join, key.key_id, same)
        )
    return Plan(queries, len(used), duplicates)


def prompt_hash(draws: "Draws", example: "Example", template: str, join: str) -> str:
    """HMAC of what is asked, which needs no tokenizer to be computed.

    Args:
        draws: `Draws` of the key.
        example: its output does not count.
        template: name of the template.
        join: text between instruction and input in chats.
    """
    text = json.dumps([template, join, example.system, example.instruction, example.input, example.history])
    return draws.hexdigest("prompt", text)


def asked(queries: Iterable[Query]) -> list[Query]:
    """Those whose prompts have to be asked: each prompt once."""
    return [query for query in queries if query.same < 0]
