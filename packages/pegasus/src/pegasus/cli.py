"""The command `pegasus`: names its verbs; a verb's code is loaded when the verb is asked for."""

from importlib.metadata import version

from nonet.cli import Verb
from nonet.cli import main as run_command

PROG = "pegasus"

ABOUT = "Summarisation by gap-sentence pre-training: tokenizer, shards, pre-training, fine-tuning, scores."

VERBS = {
    "demo": Verb(
        "pre-train, fine-tune and summarise on a small made-up corpus",
        "pegasus.commands.demo",
        "pegasus demo",
    ),
    "tokenizer train": Verb(
        "learn a SentencePiece vocabulary with PEGASUS's ids",
        "pegasus.commands.tokenizer_train",
        "pegasus tokenizer train --input corpus.jsonl --vocab-size 32000 --out tokenizer",
    ),
    "gsg build": Verb(
        "turn raw text into pre-training shards; statistics and examples of gap sentences",
        "pegasus.commands.gsg_build",
        "pegasus gsg build --input corpus.jsonl --tokenizer tokenizer --out shards --stats --show 3",
    ),
    "pretrain": Verb(
        "pre-train a model on shards or raw text",
        "pegasus.commands.pretrain",
        "pegasus pretrain --preset tiny --data shards --tokenizer tokenizer",
    ),
    "finetune": Verb(
        "fine-tune a model on document-summary pairs",
        "pegasus.commands.finetune",
        "pegasus finetune --init pretrained/model --train train.jsonl --val dev.jsonl --limit 100",
    ),
    "evaluate": Verb(
        "score predictions, or a model, against references",
        "pegasus.commands.evaluate",
        "pegasus evaluate --pred predictions.txt --ref references.txt",
    ),
    "summarize": Verb(
        "write summaries of documents",
        "pegasus.commands.summarize",
        "pegasus summarize --model runs/pegasus/finetune-1/model --input documents.txt --out summaries.txt",
    ),
    "convert": Verb(
        "bring TensorFlow, Flax and Hugging Face checkpoints into one layout",
        "pegasus.commands.convert",
        "pegasus convert --from tf1 --source ckpt/model.ckpt-500000 --tokenizer c4.model --out pegasus-large",
    ),
    "overlap": Verb(
        "find test documents that a pre-training corpus contains",
        "pegasus.commands.overlap",
        "pegasus overlap --test test.jsonl --corpus corpus.jsonl.gz --write-clean clean.jsonl.gz",
    ),
    "info": Verb(
        "say what a model, tokenizer or shard folder holds",
        "pegasus.commands.info",
        "pegasus info --path runs/pegasus/finetune-1/model",
    ),
}


def main() -> int:
    """Run the command line; the result is the exit code."""
    return run_command(PROG, ABOUT, version("pegasus"), VERBS, presets="pegasus")


if __name__ == "__main__":
    raise SystemExit(main())
