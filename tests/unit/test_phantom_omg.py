"""The phantom corpus of utterances: its lists, what is labelled and shown, and the way into the faces cache."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from emopipe_cli.phantom import phantom as phantom_command

from emopipe.datasets.adapter import load_adapter
from emopipe.datasets.omg_lists import official_rows, source_disjoint, source_of
from emopipe.datasets.phantom import Phantom, faceless_clips
from emopipe.datasets.phantom_cast import performance_of
from emopipe.datasets.phantom_layouts import PhantomSettings
from emopipe.datasets.phantom_utterances import durations, utterances
from emopipe.media.video import probe
from emopipe.stages.check import check
from emopipe.stages.extract import extract
from emopipe.stages.labelled import labelled_clips
from emopipe.stages.phantom import make_phantom
from emopipe.stages.spec import ExtractSpec, make_plan
from emopipe.store.cache import Cache

SETTINGS = PhantomSettings("omg", 4, seconds=3, seed=5, width=160, height=120, frame_rate=10)
LISTS = {"train": "omg_TrainVideos.csv", "dev": "omg_ValidationVideos.csv", "test": "omg_TestVideos_WithLabels.csv"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    root = tmp_path_factory.mktemp("omg") / "corpus"
    report = make_phantom(root, SETTINGS)
    assert report.num_videos == report.num_clips == len(list(root.rglob("*.mp4")))
    assert report.media_s == pytest.approx(4 * SETTINGS.seconds + 2)  # one more shows nobody
    assert report.num_frames == 10 * report.media_s
    return root


def rows_of(path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def truth_of(root, clip_id: str) -> dict[str, np.ndarray]:
    rows = rows_of(root / "truth" / f"{clip_id}.csv")
    return {name: np.array([float(row[name]) for row in rows]) for name in ("valence", "arousal", "face_visible")}


def texts_of(root) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*.csv"))}


def test_the_lists_are_in_the_official_form(corpus):
    for split, name in LISTS.items():
        header, *lines = (corpus / name).read_text().splitlines()
        assert header == "link,start,end,video,utterance,arousal,valence,EmotionMaxVote"
        rows = rows_of(corpus / name)
        assert len(rows) == len(lines) > 1
        for row in rows:
            assert row["link"].startswith("https://www.youtube.com/watch?v=phantom")
            assert row["utterance"].startswith("utterance_")
            assert row["utterance"].endswith(".mp4")
            assert len(source_of(f"{row['video']}/x")) == 9
            assert 0.9 < float(row["end"]) - float(row["start"]) < 7
            assert 0 <= float(row["arousal"]) <= 1
            assert -1 <= float(row["valence"]) <= 1
            assert row["EmotionMaxVote"] in "0123456"
        assert [(row["video"], row["utterance"]) for row in rows] == list(official_rows(corpus, split))
    with_labels = (corpus / LISTS["test"]).read_text().splitlines()
    without = (corpus / "omg_TestVideos_WithoutLabels.csv").read_text().splitlines()
    assert without == [",".join(line.split(",")[:5]) for line in with_labels]


def test_sources_have_parts_and_numbers_have_gaps():
    rows = utterances(replace(SETTINGS, num_subjects=12, seconds=30.0))
    videos = {
        subject: list(dict.fromkeys(row.video for row in rows if row.clip.subject == subject)) for subject in range(12)
    }
    for subject, names in videos.items():
        source = source_of(f"{names[0]}/x")
        assert names == {0: [f"{source}_1", f"{source}_2"], 1: [f"{source}_1"], 2: [source]}[subject % 3]
    assert len({source_of(f"{names[0]}/x") for names in videos.values()}) == 12
    for subject in range(12):
        own = [row for row in rows if row.clip.subject == subject]
        steps = np.diff([int(row.clip.name.rpartition("_")[2]) for row in own])
        assert set(steps.tolist()) == {1, 2}
        assert all(earlier.end_s < later.start_s for earlier, later in zip(own, own[1:], strict=False))
        assert len({row.link for row in own}) == 1
        assert len({row.clip.split for row in own}) == 1
        assert len({row.clip.take for row in own}) == len(own)


def test_utterances_fill_the_seconds_and_some_are_shorter_than_80_frames():
    generator = np.random.default_rng(0)
    for seconds in (1, 2, 5, 30, 300):
        lengths = durations(generator, seconds, 25)
        assert sum(lengths) == pytest.approx(seconds)
        assert min(lengths) >= 1
        assert max(lengths) < 7
        assert len(lengths) > 1 or seconds < 2
        assert np.array(lengths) * 25 == pytest.approx(np.round(np.array(lengths) * 25))
    num_frames = np.array(lengths) * 25
    assert 0.3 < (num_frames < 80).mean() < 0.6


def test_labels_are_the_means_of_the_true_state(corpus):
    adapter = load_adapter("omg")
    for clip in adapter.scan(corpus).clips:
        truth = truth_of(corpus, clip.clip_id)
        (valence, arousal) = adapter.read_labels(clip).values[0]
        assert valence == pytest.approx(truth["valence"].mean(), abs=2e-6)
        assert arousal == pytest.approx((truth["arousal"].mean() + 1) / 2, abs=2e-6)
        assert adapter.read_labels(clip, "emotion").classes[0] == "Anger"


def test_labels_differ_between_utterances_of_one_person_and_the_face_shows_it():
    settings = replace(SETTINGS, num_subjects=10, seconds=60.0)
    values, shown, spread, levels = [], [], [], []
    for subject in range(10):
        own = [row.clip for row in utterances(settings) if row.clip.subject == subject]
        acts = [performance_of(settings, clip) for clip in own]
        means = np.array([[act.valence.mean(), (act.arousal.mean() + 1) / 2] for act in acts])
        spread.append(means.std(axis=0))
        values += means.tolist()
        levels += [clip.level for clip in own]
        shown += [(act.actions["smile"] - act.actions["corner_down"]).mean() for act in acts]
    assert np.mean(spread, axis=0)[0] > 0.4
    assert np.mean(spread, axis=0)[1] > 0.2
    valence, arousal = np.array(values).T
    assert np.corrcoef(valence, shown)[0, 1] > 0.9
    for column, labels in enumerate((valence, arousal)):  # an utterance has a level of its own
        assert np.corrcoef(np.array(levels)[:, column], labels)[0, 1] > 0.5


def test_one_utterance_shows_nobody_and_one_has_no_media(corpus):
    manifest = load_adapter("omg").scan(corpus)
    (missing,) = manifest.missing
    assert missing.split == "dev"
    assert (missing.media.parent.name, missing.media.name) == official_rows(corpus, "dev")[-1]
    faceless = [clip for clip in manifest.clips if not truth_of(corpus, clip.clip_id)["face_visible"].any()]
    assert [(clip.split, clip.clip_id) for clip in faceless] == [
        ("dev", "/".join(official_rows(corpus, "dev")[-2]).removesuffix(".mp4"))
    ]
    assert faceless_clips(corpus) == {faceless[0].clip_id}
    assert [note for note in manifest.notes if note.startswith("dev")] == [
        f"dev: {len(official_rows(corpus, 'dev')) - 1} of {len(official_rows(corpus, 'dev'))} utterances have media."
    ]


def test_the_adapters_read_it_and_no_person_is_in_two_splits(corpus):
    adapter = Phantom()
    manifest = adapter.scan(corpus)
    assert adapter.tasks == ("va", "emotion")
    assert manifest.dataset == "phantom"
    assert {clip.subject for clip in manifest.clips} == {f"subject{k:03d}" for k in range(4)}
    assert {clip.subject: clip.split for clip in manifest.clips} == {
        "subject000": "train", "subject001": "dev", "subject002": "train", "subject003": "test",
    }  # fmt: skip
    assert Phantom().read_labels(manifest.clips[0]).values.shape == (1, 2)
    for split in ("dev", "test"):
        assert len(source_disjoint(corpus, split)) == len(official_rows(corpus, split))
    report = check(load_adapter("omg"), load_adapter("omg").scan(corpus))
    assert report.problems == ("annotated clips without media: 1",)
    info = probe(manifest.clips[0].media)
    assert (info.width, info.height, float(info.frame_rate), info.has_audio) == (160, 120, 10, True)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes_with_any_workers_and_number_of_subjects(corpus, tmp_path):
    make_phantom(tmp_path / "three", replace(SETTINGS, num_subjects=3), num_workers=2)
    mine, theirs = texts_of(tmp_path / "three"), texts_of(corpus)
    shared = {name for name in mine if name != LISTS["train"]}
    assert {name: mine[name] for name in shared} == {name: theirs[name] for name in shared}
    assert mine[LISTS["train"]] == theirs[LISTS["train"]]
    pixels = [json.loads((root / "phantom.json").read_text())["pixels_sha256"] for root in (tmp_path / "three", corpus)]
    assert len(pixels[0]) == len(list((tmp_path / "three").rglob("*.mp4")))
    assert pixels[0].items() < pixels[1].items()


def test_another_seed_gives_other_utterances():
    first, other = utterances(SETTINGS), utterances(replace(SETTINGS, seed=6))
    assert not {row.clip.name for row in first} & {row.clip.name for row in other}


def test_from_the_phantom_to_labelled_faces(corpus, tmp_path):
    spec = ExtractSpec("omg", corpus, tmp_path / "cache", only="faces", splits=("train", "dev"))
    report = extract(spec)
    assert [failure.clip_id for failure in report.failures] == ["/".join(official_rows(corpus, "dev")[-2])[:-4]]
    plan = make_plan(spec, Cache(spec.cache))
    for split, num_clips in (
        ("train", len(official_rows(corpus, "train"))),
        ("dev", len(official_rows(corpus, "dev")) - 2),
    ):
        found = labelled_clips(plan, Cache(spec.cache), "faces", split)
        assert found.targets == ("valence", "arousal")
        assert len(found.clips) == num_clips
        for clip in found.clips:
            label = plan.adapter.read_labels(clip.clip).values
            assert clip.values.tolist() == np.repeat(label, len(clip.frame_index), axis=0).tolist()
            assert clip.valid.any()
    assert any("1 of" in note and "no cached faces" in note for note in found.notes)


def test_the_command_makes_it(tmp_path):
    arguments = [str(tmp_path / "c"), "--layout", "omg", "--subjects", "2", "--seconds", "1", "--size", "96x96"]
    result = CliRunner().invoke(phantom_command, [*arguments, "--fps", "10", "--workers", "1", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {"num_videos": 3, "num_clips": 3, "num_frames": 40, "media_s": 4.0}
    assert not (tmp_path / "c" / LISTS["test"]).exists()  # nobody is in it
