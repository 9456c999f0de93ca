"""What an extraction of sound is asked for: refusals, what is left out and said, and dry runs."""

import shutil

import numpy as np
import pytest
from extraction import FACES, counts, where
from sound_files import AUDIO, LOG_MEL, make_sounds


@pytest.fixture
def sounds(tmp_path):
    return make_sounds(tmp_path / "sounds")


def test_sound_files_without_an_audio_backbone_are_refused_or_counted(sounds, make_corpus, tmp_path, call, extract):
    outcome = call("extract", *where(sounds, tmp_path / "a"))
    assert outcome.code == 1
    assert "all 3 clips are sound without a picture" in outcome.err
    assert "--audio-backbone" in outcome.err
    assert not (tmp_path / "a").exists()
    root = make_corpus("ann")
    shutil.copy(sounds / "a.wav", root / "solo.wav")
    report = extract(root, tmp_path / "b", *FACES)
    assert counts(report) == (1, 0, 0)
    assert any("1 clip is sound without a picture" in note and "--audio-backbone" in note for note in report["notes"])


def test_pictures_have_no_sound_and_that_is_said(tmp_path, extract):
    from PIL import Image

    root = tmp_path / "jaffe"
    root.mkdir()
    Image.fromarray(np.zeros((256, 256), np.uint8)).save(root / "KA.AN1.39.tiff")
    report = extract(root, tmp_path / "cache", *LOG_MEL, dataset="jaffe")
    assert counts(report) == (0, 0, 0)
    assert any("1 clip has pictures and no sound" in note for note in report["notes"])


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (AUDIO, 1, "--only audio: expected the name of what makes features of sound"),
        (("--spectrogram", "mel"), 2, "need --audio-backbone"),
        (("--audio-tap", "fc2"), 2, "need --audio-backbone"),
        ((*LOG_MEL, "--audio-tap", "fc2"), 1, "Leave --audio-tap out"),
        ((*LOG_MEL, "--audio-scaling", "raw"), 1, "Leave --audio-scaling out"),
        ((*LOG_MEL, "--spectrogram", "chroma"), 2, "changes nothing with --audio-backbone log-mel"),
        ((*LOG_MEL, "--detector", "haar"), 2, "changes nothing"),
        ((*LOG_MEL, "--audio-hop", 0), 1, "hop_s: expected a finite number above 0"),
        ((*AUDIO, "--audio-backbone", "vgg61"), 2, "Did you mean 'vgg16'"),
        ((*AUDIO, "--audio-backbone", "vgg16", "--audio-weights", "absent.h5"), 1, "There is no such file"),
        ((*AUDIO, "--audio-backbone", "absent.keras"), 1, "there is no such file"),
    ],
)
def test_mistakes_are_refused_before_anything_is_opened(sounds, tmp_path, call, options, code, words):
    outcome = call("extract", *where(sounds, tmp_path / "cache"), *options)
    assert outcome.code == code, outcome.err
    assert words in outcome.err
    assert not (tmp_path / "cache").exists()


def test_a_dry_run_counts_and_writes_nothing(sounds, tmp_path, extract):
    outlook = extract(sounds, tmp_path / "cache", *LOG_MEL, "--dry-run")
    assert (outlook["pending"], outlook["reused"], outlook["failed"]) == (3, 0, 0)
    assert any("sound of 3 clips is left out" in note for note in outlook["notes"])
    assert not (tmp_path / "cache").exists()
    extract(sounds, tmp_path / "cache", *LOG_MEL, "--limit", 2)
    outlook = extract(sounds, tmp_path / "cache", *LOG_MEL, "--dry-run")
    assert (outlook["pending"], outlook["reused"], outlook["failed"]) == (1, 2, 0)
