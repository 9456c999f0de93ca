"""What `emopipe train-rnn` finds in a cache and a corpus: which features, which labels, and what it tells of them."""

import json
from dataclasses import replace

import numpy as np
import pytest
from feature_corpus import labels_of, make_corpus, write_annotation, write_features

from emopipe.errors import ConfigError
from emopipe.models.windows import WindowConfig
from emopipe.stages.rnn_config import TrainRnnConfig
from emopipe.stages.train_rnn import train_rnn

SMALL = TrainRnnConfig(units=(4,), window=WindowConfig(8), epochs=1, batch_size=32)


def test_nothing_cached_says_what_to_run(tmp_path):
    (tmp_path / "cache").mkdir()
    with pytest.raises(ConfigError, match="emopipe extract"):
        train_rnn(SMALL, cache=tmp_path / "cache", run=tmp_path / "run")


def test_several_sets_of_features_are_listed(corpus, cache, tmp_path):
    write_features(corpus, cache, "other")
    with pytest.raises(ConfigError) as raised:
        train_rnn(SMALL, cache=cache, run=tmp_path / "run")
    for features in ("tiny tttttttttt", "other oooooooooo"):
        assert features in str(raised.value)
    report = train_rnn(SMALL, cache=cache, run=tmp_path / "run", features="ooo")
    assert report.num_epochs == SMALL.epochs


def test_a_corpus_cached_from_two_folders_must_be_named(corpus, cache, tmp_path):
    other = make_corpus(tmp_path / "other")
    for video in other.rglob("*.mp4"):
        video.write_bytes(video.read_bytes() + b"another recording")
    write_features(other, cache, "tiny")
    with pytest.raises(ConfigError, match=f"from several folders: {corpus}, {other}.\nSay which is meant with --root"):
        train_rnn(SMALL, cache=cache, run=tmp_path / "run")
    assert train_rnn(SMALL, cache=cache, run=tmp_path / "run", root=other).num_epochs == SMALL.epochs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cells": "qrnn"}, "cells: expected simple, gru, lstm. Received: 'qrnn'"),
        ({"reduce": "max"}, "reduce: expected median, mean. Received: 'max'"),
        ({"learning_rate": 0.0}, "learning rate above 0"),
        ({"learning_rate": float("nan")}, "learning rate above 0"),
        ({"momentum": 1.0}, r"momentum in \[0, 1\)"),
        ({"decay": -1e-5}, "decay of at least 0"),
        ({"clip_value": 0.0}, "clip_value: expected a number above 0"),
    ],
)
def test_a_number_out_of_range_is_refused_at_once(change, message):
    with pytest.raises(ConfigError, match=message):
        replace(SMALL, **change)


def test_a_reduction_of_clips_is_refused_where_frames_are_labelled(cache, tmp_path):
    with pytest.raises(ConfigError, match=r"Task 'va' of \w+, split 'train', labels frames. Received: mean"):
        train_rnn(replace(SMALL, reduce="mean"), cache=cache, run=tmp_path / "run")


def test_labels_behind_the_end_of_a_clip_are_told(corpus, cache, tmp_path):
    quiet = train_rnn(SMALL, cache=cache, run=tmp_path / "quiet")
    assert not [note for note in quiet.notes if "behind their end" in note]
    write_annotation(corpus, "dev", "dev0", np.concatenate([labels_of("dev", 0), labels_of("dev", 0)[:9]]))
    told = train_rnn(SMALL, cache=cache, run=tmp_path / "told")
    note = "split 'dev': 1 of 3 clips have labels behind their end, which are left out (the first: 'dev0', 9 of 69)."
    assert note in told.notes


def test_the_next_command_names_corpus_and_cache(corpus, cache, call, tmp_path):
    where, run = ("--root", corpus, "--cache", cache), tmp_path / "run"
    done = call("train-rnn", *where, "--run", run, "--epochs", 1, "--window", 8)
    assert done.out.splitlines()[-1] == f"next: emopipe evaluate {run} --root {corpus} --cache {cache}"


def test_a_training_does_not_go_on_with_other_labels(corpus, cache, tmp_path):
    run = tmp_path / "run"
    train_rnn(SMALL, cache=cache, run=run)
    content = json.loads((run / "run.json").read_text())
    del content["finished"]  # as if it had been killed
    (run / "run.json").write_text(json.dumps(content))
    labels = labels_of("train", 0)
    write_annotation(corpus, "train", "train0", np.where(np.arange(len(labels))[:, None] == 30, 0.125, labels))
    with pytest.raises(ConfigError, match="train_rows"):
        train_rnn(SMALL, cache=cache, run=run)
    write_annotation(corpus, "train", "train0", labels)
    assert train_rnn(SMALL, cache=cache, run=run).num_epochs == 1
