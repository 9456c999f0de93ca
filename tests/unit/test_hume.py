"""Hume-Reaction: both releases, seven intensities, and the official file of predictions."""

from pathlib import Path

import numpy as np
import pytest
from fakes.hume.make import ROWS, make, make_muse

from emopipe.datasets.adapter import load_adapter
from emopipe.datasets.hume import EXPECTED
from emopipe.datasets.hume_features import features_of, read_muse_features
from emopipe.datasets.hume_predictions import COLUMNS, read_predictions, write_predictions
from emopipe.datasets.hume_table import TARGETS, clip_id_of, official_ids
from emopipe.errors import ConfigError, ManifestError

SPLIT_OF = {"Train": "train", "Val": "dev", "Test": "test"}
VALUES = {name: np.array(values) for name, _, values in ROWS if values}


@pytest.fixture
def adapter():
    return load_adapter("hume")


@pytest.fixture
def root(tmp_path):
    return make(tmp_path / "hume")


@pytest.fixture
def muse(tmp_path):
    return make_muse(tmp_path / "muse")


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_clips_are_the_videos_and_splits_those_of_the_list(adapter, root):
    manifest = adapter.scan(root)
    assert {clip.clip_id: clip.split for clip in manifest.clips} == {name: SPLIT_OF[split] for name, split, _ in ROWS}
    for clip in manifest.clips:
        assert (clip.kind, clip.subject, clip.media.name) == ("video", clip.clip_id, f"{clip.clip_id}.mp4")
        assert clip.media.parent.parent.name == {"train": "train", "dev": "val", "test": "test"}[clip.split]
    assert manifest.missing == manifest.refused == ()
    assert manifest.notes == (
        "File_ID names no person: every clip counts as a subject of its own.",
        "train: 2 of 2 clips have media.",
        "dev: 2 of 2 clips have media.",
        "test: 1 of 1 clips have media.",
    )


def test_labels_are_seven_numbers_and_the_test_part_has_none(adapter, root):
    assert TARGETS == ("adoration", "amusement", "anxiety", "disgust", "empathic_pain", "fear", "surprise")
    assert adapter.tasks == ("reactions",)
    for clip in adapter.scan(root).clips:
        if clip.split == "test":
            assert clip.annotations == {}
            continue
        labels = adapter.read_labels(clip)
        assert labels.targets == TARGETS
        assert labels.values.tolist() == [VALUES[clip.clip_id].tolist()]
        assert (labels.valid.tolist(), labels.frame_index, labels.time_s) == ([True], None, None)


def test_columns_in_another_order_give_the_same_labels(adapter, root):
    lines = [line.split(",") for line in (root / "data_info.csv").read_text().splitlines()]
    (root / "data_info.csv").write_text("".join(",".join(line[::-1]) + "\n" for line in lines))
    for clip in adapter.scan(root).clips:
        if clip.annotations:
            assert adapter.read_labels(clip).values[0].tolist() == VALUES[clip.clip_id].tolist()


def test_media_in_other_folders_sound_only_and_none(adapter, root):
    (root / "raw").mkdir()
    (root / "train").rename(root / "raw" / "train")
    (root / "val" / "mp4" / "00004.mp4").unlink()
    for kind in ("mp4", "wav"):
        (root / "val" / kind / f"00001.{kind}").unlink()
    (root / "test" / "wav" / "99999.wav").write_bytes(b"x")
    manifest = adapter.scan(root)
    found = {clip.clip_id: (clip.kind, clip.media.relative_to(root).as_posix()) for clip in manifest.clips}
    assert found == {
        "00000": ("video", "raw/train/mp4/00000.mp4"),
        "00002": ("video", "raw/train/mp4/00002.mp4"),
        "00003": ("video", "test/mp4/00003.mp4"),
        "00004": ("sound", "val/wav/00004.wav"),
    }
    (missing,) = manifest.missing
    assert (missing.clip_id, missing.split, missing.media) == ("00001", "dev", root / "val" / "mp4" / "00001.mp4")
    assert adapter.read_labels(missing).values[0, 3] == 1
    assert "dev: 1 of 2 clips have media, 1 of them sound only." in manifest.notes
    assert "media that no list mentions (1): 99999." in manifest.notes


