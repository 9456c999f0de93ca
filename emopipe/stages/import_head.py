"""`emopipe import-head`: a published Keras 2 checkpoint as a run, for `evaluate` and `predict`."""

from pathlib import Path

from emopipe.config import to_dict
from emopipe.errors import ConfigError, WeightsError
from emopipe.files import sha256_of_file
from emopipe.models.bundle import Run, begin_run
from emopipe.models.engines import load_keras
from emopipe.models.heads import save_head
from emopipe.models.keras2 import load_keras2_head, read_keras2_head
from emopipe.models.windows import WindowConfig
from emopipe.provenance import utc_now
from emopipe.stages.cached_plan import cached_plan
from emopipe.stages.feature_rows import num_features
from emopipe.stages.trained import carry
from emopipe.store.cache import Cache

PUBLISHED_WINDOW = WindowConfig(length=100, target="next")  # code published with arXiv:2006.11168


def import_head(
    checkpoint: Path,
    run: Path,
    *,
    cache: Path,
    dataset: str | None = None,
    root: Path | None = None,
    features: str = "",
    taps: tuple[str, ...] = (),
    targets: tuple[str, ...] = ("valence", "arousal"),
    window: WindowConfig = PUBLISHED_WINDOW,
) -> Run:
    """Make a run of a Keras 2 checkpoint and the features in a cache that it is to work on.

    Args:
        checkpoint: see `read_keras2_head`.
        run: the run folder; new.
        cache: holds the features; the network that made them goes into the run.
        dataset, root, features: which of them; see `cached_plan`.
        taps: which taps, side by side; empty for all.
        targets: names of the head's outputs.
        window: which windows the head was trained on.

    Raises:
        WeightsError: the checkpoint is damaged, or takes another number of features than the cache holds.
        ConfigError: the cache has no such features, or there are other than one target per output.
    """
    file = read_keras2_head(checkpoint)
    if file.config.num_outputs != len(targets):
        raise ConfigError(
            f"{checkpoint}: has {file.config.num_outputs} outputs. Received targets: {', '.join(targets)}."
        )
    store = Cache(cache)
    plan = cached_plan(store, "features", dataset, root, features)
    if plan.features is None:
        raise ConfigError(f"{cache}: holds no features.")
    found = num_features(store, plan.features.fingerprint, taps)
    if found != file.num_features:
        raise WeightsError(
            f"{checkpoint}: takes {file.num_features} features per frame. Received: {found} in {cache}.\n"
            "Extract with the network that it was trained on, or name one tap with --tap."
        )
    settings = {
        "checkpoint": sha256_of_file(checkpoint),
        "head": "rnn",
        **to_dict(file.config),
        "window": to_dict(window),
        "taps": taps,
        "targets": targets,
        "task": plan.adapter.tasks[0],
        "dataset": plan.manifest.dataset,
        "train_split": "train",
        "dev_split": "dev",
        "features": plan.features.config,
        "features_fingerprint": plan.features.fingerprint,
    }
    opened = begin_run(run, "rnn", settings)
    load_keras()
    head = load_keras2_head(checkpoint)
    save_head(head, opened.network)
    carry(opened, plan, store)
    return opened.update(finished=utc_now(), num_parameters=head.count_params())
