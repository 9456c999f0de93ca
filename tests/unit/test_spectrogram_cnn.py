"""Audio backbones: what is settled without keras, what enters the fingerprint, what a network is shown."""

import json
import pickle
import subprocess
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from emopipe.config import AUDIO_VERSION, AudioConfig, fingerprint
from emopipe.errors import ConfigError, UnknownNameError, WeightsError
from emopipe.faces.normalisation import InputSpec
from emopipe.media.audio import Sound
from emopipe.models.backbones import BACKBONES
from emopipe.models.keras_files import write_metadata
from emopipe.models.spectrogram_cnn import (
    AudioRequest,
    PictureNetwork,
    carried_audio,
    resize_pictures,
    resolve_audio,
    spectrogram_for,
)
from emopipe.models.taps import parse_tap, pooled_size
from emopipe.spectrograms import SpectrogramConfig
from emopipe.stages.audio_step import lie_in_gaps

LOG_MEL = "log-mel"


def request(backbone, weights="none", taps=(), scaling=None, input_range=None, **spectrogram):
    return AudioRequest(backbone, weights, taps, scaling, input_range, spectrogram_for(backbone, **spectrogram))


def plan_of(backbone, **settings):
    return resolve_audio(request(backbone, **settings), device="cpu")


@pytest.fixture
def keras_file(tmp_path):
    """``keras_file(size)`` -> what a .keras file looks like to those who do not load it."""

    def make(size=None, name="net.keras"):
        layers = [
            {"class_name": "InputLayer", "config": {"name": "picture", "batch_shape": [None, size, size, 3]}},
            {"class_name": "GlobalAveragePooling2D", "config": {"name": "pooled"}},
        ]
        path = tmp_path / name
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("config.json", json.dumps({"class_name": "Functional", "config": {"layers": layers}}))
        return path

    return make


@pytest.mark.parametrize(
    ("backbone", "registered", "taps", "scaling", "input_range", "channels", "size_px", "num_numbers"),
    [
        ("vgg16", "vgg16-224", ("fc2",), "raw", "0..255", "bgr", 224, 4096),
        ("resnet50", "resnet50", ("avg_pool",), "preprocess", "caffe", "rgb", 224, 2048),
        ("densenet121", "densenet121", ("avg_pool",), "preprocess", "imagenet", "rgb", 224, 1024),
        ("mobilenetv2", "mobilenetv2-224", ("avg_pool",), "preprocess", "-1..1", "rgb", 224, 1280),
        ("khorrami", "khorrami", ("dense",), "preprocess", "0..1", "rgb", 96, 300),
    ],
)
def test_defaults_of_each_backbone(backbone, registered, taps, scaling, input_range, channels, size_px, num_numbers):
    plan = plan_of(backbone)
    config = plan.config
    assert (config.backbone, config.taps, config.weights) == (registered, taps, "none")
    assert (config.scaling, config.input_range, config.channels) == (scaling, input_range, channels)
    assert (config.input_size_px, config.resize) == (size_px, "bicubic")
    assert plan.tap_sizes == {taps[0]: num_numbers}
    assert plan.name == f"{registered}-mel"
    assert plan.spectrogram == SpectrogramConfig()
    assert pickle.loads(pickle.dumps(plan)) == plan


def test_both_scalings_of_vgg_and_of_the_others():
    assert [getattr(plan_of("vgg16", scaling="preprocess").config, name) for name in ("input_range", "channels")] == [
        "caffe", "rgb",
    ]  # fmt: skip
    assert [getattr(plan_of("resnet50", scaling="raw").config, name) for name in ("input_range", "channels")] == [
        "0..255", "rgb",
    ]  # fmt: skip


def test_log_mel_has_no_network_and_no_weights():
    plan = resolve_audio(AudioRequest(spectrogram=spectrogram_for(LOG_MEL, num_bands=40)))
    assert plan.network is None
    assert plan.config == AudioConfig(LOG_MEL, (LOG_MEL,))
    assert (plan.name, plan.weights_digest, plan.tap_sizes) == (LOG_MEL, "", {LOG_MEL: 40})
    assert AudioRequest() == AudioRequest(LOG_MEL, spectrogram=spectrogram_for(LOG_MEL))


