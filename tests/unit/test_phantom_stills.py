"""The phantom corpora of still pictures: their files, their truth, and that expressions can be seen."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner
from emopipe_cli.phantom import phantom as phantom_command

from emopipe.datasets.adapter import load_adapter
from emopipe.datasets.ckplus import CLASSES
from emopipe.datasets.phantom import Phantom
from emopipe.datasets.phantom_affect import Temperament
from emopipe.datasets.phantom_face import ACTIONS, Face
from emopipe.datasets.phantom_layouts import PhantomSettings
from emopipe.datasets.phantom_portrait import make_head
from emopipe.datasets.phantom_stills import POSES, STILL_LAYOUTS, intensities, pose
from emopipe.errors import UnknownNameError
from emopipe.stages.phantom import load_portraits, make_phantom

SETTINGS = PhantomSettings("ckplus", num_subjects=2, seed=7, width=128, height=96)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    root = tmp_path_factory.mktemp("stills") / "ckplus"
    make_phantom(root, SETTINGS)
    return root


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    root = tmp_path_factory.mktemp("stills") / "jaffe"
    report = make_phantom(root, replace(SETTINGS, layout="jaffe", width=96))
    assert (report.num_videos, report.num_clips, report.num_frames, report.media_s) == (0, 42, 42, 0.0)
    return root


def contents(root) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.name != "phantom.json"
    }


def test_ckplus_files_are_in_the_official_form(corpus):
    for path in corpus.glob("cohn-kanade-images/*/*/*"):
        subject, sequence, number = path.stem.split("_")
        assert (path.parent.parent.name, path.parent.name) == (subject, sequence)
        assert len(number) == 8
        with PIL.Image.open(path) as picture:
            assert (picture.format, picture.size, picture.mode) == ("PNG", (128, 96), "L")
    for path in corpus.glob("Emotion/*/*/*"):
        pictures = sorted(corpus.glob(f"cohn-kanade-images/{path.parent.relative_to(corpus / 'Emotion')}/*.png"))
        assert [int(picture.stem[-8:]) for picture in pictures] == list(range(1, len(pictures) + 1))
        assert path.name == f"{pictures[-1].stem}_emotion.txt"
        assert path.read_text() == f"   {float(path.read_text()):.7e}\n"
    empty = [path for path in corpus.glob("Emotion/*/*") if path.is_dir() and not any(path.iterdir())]
    assert len(empty) == 1
    assert len(list(corpus.rglob(".DS_Store"))) == 4


def test_ckplus_is_read_by_its_adapter_and_the_truth_agrees(corpus):
    adapter = load_adapter("ckplus")
    manifest = adapter.scan(corpus)
    assert not manifest.missing
    assert not manifest.refused
    assert manifest.notes == ("1 sequence without a label is left out: S010/007.",)
    assert Counter(clip.subject for clip in manifest.clips) == {"S010": 24, "S011": 24}
    truth = {}
    for path in corpus.glob("truth/*.csv"):
        for line in path.read_text().splitlines()[1:]:
            name, expression, intensity = line.split(",")[:3]
            truth[name] = (expression, float(intensity))
    assert len(truth) == len(list(corpus.glob("cohn-kanade-images/*/*/*.png")))
    for clip in manifest.clips:
        expression, intensity = truth[clip.media.relative_to(corpus).as_posix()]
        label = CLASSES[int(adapter.read_labels(clip).values[0, 0])]
        assert label == expression if intensity > 0.5 else (label, intensity) == ("neutral", 0.0)


def test_two_subjects_in_a_row_show_every_expression():
    for subjects in range(7):
        plan = STILL_LAYOUTS["ckplus"].plan(replace(SETTINGS, num_subjects=9))[subjects : subjects + 2]
        shown = {take.expression for sitting in plan for take in sitting.takes if take.clips}
        assert shown == set(CLASSES[1:])
        assert all(len(take.pictures) > 4 for sitting in plan for take in sitting.takes)
    assert [sitting.in_colour for sitting in STILL_LAYOUTS["ckplus"].plan(replace(SETTINGS, num_subjects=8))].count(
        True
    ) == 1


def test_jaffe_files_are_in_the_official_form(faces):
    adapter = load_adapter("jaffe")
    manifest = adapter.scan(faces)
    assert not manifest.refused
    assert Counter(clip.subject for clip in manifest.clips) == {"KA": 21, "KL": 21}
    labels = Counter(CLASSES[int(adapter.read_labels(clip).values[0, 0])] for clip in manifest.clips)
    assert labels == {name: 6 for name in CLASSES if name != "contempt"}
    numbers = sorted(int(clip.clip_id.split(".")[2]) for clip in manifest.clips)
    assert numbers == list(range(1, 43))
    with PIL.Image.open(manifest.clips[0].media) as picture:
        assert (picture.format, picture.mode) == ("TIFF", "L")
    names = [
        sitting.name for sitting in STILL_LAYOUTS["jaffe"].plan(replace(SETTINGS, layout="jaffe", num_subjects=60))
    ]
    assert len(set(names)) == 60


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes_with_any_workers_and_number_of_subjects(corpus, tmp_path):
    make_phantom(tmp_path / "three", replace(SETTINGS, num_subjects=3), num_workers=2)
    mine, theirs = contents(tmp_path / "three"), contents(corpus)
    assert {name: mine[name] for name in theirs} == theirs
    digests = [
        json.loads((root / "phantom.json").read_text())["pixels_sha256"] for root in (corpus, tmp_path / "three")
    ]
    assert digests[0].items() < digests[1].items()
    make_phantom(tmp_path / "other", replace(SETTINGS, seed=8))
    other = json.loads((tmp_path / "other" / "phantom.json").read_text())["pixels_sha256"]
    assert not set(other.values()) & set(digests[0].values())


def test_the_dataset_phantom_has_the_tasks_and_subjects_of_its_layout(corpus, faces):
    for root, num_clips in ((corpus, 48), (faces, 42)):
        adapter = Phantom()
        manifest = adapter.scan(root)
        assert adapter.tasks == ("expr",)
        assert manifest.dataset == "phantom"
        assert len(manifest.clips) == num_clips
        assert {clip.clip_id for clip in manifest.clips} == set(
            json.loads((root / "phantom.json").read_text())["clips"]
        )
        assert adapter.read_labels(manifest.clips[-1]).classes == CLASSES
        assert Phantom().read_labels(manifest.clips[-1]).classes == CLASSES  # a worker has not scanned
    assert Phantom().tasks == ("va", "expr", "au")


def test_an_expression_grows_from_rest_to_its_peak():
    for num in (5, 8, 20):
        shown = intensities(num)
        assert shown[0] == 0
        assert shown[-1] == 1
        assert (np.diff(shown) >= 0).all()
        assert shown[-3] > 0.6
    calm = Temperament(dict.fromkeys(ACTIONS, 1.0), dict.fromkeys(ACTIONS, 0.0))
    acted = pose("happy", intensities(8), calm, np.random.default_rng(0)).actions
    assert acted["smile"][-1] - acted["smile"][0] > 0.7
    assert abs(acted["brow_lower"][-1] - acted["brow_lower"][0]) < 0.2
    assert set(POSES) == set(CLASSES)
    assert all(set(actions) <= set(ACTIONS) for actions in POSES.values())


def test_every_two_expressions_look_different():
    """Of one face, between brows and chin: further apart than takes of one expression are."""
    portrait = load_portraits(None, SETTINGS)[0]
    head = make_head(portrait.image, portrait.landmarks, np.random.default_rng(0))
    face = Face(head, np.random.default_rng(1))
    calm = Temperament(dict.fromkeys(ACTIONS, 1.0), dict.fromkeys(ACTIONS, 0.0))
    (x0, y0), (x1, y1) = head.landmarks[17:].min(axis=0).astype(int), head.landmarks.max(axis=0).astype(int)

    def shown(expression: str, seed: int) -> np.ndarray:
        actions = pose(expression, np.ones(1), calm, np.random.default_rng(seed)).actions
        still = {name: 0.0 if name in ("gaze", "yaw", "pitch") else float(actions[name][0]) for name in ACTIONS}
        return face.show(still)[y0:y1, x0:x1, :3].mean(axis=2)

    takes = {name: [shown(name, seed) for seed in range(3)] for name in CLASSES}
    mean = {name: np.mean(pictures, axis=0) for name, pictures in takes.items()}
    for name, pictures in takes.items():
        for picture in pictures:
            distances = {other: np.square(picture - mean[other]).mean() for other in CLASSES}
            assert min(distances, key=distances.get) == name, (name, distances)


def test_the_command_makes_stills_and_refuses_lengths(tmp_path):
    arguments = ["--layout", "jaffe", "--subjects", "2", "--size", "96x96", "--workers", "1"]
    result = CliRunner().invoke(phantom_command, [str(tmp_path / "a"), *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    assert result.stdout == f"42 clips, 42 pictures in {tmp_path / 'a'}\n"
    for option in (("--seconds", "2"), ("--fps", "25")):
        result = CliRunner().invoke(phantom_command, [str(tmp_path / "b"), *arguments, *option])
        assert result.exit_code == 2
        assert "--seconds and --fps are about videos; layout 'jaffe' has still pictures" in result.output
    with pytest.raises(UnknownNameError, match="Known: affwild2, affwild, ckplus, jaffe"):
        PhantomSettings("jafe", 2)
