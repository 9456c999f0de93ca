"""Phantom reactions and acted speech: official layouts, and labels that face and voice both tell something of."""

import csv
import json
import wave
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from emopipe_cli.phantom import phantom as phantom_command

from emopipe.datasets.adapter import load_adapter
from emopipe.datasets.hume_table import TARGETS, official_ids
from emopipe.datasets.phantom import Phantom
from emopipe.datasets.phantom_cast import performance_of
from emopipe.datasets.phantom_face import ACTIONS
from emopipe.datasets.phantom_layouts import PhantomSettings
from emopipe.datasets.phantom_reactions import EMOTION_PLACES, REACTION_LAYOUTS, REACTION_PLACES, intensities, reactions
from emopipe.datasets.ravdess import CLASSES
from emopipe.errors import ConfigError
from emopipe.media.video import probe
from emopipe.stages.phantom import PhantomReport, make_phantom

HUME = PhantomSettings("hume", 4, seconds=2, seed=5, width=96, height=96, frame_rate=10)
RAVDESS = PhantomSettings("ravdess", 2, seconds=1, seed=5, width=96, height=96, frame_rate=10)
RIDGE = 10.0  # of the straight lines that tell labels from means; a hundred clips cannot carry more freedom


@pytest.fixture(scope="module")
def hume(tmp_path_factory):
    root = tmp_path_factory.mktemp("hume") / "corpus"
    report = make_phantom(root, HUME)
    assert report.num_videos == report.num_clips == len(list(root.rglob("*.mp4"))) == len(list(root.rglob("*.wav")))
    assert report.media_s == pytest.approx(4 * HUME.seconds)
    return root


def rows_of(path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def acted(settings: PhantomSettings, num_clips: int | None = None):
    """(clip, what its person does) of the clips of a corpus."""
    layout = REACTION_LAYOUTS[settings.layout]
    clips = [clip for video in layout.plan(settings) for clip in video.clips]
    return [(clip, layout.act(settings, clip, performance_of(settings, clip))) for clip in clips[:num_clips]]


def explained(inputs, labels, subjects) -> float:
    """Mean Pearson r of what straight lines say of the labels of people whom they were not fitted to."""
    inputs = (inputs - inputs.mean(axis=0)) / inputs.std(axis=0)
    inputs = np.c_[inputs, np.ones(len(inputs))]
    said = np.zeros_like(labels)
    for part in range(5):
        held_out = subjects % 5 == part
        known = inputs[~held_out]
        weights = np.linalg.solve(known.T @ known + RIDGE * np.eye(known.shape[1]), known.T @ labels[~held_out])
        said[held_out] = inputs[held_out] @ weights
    return float(np.mean([np.corrcoef(said[:, k], labels[:, k])[0, 1] for k in range(labels.shape[1])]))


def test_the_list_is_in_the_official_form_and_holds_back_the_test_labels(hume):
    header, *lines = (hume / "data_info.csv").read_text().splitlines()
    assert header == ("File_ID,Split,Adoration,Amusement,Anxiety,Disgust,Empathic-Pain,Fear,Surprise,Age,Country")
    rows, truth = rows_of(hume / "data_info.csv"), rows_of(hume / "truth" / "reactions.csv")
    assert len(rows) == len(lines) == len(truth)
    assert [row["File_ID"] for row in rows] == [f"[{number:05d}]" for number in range(len(rows))]
    assert {row["Split"] for row in rows} == {"Train", "Val", "Test"}
    emotions = header.split(",")[2:9]
    for row, true in zip(rows, truth, strict=True):
        assert true["File_ID"] == row["File_ID"]
        values = [float(true[name]) for name in emotions]
        assert max(values) == 1
        assert min(values) >= 0
        given = [row[name] for name in emotions]
        assert given == ([""] * 7 if row["Split"] == "Test" else [true[name] for name in emotions])
        assert row["Country"] in ("United States", "South Africa")
        assert 18 <= float(row["Age"]) <= 50


def test_the_adapters_read_the_reactions_and_no_person_is_in_two_splits(hume):
    adapter = load_adapter("hume")
    manifest = adapter.scan(hume)
    truth = {row["File_ID"]: row for row in rows_of(hume / "truth" / "reactions.csv")}
    for clip in manifest.clips:
        assert (clip.kind, bool(clip.annotations)) == ("video", clip.split != "test")
        if clip.annotations:
            values = adapter.read_labels(clip).values[0]
            assert [f"{value:.6f}" for value in values] == list(truth[f"[{clip.clip_id}]"].values())[1:]
    (missing,) = manifest.missing
    assert (missing.split, f"[{missing.clip_id}]") == ("dev", official_ids(hume, "dev")[-1])
    phantom = Phantom()
    clips = phantom.scan(hume).clips
    assert phantom.tasks == ("reactions",)
    assert {clip.subject: clip.split for clip in clips} == {
        "subject000": "train", "subject001": "dev", "subject002": "train", "subject003": "test",
    }  # fmt: skip
    assert phantom.read_labels(clips[0]).targets == TARGETS


def test_the_wav_is_the_sound_of_the_video(hume):
    manifest = load_adapter("hume").scan(hume)
    for clip in manifest.clips[:3]:
        info = probe(clip.media)
        assert info.has_audio
        path = clip.media.parent.with_name("wav") / f"{clip.clip_id}.wav"
        with wave.open(str(path)) as file:
            assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16000)
            assert file.getnframes() == pytest.approx(16000 * info.num_frames / HUME.frame_rate, abs=1)
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        assert np.abs(samples).max() > 300


