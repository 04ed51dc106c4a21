"""What the verbs `train ...` share: documents in, a run folder with model, card and page out (ours)."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keyphrase_plm.train_options import TrainOptions

if TYPE_CHECKING:
    from keyphrase_plm.data import Encoded
    from keyphrase_plm.documents import Document, Prediction
    from keyphrase_plm.families import Family
    from nonet.report import Page
    from nonet.runs import Run

SHOWN = 600
"""characters of a document on the page"""


def train_family(options: TrainOptions, verb: str, make: "Callable[[], Family]", init: str) -> int:
    """Train a family and leave its run folder.

    Args:
        options: of the verb.
        verb: such as `train tag`.
        make: the family to start from.
        init: what it starts from, in words, for the card and for messages.

    Returns:
        The exit code.

    Raises:
        UserError: whatever is wrong with files or options; before there is a run folder.
    """
    import torch

    from keyphrase_plm.decoding_options import DecodeOptions
    from keyphrase_plm.embedding_rows import add_digit_token, check_rows
    from keyphrase_plm.judging import PresentF1
    from keyphrase_plm.training import best_of, fit
    from nonet.runs import Run, folder_of
    from nonet.training.hub import save_folder

    # what can be refused is looked at before there is a run folder
    resumed = folder_of(options.resume)
    notes: list[str] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.trainer.seed)  # weights that no checkpoint has are drawn
        family = make()
    check_rows(family, init)
    if options.digit_token and add_digit_token(family):
        notes.append("[digit] is a token of its own")
    train, val = _documents(options, family, notes)
    record = (
        Run.resume(resumed, options)
        if resumed
        else Run.create("keyphrase_plm", verb, options, seed=options.trainer.seed, folder=options.out)
    )
    with record:
        for note in notes:
            record.say(note)
        record.say(f"{sum(p.numel() for p in family.parameters()):,} parameters")
        judged = val.documents[: options.select_size] if val else []
        select = options.select if val else "last"
        metrics = fit(
            family, train.rows, record, val=val.rows if val else (), batch=options.batch,
            batch_tokens=options.batch_tokens, epochs=options.epochs, select=select,
            judge=PresentF1(judged, DecodeOptions()) if select == "f1" else None, patience=options.patience,
            warmup_share=options.warmup_share, max_skipped=options.max_skipped, trainer=options.trainer,
            optimizer=options.optimizer,
            state={"family": family.name, "digit_token": options.digit_token, "select": select},
        )  # fmt: skip
        if record.writes:
            scores = {
                "nats a target token": best_of(metrics, "val/loss"),
                "present F1@M (chan)": best_of(metrics, "val/f1", greatest=True),
            }
            page, limits = _page(options, family, record, val.documents if val else [])
            card = _card(options, verb, family, init, scores, len(judged), limits)
            save_folder(_Folder(family), None, record.model, card, overwrite=resumed is not None)
            page.save(record.folder / "report.html")
            print(record.folder)
    return 0


class _Folder:
    """A family as `save_folder` wants a model."""

    def __init__(self, family: "Family") -> None:
        self.family = family

    def save_pretrained(self, folder: str | Path) -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.family.save(Path(folder))


def _documents(options: TrainOptions, family: "Family", notes: list[str]) -> "tuple[Encoded, Encoded | None]":
    """The training and validation documents, read, cut down and encoded; `notes` gets what is to be said."""
    from keyphrase_plm.data import encode_documents, subset
    from keyphrase_plm.layouts import read_documents

    found: dict[str, Any] = {"val": None}
    for side, paths, limit in (("train", options.train, None), ("val", options.val, options.val_size)):
        if not paths:
            continue
        reader = read_documents(paths, format=options.format, limit=limit)
        documents = list(reader.prepared())
        notes.append(f"{side}: {reader.describe()}")
        if side == "train":
            chosen = subset(
                [document.id for document in documents], size=options.train_size,
                fraction=options.train_fraction, seed=options.subset_seed,
            )  # fmt: skip
            documents = [documents[i] for i in chosen]
        found[side] = encode_documents(family, documents, side=side)
        notes += found[side].notes
    return found["train"], found["val"]


def _page(
    options: TrainOptions, family: "Family", record: "Run", documents: "list[Document]"
) -> "tuple[Page, list[str]]":
    """The run's page with a few predictions; and what these say about the model's limits."""
    from keyphrase_plm.decoding_options import DecodeOptions
    from keyphrase_plm.predicting import predict
    from nonet.report.run_page import run_page
    from nonet.training.devices import pick_device

    page = run_page(record.folder)
    shown = documents[: options.examples]
    if not shown:
        return page, []
    family.to(pick_device("cpu" if options.trainer.accelerator == "cpu" else "auto"))
    predictions = list(predict(family, shown, DecodeOptions()))
    family.cpu()
    page.table(
        [_row(*pair) for pair in zip(shown, predictions, strict=True)],
        caption="Validation documents and what the model finds in them",
    )
    if not any(prediction.phrases for prediction in predictions):
        warning = (
            f"no phrases for any of the first {len(shown)} validation documents: the model has collapsed"
        )
        record.say(f"warning: {warning}")
        return page, [warning]
    return page, []


def _row(document: "Document", prediction: "Prediction") -> dict[str, str]:
    return {
        "document": f"{document.title} {document.body}".strip()[:SHOWN],
        "present": " ; ".join(document.present),
        "absent": " ; ".join(document.absent),
        "predicted": " ; ".join(prediction.phrases) or "(none)",
    }


LOAD = """
from keyphrase_plm import Document, DecodeOptions, load_family, predict

family = load_family("FOLDER")
for prediction in predict(family, [Document("1", "A title", "A body.")], DecodeOptions()):
    print(prediction.phrases)
"""


def _card(
    options: TrainOptions,
    verb: str,
    family: "Family",
    init: str,
    scores: dict[str, float | None],
    judged: int,
    limits: list[str],
) -> str:
    """README.md of the model's folder."""
    from nonet.options import dump
    from nonet.training.model_card import ModelCard, Score

    kinds = "present phrases" if family.name == "tag" else "present and absent phrases"
    return ModelCard(
        title=f"Keyphrases, {family.name} from {init}",
        what=f"Finds a document's keyphrases: {kinds}. After Wu et al. (2022), by `keyphrase-plm {verb}`.",
        tags=("keyphrase-generation", f"keyphrase-{family.name}"),
        library="keyphrase-plm",
        base=init,
        data=f"{', '.join(map(str, options.train))}.",
        options=dump(options),
        scores=[
            Score(name, value, data=", ".join(map(str, options.val)), count=judged or None)
            for name, value in scores.items()
            if value is not None
        ],
        limits=(
            "Phrases are lower-case; the longest input is cut, and predict counts how often.",
            "Scores chose the weights, hence are a little better than on other documents.",
            *limits,
        ),
        load=LOAD,
    ).text()
