"""What holds for every registered dataset, shown on a small tree in its official layout.

A new dataset adds `tests/fakes/<name>/make.py`: a function `make`, which writes the tree below a folder, the `RANGES`
of its targets, and where they apply `HAS_SPLITS` and `LABEL_CELL`.
"""

import json
import re
import runpy
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from emopipe.datasets.adapter import DATASETS, load_adapter
from emopipe.datasets.splits import Folds, shared_subjects, with_folds
from emopipe.errors import ManifestError

FAKES = Path(__file__).parents[1] / "fakes"
ABSOLUTE_PATH = re.compile(r"(?<![\w:/<.*`])/(?:[A-Za-z]\w*/)+|[A-Z]:\\")


@cache
def fake(name):
    """What the dataset's make.py says and does."""
    return {"HAS_SPLITS": True, "LABEL_CELL": -1} | runpy.run_path(str(FAKES / name / "make.py"))


@pytest.fixture(params=sorted(DATASETS))
def corpus(request, tmp_path):
    """(adapter, root of its fake tree)."""
    return load_adapter(request.param), fake(request.param)["make"](tmp_path / request.param)


def test_every_registered_dataset_has_a_fake():
    assert {path.parent.name for path in FAKES.glob("*/make.py")} == set(DATASETS)


def test_says_what_it_is_and_under_which_licence(corpus):
    adapter, _ = corpus
    for text in (adapter.title, adapter.licence, adapter.citation, adapter.homepage):
        assert len(text) > 5
    assert adapter.name in DATASETS
    assert (files("emopipe_data_manifests") / adapter.name / "README.md").is_file()
    for release in adapter.releases:
        assert release["task"] in adapter.tasks
        assert all(isinstance(release[split], int) for split in ("train", "dev", "test"))


def test_its_manifest_folder_holds_no_absolute_path(corpus):
    adapter, _ = corpus
    folder = files("emopipe_data_manifests") / adapter.name
    for file in folder.iterdir():
        found = ABSOLUTE_PATH.search(re.sub(r"https?://\S+", "", file.read_text(encoding="utf-8")))
        assert found is None, f"{file.name}: {found and found[0]}"
    json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def test_clip_ids_are_relative_unique_and_media_are_below_the_root(corpus):
    adapter, root = corpus
    manifest = adapter.scan(root)
    assert manifest.clips
    assert manifest.dataset == adapter.name
    for clip in manifest.clips:
        assert not clip.clip_id.startswith("/")
        assert "\\" not in clip.clip_id
        assert clip.media.is_relative_to(root)
        assert clip.media.exists()
        assert clip.subject
        assert set(clip.annotations) <= set(adapter.tasks)
    assert len({clip.clip_id for clip in manifest.clips}) == len(manifest.clips)


def test_order_is_sorted_and_the_same_every_time(corpus):
    adapter, root = corpus
    manifest = adapter.scan(root)
    ids = [clip.clip_id for clip in manifest.clips]
    assert ids == sorted(ids)
    assert load_adapter(adapter.name).scan(root) == manifest


def test_targets_are_in_range_and_nan_exactly_where_invalid(corpus):
    adapter, root = corpus
    manifest = adapter.scan(root)
    num_read = dict.fromkeys(adapter.tasks, 0)
    for clip in manifest.clips:
        for task in clip.annotations:
            labels = adapter.read_labels(clip, task)
            low, high = fake(adapter.name)["RANGES"][task]
            valid = labels.values[labels.valid]
            assert np.isfinite(valid).all()
            assert (valid >= low).all()
            assert (valid <= high).all()
            assert np.isnan(labels.values[~labels.valid]).any(axis=1).all()
            assert list(labels.targets) == sorted(labels.targets, key=("valence", "arousal", *labels.targets).index)
            num_read[task] += len(valid)
    assert all(num_read.values()), num_read


def test_splits_are_disjoint_in_subject_for_every_task(corpus):
    adapter, root = corpus
    manifest = adapter.scan(root)
    if not fake(adapter.name)["HAS_SPLITS"]:
        assert {clip.split for clip in manifest.clips} == {None}
        manifest = with_folds(manifest, Folds(num_folds=3))
    assert len({clip.split for clip in manifest.clips}) > 1
    for task in adapter.tasks:
        assert shared_subjects(manifest.for_task(task).clips) == {}


def test_scanning_does_not_depend_on_what_annotations_say(corpus):
    """Labels are read clip by clip when they are needed: a scan of a spoilt corpus finds the same clips."""
    adapter, root = corpus
    manifest = adapter.scan(root)
    files = {path for clip in manifest.clips for path in clip.annotations.values()}
    files -= {clip.media for clip in manifest.clips}
    if not files:
        return  # names are the labels
    spoilt = 0
    for path in files:
        lines = path.read_text().splitlines()
        first = min(1, len(lines) - 1)  # a header, where there is more than one line
        lines[first:] = [_spoilt(line, fake(adapter.name)["LABEL_CELL"]) for line in lines[first:]]
        path.write_text("\n".join(lines))
        spoilt += 1
    assert spoilt
    assert adapter.scan(root) == manifest
    with pytest.raises(ManifestError, match="spoilt"):
        for clip in manifest.clips:
            for task in clip.annotations:
                adapter.read_labels(clip, task)


@pytest.mark.parametrize("state", ["missing", "empty", "other things"])
def test_a_root_without_the_corpus_is_explained(corpus, tmp_path, state):
    adapter, _ = corpus
    root = tmp_path / "elsewhere"
    if state != "missing":
        root.mkdir()
    if state == "other things":
        (root / "holiday").mkdir()
        (root / "notes.txt").write_text("hello")
    with pytest.raises(ManifestError) as raised:
        adapter.scan(root)
    message = str(raised.value)
    assert "--root" in message
    assert "$EMOPIPE_DATA" in message
    assert "Expected" in message
    assert {"missing": "nothing there", "empty": "empty folder", "other things": "holiday, notes.txt"}[state] in message
    assert len(message.splitlines()) <= 3


def test_an_unannotated_clip_asked_for_labels_is_an_error(corpus):
    adapter, root = corpus
    clips = adapter.scan(root).clips
    clip = next((clip for clip in clips if not clip.annotations), replace(clips[0], annotations={}))
    with pytest.raises(ManifestError, match="no annotation"):
        adapter.read_labels(clip)


def _spoilt(line: str, place: int) -> str:
    cells = line.split(",")
    cells[place] = "spoilt" if cells[place] else ""  # an empty cell stays: it says that there is no label
    return ",".join(cells)
