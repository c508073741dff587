"""Inference: packed Engram against transformers, OpenVINO and ONNX Runtime on the same texts, model and machine, in one run.

    infer_vs_peers.py [--data FILE] [--texts 2048] [--repeats 3]

Figures are real tokens (no padding) a second through the whole encoder, tokenization excluded on both sides. "arrival": batches of 32
in the file's order; "sorted": batches of 32 after sorting by length. Peers pad each batch to its longest text, as they do in
production; Engram packs the same batches. latency_1x32: one text of 32 tokens.
"""
import argparse
import json
import pathlib
import statistics
import tempfile

import numpy
import openvino
import onnxruntime
import torch
import transformers

import peers

BATCH = 32


class Batches:
    """The same batches for everyone: lists of id lists, and the padded arrays that the peers need."""

    def __init__(self, ids: list[list[int]], order: str):
        ranked = sorted(ids, key=len) if order == "sorted" else ids
        self.groups = [ranked[i:i + BATCH] for i in range(0, len(ranked), BATCH)]
        self.tokens = sum(map(len, ids))
        self.padded = []
        for group in self.groups:
            width = max(map(len, group))
            rows, mask = numpy.zeros((len(group), width), numpy.int64), numpy.zeros((len(group), width), numpy.int64)
            for r, text in enumerate(group):
                rows[r, :len(text)], mask[r, :len(text)] = text, 1
            self.padded.append((rows, mask))


class Transformers:
    name = f"transformers {transformers.__version__}"

    def __init__(self, precision: str):
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self.model = transformers.AutoModel.from_pretrained(peers.BASE_MODEL, add_pooling_layer=False, dtype=dtype).eval()

    def run(self, batches: Batches) -> None:
        with torch.inference_mode():
            for rows, mask in batches.padded:
                self.model(input_ids=torch.from_numpy(rows), attention_mask=torch.from_numpy(mask))


class OpenVino:
    name = f"openvino {openvino.__version__.split('-')[0]}"

    def __init__(self, precision: str, onnx_file: str):
        core = openvino.Core()
        hint = {"INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32", "INFERENCE_NUM_THREADS": peers.THREADS,
                "PERFORMANCE_HINT": "LATENCY"}
        self.request = core.compile_model(onnx_file, "CPU", hint).create_infer_request()

    def run(self, batches: Batches) -> None:
        for rows, mask in batches.padded:
            self.request.infer({"input_ids": rows, "attention_mask": mask})


class OnnxRuntime:
    name = f"onnxruntime {onnxruntime.__version__}"

    def __init__(self, onnx_file: str):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = peers.THREADS
        self.session = onnxruntime.InferenceSession(onnx_file, options, providers=["CPUExecutionProvider"])

    def run(self, batches: Batches) -> None:
        for rows, mask in batches.padded:
            self.session.run(None, {"input_ids": rows, "attention_mask": mask})


def export_onnx(target: pathlib.Path) -> str:
    model = transformers.AutoModel.from_pretrained(peers.BASE_MODEL, add_pooling_layer=False, attn_implementation="eager").eval()

    class LastHidden(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, input_ids, attention_mask):
            return self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state

    example = (torch.ones(2, 7, dtype=torch.long), torch.ones(2, 7, dtype=torch.long))
    torch.onnx.export(LastHidden().eval(), example, str(target), input_names=["input_ids", "attention_mask"], output_names=["hidden"],
                      dynamic_axes={"input_ids": {0: "n", 1: "t"}, "attention_mask": {0: "n", 1: "t"}, "hidden": {0: "n", 1: "t"}},
                      dynamo=False)
    return str(target)


def throughput(name: str, ours, precision: str, order: str, batches: Batches, peer, repeats: int, data: str) -> dict:
    command = f"run {precision} {order}"
    ours.ask(command), peer.run(batches)  # warm both up
    mine, theirs = [], []
    for _ in range(repeats):
        mine.append(batches.tokens / ours.ask(command)["seconds"])
        theirs.append(batches.tokens / peers.timed(lambda: peer.run(batches)))
    return peers.row(f"{name}.{precision}.{order}", mine, peer.name, theirs, "real tokens/s", data=data, batch=BATCH, threads=peers.THREADS)


def latency(ours, precision: str, peer, data: str) -> dict:
    single = Batches([[101] + [2023] * 30 + [102]], "arrival")
    mine, theirs = [], []
    for _ in range(20):
        ours.ask(f"latency {precision} 32"), peer.run(single)
    for _ in range(15):
        mine.append(1e3 * ours.ask(f"latency {precision} 32")["seconds"])
        theirs.append(1e3 * statistics.median(peers.timed(lambda: peer.run(single)) for _ in range(20)))
    return peers.row(f"latency_1x32_vs_openvino.{precision}", mine, peer.name, theirs, "ms", lower_is_better=True, threads=peers.THREADS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, default=peers.default_data())
    parser.add_argument("--texts", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(peers.THREADS)
    tokenizer = transformers.AutoTokenizer.from_pretrained(peers.BASE_MODEL)
    ids = tokenizer(peers.texts(options.data, options.texts), truncation=True, max_length=512)["input_ids"]
    data = peers.data_name(options.data)
    batches = {order: Batches(ids, order) for order in ("arrival", "sorted")}
    with tempfile.TemporaryDirectory() as folder:
        ids_file = pathlib.Path(folder) / "ids.json"
        ids_file.write_text(json.dumps(ids))
        onnx_file = export_onnx(pathlib.Path(folder) / "model.onnx")
        ours = peers.Program("bench_infer", "--model", peers.BASE_MODEL, "--ids", ids_file, "--batch", str(BATCH),
                             "--threads", str(peers.THREADS))
        for precision in peers.precisions():
            competitors = [("infer_vs_transformers", Transformers(precision)), ("infer_vs_openvino", OpenVino(precision, onnx_file))]
            if precision == "fp32":  # its CPU provider has no bf16 kernels for this graph
                competitors.append(("infer_vs_onnxruntime", OnnxRuntime(onnx_file)))
            for name, peer in competitors:
                for order in ("arrival", "sorted"):
                    peers.emit([throughput(name, ours, precision, order, batches[order], peer, options.repeats, data)])
            peers.emit([latency(ours, precision, competitors[1][1], data)])
        ours.close()


if __name__ == "__main__":
    main()
