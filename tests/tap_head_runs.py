"""Small heads over taps on the small corpus of utterances, and how their runs are compared and stopped."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from utterance_corpus import HIGH, LOW

from emopipe.models.tap_heads import TapHeadConfig
from emopipe.models.weights import load_network
from emopipe.models.windows import WindowConfig
from emopipe.stages import training
from emopipe.stages.rnn_config import TrainRnnConfig

WINDOW = 8
FEW = {"fc_units": 8, "units": (6, 5), "fc_dropout": 0.1, "gru_dropout": 0.1}
SMALL = TrainRnnConfig(
    tap_head=TapHeadConfig((LOW, HIGH, "fc"), "one", **FEW),
    window=WindowConfig(WINDOW, gaps="hold", target="every"),
    epochs=24,
    patience=None,
    batch_size=8,
    learning_rate=0.01,
    optimiser="adam",
)
END_TO_END = replace(SMALL, tap_head=TapHeadConfig((LOW, "fc"), "one", HIGH, **FEW), end_to_end=True, epochs=10)
STILL = {"learning_rate": 1e-12, "epochs": 1}


def weights_of(path: Path) -> list[np.ndarray]:
    return load_network(path).get_weights()


def same_weights(one: Path, other: Path) -> None:
    for ours, theirs in zip(weights_of(one / "network.keras"), weights_of(other / "network.keras"), strict=True):
        assert ours.tobytes() == theirs.tobytes()


def stop_after(monkeypatch, num_epochs: int, *, before_the_state: bool = False) -> None:
    """Have the next training stop where a kill would hurt: the network of the epoch is written, its state is or not."""
    save, calls = training.save_state, []

    def save_and_stop(*arguments):
        calls.append(1)
        if len(calls) == num_epochs and before_the_state:
            raise KeyboardInterrupt
        save(*arguments)
        if len(calls) == num_epochs:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "save_state", save_and_stop)
