"""Sound alone, on recordings that anybody may download: emotion and its intensity in the speech of RAVDESS.

The corpus is at https://zenodo.org/records/1188976; its Audio_Speech_Actors_01-24.zip is what is read. No paper is
reproduced here: the number beside ours is a floor that was measured in the same folds, a linear classifier, or
regression, on eGeMAPS functionals. Six folds of four actors each: actor a is in fold (a - 1) mod 6; one fold is tested,
the next one picks the epoch, the others train. What the six networks say of their test parts is one score, with an
interval over the actors.

The network that looks at pictures of spectrograms is MobileNetV2 with ImageNet weights, and stays as it is. Keras
downloads them, unless $EMOPIPE_MOBILENETV2 names a `.keras` file.

    emopipe reproduce ravdess/spectrogram-cnn --root RAVDESS
    make reproduce-ravdess ROOT=RAVDESS
    python benchmarks/ravdess_study.py --root RAVDESS --work DIR
"""

from dataclasses import replace
from typing import Any, Final

from emopipe.datasets.phantom_layouts import PhantomSettings
from emopipe.datasets.splits import Folds
from emopipe.models.spectrogram_cnn import LOG_MEL, AudioRequest, spectrogram_for
from emopipe.models.spectrogram_head import SpectrogramHeadConfig
from emopipe.models.windows import WindowConfig
from emopipe.recipes.reactions import ReactionExperiment
from emopipe.recipes.recipe import Paper, Place, Recipe, Table
from emopipe.stages.rnn_config import TrainRnnConfig

FLOOR_RECALL, FLOOR_PEARSON = 0.497, 0.497
_EMOTION, _INTENSITY = "Emotion", "Intensity"
_FLOOR: Final = "published is no paper's number but a floor, measured in these folds with a linear model on eGeMAPS."
PAPER: Final = Paper(
    "S. R. Livingstone and F. A. Russo, The Ryerson Audio-Visual Database of Emotional Speech and Song (RAVDESS), PLoS "
    "ONE 13(5): e0196391, 2018",
    "doi:10.1371/journal.pone.0196391",
    (
        Table(
            _EMOTION,
            f"Unweighted average recall of eight emotions, six folds of actors; {_FLOOR}",
            ("unweighted_average_recall",),
        ),
        Table(
            _INTENSITY,
            f"Pearson's r of normal and strong intensity, six folds of actors; {_FLOOR}",
            ("pearson_intensity",),
        ),
    ),
)

_FOLDS = Folds(6, 0, "numbers")
_RATE_HZ = 16_000  # whether the copy has the 48 kHz of the corpus or less
_LONGEST_S = 5.4  # above every recording of speech


def _pictures(**settings: Any) -> AudioRequest:
    return AudioRequest("mobilenetv2", spectrogram=spectrogram_for("mobilenetv2", rate_hz=_RATE_HZ, **settings))


_MEL = _pictures(window_s=1.0, hop_s=0.5)
_LINEAR = _pictures(window_s=1.0, hop_s=0.5, kind="linear")
_SHORT, _LONG = _pictures(window_s=0.5, hop_s=0.25), _pictures(window_s=2.0, hop_s=1.0)
_LOG_MEL = AudioRequest(spectrogram=spectrogram_for(LOG_MEL, rate_hz=_RATE_HZ, num_bands=64))

_HEAD = TrainRnnConfig(
    cells="gru",
    units=(64,),
    dropout=0.5,
    standardise=True,
    task="expr",
    loss="crossentropy",
    select="uar",
    epochs=60,
    patience=15,
    batch_size=32,
    optimiser="adam",
    learning_rate=1e-3,
    decay=0.0,
    folds=_FOLDS,
)
_LSTM, _MEAN = replace(_HEAD, cells="lstm"), replace(_HEAD, head="mean", units=(), dropout=0.0)
_CNN = replace(
    _HEAD,
    units=(),
    dropout=0.0,
    spectrogram_head=SpectrogramHeadConfig(channels=(16, 32, 64, 96), pooling="mean-max", dropout=0.4),
    standardise=None,
    epochs=40,
    patience=None,
    learning_rate=3e-3,
    schedule="cosine",
    label_smoothing=0.1,
)

