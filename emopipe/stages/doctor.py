"""What is installed, which accelerator there is, which weights are at hand."""

import os
from pathlib import Path
from typing import Any

from emopipe.errors import EmopipeError
from emopipe.faces.detection import DETECTORS, detector_digest
from emopipe.faces.landmarks import landmarker_digest, predictor_path
from emopipe.models.backbones import BACKBONES, keras_backend, resolve_device
from emopipe.models.weights import published_folder
from emopipe.provenance import library_versions, machine

PREDICTOR_LICENCE = "trained on iBUG 300-W, whose licence forbids commercial use"


def examine() -> dict[str, Any]:
    """Everything `emopipe doctor` tells, JSON-ready. Loads no engine and downloads nothing."""
    return {
        "versions": library_versions(),
        "machine": machine(),
        "device": resolve_device("auto"),
        "keras_backend": keras_backend(),
        "detectors": {name: _detector_state(name) for name in DETECTORS},
        "landmarks": _landmark_state(),
        "weights": {name: _weights_state(name) for name in BACKBONES},
        "folders": {name: os.environ.get(name, "not set") for name in ("EMOPIPE_DATA", "EMOPIPE_CACHE", "KERAS_HOME")},
    }


def to_text(findings: dict[str, Any]) -> str:
    """The findings for a person: one heading per subject, one line per finding."""
    lines = []
    for heading, content in findings.items():
        if isinstance(content, dict):
            lines.append(f"{heading}:")
            lines += [f"  {name:<24}{value}" for name, value in content.items()]
        else:
            lines.append(f"{heading}: {content}")
    return "\n".join(lines)


def _detector_state(name: str) -> str:
    try:
        return f"ready ({detector_digest(name).split(' sha256')[0]})"
    except EmopipeError as error:
        return "not ready: " + " ".join(str(error).split())


def _landmark_state() -> dict[str, str]:
    try:
        return {"dlib68": f"ready: {predictor_path()}", "licence": PREDICTOR_LICENCE, "digest": landmarker_digest()}
    except EmopipeError as error:
        return {"dlib68": "not ready: " + " ".join(str(error).split())}


def _weights_state(name: str) -> str:
    published = BACKBONES.load(name).published
    if published is None:
        return "no ImageNet weights exist; train it or use --weights none"
    path: Path = published_folder() / published.file_name
    return f"at hand: {path}" if path.is_file() else f"not at hand; downloaded from {published.url} when asked for"
