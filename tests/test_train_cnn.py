"""`train-cnn` from a faces cache to a network that `extract` takes, with the kills and the mistakes on the way."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from train_runner import CLASSES, FRAMES, crop_of, labels_of, make_cache, write_labels

from emopipe.errors import ConfigError, EmopipeError, ManifestError, RunError
from emopipe.models.bundle import open_run
from emopipe.stages.cnn_config import TrainCnnConfig
from emopipe.stages.train_cnn import train_cnn
from emopipe.store.cache import Cache

HERE = Path(__file__).parent
SMALL = TrainCnnConfig(backbone="tiny", epochs=3, batch_size=16, learning_rate=0.05)
SMALL_OPTIONS = ("--backbone", "tiny", "--epochs", 3, "--batch", 16, "--learning-rate", 0.05)
SAME_RUN = 1e-6  # a run that went on after a kill, on the same machine and backend


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(corpus, cache) that no test changes."""
    return make_cache(tmp_path_factory.mktemp("made"))


@pytest.fixture
def train(made, tmp_path):
    """``train(config, "name")`` trains into a new run folder of that name, reading crops in this process."""

    def run(config=SMALL, name="run", root=None, cache=None, **options):
        where = {"root": root or made[0], "cache": cache or made[1], "run": tmp_path / name}
        return train_cnn(config, dataset="affwild2", num_readers=0, **where, **options)

    return run


def weights(folder: Path) -> list[np.ndarray]:
    import keras

    return keras.saving.load_model(folder / "network.keras", safe_mode=True).get_weights()


def test_it_learns_and_extract_takes_what_it_made(train, tmp_path):
    from emopipe.faces.normalisation import InputSpec, normalise
    from emopipe.models.backbones import resolve_backbone

    report = train(replace(SMALL, epochs=12))
    assert report.best["dev_ccc"] > 0.85
    assert report.best["dev_ccc"] == pytest.approx(
        (report.best["dev_ccc_valence"] + report.best["dev_ccc_arousal"]) / 2
    )
    run = open_run(tmp_path / "run")
    assert run.kind == "cnn"
    assert run.content["targets"] == ["valence", "arousal"]
    assert run.content["frames"] == {"train_before_balancing": 114, "train": 114, "dev": 44}
    assert run.content["best"] == report.best
    assert not run.state.exists()
    assert {path.name for path in run.folder.iterdir()} == {
        "run.json", "network.keras", "history.csv", "curves.png", "logs",
    }  # fmt: skip
    plan = resolve_backbone(str(run.network), "imagenet", ())
    assert plan.input == InputSpec(96, 1, "0..1")
    assert [tap.name for tap in plan.taps] == ["dense"]

    import keras

    network = keras.saving.load_model(run.network)
    assert not any("ugment" in layer.name for layer in network.layers)
    assert run.content["num_parameters"] == network.count_params()
    crops = np.stack([crop_of(valence, 0.0) for valence in (-0.8, 0.0, 0.8)])
    predicted = network.predict(normalise(crops, plan.input), verbose=0)
    assert predicted.shape == (3, 2)
    assert (np.diff(predicted[:, 0]) > 0).all()


def test_the_score_is_computed_once_over_all_frames(train, made, tmp_path):
    """Against audmetric, on what the saved network gives for the dev crops."""
    import audmetric
    import keras

    from emopipe.faces.normalisation import InputSpec, normalise

    report = train()
    truth, crops = [], []
    for number in range(FRAMES["dev"][0]):
        labels = labels_of("dev", number, FRAMES["dev"][1])
        rows = [row for row in range(len(labels)) if row not in (5, 7)]
        truth.append(labels[rows])
        crops += [crop_of(*label) for label in labels[rows]]
    network = keras.saving.load_model(tmp_path / "run" / "network.keras")
    predicted = network.predict(normalise(np.stack(crops), InputSpec(96, 1, "0..1")), verbose=0)
    expected = audmetric.concordance_cc(np.concatenate(truth)[:, 1], predicted[:, 1])
    assert report.best["dev_ccc_arousal"] == pytest.approx(expected, abs=1e-5)
    assert report.best["dev_batch_ccc_arousal"] != report.best["dev_ccc_arousal"]


def test_same_seed_same_weights_and_balancing_thins_the_crowd(train, tmp_path):
    config = replace(SMALL, epochs=2, balance="max")
    report = train(config, "one")
    train(config, "two")
    train(replace(config, seed=1), "other")
    for one, two in zip(weights(tmp_path / "one"), weights(tmp_path / "two"), strict=True):
        np.testing.assert_array_equal(one, two)
    assert any(
        not np.array_equal(*pair) for pair in zip(weights(tmp_path / "one"), weights(tmp_path / "other"), strict=True)
    )
    assert 0 < report.counts["train"] < report.counts["train_before_balancing"] == 114
    assert (tmp_path / "one" / "histogram.png").stat().st_size > 5000
    assert open_run(tmp_path / "one").content["balance_ceiling"] >= 2


