"""What a report says of a run itself: what it is, how it was made, from what, and how training went."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PillowImage

from emopipe.errors import RunError
from emopipe.files import sha256_of_file
from emopipe.models.bundle import Run
from emopipe.models.heads import units_of_layers
from emopipe.plots.page import Html, as_html, embedded_picture, folded, table
from emopipe.plots.scores import curves_figure, figure_image
from emopipe.stages.fusion import Fusion
from emopipe.stages.trained import Trained

NAMES_OF_SCORES = {
    "ccc": "CCC",
    "pearson": "Pearson's r",
    "macro_f1": "macro F1",
    "uar": "unweighted average recall",
}
# Settings that matter first, in this order; those of a run that has none of a name are left out.
_FIRST = (
    "dataset", "task", "targets", "train_split", "dev_split", "folds", "backbone", "width", "weights", "head", "cells",
    "layers", "units", "bidirectional", "dropout", "taps", "landmarks", "window", "loss", "select", "balance",
    "augment", "optimiser", "learning_rate", "schedule", "momentum", "decay", "batch_size", "steps_per_epoch", "epochs",
    "patience", "precision", "init", "end_to_end", "fusion", "num_members", "seed",
)  # fmt: skip
_NESTED_HEADS = ("tap_head", "multimodal", "spectrogram_head")
_OF_PLAIN_HEADS = ("head", "cells", "layers", "units", "bidirectional", "dropout")
_LONG = 8  # entries of a list that are shown
_RNNS = {"none": "without an RNN", "one": "one RNN for all of them", "each": "an RNN for each"}
_CELLS = {"gru": "GRU", "lstm": "LSTM", "simple": "SimpleRNN"}
_DRAWN = ("dev_ccc", "dev_pearson", "dev_macro_f1", "dev_uar", "dev_accuracy")  # beginnings; errors are another scale


def sentence(trained: Trained, fusion: Fusion | None) -> str:
    """What the run is, in a sentence or two."""
    run, settings = trained.run, trained.run.content["settings"]
    task = f"the task {trained.task} of {trained.dataset}" if trained.task else trained.dataset
    if trained.classes:
        predicts = f"one of {len(trained.classes)} classes ({', '.join(trained.classes)})"
    else:
        predicts = _listed(trained.targets)
    of = " of a clip as a whole" if trained.of_clips else ""
    if fusion is not None:
        metric = NAMES_OF_SCORES[run.content["metric"]]
        return (
            f"The average of {len(fusion.members)} heads for {task}, which predicts {predicts}{of}; each is weighed in "
            f"every target by its {metric} on the split {settings['dev_split']}."
        )
    size = f" It has {run.content['num_parameters']:,} parameters." if "num_parameters" in run.content else ""
    if "checkpoint" in settings:
        return f"{_what(trained)}, imported from a Keras 2 checkpoint, which predicts {predicts} for {task}.{size}"
    return f"{_what(trained)}, trained on {task} to predict {predicts}{of}.{size} {_kept(trained)}"


def score_of_epochs(trained: Trained) -> str:
    """The score that picked the best epoch, or that would suit the run where nothing was picked."""
    content, suited = trained.run.content, "macro_f1" if trained.classes else "ccc"
    return str(content.get("select") or content["settings"].get("select") or suited)


def settings_parts(run: Run) -> list[str]:
    """The settings that matter first, then all of them folded."""
    settings = dict(run.content["settings"])
    nested = [name for name in _NESTED_HEADS if settings.get(name)]
    first: dict[str, Any] = {}
    for name in _FIRST:
        if name == "head" and nested:
            first |= {"head": nested[0].replace("_", " "), **settings[nested[0]]}
        elif name not in (_OF_PLAIN_HEADS if nested else ()) and settings.get(name, run.content.get(name)) is not None:
            first[name] = settings.get(name, run.content.get(name))
    first.pop("columns", None)
    first = {name: value for name, value in first.items() if value not in ("", [], {}, None)}
    shown = [(name.replace("_", " "), _plain(value)) for name, value in first.items()]
    everything = [(as_html(name), Html(f"<code>{as_html(text)}</code>")) for name, text in _flat(settings)]
    return [
        table((), shown, num_left=2, kind="facts"),
        folded(f"All settings ({len(everything)})", table((), everything, num_left=2, kind="facts")),
    ]


def provenance_parts(trained: Trained, fusion: Fusion | None) -> list[str]:
    """Times, machine, versions, and the digests that tell what the run was made of."""
    run, settings = trained.run, trained.run.content["settings"]
    content = run.content
    machine = content["machine"]
    rows: list[tuple[str, str]] = [
        ("begun", _time(content["created"])),
        ("finished", _time(content["finished"])),
        ("machine", f"{machine['system']}, {machine['processor']}, {machine['cores']} cores"),
        ("Keras backend", content.get("keras_backend", "")),
        ("seed", str(settings.get("seed", ""))),
        ("versions", ", ".join(f"{name} {version}" for name, version in content["libraries"].items())),
    ]
    if fusion is None:
        rows.append(("network.keras, SHA-256", _code(sha256_of_file(run.network))))
        rows += _sources(trained)
    rows += [(f"member {number}, SHA-256", _code(digest)) for number, digest in enumerate(settings.get("members", ()))]
    return [table((), [row for row in rows if row[1]], num_left=2, kind="facts")]


def members_table(fusion: Fusion) -> Html:
    """What was averaged, and the share of each in every target."""
    run, targets = fusion.run, fusion.members[0].targets
    metric = NAMES_OF_SCORES[run.content["metric"]]
    heads = [
        "member",
        "what it is",
        *(f"{metric} of {name}, dev" for name in targets),
        *(f"share in {name}" for name in targets),
    ]
    rows = [
        [f"members/{number}", _what(member), *(f"{value:.3f}" for value in (*scores, *shares))]
        for number, (member, scores, shares) in enumerate(
            zip(fusion.members, run.content["dev_scores"], run.content["weights"], strict=True)
        )
    ]  # fmt: skip
    return table(heads, rows, num_left=2, kind="members")


def training_parts(trained: Trained) -> list[str]:
    """The curves of training; a sentence where nothing was trained."""
    run, window = trained.run, trained.window
    path = run.folder / "history.csv"
    if not path.exists():
        return ["<p>Nothing was trained in this folder: there are no epochs.</p>"]
    history = _history(path)
    shown = {name: values for name, values in history.items() if name == "loss" or name.startswith(_DRAWN)}
    best = int(run.content["best"]["epoch"])
    num_epochs, seconds = len(history["epoch"]), sum(history["train_s"])
    picture = figure_image(curves_figure(shown, best_epoch=best, title=""))
    caption = (
        f"{num_epochs} epochs, {seconds:,.0f} s of training in all. Dashed: training; solid: the split that selects. "
        f"The dotted line marks epoch {best}, which is kept."
    )
    if window is not None and window.target in ("last", "next"):
        caption += " Scores here are over full windows; evaluate also predicts the first frames of a clip."
    rows = [
        [f"{int(epoch[0])}", *(f"{value:.4g}" for value in epoch[1:])]
        for epoch in zip(*history.values(), strict=True)
    ]  # fmt: skip
    return [
        f"<p>{as_html(_amounts(run))}</p>" if _amounts(run) else "",
        embedded_picture(picture, f"Loss and scores of {num_epochs} epochs", caption),
        folded("Every epoch", table([name.replace("_", " ") for name in history], rows)),
    ]


def balance_parts(run: Run) -> list[str]:
    """Where the labels lay before and after balancing; nothing for a run without."""
    path = run.folder / "histogram.png"
    if not path.exists():
        return []
    try:
        with PillowImage.open(path) as picture:
            image = np.asarray(picture.convert("RGB"))
    except OSError as error:
        raise RunError(f"{path}: cannot be read as a picture ({error}).\nCopy the run again, or delete it.") from error
    counts = run.content.get("frames", {})
    words = f"from {counts['train_before_balancing']:,} to {counts['train']:,} frames" if counts else ""
    caption = f"Labels of the training frames before and after crowded cells were thinned out {words}".strip() + "."
    return ["<h2>Balance</h2>", embedded_picture(image, "Valence and arousal of the training frames", caption)]


def _what(trained: Trained) -> str:
    """The kind of network, without its size."""
    settings = trained.run.content["settings"]
    if trained.window is None:
        return f"A CNN ({settings['backbone']}) that looks at one face at a time"
    source = _source(trained)
    if head := settings.get("tap_head"):
        if settings.get("fusion"):
            return f"A head over the joined RNNs of {settings['num_members']} runs, on {source}"
        return f"A head over {_listed(head['streams'])} of {source}, {_RNNS[head['rnns']]}"
    if head := settings.get("multimodal"):
        return f"A head for picture and sound with {_CELLS[head['cells']]} layers, on {source}"
    if settings.get("spectrogram_head"):
        return f"A CNN over stretches of {source}"
    if settings["head"] == "mean":
        return f"A dense layer on the mean of {trained.window.length} steps of {source}"
    units = settings["units"] or units_of_layers(settings["layers"])
    article = "An" if settings["cells"] == "lstm" else "A"
    both = "bidirectional " if settings.get("bidirectional") else ""
    layers = f"{len(units)} {both}layer{'s' if len(units) > 1 else ''} ({_listed([str(size) for size in units])} units)"
    return f"{article} {_CELLS[settings['cells']]} of {layers} on {source}"


def _source(trained: Trained) -> str:
    """What a head reads."""
    parts, settings = [], trained.run.content["settings"]
    if features := settings.get("features", {}).get("features"):
        name = "a CNN's" if features["backbone"] == "file" else features["backbone"]
        parts.append(f"{name} features")
    elif settings.get("features_fingerprint"):
        parts.append(f"ready-made features ({trained.ready_made})" if trained.ready_made else "features")
    if sound := settings.get("audio_settings", {}).get("audio"):
        parts.append("log-mel sound" if sound["backbone"] == "log-mel" else f"{sound['backbone']} features of sound")
    elif settings.get("audio"):
        parts.append("sound")
    return " and ".join(parts) or "features"


def _kept(trained: Trained) -> str:
    best, select = trained.run.content["best"], score_of_epochs(trained)
    name = NAMES_OF_SCORES[select]
    mean = "mean " if not trained.classes and len(trained.targets) > 1 else ""
    split = trained.run.content["settings"]["dev_split"]
    return (
        f"Epoch {best['epoch']} of {trained.run.content['num_epochs']} is kept, the best by {mean}{name} on the split "
        f"{split} ({best[f'dev_{select}']:.3f})."
    )


def _sources(trained: Trained) -> list[tuple[str, str]]:
    """What the input was made with."""
    settings = trained.run.content["settings"]
    rows = []
    if trained.faces is not None:
        faces = trained.faces["faces"]
        rows.append(("faces", f"detector {faces['detector']}, alignment {faces['alignment']}"))
        rows += [
            (name, _code(str(trained.faces[name]))) for name in ("detector", "landmarker") if name in trained.faces
        ]
    for name, key in (("faces", "faces"), ("features", "features_fingerprint"), ("sound", "audio")):
        if isinstance(mark := settings.get(key), str) and mark:
            rows.append((f"{name}, fingerprint", _code(mark)))
    if isinstance(features := settings.get("features"), Mapping) and features.get("weights"):
        rows.append(("network of the features, SHA-256", _code(features["weights"])))
    if settings.get("checkpoint"):
        rows.append(("checkpoint, SHA-256", _code(settings["checkpoint"])))
    for split in ("train", "dev"):
        if mark := settings.get(f"{split}_frames"):
            rows.append((f"{split} frames and labels, SHA-256", _code(mark)))
    return rows


def _amounts(run: Run) -> str:
    """How much was learned from."""
    for name in ("frames", "windows"):
        if counts := run.content.get(name):
            before = counts.get("train_before_balancing", counts["train"])
            thinned = f" of {before:,}" if before > counts["train"] else ""
            return f"Trained on {counts['train']:,}{thinned} {name}, judged on {counts['dev']:,}."
    return ""


def _history(path: Path) -> dict[str, list[float]]:
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        history = {name: [float(row[name]) for row in rows] for name in rows[0]}
        if not {"epoch", "train_s", "loss"} <= set(history):
            raise ValueError(f"no column {', '.join({'epoch', 'train_s', 'loss'} - set(history))}")
    except (ValueError, TypeError, IndexError, csv.Error) as error:
        raise RunError(
            f"{path}: is not as training writes it ({error}).\n"
            "Expected numbers, a row for every epoch. Copy the run again."
        ) from error
    return history


def _flat(settings: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Dotted name and JSON of every setting; long lists are cut short."""
    found = []
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            found += _flat(value, f"{before}{name}.")
        elif isinstance(value, list) and len(value) > _LONG:
            found.append((before + name, f"{json.dumps(value[:_LONG])[:-1]}, … {len(value):,} entries"))
        else:
            found.append((before + name, json.dumps(value)))
    return found


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{name.replace('_', ' ')} {_plain(each)}" for name, each in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def _listed(names: Sequence[str]) -> str:
    """Names as in a sentence: "a, b and c"."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _time(stamp: str) -> str:
    return f"{stamp[:10]} {stamp[11:19]} UTC"


def _code(text: str) -> Html:
    return Html(f"<code>{as_html(text)}</code>")
