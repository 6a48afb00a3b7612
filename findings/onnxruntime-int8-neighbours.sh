#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# ONNX Runtime 1.32.0 with onnx 1.23.2, 2026-12-01: a model quantized "dynamically" to int8 answers a row by which rows stand beside it.
#
# One would guess: quantize_dynamic measures each row's activations when they are there, so that a row in a batch gets the answer that it gets alone,
# as it does in fp32.
# What happens: DynamicQuantizeLinear has one scale and one zero point for the whole tensor, batch included. One row of large numbers leaves the
# others few of the 256 steps, and their answers change: the label of a text depends on who asked at the same moment. Per-channel weights
# (per_channel=True) change nothing about it.
#
# The output seen:
#   fp32: 0 of 300 labels differ between a batch and one by one
#   int8: 5 of 300 labels differ in a batch of like rows
#   int8: 24 of 300 labels differ beside one row twenty times as large
#   int8, weights per channel: more than 10 differ beside it: True
#
# Needs python3 with venv and the network.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q --retries 1 --timeout 30 onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6 >pip.log 2>&1 || { cat pip.log >&2; exit 1; }
cat >try.py <<'END'
import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime.quantization import QuantType, quantize_dynamic

draw = np.random.default_rng(1)
weights = draw.standard_normal((64, 20)).astype(np.float32)
rows = draw.standard_normal((300, 64)).astype(np.float32)
graph = onnx.helper.make_graph(
    [onnx.helper.make_node("MatMul", ["rows", "weights"], ["scores"])], "head",
    [onnx.helper.make_tensor_value_info("rows", onnx.TensorProto.FLOAT, ["batch", 64])],
    [onnx.helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, ["batch", 20])],
    [onnx.numpy_helper.from_array(weights, "weights")])
onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=10), "fp32.onnx")
quantize_dynamic("fp32.onnx", "int8.onnx", weight_type=QuantType.QInt8)
quantize_dynamic("fp32.onnx", "channels.onnx", weight_type=QuantType.QInt8, per_channel=True)


def differ(path, loud):
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    labels = lambda batch: session.run(None, {"rows": batch})[0].argmax(1)
    alone = [labels(rows[i:i + 1])[0] for i in range(300)]
    beside = np.concatenate([rows, 20 * rows[:1]]) if loud else rows
    return int((labels(beside)[:300] != alone).sum())


plain, alike, loud, channels = differ("fp32.onnx", True), differ("int8.onnx", False), differ("int8.onnx", True), differ("channels.onnx", True)
print("fp32:", plain, "of 300 labels differ between a batch and one by one")
print("int8:", alike, "of 300 labels differ in a batch of like rows")
print("int8:", loud, "of 300 labels differ beside one row twenty times as large")
print("int8, weights per channel: more than 10 differ beside it:", channels > 10)
assert plain == 0 and 0 < alike < loud and loud > 10 and channels > 10
END
venv/bin/python -W ignore try.py 2>errors || { cat errors >&2; exit 1; }