def test_frames_in_a_folder_named_like_a_clip_are_not_media(adapter, root):
    (root / "faces" / "00000").mkdir(parents=True)
    (root / "faces" / "00000" / "00001.mp4").write_bytes(b"part")
    assert adapter.scan(root).refused == ()


def test_two_different_files_of_a_clip_are_refused_and_a_link_out_is_no_missing_clip(adapter, root, tmp_path):
    other = root / "again" / "00000.mp4"
    other.parent.mkdir()
    other.write_bytes(b"other")
    (tmp_path / "out.mp4").write_bytes(b"x")
    link = root / "val" / "mp4" / "00004.mp4"
    link.unlink()
    link.symlink_to(tmp_path / "out.mp4")
    manifest = adapter.scan(root)
    refused = {refusal.clip_id: refusal.reason for refusal in manifest.refused}
    assert set(refused) == {"00000", "00004"}
    assert str(other) in refused["00000"]
    assert "leads outside" in refused["00004"]
    assert {clip.clip_id for clip in (*manifest.clips, *manifest.missing)} == {"00001", "00002", "00003"}


@pytest.mark.parametrize(
    ("old", "new", "column", "received"),
    [
        ("0.1,0.2,0.3,0.4", "1.01,0.2,0.3,0.4", "Adoration", "1.01"),
        ("0.1,0.2,0.3,0.4", "0.1,-0.2,0.3,0.4", "Amusement", "-0.2"),
        ("0.5,0.6,1,", "nan,0.6,1,", "Empathic-Pain", "nan"),
        ("0.5,0.6,1,", "0.5,,1,", "Fear", ""),
        ("0.5,0.6,1,", "0.5,0.6,high,", "Surprise", "high"),
    ],
)
def test_a_value_that_is_no_intensity_is_named_with_row_and_column(adapter, root, old, new, column, received):
    edit(root / "data_info.csv", old, new)
    clip = next(clip for clip in adapter.scan(root).clips if clip.clip_id == "00002")
    with pytest.raises(ManifestError) as raised:
        adapter.read_labels(clip)
    assert f"line 2, column '{column}': expected a number in [0, 1]. Received: '{received}'" in str(raised.value)
    assert (raised.value.row, raised.value.column) == (2, column)
    assert raised.value.path == root / "data_info.csv"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[00001],Val", "[00002],Val", r"line 5, column 'File_ID': expected every clip once; line 2 has this one"),
        ("[00001],Val", "[00001],Dev", r"line 5, column 'Split': expected Train, Val \(devel\) or Test. .*'Dev'"),
        ("[00001],Val", "[../x],Val", r"line 5, column 'File_ID': expected an id like \[00042\]"),
        ("[00001],Val", ",Val", r"line 5, column 'File_ID': expected an id like"),
        ("Empathic-Pain", "Empathic Pain", "expected one column 'Empathic-Pain'"),
        ("Split", "Part", "expected one column 'Split'"),
    ],
)  # fmt: skip
def test_a_list_that_is_not_in_order_is_refused(adapter, root, old, new, message):
    edit(root / "data_info.csv", old, new)
    with pytest.raises(ManifestError, match=message):
        adapter.scan(root)


def test_the_features_only_release_has_no_media_and_says_which_features(adapter, muse):
    manifest = adapter.scan(muse)
    assert manifest.clips == ()
    assert {clip.clip_id: clip.split for clip in manifest.missing} == {name: SPLIT_OF[split] for name, split, _ in ROWS}
    for clip in manifest.missing:
        if clip.split == "test":
            assert clip.annotations == {}
        else:
            assert adapter.read_labels(clip).values[0].tolist() == VALUES[clip.clip_id].tolist()
    assert manifest.notes[-1] == (
        "features of the 5 clips without media that are there: DeepSpectrum (5), FAUs (4). "
        "Take them with: emopipe extract --ready-made NAME"
    )
    assert "dev: 0 of 2 clips have media." in manifest.notes
    inner = adapter.scan(muse / "c2_muse_reaction")
    assert [clip.clip_id for clip in inner.missing] == [clip.clip_id for clip in manifest.missing]


