"""Write a small tree in the layout of CREMA-D; media are placeholder bytes or Git LFS pointers."""

from pathlib import Path

RANGES = {"expr": (0, 5), "votes": (0, 1)}  # task -> range that its targets are in
HAS_SPLITS = False
LABEL_CELL = 1  # place in a line of a cell that is a label, where it is not the last one
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 123456\n"
HEADER = '"","A","D","F","H","N","S","fileName","numResponses","agreement","emoVote","meanEmoResp","medianEmoRespNorm"'
# name -> votes A, D, F, H, N and S on the voice, on the face, and on both
VOTES = {
    "1001_IEO_HAP_LO": ((0, 0, 0, 3, 6, 0), (0, 0, 0, 8, 1, 1), (0, 0, 0, 9, 1, 0)),
    "1001_DFA_ANG_XX": ((6, 2, 0, 0, 1, 0), (5, 5, 0, 0, 0, 0), (7, 1, 0, 0, 0, 0)),
    "1002_IEO_DIS_HI": ((4, 4, 1, 0, 1, 0), (0, 9, 0, 0, 0, 1), (0, 10, 0, 0, 0, 0)),
    "1002_TSI_FEA_XX": ((0, 0, 5, 0, 0, 5), (0, 0, 9, 0, 0, 0), (0, 0, 8, 0, 2, 0)),
    "1003_WSI_NEU_XX": ((0, 0, 0, 0, 8, 0), (1, 0, 0, 0, 9, 0), (0, 0, 0, 0, 4, 0)),
    "1040_ITH_SAD_XX": ((0, 0, 0, 0, 5, 5), (0, 0, 1, 0, 2, 6), (0, 0, 0, 0, 1, 9)),
}
LETTERS = "ADFHNS"


def make(root: Path) -> Path:
    """Write the tree below `root` and return it: videos of the first two clips, wav and mp3 of all."""
    for folder in ("AudioWAV", "AudioMP3", "VideoFlash", "processedResults"):
        (root / folder).mkdir(parents=True)
    for number, name in enumerate(VOTES):
        wav = name.removesuffix("X") if name.startswith("1040") else name  # as the public repository has it
        (root / "AudioWAV" / f"{wav}.wav").write_bytes(b"sound " + name.encode())
        (root / "AudioMP3" / f"{name}.mp3").write_bytes(b"small sound " + name.encode())
        (root / "VideoFlash" / f"{name}.flv").write_bytes(b"video " + name.encode() if number < 2 else POINTER)
    lines = [HEADER]
    for kind in range(3):
        for number, (name, votes) in enumerate(VOTES.items()):
            row, most = votes[kind], max(votes[kind])
            said = ":".join(letter for letter, count in zip(LETTERS, row, strict=True) if count == most)
            cells = [f'"{100000 * (kind + 1) + number + 1}"', *map(str, row), f'"{name}"', str(sum(row))]
            lines.append(
                ",".join([*cells, f"{most / sum(row):.15g}", f'"{said}"', "61.5", "NA" if number else "58.25"])
            )
    (root / "processedResults" / "tabulatedVotes.csv").write_text("\n".join(lines) + "\n")
    (root / "VideoDemographics.csv").write_text("ActorID,Age,Sex,Race,Ethnicity\n1001,51,Male,Caucasian,Not Hispanic\n")
    return root
