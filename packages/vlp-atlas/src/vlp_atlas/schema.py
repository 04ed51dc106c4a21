"""What the catalogue's files may say: sources, facts, and the nine kinds of records (ours).

A record is written by hand in YAML. Every field whose type is `Fact` may be written as a bare value, which
then takes the record's `source` and `confidence`, or as a mapping with `value` and its own. After building,
every fact is a full `Fact`. Pydantic is needed here and where catalogues are built or checked, not where
they are queried.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from vlp_atlas.facts import Alternative, Day, Fact, Record, Slug, Source, SourceRef, Strict
from vlp_atlas.vocabulary import (
    Codec,
    Confidence,
    Domain,
    Fusion,
    Modality,
    ObjectiveGroup,
    Setting,
    TaskGroup,
    TextFeatures,
    Unit,
    VisionFeatures,
)


class Link(Strict):
    """A link, and whether it worked when somebody looked."""

    url: str
    official: bool | None = None
    http: int | None = None
    checked: Day | None = None


class Paper(Record):
    """A paper. `venue` is written as the field does (ICML, ECCV, arXiv).

    Attributes:
        tasks: on which it reports its own results.
        abstract_objectives: pre-training objectives that its abstract names.
    """

    title: Fact[str]
    authors: Fact[list[str]] | None = None
    year: Fact[int]
    month: Fact[int] | None = None
    venue: Fact[str]
    venue_status: Fact[Literal["preprint", "conference", "journal", "workshop"]]
    first_public: Fact[Day] | None = None
    published: Fact[Day] | None = None
    arxiv: Fact[Annotated[str, Field(pattern=r"^\d{4}\.\d{4,5}$")]] | None = None
    doi: Fact[str] | None = None
    bibtex_type: Literal["article", "inproceedings", "misc"] = "misc"
    url: Fact[str] | None = None
    code: Fact[list[Link]] | None = None
    code_license: Fact[str] | None = None
    tasks: Fact[list[Slug]] | None = None
    abstract_objectives: Fact[list[Slug]] | None = None


class ObjectiveUse(Strict):
    """An objective as a model uses it; `id` is an objective's, or `unmapped:ACRONYM`."""

    id: Annotated[str, Field(pattern=r"^(?:[a-z0-9]+(?:[.-][a-z0-9]+)*|unmapped:\S.*)$")]
    acronym: str | None = None
    weight: float | None = None
    variant: str | None = None


class Model(Record):
    """A family of models: one design, one paper.

    Attributes:
        name, aliases: as papers write it.
        paper: id of the paper that introduced it.
        objectives_listed: the acronyms of the survey's table, as they stand there.
        objectives: what they mean; where it is not written, the aliases of the acronyms.
        in_survey: W (Wang et al. 2023) or C (Chen et al. 2023).
        survey_row: its number in W's table.
        venue_listed: the venue as W's table has it.
    """

    name: str
    aliases: list[str] = []
    paper: Slug
    modalities: Fact[list[Modality]]
    languages: Fact[list[str]] | None = None
    domain: Fact[Domain] | None = None
    vision_fe: Fact[VisionFeatures] | None = None
    text_fe: Fact[TextFeatures] | None = None
    fusion: Fact[Fusion] | None = None
    codec: Fact[Codec] | None = None
    objectives_listed: Fact[list[str]] | None = None
    objectives: Fact[list[ObjectiveUse]] | None = None
    knowledge: Fact[list[str]] | None = None
    in_survey: list[Literal["W", "C"]] = []
    survey_row: int | None = None
    venue_listed: str | None = None


class DataUse(Strict):
    """A data set as a checkpoint was pre-trained on it."""

    dataset: Slug
    images: int | None = None
    pairs: int | None = None
    filtered: bool | None = None


class Hardware(Strict):
    """What it was trained on."""

    device: str
    count: int


class Checkpoint(Record):
    """Trained weights of a model: what has sizes and results. `resolution` and `patch` in pixels."""

    model: Slug
    name: str
    aliases: list[str] = []
    size_label: str | None = None
    backbone_vision: Fact[str] | None = None
    backbone_text: Fact[str] | None = None
    init_from: Fact[list[str]] | None = None
    params: Fact[int] | None = None
    resolution: Fact[int] | None = None
    patch: Fact[int] | None = None
    pretrain_data: Fact[list[DataUse]] | None = None
    pretrain_pairs: Fact[int] | None = None
    pretrain_images: Fact[int] | None = None
    steps: Fact[int] | None = None
    epochs: Fact[float] | None = None
    batch: Fact[int] | None = None
    optimiser: Fact[str] | None = None
    hardware: Fact[Hardware] | None = None
    gpu_hours: Fact[float] | None = None
    license_weights: Fact[str] | None = None


class Objective(Record):
    """A pre-training objective.

    Attributes:
        group: completion, matching, temporal, particular (Chen et al. 2023), or one of ours.
        formula, latex: plain text, and LaTeX.
        inputs: what the function is given.
        masking: how its inputs are corrupted.
        hyperparameters: name to default, with the unit.
        impl: import path of the function.
        oracle: name of the worked example in vlp_atlas.oracles, which `objective ID --run` runs.
        introduced_by: paper.
        traps: what goes wrong.
    """

    name: str
    aliases: list[str] = []
    group: ObjectiveGroup
    what: str
    inputs: str
    formula: Fact[str]
    latex: str
    masking: Fact[str] | None = None
    reduction: str
    hyperparameters: dict[str, str] = {}
    impl: str
    oracle: str
    introduced_by: Slug | None = None
    traps: list[str] = []


