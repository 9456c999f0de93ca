"""CREMA-D: acted emotions in names, votes in a table, and media that are pointers."""

from pathlib import Path

import numpy as np
import pytest
from fakes.cremad.make import POINTER, VOTES, make

from emopipe.datasets.adapter import describe, load_adapter
from emopipe.datasets.cremad import CLASSES
from emopipe.errors import ManifestError

TABLE = "processedResults/tabulatedVotes.csv"


@pytest.fixture
def adapter():
    return load_adapter("cremad")


@pytest.fixture
def root(tmp_path):
    return make(tmp_path / "cremad")


def clip_of(adapter, root, clip_id):
    return next(clip for clip in adapter.scan(root).clips if clip.clip_id == clip_id)


def edit(root: Path, old: str, new: str) -> None:
    text = (root / TABLE).read_text()
    assert old in text
    (root / TABLE).write_text(text.replace(old, new))


def test_the_clip_is_the_video_else_the_wav_else_the_mp3(adapter, root):
    (root / "AudioWAV" / "1003_WSI_NEU_XX.wav").unlink()
    found = {clip.clip_id: (clip.kind, clip.media.name, clip.subject) for clip in adapter.scan(root).clips}
    assert found == {
        "1001_DFA_ANG_XX": ("video", "1001_DFA_ANG_XX.flv", "1001"),
        "1001_IEO_HAP_LO": ("video", "1001_IEO_HAP_LO.flv", "1001"),
        "1002_IEO_DIS_HI": ("sound", "1002_IEO_DIS_HI.wav", "1002"),
        "1002_TSI_FEA_XX": ("sound", "1002_TSI_FEA_XX.wav", "1002"),
        "1003_WSI_NEU_XX": ("sound", "1003_WSI_NEU_XX.mp3", "1003"),
        "1040_ITH_SAD_XX": ("sound", "1040_ITH_SAD_X.wav", "1040"),
    }


def test_the_acted_emotion_is_in_the_name(adapter, root):
    found = {}
    for clip in adapter.scan(root).clips:
        labels = adapter.read_labels(clip)
        assert (labels.targets, labels.classes, labels.frame_index) == (("expression",), CLASSES, None)
        found[clip.clip_id] = labels.classes[int(labels.values[0, 0])]
    assert found == {
        "1001_DFA_ANG_XX": "anger",
        "1001_IEO_HAP_LO": "happy",
        "1002_IEO_DIS_HI": "disgust",
        "1002_TSI_FEA_XX": "fear",
        "1003_WSI_NEU_XX": "neutral",
        "1040_ITH_SAD_XX": "sadness",
    }


def test_votes_are_those_on_both_for_videos_and_on_the_voice_for_sound(adapter, root):
    assert CLASSES == ("anger", "disgust", "fear", "happy", "neutral", "sadness")
    for clip in adapter.scan(root).clips:
        labels = adapter.read_labels(clip, "votes")
        votes = np.array(VOTES[clip.clip_id][2 if clip.kind == "video" else 0])
        assert labels.targets == CLASSES
        assert labels.values[0].tolist() == (votes / votes.sum()).tolist()
        assert labels.values.sum() == pytest.approx(1)
        assert (labels.valid.tolist(), labels.frame_index, labels.classes) == ([True], None, ())


def test_columns_are_found_by_name(adapter, root):
    lines = [line.split(",") for line in (root / TABLE).read_text().splitlines()]
    expected = {clip.clip_id: adapter.read_labels(clip, "votes").values.tolist() for clip in adapter.scan(root).clips}
    (root / TABLE).write_text("".join(",".join([line[0], *reversed(line[1:])]) + "\n" for line in lines))
    assert {
        clip.clip_id: adapter.read_labels(clip, "votes").values.tolist() for clip in adapter.scan(root).clips
    } == expected


def test_pointers_beside_a_file_are_counted_and_a_clip_of_pointers_is_refused_with_the_cure(adapter, root):
    assert adapter.scan(root).notes == (
        "Git LFS pointers beside a file that is there: 4 .flv. To have these: git lfs pull",
    )
    (root / "AudioWAV" / "1002_TSI_FEA_XX.wav").write_bytes(POINTER)
    assert clip_of(adapter, root, "1002_TSI_FEA_XX").media.suffix == ".mp3"
    (root / "AudioMP3" / "1002_TSI_FEA_XX.mp3").write_bytes(POINTER)
    manifest = adapter.scan(root)
    (refusal,) = manifest.refused
    assert refusal.clip_id == "1002_TSI_FEA_XX"
    assert refusal.reason == (
        "1002_TSI_FEA_XX.mp3, 1002_TSI_FEA_XX.wav, 1002_TSI_FEA_XX.flv: a Git LFS pointer, not the file. "
        "Run: git lfs pull"
    )
    assert len(manifest.clips) == 5
    for path in root.rglob("*_*.*"):
        path.write_bytes(POINTER)
    manifest = adapter.scan(root)
    assert (len(manifest.clips), len(manifest.refused), manifest.notes) == (0, 6, ())


