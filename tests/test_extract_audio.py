"""Extraction of sound, from the command line to the numbers in the shards."""

import os
import shutil
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from extraction import KHORRAMI, NUM_FRAMES, counts, face_frames, files_of, stored
from sound_files import AUDIO, LOG_MEL, make_sounds, tone, write_header, write_sound

from emopipe.errors import ConfigError
from emopipe.media.audio import read_sound
from emopipe.media.video import write_video
from emopipe.models.spectrogram_cnn import carried_audio, spectrogram_for
from emopipe.spectrograms import log_mel_rows, pictures, window_axis
from emopipe.stages.audio_step import load_audio_engine
from emopipe.stages.cached_plan import cached_plan
from emopipe.store.cache import Cache
from emopipe.store.ledger import Ledger

HALF = 2e-3  # float16 keeps eleven bits
# A network small enough to be made here: mean colours of a picture through a few fixed filters.
MAKE_CNN = """
import sys
from pathlib import Path
from emopipe.models.engines import load_keras
load_keras()
import keras
from emopipe.faces.normalisation import InputSpec
from emopipe.models.keras_files import write_metadata
from emopipe.models.building import export
from emopipe.models.spectrogram_cnn import AudioRequest, resolve_audio, spectrogram_for
keras.utils.set_random_seed(0)
path = Path(sys.argv[1])
picture = keras.Input((32, 32, 3), name="picture")
x = keras.layers.Conv2D(6, 5, strides=4, activation="relu", name="filters")(picture)
keras.Model(picture, keras.layers.GlobalAveragePooling2D(name="pooled")(x)).save(path)
write_metadata(path, InputSpec(32, 3, "0..1"), ["pooled"])
request = AudioRequest(str(path), spectrogram=spectrogram_for(str(path)))
plan = resolve_audio(request, weights_folder=path.parent / "weights", device="cpu")
plan.network.weights_folder.mkdir()
export(plan.network, plan.network.kept_graph)
"""


@pytest.fixture
def sounds(tmp_path):
    return make_sounds(tmp_path / "sounds")


@pytest.fixture(scope="session")
def cnn(tmp_path_factory):
    """A folder with cnn.keras, and weights/ in which it and its graph are kept, so that runs on it need no keras."""
    folder = tmp_path_factory.mktemp("cnn")
    command = [sys.executable, "-c", MAKE_CNN, str(folder / "cnn.keras")]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return folder


@pytest.fixture
def with_cnn(cnn):
    """``with_cnn(cache)`` -> the options; the cache then holds the network."""

    def options(cache):
        shutil.copytree(cnn / "weights", cache / "weights", dirs_exist_ok=True)
        return ("--audio-backbone", cnn / "cnn.keras", "--device", "cpu")

    return options


def one_failure(report):
    (failure,) = report["failures"]
    return failure


# --- what is made


def test_log_mel_of_sound_files_needs_no_network_and_is_what_the_function_gives(sounds, tmp_path, extract):
    cache = tmp_path / "cache"
    report = extract(sounds, cache, "--audio-backbone", "log-mel", "--audio-bands", 16)
    assert counts(report) == (3, 0, 0)
    assert report["steps"].keys() == {"start", "sound", "audio", "write"}
    assert report["notes"] == ["3 clips are sound without a picture, in which no faces are looked for."]
    assert not [*Cache(cache).records("faces"), *Cache(cache).records("features")]
    found = stored(cache, "audio")
    assert found.keys() == {"a", "b/one", "c"}
    config = spectrogram_for("log-mel", num_bands=16)
    for name, path in (("a", "a.wav"), ("b/one", "b/one.flac"), ("c", "c.wav")):
        sound = read_sound(sounds / path)
        time_s, valid = window_axis(len(sound.samples), sound.rate_hz, sound.start_s, config)
        rows = found[name]
        assert rows.keys() == {"frame_index", "time_s", "valid", "taps/log-mel"}
        np.testing.assert_array_equal(rows["frame_index"], np.arange(len(time_s)))
        np.testing.assert_array_equal(rows["time_s"], time_s)
        np.testing.assert_array_equal(rows["valid"], valid)
        expected = log_mel_rows(sound.samples, sound.rate_hz, config)
        np.testing.assert_allclose(rows["taps/log-mel"].astype(np.float32), expected, rtol=HALF, atol=HALF)
        assert np.isnan(rows["taps/log-mel"][~valid]).all()
        assert np.isfinite(rows["taps/log-mel"][valid]).all()
    assert report["windows"] == sum(len(rows["valid"]) for rows in found.values())
    assert report["valid_windows"] == sum(rows["valid"].sum() for rows in found.values())


