"""What a store, index, run, qrels, model or collection holds, as names and values (ours)."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nonet.data.shard_index import INDEX
from nonet.errors import UserError
from nonet.runs import read_metrics, read_record
from prop_ir.options import SamplerOptions
from prop_ir.store import META, Store, is_store
from prop_ir.text_lines import numbered_lines

SMALL = 1_000_000
"""words below which the default of subsampling rejects most words"""
FLOOR = SamplerOptions.floor
FEW = 1000  # types above the floor: sets drawn from fewer are much alike
FREQUENT = 15  # words that are shown of a store

Facts = dict[str, dict[str, Any]]


def describe(path: Path) -> Facts:
    """Part -> name -> value, for every part that a path holds.

    Raises:
        UserError: the path is missing, damaged, or nothing that this package knows.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist")
    facts = dict(_of_folder(path) if path.is_dir() else _of_file(path))
    if not facts:
        if path.is_dir():
            names = ", ".join(sorted(entry.name for entry in path.iterdir())[:8]) or "nothing"
            raise UserError(f"{path} is no store, index, model, run or collection; it has {names}")
        raise UserError(f"{path} is no run, qrels or collection in a layout that is known")
    return facts


def advice(store: Store) -> list[str]:
    """What the statistics of a store say about the options of sampling."""
    found = []
    if store.total_words < SMALL:
        found.append(
            f"{store.total_words:,} words are few: --sampler.keep 1e-4 rejects most of what is drawn, "
            "1e-3 less"
        )
    above = int((store.ctf >= FLOOR).sum())
    if above < FEW:
        found.append(
            f"only {above:,} of {len(store.ctf):,} types occur {FLOOR} times or more; "
            "a lower --sampler.floor keeps more"
        )
    counts = store.meta["counts"]
    without = sum(number for name, number in counts.items() if name.startswith("left out: "))
    if without * 2 > counts["read"]:
        found.append(
            f"{without:,} of {counts['read']:,} documents have no words; for other alphabets add "
            "--words.regex '\\w+' --words.stop-words none"
        )
    return found


