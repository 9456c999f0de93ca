"""`fuse`: runs whose decisions are averaged, and runs whose RNNs are joined and learn on together."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import feature_corpus
import numpy as np
import pytest
import train_runner
import utterance_corpus
from csv_rows import numbers, rows_of
from utterance_corpus import BRIGHTNESS, FACELESS, HIGH, LOW

from emopipe.config import to_dict
from emopipe.datasets.splits import Folds
from emopipe.errors import ConfigError, EmopipeError, RunError
from emopipe.models.bundle import open_run
from emopipe.models.fusion import join_heads
from emopipe.models.tap_heads import JOINED, LANDMARKS, NUM_LANDMARK_NUMBERS, TapHeadConfig, build_tap_head
from emopipe.models.weights import load_network
from emopipe.models.windows import HOW_NAMES, NONE, WindowConfig
from emopipe.stages import training
from emopipe.stages.cnn_config import TrainCnnConfig
from emopipe.stages.evaluate import predict_split, score
from emopipe.stages.evaluate_clips import clip_predictions
from emopipe.stages.fuse import fuse_decisions, fuse_models, shares
from emopipe.stages.fusion import averaged_frames, evaluate, is_fusion, open_fusion, predict_run
from emopipe.stages.rnn_config import TrainRnnConfig
from emopipe.stages.train_cnn import train_cnn
from emopipe.stages.train_rnn import train_rnn
from emopipe.stages.trained import open_trained

SIZES = {**utterance_corpus.SIZES, LANDMARKS: NUM_LANDMARK_NUMBERS}
TARGETS = ("valence", "arousal")
WINDOW, UNITS, NUM_UNITS = 8, (6, 5), 128
FEW = {"fc_units": 8, "units": UNITS, "fc_dropout": 0.1, "gru_dropout": 0.1}
ONE = TrainRnnConfig(
    tap_head=TapHeadConfig((LOW, HIGH, "fc"), "one", **FEW),
    window=WindowConfig(WINDOW, gaps="hold", target="every"),
    targets=TARGETS,
    epochs=4,
    patience=None,
    batch_size=8,
    learning_rate=0.02,
    optimiser="adam",
)
EACH = replace(ONE, tap_head=TapHeadConfig((HIGH, LOW, "fc"), "each", **FEW), epochs=2)  # its columns lie otherwise
BARE = replace(ONE, tap_head=TapHeadConfig((BRIGHTNESS, HIGH), "each", **FEW), epochs=1)  # reads no landmarks
LEARN_ON = TrainRnnConfig(epochs=3, patience=None, batch_size=8, learning_rate=0.01, optimiser="adam", decay=0.0)
STILL = replace(LEARN_ON, learning_rate=1e-12, epochs=1)
ON_FRAMES = TrainRnnConfig(
    units=(6,), window=WindowConfig(10), epochs=3, patience=None, batch_size=32, learning_rate=0.05
)
AGREEMENT = 1e-3  # of a video that is decoded and looked at again with the cache


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return utterance_corpus.make(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def members(made, tmp_path_factory):
    """Name -> run folder."""
    folder = tmp_path_factory.mktemp("members")
    for name, config in (("one", ONE), ("each", EACH), ("bare", BARE)):
        train_rnn(config, cache=made.cache, run=folder / name)
    return {name: folder / name for name in ("one", "each", "bare")}


@pytest.fixture(scope="module")
def fused(made, members, tmp_path_factory):
    """(folder, report) of the decisions of two."""
    folder = tmp_path_factory.mktemp("fused") / "run"
    return folder, fuse_decisions([members["one"], members["each"]], run=folder, cache=made.cache)


@pytest.fixture(scope="module", params=["fc", "rnn"])
def joined(request, made, members, tmp_path_factory):
    """(layer, folder, report) of two whose RNNs were joined."""
    folder = tmp_path_factory.mktemp("joined") / "run"
    pair = [members["one"], members["each"]]
    return request.param, folder, fuse_models(pair, request.param, LEARN_ON, run=folder, cache=made.cache)


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


def ccc_of(run: Path, cache: Path, split: str = "dev") -> list[float]:
    found = evaluate(run, split=split, cache=cache, num_bootstrap=0)
    values = {score.target: score.value for score in found.scores if score.metric == "ccc"}
    return [values[target] for target in TARGETS]


# --- the shares


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([[0.3, 0.6], [0.1, 0.2]], [[0.75, 0.75], [0.25, 0.25]]),
        ([[0.3, -0.5], [0.1, 0.2], [0.1, 0.6]], [[0.6, 0.0], [0.2, 0.25], [0.2, 0.75]]),
        ([[np.nan, 0.2], [0.4, np.nan]], [[0.0, 1.0], [1.0, 0.0]]),
        ([[-0.1, 0.0], [-0.9, np.nan]], [[0.5, 0.5], [0.5, 0.5]]),
        ([[np.nan, 0.1], [-0.2, 0.1], [0.0, 0.2]], [[1 / 3, 0.25], [1 / 3, 0.25], [1 / 3, 0.5]]),
    ],
)
def test_shares_are_the_positive_scores_of_a_target_and_sum_to_one(scores, expected):
    found = shares(np.array(scores))
    np.testing.assert_allclose(found, expected)
    np.testing.assert_allclose(found.sum(axis=0), 1.0)


def test_a_frame_needs_a_prediction_of_every_member():
    values = [np.array([[0.0, 1.0], [0.4, 0.8], [0.2, np.nan]]), np.array([[1.0, 0.0], [np.nan, np.nan], [0.6, 0.6]])]
    how = [np.array([1, 2, 1], np.uint8), np.array([2, NONE, 1], np.uint8)]
    found, codes = averaged_frames(values, how, np.array([[0.25, 0.5], [0.75, 0.5]]))
    np.testing.assert_allclose(found, [[0.75, 0.5], [np.nan, np.nan], [0.5, np.nan]])
    assert codes.tolist() == [1, NONE, 1]


# --- decisions


def test_a_member_weighs_its_concordance_on_the_dev_split(made, members, fused):
    folder, report = fused
    ccc = np.array([ccc_of(members[name], made.cache) for name in ("one", "each")])
    assert (ccc > 0.02).all()  # else nothing would be weighed
    assert np.abs(ccc[0] - ccc[1]).min() > 0.01
    np.testing.assert_allclose(report.dev_scores, ccc, atol=1e-9)
    for column in range(2):
        total = ccc[0, column] + ccc[1, column]
        assert report.weights[:, column] == pytest.approx([ccc[0, column] / total, ccc[1, column] / total])
    np.testing.assert_array_equal(open_fusion(folder).weights, report.weights)
    assert is_fusion(folder)
    assert not is_fusion(members["one"])
    text = report.to_text()
    assert f"CCC {ccc[0, 0]:.3f}, share {report.weights[0, 0]:.3f}" in text
    assert json.loads(json.dumps(report.to_dict()))["weights"] == report.weights.tolist()


@pytest.mark.parametrize("split", ["dev", "test"])
def test_the_final_estimates_of_the_members_are_averaged(made, members, fused, split):
    folder, report = fused
    each = [
        clip_predictions(predict_split(open_trained(members[name]), split=split, cache=made.cache))
        for name in ("one", "each")
    ]
    assert any(not np.array_equal(clips.values, clips.raw, equal_nan=True) for clips in each)
    found = predict_run(folder, split=split, cache=made.cache)
    assert found.clip_ids == each[0].clip_ids
    for name in ("values", "raw"):
        expected = sum(getattr(clips, name) * share for clips, share in zip(each, report.weights, strict=True))
        np.testing.assert_allclose(getattr(found, name), expected, rtol=0, atol=1e-12)
        assert not np.allclose(getattr(found, name), getattr(each[0], name), equal_nan=True)
    silent = FACELESS if split == "dev" else None
    assert [name for name, keep in zip(found.clip_ids, found.scored, strict=True) if not keep] == [silent] * bool(
        silent
    )
    scored = score(found, num_bootstrap=20)
    assert (scored.run, scored.predictions) == (folder, folder / "predictions" / f"{split}.csv")
    rows = rows_of(scored.predictions)
    assert [row["clip"] for row in rows] == list(found.clip_ids)
    np.testing.assert_allclose(numbers(rows, *TARGETS), found.values, atol=1e-5)
    np.testing.assert_allclose(numbers(rows, "valence_raw", "arousal_raw"), found.raw, atol=1e-5)


def test_a_fusion_needs_no_run_but_itself(made, members, fused, call, tmp_path):
    for name in ("one", "each"):
        shutil.copytree(members[name], tmp_path / name)
    done = call("fuse", tmp_path / "one", tmp_path / "each", "--level", "decision", "--run", tmp_path / "run",
                "--cache", made.cache, "--json")  # fmt: skip
    assert done.code == 0, done.err
    assert done.json["members"] == [str(tmp_path / "one"), str(tmp_path / "each")]
    np.testing.assert_allclose(done.json["weights"], fused[1].weights)
    for name in ("one", "each"):
        shutil.rmtree(tmp_path / name)
    (tmp_path / "run").rename(tmp_path / "moved")
    submission = tmp_path / "dev.csv"
    options = ("--split", "dev", "--cache", made.cache, "--submission", submission, "--json")
    found = call("evaluate", tmp_path / "moved", *options)
    assert found.code == 0, found.err
    expected = predict_run(fused[0], split="dev", cache=made.cache)
    rows = rows_of(Path(found.json["predictions"]))
    np.testing.assert_allclose(numbers(rows, *TARGETS), expected.values, atol=1e-5)
    official = {f"{row['video']}/{row['utterance'].removesuffix('.mp4')}": row for row in rows_of(submission)}
    num_rows = len(made.of("dev")) + 1
    assert len(official) == num_rows
    np.testing.assert_allclose(
        numbers([official[name] for name in expected.clip_ids], *TARGETS)[expected.scored],
        expected.values[expected.scored],
        atol=1e-5,
    )
    assert f"2 of {num_rows} official utterances of split 'dev' have no prediction" in found.err


@pytest.mark.slow
def test_other_sequences_and_taps_are_no_hindrance_to_an_average(made, members, tmp_path):
    shorter = replace(BARE, window=replace(ONE.window, length=5))
    train_rnn(shorter, cache=made.cache, run=tmp_path / "shorter")
    runs = [members["one"], tmp_path / "shorter", members["bare"]]
    report = fuse_decisions(runs, run=tmp_path / "run", cache=made.cache)
    assert report.weights.shape == (3, 2)
    np.testing.assert_allclose(report.weights.sum(axis=0), 1)
    assert len(predict_run(tmp_path / "run", split="test", cache=made.cache).clip_ids) == 3


@pytest.mark.slow
def test_where_frames_are_labelled_frames_are_averaged(tmp_path):
    root, cache = feature_corpus.make_corpus(tmp_path), tmp_path / "cache"
    feature_corpus.write_features(root, cache, "one")
    configs = {"short": ON_FRAMES, "long": replace(ON_FRAMES, window=WindowConfig(25), seed=1)}
    for name, config in configs.items():
        train_rnn(config, cache=cache, run=tmp_path / name)
    runs = [tmp_path / name for name in configs]
    report = fuse_decisions(runs, run=tmp_path / "run", cache=cache)
    ccc = np.array([ccc_of(run, cache) for run in runs])
    assert (ccc > 0).all()
    np.testing.assert_allclose(report.weights, ccc / ccc.sum(axis=0))
    each = [predict_split(open_trained(run), split="dev", cache=cache, fill="linear") for run in runs]
    found = predict_run(tmp_path / "run", split="dev", cache=cache, fill="linear")
    assert not found.of_clips
    expected = sum(one.values * share for one, share in zip(each, report.weights, strict=True))
    np.testing.assert_allclose(found.values, expected, rtol=0, atol=1e-12)
    scored = evaluate(tmp_path / "run", split="dev", cache=cache, num_bootstrap=0)
    rows = rows_of(scored.predictions)
    assert scored.unit == "frames"
    assert len(rows) == feature_corpus.CLIPS["dev"] * feature_corpus.NUM_FRAMES
    assert {row["how"] for row in rows if int(row["frame"]) == feature_corpus.GAP} == {"none"}
    train_rnn(replace(ON_FRAMES, task="expr", epochs=1), cache=cache, run=tmp_path / "classes")
    with pytest.raises(ConfigError, match=r"classes: expected a run of train-rnn that predicts numbers"):
        fuse_decisions([runs[0], tmp_path / "classes"], run=tmp_path / "no", cache=cache)
    with pytest.raises(ConfigError, match="expected a head over taps on cached features"):
        fuse_models(runs, "rnn", LEARN_ON, run=tmp_path / "no", cache=cache)
    assert not (tmp_path / "no").exists()


# --- what is not fused


def refused(made, tmp_path, runs, level="decision", error=ConfigError):
    """The message; nothing may have been made."""
    with pytest.raises(error) as caught:
        if level == "decision":
            fuse_decisions(runs, run=tmp_path / "no", cache=made.cache)
        else:
            fuse_models(runs, level, LEARN_ON, run=tmp_path / "no", cache=made.cache)
    assert isinstance(caught.value, EmopipeError)
    assert not (tmp_path / "no").exists()
    message = str(caught.value)
    assert len(message.splitlines()) <= 3
    return message


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
        runs[place] = fused[0]
        assert refused(made, tmp_path, runs, level).startswith(
            f"{fused[0]}: expected a run of train-rnn that predicts numbers"
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
        fuse_decisions([members["one"], members["each"]], run=fused[0], cache=made.cache)


def test_a_fusion_that_lacks_a_member_says_so(fused, tmp_path, made):
    shutil.copytree(fused[0], tmp_path / "broken")
    (tmp_path / "broken" / "members" / "1" / "network.keras").unlink()
    with pytest.raises(RunError, match=r"broken/members/1: has no network.keras"):
        predict_run(tmp_path / "broken", split="dev", cache=made.cache)


# --- joined RNNs


def trunk_of(run: Path):
    """The head without its last layer."""
    import keras

    head = load_network(run / "network.keras")
    return keras.Model(head.input, head.get_layer(JOINED).output)


def num_trunk_parameters(config: TapHeadConfig, num_joined: int) -> int:
    sizes = {name: SIZES[name] for name in config.taps}
    return config.with_columns(sizes, 2).num_parameters - (num_joined + 1) * 2


def num_fusion_parameters(layer: str, num_joined: int) -> int:
    """128 units of a dense layer or of a GRU with two biases per gate, and two outputs."""
    gru = 3 * NUM_UNITS * (num_joined + NUM_UNITS + 2)
    return (num_joined * NUM_UNITS + NUM_UNITS if layer == "fc" else gru) + NUM_UNITS * 2 + 2


def test_the_joined_rnns_learn_on_and_their_last_layers_are_gone(joined, members):
    layer, folder, report = joined
    network = load_network(folder / "network.keras")
    trunks = num_trunk_parameters(ONE.tap_head, 5) + num_trunk_parameters(EACH.tap_head, 3 * 5)
    assert report.num_parameters == network.count_params() == trunks + num_fusion_parameters(layer, 4 * 5)
    for name, run in (("member1", "one"), ("member2", "each")):
        member, trunk = network.get_layer(name), trunk_of(members[run])
        assert "output" in {part.name for part in load_network(members[run] / "network.keras").layers}
        assert "output" not in {part.name for part in member.layers}
        for ours, theirs in zip(member.weights, trunk.weights, strict=True):
            assert ours.shape == theirs.shape
            assert np.abs(ours.numpy() - theirs.numpy()).max() > 1e-3, ours.path
    content = open_run(folder).content
    assert (content["kind"], content["settings"]["fusion"], content["of_clips"]) == ("rnn", layer, True)
    assert content["settings"]["taps"] == [LOW, HIGH]


@pytest.mark.parametrize(("layer", "num_parameters"), [("fc", 512 * 128 + 128), ("rnn", 3 * 128 * (512 + 128 + 2))])
def test_the_papers_pair_is_joined_to_512_numbers(layer, num_parameters):
    taps = ("pool2:grid4", "pool5:flat")
    heads = []
    for rnns in ("one", "each"):
        config = TapHeadConfig((*taps, "fc"), rnns, fc_units=4).with_columns(dict.fromkeys(taps, 3), 2)
        heads.append(build_tap_head(config, 3 + 3 + NUM_LANDMARK_NUMBERS))
    columns = [(taps[0], 3), (taps[1], 3), (LANDMARKS, NUM_LANDMARK_NUMBERS)]
    network = join_heads(heads, [[name for name, _ in columns]] * 2, columns, layer, 2)
    before = sum(head.count_params() for head in heads) - (128 * 2 + 2) - (3 * 128 * 2 + 2)
    assert network.count_params() - before == num_parameters + 128 * 2 + 2
    assert network.get_layer("members").output.shape[-1] == 512
    assert network.output.shape[1:] == (None, 2)


@pytest.mark.slow
def test_before_anything_is_learned_every_rnn_says_what_it_said_alone(made, members, tmp_path):
    import keras

    names = ("bare", "each", "one")  # the first reads no landmarks, the others' columns lie in different orders
    report = fuse_models([members[name] for name in names], "rnn", STILL, run=tmp_path / "run", cache=made.cache)
    assert report.num_epochs == 1
    settings = open_run(tmp_path / "run").content["settings"]
    assert (settings["taps"], settings["landmarks"]) == ([BRIGHTNESS, HIGH, LOW], True)
    network = load_network(tmp_path / "run" / "network.keras")
    table = [*settings["taps"], LANDMARKS]
    generator = np.random.default_rng(0)
    column = {name: generator.normal(size=(2, WINDOW, SIZES[name])).astype(np.float32) for name in table}
    mask = np.ones((2, WINDOW), bool)

    def said(model, columns):
        rows = np.concatenate([column[name] for name in columns], axis=2)
        return model.predict_on_batch({"features": rows, "mask": mask})

    together = said(keras.Model(network.input, network.get_layer("members").output), table)
    alone = []
    for name in names:
        trained = open_trained(members[name])
        alone.append(said(trunk_of(members[name]), [*trained.taps, *([LANDMARKS] if trained.landmarks else [])]))
    np.testing.assert_allclose(together, np.concatenate(alone, axis=2), atol=1e-5)
    assert np.std(together) > 1e-2


def test_what_was_joined_is_a_run_like_any_heads(joined, made, call, tmp_path):
    _, folder, report = joined
    shutil.copytree(folder, tmp_path / "moved")
    done = call("evaluate", tmp_path / "moved", "--cache", made.cache, "--json")
    assert done.code == 0, done.err
    assert done.json["num_scored"] == len(made.of("dev")) - 1
    values = {score["target"]: score["value"] for score in done.json["scores"] if score["metric"] == "ccc_raw"}
    for target in TARGETS:
        assert values[target] == pytest.approx(report.best[f"dev_ccc_{target}"], abs=1e-4)
    assert open_run(folder).content["postprocessing"] is not None
    assert list((tmp_path / "moved" / "weights").glob("*.keras"))


def test_joined_rnns_can_be_averaged_with_others_and_not_be_joined_again(joined, made, members, tmp_path):
    _, folder, _ = joined
    report = fuse_decisions([members["one"], folder], run=tmp_path / "run", cache=made.cache)
    assert report.weights.shape == (2, 2)
    told = refused(made, tmp_path, [members["one"], folder], "rnn")
    assert told.startswith(f"{folder}: expected a head over taps")


@pytest.mark.slow
@pytest.mark.parametrize("joined", ["rnn"], indirect=True)
def test_a_stopped_one_goes_on_to_the_same_weights(joined, made, members, tmp_path, monkeypatch):
    def fuse(*pair):
        return fuse_models([members[name] for name in pair], "rnn", LEARN_ON, run=tmp_path / "run", cache=made.cache)

    save, calls = training.save_state, []

    def save_and_stop(*arguments):
        save(*arguments)
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(training, "save_state", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            fuse("one", "each")
    with pytest.raises(RunError, match="its training is not over"):
        evaluate(tmp_path / "run", split="dev", cache=made.cache)
    with pytest.raises(ConfigError, match=r"unfinished run of other settings \(members"):
        fuse("each", "one")
    fuse("one", "each")
    ours, theirs = (load_network(run / "network.keras").get_weights() for run in (tmp_path / "run", joined[1]))
    assert [weights.tobytes() for weights in ours] == [weights.tobytes() for weights in theirs]


@pytest.mark.slow
def test_the_command_line_trains_with_adam_and_no_decay(made, members, call, tmp_path):
    done = call("fuse", members["one"], members["each"], "--level", "model-fc", "--run", tmp_path / "run", "--cache",
                made.cache, "--epochs", 1, "--batch", 16, "--learning-rate", 0.002, "--seed", 3, "--json")  # fmt: skip
    assert done.code == 0, done.err
    settings = open_run(tmp_path / "run").content["settings"]
    expected = {
        "optimiser": "adam", "decay": 0.0, "batch_size": 16, "learning_rate": 0.002, "seed": 3, "fusion": "fc",
    }  # fmt: skip
    assert {name: settings[name] for name in expected} == expected
    assert settings["window"] == open_run(members["one"]).content["settings"]["window"]
    assert call("fuse", members["one"], "--level", "model-fc", "--run", tmp_path / "two").code == 1
    assert call("fuse", members["one"], members["each"], "--run", tmp_path / "two").code == 2


# --- videos


LABELS = {"train": {"ann": (0.5, 0.2), "ben": (-0.5, 0.7)}, "dev": {"cid": (0.6, 0.4), "dot": (-0.2, 0.8)}}
LISTS = {"train": "TrainVideos", "dev": "ValidationVideos"}


@pytest.fixture(scope="module")
def filmed(face_videos, kept_weights, tmp_path_factory):
    """(cache, name -> run) of real videos in OMG-Emotion's layout."""
    from emopipe.stages.extract import extract
    from emopipe.stages.spec import BackboneRequest, ExtractSpec

    folder = tmp_path_factory.mktemp("filmed")
    root, cache = folder / "omg", folder / "cache"
    for split, labels in LABELS.items():
        lines = ["link,start,end,video,utterance,arousal,valence,EmotionMaxVote"]
        for name, (valence, arousal) in labels.items():
            (root / name).mkdir(parents=True)
            shutil.copy(face_videos[name], root / name / "utterance_1.mp4")
            lines.append(f"x,0.0,1.0,{name},utterance_1.mp4,{arousal},{valence},4")
        (root / f"omg_{LISTS[split]}.csv").write_text("\n".join(lines) + "\n")
    shutil.copytree(kept_weights, cache / "weights")
    taps = ("dense:flat", "pool2:gap")
    spec = ExtractSpec("omg", root, cache, backbone=BackboneRequest("khorrami", "none", taps=taps))
    assert extract(spec).is_complete
    window = WindowConfig(10, gaps="hold", target="every")
    config = replace(ONE, window=window, epochs=2, tap_head=TapHeadConfig((taps[0], "fc"), "one", **FEW))
    other = replace(config, tap_head=TapHeadConfig((taps[1], taps[0], "fc"), "each", **FEW), seed=1)
    runs = {name: folder / name for name in ("first", "second", "decision", "rnn")}
    train_rnn(config, cache=cache, run=runs["first"])
    train_rnn(other, cache=cache, run=runs["second"])
    pair = [runs["first"], runs["second"]]
    fuse_decisions(pair, run=runs["decision"], cache=cache)
    fuse_models(pair, "rnn", replace(LEARN_ON, epochs=1), run=runs["rnn"], cache=cache)
    return cache, runs


