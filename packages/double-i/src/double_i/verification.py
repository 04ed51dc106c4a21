"""The whole of a verification, whoever answers: plan, ask, weigh. Source: ours."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from double_i.assessment import Assessment, Record, Settings, assess, hit, level_of
from double_i.queries import Answer, Plan, Query, asked, full_plan
from double_i.sequential import PairedTest
from double_i.verdict import check_reachable, decoy_limit
from nonet.errors import UserError

if TYPE_CHECKING:
    from double_i.keys import Key

Ask = Callable[[list[Query]], list[Answer]]
"""asks a suspect; answers may be missing, and come in any order"""


class Verification(NamedTuple):
    """What was asked, what was answered, and what it means."""

    settings: Settings
    records: list[Record]
    queries: list[Query]
    """those that were asked or share an answer, with what they say; secret"""
    assessment: Assessment
    duplicates: int
    """pairs that were dropped, as their prompts were there already"""


def plans(keys: Sequence["Key"], texts: Sequence[str], settings: Settings) -> list[Plan]:
    """The questions of all keys and templates, checked before the first is asked.

    Raises:
        UserError: a level that the pairs cannot reach, or several keys without a declared combination.
    """
    tests = len(keys) * max(1, len(settings.templates))
    if tests > 1 and settings.combine == "none":
        raise UserError("several keys: declare --combine holm or fisher before asking")
    found: list[Plan] = []
    first = 0
    for key in keys:
        for template in settings.templates or (key.template,):
            made = full_plan(
                key, texts, pairs=settings.pairs, decoys=settings.decoys, decoy_pairs=settings.decoy_pairs,
                template=template, first=first,
            )  # fmt: skip
            check_reachable(settings.alpha, made.pairs, tests, settings.combine, settings.sequential)
            first += len(made.queries)
            found.append(made)
    return found


def warnings(keys: int, settings: Settings) -> list[str]:
    """What is to be known before asking, as too few decoys."""
    return decoy_limit(settings.decoys, keys * max(1, len(settings.templates)), settings.combine)


def with_decoys(settings: Settings, keys: Sequence["Key"]) -> tuple[Settings, list[str]]:
    """Settings with as many decoys as there are, and what is to be known before asking.

    Args:
        settings: with the decoys that are wanted.
        keys: a small space has fewer; with several keys, the smallest one counts.
    """
    from double_i.spaces import members

    counts = {len(members(key.space.name, key.space.excluded)) - 1: key.space.name for key in keys}
    most = min(counts)
    if settings.decoys <= most:
        return settings, warnings(len(keys), settings)
    said = f"the space {counts[most]} has {most} decoys, not {settings.decoys}: all are asked"
    settings = replace(settings, decoys=most)
    if warnings(len(keys), settings):
        said += f", but it is too small for a MATCH: p_key cannot be below 1/{most + 1}"
    return settings, [said]


def certain(made: Sequence[Plan], settings: Settings) -> list[Query]:
    """What is asked whatever the answers are; with early stopping, the pairs of the decoys alone."""
    queries = [query for plan in made for query in plan.queries]
    if settings.sequential:
        queries = [query for query in queries if query.set == "decoy" or query.pair < settings.decoy_pairs]
    return asked(queries)


def with_templates(settings: Settings, templates: Sequence[str]) -> Settings:
    """Settings that try several templates, corrected by Holm.

    Raises:
        UserError: keys are to be combined by Fisher's method, which takes every test as a claim.
    """
    if len(templates) > 1 and settings.combine == "fisher":
        raise UserError("several templates cannot go with --combine fisher: name one template, or use holm")
    combine = "holm" if len(templates) > 1 else settings.combine
    return replace(settings, templates=tuple(templates), combine=combine)


def verify(
    keys: Sequence["Key"],
    texts: Sequence[str],
    ask: Ask,
    settings: Settings | None = None,
    committed: Mapping[str, bool] | None = None,
) -> Verification:
    """Ask a suspect and weigh the answers.

    Args:
        keys: one, or several if `settings.combine` says how they count together.
        texts: base texts of the verification half.
        ask: the suspect.
        settings: fixed before the first question.
        committed: key id -> whether its digest was checked against a published commitment; others count as
            not committed.

    Raises:
        UserError: the settings allow no verdict, or the answers are of other questions.
    """
    settings = settings or Settings()
    made = plans(keys, texts, settings)
    targets = {key.key_id: key.answers.target for key in keys}
    if settings.sequential:
        got: dict[int, Answer] = {}
        used: list[Query] = []
        for plan in made:
            used += _ask_early(plan, ask, settings, targets, len(made), got)
    else:
        used = [query for plan in made for query in plan.queries]
        got = _ask(ask, used, {})
    records = [record(query, got) for query in used]
    assessment = assess(records, settings, targets, committed or {})
    return Verification(settings, records, used, assessment, sum(plan.duplicates for plan in made))


def record(query: Query, got: Mapping[int, Answer]) -> Record:
    """A query with its answer, or with that to the same prompt."""
    answer = got.get(query.number if query.same < 0 else query.same)
    rest = (None, None, None, None) if answer is None else answer[1:]
    return Record(
        query.number, query.key_id, query.template, query.set, query.pair, query.decoy, query.same,
        query.prompt_hash, *rest,
    )  # fmt: skip


def _ask(ask: Ask, queries: Iterable[Query], got: Mapping[int, Answer]) -> dict[int, Answer]:
    """Answers by number to what is not answered yet."""
    wanted = [query for query in asked(queries) if query.number not in got]
    numbers = {query.number for query in wanted}
    found: dict[int, Answer] = {}
    for answer in ask(wanted) if wanted else []:
        if answer.number not in numbers:
            raise UserError(f"an answer has number {answer.number}, which was not asked")
        if answer.number in found:
            raise UserError(f"two answers have number {answer.number}")
        found[answer.number] = answer
    return {**got, **found}


def _ask_early(
    plan: Plan, ask: Ask, settings: Settings, targets: Mapping[str, str], tests: int, got: dict[int, Answer]
) -> list[Query]:
    """Pairs in small groups until the e-value is large enough, then what the decoys are compared with.

    Decoys are compared on a number of pairs that was fixed before, as a number that depends on the key's own
    answers would favour it.
    """
    own: dict[int, list[Query]] = {}
    for query in plan.queries:
        if query.set != "decoy":
            own.setdefault(query.pair, []).append(query)
    test = PairedTest(level_of(settings, tests))
    used: list[Query] = []
    for start in range(0, plan.pairs, settings.group):
        pairs = range(start, min(start + settings.group, plan.pairs))
        queries = [query for pair in pairs for query in own[pair]]
        got.update(_ask(ask, sorted(queries), got))
        used += queries
        for pair in pairs:
            hits = {
                query.set: hit(
                    record(query, got), "yes" if targets[query.key_id] == "Yes" else "no", settings.words
                )
                for query in own[pair]
            }
            if test.add(hits["trigger"], hits["reference"]):
                break
        if test.stopped is not None:
            break
    seen = {query.number for query in used}
    rest = [
        query
        for query in plan.queries
        if query.number not in seen and (query.set == "decoy" or query.pair < settings.decoy_pairs)
    ]
    # a decoy that shares its prompt with a pair that is not asked any more would have no answer
    known = seen | {query.number for query in rest}
    rest = [query if query.same in known or query.same < 0 else query._replace(same=-1) for query in rest]
    got.update(_ask(ask, rest, got))
    return used + rest