def test_the_features_only_release_with_media_is_an_ordinary_corpus(adapter, muse):
    (muse / "videos").mkdir()
    (muse / "videos" / "00004.mp4").write_bytes(b"x")
    manifest = adapter.scan(muse)
    assert [(clip.clip_id, clip.split) for clip in manifest.clips] == [("00004", "dev")]
    there = "features of the 4 clips without media that are there: DeepSpectrum (4), FAUs (4). "
    assert manifest.notes[-1].startswith(there)


def test_rows_without_a_part_are_noted_and_without_labels_are_not_annotated(adapter, muse):
    folder = muse / "c2_muse_reaction"
    edit(folder / "partition.csv", "[00004],devel\n", "")
    edit(folder / "labels.csv", "[00001],0.5,0.5,0.5,1,0.5,0.5,0.5\n", "")
    manifest = adapter.scan(muse)
    assert manifest.notes[0] == "labels.csv: clips that partition.csv lacks are left out (1): 00004."
    assert [clip.clip_id for clip in manifest.missing if not clip.annotations] == ["00001", "00003"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Id,Part\n", "", "line 1.*expected a header"),
        ("[00001],devel", "[00002],devel", "expected every clip once"),
        ("[00001],devel", "[00001]", "expected Train, Val"),
    ],
)
def test_a_partition_that_is_not_in_order_is_refused(adapter, muse, old, new, message):
    edit(muse / "c2_muse_reaction" / "partition.csv", old, new)
    with pytest.raises(ManifestError, match=message):
        adapter.scan(muse)


def test_the_release_with_media_counts_where_both_are_there(adapter, root, tmp_path):
    make_muse(root)
    edit(root / "c2_muse_reaction" / "labels.csv", "0.1,0.2", "0.9,0.9")
    clip = next(clip for clip in adapter.scan(root).clips if clip.clip_id == "00002")
    assert adapter.read_labels(clip).values[0, 0] == 0.1
    make(root / "second")
    with pytest.raises(ManifestError, match="expected one data_info.csv. Received: .* Remove one"):
        adapter.scan(root)


def test_no_list_is_no_corpus(adapter, tmp_path):
    (tmp_path / "labels.csv").write_text("clip\n")
    with pytest.raises(ManifestError) as raised:
        adapter.scan(tmp_path)
    assert f"no Hume-Reaction corpus here. Expected {EXPECTED}." in str(raised.value)
    with pytest.raises(ManifestError, match="expected data_info.csv, or labels.csv and partition.csv"):
        official_ids(tmp_path, "dev")
    with pytest.raises(ManifestError, match="has no pictures"):
        adapter.scan(tmp_path, source="images")


def test_muse_features_skip_two_columns_by_position(muse):
    folder = muse / "c2_muse_reaction" / "feats"
    assert {name: len(ids) for name, ids in features_of(folder).items()} == {"DeepSpectrum": 5, "FAUs": 4}
    assert features_of(muse / "nothing") == {}
    path = folder / "FAUs" / "00000.csv"
    expected = [[step, step + 0.125] for step in range(3)]
    rows = [line.split(",") for line in path.read_text().splitlines()]
    for order in ((0, 1), (1, 0)):
        path.write_text("".join(",".join([row[order[0]], row[order[1]], *row[2:]]) + "\n" for row in rows))
        found = read_muse_features(path)
        assert found.values.dtype == np.float32
        assert found.values.tolist() == expected
        assert found.time_s.tolist() == [0, 0.5, 1]


@pytest.mark.parametrize(
    ("name", "times", "expected"),
    [
        ("timestamp", (0, 250, 500), [0, 0.25, 0.5]),
        ("Timestamp", (0.5, 1, 1.5), [0.5, 1, 1.5]),  # no clip lasts a millisecond
        ("timestamp", (0, "", 500), [0, 1, 2]),
        ("timestamp", (0, "nan", 500), [0, 1, 2]),
        ("time", (0, 250, 500), [0, 1, 2]),
    ],
)
def test_times_of_muse_features_are_seconds_or_the_numbers_of_the_steps(tmp_path, name, times, expected):
    path = tmp_path / "00000.csv"
    path.write_text(f"segment_id,{name},f0\n" + "".join(f"7,{time},1\n" for time in times))
    assert read_muse_features(path).time_s.tolist() == expected


