"""LitServe with the bench CNN, for `serve.py` to measure: batching as ours, one worker, the same JSON.

python benchmarks/serve_peer.py BUNDLE PORT THREADS BATCH
"""

import sys
from typing import Any

import litserve
import numpy as np
import torch

import martensite as mt


class Bench(litserve.LitAPI):
    """The Open Inference Protocol's JSON to probabilities and label, in batches."""

    def __init__(self, bundle: str, threads: int, batch: int) -> None:
        super().__init__(max_batch_size=batch, batch_timeout=0.001)
        self.bundle, self.threads = bundle, threads

    def setup(self, device: str) -> None:
        torch.set_num_threads(self.threads)
        self.model = mt.load_bundle(self.bundle)

    def decode_request(self, request):  # without a type: LitServe makes a query parameter of what it does not know
        tensor = request["inputs"][0]
        return np.array(tensor["data"], dtype=np.float32).reshape(tensor["shape"][1:])

    def batch(self, inputs: list[np.ndarray]) -> np.ndarray:
        return np.stack(inputs)

    def predict(self, x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return self.model(torch.from_numpy(x)).softmax(1).numpy()

    def unbatch(self, output: np.ndarray) -> list[np.ndarray]:
        return list(output)

    def encode_response(self, output: np.ndarray) -> dict[str, Any]:
        return {
            "outputs": [{"name": "probabilities", "data": output.tolist()}, {"name": "label", "data": [int(output.argmax())]}]
        }


if __name__ == "__main__":
    bundle, port, threads, batch = sys.argv[1:]
    server = litserve.LitServer(Bench(bundle, int(threads), int(batch)), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(port), generate_client_file=False, log_level="warning", num_api_servers=1)
