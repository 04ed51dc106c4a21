"""The first word of a model's answer to many prompts, in one batched greedy pass. Source: ours.

The published verification asks one query at a time and generates up to 256 tokens, of which the first word
counts. Here what prompts have in common is read once, what is left is read in batches, and tokens follow
only for the rows whose first word is not yet known. The word is that of the full greedy generation: Yes
may go on as Yesterday, so a word is known when something else follows, when the answer ends, or when no
answer word begins like it.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from double_i.encoding import encode_prompt
from double_i.loading import load_model
from double_i.prefixes import batches, group
from double_i.word_ends import decided, known_words, spellings
from nonet.errors import UserError
from nonet.training.devices import pick_device

LONGEST = 256
"""tokens of an answer at most, as in the published verification"""

Advance = Callable[[int], Any]


class Block(NamedTuple):
    """Prompts that were read together, up to the distribution of the token that follows."""

    rows: list[int]
    logits: Tensor
    """(rows, vocabulary), float32"""
    cache: Any
    mask: Tensor
    """(rows, tokens so far) 0 where padded"""
    positions: Tensor
    """(rows,) of the next token"""


class LocalModel:
    """A causal language model that is asked for first words.

    Args:
        model_dir: its folder, or a pair of model and tokenizer.
        device: `cpu`, `cuda`, ...; `auto`: the first GPU if there is one.
        batch: prompts that are read at once.
        adapter: folder of a peft adapter to merge into it.
        dtype: of the weights; float32 gives the answers that other programs get in float32.

    Raises:
        UserError: no model there, or no such device.
    """

    def __init__(
        self,
        model_dir: str | Path | tuple[Any, Any],
        device: str = "auto",
        batch: int = 64,
        adapter: str | Path | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if batch < 1:
            raise UserError(f"batch is {batch}; it is at least 1")
        if isinstance(model_dir, tuple):
            self.model, self.tokenizer = model_dir
            self.device = self.model.device
        else:
            self.device = torch.device(pick_device(device))
            self.model, self.tokenizer = load_model(model_dir, adapter=adapter, dtype=dtype)
            self.model.to(self.device)
        self.batch = batch
        accepts = signature(self.model.forward).parameters
        self._keep = "logits_to_keep" in accepts
        self._places = "position_ids" in accepts
        config = self.model.config.get_text_config(decoder=True)
        self.limit = _positions(self.model, config)
        self.window = getattr(config, "sliding_window", None)
        self.config = config
        self.ends = _ends(self.model, self.tokenizer)

    def answer(
        self,
        prompts: Sequence[str],
        words: Any = None,
        progress: Advance | None = None,
        *,
        max_new_tokens: int = LONGEST,
    ) -> list[str]:
        """The beginning of each greedy answer, as far as its first word needs.

        Args:
            prompts: texts up to where the answer begins; equal ones are asked once.
            words: the `AnswerWords` that count, or any words; None: yes and no.
            progress: is told how many prompts each batch had.
            max_new_tokens: of a full generation; what is undecided then stays as it is.

        Returns:
            Texts that parse as `generate(do_sample=False, max_new_tokens=...)` would.

        Raises:
            UserError: a prompt is empty or longer than the model's positions.
        """
        known = known_words(words)
        wanted = self._wanted(prompts)
        texts: list[str] = [""] * len(wanted.prompts)
        judged: dict[tuple[int, ...], tuple[str, bool]] = {}
        with torch.inference_mode():
            for block in self.blocks(wanted.prompts, room=max_new_tokens):
                self._finish(block, texts, known, max_new_tokens, judged)
                if progress is not None:
                    progress(sum(wanted.counts[row] for row in block.rows))
        return [texts[place] for place in wanted.places]

    def log_odds(
        self, prompts: Sequence[str], target: str = "Yes", other: str = "No", progress: Advance | None = None
    ) -> NDArray[np.float64]:
        """(prompts,) log P(target) - log P(other) of the first token, over spellings of both.

        Tokens with which both words can begin count for neither. For curves; the verdict parses words.

        Raises:
            UserError: as `answer`; or the tokenizer does not tell the words apart by their first token.
        """
        scores = self.option_scores(prompts, [spellings(target), spellings(other)], progress)
        return scores[:, 0] - scores[:, 1]

    def option_scores(
        self, prompts: Sequence[str], options: Sequence[Sequence[str]], progress: Advance | None = None
    ) -> NDArray[np.float64]:
        """(prompts, options) log probability that the answer's first token begins an option.

        Args:
            prompts: texts up to where the answer begins.
            options: spellings of each option, such as `["A", " A"]`.
            progress: is told how many prompts each batch had.

        Raises:
            UserError: as `answer`; or two options begin with the same tokens after a prompt.
        """
        wanted = self._wanted(prompts)
        found = np.empty((len(wanted.prompts), len(options)))
        starts: dict[str, list[list[int]]] = {}
        with torch.inference_mode():
            for block in self.blocks(wanted.prompts, room=0):
                scores = torch.log_softmax(block.logits.float(), -1)
                for place, row in enumerate(block.rows):
                    text = wanted.texts[row]
                    tail = text[-12:]  # what a tokenizer may join with an answer's first letters
                    if tail not in starts:
                        starts[tail] = self._first_tokens(text, wanted.prompts[row], options)
                    found[row] = [float(scores[place, ids].logsumexp(0)) for ids in starts[tail]]
                if progress is not None:
                    progress(sum(wanted.counts[row] for row in block.rows))
        return found[wanted.places]

    def encode(self, text: str) -> list[int]:
        """Token ids of a prompt, as training has them."""
        return encode_prompt(text, self.tokenizer)

    def blocks(self, prompts: Sequence[Sequence[int]], *, room: int = 0) -> Iterator[Block]:
        """Read prompts; what they share is read once.

        Args:
            prompts: token ids of each.
            room: tokens that may follow; with a sliding window, it decides whether padding is harmless.
        """
        longest = max(map(len, prompts), default=0) + room
        # padding counts as distance in a sliding window, and where positions are not ours to give
        even = not self._places or (self.window is not None and longest >= self.window) or not self._plain()
        groups = group(prompts) if self._plain() else [group(prompts, 10**9)[0]._replace(shared=0)]
        for shared, rows in groups:
            prefix = self._prefix(prompts[rows[0]][:shared]) if shared else None
            lengths = [len(prompt) - shared for prompt in prompts]
            for chosen in batches(lengths, rows, self.batch, even=even):
                yield self._read(chosen, [prompts[row][shared:] for row in chosen], shared, prefix)

    def _plain(self) -> bool:
        """Whether the cache is keys and values alone, which rows may share."""
        if not hasattr(self, "_cache_is_plain"):
            layers = self._new_cache().layers
            kinds = {type(layer).__name__ for layer in layers}
            self._cache_is_plain = kinds <= {"DynamicLayer", "DynamicSlidingWindowLayer"}
        return self._cache_is_plain

    def _new_cache(self) -> Any:
        from transformers import DynamicCache

        return DynamicCache(config=self.model.config)

    def _prefix(self, ids: Sequence[int]) -> Any:
        cache = self._new_cache()
        table = torch.tensor([list(ids)], device=self.device)
        self._forward(table, torch.ones_like(table), torch.arange(len(ids), device=self.device)[None], cache)
        return cache

    def _read(self, rows: list[int], rests: list[Sequence[int]], shared: int, prefix: Any) -> Block:
        most = max(map(len, rests))
        table = np.zeros((len(rows), most), np.int64)
        mask = np.zeros((len(rows), shared + most), np.int64)
        mask[:, :shared] = 1
        for place, rest in enumerate(rests):
            table[place, most - len(rest) :] = rest
            mask[place, shared + most - len(rest) :] = 1
        ids, seen = torch.from_numpy(table).to(self.device), torch.from_numpy(mask).to(self.device)
        places = (seen.cumsum(1) - 1)[:, shared:].clamp_(min=0)
        cache = self._new_cache() if prefix is None else _expanded(prefix, len(rows))
        logits, cache = self._forward(ids, seen, places, cache)
        return Block(rows, logits, cache, seen, places[:, -1] + 1)

    def _forward(self, ids: Tensor, mask: Tensor, positions: Tensor, cache: Any) -> tuple[Tensor, Any]:
        """Logits of the last place, and the cache with these tokens in it."""
        more: dict[str, Any] = {"logits_to_keep": 1} if self._keep else {}
        if self._places:
            more["position_ids"] = positions
        output = self.model(
            input_ids=ids,
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
            return_dict=True,
            **more,
        )
        return output.logits[:, -1], output.past_key_values

    def _finish(
        self,
        block: Block,
        texts: list[str],
        known: frozenset[str],
        most: int,
        judged: dict[tuple[int, ...], tuple[str, bool]],
    ) -> None:
        """Follow each row of a block until its first word is known."""
        rows, logits, cache, mask, positions = block
        said: list[tuple[int, ...]] = [()] * len(rows)
        for count in range(1, most + 1):
            tokens = logits.argmax(-1)
            going = []
            for place, token in enumerate(tokens.tolist()):
                ended = token in self.ends
                ids = said[place] if ended else (*said[place], token)
                if ids not in judged:  # most rows say the same few things
                    text = self.tokenizer.decode(ids, skip_special_tokens=True)
                    judged[ids] = text, decided(text, known)
                texts[rows[place]], done = judged[ids]
                said[place] = ids
                if not (ended or done):
                    going.append(place)
            full = self.limit is not None and int(positions.max()) >= self.limit
            if not going or count == most or full:
                return
            if len(going) < len(rows):
                chosen = torch.tensor(going, device=self.device)
                cache.batch_select_indices(chosen)
                tokens, mask, positions = tokens[chosen], mask[chosen], positions[chosen]
                rows, said = [rows[place] for place in going], [said[place] for place in going]
            mask = torch.cat([mask, mask.new_ones(len(rows), 1)], 1)
            logits, cache = self._forward(tokens[:, None], mask, positions[:, None], cache)
            positions = positions + 1

    def _wanted(self, prompts: Sequence[str]) -> "_Wanted":
        distinct = list(dict.fromkeys(prompts))
        places = {text: place for place, text in enumerate(distinct)}
        ids = [self.encode(text) for text in distinct]
        for place, prompt in enumerate(ids):
            if not prompt:
                raise UserError(f"prompt {prompts.index(distinct[place]) + 1} of {len(prompts)} is empty")
            if self.limit is not None and len(prompt) > self.limit:
                raise UserError(
                    f"prompt {prompts.index(distinct[place]) + 1} of {len(prompts)} has {len(prompt)} "
                    f"tokens, but the model has {self.limit} positions: use shorter base texts"
                )
        counts = [0] * len(distinct)
        for text in prompts:
            counts[places[text]] += 1
        return _Wanted(distinct, ids, [places[text] for text in prompts], counts)

    def _first_tokens(
        self, text: str, prompt: list[int], options: Sequence[Sequence[str]]
    ) -> list[list[int]]:
        """Ids with which each option alone can go on after a prompt."""
        found: list[set[int]] = []
        for spelt in options:
            ids = set()
            for spelling in spelt:
                whole = self.encode(text + spelling)
                if whole[: len(prompt)] == prompt and len(whole) > len(prompt):
                    ids.add(whole[len(prompt)])
            found.append(ids)
        own = [
            ids.difference(*(other for place, other in enumerate(found) if place != mine))
            for mine, ids in enumerate(found)
        ]
        if not all(own):
            names = ", ".join(spelt[0].strip() for spelt in options)
            raise UserError(f"the tokenizer begins two of the answers {names} alike, so they have no odds")
        return [sorted(ids) for ids in own]


class _Wanted(NamedTuple):
    """Distinct prompts, and where each asked one is among them."""

    texts: list[str]
    prompts: list[list[int]]
    places: list[int]
    counts: list[int]


def _expanded(prefix: Any, rows: int) -> Any:
    """A cache of `rows` rows on the one row of a prefix; keys and values are views until they grow."""
    cache = copy.copy(prefix)
    cache.layers = [copy.copy(layer) for layer in prefix.layers]
    for layer in cache.layers:
        layer.keys = layer.keys.expand(rows, -1, -1, -1)
        layer.values = layer.values.expand(rows, -1, -1, -1)
    return cache


def _positions(model: Any, config: Any) -> int | None:
    """How many tokens a table of learnt positions has room for; None where positions are rotary."""
    for name, part in model.named_modules():
        if name.endswith(("wpe", "embed_positions", "position_embeddings")) and hasattr(
            part, "num_embeddings"
        ):
            return int(part.num_embeddings)
    return None


def _ends(model: Any, tokenizer: Any) -> frozenset[int]:
    """Ids that end an answer, as `generate` takes them, and the tokenizer's own."""
    found: set[int] = set()
    for ids in (
        getattr(getattr(model, "generation_config", None), "eos_token_id", None),
        model.config.eos_token_id,
    ):
        if ids is not None:
            found.update([ids] if isinstance(ids, int) else ids)
            break
    if not found and tokenizer.eos_token_id is not None:
        found.add(tokenizer.eos_token_id)
    return frozenset(found)