def test_everything_that_changes_the_numbers_is_in_the_settings(keras_file):
    base = plan_of("resnet50")
    file = str(keras_file(64))
    plans = [
        base,
        plan_of("densenet121"),
        plan_of("resnet50", taps=("conv4_block6_out:gap",)),
        plan_of("resnet50", scaling="raw"),
        plan_of("resnet50", hop_s=0.25),
        plan_of("resnet50", window_s=2.0),
        plan_of("resnet50", kind="linear"),
        plan_of("resnet50", colour_map="magma"),
        plan_of("resnet50", rate_hz=16000),
        resolve_audio(request("resnet50"), device="cpu", engine="keras"),
        plan_of(LOG_MEL, weights="imagenet"),
        plan_of(file, weights="imagenet", taps=("pooled",), input_range="0..1"),
        plan_of(file, weights="imagenet", taps=("pooled",), input_range="-1..1"),
    ]
    assert len({fingerprint(plan.settings) for plan in plans}) == len(plans)
    assert fingerprint(plan_of("resnet50").settings) == fingerprint(base.settings)
    assert json.loads(json.dumps(base.settings)) == base.settings
    assert base.settings["version"] == AUDIO_VERSION


def test_a_request_survives_json():
    asked = request("vgg16", taps=("fc1", "fc2"), scaling="preprocess", hop_s=0.1, colour_map="magma")
    from dataclasses import asdict

    assert AudioRequest.from_request(json.loads(json.dumps(asdict(asked)))) == asked
    with pytest.raises(ConfigError, match="no field 'hop'"):
        AudioRequest.from_request({**asdict(asked), "spectrogram": {"hop": 1}})


def test_a_file_says_what_it_takes_or_is_asked_about(keras_file):
    path = keras_file(64)
    plan = plan_of(str(path), weights="imagenet", taps=("pooled",), input_range="0..1")
    assert (plan.config.backbone, plan.config.input_size_px, plan.name) == ("file", 64, "file-mel")
    raw = plan_of(str(path), weights="imagenet", taps=("pooled",), scaling="raw")
    assert (raw.config.input_range, raw.config.channels) == ("0..255", "rgb")
    with pytest.raises(ConfigError, match="--audio-input-range"):
        plan_of(str(path), weights="imagenet", taps=("pooled",))
    with pytest.raises(ConfigError, match="--audio-tap.*\n.*pooled"):
        plan_of(str(path), weights="imagenet", input_range="0..1")
    with pytest.raises(ConfigError, match="Leave --audio-weights out"):
        plan_of(str(path), weights="none", taps=("pooled",), input_range="0..1")
    write_metadata(path, InputSpec(64, 3, "-1..1"), ["pooled"])
    stated = plan_of(str(path), weights="imagenet")
    assert (stated.config.input_range, stated.config.taps) == ("-1..1", ("pooled",))


def test_a_file_that_takes_any_size_is_given_the_pictures_as_they_are(keras_file):
    plan = plan_of(str(keras_file(None)), weights="imagenet", taps=("pooled",), input_range="0..1", size_px=100)
    assert plan.config.input_size_px == 100


@pytest.mark.parametrize(
    ("backbone", "settings", "error", "words"),
    [
        ("vgg61", {}, UnknownNameError, "Did you mean 'vgg16'"),
        ("khorrami", {"weights": "imagenet"}, WeightsError, "no ImageNet weights"),
        ("vgg16", {"weights": "absent.h5"}, WeightsError, "no such file"),
        ("resnet50", {"taps": ("avg_pool:gap",)}, ConfigError, "is pooled already"),
        ("resnet50", {"scaling": "raw", "input_range": "0..1"}, ConfigError, "Leave --audio-input-range out"),
        (LOG_MEL, {"weights": "none"}, ConfigError, "Leave --audio-weights out"),
        (LOG_MEL, {"weights": "imagenet", "taps": ("fc2",)}, ConfigError, "Leave --audio-tap out"),
        (LOG_MEL, {"weights": "imagenet", "input_range": "0..1"}, ConfigError, "Leave --audio-input-range out"),
    ],
)
def test_mistakes_are_refused_when_planning(backbone, settings, error, words):
    with pytest.raises(error, match=words):
        plan_of(backbone, **settings)


