"""GRU training in a process of its own, on random windows in memory: python gru_process.py keras|torch SETTINGS

SETTINGS is JSON: batch, length, features, units, threads. Every line "N" on stdin trains N batches and is answered by
a line of JSON: windows per second of wall time and per second of processor time. The torch side imports no emopipe.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any


def main() -> None:
    """Build one side, take two steps, then answer."""
    side, settings = sys.argv[1], json.loads(sys.argv[2])
    step = {"keras": keras_step, "torch": torch_step}[side](settings)
    for _ in range(2):
        step()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        begun, begun_cpu = time.perf_counter(), time.process_time()
        for _ in range(int(line)):
            step()
        windows = int(line) * settings["batch"]
        answer = {
            "per_s": windows / (time.perf_counter() - begun),
            "per_cpu_s": windows / (time.process_time() - begun_cpu),
        }
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def keras_step(settings: dict[str, Any]) -> Callable[[], Any]:
    """One step of what `train-rnn` trains."""
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ[name] = str(settings["threads"])
    import numpy as np

    from emopipe.models.engines import load_keras
    from emopipe.models.heads import build_head
    from emopipe.models.windows import WindowConfig
    from emopipe.stages.rnn_config import TrainRnnConfig
    from emopipe.stages.train_rnn import compiled_model

    load_keras()
    config = TrainRnnConfig(units=tuple(settings["units"]), window=WindowConfig(settings["length"]))
    random = np.random.default_rng(0)
    windows = random.standard_normal((settings["batch"], settings["length"], settings["features"]), np.float32)
    targets = random.standard_normal((settings["batch"], 2), np.float32)
    network = build_head(config.head, config.head_config(2), settings["features"], config.seed)
    model = compiled_model(config, network, windows[0], "ccc")
    return lambda: model.train_on_batch(windows, targets)


def torch_step(settings: dict[str, Any]) -> Callable[[], Any]:
    """The same sizes, loss and optimiser with torch's own GRU; gradients stay on the processor."""
    import torch

    torch.set_num_threads(settings["threads"])
    sizes = [settings["features"], *settings["units"]]
    layers = [torch.nn.GRU(one, other, batch_first=True) for one, other in zip(sizes, sizes[1:], strict=False)]
    output = torch.nn.Linear(sizes[-1], 2)
    modules = torch.nn.ModuleList([*layers, output])
    optimiser = torch.optim.SGD(modules.parameters(), lr=0.01, momentum=0.9)
    windows = torch.randn(settings["batch"], settings["length"], settings["features"])
    truth = torch.randn(settings["batch"], 2)

    def step() -> float:
        optimiser.zero_grad()
        x = windows
        for layer in layers:
            x, _ = layer(x)
        predicted = output(x[:, -1])
        one, other = truth - truth.mean(0), predicted - predicted.mean(0)
        distance = (truth.mean(0) - predicted.mean(0)) ** 2
        moments = (one**2).mean(0) + (other**2).mean(0) + distance
        loss = 1 - (2 * (one * other).mean(0) / (moments + 1e-8)).mean()
        loss.backward()
        optimiser.step()
        return float(loss)

    return step


if __name__ == "__main__":
    main()
