"""Makes `tf_pegasus/` and `tf_types/` beside this file with TensorFlow (2.21 was used), the tests' oracle.

    uv venv tfenv && uv pip install --python tfenv tensorflow-cpu && tfenv/bin/python make_tf_checkpoint.py

`tf_pegasus/` is a tiny PEGASUS under the variable names of the released checkpoints, Adafactor's slots and
the step included, in three shards; its `expected.npz` holds inputs, targets, and the logits that TensorFlow
computes with these variables (Zhang et al. 2020: pre-norm blocks, ReLU, zero start vector, sine half then
cosine half). `tf_types/` has one variable of each kind, and its `expected.npz` their values as TensorFlow
reads them.
"""

import math
from pathlib import Path

import numpy as np
import tensorflow as tf

v1 = tf.compat.v1
HERE = Path(__file__).parent
V, D, F, H, ENCODER, DECODER = 120, 16, 24, 2, 2, 1
EPSILON = 1e-12
rng = np.random.default_rng(7)
count = 0


def variable(name, shape):
    """A variable with its Adafactor slots; the two devices' variables lie in shards of their own."""
    global count
    count += 1
    kind = name.rsplit("/", 1)[1]
    values = rng.normal(size=shape).astype(np.float32) * (0.4 if kind in ("kernel", "weights") else 0.1)
    values += 1.0 if kind == "gamma" else 0.0
    with tf.device(f"/cpu:{count % 2}"):
        result = v1.get_variable(name, initializer=values)
        if len(shape) == 2:
            v1.get_variable(name + "/Adafactor", initializer=np.ones(shape[0], np.float32))
            v1.get_variable(name + "/Adafactor_1", initializer=np.ones(shape[1], np.float32))
        else:
            v1.get_variable(name + "/Adafactor", initializer=np.ones(shape, np.float32))
    return result


def norm(x, scope):
    beta, gamma = variable(f"{scope}/LayerNorm/beta", (D,)), variable(f"{scope}/LayerNorm/gamma", (D,))
    mean, variance = tf.nn.moments(x, axes=[-1], keepdims=True)
    return (x - mean) * tf.math.rsqrt(variance + EPSILON) * gamma + beta


