"""Features that a corpus brings along: `emopipe extract --ready-made`, and what is trained on them, by command line."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from csv_rows import numbers, rows_of
from extraction import counts, files_of, stored
from fakes.hume.make import EMOTIONS
from fakes.hume.make import make as make_abaw
from muse_corpus import GAP, HOP_MS, NUM_CLIPS, WIDTH, clips, write_corpus, write_csv
from muse_corpus import rows_of as rows_of_clip

from emopipe.datasets.hume_predictions import read_predictions
from emopipe.datasets.hume_table import TARGETS, official_ids
from emopipe.errors import ConfigError
from emopipe.stages.cached_plan import cached_plan
from emopipe.stages.spec import ExtractSpec
from emopipe.store.cache import Cache
from emopipe.store.ledger import Ledger

NUM = sum(NUM_CLIPS.values())
ABSENT = "00087"  # a clip of the test part whose FAUs are not there
HALF = 2e-3  # float16 keeps eleven bits
HEAD = ("--target", "clip", "--window", 8, "--loss", "mse", "--optimiser", "adam", "--learning-rate", 0.01, "--epochs",
        25, "--batch", 8, "--output-activation", "sigmoid", "--json")  # fmt: skip
LSTM = ("--cells", "lstm", "--units", 16, *HEAD)


@dataclass(frozen=True)
class Made:
    """The corpus, a cache of all its features, and a run on each."""

    corpus: Path
    cache: Path
    runs: Path

    def features(self, name: str) -> str:
        """The fingerprint of a set of features."""
        return next(
            record.header.fingerprint for record in Cache(self.cache).records("features") if record.header.what == name
        )


@pytest.fixture
def take(call):
    """``take(corpus, cache, "FAUs", ...)`` -> what ``--json`` prints; the exit code is checked."""

    def run(corpus, cache, name, *options, code=0):
        outcome = call("extract", *where(corpus, cache), "--ready-made", name, "--json", *options)
        assert outcome.code == code, outcome.err
        return outcome.json

    return run


def where(corpus, cache, dataset="hume"):
    return ("--dataset", dataset, "--root", corpus, "--cache", cache)


def file_of(corpus: Path, name: str, feature: str = "FAUs") -> Path:
    return corpus / "feats" / feature / f"{name}.csv"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = write_corpus(tmp_path_factory.mktemp("muse"))
    file_of(folder, ABSENT).unlink()
    return folder


@pytest.fixture
def copy(corpus, tmp_path):
    """The corpus, to be altered."""
    return Path(shutil.copytree(corpus, tmp_path / "copy"))


@pytest.fixture(scope="module")
def made(corpus, tmp_path_factory):
    """Made by the command line, in this process."""
    from click.testing import CliRunner
    from emopipe_cli.main import emopipe

    folder = tmp_path_factory.mktemp("made")
    result = Made(corpus, folder / "cache", folder / "runs")

    def run(*arguments):
        outcome = CliRunner().invoke(emopipe, [str(argument) for argument in arguments])
        assert outcome.exit_code == 0, (outcome.output, outcome.exception)

    for name in ("FAUs", "DeepSpectrum", "eGeMAPS"):
        run("extract", *where(corpus, result.cache), "--ready-made", name)
        run(
            "train-rnn",
            "--cache",
            result.cache,
            "--features",
            result.features(name),
            "--run",
            result.runs / name,
            *LSTM,
        )
    return result


def scored(call, run: Path, cache: Path, *options) -> dict[str, float]:
    """Pearson's r of each target and their mean."""
    outcome = call("evaluate", run, "--cache", cache, "--json", *options)
    assert outcome.code == 0, outcome.err
    return {score["target"]: score["value"] for score in outcome.json["scores"] if score["metric"] == "pearson"}


# --- extract