_COMMON: Final = (
    "The number in the column published is no paper's: it is a floor, measured in the same six folds with eGeMAPS "
    "functionals and a linear model. Chance is 0.125 for the recall and 0 for the correlation.",
    "Six folds of four actors: actor a is in fold (a - 1) mod 6. One fold is tested, the next one picks the epoch, "
    "four train; the predictions of all test parts are scored together, with an interval over actors.",
    "Speech only: the folder holds the 1,440 recordings of Audio_Speech_Actors_01-24. Sound is resampled to 16 kHz.",
)
_PICTURES: Final = (
    "MobileNetV2 stays as ImageNet left it. Its weights are those that keras downloads, or the file that "
    "$EMOPIPE_MOBILENETV2 names; the two give other numbers, and the run keeps the digest of its own.",
)
_CHOSEN: Final = (
    "Sizes, augmentation and learning rate were chosen on the actors of folds 1 and 4, which pick the epoch when 0 and "
    "3 are tested; a score of the four other folds is free of that choice."
)
_SUBSTITUTE: Final = "The intensity, 0 normal and 1 strong, is learned as a number by squared error; neutral has 0."
_FACTS: Final = {
    "floor: recall of eGeMAPS functionals with a linear classifier, and its deviation between folds": (
        FLOOR_RECALL,
        0.06,
    ),
    "floor: r of eGeMAPS functionals with linear regression": FLOOR_PEARSON,
    "recordings": 1440,
}
_PHANTOMS: Final = {"ravdess": PhantomSettings("ravdess", 3, 1.0, width=160, height=120, frame_rate=10)}


def _windows(audio: AudioRequest) -> WindowConfig:
    """All windows of a recording in order, the rest padding."""
    return WindowConfig(round(_LONGEST_S / audio.spectrogram.hop_s), target="clip", sampling="all")


def _recipes(name: str, label: str, audio: AudioRequest, head: TrainRnnConfig, *notes: str) -> tuple[Recipe, Recipe]:
    """The recipe for emotions, and the one for their intensity."""
    head = replace(head, window=_windows(audio))
    number = replace(head, task="intensity", loss="mse", select="pearson", label_smoothing=0.0)
    pictures = _PICTURES if audio.backbone != LOG_MEL else ()

    def recipe(end: str, table: str, rnn: TrainRnnConfig, published: dict[str, float | None], *more: str) -> Recipe:
        return Recipe(
            name=f"ravdess/{name}{end}",
            paper=PAPER,
            places=(Place(table, label),),
            experiment=ReactionExperiment("ravdess", rnn, audio=audio, split="test"),
            published=published,
            deviations=(*_COMMON, *pictures, *notes, *more),
            phantoms=_PHANTOMS,
            facts=_FACTS,
        )

    return (
        recipe("", _EMOTION, head, {"unweighted_average_recall": FLOOR_RECALL}),
        recipe("-intensity", _INTENSITY, number, {"pearson_intensity": FLOOR_PEARSON}, _SUBSTITUTE),
    )


MEL_GRU, MEL_GRU_INTENSITY = _recipes("mel-gru", "frozen, mel, 1 s every 0.5 s, GRU", _MEL, _HEAD)
MEL_LSTM, MEL_LSTM_INTENSITY = _recipes("mel-lstm", "frozen, mel, 1 s every 0.5 s, LSTM", _MEL, _LSTM)
MEL_MEAN, MEL_MEAN_INTENSITY = _recipes("mel-mean", "frozen, mel, 1 s every 0.5 s, mean and linear", _MEL, _MEAN)
LINEAR_GRU, LINEAR_GRU_INTENSITY = _recipes("linear-gru", "frozen, linear, 1 s every 0.5 s, GRU", _LINEAR, _HEAD)
SHORT_GRU, SHORT_GRU_INTENSITY = _recipes(
    "window-05-hop-025", "frozen, mel, 0.5 s every 0.25 s, GRU", _SHORT, _HEAD
)  # fmt: skip
LONG_GRU, LONG_GRU_INTENSITY = _recipes("window-2-hop-1", "frozen, mel, 2 s every 1 s, GRU", _LONG, _HEAD)
LOG_MEL_GRU, LOG_MEL_GRU_INTENSITY = _recipes("log-mel-gru", "64 log-mel bands, no picture, GRU", _LOG_MEL, _HEAD)
SPECTROGRAM_CNN, SPECTROGRAM_CNN_INTENSITY = _recipes(
    "spectrogram-cnn", "64 log-mel bands, trained CNN", _LOG_MEL, _CNN, _CHOSEN
)