def attention(x, memory, bias, scope):
    def split(y):
        return tf.transpose(tf.reshape(y, [tf.shape(y)[0], tf.shape(y)[1], H, D // H]), [0, 2, 1, 3])

    q, k, v, o = (variable(f"{scope}/{name}_proj/kernel", (D, D)) for name in ("q", "k", "v", "output"))
    scores = tf.matmul(split(x @ q) * (D // H) ** -0.5, split(memory @ k), transpose_b=True) + bias
    mixed = tf.transpose(tf.matmul(tf.nn.softmax(scores), split(memory @ v)), [0, 2, 1, 3])
    return tf.reshape(mixed, tf.shape(x)) @ o


def block(x, bias, memory, memory_bias, scope):
    y = norm(x, f"{scope}/self_attention")
    x = x + attention(y, y, bias, f"{scope}/self_attention")
    if memory is not None:
        y = norm(x, f"{scope}/memory_attention")
        x = x + attention(y, memory, memory_bias, f"{scope}/memory_attention")
    y = norm(x, f"{scope}/ffn")
    y = tf.nn.relu(
        y @ variable(f"{scope}/ffn/dense/kernel", (D, F)) + variable(f"{scope}/ffn/dense/bias", (F,))
    )
    return (
        x + y @ variable(f"{scope}/ffn/dense_1/kernel", (F, D)) + variable(f"{scope}/ffn/dense_1/bias", (D,))
    )


def positions(length):
    scale = np.exp(-np.arange(D // 2) * math.log(1e4) / (D // 2 - 1))
    angles = np.arange(length)[:, None] * scale
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


def pegasus():
    inputs = np.array([[106, 2, 110, 119, 1], [107, 1, 0, 0, 0]])
    targets = np.array([[110, 3, 111, 1], [112, 113, 1, 0]])
    config = v1.ConfigProto(device_count={"CPU": 2})
    with v1.Graph().as_default(), v1.Session(config=config) as session:
        table = variable("embeddings/weights", (V, D))
        padding = tf.constant((inputs == 0).astype(np.float32)[:, None, None, :] * np.finfo(np.float32).min)
        x = tf.nn.embedding_lookup(table, inputs) * D**0.5 + positions(inputs.shape[1])
        for i in range(ENCODER):
            x = block(x, padding, None, None, f"encoder/layer_{i}")
        memory = norm(x, "encoder")
        T = targets.shape[1]
        causal = tf.constant(np.triu(np.full((T, T), np.finfo(np.float32).min, np.float32), 1))
        x = tf.nn.embedding_lookup(table, targets) * D**0.5
        x = tf.pad(x, [[0, 0], [1, 0], [0, 0]])[:, :-1] + positions(T)
        for i in range(DECODER):
            x = block(x, causal, memory, padding, f"decoder/layer_{i}")
        logits = tf.matmul(norm(x, "decoder"), table, transpose_b=True)
        v1.get_variable("global_step", initializer=np.int64(1500))
        session.run(v1.global_variables_initializer())
        values = session.run(logits)
        prefix = str(HERE / "tf_pegasus" / "model.ckpt")
        v1.train.Saver(sharded=True).save(session, prefix, global_step=1500, write_meta_graph=False)
    forget_the_folder("tf_pegasus")
    np.savez_compressed(HERE / "tf_pegasus" / "expected.npz", inputs=inputs, targets=targets, logits=values)


def forget_the_folder(name):
    """The state file names this machine's folder; released checkpoints have been moved as well."""
    state = HERE / name / "checkpoint"
    state.write_text(state.read_text().replace(str(HERE), "/elsewhere"))


def types():
    values = {
        "half": np.array([1.5, -2.0], np.float16),
        "double": np.array([[math.pi]], np.float64),
        "byte": np.array([0, 255], np.uint8),
        "small": np.array([-128, 127], np.int8),
        "short": np.array([-(2**15)], np.int16),
        "integer": np.arange(-3, 3, dtype=np.int32).reshape(2, 3),
        "truth": np.array([True, False, True]),
        "scalar": np.int64(2**40),
        "nothing": np.zeros((0, 4), np.float32),
        "complex": np.array([1 + 2j], np.complex64),
        "a/rather/long/name/shared/with/others/0": np.float32(0),
        "a/rather/long/name/shared/with/others/1": np.float32(1),
        **{
            f"many/{i:03d}": np.full(2, i, np.float32) for i in range(200)
        },  # more than one block of the index
    }
    with v1.Graph().as_default(), v1.Session() as session:
        for name, value in values.items():
            v1.get_variable(name, initializer=value)
        v1.get_variable("brain", initializer=tf.constant([1.0, -3.0, 1 / 3], tf.bfloat16))
        v1.get_variable("words", initializer=np.array([b"a", b"bc"], object), dtype=tf.string)
        split = v1.fixed_size_partitioner(2)
        v1.get_variable("parts", shape=(4, 2), initializer=v1.ones_initializer(), partitioner=split)
        session.run(v1.global_variables_initializer())
        prefix = str(HERE / "tf_types" / "model.ckpt")
        v1.train.Saver().save(session, prefix, write_meta_graph=False)
    reader = tf.train.load_checkpoint(prefix)
    numbers = {name: reader.get_tensor(name) for name in values if not name.startswith("many/")}
    numbers["many"] = np.stack([reader.get_tensor(f"many/{i:03d}") for i in range(200)])
    forget_the_folder("tf_types")
    numbers["brain"] = reader.get_tensor("brain").astype(np.float32)
    np.savez_compressed(HERE / "tf_types" / "expected.npz", **numbers)


if __name__ == "__main__":
    (HERE / "tf_pegasus").mkdir(exist_ok=True)
    (HERE / "tf_types").mkdir(exist_ok=True)
    pegasus()
    types()
