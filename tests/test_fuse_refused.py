"""What `fuse` refuses: runs that learned something else, what is no run of a head, RNNs that cannot be joined."""

import json
import shutil

import pytest
import train_runner
import utterance_corpus
from fusion_members import refused, train_members

from emopipe.config import to_dict
from emopipe.datasets.splits import Folds
from emopipe.errors import ConfigError, RunError
from emopipe.models.bundle import open_run
from emopipe.stages.cnn_config import TrainCnnConfig
from emopipe.stages.fuse import fuse_decisions
from emopipe.stages.fusion import predict_run
from emopipe.stages.train_cnn import train_cnn


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return utterance_corpus.make(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def members(made, tmp_path_factory):
    return train_members(made, tmp_path_factory.mktemp("members"), "one", "each")


@pytest.fixture(scope="module")
def fused(made, members, tmp_path_factory):
    """The run folder of the decisions of two."""
    folder = tmp_path_factory.mktemp("fused") / "run"
    fuse_decisions([members["one"], members["each"]], run=folder, cache=made.cache)
    return folder


@pytest.fixture
def altered(members, tmp_path):
    """``altered("each", dev_split="test")`` -> a copy of that run with other settings."""

    def alter(name, **settings):
        folder = tmp_path / "altered"
        shutil.copytree(members[name], folder)
        content = json.loads((folder / "run.json").read_text())
        content["settings"].update(settings)
        (folder / "run.json").unlink()
        (folder / "run.json").write_text(json.dumps(content))
        return folder

    return alter


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"targets": ["valence"]}, "its targets is ['valence'].\nExpected ['valence', 'arousal'], as in"),
        ({"task": "emotion"}, "its task is emotion.\nExpected va, as in"),
        ({"dataset": "affwild2"}, "its corpus is affwild2.\nExpected omg, as in"),
        ({"train_split": "all"}, "its training split is all.\nExpected train, as in"),
        ({"dev_split": "test"}, "its dev split is test.\nExpected dev, as in"),
    ],
)
@pytest.mark.parametrize("level", ["decision", "rnn"])
def test_runs_that_learned_something_else_are_refused(made, members, altered, tmp_path, settings, message, level):
    other = altered("each", **settings)
    told = refused(made, tmp_path, [members["one"], other], level)
    assert told.startswith(f"{other}: {message} {members['one']}: "), told


def test_runs_of_other_folds_and_clips_are_refused(made, members, altered, tmp_path):
    folded = altered("each", folds=to_dict(Folds(2, 1, "keep-test")))
    told = refused(made, tmp_path, [members["one"], folded])
    assert told.startswith(f"{folded}: its folds is ")
    assert "keep-test" in told
    assert f"Expected None, as in {members['one']}" in told
    shutil.rmtree(folded)
    kept = open_run(members["each"]).content["settings"]["clip_ids"]
    lacking = {**kept, "dev": [name for name in kept["dev"] if name not in ("dd00_1/utterance_9", "dd01/utterance_2")]}
    other = altered("each", clip_ids=lacking)
    told = refused(made, tmp_path, [members["one"], other])
    assert f"{other} and {members['one']} learned from other clips: 2 of split 'dev' differ" in told
    assert f"The first: 'dd00_1/utterance_9', only in {members['one']}." in told
    assert f"'dd00_1/utterance_9', only in {members['one']}." in refused(made, tmp_path, [other, members["one"]])


@pytest.mark.parametrize("level", ["decision", "fc"])
def test_what_is_no_run_of_a_head_is_refused(made, members, fused, tmp_path, level):
    one = members["one"]
    assert refused(made, tmp_path, [one], level) == "fuse: expected at least two runs. Received: 1."
    assert refused(made, tmp_path, [one, one], level).startswith("fuse: expected each run once. Received: ")
    for place in (0, 1):
        runs = [one, one]
        runs[place] = fused
        assert refused(made, tmp_path, runs, level).startswith(
            f"{fused}: expected a run of train-rnn that predicts numbers"
        )
    assert f"{tmp_path / 'gone'}: is not a run folder" in refused(
        made, tmp_path, [one, tmp_path / "gone"], level, RunError
    )


def test_a_cnn_is_refused(made, members, tmp_path):
    root, cache = train_runner.make_cache(tmp_path)
    config = TrainCnnConfig(backbone="tiny", epochs=1, batch_size=16)
    train_cnn(config, dataset="affwild2", root=root, cache=cache, run=tmp_path / "cnn", num_readers=0)
    told = refused(made, tmp_path, [members["one"], tmp_path / "cnn"])
    assert told.startswith(f"{tmp_path / 'cnn'}: expected a run of train-rnn")


def test_rnns_of_other_sequences_features_or_a_learning_cnn_are_not_joined(made, members, altered, tmp_path):
    window = open_run(members["each"]).content["settings"]["window"]
    for settings, message in (
        ({"window": {**window, "length": 5}}, "its sequences are others than those of"),
        ({"features_fingerprint": "1" * 64}, "its features are others than those of"),
        ({"end_to_end": True}, "expected a head over taps on cached features"),
        ({"tap_head": None}, "expected a head over taps on cached features"),
    ):
        other = altered("each", **settings)
        told = refused(made, tmp_path, [members["one"], other], "rnn")
        assert told.startswith(f"{other}: {message}"), told
        assert "--level decision" in told
        shutil.rmtree(other)


def test_a_finished_fusion_is_not_made_again(made, members, fused):
    with pytest.raises(ConfigError, match="holds a finished run"):
        fuse_decisions([members["one"], members["each"]], run=fused, cache=made.cache)


def test_a_fusion_that_lacks_a_member_says_so(fused, tmp_path, made):
    shutil.copytree(fused, tmp_path / "broken")
    (tmp_path / "broken" / "members" / "1" / "network.keras").unlink()
    with pytest.raises(RunError, match=r"broken/members/1: has no network.keras"):
        predict_run(tmp_path / "broken", split="dev", cache=made.cache)