def _of_folder(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    if (path / "run.json").is_file():
        yield "run folder", run_folder_facts(path)
        if (path / "model").is_dir():
            yield from _of_folder(path / "model")
        return
    if is_store(path):
        yield "store", store_facts(Store(path))
        return
    if (path / META).is_file() or (path / INDEX).is_file():
        meta = _json(path / META) if (path / META).is_file() else _json(path / INDEX).get("meta", {})
        yield str(meta.get("kind", "folder with " + META)), dict(_flat(meta))
        return
    if (path / "config.json").is_file():
        yield "model", model_facts(path)
        return
    yield from _of_collection(path)


def _of_file(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    kind = _kind(path)
    if kind == "run":
        from prop_ir.runs import read_run

        yield "run", run_facts(read_run(path), path)
    elif kind == "qrels":
        from prop_ir.qrels import read_qrels

        yield "qrels", qrels_facts(read_qrels(path))
    else:
        yield from _of_collection(path)


def store_facts(store: Store) -> dict[str, Any]:
    """Sizes, settings, and the most frequent words of a store."""
    counts, words = store.meta["counts"], store.word_counts
    order = np.argsort(-store.ctf, kind="stable")[:FREQUENT]
    facts: dict[str, Any] = {
        "documents": len(store),
        "left out": len(store.meta["empty"]),
        "types": len(store.types),
        f"types occurring {FLOOR} times or more": int((store.ctf >= FLOOR).sum()),
        "words": store.total_words,
        "mean words of a document": round(store.mean_words, 2),
        "median words of a document": float(np.median(words)) if len(words) else 0.0,
        "pieces": counts["pieces"],
        "mean pieces of a document": round(counts["pieces"] / max(len(store), 1), 2),
        "documents cut": int((store.piece_counts == store.max_pieces).sum()),
        "most frequent words": ", ".join(f"{store.types[t]} {store.ctf[t]:,}" for t in order),
        "bytes": sum(entry["bytes"] for entry in [*store.meta["files"], store.meta["statistics"]]),
    }
    settings = {
        name: store.meta[name] for name in ("tokenizer", "vocabulary", "max_pieces", "words", "source")
    }
    facts |= dict(_flat(settings))
    notes = advice(store)
    return facts | ({"note": "; ".join(notes)} if notes else {})


def run_folder_facts(path: Path) -> dict[str, Any]:
    """When and how a run ran, and the last numbers that it wrote."""
    record = read_record(path)
    sessions = record["sessions"]
    facts = {name: record.get(name) for name in ("package", "verb", "seed")}
    facts |= {name: sessions[-1].get(name) for name in ("command", "start", "end", "exit")}
    facts["sessions"] = len(sessions)
    facts["seconds"] = round(sum(session.get("seconds") or 0 for session in sessions), 1)
    last = {name: value for line in read_metrics(path) for name, value in line.items()}
    return facts | {f"last {name}": f"{value:g}" for name, value in last.items()}


def run_facts(run: Mapping[str, Mapping[str, float]], path: Path) -> dict[str, Any]:
    """Sizes and scores of a run file."""
    depths = [len(documents) for documents in run.values()]
    scores = [score for documents in run.values() for score in documents.values()]
    return {
        "queries": len(run),
        "documents": len({name for documents in run.values() for name in documents}),
        "candidates of a query": f"{min(depths, default=0):,} to {max(depths, default=0):,}",
        "scores": f"{min(scores, default=0):g} to {max(scores, default=0):g}",
        "tag": "".join(_first_line(path).split()[-1:]),
        "first queries": ", ".join(list(run)[:5]),
    }


def qrels_facts(qrels: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """Sizes and grades of judgements."""
    grades = Counter(grade for documents in qrels.values() for grade in documents.values())
    relevant = sum(any(grade > 0 for grade in documents.values()) for documents in qrels.values())
    return {
        "queries": len(qrels),
        "queries with a relevant document": relevant,
        "judgements": sum(grades.values()),
        "grades": ", ".join(f"{grade}: {number:,}" for grade, number in sorted(grades.items())),
        "first queries": ", ".join(list(qrels)[:5]),
    }


def model_facts(path: Path) -> dict[str, Any]:
    """Configuration, parameters and heads of a model folder; only the headers of its weights are read."""
    config = _json(path / "config.json")
    wanted = (
        "model_type", "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
        "intermediate_size", "max_position_embeddings",
    )  # fmt: skip
    facts: dict[str, Any] = {name: config[name] for name in wanted if name in config}
    facts["architectures"] = ", ".join(config.get("architectures") or []) or "not said"
    shapes = _shapes(path)
    if shapes is None:
        pickles = sorted(entry.name for entry in path.glob("*.bin"))
        return facts | {"weights": f"no .safetensors{'; pickles: ' + ', '.join(pickles) if pickles else ''}"}
    facts["parameters"] = sum(int(np.prod(shape, dtype=np.int64)) for shape in shapes.values())
    heads = {
        "ranking head": ("classifier.", "score.", "rep.", "cls.weight"),
        "pooler": ("bert.pooler.", "pooler.", "roberta.pooler."),
        "masked-word head": ("cls.predictions.", "predictions.", "lm_head.", "vocab_transform."),
    }
    for head, prefixes in heads.items():
        found = [name for name in shapes if name.startswith(prefixes)]
        facts[head] = f"yes ({found[0]}, ...)" if found else "no"
    if (path / "mlm_head.safetensors").is_file():
        facts["masked-word head"] = "yes (mlm_head.safetensors)"
    facts["tokenizer"] = "yes" if (path / "tokenizer.json").is_file() else "no tokenizer.json"
    return facts


def _shapes(path: Path) -> dict[str, list[int]] | None:
    from safetensors import SafetensorError, safe_open

    files = [file for file in sorted(path.glob("*.safetensors")) if file.name != "mlm_head.safetensors"]
    shapes: dict[str, list[int]] = {}
    for file in files:
        try:
            with safe_open(file, framework="np") as weights:
                shapes |= {name: weights.get_slice(name).get_shape() for name in weights.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise UserError(f"{file} is damaged: {error}") from error
    return shapes if files else None


def _of_collection(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    from prop_ir.collections import Collection

    try:
        collection = Collection([path])
        first = next(iter(collection), None)
    except UserError:
        return
    if first is not None:
        yield "collection", {**dict(_flat(collection.source)), "first id": first.id, "text": first.text[:200]}


def _kind(path: Path) -> str:
    """`run`, `qrels` or neither, by the first line."""
    line = _first_line(path)
    cells = line.split()
    if line.startswith("query-id") or (len(cells) > 1 and cells[1].startswith("qid:")):
        return "qrels"
    if len(cells) == 6 and all(map(_is_number, cells[3:5])):
        return "run"
    return "qrels" if len(cells) == 4 and _is_number(cells[3]) else ""


def _first_line(path: Path) -> str:
    try:
        return next((line for _, line in numbered_lines(path)), "")
    except UserError:  # no text: whatever it is, it is no run
        return ""


def _is_number(cell: str) -> bool:
    return re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", cell) is not None


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(value, dict):
        raise UserError(f"{path}: holds no JSON object")
    return value


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            yield prefix + name, ", ".join(map(str, value[:8])) + (", ..." if len(value) > 8 else "")
        else:
            yield prefix + name, value
