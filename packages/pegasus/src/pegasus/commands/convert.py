"""The verb `convert`: TensorFlow, Flax and Hugging Face checkpoints into one layout."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import arg

from nonet.errors import UserError

if TYPE_CHECKING:
    from pegasus.checkpoint_sources import Source
    from pegasus.convert import Converted
    from pegasus.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Options:
    """Bring a checkpoint into the Hugging Face layout, or write one as .npz under the released names.

    Prints which names matched, and a table of what was assumed.
    """

    source: Path
    """TensorFlow: FOLDER/model.ckpt-500000, or its folder; Flax: checkpoint_300000, or its folder; Hugging
    Face: a folder; or an .npz dump with the names of any of them"""
    out: Path
    """folder to write, or the .npz file"""
    from_: Annotated[Literal["auto", "tf1", "flax", "hf", "npz"], arg(name="from")] = "auto"
    """what the source is; auto: by its files"""
    to: Literal["hf", "npz"] = "hf"
    """what to write"""
    tokenizer: Path | None = None
    """SentencePiece model or folder to put beside the model; a Hugging Face source has its own"""
    position_style: Literal["auto", "tf", "hf"] = "auto"
    """formula of the positions: tf is the released code's, hf transformers'; auto: by the stored table, the
    configuration, or the origin"""
    heads: int | None = None
    """attention heads; none: as stored, else 64 wide each"""
    max_positions: int | None = None
    """longest input in the configuration, tokens; none: as stored, else 1024, for PEGASUS-X 16384"""
    block: int | None = None
    """block of PEGASUS-X's local attention, tokens; none: as stored, else 512"""
    dtype: Literal["fp32", "bf16"] = "fp32"
    """of the weights in the new folder"""
    verify: bool = True
    """compare each TensorFlow variable with its checksum"""
    overwrite: bool = False
    """replace a folder that this command wrote before"""


def run(options: Options) -> int:
    """Convert, and print the account."""
    from pegasus.checkpoint_sources import open_source

    source = open_source(options.source, options.from_, verify=options.verify)
    print(f"{options.source}: {source.origin}, {len(source.arrays)} weights with the names of {source.style}")
    if options.to == "npz":
        from pegasus.checkpoint_npz import to_npz

        if options.out.exists() and not options.overwrite:
            raise UserError(f"{options.out} exists; name another file, or say --overwrite")
        count = to_npz(source, options.out)
        print(f"{options.out}: {count} arrays")
        return 0
    from nonet.training.hub import save_folder
    from pegasus.convert import Choices, Fact, to_hf

    tokenizer = _tokenizer(options, source)
    choices = Choices(
        options.heads, options.position_style, options.max_positions, options.block, options.dtype
    )
    model = to_hf(source, choices)
    model.facts.extend(Fact(*fact) for fact in _tokenizer_facts(options, tokenizer, model.config.vocab_size))
    width = max(len(fact.value) for fact in model.facts)
    for fact in model.facts:
        print(f"  {fact.what:<24}{fact.value:<{width}}  {fact.why}")
    save_folder(model, tokenizer, options.out, _card(options, model), overwrite=options.overwrite)
    print(f"{options.out}: {sum(tensor.numel() for tensor in model.tensors.values()):,} numbers")
    return 0


def _tokenizer(options: Options, source: "Source") -> "Tokenizer | None":
    from pegasus.tokenizer import Tokenizer

    if options.tokenizer is not None:
        return Tokenizer.load(options.tokenizer)
    if source.origin == "hf" and (
        list(source.where.glob("*.model")) or (source.where / "tokenizer.json").is_file()
    ):
        return Tokenizer.load(source.where)
    return None


def _tokenizer_facts(
    options: Options, tokenizer: "Tokenizer | None", rows: int
) -> list[tuple[str, str, str]]:
    if tokenizer is None:
        return [("tokenizer", "none", "name one with --tokenizer, or put spiece.model into the folder")]
    if len(tokenizer) > rows:
        raise UserError(
            f"{options.tokenizer or options.source}: the tokenizer has {len(tokenizer):,} ids and the model "
            f"{rows:,} embeddings; use the tokenizer that the model was trained with"
        )
    spare = rows - len(tokenizer)
    ids = tokenizer.ids
    return [
        (
            "tokenizer",
            f"{len(tokenizer):,} ids",
            f"{spare:,} embeddings more" if spare else "as many as embeddings",
        ),
        ("mask ids", f"{ids.mask_sentence}, {ids.mask_word}", "<mask_1> for sentences, <mask_2> for words"),
        (
            "newline",
            str(ids.newline),
            "the piece <n>" if ids.newline else "no piece <n>: newlines become spaces",
        ),
        *(("note", "", note) for note in tokenizer.notes),
    ]


def _card(options: Options, model: "Converted") -> str:
    from nonet.training.model_card import ModelCard

    facts = {fact.what: f"{fact.value} ({fact.why})" for fact in model.facts if fact.what != "note"}
    return ModelCard(
        title=options.out.name,
        what=f"A PEGASUS model for abstractive summarisation, converted from {options.source.name}.",
        tags=("summarization", "pegasus"),
        options=facts,
        load=f'from pegasus.model import load_model\n\nmodel = load_model("{options.out.name}")',
    ).text()