def test_rows_are_those_of_the_files_and_a_row_with_a_gap_is_not_valid(corpus, tmp_path, take, call):
    report = take(corpus, tmp_path / "cache", "FAUs")
    assert counts(report) == (NUM - 1, 0, 0)
    assert report["steps"].keys() == {"start", "read", "write"}
    assert "test: 4 of 5 clips have FAUs." in report["notes"]
    assert f"1 annotated clips have no FAUs below {corpus} (the first: '{ABSENT}')." in report["notes"]
    found = stored(tmp_path / "cache", "features")
    assert found.keys() == clips().keys() - {ABSENT}
    assert not [*Cache(tmp_path / "cache").records("faces"), *Cache(tmp_path / "cache").records("audio")]
    for name, (_, intensities) in clips().items():
        if name == ABSENT:
            continue
        rows, expected = found[name], rows_of_clip(name, "FAUs", intensities)
        assert rows.keys() == {"frame_index", "time_s", "valid", "taps/FAUs"}
        assert rows["frame_index"].tolist() == list(range(len(expected)))
        np.testing.assert_allclose(rows["time_s"], np.arange(len(expected)) * HOP_MS / 1000)
        assert np.flatnonzero(~rows["valid"]).tolist() == [GAP]
        expected[GAP] = np.nan
        np.testing.assert_allclose(rows["taps/FAUs"], expected, atol=HALF, rtol=HALF)
    assert (report["rows"], report["valid_rows"]) == (
        sum(len(rows["valid"]) for rows in found.values()), sum(rows["valid"].sum() for rows in found.values()),
    )  # fmt: skip
    assert {row.status for row in Ledger(tmp_path / "cache" / "ledger").read().values()} == {"done"}
    assert counts(take(corpus.parent, tmp_path / "cache", "FAUs")) == (0, NUM - 1, 0)  # from the folder above, the same
    said = call("extract", *where(corpus, tmp_path / "other"), "--ready-made", "FAUs", "--split", "dev", "--limit", 2)
    assert said.out.startswith("clips: 2 done, 0 reused, 0 failed\nfeatures: ")


def test_a_dry_run_counts_and_writes_nothing(copy, tmp_path, take, call):
    cache = tmp_path / "cache"
    take(copy, cache, "FAUs", "--limit", 3)
    before = files_of(cache)
    outcome = call("extract", *where(copy, cache), "--ready-made", "FAUs", "--dry-run")
    assert outcome.out.startswith(f"clips: {NUM - 4} to make, 3 reused, 0 failed before\nnote: ")
    assert files_of(cache) == before


def test_an_altered_file_is_taken_again_and_no_other(copy, tmp_path, take):
    cache = tmp_path / "cache"
    take(copy, cache, "FAUs")
    write_csv(file_of(copy, "00001"), np.full((4, WIDTH), 0.5))
    assert counts(take(copy, cache, "FAUs")) == (1, NUM - 2, 0)
    plan = cached_plan(Cache(cache), "features", "hume", copy)
    (key,) = (planned.features_key for planned in plan.clips if planned.clip.clip_id == "00001")
    record, entry = Cache(cache).find("features", plan.features.fingerprint)[key]
    with Cache(cache).open(record) as shard:
        assert shard.read(entry.clip_id, "taps/FAUs").tolist() == [[0.5] * WIDTH] * 4