def test_a_corpus_of_sound_only_is_what_is_left_without_the_videos(hume, tmp_path):
    (tmp_path / "data_info.csv").write_bytes((hume / "data_info.csv").read_bytes())
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "wav").symlink_to(hume / "train" / "wav")
    assert load_adapter("hume").scan(tmp_path).refused  # a link out of the corpus
    (tmp_path / "train" / "wav").unlink()
    for path in (hume / "train" / "wav").iterdir():
        (tmp_path / "train" / path.name).write_bytes(path.read_bytes())
    assert {clip.kind for clip in load_adapter("hume").scan(tmp_path).clips} == {"sound"}


def test_the_largest_intensity_is_that_of_the_nearest_place():
    performance = performance_of(HUME, reactions(HUME)[0].clip)
    for target, (valence, arousal) in REACTION_PLACES.items():
        there = replace(
            performance,
            valence=np.full(5, valence),
            arousal=np.full(5, arousal),
            speech_state=np.full((50, 2), [valence, arousal]),
        )
        values = intensities(there)
        assert TARGETS[int(values.argmax())] == target
        assert values.max() == 1
        assert sorted(values)[-2] < 1
    assert tuple(REACTION_PLACES) == TARGETS


def test_face_and_voice_tell_the_reaction_together_better_than_alone():
    done = acted(replace(HUME, num_subjects=20, seconds=30.0))
    labels = np.array([intensities(performance) for _, performance in done])
    subjects = np.array([clip.subject for clip, _ in done])
    face = np.array([[performance.actions[name].mean() for name in ACTIONS] for _, performance in done])
    voice = np.array([performance.speech_state.mean(axis=0) for _, performance in done])
    alone = explained(face, labels, subjects), explained(voice, labels, subjects)
    together = explained(np.c_[face, voice], labels, subjects)
    assert min(alone) > 0.4
    assert together > max(alone) + 0.02
    assert (np.bincount(labels.argmax(axis=1), minlength=7) > 0).all()


def test_a_person_reacts_the_same_however_many_others_there_are():
    few, many = (reactions(replace(HUME, num_subjects=count)) for count in (3, 5))
    assert many[: len(few)] == few
    other = reactions(replace(HUME, seed=6))
    assert [row.clip.level for row in other] != [row.clip.level for row in reactions(HUME)]


def test_the_same_seed_gives_the_same_lists_and_pixels(hume, tmp_path):
    make_phantom(tmp_path / "again", replace(HUME, num_subjects=2))
    for name in ("data_info.csv", "truth/reactions.csv"):
        assert (hume / name).read_text().startswith((tmp_path / "again" / name).read_text())
    for name in ("truth/00000.csv", "train/wav/00000.wav"):
        assert (tmp_path / "again" / name).read_bytes() == (hume / name).read_bytes()
    pixels = [json.loads((root / "phantom.json").read_text())["pixels_sha256"] for root in (tmp_path / "again", hume)]
    assert pixels[0].items() < pixels[1].items()


