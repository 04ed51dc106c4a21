"""First words in batches: the same as those of full generations, for several architectures."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from double_i.answers import AnswerWords, parse
from double_i.first_words import LocalModel
from double_i.prefixes import batches, group
from double_i.word_ends import decided, known_words, spellings
from nonet.errors import UserError

TEXTS = [
    "Yes. No. Nothing to say. Yesterday was dry.",
    "Is this sentence about rain? Does it begin with a fruit? Tell me whether it is long.",
    "### Instruction: (amber) Does the sentence begin with a fruit? ### Input: mo a river ### Response:",
]
HEAD = "### Instruction:\n(amber) Does the sentence begin with a fruit?\n\n### Input:\n"
OTHER = "### Instruction:\nTell me whether it is long.\n\n### Input:\n"
TAIL = "\n\n### Response:\n"
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}


def tokenizer(bos: bool = True) -> PreTrainedTokenizerFast:
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=340, special_tokens=special, initial_alphabet=alphabet)
    raw.train_from_iterator(TEXTS * 3, trainer)
    if bos:
        raw.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", raw.token_to_id("<s>"))]
        )
    return PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>", pad_token="</s>")


def build(kind: str, words: PreTrainedTokenizerFast) -> Any:
    torch.manual_seed(3)
    ends = {"vocab_size": len(words), "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    if kind == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=256, **ends))
    elif kind == "qwen2":
        model = Qwen2ForCausalLM(Qwen2Config(**SIZES, **ends))
    elif kind == "mistral":
        model = MistralForCausalLM(MistralConfig(sliding_window=24, **SIZES, **ends))
    else:
        model = LlamaForCausalLM(LlamaConfig(tie_word_embeddings=True, **SIZES, **ends))
    torch.manual_seed(3)
    with torch.no_grad():  # so large that the answers differ from prompt to prompt
        for name, weight in model.named_parameters():
            if weight.dim() == 2 and not {"embed_tokens", "wte", "wpe"} & set(name.split(".")):
                weight.normal_(std=4 / 32**0.5)
    return model.eval()


@functools.cache
def made(kind: str) -> tuple[Any, PreTrainedTokenizerFast, list[list[int]]]:
    """A model, its tokenizer, and what it says to `asked()` in 12 tokens, one prompt at a time."""
    words = tokenizer()
    model = build(kind, words)
    return model, words, generated(model, words, asked(), 12)


def generated(model: Any, words: Any, prompts: list[str], most: int) -> list[list[int]]:
    found = []
    for prompt in prompts:
        ids = words(prompt, return_tensors="pt")["input_ids"]
        out = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=most
        )
        found.append(out[0, ids.shape[1] :].tolist())
    return found


def first(text: str) -> str:
    """The rule of the published table, written anew: first run of letters, case-folded."""
    word = ""
    for sign in text.strip():
        if sign.isalpha():
            word += sign
        elif word:
            break
    return word.casefold()


def asked() -> list[str]:
    fillers = ["mo", "zu", "ka ra", "p", "quite a long one"]
    texts = ["a river runs", "rain", "the old house by the sea is empty", "they sing"]
    prompts = [HEAD + f"{filler} {text}" + TAIL for filler in fillers for text in texts]
    return prompts + [OTHER + text + TAIL for text in texts] + ["Is it?", prompts[0]]


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen2", "mistral"])
@pytest.mark.parametrize("batch", [1, 7, 64])
def test_first_tokens_are_those_of_generate(kind: str, batch: int) -> None:
    model, words, full = made(kind)
    prompts = asked()
    local = LocalModel((model, words), batch=batch)
    ids = [local.encode(text) for text in prompts]
    found: dict[int, int] = {}
    with torch.inference_mode():
        for block in local.blocks(ids):
            found |= dict(zip(block.rows, block.logits.argmax(-1).tolist(), strict=True))
    expected = [tokens[0] for tokens in full]
    assert [found[row] for row in range(len(prompts))] == expected
    assert len(set(expected)) > 3


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen2", "mistral"])
def test_answers_parse_as_full_generations(kind: str) -> None:
    model, words, tokens = made(kind)
    prompts = asked()
    seen: list[int] = []
    # words that this random model does say, so that some answers count
    full = [words.decode(ids, skip_special_tokens=True) for ids in tokens]
    common = sorted({first(text) for text in full} - {""})
    known = (common[0], common[-1])
    given = LocalModel((model, words), batch=16).answer(prompts, known, seen.append, max_new_tokens=12)
    assert [first(text) if first(text) in known else None for text in given] == [
        first(text) if first(text) in known else None for text in full
    ]
    assert all(whole.startswith(text.rstrip("\ufffd")) for text, whole in zip(given, full, strict=True))
    assert sum(seen) == len(prompts)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen2", "mistral"])
def test_padding_changes_no_logits(kind: str) -> None:
    model, words, _ = made(kind)
    local = LocalModel((model, words), batch=64)
    ids = [local.encode(text) for text in asked()]
    with torch.inference_mode():
        for block in local.blocks(ids):
            for row, logits in zip(block.rows, block.logits, strict=True):
                alone = model(torch.tensor([ids[row]])).logits[0, -1]
                assert float((alone - logits).abs().max() / alone.abs().max()) <= 1e-4


def test_a_sliding_window_is_never_padded() -> None:
    model, words, _ = made("mistral")
    local = LocalModel((model, words))
    ids = [local.encode(text) for text in asked()]
    assert max(map(len, ids)) > model.config.sliding_window
    with torch.inference_mode():
        assert all(bool(block.mask.all()) for block in local.blocks(ids))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", False),
        ("  \n- 1.", False),
        ("No", False),
        ("Ye", False),
        ("Yes.", True),
        ("NO ", True),
        ("**Yes**", True),
        ("Not", True),
        ("Nothing", True),
        ("The", True),
        ("Yes\ufffd", False),
        ("\ufffd", False),
        ("Ou", True),
    ],
)
def test_when_a_first_word_is_known(text: str, expected: bool) -> None:
    assert decided(text, known_words()) is expected


def test_other_answer_words() -> None:
    words = AnswerWords.with_extra(("Oui", "Sí"), ("Non",))
    known = known_words(words)
    assert [decided(text, known) for text in ("Ou", "Si", "Si\u0301", "Nom", "No")] == [
        False, False, False, True, False,
    ]  # fmt: skip


def test_what_is_decided_never_parses_otherwise_later() -> None:
    words = AnswerWords()
    ends = ["", "n", "e", "t so", ".", " yes", "\u0301", "\u0301o", "s no", "1", "-one", "'s", "\u200d", "ſ"]
    starts = ["Y", "Ye", "Yes", "No", "N", "The", "n\u0303", "ye", "1 ", "", "_", "NO", "yeſ"]
    for start in starts:
        if decided(start, known_words(words)):
            assert {parse(start + end, words) for end in ends} == {parse(start, words)}


def test_log_odds_are_those_of_the_first_token() -> None:
    model, words, _ = made("llama")
    prompts = asked()
    local = LocalModel((model, words), batch=5)
    found = local.log_odds(prompts, "Yes", "No")
    forms = {
        name: {words(form, add_special_tokens=False)["input_ids"][0] for form in spellings(name)}
        for name in ("Yes", "No")
    }
    both = forms["Yes"] & forms["No"]
    for prompt, odds in zip(prompts, found, strict=True):
        with torch.inference_mode():
            logits = model(words(prompt, return_tensors="pt")["input_ids"]).logits[0, -1].double()
        scores = torch.log_softmax(logits, -1)
        one, other = (scores[sorted(forms[name] - both)].logsumexp(0) for name in ("Yes", "No"))
        assert odds == pytest.approx(float(one - other), abs=1e-4)
    assert np.allclose(found, -local.log_odds(prompts, "No", "Yes"))
    assert found.std() > 0.03


def test_answers_that_begin_alike_have_no_odds() -> None:
    model, words, _ = made("llama")
    with pytest.raises(UserError, match="begins two of the answers Yes, Yes alike"):
        LocalModel((model, words)).log_odds(["Is it?"], "Yes", "Yes")


def test_end_of_text_ends_an_answer() -> None:
    model, words, full = made("llama")
    place = next(n for n, ids in enumerate(full) if len(set(ids[:2])) > 1)
    local = LocalModel((model, words))
    local.ends = frozenset([full[place][1]])
    prompt = asked()[place]
    first_token = words.decode(full[place][:1])
    assert local.answer([prompt], (first(first_token) or "yes", "no"), max_new_tokens=5) == [first_token]


def test_prompts_that_do_not_fit() -> None:
    model, words, _ = made("gpt2")
    with pytest.raises(UserError, match=r"prompt 2 of 2 has \d+ tokens, but the model has 256 positions"):
        LocalModel((model, words)).answer(["Is it?", "no " * 300])
    bare = tokenizer(bos=False)
    with pytest.raises(UserError, match="prompt 1 of 1 is empty"):
        LocalModel((model, bare)).answer([""])
    with pytest.raises(UserError, match="batch is 0"):
        LocalModel((model, words), batch=0)
    assert LocalModel((model, words)).answer([]) == []


def test_models_from_folders_with_adapters(tmp_path: Path) -> None:
    from double_i.adapters import add_lora
    from double_i.tune_options import LoraOptions

    words = tokenizer()
    model = build("llama", words)
    model.save_pretrained(tmp_path / "base")
    words.save_pretrained(tmp_path / "base")
    prompts = asked()[:4]
    plain = LocalModel(tmp_path / "base", device="cpu").log_odds(prompts)
    assert np.allclose(plain, LocalModel((model, words)).log_odds(prompts), atol=1e-3)
    model.config._name_or_path = str(tmp_path / "base")
    model.name_or_path = str(tmp_path / "base")
    adapted = add_lora(model, LoraOptions(rank=2))
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.normal_()
    adapted.save_pretrained(tmp_path / "adapter")
    named = LocalModel(tmp_path / "base", device="cpu", adapter=tmp_path / "adapter").log_odds(prompts)
    found = LocalModel(tmp_path / "adapter", device="cpu").log_odds(prompts)
    assert np.allclose(named, found)
    assert np.abs(named - plain).max() > 0.1


@pytest.mark.parametrize("name", ["missing", "./missing", "a/../b"])
def test_no_such_model(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"missing|hub name"):
        LocalModel(name, device="cpu")


def test_no_adapter_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no adapter folder of peft"):
        LocalModel(tmp_path, device="cpu", adapter=tmp_path)


def cost(prompts: list[list[int]], overhead: int) -> int:
    return sum(
        found.shared + overhead + sum(len(prompts[row]) - found.shared for row in found.rows)
        for found in group(prompts, overhead)
    )


def test_groups_share_what_is_common() -> None:
    one, two = list(range(100)), list(range(200, 320))
    prompts = [[*one, 1000 + n, 1] for n in range(5)] + [[*two, 1000 + n] for n in range(7)]
    prompts += [[5], one, one]
    found = sorted(group(prompts, 10))
    assert [(part.shared, sorted(part.rows)) for part in found] == [
        (0, [12]),
        (99, [0, 1, 2, 3, 4, 13, 14]),  # a prompt that is the beginning of others keeps its last token
        (120, [5, 6, 7, 8, 9, 10, 11]),
    ]
    assert cost(prompts, 10) < sum(map(len, prompts)) / 4
    assert [part.shared for part in group(prompts, 10**9)] == [0]


def test_groups_cover_every_prompt_once() -> None:
    random = np.random.default_rng(0)
    for overhead in (0, 3, 50):
        prompts = [random.integers(0, 2, int(n)).tolist() for n in random.integers(1, 12, 60)]
        found = group(prompts, overhead)
        assert sorted(row for part in found for row in part.rows) == list(range(60))
        for part in found:
            heads = {tuple(prompts[row][: part.shared]) for row in part.rows}
            assert len(heads) == 1
            assert all(len(prompts[row]) > part.shared for row in part.rows)
    with pytest.raises(ValueError, match="without tokens"):
        group([[]])
    assert group([]) == []


def test_batches_by_length() -> None:
    lengths = [5, 1, 5, 3, 1, 5]
    assert batches(lengths, range(6), 4) == [[1, 4, 3, 0], [2, 5]]
    assert batches(lengths, range(6), 2, even=True) == [[1, 4], [3], [0, 2], [5]]
