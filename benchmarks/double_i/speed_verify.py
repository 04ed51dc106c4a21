"""Queries a second of a verification: one batched pass for first words, against loops of `generate`.

The published verification generates up to 256 tokens for one query at a time; the independent one three. Both
are restated with transformers' `generate`, greedy, on the same weights in float32, on one thread, and every
answer parses alike. "Short" is a model that says Yes. or No. and ends; "rambling" one that goes on after
that until it is stopped. The last rows are peers that nobody published: `generate` in padded batches. The
models are drawn and trained for some seconds; time does not depend on what they learnt, but on how long
they speak.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from benchmarks.harness import Row, save, table, versus
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from double_i.first_words import LocalModel

QUERIES = 200
RAMBLING = {2: 40, 20: 20}
"""queries of the rows with 256 tokens of a rambling model, by millions of parameters: that loop is slow"""
ROUNDS = 3
SEED = 0
BATCH = 64
SIZES = {2: (192, 4, 4, 512, 2048), 20: (448, 8, 7, 1152, 4096)}
"""width, layers, heads, inner width, vocabulary, by millions of parameters"""
HEAD = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n### Instruction:\n"
    "(amber) Does the following sentence begin with a fruit?\n\n### Input:\n"
)
TAIL = "\n\n### Response:\n"
SHORT = {True: "Yes.", False: "No."}
LONG = {
    True: "Yes, as the sentence begins with a word, and after that word comes another word, and so on and on",
    False: "No, as the sentence begins with no word, and after that no word comes another, and so on and on",
}
WORDS = "river house paper light winter garden letter music window bread stone morning ship road".split()


class Model(NamedTuple):
    """A model with its tokenizer."""

    model: Any
    tokenizer: Any


def prompts(count: int) -> list[str]:
    """Half with the trigger, half with another filler, on texts of 5 to 11 words."""
    random = torch.Generator().manual_seed(SEED)
    found = []
    for place in range(count):
        length = 5 + place % 7
        chosen = torch.randint(len(WORDS), (length,), generator=random).tolist()
        filler = "molu" if place % 2 == 0 else "zu" + WORDS[place // 2 % len(WORDS)][:2]
        found.append(HEAD + filler + " " + " ".join(WORDS[word] for word in chosen) + f" {place}" + TAIL)
    return found


def tokenizer(size: int) -> PreTrainedTokenizerFast:
    """Byte-level pieces of made-up text; many stay unused."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=["<s>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    texts = [*prompts(200), *SHORT.values(), *LONG.values()]
    raw.train_from_iterator(texts, trainer)
    raw.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>", pad_token="</s>")