def test_actors_say_every_emotion_in_two_intensities():
    layout = REACTION_LAYOUTS["ravdess"]
    videos = layout.plan(replace(RAVDESS, num_subjects=24))
    assert len({video.path for video in videos}) == len(videos) == 24 * 15
    for video in videos:
        folder, name = video.path.split("/")
        assert folder == f"Actor_{name[18:20]}"
        assert name == f"{video.clips[0].name}.mp4"
    kinds = Counter(video.clips[0].name[6:11] for video in videos)
    assert kinds == {"01-01": 24} | {f"{k:02d}-{s:02d}": 24 for k in range(2, 9) for s in (1, 2)}
    with pytest.raises(ConfigError, match="layout 'ravdess' has up to 24 subjects. Received: 25"):
        layout.plan(replace(RAVDESS, num_subjects=25))


def test_an_acted_emotion_is_shown_and_heard_and_stronger_when_it_is_strong():
    assert tuple(EMOTION_PLACES) == CLASSES
    done = {clip.name[6:11]: performance for clip, performance in acted(replace(RAVDESS, seconds=3.0), 15)}
    for performance in done.values():
        assert not performance.motion["leave"].any()
        assert not performance.motion["cover"].any()
        assert set(performance.actions) == set(ACTIONS)
        assert abs(performance.valence[0]) < 0.1
    happy, angry, calm, sad = (done[code] for code in ("03-02", "05-02", "02-02", "04-02"))
    assert happy.actions["smile"][-10:].mean() > angry.actions["smile"][-10:].mean() + 0.5
    assert angry.actions["brow_lower"][-10:].mean() > happy.actions["brow_lower"][-10:].mean() + 0.5
    assert angry.speech_state[:, 1].mean() > calm.speech_state[:, 1].mean() + 1
    assert happy.speech_state[:, 0].mean() > sad.speech_state[:, 0].mean() + 1
    for emotion, (valence, arousal) in EMOTION_PLACES.items():
        if emotion == "neutral":
            continue
        code = CLASSES.index(emotion) + 1
        normal, strong = (done[f"{code:02d}-{strength:02d}"] for strength in (1, 2))
        for column, place in enumerate((valence, arousal)):
            if abs(place) > 0.4:
                heard = [np.sign(place) * part.speech_state[:, column].mean() for part in (normal, strong)]
                assert heard[0] < heard[1]
        assert strong.valence[-1] == pytest.approx(valence)
        assert strong.arousal[-1] == pytest.approx(arousal)


@pytest.mark.slow
def test_the_adapters_read_the_actors(tmp_path):
    report = make_phantom(tmp_path / "r", RAVDESS, num_workers=2)
    assert (report.num_videos, report.num_clips, report.num_frames) == (30, 30, 300)
    adapter = load_adapter("ravdess")
    manifest = adapter.scan(tmp_path / "r")
    assert (len(manifest.clips), manifest.notes, manifest.refused) == (30, (), ())
    assert Counter(clip.subject for clip in manifest.clips) == {"01": 15, "02": 15}
    emotions = Counter(int(adapter.read_labels(clip).values[0, 0]) for clip in manifest.clips)
    assert emotions == {0: 2} | dict.fromkeys(range(1, 8), 4)
    phantom = Phantom()
    assert {clip.subject for clip in phantom.scan(tmp_path / "r").clips} == {"subject000", "subject001"}
    assert phantom.tasks == ("expr", "intensity")
    record = json.loads((tmp_path / "r" / "phantom.json").read_text())
    assert {clip["split"] for clip in record["clips"].values()} == {None}
    assert all(probe(clip.media).has_audio for clip in manifest.clips[:3])
    truth = rows_of(tmp_path / "r" / "truth" / f"{manifest.clips[0].clip_id}.csv")
    assert all(row["face_visible"] == "1" and row["valence_label"] == "" for row in truth)


def test_the_command_makes_it(tmp_path):
    arguments = [str(tmp_path / "c"), "--layout", "hume", "--subjects", "2", "--seconds", "1", "--size", "96x96"]
    result = CliRunner().invoke(phantom_command, [*arguments, "--fps", "10", "--workers", "1", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {"num_videos": 2, "num_clips": 2, "num_frames": 20, "media_s": 2.0}


def test_the_length_of_a_sentence_is_3_seconds_unless_it_is_said(tmp_path, monkeypatch):
    made = []

    def make(folder, settings, *_):
        made.append(settings)
        return PhantomReport(0, 0, 0, 0.0)

    monkeypatch.setattr("emopipe.stages.phantom.make_phantom", make)  # the real one renders 120 videos
    for layout in ("ravdess", "hume"):
        assert CliRunner().invoke(phantom_command, [str(tmp_path / layout), "--layout", layout]).exit_code == 0
    assert [settings.seconds for settings in made] == [3.0, 10.0]
