"""JAFFE: names that are labels, and names that say nothing."""

import PIL.Image
import pytest
from fakes.ckplus.make import make as make_ckplus
from fakes.jaffe.make import make

from emopipe.datasets.adapter import describe, load_adapter
from emopipe.errors import ManifestError


@pytest.fixture
def adapter():
    return load_adapter("jaffe")


def labels_of(adapter, root) -> dict[str, str]:
    """Clip id -> name of its class."""
    found = {}
    for clip in adapter.scan(root).clips:
        labels = adapter.read_labels(clip)
        found[clip.clip_id] = labels.classes[int(labels.values[0, 0])]
        assert labels.frame_index.tolist() == [0]
    return found


def test_a_name_is_a_label(adapter, tmp_path):
    root = make(tmp_path)
    assert labels_of(adapter, root) == {
        "KA.AN1.39": "anger",
        "KA.NE1.26": "neutral",
        "KA.SU2.37": "surprise",
        "NA.HA2.203": "happy",
        "YM.DI1.64": "disgust",
        "YM.FE3.72": "fear",
        "YM.SA1.58": "sadness",
    }
    clip = adapter.scan(root).clips[0]
    assert (clip.kind, clip.subject, clip.split) == ("picture", "KA", None)


def test_the_classes_are_those_of_ckplus_in_their_order(adapter, tmp_path):
    ckplus = make_ckplus(tmp_path / "ck")
    other = load_adapter("ckplus")
    classes = other.read_labels(other.scan(ckplus).clips[0]).classes
    assert adapter.read_labels(adapter.scan(make(tmp_path / "ja")).clips[0]).classes == classes
    assert "contempt" in classes
    assert adapter.tasks == other.tasks == ("expr",)


def test_case_ending_and_number_of_digits_are_free(adapter, tmp_path):
    for name in ("ka.an1.39.TIF", "Kl.Ne12.7.tiff", "KM.SU3.1000.tif"):
        PIL.Image.new("L", (8, 8)).save(tmp_path / name, "TIFF")
    assert labels_of(adapter, tmp_path) == {
        "Kl.Ne12.7": "neutral",
        "KM.SU3.1000": "surprise",
        "ka.an1.39": "anger",
    }
    assert {clip.subject for clip in adapter.scan(tmp_path).clips} == {"KA", "KL", "KM"}


@pytest.mark.parametrize(
    "name", ["KA.XX1.39.tiff", "KR.SU3.82-2.tiff", "KA.AN.39.tiff", "KAT.AN1.39.tiff", "KA.AN1.39.png", "cover.jpg"]
)
def test_a_picture_whose_name_says_nothing_is_refused_by_name(adapter, tmp_path, name):
    root = make(tmp_path)
    (root / name).write_bytes(b"x")
    manifest = adapter.scan(root)
    (refusal,) = manifest.refused
    assert refusal.clip_id == name
    assert refusal.reason.startswith(f"{name}: expected a name like KA.AN1.39.tiff with one of NE, AN, ")
    assert len(manifest.clips) == 7


def test_other_entries_are_noted_and_hidden_ones_ignored(adapter, tmp_path):
    root = make(tmp_path)
    (root / "._KA.AN1.39.tiff").write_bytes(b"finder")
    (root / "more").mkdir()
    assert adapter.scan(root).notes == ("2 entries are no pictures and are left out: README_FIRST.txt, more.",)


def test_links_and_folders_named_like_pictures_are_refused(adapter, tmp_path):
    root = make(tmp_path / "corpus")
    (tmp_path / "out.tiff").write_bytes(b"x")
    (root / "KA.FE1.1.tiff").symlink_to(tmp_path / "out.tiff")
    (root / "KA.FE2.2.tiff").mkdir()
    refused = {refusal.clip_id: refusal.reason for refusal in adapter.scan(root).refused}
    assert "leads outside" in refused["KA.FE1.1.tiff"]
    assert "Received: a folder" in refused["KA.FE2.2.tiff"]


def test_one_picture_twice_is_an_error(adapter, tmp_path):
    root = make(tmp_path)
    (root / "KA.AN1.39.tif").write_bytes(b"x")
    with pytest.raises(ManifestError, match="expected clip ids to be unique. Received: 'KA.AN1.39'"):
        adapter.scan(root)


def test_a_folder_without_such_a_picture_is_no_corpus(adapter, tmp_path):
    (tmp_path / "cover.jpg").write_bytes(b"x")
    with pytest.raises(ManifestError, match="no JAFFE corpus here. Expected pictures named like KA.AN1.39.tiff"):
        adapter.scan(tmp_path)
    with pytest.raises(ManifestError, match="has no videos"):
        adapter.scan(tmp_path, source="videos")


def test_the_counts_of_the_official_corpus_fit_together():
    totals = describe("jaffe")["totals"]
    assert sum(totals["clips_by_class"].values()) == totals["clips"] == 213