def test_muse_features_that_are_not_numbers(muse):
    path = muse / "c2_muse_reaction" / "feats" / "FAUs" / "00000.csv"
    edit(path, ",1,1.125", ",,nan")
    assert np.isnan(read_muse_features(path).values[1]).all()
    edit(path, ",2,2.125", ",2,much")
    with pytest.raises(ManifestError, match="line 4, column 'f1': expected a number, or nothing. Received: 'much'"):
        read_muse_features(path)
    edit(path, ",2,much", ",2,1e39")  # more than float32 holds
    with pytest.raises(ManifestError, match="Received: '1e39'"):
        read_muse_features(path)
    edit(path, ",2,1e39", ",2")
    with pytest.raises(ManifestError, match="line 4, column 'f1': expected 4 cells"):
        read_muse_features(path)
    path.write_text("timestamp,segment_id,f0\n")
    with pytest.raises(ManifestError, match="Received: 3 columns and 0 rows"):
        read_muse_features(path)


def test_ready_made_features_are_the_media_of_their_clips(adapter, muse):
    folder = muse / "c2_muse_reaction" / "feats" / "FAUs"
    (folder / "00003.csv").rename(folder / "00003.CSV")
    (folder / "99999.csv").write_text("x")
    for root in (muse, muse / "c2_muse_reaction"):
        manifest = adapter.scan_ready_made(root, "FAUs")
        assert [clip.clip_id for clip in manifest.clips] == ["00000", "00001", "00002", "00003"]
        assert manifest.clips == tuple(sorted(manifest.clips, key=lambda clip: clip.clip_id))
        for clip in manifest.clips:
            suffix = "CSV" if clip.clip_id == "00003" else "csv"
            assert (clip.kind, clip.media) == ("features", folder / f"{clip.clip_id}.{suffix}")
            assert clip.split == SPLIT_OF[next(split for name, split, _ in ROWS if name == clip.clip_id)]
            assert clip.subject == clip.clip_id
            assert adapter.read_ready_made(clip).values.shape == (3, 2)
        assert adapter.read_labels(manifest.clips[0]).values[0].tolist() == VALUES["00000"].tolist()
        (missing,) = manifest.missing
        assert (missing.clip_id, missing.split, missing.media) == ("00004", "dev", folder / "00004.csv")
        assert manifest.notes == (
            "File_ID names no person: every clip counts as a subject of its own.",
            "train: 2 of 2 clips have FAUs.",
            "dev: 1 of 2 clips have FAUs.",
            "test: 1 of 1 clips have FAUs.",
            "FAUs that no list mentions (1): 99999.",
        )


def test_ready_made_features_outside_the_root_are_refused(adapter, muse, tmp_path):
    folder = muse / "c2_muse_reaction" / "feats" / "FAUs"
    (folder / "00000.csv").rename(tmp_path / "out.csv")
    (folder / "00000.csv").symlink_to(tmp_path / "out.csv")
    (folder / "00001.csv").unlink()
    (folder / "00001.csv").mkdir()
    manifest = adapter.scan_ready_made(muse, "FAUs")
    refused = {refusal.clip_id: refusal.reason for refusal in manifest.refused}
    assert refused.keys() == {"00000", "00001"}
    assert "leads outside" in refused["00000"]
    assert "named like a feature file. Expected a file. Received: a folder." in refused["00001"]
    assert [clip.clip_id for clip in manifest.clips] == ["00002", "00003"]
    assert [clip.clip_id for clip in manifest.missing] == ["00004"]


@pytest.mark.parametrize("name", ["faus", "..", "", "FAUs/.."])
def test_ready_made_features_that_are_not_there(adapter, muse, name):
    with pytest.raises(ManifestError, match=r"Received: DeepSpectrum \(5 clips\), FAUs \(4 clips\)"):
        adapter.scan_ready_made(muse, name)


def test_ready_made_features_where_there_are_none(adapter, root, muse):
    with pytest.raises(ManifestError, match="release of ABAW-5 brings no features along"):
        adapter.scan_ready_made(root, "FAUs")
    (muse / "c2_muse_reaction" / "feats").rename(muse / "elsewhere")
    with pytest.raises(ManifestError, match="expected features 'FAUs'. Received: no features."):
        adapter.scan_ready_made(muse, "FAUs")


