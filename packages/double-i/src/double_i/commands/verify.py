"""Ask a suspect and weigh the answers."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from double_i.assessment import Settings
    from double_i.keys import Key
    from double_i.queries import Query
    from double_i.verification import Ask
    from nonet.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Options:
    """Ask a suspect trigger, reference and decoy questions, and write the evidence.

    Exactly one of --model, --endpoint, --answers and --write-queries says who is asked. Exit codes: 0 MATCH,
    1 NO EVIDENCE, 2 wrong use, 3 INCONCLUSIVE, 4 the endpoint failed (run again to go on), 5 the
    commitment is to another key.
    """

    key: Path
    """key file"""
    key_ids: tuple[str, ...] = ()
    """keys of the file to use; none: the first active one, or with --combine all active ones"""
    passphrase_file: Path | None = None
    """file with the passphrase of the key file; else DOUBLE_I_PASSPHRASE"""
    commitment: Path | None = None
    """what was published of the keys; without it there is no MATCH; a copy lies in the evidence"""
    proof: tuple[Path, ...] = ()
    """time stamps of the commitment file (RFC 3161, OpenTimestamps, ...), to lie beside it in the evidence"""
    data: tuple[Path, ...] = ()
    """the owner's data, for base texts; none: bundled sentences"""
    model: Path | None = None
    """ask a local model: its folder"""
    adapter: Path | None = None
    """folder of a peft adapter of that model"""
    device: str = "auto"
    """of the local model"""
    batch: int = 64
    """prompts at once, of the local model"""
    endpoint: str | None = None
    """ask a served model: base of its API, such as https://host/v1"""
    name: str = ""
    """of the served model"""
    api: Literal["chat", "completions"] = "chat"
    """of the endpoint"""
    key_env: str = ""
    """environment variable with the API key"""
    concurrency: int = 4
    """requests under way at once"""
    rate: float = 5.0
    """requests a second at most; 0: no limit"""
    timeout: float = 60.0
    """seconds until a request counts as failed"""
    retries: int = 6
    """further tries after 429, 5xx and timeouts"""
    max_queries: int = 5000
    """requests at most in all; retries, and those of a run that goes on, included"""
    max_tokens: int = 4
    """of a served answer"""
    answers: Path | None = None
    """read the answers of somebody who asked: JSON lines with id, number or prompt, and answer"""
    write_queries: Path | None = None
    """write the prompts for somebody to ask, and stop; they hold the secret"""
    alpha: float = 1e-6
    """level of the first test"""
    pairs: int = 100
    """trigger and reference queries a key, at most"""
    decoys: int = 99
    """decoy keys; fewer than 99 cannot give a MATCH; of a smaller space, all are asked"""
    decoy_pairs: int = 20
    """pairs that each decoy is asked with"""
    sequential: bool = False
    """stop asking pairs as soon as they are enough, decoys afterwards"""
    group: int = 4
    """pairs asked at once with --sequential"""
    combine: Literal["none", "holm", "fisher"] = "none"
    """several keys: holm (any of them), fisher (all together)"""
    template: Literal["key", "auto", "alpaca", "alpaca-short", "chat", "plain"] = "key"
    """of the prompts; key: as the key says; auto: try several, with Holm's correction"""
    yes_words: tuple[str, ...] = ()
    """further words that mean Yes, such as Oui; fixed before asking"""
    no_words: tuple[str, ...] = ()
    """further words that mean No"""
    reveal: bool = False
    """write the prompts into the evidence; they hold the secret"""
    out: Path | None = None
    """folder for the evidence; it must not exist, unless an endpoint's run goes on in it"""

    def __post_init__(self) -> None:
        from nonet.errors import UserError

        given = [bool(one) for one in (self.model, self.endpoint, self.answers, self.write_queries)]
        if sum(given) != 1:
            raise UserError("give exactly one of --model, --endpoint, --answers and --write-queries")
        if self.endpoint and not self.name:
            raise UserError("--endpoint needs the --name of the model that is served there")
        if self.adapter and not self.model:
            raise UserError("--adapter needs --model")
        if self.sequential and (self.answers or self.write_queries):
            raise UserError("--sequential decides while it asks, so it cannot go with files")
        if not self.write_queries and self.out is None:
            raise UserError("no --out: name a folder for the evidence")
        if not 0 < self.alpha < 1:
            raise UserError(f"--alpha is {self.alpha:g}; it lies between 0 and 1")
        if self.proof and self.commitment is None:
            raise UserError("--proof is of a --commitment: give both")
        for field, least in (("pairs", 1), ("decoys", 0), ("decoy_pairs", 1), ("group", 1), ("batch", 1)):
            if getattr(self, field) < least:
                raise UserError(
                    f"--{field.replace('_', '-')} is {getattr(self, field)}; it is at least {least}"
                )