def test_a_file_that_is_not_in_order_is_one_line_and_stops_no_other(copy, tmp_path, take):
    cache = tmp_path / "cache"
    whole = file_of(copy, "00004").read_text()
    file_of(copy, "00000").write_text("")
    file_of(copy, "00001").write_text(file_of(copy, "00001").read_text().replace("70.00000", "many"))
    write_csv(file_of(copy, "00002"), np.full((3, WIDTH), np.nan))
    write_csv(file_of(copy, "00003"), np.ones((3, WIDTH - 1)))
    file_of(copy, "00004").write_text(whole.replace("70.00000", "inf"))
    report = take(copy, cache, "FAUs", code=1)
    assert counts(report) == (NUM - 6, 0, 5)
    assert {failure["clip"]: failure["message"].partition(".csv")[2] for failure in report["failures"]} == {
        "00000": ": expected a timestamp, a segment and at least one feature in each row. "
        "Received: 0 columns and 0 rows.",
        "00001": ", line 4, column 'f2': expected a number, or nothing. Received: 'many'.",
        "00002": ": each of its 3 rows lacks a number. Expected a row that is whole.",
        "00003": f": expected {WIDTH} features in each row, as most clips have. Received: {WIDTH - 1}.",
        "00004": ", line 4, column 'f2': expected a number, or nothing. Received: 'inf'.",
    }
    failed = [row for row in Ledger(cache / "ledger").read().values() if row.status == "failed"]
    assert sorted(row.clip_id for row in failed) == [f"0000{number}" for number in range(5)]
    assert {row.error for row in failed} == {"ManifestError"}
    file_of(copy, "00004").write_text(whole)
    assert counts(take(copy, cache, "FAUs", code=1)) == (1, NUM - 6, 4)  # mended; the others wait


def test_a_damaged_shard_is_mended_from_the_files(corpus, tmp_path, take, call):
    cache = tmp_path / "cache"
    take(corpus, cache, "FAUs", "--limit", 5)
    whole = stored(cache, "features")
    (record,) = Cache(cache).records("features")
    content = bytearray(record.path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 400] = bytes(400)
    record.path.write_bytes(content)
    assert call("cache", "repair", "--cache", cache).code == 0
    for name, rows in stored(cache, "features").items():
        np.testing.assert_array_equal(rows["taps/FAUs"], whole[name]["taps/FAUs"])
    assert stored(cache, "features").keys() == whole.keys()


def test_features_that_are_not_there_are_said_with_those_that_are(corpus, tmp_path, call):
    outcome = call("extract", *where(corpus, tmp_path / "cache"), "--ready-made", "FAU")
    assert outcome.code == 1
    assert outcome.err.strip() == (
        f"emopipe: {corpus / 'feats'}: expected features 'FAU'. Received: DeepSpectrum ({NUM} clips), FAUs ({NUM - 1} "
        f"clips), eGeMAPS ({NUM} clips)."
    )
    outcome = call("extract", *where(make_abaw(tmp_path / "abaw"), tmp_path / "cache"), "--ready-made", "FAUs")
    assert outcome.code == 1
    assert "the release of ABAW-5 brings no features along.\nExpected the folder c2_muse_reaction" in outcome.err
    outcome = call("extract", *where(corpus, tmp_path / "cache", "folder"), "--ready-made", "FAUs")
    assert (outcome.code, outcome.err.strip()) == (
        1, "emopipe: --ready-made FAUs: 'folder' brings no features along. Leave the option out.",
    )  # fmt: skip
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    "option",
    [("--only", "features"), ("--backbone", "vgg16"), ("--detector", "haar"), ("--audio-backbone", "log-mel"),
     ("--workers", 2), ("--device", "cpu")],
)  # fmt: skip
def test_options_of_what_is_not_made_are_refused(corpus, tmp_path, call, option):
    outcome = call("extract", *where(corpus, tmp_path / "cache"), "--ready-made", "FAUs", *option)
    assert outcome.code == 2
    assert f"{option[0]}: changes nothing with --ready-made FAUs. Leave one of them out." in outcome.err
    with pytest.raises(ConfigError, match="features are taken and none are made"):
        ExtractSpec("hume", corpus, tmp_path, only="features", ready_made="FAUs")


def test_the_release_without_media_says_what_to_do(corpus, call):
    outcome = call("datasets", "check", "hume", "--root", corpus)
    assert f"FAUs ({NUM - 1}), eGeMAPS ({NUM}). Take them with: emopipe extract --ready-made NAME" in outcome.out


# --- what is trained on them