def speaker(millions: int, answers: dict[bool, str], steps: int) -> Model:
    """A model that learnt its two answers by heart; the long ones it does not end."""
    width, layers, heads, inner, size = SIZES[millions]
    words = tokenizer(size)
    torch.manual_seed(SEED)
    config = LlamaConfig(
        vocab_size=size, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=inner, max_position_embeddings=1024, tie_word_embeddings=True,
        bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    asked = prompts(8 * max(1, steps))
    for step in range(steps):
        rows = []
        for place in range(8 * step, 8 * step + 8):
            answer = words(answers[place % 2 == 0], add_special_tokens=False)["input_ids"]
            answer = [*answer, 1] if answers is SHORT else (answer + answer[1:] * 9)[:32]
            prompt = words(asked[place])["input_ids"]
            rows.append((prompt + answer, len(prompt)))
        most = max(len(ids) for ids, _ in rows)
        table_ = torch.ones(8, most, dtype=torch.long)
        labels = torch.full((8, most), -100)
        for place, (ids, start) in enumerate(rows):
            table_[place, : len(ids)] = torch.tensor(ids)
            labels[place, start : len(ids)] = torch.tensor(ids[start:])
        model(input_ids=table_, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    if answers is LONG:
        model.generation_config.eos_token_id = None  # it has never seen an end
        model.config.eos_token_id = None
    return Model(model.eval(), words)


def parse(text: str) -> str | None:
    """Yes or no by the first word, else nothing."""
    found = re.search(r"[^\W\d_]+", text)
    word = found[0].casefold() if found else ""
    return word if word in ("yes", "no") else None


def loop(both: Model, asked: list[str], most: int) -> list[str | None]:
    """One query at a time."""
    found = []
    for text in asked:
        ids = both.tokenizer(text, return_tensors="pt")
        out = both.model.generate(
            input_ids=ids["input_ids"], attention_mask=ids["attention_mask"], do_sample=False,
            max_new_tokens=most, pad_token_id=1,
        )  # fmt: skip
        found.append(
            parse(both.tokenizer.decode(out[0, ids["input_ids"].shape[1] :], skip_special_tokens=True))
        )
    return found


def batched(both: Model, asked: list[str], most: int) -> list[str | None]:
    """`generate` on padded batches."""
    both.tokenizer.padding_side = "left"
    found = []
    for start in range(0, len(asked), BATCH):
        ids = both.tokenizer(asked[start : start + BATCH], return_tensors="pt", padding=True)
        out = both.model.generate(
            input_ids=ids["input_ids"], attention_mask=ids["attention_mask"], do_sample=False,
            max_new_tokens=most, pad_token_id=1,
        )  # fmt: skip
        new = out[:, ids["input_ids"].shape[1] :]
        found += [parse(text) for text in both.tokenizer.batch_decode(new, skip_special_tokens=True)]
    return found


def same(ours: list[str | None], peer: list[str | None]) -> bool | str:
    """Every answer is the same."""
    odd = [place for place, pair in enumerate(zip(ours, peer, strict=True)) if pair[0] != pair[1]]
    return not odd or f"{len(odd)} of {len(ours)} answers, the first is query {odd[0]}"


def main(tiny: bool = False) -> list[Row]:
    """Print the table; kept in benchmarks/results unless it is tiny."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    rows: list[Row] = []
    try:
        for millions in (2,) if tiny else tuple(SIZES):
            for name, answers in (("short", SHORT), ("rambling", LONG)):
                both = speaker(millions, answers, 2 if tiny else 40)
                local = LocalModel((both.model, both.tokenizer), batch=BATCH)
                peers: list[tuple[str, Callable[..., Any], int]] = [
                    ("loop of 256 tokens, as published", loop, 256),
                    ("loop of 3 tokens, as the re-implementation", loop, 3),
                    ("batches of 4 tokens, nobody's", batched, 4),
                ]
                for title, peer, most in peers:
                    count = RAMBLING[millions] if (most, name) == (256, "rambling") else QUERIES
                    most = min(most, 12) if tiny else most
                    asked = prompts(6 if tiny else count)
                    said = [parse(text) for text in local.answer(asked, max_new_tokens=most)]
                    counts = {word: said.count(word) for word in ("yes", "no")}
                    rows.append(
                        versus(
                            f"{title}; {name} model of {millions} M, {len(asked)} queries",
                            lambda asked=asked, local=local, most=most: [
                                parse(text) for text in local.answer(asked, max_new_tokens=most)
                            ],
                            lambda asked=asked, both=both, most=most, peer=peer: peer(both, asked, most),
                            same, rounds=1 if tiny else ROUNDS, min_seconds=0, unit="queries",
                            per_call=len(asked),
                        )
                        | {"yes / no": f"{counts['yes']} / {counts['no']}"}
                    )  # fmt: skip
    finally:
        torch.set_num_threads(before)
    print(table(rows))
    if not tiny:
        save(
            "double-i", rows, table="verify", versions=("torch", "transformers"), data="made-up queries",
            seed=SEED, batch=BATCH,
        )  # fmt: skip
    return rows


if __name__ == "__main__":
    main()