def run(options: Options) -> int:
    """Plan, ask, weigh, write."""
    import sys
    from contextlib import nullcontext

    from double_i.commitments import matches, read_commitments
    from double_i.endpoint import EndpointFailed
    from double_i.evidence import Claim, write_evidence
    from double_i.evidence_page import choice
    from double_i.key_files import git_warning, read_passphrase
    from double_i.keys import digest, is_drawn
    from double_i.queries import asked
    from double_i.resuming import Run
    from double_i.texts import verify_texts
    from double_i.verdict import EXIT
    from double_i.verification import certain, plans, verify, with_decoys
    from nonet.cli.progress import progress
    from nonet.errors import UserError

    def say(text: str) -> None:
        print(f"double-i verify: {text}", file=sys.stderr)

    passphrase = read_passphrase(options.passphrase_file)
    state = Run(options.out, resumable=bool(options.endpoint)) if options.out is not None else None
    keys = _keys(options, passphrase, state.key_ids if state else [])
    if warning := git_warning(options.key):
        say(warning)
    for key in keys:
        if not is_drawn(key):
            raise UserError(
                f"{options.key}: key {key.key_id} does not follow from its secret: it was picked, not drawn, "
                "and a picked word proves nothing; draw keys with double-i keygen"
            )
    committed = dict.fromkeys((key.key_id for key in keys), False)
    held = None
    if options.commitment is not None:
        published = read_commitments(options.commitment)
        held = len({item["key_id"] for item in published})
        for key in keys:
            if not matches(key, published):
                say(f"{options.commitment}: no commitment to key {key.key_id} as it is in {options.key}")
                return 5
            committed[key.key_id] = True
    else:
        say("no --commitment: the verdict can be INCONCLUSIVE at most")
    _check_proofs(options.proof, keys)
    settings, remarks = with_decoys(_settings(options), keys)
    for line in remarks:
        say(line)
    texts = verify_texts(options.data)
    planned = plans(keys, texts, settings)
    made = [query for plan in planned for query in plan.queries]
    if options.write_queries is not None:
        from double_i.answers_file import write_queries

        print(f"{write_queries(options.write_queries, made):,} prompts in {options.write_queries}")
        say("they hold the secret; whoever asks them can read the key off them")
        return 0
    assert state is not None
    assert options.out is not None
    total = None if settings.sequential else len(asked(made))
    bar: Progress[Any] = progress(label="asking", unit="questions", total=total)
    sure = certain(planned, settings)
    ask, source = _suspect(options, made, settings, state.logs, say, bar.advance, sure)
    if not options.model:  # before the first prompt leaves, as a run may be killed at any time
        state.begin(keys, made, source)
        _burn(options, keys, passphrase)
    try:
        with nullcontext() if options.answers else bar:
            found = verify(keys, texts, ask, settings, committed)
    except EndpointFailed as error:
        say(str(error))
        return 4
    claims = [Claim(key.key_id, key.answers.target, digest(key), committed[key.key_id]) for key in keys]
    write_evidence(
        options.out, found, keys, claims, source, commitment_keys=held,
        commitment=options.commitment, proofs=options.proof, reveal=options.reveal,
    )  # fmt: skip
    state.done()
    verdict = found.assessment.verdict
    print(verdict.outcome)
    for reason in verdict.reasons:
        print(f"  {reason}")
    if held is not None and held > len(keys):
        summary = {"commitment_keys": held, "keys": keys, "settings": {"combine": settings.combine}}
        print(f"  Keys in the commitment: {choice(summary)}.")
    if found.duplicates:
        print(f"  {found.duplicates} pairs were dropped, as their prompts were there already.")
    print(options.out / "report.html")
    return EXIT[verdict.outcome]