def test_a_head_learns_what_its_features_say_and_nothing_else(made, call):
    found = {name: scored(call, made.runs / name, made.cache) for name in ("FAUs", "DeepSpectrum", "eGeMAPS")}
    known = {name: [found[name][target] for target in TARGETS] for name in found}
    assert min(known["FAUs"][:4]) > 0.7
    assert min(known["DeepSpectrum"][4:]) > 0.7
    assert found["FAUs"]["mean"] == pytest.approx(np.mean(known["FAUs"]))
    assert found["FAUs"]["mean"] > found["eGeMAPS"]["mean"] + 0.3
    assert abs(found["eGeMAPS"]["mean"]) < 0.25
    settings = json.loads((made.runs / "FAUs" / "run.json").read_text())["settings"]
    assert settings["features"] == {"ready_made": "FAUs", "weights": "", "version": 1}
    assert not list((made.runs / "FAUs").glob("weights/*"))


def test_two_features_are_fused_by_clips(made, tmp_path, call):
    outcome = call("fuse", made.runs / "FAUs", made.runs / "DeepSpectrum", "--level", "decision", "--cache", made.cache,
                   "--run", tmp_path / "fused", "--json")  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert outcome.json["metric"] == "pearson"
    alone = [scored(call, made.runs / name, made.cache)["mean"] for name in ("FAUs", "DeepSpectrum")]
    fused = scored(call, tmp_path / "fused", made.cache)["mean"]
    assert fused > max(alone) + 0.1
    assert fused > 0.8
    outcome = call("predict", tmp_path / "fused", tmp_path / "me.mp4", "--out", tmp_path / "out")
    assert outcome.code == 1
    assert "brings along.\nNo recording has such features." in outcome.err


def test_the_official_file_has_every_clip_of_the_test_part(made, corpus, tmp_path, call):
    path = tmp_path / "test.csv"
    outcome = call("evaluate", made.runs / "FAUs", "--split", "test", "--cache", made.cache, "--submission", path)
    assert outcome.code == 0, outcome.err
    assert f"1 of 5 official clips has no prediction and is given the mean of the others: [{ABSENT}]." in outcome.err
    assert f"note: 1 of 5 clips of split 'test' have no FAUs (the first: '{ABSENT}')." in outcome.out
    assert path.read_text().splitlines()[0] == ",".join(("File_ID", *EMOTIONS))
    values = read_predictions(path, official_ids(corpus, "test"))
    own = numbers(rows_of(made.runs / "FAUs" / "predictions" / "test.csv"), *TARGETS)
    place = int(ABSENT) - (NUM - 5)
    np.testing.assert_allclose(np.delete(values, place, axis=0), own, atol=1e-6)
    np.testing.assert_allclose(values[place], own.mean(axis=0), atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [("--head", "mean"), ("--cells", "gru", "--units", 6, "--gaps", "hold", "--sampling", "all", "--standardise")],
    ids=["mean", "gru"],
)
def test_other_heads_take_them_too(made, tmp_path, call, options):
    named = ("--dataset", "hume", "--cache", made.cache, "--features", made.features("FAUs"), "--tap", "FAUs")
    outcome = call("train-rnn", *named, *HEAD, *options, "--epochs", 8, "--run", tmp_path / "run")
    assert outcome.code == 0, outcome.err
    assert outcome.json["best"]["dev_pearson"] > 0.2
    assert outcome.json["counts"]["train"] == NUM_CLIPS["train"]


@pytest.mark.parametrize("gaps", ["drop", "hold"])
def test_a_row_with_a_gap_is_a_gap_whatever_else_it_holds(made, tmp_path, take, call, gaps):
    """Other numbers in it change nothing; where gaps are left out of windows it might as well not be there."""

    def other_numbers(path, rows):
        rows[GAP, 2:] = -3
        write_csv(path, rows)

    def without_gaps(path, rows):
        write_csv(path, np.delete(rows, GAP, axis=0))

    call("train-rnn", "--cache", made.cache, "--features", made.features("FAUs"), *LSTM, "--epochs", 1, "--gaps", gaps,
         "--run", tmp_path / "run")  # fmt: skip
    scored(call, tmp_path / "run", made.cache)
    columns = "valid", *TARGETS
    expected = numbers(rows_of(tmp_path / "run" / "predictions" / "dev.csv"), *columns)
    assert np.isfinite(expected).all()
    for name, write in {"other": other_numbers, "without": without_gaps}.items():
        corpus = write_corpus(tmp_path / name, {"FAUs": write})
        take(corpus, tmp_path / f"{name} cache", "FAUs")
        scored(call, tmp_path / "run", tmp_path / f"{name} cache")
        found = numbers(rows_of(tmp_path / "run" / "predictions" / "dev.csv"), *columns)
        if name == "other":
            np.testing.assert_array_equal(found, expected)
        elif gaps == "drop":
            np.testing.assert_allclose(found, expected, atol=1e-6)


