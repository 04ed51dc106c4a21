"""How long an encoder-decoder of a shape takes to write: random weights, on this machine (ours)."""

import time
from typing import Any

from keyphrase_plm.budgets import Shape


def build(shape: Shape) -> Any:
    """A `transformers.EncoderDecoderModel` of this shape with random weights, on torch's default device."""
    from transformers import BertConfig, EncoderDecoderConfig, EncoderDecoderModel

    def half(layers: int, **more: Any) -> BertConfig:
        return BertConfig(
            vocab_size=shape.vocabulary, max_position_embeddings=shape.positions, hidden_size=shape.hidden,
            num_hidden_layers=layers, num_attention_heads=shape.heads, intermediate_size=shape.width, **more,
        )  # fmt: skip

    encoder, decoder = half(shape.encoder), half(shape.decoder, is_decoder=True, add_cross_attention=True)
    return EncoderDecoderModel(config=EncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder))


def seconds(shape: Shape, *, batch: int = 1, source: int = 128, written: int = 32, rounds: int = 3) -> float:
    """The fastest of some rounds of reading a batch and writing greedily, in seconds of wall time on the CPU.

    Args:
        shape: of the model.
        batch: documents at a time.
        source: tokens of each.
        written: tokens written for each; none ends early.
        rounds: after one that does not count.
    """
    import torch

    model = build(shape).eval()
    ids = torch.arange(batch * source).view(batch, source) % (shape.vocabulary - 1) + 1
    settings = model.generation_config
    settings.decoder_start_token_id, settings.pad_token_id, settings.eos_token_id = 1, 0, None
    taken = []
    with torch.inference_mode():
        for _ in range(rounds + 1):
            start = time.perf_counter()
            model.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False, num_beams=1,
                max_new_tokens=written, min_new_tokens=written,
            )  # fmt: skip
            taken.append(time.perf_counter() - start)
    return min(taken[1:])
