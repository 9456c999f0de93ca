"""The phantom corpus: its files, its truth, its pixels and its sound, on corpora of seconds."""

import csv
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from emopipe_cli.phantom import phantom as phantom_command
from extraction import PROGRAM

from emopipe.datasets.adapter import load_adapter
from emopipe.datasets.phantom import Phantom
from emopipe.datasets.phantom_affect import INVALID_LABEL, LABEL_LAG_S
from emopipe.datasets.phantom_cast import cast, performance_of, stream
from emopipe.datasets.phantom_face import ACTIONS, Face
from emopipe.datasets.phantom_layouts import LAYOUTS, ClipPlan, PhantomSettings, find_layout
from emopipe.datasets.phantom_portrait import make_head
from emopipe.datasets.phantom_scene import visible_frames
from emopipe.datasets.phantom_voice import SAMPLE_RATE_HZ, speak
from emopipe.errors import ConfigError, ManifestError, UnknownNameError
from emopipe.faces.detection import load_detector
from emopipe.media.video import probe, read_frames
from emopipe.stages.phantom import load_portraits, make_phantom

SETTINGS = PhantomSettings("affwild2", num_subjects=4, seconds=2, seed=7, width=192, height=144)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    root = tmp_path_factory.mktemp("phantom") / "corpus"
    make_phantom(root, SETTINGS)
    return root


@pytest.fixture(scope="module")
def portraits():
    return load_portraits(None, SETTINGS)


def rows_of(path: Path) -> np.ndarray:
    return np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2)


