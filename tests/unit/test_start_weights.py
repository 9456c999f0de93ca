"""The file of weights that an environment variable names; what a CNN makes of one is tested in test_train_cnn_start."""

from pathlib import Path

import pytest

from emopipe.errors import WeightsError
from emopipe.files import sha256_of_file
from emopipe.models.trainable import CNNS
from emopipe.stages.start_weights import resolve_start


def start(spec: str):
    return resolve_start("vggface", CNNS.load("vggface"), spec)


def test_vggface_is_the_file_that_the_variable_names(tmp_path, monkeypatch):
    path = tmp_path / "vgg.h5"
    path.write_bytes(b"weights of a face network")
    monkeypatch.setenv("EMOPIPE_VGGFACE", str(path))
    found = start("vggface")
    assert (found.path, found.digest) == (path, sha256_of_file(path))
    assert start(str(path)) == found  # as if the file itself had been named
    assert start("none") is None


@pytest.mark.parametrize("value", [None, ""])
def test_without_the_variable_the_cure_is_named(monkeypatch, value):
    monkeypatch.delenv("EMOPIPE_VGGFACE", raising=False)
    if value is not None:
        monkeypatch.setenv("EMOPIPE_VGGFACE", value)
    with pytest.raises(WeightsError, match=r"--weights vggface: expected \$EMOPIPE_VGGFACE to name a file") as caught:
        start("vggface")
    assert len(str(caught.value).splitlines()) <= 3


def test_a_variable_that_names_nothing_is_told_by_its_path(monkeypatch, tmp_path):
    monkeypatch.setenv("EMOPIPE_VGGFACE", str(tmp_path / "gone.h5"))
    with pytest.raises(WeightsError, match=r"gone.h5(.|\n)*no such file"):
        start("vggface")


def test_a_folder_or_file_called_vggface_is_not_meant(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EMOPIPE_VGGFACE", raising=False)
    Path("vggface").mkdir()
    with pytest.raises(WeightsError, match="EMOPIPE_VGGFACE"):
        start("vggface")
