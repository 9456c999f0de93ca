"""Write a small tree in the layout of an Aff-Wild2 release; media are placeholder bytes unless others are given."""

from collections.abc import Callable
from pathlib import Path

RANGES = {"va": (-1, 1), "expr": (0, 7), "au": (0, 1)}  # task -> range that its targets are in
NUM_ROWS = 10
EIGHT_UNITS = "AU1,AU2,AU4,AU6,AU12,AU15,AU20,AU25"
TWELVE_UNITS = "AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26"
SEVEN_CLASSES = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise"

# release -> annotation root, task folders, split folders
RELEASES = {
    "2020": ("annotations", ("VA_Set", "EXPR_Set", "AU_Set"), ("Training_Set", "Validation_Set")),
    "2021": ("annotations", ("VA_Set", "EXPR_Set", "AU_Set"), ("Train_Set", "Validation_Set")),
    "2022": (
        "Third ABAW Annotations",
        ("VA_Estimation_Challenge", "EXPR_Classification_Challenge", "AU_Detection_Challenge"),
        ("Train_Set", "Validation_Set"),
    ),
    "2023": (
        "5th_ABAW_Annotations",
        ("VA_Estimation_Challenge", "EXPR_Classification_Challenge", "AU_Detection_Challenge"),
        ("Train_Set", "Validation_Set"),
    ),
    "2024": (
        "6th ABAW Annotations",
        ("VA_Estimation_Challenge", "EXPR_Recognition_Challenge", "AU_Detection_Challenge"),
        ("Train_Set", "Validation_Set"),
    ),
}
TRAIN = {
    "va": ("10-60-1280x720", "10-60-1280x720_right", "video45_2"),
    "expr": ("122-60-1920x1080-4", "video45_2"),
    "au": ("video10_1_left",),
}
DEV = {
    "va": ("video10_1_left", "video10_1_right"),
    "expr": ("10-60-1280x720",),  # VA has it in train
    "au": ("122-60-1920x1080-4",),
}
TEST = {"va": ("103",), "expr": (), "au": ()}
VIDEOS = (
    "batch1/10-60-1280x720.mp4",
    "batch1/122-60-1920x1080-4.mp4",
    "batch1/video45_2.avi",
    "batch2/103.avi",
    "batch2/7-60-1920x1080.mp4",  # neither annotated nor listed
    "new_vids/video10_1.mp4",
)
LISTS = {
    "va": "Valence_Arousal_Estimation_Challenge_test_set_release.txt",
    "expr": "Expression_Recognition_Challenge_test_set_release.txt",
    "au": "Action_Unit_Detection_Challenge_test_set_release.txt",
}


def body(task: str, release: str) -> str:
    """An annotation of ten rows; row 3 has no label."""
    is_2020 = release == "2020"
    units = EIGHT_UNITS if is_2020 else TWELVE_UNITS
    classes = SEVEN_CLASSES if release in ("2020", "2021") else SEVEN_CLASSES + ",Other"
    header = {"va": "valence,arousal", "expr": classes, "au": units}[task]
    rows = []
    for index in range(NUM_ROWS):
        num_units = units.count(",") + 1
        label = {"va": f"{index / 10 - 0.5:.3f},{index / 20:.3f}", "expr": f"{index % 7}", "au": ""}[task]
        if task == "au":
            label = ",".join(str((index + unit) % 2) for unit in range(num_units))
        if index == 3:
            label = {"va": "-5,-5", "expr": "-1", "au": ",".join(["-1"] * num_units)}[task]
        rows.append(label)
    return "\n".join([header, *rows]) + "\n"


def make(
    root: Path, release: str = "2022", source: str = "videos", write: Callable[[Path], None] | None = None
) -> Path:
    """Write the tree below `root` and return it.

    Args:
        source: "videos", "images" (official crops only) or "both".
        write: how a video is written; None for placeholder bytes.
    """
    top, tasks, splits = RELEASES[release]
    for task, task_folder in zip(("va", "expr", "au"), tasks, strict=True):
        for split_folder, names in zip(splits, (TRAIN[task], DEV[task]), strict=True):
            folder = root / top / task_folder / split_folder
            folder.mkdir(parents=True)
            for name in names:
                (folder / f"{name}.txt").write_text(body(task, release))
        (root / LISTS[task]).write_text("".join(f"{name}\n" for name in TEST[task]))
    if source in ("videos", "both"):
        for video in VIDEOS:
            (root / video).parent.mkdir(exist_ok=True)
            (write or _placeholder)(root / video)
    if source in ("images", "both"):
        names = sorted({name for part in (TRAIN, DEV, TEST) for task in part.values() for name in task})
        for number, name in enumerate(names):
            crops = "cropped_aligned" if number else "cropped_aligned_new_50_vids"
            folder = root / crops / name
            folder.mkdir(parents=True)
            for frame in (1, 2, 5, NUM_ROWS):  # gaps: no face was found
                (folder / f"{frame:05d}.jpg").write_bytes(b"jpg")
    return root


def _placeholder(path: Path) -> None:
    path.write_bytes(b"video " + path.name.encode())
