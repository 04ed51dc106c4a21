"""The command `cap-prune`: names its verbs; a verb's code is loaded when the verb is asked for."""

from importlib.metadata import version

from nonet.cli import Verb
from nonet.cli import main as run_command

PROG = "cap-prune"

ABOUT = "Prune an encoder while it is fine-tuned, keep its knowledge by contrast, ship a smaller model."

VERBS = {
    "demo": Verb(
        "train a teacher, prune a student, export and time it, on a small made-up task",
        "cap_prune.commands.demo",
        "cap-prune demo",
    ),
    "teacher": Verb(
        "fine-tune the dense model that students are compared with and learn from",
        "cap_prune.commands.teacher",
        "cap-prune teacher --model bert-base-uncased --task sst2 --data glue/SST-2 --out teacher",
    ),
    "prune": Verb(
        "prune a model step by step while it is trained; every level of sparsity is kept",
        "cap_prune.commands.prune",
        "cap-prune prune --model bert-base-uncased --teacher teacher/model --task sst2 --data glue/SST-2",
    ),
    "resume": Verb(
        "go on with an interrupted run of prune",
        "cap_prune.commands.resume",
        "cap-prune resume --run runs/cap_prune/prune-1",
    ),
    "export": Verb(
        "write a pruned model as a smaller one, as zeros in a dense one, in sparse formats or ONNX",
        "cap_prune.commands.export",
        "cap-prune export --model runs/cap_prune/prune-1/step-90 --format slim --out small",
    ),
    "report": Verb(
        "say what is left in each layer: parameters, bytes, operations, and measured latency",
        "cap_prune.commands.report",
        "cap-prune report --model runs/cap_prune/prune-1/step-90",
    ),
    "bench": Verb(
        "time models beside each other at your batch and length",
        "cap_prune.commands.bench",
        "cap-prune bench --models teacher/model small",
    ),
    "eval": Verb(
        "score a model on a task",
        "cap_prune.commands.eval",
        "cap-prune eval --model small --task sst2 --data glue/SST-2",
    ),
    "predict": Verb(
        "write a model's labels, scores or answers for a file of texts",
        "cap_prune.commands.predict",
        "cap-prune predict --model small --input texts.jsonl --out labels.jsonl",
    ),
    "probe": Verb(
        "measure what general knowledge a pruned encoder kept: similarity and linear probes",
        "cap_prune.commands.probe",
        "cap-prune probe --model small --sts glue/STS-B",
    ),
    "info": Verb(
        "say what a model or run folder holds",
        "cap_prune.commands.info",
        "cap-prune info --path runs/cap_prune/prune-1",
    ),
}


def main() -> int:
    """Run the command line; the result is the exit code."""
    return run_command(PROG, ABOUT, version("cap-prune"), VERBS, presets="cap_prune")


if __name__ == "__main__":
    raise SystemExit(main())
