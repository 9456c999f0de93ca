"""Still pictures the whole way: phantom CK+ and JAFFE, Haar faces, the box as the crop, folds, a CNN of classes."""

import csv
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import sklearn.metrics
import train_runner  # noqa: F401 - which registers the small CNN

from emopipe.config import FacesConfig
from emopipe.datasets.phantom_layouts import PhantomSettings
from emopipe.errors import DecodeError, MediaError
from emopipe.models.bundle import open_run
from emopipe.records import Clip
from emopipe.stages.cached_plan import cached_plan
from emopipe.stages.faces_step import open_source
from emopipe.stages.labelled import labelled_clips
from emopipe.stages.phantom import make_phantom
from emopipe.store.cache import Cache

HAAR = ("--only", "faces", "--detector", "haar", "--alignment", "box")
TINY = ("--backbone", "tiny", "--epochs", 1, "--batch", 16)


@pytest.mark.slow
def test_phantom_ckplus_from_pictures_to_a_scored_cnn(call, tmp_path):
    root = tmp_path / "ckplus"
    make_phantom(root, PhantomSettings("ckplus", 4, seed=3, width=192, height=144))
    where = ("--dataset", "ckplus", "--root", root, "--cache", tmp_path / "cache")
    outcome = call("extract", *where, *HAAR, "--json")
    assert outcome.code == 0, outcome.err
    report = outcome.json
    assert report["clips"] == {"done": 96, "reused": 0, "failed": 0}  # 4 subjects x 6 sequences x 4 pictures
    assert report["frames"] == 96
    assert report["valid"] >= 90
    assert call("extract", *where, *HAAR, "--json").json["clips"]["reused"] == 96

    plan = cached_plan(Cache(tmp_path / "cache"), "faces", "ckplus", root)
    found = labelled_clips(plan, Cache(tmp_path / "cache"), "faces", "none")
    clip = found.clips[0]
    with Cache(tmp_path / "cache").open(clip.record) as reader:
        rows = reader.rows(clip.entry.clip_id)
    assert (rows["frame_index"].tolist(), rows["time_s"].tolist(), rows["track"].tolist()) == ([0], [0.0], [0])
    assert np.ptp(rows["crop"], axis=3).max() == 0  # grey stays grey
    assert np.isfinite(rows["landmarks"]).all()

    without = call("train-cnn", *where, *TINY, "--run", tmp_path / "run")
    assert without.code == 1
    assert "none of the 96 clips of ckplus has a split" in without.err
    assert "--folds N" in without.err
    assert not (tmp_path / "run").exists()
    for option in (("--fold", 1), ("--fold-rule", "images")):
        outcome = call("train-cnn", *where, *TINY, "--run", tmp_path / "run", *option)
        assert outcome.code == 2
        assert "need --folds N" in outcome.err
    outcome = call("train-cnn", *where, *TINY, "--run", tmp_path / "run", "--folds", 4, "--fold", 1, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["select"] == "macro_f1"
    assert outcome.json["frames"]["dev"] == 24
    assert outcome.json["frames"]["train"] == 48
    run = open_run(tmp_path / "run")
    assert run.content["settings"]["folds"] == {"num_folds": 4, "fold": 1, "rule": "subjects", "seed": 0}
    assert run.content["classes"][:3] == ["neutral", "anger", "contempt"]
    with (tmp_path / "run" / "history.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert {name for name in row if name.startswith("dev_")} == {"dev_macro_f1", "dev_uar", "dev_accuracy"}
    check_scores_of_classes(call, run, where[4:])
    options = ("--run", tmp_path / "published", "--folds", 10, "--fold-rule", "images", "--json")
    outcome = call("train-cnn", *where, *TINY, *options)
    assert outcome.json["frames"] == {"train_before_balancing": 86, "train": 86, "dev": 10}
    assert any("divided by images" in note for note in outcome.json["notes"])
    assert run.content["settings"]["folds"] != open_run(tmp_path / "published").content["settings"]["folds"]


def check_scores_of_classes(call, run, where):
    """`evaluate` on the subject that was held out, against scikit-learn on the predictions that it wrote."""
    outcome = call("evaluate", run.folder, "--split", "test", *where, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.err == ""  # what is undefined is a note, not a warning of Python
    with Path(outcome.json["predictions"]).open() as file:
        rows = list(csv.DictReader(file))
    classes = run.content["classes"]
    assert list(rows[0]) == ["clip", "frame", "time_s", "how", *classes, "label", "expression_label"]
    likelihood = np.array([[float(row[name]) for name in classes] for row in rows])
    assert np.allclose(likelihood.sum(axis=1), 1, atol=1e-4)
    predicted, given = ([row[name] for row in rows] for name in ("label", "expression_label"))
    assert predicted == [classes[number] for number in likelihood.argmax(axis=1)]
    assert outcome.json["confusion"] == sklearn.metrics.confusion_matrix(given, predicted, labels=classes).tolist()
    scores = {score["metric"]: score for score in outcome.json["scores"] if score["target"] == "label"}
    assert scores["accuracy"]["value"] == pytest.approx(sklearn.metrics.accuracy_score(given, predicted))
    f1 = sklearn.metrics.f1_score(given, predicted, labels=classes, average="macro", zero_division=0)
    assert scores["macro_f1"]["value"] == pytest.approx(f1)
    assert scores["accuracy"]["num_clips"] == 1  # pictures of one person are one draw
    assert (run.folder / "predictions" / "test_confusion.png").is_file()


@pytest.mark.parametrize(("detector", "alignment"), [("haar", "box"), ("retinaface", "procrustes5")])
def test_one_bad_picture_and_one_without_a_face_are_rows_of_the_ledger(call, tmp_path, detector, alignment):
    root = tmp_path / "jaffe"
    make_phantom(root, PhantomSettings("jaffe", 2, seed=3, width=160, height=160))
    for path in sorted(root.glob("*.tiff"))[5:]:
        path.unlink()
    broken, empty, *whole = sorted(root.glob("*.tiff"))
    broken.write_bytes(broken.read_bytes()[:1000])
    PIL.Image.new("L", (160, 160), 128).save(empty)
    where = ("--dataset", "phantom", "--root", root, "--cache", tmp_path / "cache")
    options = ("--only", "faces", "--detector", detector, "--alignment", alignment)
    outcome = call("extract", *where, *options, "--json")
    assert outcome.code == 1
    assert outcome.json["clips"] == {"done": 3, "reused": 0, "failed": 2}
    assert outcome.json["valid"] == len(whole) == 3
    failed = {row.clip_id: row for row in Cache(tmp_path / "cache").ledger.read().values() if row.status == "failed"}
    assert {name: row.error for name, row in failed.items()} == {broken.stem: "DecodeError", empty.stem: "FaceError"}
    assert "does not decode" in failed[broken.stem].message
    assert call("extract", *where, *options, "--dry-run", "--json").json["pending"] == 0


def test_a_picture_can_be_its_own_crop(call, tmp_path):
    root = tmp_path / "jaffe"
    make_phantom(root, PhantomSettings("jaffe", 2, seed=3, width=160, height=160))
    for path in sorted(root.glob("*.tiff"))[2:]:
        path.unlink()
    where = ("--dataset", "jaffe", "--root", root, "--cache", tmp_path / "cache", "--only", "faces")
    outlook = call("extract", *where, "--alignment", "given", "--dry-run", "--json").json
    assert (outlook["pending"], outlook["pending_frames"]) == (2, 2)
    outcome = call("extract", *where, "--alignment", "given", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["valid"] == 2


def test_a_source_of_one_picture_is_looked_at_and_not_decoded(tmp_path):
    path = tmp_path / "a.png"
    PIL.Image.new("L", (64, 48), 90).save(path)
    source = open_source(Clip("a", path, "picture"), FacesConfig(), 1)
    assert (source.num_declared, source.size, source.frame_bytes) == (1, (64, 48), 64 * 48 * 3)
    assert (source.frame_rate, source.duration_s) == (None, None)
    (frame,) = source.frames
    assert frame.image.shape == (48, 64, 3)
    path.write_bytes(b"no picture")
    with pytest.raises(DecodeError, match="a.png: does not decode"):
        open_source(Clip("a", path, "picture"), FacesConfig(), 1)
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(MediaError, match="Git LFS pointer and not the picture itself"):
        open_source(Clip("a", path, "picture"), FacesConfig(), 1)
