"""Aff-Wild2's annotation files: values, invalid rows, and what a bad line is told."""

import numpy as np
import pytest

from emopipe.datasets import annotations
from emopipe.datasets.adapter import load_adapter
from emopipe.errors import ConfigError, ManifestError
from emopipe.records import Clip


@pytest.fixture
def adapter():
    return load_adapter("affwild2")


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def va_clip(path):
    return Clip("x", path, annotations={"va": path})


# --- annotation files


def test_valence_arousal_rows_and_invalid_rows(adapter, tmp_path):
    text = "valence,arousal\n0.25,-0.5\n-5,-5\n-5,0.1\n0.1,-5.0\n1,-1\n1.2,0\n"
    labels = adapter.read_labels(va_clip(write(tmp_path / "a.txt", text)))
    assert labels.targets == ("valence", "arousal")
    assert labels.valid.tolist() == [True, False, False, False, True, False]
    np.testing.assert_array_equal(labels.values[labels.valid], [[0.25, -0.5], [1, -1]])
    assert np.isnan(labels.values[~labels.valid]).all()
    assert labels.frame_index.tolist() == [0, 1, 2, 3, 4, 5]  # body line i is frame i, 00001.jpg is frame 0


@pytest.mark.parametrize(
    "text",
    [
        "0.1,0.2\n0.3,0.4\n",
        "valence, arousal\n0.1, 0.2\n 0.3 ,0.4",
        "Valence,Arousal\r\n0.1,0.2\r\n0.3,0.4\r\n\r\n\r\n",
        b"\xef\xbb\xbfvalence,arousal\n0.1,0.2\n0.3,0.4\n",
        "arousal,valence\n0.2,0.1\n0.4,0.3\n",
        "frame,valence,arousal\n1,0.1,0.2\n2,0.3,0.4\n",
        "valence,arousal\r0.1,0.2\r0.3,4e-1\r",
    ],
)
def test_headers_blanks_and_line_ends_are_tolerated(adapter, tmp_path, text):
    labels = adapter.read_labels(va_clip(write(tmp_path / "a.txt", text)))
    np.testing.assert_array_equal(labels.values, [[0.1, 0.2], [0.3, 0.4]])


@pytest.mark.parametrize(
    ("text", "line", "received"),
    [
        ("valence,arousal\n0.1,0.2\n0.31;0.2\n0,0\n", 3, "'0.31;0.2'"),
        ("0.1,0.2\n0.3\n", 2, "'0.3'"),
        ("valence,arousal\n0.1,0.2,0.3\n", 2, "'0.1,0.2,0.3'"),
        ("valence,arousal\n0.1,0.2\n\n0.1,0.2\n", 3, "''"),
        ("valence,arousal\n0.1,nan\n", 2, "'0.1,nan'"),
        ("valence,arousal\n0.1,inf\n", 2, "'0.1,inf'"),
        (b"valence,arousal\n0.1,0.2\n0.1,\xff0.2\n", 3, "0.1,"),
        (b"valence,arousal\n0.1,0.2\x00\n", 2, "0.1,0.2"),
        ("0.1,word\n0.3,0.2\n", 1, "'0.1,word'"),
        ("joy,pain\n0.3,0.2\n", 1, "'joy,pain'"),
    ],
)
def test_a_bad_line_is_named(adapter, tmp_path, text, line, received):
    path = write(tmp_path / "a.txt", text)
    with pytest.raises(ManifestError) as raised:
        adapter.read_labels(va_clip(path))
    assert str(raised.value).startswith(f"{path}, line {line}: expected ")
    assert received in str(raised.value)
    assert (raised.value.path, raised.value.row) == (path, line)


def test_the_message_is_the_one_promised(adapter, tmp_path):
    path = write(tmp_path / "12.txt", "valence,arousal\n0.31;0.2\n")
    with pytest.raises(ManifestError) as raised:
        adapter.read_labels(va_clip(path))
    assert str(raised.value) == f"{path}, line 2: expected two numbers in [-1, 1] or -5. Received: '0.31;0.2'."


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "empty file"),
        (b"\n\n", "empty file"),
        (b"valence,arousal\n", "header only"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "git lfs pull"),
        (None, "cannot be read"),
    ],
)
def test_files_without_labels_say_so(adapter, tmp_path, content, expected):
    path = tmp_path / "a.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ManifestError, match=expected):
        adapter.read_labels(va_clip(path))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise\n7\n", "0 to 6, or -1"),
        ("Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other\n8\n", "0 to 7, or -1"),
        ("1\n1.5\n", "one class number"),
        ("1\n-2\n", "one class number"),
        ("1\n1,2\n", "one class number"),
    ],
)
def test_expression_numbers_are_checked_against_the_header(tmp_path, text, expected):
    with pytest.raises(ManifestError, match=expected):
        annotations.read_expressions(write(tmp_path / "a.txt", text))


def test_expressions_have_one_number_under_a_header_of_names(tmp_path):
    header = "Neutral, Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
    labels = annotations.read_expressions(write(tmp_path / "a.txt", header + "\n0\n-1\n7\n"))
    assert labels.targets == ("expression",)
    assert labels.classes == annotations.EXPR_CLASSES
    np.testing.assert_array_equal(labels.values[:, 0], [0, np.nan, 7])
    assert labels.valid.tolist() == [True, False, True]


def test_action_units_by_name_and_by_number(tmp_path):
    labels = annotations.read_action_units(write(tmp_path / "a.txt", "AU1, au2,AU25\n0,1,1\n-1,-1,-1\n0,-1,1\n"))
    assert labels.targets == ("AU1", "AU2", "AU25")
    assert labels.valid.tolist() == [True, False, False]
    bare = annotations.read_action_units(write(tmp_path / "b.txt", "0,1,0,1,0,1,0,1\n"))
    assert bare.targets == annotations.AU_TARGETS[8]
    with pytest.raises(ManifestError, match="line 2: expected 3 numbers, each 0, 1 or -1"):
        annotations.read_action_units(write(tmp_path / "c.txt", "AU1,AU2,AU25\n0,1,2\n"))
    with pytest.raises(ManifestError, match="line 1: expected a header"):
        annotations.read_action_units(write(tmp_path / "d.txt", "0,1,0\n"))


def test_an_unknown_task_is_a_wrong_setting(adapter, tmp_path):
    with pytest.raises(ConfigError, match="va, expr, au"):
        adapter.read_labels(va_clip(tmp_path / "a.txt"), "valence")


def test_ten_thousand_lines_are_read_as_written(adapter, tmp_path):
    values = np.random.default_rng(0).uniform(-1, 1, (10_000, 2))
    text = "valence,arousal\n" + "".join(f"{v:.4f},{a:.4f}\n" for v, a in values)
    clip = va_clip(write(tmp_path / "a.txt", text))
    np.testing.assert_allclose(adapter.read_labels(clip).values, values, atol=5e-5)