def test_a_network_sees_the_picture_of_every_window_of_every_clip(sounds, tmp_path, extract, with_cnn):
    cache = tmp_path / "cache"
    report = extract(sounds, cache, *AUDIO, *with_cnn(cache), "--audio-window", 0.5, "--audio-hop", 0.1)
    assert counts(report) == (3, 0, 0)
    assert report["steps"].keys() == {"start", "sound", "spectrogram", "audio", "write"}
    (record,) = Cache(cache).records("audio")
    settings = record.header.config
    assert (settings["spectrogram"]["window_s"], settings["spectrogram"]["hop_s"]) == (0.5, 0.1)
    assert (settings["audio"]["backbone"], settings["audio"]["taps"]) == ("file", ["pooled"])
    assert (settings["audio"]["input_range"], settings["audio"]["resize"]) == ("0..1", "bicubic")
    assert "faces" not in settings
    assert (cache / "weights" / f"{settings['weights']}.keras").is_file()

    plan = carried_audio(settings, cache / "weights", "cpu")
    engine = load_audio_engine(plan, num_threads=1)
    for name, path in (("a", "a.wav"), ("b/one", "b/one.flac"), ("c", "c.wav")):
        cached, alone = stored(cache, "audio")[name], engine.rows(sounds / path)
        np.testing.assert_array_equal(cached["time_s"], alone.time_s)
        np.testing.assert_array_equal(cached["valid"], alone.valid)
        np.testing.assert_allclose(cached["taps/pooled"], alone.taps["pooled"], rtol=HALF, atol=HALF)
        sound = read_sound(sounds / path)
        shown = np.concatenate(list(pictures(sound.samples, sound.rate_hz, plan.spectrogram)))
        assert len(shown) == len(cached["valid"])
        assert len(np.unique(cached["taps/pooled"][cached["valid"]], axis=0)) > 0.9 * cached["valid"].sum()


@pytest.mark.slow
def test_videos_have_faces_features_and_sound_and_workers_change_nothing(
    face_videos, make_cache, tmp_path, extract, with_cnn
):
    root = tmp_path / "corpus"
    root.mkdir()
    for number, name in enumerate(("ann", "ben")):
        frames = face_frames(NUM_FRAMES, 3 * number)
        write_video(root / f"{name}.mp4", frames, Fraction(25), tone(1.0, 300 + 200 * number, 16000), 16000)
    write_sound(root / "cid.wav", tone(1.5))
    found = []
    for workers in (1, 2):
        cache = make_cache(f"cache{workers}")
        report = extract(root, cache, *KHORRAMI, *with_cnn(cache), "--workers", workers)
        assert counts(report) == (3, 0, 0)
        assert {"detect", "align", "features", "sound", "spectrogram", "audio"} <= report["steps"].keys()
        assert (report["frames"], report["windows"]) == (2 * NUM_FRAMES, 2 * 2 + 3)
        keys = {record.header.kind: {entry.key for entry in record.entries} for record in Cache(cache).records()}
        found.append((keys, stored(cache, "audio")))
        assert {kind: stored(cache, kind).keys() for kind in ("faces", "features", "audio")} == {
            "faces": {"ann", "ben"}, "features": {"ann", "ben"}, "audio": {"ann", "ben", "cid"},
        }  # fmt: skip
    (_, one), (_, two) = found
    assert found[0][0]["audio"] == found[1][0]["audio"]
    for clip_id, rows in one.items():
        np.testing.assert_allclose(rows["taps/pooled"], two[clip_id]["taps/pooled"], rtol=HALF, atol=HALF)
    faces = stored(tmp_path / "cache1")["ann"]
    assert one["ann"]["time_s"][0] == pytest.approx(faces["time_s"][0] + 0.5, abs=0.03), "one clock"


def test_sound_alone_needs_no_detector_and_no_backbone(sounds, tmp_path, extract, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "empty"))  # in which there are no weights of ResNet50
    assert counts(extract(sounds, tmp_path / "cache", *LOG_MEL)) == (3, 0, 0)