@pytest.mark.slow
@pytest.mark.parametrize(("moment", "precision"), [("kill_after", "float32"), ("kill_before", "bfloat16")])
def test_a_killed_run_goes_on_and_ends_the_same(train, made, tmp_path, program, moment, precision):
    config = replace(SMALL, precision=precision)
    train(config, "whole")
    where = ("--dataset", "affwild2", "--root", made[0], "--cache", made[1], "--run", tmp_path / "killed")
    runner = (str(HERE / "train_runner.py"), json.dumps({moment: 2}))
    outcome = program("train-cnn", *where, *SMALL_OPTIONS, "--precision", precision, runner=runner)
    assert outcome.code == -9, outcome.err
    left = open_run(tmp_path / "killed")
    assert left.content["finished"] is None
    assert (left.state / "last.npz").is_file()
    report = train(replace(config, patience=10), "killed")
    assert report.num_epochs == 3
    for one, other in zip(weights(tmp_path / "whole"), weights(tmp_path / "killed"), strict=True):
        np.testing.assert_allclose(one, other, atol=SAME_RUN)
    rows = [(tmp_path / name / "history.csv").read_text().splitlines() for name in ("whole", "killed")]
    for one, other in zip(rows[0][1:], rows[1][1:], strict=True):
        received, expected = (np.array([float(x) for x in line.split(",")[3:]]) for line in (one, other))
        np.testing.assert_allclose(received, expected, atol=SAME_RUN)


@pytest.mark.slow
def test_it_runs_on_jax_from_the_command_line(made, tmp_path, program):
    where = ("--dataset", "affwild2", "--root", made[0], "--cache", made[1], "--run", tmp_path / "run")
    runner = (str(HERE / "train_runner.py"), "{}")
    outcome = program(
        "train-cnn", *where, *SMALL_OPTIONS, "--targets", "arousal", "--json",
        runner=runner, environment={"KERAS_BACKEND": "jax"},
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert outcome.json["targets"] == ["arousal"]
    assert outcome.json["best"]["dev_ccc"] == outcome.json["best"]["dev_ccc_arousal"] > 0
    assert "epoch" not in outcome.err  # no terminal
    assert open_run(tmp_path / "run").content["keras_backend"] == "jax"
    assert weights(tmp_path / "run")[-1].shape == (1,)  # TensorFlow or JAX reads what JAX wrote


def test_classes_get_a_softmax_and_macro_f1(train, tmp_path):
    report = train(replace(SMALL, task="expr", epochs=15, augment=False))
    assert report.select == "macro_f1"
    assert report.best["dev_macro_f1"] > 0.6
    run = open_run(tmp_path / "run")
    assert run.content["classes"] == list(CLASSES)
    assert run.content["settings"]["loss"] == "crossentropy"
    assert weights(tmp_path / "run")[-1].shape == (3,)


def test_a_short_epoch_ends_after_its_steps(train, tmp_path):
    report = train(replace(SMALL, epochs=1, steps_per_epoch=2, loss="mse", decay=0.5))
    assert report.best["learning_rate"] == pytest.approx(0.05 / (1 + 0.5 * 2))  # two steps were taken


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_split": "test"}, "no clip is in split 'test'.*dev.*train"),
        ({"task": "pose"}, "no task 'pose'. Expected one of va, expr, au"),
        ({"targets": ("joy",)}, "targets: expected some of valence, arousal. Received: 'joy'"),
        ({"loss": "crossentropy"}, "expected ccc or mse for task 'va'"),
        ({"task": "expr", "loss": "ccc"}, "expected crossentropy for task 'expr'"),
        ({"task": "expr", "balance": "max"}, "expected a task with valence and arousal"),
        ({"backbone": "tinny"}, "Did you mean 'tiny'"),
    ],
)
def test_a_setting_that_does_not_fit_is_one_message(train, tmp_path, change, message):
    with pytest.raises(EmopipeError, match=message) as caught:
        train(replace(SMALL, **change))
    assert len(str(caught.value).splitlines()) <= 3
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "settings",
    [{"loss": "mae"}, {"balance": "most"}, {"batch_size": 0}, {"learning_rate": -1.0}, {"epochs": 0}, {"seed": -1}],
)
def test_a_setting_out_of_range_is_refused(settings):
    with pytest.raises(ConfigError):
        TrainCnnConfig(**settings)