class Split(Strict):
    """How large a split is."""

    images: int | None = None
    texts: int | None = None
    items: int | None = None
    sha: str | None = None


class Dataset(Record):
    """A data set. Counts of images, texts, pairs, clips; hours of video."""

    name: str
    aliases: list[str] = []
    paper: Slug | None = None
    year: Fact[int]
    modalities: Fact[list[Modality]]
    languages: Fact[list[str]] | None = None
    n_images: Fact[int] | None = None
    n_texts: Fact[int] | None = None
    n_pairs: Fact[int] | None = None
    n_clips: Fact[int] | None = None
    hours: Fact[float] | None = None
    splits: Fact[dict[str, Split]] | None = None
    licence: Fact[str] | None = None
    availability: Fact[Literal["open", "on-request", "withdrawn", "private"]] | None = None
    links: list[Link] = []
    contains: Fact[list[Slug]] | None = None
    contamination: Fact[str] | None = None
    used_for: list[Literal["pre-training", "evaluation"]] = []


class Task(Record):
    """A downstream task."""

    name: str
    aliases: list[str] = []
    group: TaskGroup
    takes: str
    gives: str
    datasets: list[Slug] = []
    primary_metric: Slug
    secondary: list[Slug] = []
    settings: list[Setting] = ["fine-tuned"]
    definition: str
    traps: list[str] = []


class Metric(Record):
    """A metric.

    Attributes:
        unit: in which results are written here.
        range: least and greatest value.
        higher_is_better: False for errors and distances.
        aggregation: micro, macro, corpus or mean.
        conventions: names of ways to compute it, and what each does.
        impl: import path of the function; None where outside weights or tools are needed.
        oracle: name of the worked example in vlp_atlas.oracles.
    """

    name: str
    aliases: list[str] = []
    formula: Fact[str]
    latex: str
    unit: Unit
    range: tuple[float | None, float | None] | list[float | None]
    higher_is_better: bool
    aggregation: Literal["micro", "macro", "corpus", "mean"]
    conventions: dict[str, str] = {}
    impl: str | None
    oracle: str | None
    traps: list[str] = []


class Protocol(Strict):
    """What two numbers must share to be compared, beyond data set, split, metric and setting."""

    resolution: int | None = None
    ensemble: bool | None = None
    scst: bool | None = None
    extra_data: list[str] | None = None
    candidates: str | None = None
    text_premise: bool | None = None
    boxes: Literal["ground-truth", "detected"] | None = None
    beam: int | None = None
    shots: int | None = None


class Result(Strict):
    """A number that somebody reported: one measurement of one checkpoint.

    Attributes:
        id: what was measured and how, in one name; it is derived.
        unit: of `value`; the metric's own.
        reported_by: the paper that has it.
        alternatives: what other sources say of the same measurement.
    """

    id: str | None = None
    checkpoint: Slug
    task: Slug
    dataset: Slug
    split: str
    metric: Slug
    setting: Setting = "fine-tuned"
    protocol: Protocol = Protocol()
    value: float
    unit: Unit = "percent"
    reported_by: Slug | None = None
    source: list[SourceRef]
    confidence: Confidence
    error: str | None = None
    note: str | None = None
    as_of: Day | None = None
    alternatives: list[Alternative[float]] = []
    local: Literal[True] | None = None


class Sense(Strict):
    """One thing that a name may mean."""

    kind: Literal["model", "objective", "dataset", "task", "metric", "unmapped"]
    id: str
    note: str | None = None


class Alias(Strict):
    """A name that is written for something else, or for several things.

    Attributes:
        alias: the name; upper and lower case do not matter.
        senses: what it means; a name with several is never resolved silently.
        source: who writes it.
    """

    alias: str
    senses: list[Sense]
    source: list[SourceRef] = []
    note: str | None = None
    local: Literal[True] | None = None


FILES: dict[str, type[Strict]] = {
    "sources": Source, "papers": Paper, "models": Model, "checkpoints": Checkpoint, "objectives": Objective,
    "datasets": Dataset, "tasks": Task, "metrics": Metric, "results": Result, "aliases": Alias,
}  # fmt: skip
"""catalogue/NAME.yaml, and what each of its entries is"""


def facts_of(kind: type[Strict]) -> list[str]:
    """Names of the fields of a record that are facts."""
    return [name for name, field in kind.model_fields.items() if "Fact[" in str(field.annotation)]


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the built catalogue, for those who check it without Python."""
    from pydantic import create_model

    fields: dict[str, Any] = dict.fromkeys(("schema_version", "data_version", "as_of", "hash"), (str, ...))
    fields |= {name: (list[kind], ...) for name, kind in FILES.items()}  # type: ignore[valid-type]
    whole = create_model("Atlas", __base__=Strict, **fields)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **whole.model_json_schema()}
