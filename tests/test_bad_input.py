"""Bad input: one clear line in the ledger for each, and every other clip is made."""

import os
import shutil
from fractions import Fraction

import numpy as np
import pytest
from extraction import NUM_FRAMES, face_frames

from emopipe.media.video import write_video
from emopipe.store.cache import Cache
from emopipe.store.ledger import Ledger
from emopipe.store.reader import ShardReader

FACES = ("--only", "faces", "--json")


def sound_only(path):
    """A container with a second of sound and no picture."""
    import av

    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 48000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def tiny(path, size=1):
    """A video of ten frames of `size` x `size` pixels."""
    import av

    with av.open(str(path), "w", format="avi") as container:
        stream = container.add_stream("rawvideo", rate=25)
        stream.width = stream.height = size
        stream.pix_fmt = "bgr24"
        for _ in range(10):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((size, size, 3), np.uint8), "rgb24")))
        container.mux(stream.encode(None))


def truncated(path, face_videos, share):
    content = face_videos["ben"].read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def cut_stream(path):
    """A transport stream that ends in the middle of a frame, so that its first frames decode."""
    import av

    with av.open(str(path), "w", format="mpegts") as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "0", "crf": "10"})
        stream.height, stream.width, stream.pix_fmt = 120, 160, "yuv420p"
        for image in face_frames(30):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode(None))
    os.truncate(path, path.stat().st_size * 2 // 3)


def no_face(path):
    generator = np.random.default_rng(0)
    frames = [generator.integers(0, 60, (120, 160, 3), np.uint8) for _ in range(10)]
    write_video(path, frames, Fraction(25))


BAD = {
    "empty.mp4": (lambda path, videos: path.write_bytes(b""), "DecodeError", "The file is empty (0 bytes)"),
    "text.mp4": (lambda path, videos: path.write_text("hello\n"), "DecodeError", "It is text that begins with 'hello"),
    "noise.avi": (
        lambda path, videos: path.write_bytes(bytes(range(1, 250)) * 40),
        "DecodeError",
        "No known container",
    ),
    "headless.mp4": (lambda path, videos: truncated(path, videos, 0.5), "DecodeError", "index (moov) is missing"),
    "cut.ts": (lambda path, videos: cut_stream(path), "DecodeError", "Copy or download it again"),
    "sound.mp4": (lambda path, videos: sound_only(path), "EmptyMediaError", "holds no video stream"),
    "dark.mp4": (lambda path, videos: no_face(path), "FaceError", "no face in any of its 10 frames"),
    "pixel.avi": (lambda path, videos: tiny(path), "FaceError", "no face in any of its 10 frames"),
    "pointer.mp4": (
        lambda path, videos: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
        "MediaError",
        "git lfs pull",
    ),
}


def rows_by_clip(cache):
    rows = {}
    for row in Ledger(cache / "ledger").read().values():
        assert row.clip_id not in rows, f"{row.clip_id} has two lines"
        rows[row.clip_id] = row
    return rows


def stored_clips(cache):
    return {entry.clip_id for record in Cache(cache).records() for entry in record.entries}


@pytest.fixture
def corpus(make_corpus, face_videos, tmp_path):
    """Two good videos, and everything bad between them in the order of names."""
    root = make_corpus("ann", "eve")
    for name, (write, _, _) in BAD.items():
        write(root / name, face_videos)
    (root / "folder.mp4").mkdir()
    (tmp_path / "secret.mp4").write_bytes(face_videos["cid"].read_bytes())
    (root / "climbs.mp4").symlink_to(tmp_path / "secret.mp4")
    (root / "dangling.mp4").symlink_to(root / "nothing.mp4")
    return root


def test_every_bad_clip_has_one_clear_line_and_the_others_are_made(corpus, tmp_path, call):
    cache = tmp_path / "cache"
    outcome = call("extract", "--dataset", "folder", "--root", corpus, "--cache", cache, *FACES)
    assert outcome.code == 1
    assert "Traceback" not in outcome.err
    report = outcome.json
    assert report["clips"] == {"done": 2, "reused": 0, "failed": len(BAD) + 3}
    assert report["frames"] == 2 * NUM_FRAMES
    assert stored_clips(cache) == {"ann", "eve"}
    rows = rows_by_clip(cache)
    for name, (_, error, words) in BAD.items():
        row = rows[name.rpartition(".")[0]]
        assert (row.status, row.error) == ("failed", error), row
        assert words in row.message
        assert "\n" not in row.message
        assert str(corpus / name) in row.message or f"'{row.clip_id}'" in row.message, "says where"
    for clip_id, words in (
        ("folder.mp4", "Expected a file. Received: a folder"),
        ("climbs.mp4", "leads outside the corpus root"),
        ("dangling.mp4", "a link that leads to no file"),
    ):
        assert words in rows[clip_id].message
        assert rows[clip_id].status == "failed"
    told = {failure["clip"]: failure["message"] for failure in report["failures"]}
    assert told == {clip_id: row.message for clip_id, row in rows.items() if row.status == "failed"}
    assert rows["cut"].frame_index > 5, "the line says at which frame it broke off"

    again = call("extract", "--dataset", "folder", "--root", corpus, "--cache", cache, *FACES)
    assert (again.code, again.json["clips"]["reused"], again.json["frames"]) == (1, 2, 0)
    assert rows_by_clip(cache) == rows, "nothing is tried again, and no line is written twice"


def test_the_summary_for_a_person_names_every_failure(corpus, tmp_path, call):
    outcome = call("extract", "--dataset", "folder", "--root", corpus, "--cache", tmp_path / "c", "--only", "faces")
    assert outcome.code == 1
    assert outcome.out.startswith(f"clips: 2 done, 0 reused, {len(BAD) + 3} failed\n")
    for name in BAD:
        clip_id = name.rpartition(".")[0]
        assert sum(line.startswith(f"failed: {clip_id} (") for line in outcome.out.splitlines()) == 1


@pytest.mark.parametrize("broken", [False, True], ids=["good", "broken"])
@pytest.mark.parametrize("as_json", [True, False], ids=["json", "text"])
def test_names_that_are_not_utf8(make_corpus, face_videos, tmp_path, program, broken, as_json):
    """Read, stored, found again and printed, also on a terminal that takes nothing but UTF-8."""
    root = make_corpus("ann")
    name = os.fsencode(root) + b"/caf\xe9.mp4"
    with open(name, "wb") as file:  # noqa: PTH123  bytes
        file.write(b"" if broken else face_videos["ben"].read_bytes())
    strict = {"PYTHONIOENCODING": "utf-8:strict"}
    where = ("--dataset", "folder", "--root", root, "--cache", tmp_path / "cache", "--only", "faces")
    outcome = program("extract", *where, *(["--json"] if as_json else []), environment=strict)
    assert "Traceback" not in outcome.err, outcome.err
    assert outcome.code == (1 if broken else 0)
    if broken:
        row = rows_by_clip(tmp_path / "cache")["caf%E9"]
        assert "The file is empty" in row.message
        assert "/caf%E9.mp4: cannot be opened" in outcome.out
    else:
        assert stored_clips(tmp_path / "cache") == {"ann", "caf%E9"}
        (record,) = Cache(tmp_path / "cache").records()
        with ShardReader(record.path) as reader:
            assert reader.num_rows("caf%E9") == NUM_FRAMES
    again = program("extract", *where, "--json", environment=strict)
    assert again.json["clips"]["reused"] == (1 if broken else 2)


def test_a_root_and_a_cache_that_are_not_utf8(face_videos, tmp_path, program):
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/\xe9t\xe9")
    os.makedirs(f"{folder}/corpus")  # noqa: PTH103  the name is not text
    shutil.copy(face_videos["ann"], f"{folder}/corpus/ann.mp4")
    where = ("--dataset", "folder", "--root", f"{folder}/corpus", "--cache", f"{folder}/cache")
    strict = {"PYTHONIOENCODING": "utf-8:strict"}
    outcome = program("extract", *where, *FACES, environment=strict)
    assert outcome.code == 0, outcome.err
    assert outcome.json["clips"]["done"] == 1
    assert program("cache", "repair", "--cache", f"{folder}/cache", environment=strict).code == 0
    shutil.rmtree(f"{folder}/corpus")
    outcome = program("extract", *where, *FACES, environment=strict)
    assert (outcome.code, "Traceback" in outcome.err) == (1, False), outcome.err


# --- labels


@pytest.fixture
def annotated(face_videos, tmp_path):
    """An Aff-Wild2 tree of three videos: sound labels, one bad line, five more labels than frames."""
    root = tmp_path / "affwild2"
    labels = root / "annotations" / "VA_Set" / "Train_Set"
    labels.mkdir(parents=True)
    (labels.parent / "Validation_Set").mkdir()
    (root / "batch1").mkdir()
    for name, video, rows in (("10", "ann", NUM_FRAMES), ("11", "ben", NUM_FRAMES), ("12", "cid", NUM_FRAMES + 5)):
        shutil.copy(face_videos[video], root / f"batch1/{name}.mp4")
        lines = ["valence,arousal", *["0.1,0.2"] * rows]
        if name == "11":
            lines[7] = "0.31;0.2"
        (labels / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return root


def test_a_bad_label_line_fails_its_clip_and_names_the_line(annotated, tmp_path, call):
    cache = tmp_path / "cache"
    outcome = call("extract", "--dataset", "affwild2", "--root", annotated, "--cache", cache, *FACES)
    assert outcome.code == 1
    assert outcome.json["clips"] == {"done": 2, "reused": 0, "failed": 1}
    row = rows_by_clip(cache)["11"]
    assert row.error == "ManifestError"
    assert "11.txt, line 8" in row.message
    assert "expected two numbers" in row.message.lower()
    assert "'0.31;0.2'" in row.message
    assert stored_clips(cache) == {"10", "12"}


def test_more_labels_than_frames_is_a_note_and_no_failure(annotated, tmp_path, call):
    cache = tmp_path / "cache"
    outcome = call("extract", "--dataset", "affwild2", "--root", annotated, "--cache", cache, *FACES)
    notes = [note for note in outcome.json["notes"] if note.startswith("12:")]
    assert notes == [f"12: va: 5 more labels than decoded frames ({NUM_FRAMES + 5}, {NUM_FRAMES}): labels without a "
                     "frame are left out."]  # fmt: skip
    row = rows_by_clip(cache)["12"]
    assert (row.status, row.message) == ("done", notes[0].removeprefix("12: "))
    (record,) = Cache(cache).records()
    about = {entry.clip_id: entry for entry in record.entries}
    assert about["12"].num_frames == NUM_FRAMES
    assert about["12"].info["num_labels"] == {"va": NUM_FRAMES + 5}
    assert about["10"].notes == ()


def test_a_bad_line_in_labels_csv_fails_only_the_clip_it_is_about(make_corpus, tmp_path, call):
    root, cache = make_corpus("ann", "ben"), tmp_path / "cache"
    (root / "labels.csv").write_text("clip,frame,valence\nann,0,0.5\nben,0,high\nben,1,0.1\n")
    outcome = call("extract", "--dataset", "folder", "--root", root, "--cache", cache, *FACES)
    assert outcome.code == 1
    assert outcome.json["clips"] == {"done": 1, "reused": 0, "failed": 1}
    row = rows_by_clip(cache)["ben"]
    assert "labels.csv, row 3, column 'valence': expected a number" in row.message
    assert "Received: 'high'" in row.message


def test_a_row_of_labels_csv_that_climbs_out_of_the_root_is_refused(make_corpus, face_videos, tmp_path, call):
    root, cache = make_corpus("ann"), tmp_path / "cache"
    shutil.copy(face_videos["ben"], tmp_path / "secret.mp4")
    (root / "labels.csv").write_text("clip,valence\nann,0.5\n../secret.mp4,0.1\n")
    outcome = call("extract", "--dataset", "folder", "--root", root, "--cache", cache, *FACES)
    assert outcome.code == 1
    assert outcome.json["clips"] == {"done": 1, "reused": 0, "failed": 1}
    (failure,) = outcome.json["failures"]
    assert failure["clip"] == "../secret.mp4"
    assert "labels.csv, row 3, column 'clip'" in failure["message"]
    assert stored_clips(cache) == {"ann"}


@pytest.mark.parametrize("what", ["absent", "empty", "a file"])
def test_a_root_that_holds_nothing(tmp_path, call, what):
    root = tmp_path / "corpus"
    if what == "empty":
        root.mkdir()
    elif what == "a file":
        root.write_text("x")
    outcome = call("extract", "--dataset", "folder", "--root", root, "--cache", tmp_path / "cache", *FACES)
    assert outcome.code == 1
    assert outcome.out == ""
    assert str(root) in outcome.err
    assert "--root" in outcome.err
    assert len(outcome.err.strip().splitlines()) <= 3