def texts_of(root: Path) -> dict[str, bytes]:
    """Everything whose bytes are promised: labels, truth, lists; the crops follow from the pixels."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.suffix in (".txt", ".csv", ".jpg")
    }


def pixels_of(root: Path) -> dict[str, str]:
    return json.loads((root / "phantom.json").read_text())["pixels_sha256"]


def test_the_same_seed_gives_the_same_bytes_with_any_workers_and_number_of_subjects(corpus, tmp_path):
    fewer = PhantomSettings("affwild2", 2, 2, 7, 192, 144)
    make_phantom(tmp_path / "two", fewer, num_workers=2)
    texts, all_texts = texts_of(tmp_path / "two"), texts_of(corpus)
    shared = {name for name in texts if "test_set_release" not in name}
    assert len(shared) > 50
    assert {name: texts[name] for name in shared} == {name: all_texts[name] for name in shared}
    pixels = pixels_of(tmp_path / "two")
    assert len(pixels) == 2
    assert pixels == {name: pixels_of(corpus)[name] for name in pixels}


def test_another_seed_gives_other_labels_and_pixels(portraits):
    clip = ClipPlan("x", 0, 0, "train")
    other = PhantomSettings("affwild2", 4, 2, 8, 192, 144)
    assert not np.allclose(performance_of(SETTINGS, clip).valence, performance_of(other, clip).valence, atol=0.1)


def test_affwild2_annotation_files_are_in_the_official_form(corpus):
    num_frames = 50
    headers = {
        "VA_Set": ("valence,arousal", 2),
        "EXPR_Set": ("Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other", 1),
        "AU_Set": ("AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26", 12),
    }
    counts = {}
    for task, (header, num_columns) in headers.items():
        files = sorted((corpus / "annotations" / task).rglob("*.txt"))
        assert [file.parent.name for file in files].count("Validation_Set") == 1
        assert len(files) == 5  # three solo clips and two of a pair; the test subject has none
        for file in files:
            assert file.read_text().splitlines()[0] == header
            rows = rows_of(file)
            assert rows.shape[1] == num_columns
            counts.setdefault(file.stem, set()).add(len(rows))
            if task == "VA_Set":
                assert ((np.abs(rows) <= 1).all(axis=1) | (rows == INVALID_LABEL).all(axis=1)).all()
                assert np.array_equal(rows, rows.round(3))
    assert sorted(len(rows) for rows in counts.values()) == [1] * 5  # the three tasks agree
    assert sorted(min(rows) for rows in counts.values()) == [num_frames] * 4 + [num_frames + 1]


def test_some_stretches_are_not_annotated():
    unlabelled = [
        (performance_of(SETTINGS, ClipPlan("x", subject, 0, "train")).labels == INVALID_LABEL).all(axis=1).sum()
        for subject in range(10)
    ]
    assert 1 <= np.count_nonzero(unlabelled) <= 8


def test_media_match_and_the_adapters_read_them(corpus):
    manifest = load_adapter("affwild2").scan(corpus)
    splits = {clip.clip_id: clip.split for clip in manifest.clips}
    assert splits == {
        "2-25-192x144": "train", "video3_2": "dev", "102": "train", "5-25-192x144": "test",
        "video1_left": "train", "video1_right": "train",
    }  # fmt: skip
    info = probe(manifest.clips[0].media)
    assert (info.width, info.height, info.num_frames, info.codec, info.has_audio) == (192, 144, 50, "h264", True)
    assert not manifest.missing
    with_subjects = Phantom().scan(corpus)
    assert with_subjects.dataset == "phantom"
    subjects = {clip.clip_id: clip.subject for clip in with_subjects.clips}
    assert subjects["video1_left"] == subjects["2-25-192x144"] != subjects["video1_right"]
    dev = next(clip for clip in with_subjects.clips if clip.split == "dev")
    assert Phantom().read_labels(dev).values.shape == (50, 2)


def test_crops_have_gaps_where_no_face_can_be_seen(corpus):
    gaps = 0
    for folder in (corpus / "cropped_aligned").iterdir():
        with (corpus / "truth" / f"{folder.name}.csv").open() as file:
            visible = np.array([int(row["face_visible"]) for row in csv.DictReader(file)])
        numbers = {int(path.stem) for path in folder.iterdir()}
        assert numbers == set(np.flatnonzero(visible) + 1)
        gaps += int((visible == 0).sum())
    assert gaps > 0


def test_affwild_files_are_in_the_official_form(tmp_path):
    make_phantom(tmp_path / "v1", PhantomSettings("affwild", 2, 1, 3, 128, 96))
    for name, split in (("105", "train"), ("108", "test")):
        assert (tmp_path / "v1" / "videos" / split / f"{name}.mp4").is_file()
        for target in ("valence", "arousal"):
            column = np.loadtxt(tmp_path / "v1" / "annotations" / split / target / f"{name}.txt")
            assert column.shape == (25,)
            assert np.abs(column).max() <= 1
    manifest = load_adapter("affwild").scan(tmp_path / "v1")
    assert {clip.clip_id: clip.split for clip in manifest.clips} == {"105": "train", "108": "test"}


def test_labels_follow_the_state_by_the_lag():
    settings = PhantomSettings("affwild2", 2, 120, 5)
    performance = performance_of(settings, ClipPlan("x", 0, 0, "train"))
    labelled = (performance.labels != INVALID_LABEL).all(axis=1)
    lags = np.arange(0, 26)
    fits = []
    for lag in lags:
        late, early = performance.labels[lag:], performance.valence[: len(performance.valence) - lag]
        fits.append(np.corrcoef(late[labelled[lag:], 0], early[labelled[lag:]])[0, 1])
    best = lags[int(np.argmax(fits))] / settings.frame_rate
    assert abs(best - LABEL_LAG_S) <= 0.08  # two frames: the annotators' noise shifts the peak a little
    assert 0.95 < max(fits) < 1
    assert performance.arousal.mean() > performance.valence.mean()


def test_the_face_is_away_in_three_to_eight_percent_of_the_frames_and_detectors_agree(portraits):
    settings = PhantomSettings("affwild2", 2, 8, 11)
    plan = LAYOUTS["affwild2"].plan(settings)[0]
    scene, actors = cast(settings, plan, portraits[:1])
    visible = visible_frames(actors[0], settings.width, settings.height)
    assert 0.03 <= 1 - visible.mean() <= 0.08
    frames = np.stack(list(scene.film(actors)))
    pick = np.concatenate([np.flatnonzero(~visible), np.flatnonzero(visible)[::8]])
    found = np.array([len(faces) > 0 for faces in load_detector("retinaface").detect(frames[pick])])
    assert found[visible[pick]].mean() >= 0.97
    assert found[~visible[pick]].mean() <= 0.3  # a half-hidden face at the rim may be found


def test_valence_moves_the_mouth_and_not_the_clothes(portraits):
    head = make_head(portraits[0].image, portraits[0].landmarks, stream(SETTINGS, 0, 0, "identity"))
    face = Face(head, np.random.default_rng(0))
    rest = dict.fromkeys(ACTIONS, 0.0)
    happy, sad = face.show(rest | {"smile": 1, "cheek_raise": 0.8}), face.show(rest | {"corner_down": 1})
    change = np.abs(happy - sad)[..., :3].mean(axis=2)
    (x0, y0), (x1, y1) = head.landmarks[48:].min(axis=0).astype(int), head.landmarks[48:].max(axis=0).astype(int)
    assert change[y0:y1, x0:x1].mean() > 5
    assert change[320:].max() == 0
    assert change[:20].max() == 0


def test_every_action_changes_the_face_and_a_blink_covers_the_iris(portraits):
    head = make_head(portraits[0].image, portraits[0].landmarks, stream(SETTINGS, 0, 0, "identity"))
    face = Face(head, np.random.default_rng(0))
    rest = dict.fromkeys(ACTIONS, 0.0)
    calm = face.show(rest)
    for name in ACTIONS:
        assert np.abs(face.show(rest | {name: 0.7}) - calm).max() > 15, name
    x, y = head.landmarks[36:42].mean(axis=0).astype(int)
    assert (
        face.show(rest | {"blink": 1.0})[y - 1 : y + 1, x - 1 : x + 2, :3].mean()
        > calm[y - 1 : y + 1, x - 1 : x + 2, :3].mean()
    )


def test_two_people_stand_at_their_sides(corpus):
    frame = next(iter(read_frames(corpus / "batch2" / "video1.mp4"))).image
    faces = load_detector("retinaface").detect(np.stack([frame]))[0]
    centres = np.sort((faces.boxes[:, 0] + faces.boxes[:, 2]) / 2)
    assert len(centres) == 2
    assert centres[0] < 96 < centres[1]


def test_pitch_and_energy_of_the_voice_follow_arousal():
    settings = PhantomSettings("affwild2", 2, 30, 2)
    performance = performance_of(settings, ClipPlan("x", 0, 0, "train"))
    sound = speak(performance, stream(settings, 0, 0, "voice"), stream(settings, 0, 0, "speech"))
    assert sound.dtype == np.float32
    assert len(sound) == 30 * SAMPLE_RATE_HZ
    assert np.abs(sound).max() <= 1
    hop = 640
    windows = np.lib.stride_tricks.sliding_window_view(sound, 2048)[::hop] * np.hanning(2048)
    energy_db = 10 * np.log10((windows**2).mean(axis=1) + 1e-12)
    centres_s = (np.arange(len(windows)) * hop + 1024) / SAMPLE_RATE_HZ
    arousal = np.interp(centres_s, performance.time_s, performance.arousal)
    speaking = energy_db > -35
    correlation = np.fft.irfft(np.abs(np.fft.rfft(windows, 4096)) ** 2)
    shortest, longest = SAMPLE_RATE_HZ // 400, SAMPLE_RATE_HZ // 60
    pitch_hz = SAMPLE_RATE_HZ / (shortest + correlation[:, shortest:longest].argmax(axis=1))
    assert 0.3 < speaking.mean() < 0.95  # it pauses
    assert np.corrcoef(energy_db[speaking], arousal[speaking])[0, 1] > 0.4
    assert np.corrcoef(np.log(pitch_hz[speaking]), arousal[speaking])[0, 1] > 0.5


def test_each_subject_has_a_portrait_of_its_own_or_it_is_an_error(tmp_path, portraits):
    from PIL import Image

    faces = tmp_path / "faces"
    for folder, name in (("a", "ann_1.png"), ("b", "ann_2.png"), ("b", "bob.png")):
        (faces / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(portraits[0].image).save(faces / folder / name)
    (faces / "notes.jpg").write_text("not a picture")
    used = load_portraits(faces, PhantomSettings("affwild2", 2, 2))
    assert sorted(portrait.source for portrait in used) == ["a/ann_1.png", "b/bob.png"]
    with pytest.raises(ConfigError, match="portraits of 3 people") as caught:
        load_portraits(faces, PhantomSettings("affwild2", 3, 2))
    assert "Received: 2 with a face" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_subjects": 1}, "at least 2 subjects"),
        ({"width": 321}, "even size"),
        ({"seconds": 0}, "1 to 3600 seconds"),
        ({"seed": -1}, "seed of 0 or more"),
    ],
)
def test_settings_that_make_no_corpus_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        PhantomSettings(**({"layout": "affwild2", "num_subjects": 4, "seconds": 2} | changes))


def test_an_unknown_layout_is_named():
    with pytest.raises(UnknownNameError, match="Known: affwild2, affwild"):
        PhantomSettings("afwild", 4, 2)


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(ConfigError, match="empty or absent"):
        make_phantom(tmp_path, SETTINGS)
    with pytest.raises(ManifestError, match="phantom.json"):
        Phantom().scan(tmp_path)


def test_the_command_reports_what_it_made(tmp_path):
    arguments = [str(tmp_path / "c"), "--layout", "affwild", "--subjects", "2", "--seconds", "1", "--size", "128x96"]
    result = CliRunner().invoke(phantom_command, [*arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {"num_videos": 2, "num_clips": 2, "num_frames": 50, "media_s": 2.0}
    assert (
        CliRunner().invoke(phantom_command, [str(tmp_path / "d"), "--layout", "affwild", "--size", "x"]).exit_code == 2
    )


def test_exposure_and_white_balance_wander_apart_from_what_is_felt():
    settings = PhantomSettings("affwild2", 12, 20, 5, 192, 144)
    videos = find_layout("affwild2").plan(settings)
    played = [performance_of(settings, clip) for video in videos for clip in video.clips]
    balance = np.log(np.concatenate([each.balance - each.balance.mean(axis=0) + 1 for each in played]))
    exposure = np.concatenate([each.light[:, 0] - each.light[:, 0].mean() for each in played])
    felt = np.concatenate([np.column_stack([each.valence, each.arousal]) for each in played])
    assert (balance.std(axis=0) > 0.03).all() and exposure.std() > 0.03
    together = np.corrcoef(np.column_stack([balance, exposure, felt]).T)
    assert np.abs(together[:4, 4:]).max() < 0.25  # of some 60 stretches that do not depend on each other
    assert np.abs(together[:4, :4] - np.eye(4)).max() < 0.3


def test_held_back_labels_lie_beside_the_truth(tmp_path):
    settings = PhantomSettings("affwild2", 4, 1.0, seed=2)
    make_phantom(tmp_path / "corpus", settings)
    adapter = load_adapter("affwild2")
    seen = set()
    for clip in adapter.scan(tmp_path / "corpus").clips:
        with (tmp_path / "corpus" / "truth" / f"{clip.clip_id}.csv").open() as file:
            rows = list(csv.DictReader(file))
        held = np.array([[float(row[f"{name}_label"] or "nan") for name in ("valence", "arousal")] for row in rows])
        true = np.array([[float(row[name]) for name in ("valence", "arousal")] for row in rows])
        assert 0.01 < np.nanstd(held - true) < 0.5  # late and a little wrong
        seen.add(clip.split)
        if clip.split != "test":
            given = adapter.read_labels(clip, "va")
            assert np.allclose(given.values[: len(held)], held, equal_nan=True)
    assert seen == {"train", "dev", "test"}


def test_a_stopped_phantom_goes_on_and_ends_as_if_it_had_not_been_stopped(tmp_path):
    small = PhantomSettings("affwild2", 2, 1, 7, 192, 144)
    make_phantom(tmp_path / "whole", small)
    rendered = []

    def stop(done: int, of: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_phantom(tmp_path / "corpus", small, on_video=stop)
    with pytest.raises(ManifestError):
        Phantom().scan(tmp_path / "corpus")  # it is not there before it is whole
    with pytest.raises(ConfigError, match="other settings"):
        make_phantom(tmp_path / "corpus", PhantomSettings("affwild2", 2, 1, 8, 192, 144))
    make_phantom(tmp_path / "corpus", small, on_video=lambda done, of: rendered.append(done))
    assert rendered[0] == 1  # the first video was kept
    assert texts_of(tmp_path / "corpus") == texts_of(tmp_path / "whole")
    assert pixels_of(tmp_path / "corpus") == pixels_of(tmp_path / "whole")


@pytest.mark.slow
def test_workers_end_when_the_program_is_killed(tmp_path):
    options = ("--layout", "affwild2", "--subjects", "8", "--seconds", "60", "--workers", "2")
    command = [sys.executable, *PROGRAM, "phantom", str(tmp_path / "corpus"), *options]
    killed = subprocess.Popen(command, stderr=subprocess.PIPE)  # its workers hold the other end too
    while not list(tmp_path.rglob(".*.partial")) and not list(tmp_path.rglob("*.mp4")):
        time.sleep(0.05)
    killed.kill()
    killed.communicate(timeout=60)  # returns when the last of them is gone
    assert not (tmp_path / "corpus" / "phantom.json").exists()