def test_labels_that_teach_nothing_are_one_message(train, tmp_path):
    root, cache = make_cache(tmp_path)

    def relabel(split, change):
        for number in range(FRAMES[split][0]):
            labels = labels_of(split, number, FRAMES[split][1])
            write_labels(root, split, f"{split}{number}", change(labels))

    relabel("train", lambda labels: np.stack([labels[:, 0], np.full(len(labels), 0.25)], axis=1))
    with pytest.raises(ManifestError, match="split 'train'.*arousal is 0.25 in all 114 frames"):
        train(root=root, cache=cache)
    relabel("train", lambda labels: np.abs(labels))
    with pytest.raises(ManifestError, match="split 'train'.*no frame of class Sadness"):
        train(replace(SMALL, task="expr"), root=root, cache=cache)
    relabel("train", lambda labels: np.where(np.arange(len(labels))[:, None] == 9, np.nan, labels))
    with pytest.raises(ManifestError, match=r"train0.txt, line 11.*two numbers in \[-1, 1\]"):
        train(root=root, cache=cache)
    relabel("train", lambda labels: np.full_like(labels, -5))
    with pytest.raises(ManifestError, match="no frame with a face and a label"):
        train(root=root, cache=cache)
    for path in root.glob("annotations/VA_Set/Train_Set/*.txt"):
        path.unlink()
    with pytest.raises(ManifestError, match="no clip is in split 'train'"):
        train(root=root, cache=cache)


def test_a_cache_without_the_faces_says_what_to_run(train, made, tmp_path):
    with pytest.raises(ConfigError, match="Run: emopipe extract --dataset affwild2 .*--only faces"):
        train(cache=tmp_path / "nothing")
    with pytest.raises(ConfigError, match="no faces 'abc' of dataset"):
        train(faces="abc")
    root, cache = make_cache(tmp_path)
    for video in (root / "batch1").glob("dev*.mp4"):
        video.write_bytes(b"another film of " + video.name.encode())
    with pytest.raises(ConfigError, match="holds no faces of the 2 clips of split 'dev'"):
        train(root=root, cache=cache)
    (root / "batch1" / "train1.mp4").write_bytes(b"another film")
    (root / "batch1" / "dev0.mp4").write_bytes(b"dev0")
    report = train(replace(SMALL, epochs=1), root=root, cache=cache)
    assert report.counts == {"train_before_balancing": 76, "train": 76, "dev": 22}
    assert "1 of 3 clips of split 'train' have no cached faces." in report.notes


def test_faces_of_several_settings_are_not_mixed(train, tmp_path):
    from emopipe.config import FacesConfig
    from emopipe.stages.spec import ExtractSpec, make_plan
    from emopipe.store.layout import ClipEntry
    from emopipe.store.writer import ShardWriter

    root, folder = make_cache(tmp_path)
    spec = ExtractSpec("affwild2", root, folder, faces=FacesConfig(alignment="box"), only="faces")
    plan = make_plan(spec, Cache(folder))
    writer = ShardWriter(folder, plan.faces, spec.to_request())
    rows = {"crop": np.zeros((1, 96, 96, 3), np.uint8), "valid": np.ones(1, bool)}
    writer.append("train0", rows)
    writer.finish_clip(ClipEntry(plan.clips[0].faces_key, "train0", "", 1, 1))
    writer.commit()
    with pytest.raises(ConfigError, match=r"several sets of faces: .*retinaface-box.*\n.*--faces"):
        train(root=root, cache=folder)


def test_a_run_folder_is_not_written_over(train, tmp_path):
    train(replace(SMALL, epochs=1))
    with pytest.raises(ConfigError, match="holds a finished run"):
        train(replace(SMALL, epochs=1))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    with pytest.raises(ConfigError, match="neither empty nor a run"):
        train(name="mine")
    with pytest.raises(RunError, match="not a finite number"):
        train(replace(SMALL, learning_rate=1e30, loss="mse"), "diverged")
    with pytest.raises(ConfigError, match="other settings .*learning_rate"):
        train(name="diverged")


def test_bfloat16_learns_nearly_the_same_and_keeps_float32(train, tmp_path):
    import keras

    usual = train(replace(SMALL, epochs=12), "usual")
    report = train(replace(SMALL, epochs=12, precision="bfloat16"), "half")
    assert report.best["dev_ccc"] == pytest.approx(usual.best["dev_ccc"], abs=0.1)
    network = keras.saving.load_model(tmp_path / "half" / "network.keras", safe_mode=True)
    assert {layer.compute_dtype for layer in network.layers} == {"float32"}
    assert keras.config.dtype_policy().name == "float32"
    differences = [
        np.abs(one - other).max()
        for one, other in zip(weights(tmp_path / "usual"), weights(tmp_path / "half"), strict=True)
    ]
    assert max(differences) > 1e-6  # else nothing was rounded
