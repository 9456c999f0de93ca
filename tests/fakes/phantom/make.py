"""Write a small tree in the form of a phantom corpus in Aff-Wild2's layout; videos are placeholder bytes."""

import json
from dataclasses import asdict
from pathlib import Path

from emopipe.datasets.phantom_cast import performance_of
from emopipe.datasets.phantom_layouts import LAYOUTS, PhantomSettings

RANGES = {"va": (-1, 1), "expr": (0, 7), "au": (0, 1)}  # task -> range that its targets are in


def make(root: Path) -> Path:
    """The corpus below `root`, which is made; returns it."""
    settings = PhantomSettings("affwild2", num_subjects=5, seconds=20, seed=1, frame_rate=5)
    layout = LAYOUTS[settings.layout]
    videos = layout.plan(settings)
    clips = {}
    for video in videos:
        (root / video.path).parent.mkdir(parents=True, exist_ok=True)
        (root / video.path).write_bytes(b"video")
        for clip in video.clips:
            layout.write_annotations(root, clip, performance_of(settings, clip))
            clips[clip.name] = {"subject": f"subject{clip.subject:03d}", "split": clip.split, "video": video.path}
    layout.write_lists(root, settings, videos)
    (root / "phantom.json").write_text(json.dumps({"settings": asdict(settings), "clips": clips}))
    return root
