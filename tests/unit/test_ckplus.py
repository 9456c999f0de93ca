"""CK+: which pictures of a sequence count, what labels them, and sequences that are not whole."""

from collections import Counter

import pytest
from fakes.ckplus.make import make

from emopipe.datasets.adapter import describe, load_adapter
from emopipe.errors import ManifestError
from emopipe.stages.check import check

CLASSES = ("neutral", "anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")
EMOTION = "Emotion/S005/001/S005_001_00000011_emotion.txt"
PICTURES = "cohn-kanade-images/S005/001"


@pytest.fixture
def adapter():
    return load_adapter("ckplus")


def labels_of(adapter, root) -> dict[str, str]:
    """Clip id -> name of its class."""
    named = {}
    for clip in adapter.scan(root).clips:
        labels = adapter.read_labels(clip)
        assert labels.classes == CLASSES
        assert labels.targets == ("expression",)
        assert labels.frame_index.tolist() == [0]
        assert labels.valid.tolist() == [True]
        named[clip.clip_id] = labels.classes[int(labels.values[0, 0])]
    return named


def test_the_first_picture_is_neutral_and_the_last_three_have_the_label(adapter, tmp_path):
    found = labels_of(adapter, make(tmp_path))
    assert {name: label for name, label in found.items() if name.startswith("S005")} == {
        "S005/001/S005_001_00000001": "neutral",
        "S005/001/S005_001_00000009": "disgust",
        "S005/001/S005_001_00000010": "disgust",
        "S005/001/S005_001_00000011": "disgust",
    }
    assert Counter(found.values()) == {"neutral": 4, "disgust": 3, "surprise": 3, "contempt": 3, "anger": 3}


def test_every_picture_is_a_clip_of_its_subject_without_a_split(adapter, tmp_path):
    root = make(tmp_path)
    clip = adapter.scan(root).clips[1]
    assert (clip.kind, clip.subject, clip.split) == ("picture", "S005", None)
    assert clip.media == root / PICTURES / "S005_001_00000009.png"
    assert clip.annotations == {"expr": root / EMOTION}


def test_sequences_without_a_label_are_counted(adapter, tmp_path):
    root = make(tmp_path)
    (root / "cohn-kanade-images/S010/006").mkdir()  # not even an empty folder of labels
    manifest = adapter.scan(root)
    assert manifest.notes == ("2 sequences without a label are left out: S010/004, S010/006.",)
    assert not manifest.refused
    assert not manifest.missing


def test_the_number_counts_and_not_the_place_in_the_listing(adapter, tmp_path):
    """A gap in the numbers; a first picture that is not number 1; more digits than the others."""
    root = make(tmp_path)
    folder = root / PICTURES
    for number in (1, 2, 10):
        (folder / f"S005_001_{number:08d}.png").unlink()
    (folder / "S005_001_00000003.png").rename(folder / "S005_001_3.png")
    found = [name for name in labels_of(adapter, root).items() if name[0].startswith("S005")]
    assert sorted(found) == [
        ("S005/001/S005_001_00000008", "disgust"),
        ("S005/001/S005_001_00000009", "disgust"),
        ("S005/001/S005_001_00000011", "disgust"),
        ("S005/001/S005_001_3", "neutral"),
    ]


@pytest.mark.parametrize("text", ["   3.0000000e+00\n", "3", "\ufeff 3.0\r\n", "  3.0000000e+00  \n\n"])
def test_ways_to_write_a_code(adapter, tmp_path, text):
    root = make(tmp_path)
    (root / EMOTION).write_text(text, encoding="utf-8")
    assert labels_of(adapter, root)["S005/001/S005_001_00000011"] == "disgust"


@pytest.mark.parametrize("text", ["0.0000000e+00", "8.0", "2.5", "-1", "nan", "happy", "3 5", ""])
def test_another_code_is_named_with_its_file(adapter, tmp_path, text):
    root = make(tmp_path)
    (root / EMOTION).write_text(text)
    manifest = adapter.scan(root)
    assert len(manifest.clips) == 16  # a scan reads no label
    with pytest.raises(
        ManifestError, match=r"S005_001_00000011_emotion.txt, line 1: expected one code from 1 \(anger"
    ) as e:
        adapter.read_labels(manifest.clips[0])
    assert (e.value.path, e.value.row) == (root / EMOTION, 1)
    assert f"Received: '{text}'" in str(e.value)


def spoil_few(root):
    for number in range(2, 10):
        (root / PICTURES / f"S005_001_{number:08d}.png").unlink()


def spoil_last(root):
    (root / PICTURES / "S005_001_00000011.png").unlink()


def spoil_beyond(root):
    (root / PICTURES / "S005_001_00000012.png").write_bytes(b"")


def spoil_two(root):
    (root / EMOTION).with_name("S005_001_00000010_emotion.txt").write_text("  1.0\n")


def spoil_same(root):
    (root / PICTURES / "S005_001_5.png").write_bytes(b"")