# --- keys


def test_settings_and_content_decide_what_is_reused_and_nothing_else(sounds, tmp_path, extract):
    cache = tmp_path / "cache"
    assert counts(extract(sounds, cache, *LOG_MEL, "--limit", 2)) == (2, 0, 0)
    assert counts(extract(sounds, cache, *LOG_MEL)) == (1, 2, 0)
    before = files_of(cache)
    assert counts(extract(sounds, cache, *LOG_MEL)) == (0, 3, 0)
    assert files_of(cache) == before, "a finished extraction writes nothing"
    others = (
        ("--audio-hop", 0.05), ("--audio-window", 0.1), ("--audio-bands", 8), ("--audio-rate", 4000),
    )  # fmt: skip
    for number, option in enumerate(others, start=2):
        assert counts(extract(sounds, cache, *LOG_MEL, *option)) == (3, 0, 0), option
        assert len({record.header.fingerprint for record in Cache(cache).records("audio")}) == number
    assert counts(extract(sounds, cache, *LOG_MEL)) == (0, 3, 0), "all settings are kept side by side"
    write_sound(sounds / "a.wav", tone(2.6, 441))
    assert counts(extract(sounds, cache, *LOG_MEL)) == (1, 2, 0)


@pytest.mark.parametrize(
    "option", [("--spectrogram", "linear"), ("--colour-map", "magma"), ("--audio-scaling", "raw"), ("--audio-hop", 0.3)]
)
def test_options_of_pictures_change_the_numbers(sounds, tmp_path, extract, with_cnn, option):
    cache, other = tmp_path / "cache", tmp_path / "other"
    extract(sounds, cache, *AUDIO, *with_cnn(cache), "--limit", 1)
    extract(sounds, other, *AUDIO, *with_cnn(other), "--limit", 1, *option)
    one, two = (stored(folder, "audio")["a"] for folder in (cache, other))
    assert not np.array_equal(one["taps/pooled"], two["taps/pooled"])
    keys = {entry.key for folder in (cache, other) for record in Cache(folder).records() for entry in record.entries}
    assert len(keys) == 2


def test_the_plan_of_cached_sound_needs_no_faces(sounds, tmp_path, extract):
    cache = Cache(tmp_path / "cache")
    extract(sounds, cache.folder, *LOG_MEL)
    plan = cached_plan(cache, "audio", None, None)
    (record,) = cache.records("audio")
    assert plan.audio == record.header
    assert {planned.audio_key for planned in plan.clips} == {entry.key for entry in record.entries}
    assert all(planned.faces_key is None and planned.features_key is None for planned in plan.clips)
    with pytest.raises(ConfigError, match="about sound only"):
        _ = plan.faces
    with pytest.raises(ConfigError, match="no audio of dataset 'jaffe' are cached"):
        cached_plan(cache, "audio", "jaffe", None)


# --- resume, damage, repair


def test_a_removed_shard_is_made_again_and_the_others_are_not(sounds, tmp_path, extract):
    cache = tmp_path / "cache"
    extract(sounds, cache, *LOG_MEL, "--limit", 2)
    extract(sounds, cache, *LOG_MEL)
    before = stored(cache, "audio")
    record = next(record for record in Cache(cache).records() if len(record.entries) == 1)
    record.path.unlink()
    record.path.with_suffix(".json").unlink()
    assert counts(extract(sounds, cache, *LOG_MEL)) == (1, 2, 0)
    after = stored(cache, "audio")
    for clip_id, rows in before.items():
        for name, array in rows.items():
            np.testing.assert_array_equal(after[clip_id][name], array)


