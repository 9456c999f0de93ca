"""Configurations: refused when wrong, the same after JSON, and with a fingerprint that sees every field."""

import dataclasses
import json
import subprocess
import sys

import pytest

from emopipe.config import FacesConfig, FeaturesConfig, fingerprint, from_dict, to_dict
from emopipe.errors import ConfigError

FEATURES = FeaturesConfig("khorrami", "none", ("dense:flat", "pool2:gap"), "0..1", 96, "onnxruntime")
OTHER_FACES = {
    "detector": "haar",
    "min_score": 0.6,
    "working_size_px": 640,
    "retry_size_px": 0,
    "detect_every": 2,
    "alignment": "box",
    "resize": "bicubic",
    "fps": 30.0,
}
OTHER_FEATURES = {
    "backbone": "resnet50",
    "weights": "imagenet",
    "taps": ("pool2:gap", "dense:flat"),
    "input_range": "-1..1",
    "input_size_px": 128,
    "engine": "keras",
}


@pytest.mark.parametrize("config", [FacesConfig(), FacesConfig(fps=29.97, alignment="given"), FEATURES])
def test_json_and_back(config):
    assert from_dict(type(config), json.loads(json.dumps(to_dict(config)))) == config


@pytest.mark.parametrize(("base", "others"), [(FacesConfig(), OTHER_FACES), (FEATURES, OTHER_FEATURES)])
def test_every_field_changes_the_fingerprint(base, others):
    assert set(others) == {field.name for field in dataclasses.fields(base)}, "a new field needs a line here"
    prints = {fingerprint(dataclasses.replace(base, **{name: value})) for name, value in others.items()}
    assert len(prints | {fingerprint(base)}) == len(others) + 1


def test_the_fingerprint_is_the_same_in_another_process():
    code = "from emopipe.config import *; print(fingerprint(FacesConfig(), {'b': 1, 'a': 'é'}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == fingerprint(FacesConfig(), {"a": "é", "b": 1})


def test_the_fingerprint_keeps_its_parts_apart():
    assert fingerprint("ab", "c") != fingerprint("a", "bc")
    assert fingerprint([1, 2]) != fingerprint(1, 2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"detect_every": 0}, "detect_every: expected at least 1. Received: 0"),
        ({"working_size_px": 63}, "working_size_px: expected at least 64"),
        ({"min_score": 1.5}, r"min_score: expected a number in \[0, 1\]"),
        ({"min_score": float("nan")}, "min_score: expected"),
        ({"alignment": "none"}, "alignment: expected one of procrustes5, box, given"),
        ({"fps": 0.0}, "fps: expected frames per second above 0"),
        ({"fps": float("nan")}, "fps: expected"),
    ],
)
def test_a_setting_out_of_range_is_refused(change, words):
    with pytest.raises(ConfigError, match=words):
        FacesConfig(**change)


def test_an_unknown_field_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="no field 'detect_evry'. Did you mean 'detect_every'"):
        from_dict(FacesConfig, {"detect_evry": 2})
    with pytest.raises(ConfigError, match="Known: detector, min_score"):
        from_dict(FacesConfig, {"zzz": 2})