def test_clips_without_the_feature_are_left_out_and_counted(copy, tmp_path, take, call):
    for name in ("00000", "00001"):
        file_of(copy, name).unlink()
    write_csv(file_of(copy, "00002"), np.full((3, WIDTH), np.nan))
    take(copy, tmp_path / "cache", "FAUs", code=1)
    outcome = call("train-rnn", "--cache", tmp_path / "cache", *LSTM, "--epochs", 1, "--run", tmp_path / "run")
    assert outcome.json["counts"]["train"] == NUM_CLIPS["train"] - 3
    assert outcome.json["notes"] == [
        "1 of 58 clips of split 'train' have no cached features.",
        "2 of 60 clips of split 'train' have no FAUs (the first: '00000').",
    ]


@pytest.mark.parametrize(
    ("options", "option"),
    [
        (("--target", "clip", "--sampling", "motion"), "--sampling motion"),
        (("--target", "clip", "--head", "multimodal"), "--head multimodal"),
        (("--head", "cnn-1rnn", "--tap", "FAUs", "--end-to-end"), "--end-to-end"),
        (("--head", "cnn-1rnn", "--tap", "FAUs", "--tap", "fc", "--landmarks"), "--landmarks"),
    ],
)
def test_what_needs_media_is_refused(made, tmp_path, call, options, option):
    named = ("--cache", made.cache, "--features", made.features("FAUs"), "--run", tmp_path / "run")
    outcome = call("train-rnn", *named, *options)
    assert outcome.code == 1
    assert f"{option}: is for features that were made from media. Received: FAUs, which came ready-made." in outcome.err
    assert not (tmp_path / "run").exists()


def test_predicting_a_recording_is_refused(made, tmp_path, call):
    outcome = call("predict", made.runs / "FAUs", tmp_path / "me.mp4", "--out", tmp_path / "out")
    assert outcome.code == 1
    assert outcome.err.strip() == (
        f"emopipe: {made.runs / 'FAUs'}: learned from FAUs, which hume brings along.\nNo recording has such features. "
        "Predict a split of the corpus: emopipe evaluate RUN --split test"
    )


def test_several_sets_are_told_apart_and_a_set_that_is_gone_is_asked_for(made, tmp_path, call):
    outcome = call("train-rnn", "--cache", made.cache, *LSTM, "--run", tmp_path / "run")
    assert outcome.code == 1
    assert f"hume FAUs {made.features('FAUs')[:10]}" in outcome.err
    cache = tmp_path / "cache"
    shutil.copytree(made.cache, cache)
    empty = write_corpus(tmp_path / "new", {"FAUs": lambda path, rows: write_csv(path, rows + 1)})
    outcome = call("evaluate", made.runs / "FAUs", "--cache", cache, "--root", empty)
    assert outcome.code == 1
    assert f"Run: emopipe extract --dataset hume --ready-made FAUs --cache {cache}" in outcome.err


def test_the_report_says_what_was_read(made, call):
    scored(call, made.runs / "FAUs", made.cache)
    assert call("report", made.runs / "FAUs").code == 0
    assert (
        "An LSTM of 1 layer (16 units) on ready-made features (FAUs)"
        in (made.runs / "FAUs" / "report.html").read_text()
    )