@pytest.mark.slow
def test_a_video_is_predicted_by_all_members_and_their_average_is_written(filmed, face_videos, call, tmp_path):
    _, runs = filmed
    # No member may outweigh the other so far that its word alone would pass.
    shutil.copytree(runs["decision"], tmp_path / "run")
    path = tmp_path / "run" / "run.json"
    content = json.loads(path.read_text())
    content["weights"] = weights = [[0.3, 0.6], [0.7, 0.4]]
    path.unlink()
    path.write_text(json.dumps(content))
    found = {}
    for name, run in (("run", tmp_path / "run"), ("first", runs["first"]), ("second", runs["second"])):
        done = call("predict", run, face_videos["eve"], "--out", tmp_path / "out" / name, "--json")
        assert done.code == 0, done.err
        found[name] = tmp_path / "out" / name
        (file,) = done.json["recordings"]
        assert (file["frames"], file["error"]) == (25, "")
        assert sorted(path.name for path in found[name].iterdir()) == ["eve.csv", "eve_frames.csv"]
    for file, num_rows in (("eve.csv", 1), ("eve_frames.csv", 25)):
        fused, *each = (rows_of(found[name] / file) for name in ("run", "first", "second"))
        assert len(fused) == num_rows
        expected = sum(numbers(rows, *TARGETS) * share for rows, share in zip(each, weights, strict=True))
        np.testing.assert_allclose(numbers(fused, *TARGETS), expected, atol=2e-6)  # the files hold six digits
        assert np.abs(numbers(each[0], *TARGETS) - numbers(each[1], *TARGETS)).max() > 1e-3
        if num_rows == 1:
            assert list(fused[0]) == ["clip", "frames", "valid", "valence", "arousal"]
            assert (fused[0]["clip"], fused[0]["frames"]) == ("eve", "25")
        else:
            assert {row["how"] for row in fused} <= set(HOW_NAMES)


@pytest.mark.slow
def test_predict_says_what_evaluate_says_of_the_same_video(filmed, face_videos, call, tmp_path):
    cache, runs = filmed
    stored = evaluate(runs["rnn"], split="dev", cache=cache, num_bootstrap=0)
    expected = {row["clip"].partition("/")[0]: numbers([row], *TARGETS)[0] for row in rows_of(stored.predictions)}
    shutil.copytree(runs["rnn"], tmp_path / "moved")
    videos = [face_videos[name] for name in LABELS["dev"]]
    done = call("predict", tmp_path / "moved", *videos, "--out", tmp_path / "out", "--json")
    assert done.code == 0, done.err
    for name in LABELS["dev"]:
        (row,) = rows_of(tmp_path / "out" / f"{name}.csv")
        np.testing.assert_allclose(numbers([row], *TARGETS)[0], expected[name], atol=AGREEMENT)