@pytest.mark.parametrize(
    "name", ["1001_IEO_JOY_LO.wav", "1001_IEO_HAP_UP.wav", "101_IEO_HAP_LO.wav", "1001_IEO_HAP.wav", "holiday.mp4"]
)
def test_a_name_that_does_not_fit_is_refused_with_a_line(adapter, root, name):
    (root / "AudioWAV" / name).write_bytes(b"sound")
    (refusal,) = adapter.scan(root).refused
    assert refusal.clip_id == name
    assert refusal.reason.startswith(f"{name}: expected a name like 1001_IEO_HAP_LO.wav with one of ANG, DIS, FEA,")


def test_without_the_table_there_are_no_votes(adapter, root):
    (root / TABLE).unlink()
    manifest = adapter.scan(root)
    assert f"{TABLE} is not there: the clips have no votes." in manifest.notes
    assert {tuple(clip.annotations) for clip in manifest.clips} == {("expr",)}
    with pytest.raises(ManifestError, match="no annotation for task 'votes'. Received: expr"):
        adapter.read_labels(manifest.clips[0], "votes")


@pytest.mark.parametrize(
    ("old", "new", "column", "message"),
    [
        ('"300001",0,0,0,9', '"300001",0,0,0,-9', "H", "a whole number from 0 on. Received: '-9'"),
        ('"300001",0,0,0,9', '"300001",0,0,0,NA', "H", "a whole number from 0 on. Received: 'NA'"),
        ('"300001",0,0,0,9', '"300001",0,0,0,8', "numResponses", "the sum of the votes, 9. Received: '10'"),
        ('"300001",', '"400001",', "", "a key from 100001 to 399999. Received: '400001'"),
        ('"300001",', '"x",', "", "a key from 100001 to 399999. Received: 'x'"),
        ('"300002"', '"200009"', "fileName", "a name that line 9 has not, with kind 2"),
    ],
)
def test_a_bad_cell_is_named(adapter, root, old, new, column, message):
    clip = clip_of(adapter, root, "1001_IEO_HAP_LO")
    edit(root, old, new)
    with pytest.raises(ManifestError) as raised:
        adapter.read_labels(clip, "votes")
    assert message in str(raised.value)
    assert str(root / TABLE) in str(raised.value)
    assert raised.value.column == column
    assert raised.value.row in (14, 15)


def test_a_clip_without_votes_a_lost_column_and_a_pointer_are_explained(adapter, root):
    clip = clip_of(adapter, root, "1001_IEO_HAP_LO")
    edit(root, '"300001",0,0,0,9,1,0,"1001_IEO_HAP_LO"', '"300001",0,0,0,9,1,0,"1001_IEO_HAP_MD"')
    with pytest.raises(ManifestError, match="expected a row of '1001_IEO_HAP_LO' with a key of 300001 to 399999"):
        adapter.read_labels(clip, "votes")
    edit(root, '"numResponses"', '"num"')
    with pytest.raises(ManifestError, match="expected one column 'numResponses'"):
        adapter.read_labels(clip, "votes")
    (root / TABLE).write_bytes(POINTER)
    with pytest.raises(ManifestError, match="Git LFS pointer, not the file. Run: git lfs pull"):
        adapter.read_labels(clip, "votes")


def test_the_unofficial_split_has_every_actor_once():
    content = describe("cremad")
    split = content["unofficial_split"]
    parts = [split[name] for name in ("train", "dev", "test")]
    assert [len(part) for part in parts] == [56, 18, 17]
    assert sorted(actor for part in parts for actor in part) == [str(number) for number in range(1001, 1092)]
    assert "crema-d 1.1.0" in split["source"]
    assert sum(content["totals"]["clips_by_class"].values()) == content["totals"]["clips"] == 7442
    assert list(content["totals"]["clips_by_class"]) == list(CLASSES)
    assert content["totals"]["rows_of_votes"] == 3 * 7442