def test_numbers_and_pictures_are_not_mixed_up():
    with pytest.raises(ConfigError, match="expected spectrograms rendered as 'picture'. Received: 'log-mel'"):
        AudioRequest("vgg16", spectrogram=spectrogram_for(LOG_MEL))
    with pytest.raises(ConfigError, match="expected spectrograms rendered as 'log-mel'. Received: 'picture'"):
        AudioRequest(LOG_MEL, spectrogram=SpectrogramConfig())


def test_log_mel_is_found_again_from_its_settings_and_another_version_is_refused(tmp_path):
    plan = plan_of(LOG_MEL, weights="imagenet", num_bands=20)
    settings = json.loads(json.dumps(plan.settings))
    assert carried_audio(settings, tmp_path) == plan
    with pytest.raises(ConfigError, match=f"expected version {AUDIO_VERSION}. Received: 99"):
        carried_audio({**settings, "version": 99}, tmp_path)
    with pytest.raises(WeightsError, match="no such file"):
        carried_audio(json.loads(json.dumps(plan_of("resnet50").settings)), tmp_path)


class Echo:
    """Tells what it was shown."""

    device = "cpu"

    def __call__(self, pictures):
        return {"mean": pictures.mean(axis=(1, 2)).astype(np.float32), "shape": np.array([pictures.shape[1:3]])}


def test_a_network_is_shown_its_size_and_its_channels():
    picture = np.zeros((1, 227, 227, 3), np.uint8)
    picture[..., 0], picture[..., 2] = 10, 200
    for channels, expected in (("rgb", [10, 0, 200]), ("bgr", [200, 0, 10])):
        config = replace(plan_of("vgg16").config, channels=channels, input_size_px=64)
        shown = PictureNetwork(Echo(), config)(picture)
        assert shown["mean"].tolist() == [expected]
        assert shown["shape"].tolist() == [[64, 64]]


def test_resizing_is_that_of_pillow():
    pictures = np.random.default_rng(0).integers(0, 256, (3, 227, 227, 3), np.uint8)
    resized = resize_pictures(pictures, 224)
    for source, target in zip(pictures, resized, strict=True):
        np.testing.assert_array_equal(target, np.asarray(Image.fromarray(source).resize((224, 224))))
    assert resize_pictures(pictures, 227) is pictures


def test_the_form_for_pictures_knows_its_maps():
    places = BACKBONES.load("vgg16-224").places
    assert places["pool5"].shape == (7, 7, 512)
    assert places["conv3"].shape == (112, 112, 128)
    assert pooled_size(parse_tap("pool5:flat"), places["pool5"].shape) == 25_088


def test_windows_that_lie_in_gaps_for_more_than_half():
    sound = Sound(np.zeros(1000, np.float32), 100, 5.0, 100, 1, gaps=((5.5, 6.0), (9.0, 11.0), (14.9, 15.0)))
    config = SpectrogramConfig(window_s=1.0, hop_s=1.0)
    assert lie_in_gaps(sound, 10, config).tolist() == [False] * 4 + [True, True] + [False] * 4
    # The last window is cut off at the end of the sound: a tenth of a second of which half is empty, or all.
    config = SpectrogramConfig(window_s=1.0, hop_s=0.1)
    assert lie_in_gaps(sound, 100, config)[-3:].tolist() == [False, False, True]


def test_planning_imports_no_engine():
    code = (
        "import sys\n"
        "from emopipe.models.spectrogram_cnn import AudioRequest, resolve_audio, spectrogram_for\n"
        "for name in ('log-mel', 'vgg16', 'resnet50', 'densenet121', 'mobilenetv2'):\n"
        "    weights = 'imagenet' if name == 'log-mel' else 'none'\n"
        "    resolve_audio(AudioRequest(name, weights, spectrogram=spectrogram_for(name)), device='cpu')\n"
        "loaded = {'keras', 'tensorflow', 'onnxruntime', 'tf2onnx', 'librosa', 'matplotlib'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
