"""A run folder: everything that training made and prediction needs, movable to another machine.

run.json        what it is: kind, settings, data, provenance, best epoch (encoding-version 1)
network.keras   the best network: the CNN of `train-cnn`, the head of `train-rnn`
weights/        for a head: <digest>.keras, the network that made its features; the file of a detector that has one
history.csv     one row per epoch
state/          the last epoch's network and optimiser, for going on after a kill; logs/ for TensorBoard
predictions/    <split>.csv and its scores <split>.json, written by `evaluate`
report.html     written by `report`
"""

import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from emopipe.errors import ConfigError, RunError
from emopipe.files import partial_path, storage_error, write_json
from emopipe.provenance import library_versions, machine, utc_now

RUN_VERSION = 1
RunKind = Literal["cnn", "rnn", "fusion"]


@dataclass(frozen=True)
class Run:
    """An opened run folder.

    Attributes:
        folder: where it is.
        content: run.json.
    """

    folder: Path
    content: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """ "cnn", "rnn", or "fusion" for the average of several runs, which lie in members/."""
        return str(self.content["kind"])

    @property
    def network(self) -> Path:
        """The best network."""
        return self.folder / "network.keras"

    @property
    def weights_folder(self) -> Path:
        """What made a head's features, by digest, and the exported graph of it; laid out like a cache's."""
        return self.folder / "weights"

    @property
    def detector_weights(self) -> Path:
        """The weights file of a detector that comes without one."""
        return self.weights_folder / "detector.onnx"

    @property
    def state(self) -> Path:
        """Folder of what going on after a kill needs."""
        return self.folder / "state"

    def update(self, **content: Any) -> "Run":
        """Write run.json with more content; returns the run as it is then."""
        merged = {**self.content, **content}
        write_json(self.folder / "run.json", merged)
        return Run(self.folder, merged)


def begin_run(folder: Path, kind: RunKind, settings: Mapping[str, Any]) -> Run:
    """A new run, or the one to go on with when `folder` holds an unfinished run of the same settings.

    Args:
        folder: the run folder; made when it is not there.
        kind: what is trained.
        settings: JSON-ready; everything that decides the result.

    Raises:
        ConfigError: the folder holds something else, a finished run, or a run of other settings.
        StorageError: it cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: is a file. Expected a folder for --run, a new one or that of an unfinished run.")
    if folder.exists() and any(folder.iterdir()):
        if not (folder / "run.json").exists():
            raise ConfigError(f"{folder}: is neither empty nor a run. Expected a new folder for --run.")
        run = open_run(folder)
        if run.content.get("finished"):
            raise ConfigError(f"{folder}: holds a finished run. Give another --run, or delete this one.")
        differing = _differing(run.content["settings"], json.loads(json.dumps(settings)))
        if run.kind != kind or differing:
            what = ", ".join(differing) or "kind"
            raise ConfigError(f"{folder}: holds an unfinished run of other settings ({what}). Give another --run.")
        return run
    content = {
        "encoding-version": RUN_VERSION,
        "kind": kind,
        "settings": json.loads(json.dumps(settings)),
        "libraries": library_versions(),
        "machine": machine(),
        "created": utc_now(),
        "finished": None,
    }
    write_json(folder / "run.json", content)
    return Run(folder, content)


def open_run(folder: Path) -> Run:
    """Open a run folder.

    Raises:
        RunError: there is none, it is broken, or it is of a newer version than this program.
    """
    path = folder / "run.json"
    if not path.is_file():
        raise RunError(f"{folder}: is not a run folder. Expected a run.json in it, as train-cnn and train-rnn write.")
    try:
        content = json.loads(path.read_text())
        version = int(content["encoding-version"])
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}: is not readable ({type(error).__name__}: {error}). Train it again.") from error
    if version > RUN_VERSION:
        raise RunError(f"{path}: has encoding-version {version}. Expected at most {RUN_VERSION}. Update emopipe.")
    return Run(folder, content)


def place_file(source: Path, target: Path) -> None:
    """Put a file into a run: a hard link where the file system allows it, else a copy.

    Raises:
        StorageError: neither works.
    """
    if target.exists():
        return
    partial = partial_path(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        try:
            os.link(source, partial)
        except OSError:
            shutil.copy2(source, partial)
        partial.replace(target)
    except OSError as error:
        raise storage_error(target, error) from error
    finally:
        with contextlib.suppress(OSError):  # gone after the renaming
            partial.unlink()


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))