def test_damage_is_repaired_from_the_recording(sounds, tmp_path, extract, call):
    cache = tmp_path / "cache"
    extract(sounds, cache, *LOG_MEL)
    (record,) = Cache(cache).records("audio")
    os.truncate(record.path, record.path.stat().st_size // 2)
    repair = call("cache", "repair", "--cache", cache, "--json")
    assert repair.code == 0, repair.err
    assert sum(report["clips"]["done"] for report in repair.json["repairs"]) == 3
    assert counts(extract(sounds, cache, *LOG_MEL)) == (0, 3, 0)


# --- what goes wrong


def test_a_silent_video_is_one_ledger_line_and_its_faces_are_made(make_corpus, make_cache, extract):
    root, cache = make_corpus("ann"), make_cache()  # ann has no sound track
    write_video(root / "ben.mp4", face_frames(NUM_FRAMES), Fraction(25), tone(1.0))
    report = extract(root, cache, *KHORRAMI, "--audio-backbone", "log-mel", code=1)
    assert counts(report) == (1, 0, 1)
    failure = one_failure(report)
    assert (failure["clip"], failure["step"], failure["error"]) == ("ann", "audio", "EmptyMediaError")
    assert "holds no sound track" in failure["message"]
    assert "\n" not in failure["message"]
    assert stored(cache, "audio").keys() == {"ben"}
    assert stored(cache).keys() == stored(cache, "features").keys() == {"ann", "ben"}
    failed = [row for row in Ledger(cache / "ledger").read().values() if row.status == "failed"]
    assert [(row.clip_id, row.step) for row in failed] == [("ann", "audio")]

    again = extract(root, cache, *KHORRAMI, "--audio-backbone", "log-mel", code=1)
    assert counts(again) == (0, 1, 1)
    assert again["steps"] == {}, "a failure is not tried again"
    assert counts(extract(root, cache, *KHORRAMI)) == (0, 2, 0), "nobody asks for its sound"
    retried = extract(root, cache, *LOG_MEL[:-2], "--retry-failed", code=1)
    assert counts(retried) == (0, 1, 1)
    assert "sound" in retried["steps"]


BAD = {
    "nan.wav": (lambda path: write_sound(path, np.r_[tone(0.5), np.nan, tone(0.5)]), "MediaError", "the sample at 0.5"),
    "empty.wav": (lambda path: path.write_bytes(b""), "DecodeError", "The file is empty (0 bytes)"),
    "text.mp3": (lambda path: path.write_text("hello\n"), "DecodeError", "It is text that begins with 'hello"),
    "nothing.wav": (lambda path: write_header(path), "EmptyMediaError", "no sample"),
    "short.wav": (lambda path: write_sound(path, tone(0.01)), "EmptyMediaError", "none of its 1 windows"),
    "stub.wav": (
        lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
        "DecodeError",
        "Git LFS pointer",
    ),
}


@pytest.mark.parametrize("with_network", [False, True])
def test_each_bad_recording_is_one_line_and_all_others_are_made(sounds, tmp_path, extract, with_cnn, with_network):
    cache = tmp_path / "cache"
    for name, (make, _, _) in BAD.items():
        make(sounds / name)
    options = (*AUDIO, *with_cnn(cache)) if with_network else LOG_MEL
    report = extract(sounds, cache, *options, code=1)
    assert counts(report) == (3, 0, len(BAD))
    found = {failure["clip"]: failure for failure in report["failures"]}
    assert found.keys() == {name.partition(".")[0] for name in BAD}
    for name, (_, error, words) in BAD.items():
        failure = found[name.partition(".")[0]]
        assert (failure["step"], failure["error"]) == ("audio", error), name
        assert words in failure["message"], name
    assert stored(cache, "audio").keys() == {"a", "b/one", "c"}


def test_windows_in_a_gap_of_the_track_are_invalid(tmp_path, extract):
    root = tmp_path / "gaps"
    root.mkdir()
    write_sound(root / "a.mkv", [(0.0, tone(1.0)), (3.0, tone(1.0, 600))])
    options = ("--audio-window", 0.5, "--audio-hop", 0.25)
    report = extract(root, tmp_path / "cache", *LOG_MEL, *options)
    assert any("gap" in note and note.startswith("a: ") for note in report["notes"])
    rows = stored(tmp_path / "cache", "audio")["a"]
    starts_s = 0.25 * np.arange(len(rows["valid"]))
    inside_s = np.clip(np.minimum(starts_s + 0.5, 3.0) - np.maximum(starts_s, 1.0), 0, None)
    whole = starts_s + 0.5 <= 4.0
    np.testing.assert_array_equal(rows["valid"], (inside_s <= 0.25) & whole)
    assert 0 < rows["valid"].sum() < len(rows["valid"]) - 5
    assert np.isnan(rows["taps/log-mel"][~rows["valid"]]).all()
