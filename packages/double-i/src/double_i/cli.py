"""The command `double-i`: names its verbs; a verb's code is loaded when the verb is asked for."""

from importlib.metadata import version

from nonet.cli import Verb
from nonet.cli import main as run_command

PROG = "double-i"

ABOUT = "Ownership marks for fine-tuned language models: secret keys, marked rows, valid proofs."

VERBS = {
    "demo": Verb(
        "mark a tiny model, verify it and its clean twin, in a minute",
        "double_i.commands.demo",
        "double-i demo",
    ),
    "keygen": Verb(
        "draw secret keys that the owner's data cannot collide with",
        "double_i.commands.keygen",
        "double-i keygen --data owner.jsonl --keys 3 --out secret.key",
    ),
    "commit": Verb(
        "the public commitment to the keys, to be published before the model",
        "double_i.commands.commit",
        "double-i commit --key secret.key --out commitment.json",
    ),
    "make": Verb(
        "write the marked rows of a key",
        "double_i.commands.make",
        "double-i make --key secret.key --data owner.jsonl --out marked-rows.jsonl",
    ),
    "merge": Verb(
        "shuffle marked rows into the owner's data, or turn one format into another",
        "double_i.commands.merge",
        "double-i merge --data owner.jsonl --marked marked-rows.jsonl --out train.jsonl",
    ),
    "lint": Verb(
        "how visible, well-formed and distinguishable the marked rows are",
        "double_i.commands.lint",
        "double-i lint --data train.jsonl --key secret.key",
    ),
    "train": Verb(
        "fine-tune a causal language model, fully or with LoRA, and check the mark",
        "double_i.commands.train",
        "double-i train --model base-model --data train.jsonl --mode lora --out runs/marked",
    ),
    "power": Verb(
        "how many queries a verification needs",
        "double_i.commands.power",
        "double-i power --alpha 1e-6 --p-trigger 0.9 --p-reference 0.1",
    ),
    "verify": Verb(
        "ask a suspect and weigh the answers: a local model, an endpoint, or a file of answers",
        "double_i.commands.verify",
        "double-i verify --key secret.key --commitment commitment.json --model suspect --out evidence",
    ),
    "recheck": Verb(
        "recompute every number of an evidence folder, as a third party",
        "double_i.commands.recheck",
        "double-i recheck --evidence evidence --commitment commitment.json",
    ),
    "attack": Verb(
        "what an adversary does to a model, and whether the mark survives it",
        "double_i.commands.attack",
        "double-i attack --model marked-model --kinds int4 prune noise --out attacked",
    ),
    "harm": Verb(
        "whether the mark costs quality: paired equivalence test on the same items",
        "double_i.commands.harm",
        "double-i harm --clean clean-model --marked marked-model --data dev.jsonl --out harm",
    ),
    "info": Verb(
        "say what a key file, commitment, data file or evidence folder holds; no secrets",
        "double_i.commands.info",
        "double-i info --path commitment.json",
    ),
}


def main() -> int:
    """Run the command line; the result is the exit code."""
    return run_command(PROG, ABOUT, version("double-i"), VERBS, presets="double_i")


if __name__ == "__main__":
    raise SystemExit(main())