def test_official_rows_keep_brackets_and_order(root, muse):
    for corpus in (root, muse):
        assert official_ids(corpus, "train") == ("[00002]", "[00000]")
        assert official_ids(corpus, "dev") == ("[00004]", "[00001]")
        assert official_ids(corpus, "test") == ("[00003]",)
    edit(root / "data_info.csv", "[00003],Test", "[00003],Val")
    with pytest.raises(ManifestError, match="expected clips of split 'test'"):
        official_ids(root, "test")


def test_predictions_are_written_in_the_official_form_and_read_back(root, tmp_path):
    official = official_ids(root, "dev")
    values = {"00001": np.linspace(0, 0.6, 7), "00004": np.linspace(1, 0.4, 7)}
    path = tmp_path / "out" / "dev.csv"
    assert write_predictions(path, official, values) == ()
    header, *lines = path.read_text().splitlines()
    assert header == "File_ID,Adoration,Amusement,Anxiety,Disgust,Empathic-Pain,Fear,Surprise"
    assert lines[0] == "[00004],1.000000,0.900000,0.800000,0.700000,0.600000,0.500000,0.400000"
    assert [clip_id_of(line.split(",")[0]) for line in lines] == ["00004", "00001"]
    assert read_predictions(path, official) == pytest.approx(np.stack([values["00004"], values["00001"]]))


def test_a_clip_without_a_prediction_is_given_the_mean_and_named(tmp_path):
    official = [f"[{number:05d}]" for number in range(4)]
    values = {"00000": np.full(7, 0.2), "00002": np.full(7, 0.6), "00003": np.array([0.1] * 6 + [np.nan])}
    (note,) = write_predictions(tmp_path / "a.csv", official, values)
    assert note == ("2 of 4 official clips have no prediction and are given the mean of the others: [00001], [00003].")
    assert read_predictions(tmp_path / "a.csv", official)[:, 0] == pytest.approx([0.2, 0.4, 0.6, 0.4])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "expected a prediction of at least one of 2 clips"),
        ({"00000": np.full(7, np.nan)}, "expected a prediction of at least one"),
        ({"00009": np.zeros(7)}, "predictions of the 2 official clips. Received: '00009'"),
        ({"[00000]": np.zeros(7)}, r"Received: '\[00000\]'"),
        ({"00000": np.zeros(6)}, r"expected 7 values of '00000'. Received: \(6,\)"),
    ],
)
def test_predictions_that_cannot_be_written(tmp_path, values, message):
    with pytest.raises(ConfigError, match=message):
        write_predictions(tmp_path / "a.csv", ["[00000]", "[00001]"], values)
    assert not (tmp_path / "a.csv").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[:-1], "expected 2 rows, one for every official clip. Received: 1"),
        (lambda lines: [*lines, lines[-1]], "Received: 3"),
        (lambda lines: [lines[0], lines[2], lines[1]], r"line 2, column 'File_ID': expected '\[00000\]' here"),
        (lambda lines: [line.replace("[", "").replace("]", "") for line in lines], r"expected '\[00000\]' here"),
        (lambda lines: [lines[0], lines[1].replace("0.5", "x", 1), lines[2]], "line 2, column 'Adoration': expected"),
        (lambda lines: [lines[0], lines[1].rpartition(",")[0], lines[2]], "line 2, column 'Surprise': expected"),
        (lambda lines: [",".join(line.split(",")[:1] + line.split(",")[:0:-1]) for line in lines], "line 1: expected"),
        (lambda lines: [line.rpartition(",")[0] for line in lines], "expected one column 'Surprise'"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_the_official_one_is_explained(tmp_path, change, message):
    lines = [",".join(COLUMNS), *(f"[0000{k}]" + ",0.5" * 7 for k in range(2))]
    path = tmp_path / "a.csv"
    path.write_text("\n".join(change(lines)) + "\n")
    with pytest.raises(ManifestError, match=message):
        read_predictions(path, ["[00000]", "[00001]"])