def spoil_link(root):
    (root / PICTURES / "S005_001_00000011.png").unlink()
    (root / PICTURES / "S005_001_00000011.png").symlink_to(root.parent / "outside.png")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (spoil_few, "expected at least 4 pictures, one neutral and 3 at the peak. Received: 3"),
        (spoil_last, "expected the peak, picture 11, to be the last one.*Received: 10"),
        (spoil_beyond, "expected the peak, picture 11, to be the last one.*Received: 12"),
        (spoil_two, "expected one emotion file. Received: S005_001_00000010_emotion.txt, S005_001_00000011_emotion"),
        (spoil_same, "two pictures have the same number"),
        (spoil_link, "leads outside the corpus root"),
    ],
)
def test_a_sequence_that_is_not_whole_is_refused_and_the_others_stay(adapter, tmp_path, spoil, reason):
    root = make(tmp_path / "corpus")
    (tmp_path / "outside.png").write_bytes(b"")
    spoil(root)
    manifest = adapter.scan(root)
    (refusal,) = manifest.refused
    assert refusal.clip_id == "S005/001"
    with pytest.raises(ManifestError, match=reason):
        raise ManifestError(refusal.reason)
    assert len(manifest.clips) == 12
    assert "entries that are refused: 1" in check(adapter, manifest).problems


def test_labels_without_pictures_are_missing(adapter, tmp_path):
    root = make(tmp_path)
    for path in (root / PICTURES).iterdir():
        path.unlink()
    (clip,) = adapter.scan(root).missing
    assert clip.clip_id == "S005/001/S005_001_00000011"
    assert clip.media == root / PICTURES / "S005_001_00000011.png"
    (root / PICTURES).rmdir()
    manifest = adapter.scan(root)
    assert [clip.clip_id for clip in manifest.missing] == ["S005/001/S005_001_00000011"]
    assert any("1 labelled sequence without pictures" in note for note in manifest.notes)


def test_what_is_no_part_of_the_corpus_is_noted(adapter, tmp_path):
    root = make(tmp_path)
    (root / PICTURES / "Thumbs.db").write_bytes(b"")
    (root / PICTURES / "S005_002_00000000.png").write_bytes(b"")  # of another sequence
    (root / "Emotion/S005/001/notes.txt").write_text("")
    (root / "Emotion/README.txt").write_text("")
    (root / "Emotion/S005/001/.DS_Store").write_bytes(b"")
    manifest = adapter.scan(root)
    assert len(manifest.clips) == 16
    (note,) = [note for note in manifest.notes if "no part of the corpus" in note]
    for name in ("Thumbs.db", "S005_002_00000000.png", "notes.txt", "Emotion/README.txt"):
        assert name in note
    assert note.startswith("4 entries")
    assert labels_of(adapter, root)["S005/001/S005_001_00000001"] == "neutral"


def test_a_check_opens_every_picture(adapter, tmp_path):
    root = make(tmp_path)
    report = check(adapter, adapter.scan(root))
    assert report.problems == ()
    assert report.tasks["expr"].splits == {"none": 16}
    assert report.tasks["expr"].differences == {"equal": 16}
    (root / PICTURES / "S005_001_00000010.png").write_bytes(b"no picture")
    (line,) = check(adapter, adapter.scan(root)).bad_media
    assert line.startswith("S005/001/S005_001_00000010: ")
    assert "does not decode" in line


def test_other_names_of_the_folders_and_other_endings(adapter, tmp_path):
    root = make(tmp_path)
    (root / "Emotion").rename(root / "Emotion_labels")
    (root / "cohn-kanade-images").rename(root / "Cohn-Kanade-Images")
    picture = root / "Cohn-Kanade-Images/S005/001/S005_001_00000011.png"
    picture.rename(picture.with_suffix(".TIFF"))
    assert labels_of(adapter, root)["S005/001/S005_001_00000011"] == "disgust"


def test_without_labels_or_with_none_at_all_there_is_no_corpus(adapter, tmp_path):
    root = make(tmp_path)
    for path in root.glob("Emotion/*/*/*.txt"):
        path.unlink()
    with pytest.raises(ManifestError, match="no CK\\+ corpus with a labelled sequence here"):
        adapter.scan(root)
    (root / "Emotion").rename(root / "Landmarks")
    with pytest.raises(ManifestError, match="no CK\\+ corpus here. Expected cohn-kanade-images/"):
        adapter.scan(root)
    with pytest.raises(ManifestError, match="has no videos"):
        adapter.scan(root, source="videos")


def test_the_counts_of_the_official_corpus_fit_together():
    totals = describe("ckplus")["totals"]
    sequences, clips = totals["labelled_sequences_by_class"], totals["clips_by_class"]
    assert sum(sequences.values()) == totals["labelled_sequences"] == clips["neutral"] == 327
    assert {name: 3 * count for name, count in sequences.items()} == {
        name: count for name, count in clips.items() if name != "neutral"
    }
    assert sum(clips.values()) == totals["clips"] == 1308
    assert tuple(clips) == CLASSES