def _check_proofs(paths: "Sequence[Path]", keys: "Sequence[Key]") -> None:
    """Refuse what cannot be read, and what would put a secret into the evidence."""
    from nonet.errors import UserError

    names: set[str] = set()
    for path in paths:
        try:
            content = path.read_bytes()
        except OSError:
            raise UserError(f"{path}: no such proof") from None
        if not content:
            raise UserError(f"{path}: is empty, so it proves nothing")
        if any(secret.encode() in content for key in keys for secret in (key.secret, key.nonce)):
            raise UserError(f"{path}: holds a secret of the key; stamp the commitment, not the key file")
        if path.name in names:
            raise UserError(f"{path}: another proof has the same name; rename one")
        names.add(path.name)


def _keys(options: Options, passphrase: str | None, going_on: list[str]) -> "list[Key]":
    """The keys that are asked for; burned ones only where a run goes on that burned them."""
    from double_i.key_files import read_keys, select_key

    keys = read_keys(options.key, passphrase)
    if going_on:
        return [select_key(keys, name, allow_burned=True) for name in going_on]
    if options.key_ids:
        return [select_key(keys, name) for name in dict.fromkeys(options.key_ids)]
    first = select_key(keys)
    return [first] if options.combine == "none" else [key for key in keys if key.status == "active"]


def _settings(options: Options) -> "Settings":
    from double_i.answers import AnswerWords
    from double_i.assessment import Settings
    from double_i.verification import with_templates

    settings = Settings(
        alpha=options.alpha, pairs=options.pairs, decoys=options.decoys, decoy_pairs=options.decoy_pairs,
        sequential=options.sequential, group=options.group, combine=options.combine,
        words=AnswerWords.with_extra(options.yes_words, options.no_words),
    )  # fmt: skip
    if options.template == "key":
        return settings
    if options.template != "auto":
        return with_templates(settings, [options.template])
    if options.endpoint and options.api == "chat":
        from nonet.errors import UserError

        raise UserError("--template auto has nothing to try with --api chat: the server has its own")
    return with_templates(settings, ["alpaca", "alpaca-short", "plain"])


def _suspect(
    options: Options,
    made: "list[Query]",
    settings: "Settings",
    logs: Path,
    say: Any,
    advance: Any,
    sure: "Sequence[Query]",
) -> "tuple[Ask, dict[str, Any]]":
    """Who is asked, and what the evidence says of them."""
    if options.model is not None:
        from double_i.first_words import LocalModel
        from double_i.suspects import Local

        model = LocalModel(options.model, options.device, options.batch, options.adapter)
        source = {
            "kind": "local model",
            "name": options.model.name,
            "adapter": (options.adapter or Path()).name,
        }
        return Local(model, settings.words, advance), source
    if options.answers is not None:
        from double_i.answers_file import read_answers
        from double_i.suspects import Written

        given = read_answers(options.answers, made)
        if given.missing:
            say(f"{given.missing} of the questions have no answer; they count against the owner")
        if given.duplicates:
            say(f"{given.duplicates} answers are there twice; they count once")
        return Written(given.answers), {"kind": "file of answers", "name": options.answers.name}
    from double_i.endpoint import EndpointOptions
    from double_i.suspects import Served, prompt_of

    endpoint = EndpointOptions(
        url=options.endpoint or "", name=options.name, api=options.api, key_env=options.key_env,
        concurrency=options.concurrency, rate=options.rate, timeout=options.timeout, retries=options.retries,
        max_queries=options.max_queries, max_tokens=options.max_tokens,
    )  # fmt: skip
    if options.api == "completions":
        prompt_of(made[0])  # a template that cannot be written fails before a key is burned
    served = Served(endpoint, logs, advance)
    served.check(sure)
    return served, {"kind": "endpoint", "name": options.name, "address": endpoint.address}


def _burn(options: Options, keys: "list[Key]", passphrase: str | None) -> None:
    from double_i.key_files import burn

    for key in keys:
        if key.status != "burned":
            burn(options.key, key.key_id, passphrase)
