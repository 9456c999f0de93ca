"""The runs that tests of `fuse` fuse, on the small corpus of utterances, and how a refusal is looked at."""

from dataclasses import replace
from pathlib import Path

import pytest
from tap_head_runs import FEW, SMALL
from utterance_corpus import BRIGHTNESS, HIGH, LOW, Made

from emopipe.errors import ConfigError, EmopipeError
from emopipe.models.tap_heads import TapHeadConfig
from emopipe.stages.fuse import fuse_decisions, fuse_models
from emopipe.stages.rnn_config import TrainRnnConfig
from emopipe.stages.train_rnn import train_rnn

TARGETS = ("valence", "arousal")
ONE = replace(SMALL, targets=TARGETS, epochs=4, learning_rate=0.02)
EACH = replace(ONE, tap_head=TapHeadConfig((HIGH, LOW, "fc"), "each", **FEW), epochs=2)  # its columns lie otherwise
BARE = replace(ONE, tap_head=TapHeadConfig((BRIGHTNESS, HIGH), "each", **FEW), epochs=1)  # reads no landmarks
LEARN_ON = TrainRnnConfig(epochs=3, patience=None, batch_size=8, learning_rate=0.01, optimiser="adam", decay=0.0)
CONFIGS = {"one": ONE, "each": EACH, "bare": BARE}


def train_members(made: Made, folder: Path, *names: str) -> dict[str, Path]:
    """Name -> run folder."""
    for name in names:
        train_rnn(CONFIGS[name], cache=made.cache, run=folder / name)
    return {name: folder / name for name in names}


def refused(made, tmp_path, runs, level="decision", error=ConfigError):
    """The message; nothing may have been made."""
    with pytest.raises(error) as caught:
        if level == "decision":
            fuse_decisions(runs, run=tmp_path / "no", cache=made.cache)
        else:
            fuse_models(runs, level, LEARN_ON, run=tmp_path / "no", cache=made.cache)
    assert isinstance(caught.value, EmopipeError)
    assert not (tmp_path / "no").exists()
    message = str(caught.value)
    assert len(message.splitlines()) <= 3
    return message
