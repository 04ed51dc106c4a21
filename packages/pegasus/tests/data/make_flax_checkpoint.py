"""Makes `flax/pegasus` and `flax/pegasus_x` beside this file with the released Flax models, an oracle.

    uv venv flaxenv && uv pip install --python flaxenv einops flax jax ml_collections scipy
    PYTHONPATH=RELEASED_CODE JAX_PLATFORMS=cpu flaxenv/bin/python make_flax_checkpoint.py

RELEASED_CODE is a checkout of the authors' repository. The checkpoints
are what `flax.training.checkpoints` writes: a msgpack of the training state. PEGASUS-X is in bfloat16.
`flax/expected.npz` holds inputs, targets and the logits of both models.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import serialization
from pegasus.flax.models import seq2seq_model

HERE = Path(__file__).parent / "flax"
SHARED = {
    "vocab_size": 110, "output_vocab_size": 110, "share_embeddings": True, "logits_via_embedding": True,
    "emb_dim": 16, "qkv_dim": 16, "mlp_dim": 24, "num_heads": 2, "num_encoder_layers": 2,
    "num_decoder_layers": 1, "max_input_length": 64, "max_target_length": 64, "deterministic": True,
    "pegasus_scale_embedding": True, "pegasus_replicate_tf_pos_emb": True,
    "dropout_rate": 0.0, "attention_dropout_rate": 0.0,
    "decoder_type": "extended", "decoder_cross_attn_layers": (0,),
}  # fmt: skip
OWN = {
    "pegasus": {"encoder_type": "transformer"},
    "pegasus_x": {
        "encoder_type": "global_local", "global_local__block_size": 4, "global_local__num_global_tokens": 3,
    },
}  # fmt: skip
INPUTS = np.array([[106, 2, 109, 108, 107, 108, 109, 1], [107, 108, 3, 1, 0, 0, 0, 0]])
TARGETS = np.array([[109, 3, 107, 1], [106, 108, 107, 1]])


def make(name, seed):
    model = seq2seq_model.Seq2SeqModel(seq2seq_model.Seq2SeqConfig(**SHARED, **OWN[name]))
    params = model.init(jax.random.PRNGKey(seed), INPUTS, TARGETS)["params"]
    dtype = jnp.bfloat16 if name == "pegasus_x" else jnp.float32
    rng = np.random.default_rng(seed)
    params = jax.tree_util.tree_map(  # otherwise every norm would be the identity
        lambda array: jnp.asarray(array + 0.2 * rng.normal(size=array.shape), dtype), params
    )
    if name == "pegasus":  # starts from a zero vector; the extended decoder, from the pad row
        table = params["shared_embedding"]["embedding"]
        params["shared_embedding"]["embedding"] = table.at[0].set(0)
    exact = jax.tree_util.tree_map(lambda array: array.astype(jnp.float32), params)
    slots = jax.tree_util.tree_map(lambda array: np.zeros(1), params)
    state = {
        "step": np.int32(300),
        "params": params,
        "opt_state": {"0": {"count": np.int32(300), "v": slots}},
    }
    (HERE / name).write_bytes(serialization.to_bytes(state))
    return np.asarray(model.apply({"params": exact}, INPUTS, TARGETS))


if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    logits = {name: make(name, seed) for seed, name in enumerate(OWN)}
    np.savez_compressed(HERE / "expected.npz", inputs=INPUTS, targets=TARGETS, **logits)
