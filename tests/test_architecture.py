"""The floors of the house, proved by reading the code: imports point downward, heavy engines load late."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from emopipe_cli.main import _COMMANDS

ROOT = Path(__file__).parents[1]
FLOOR_0 = {"errors", "typing", "registry", "files", "processes", "version"}
FLOOR_1 = {"records", "config", "timeline", "metrics", "class_metrics", "bootstrap", "provenance"}
FLOOR_OF_FOLDER = {
    "media": 2,
    "faces": 2,
    "store": 2,
    "datasets": 2,
    "plots": 2,
    "spectrograms": 2,
    "models": 3,
    "stages": 4,
    "recipes": 5,
}
MAX_LINES = 400
HEAVY = {"keras", "tensorflow", "tf2onnx", "torch", "jax"}
MODULES = sorted([*(ROOT / "emopipe").rglob("*.py"), *(ROOT / "cli").rglob("*.py")])
LIBRARY = [path for path in MODULES if "emopipe" in path.relative_to(ROOT).parts]


def floor_and_folder(parts: tuple[str, ...]) -> tuple[int, str]:
    """Floor and folder of a module given as the parts below the package: ("faces", "rows")."""
    if parts[0] in FLOOR_OF_FOLDER:
        return FLOOR_OF_FOLDER[parts[0]], parts[0]
    if parts[0] in FLOOR_0:
        return 0, ""
    if parts[0] in FLOOR_1:
        return 1, ""
    raise AssertionError(f"emopipe.{'.'.join(parts)} stands on no floor: add it to tests/test_architecture.py")


def imported_modules(path: Path, *, top_only: bool = False) -> list[str]:
    """Names of the modules that a file imports; at its top only, or anywhere."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_only else list(ast.walk(tree))
    names = []
    for node in nodes:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            folder = ROOT.joinpath(*node.module.split("."))
            modules = [alias.name for alias in node.names if (folder / f"{alias.name}.py").exists()]
            names += [f"{node.module}.{name}" for name in modules]
            if len(modules) < len(node.names):
                names.append(node.module)
    return names


def test_there_are_modules():
    assert len(LIBRARY) > 20


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downward(path):
    parts = path.relative_to(ROOT / "emopipe").with_suffix("").parts
    if parts == ("__init__",):
        return
    floor, folder = floor_and_folder(parts)
    for name in imported_modules(path):
        if name == "emopipe" or name.startswith("emopipe_cli"):
            raise AssertionError(f"{path.name} imports {name}, which stands above it")
        if not name.startswith("emopipe."):
            continue
        other_parts = tuple(name.split(".")[1:])
        other_floor, other_folder = floor_and_folder(other_parts)
        if folder and folder == other_folder:
            assert len(other_parts) > 1, f"{path.name} imports its own package's __init__"
        else:
            assert other_floor < floor or (floor == other_floor and not folder and not other_folder), (
                f"{path.relative_to(ROOT)} (floor {floor}) imports {name} (floor {other_floor})"
            )


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_heavy_engines_are_not_imported_at_the_top(path):
    assert not {name.split(".")[0] for name in imported_modules(path, top_only=True)} & HEAVY


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_are_small_and_clean(path):
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_LINES, "a crowded room: split it"
    tree = ast.parse(text)
    assert text == "" or ast.get_docstring(tree), "a module says what it is"
    below_cli = "emopipe" in path.relative_to(ROOT).parts
    for node in ast.walk(tree):
        assert not isinstance(node, ast.Assert), f"line {node.lineno}: assert on data vanishes under -O"
        assert not (isinstance(node, ast.ExceptHandler) and node.type is None), f"line {node.lineno}: bare except"
        if below_cli and isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("print", "sys.exit", "exit"), f"line {node.lineno}: {called}() below the command line"
        assert not (isinstance(node, ast.Attribute) and ast.unparse(node) in ("pickle.load", "pickle.loads"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_public_names_are_documented(path):
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{path.name}: {node.name} has no docstring"


def test_help_is_quick_and_loads_no_engine():
    code = (
        "import sys, emopipe_cli.main as m\n"
        "try: m.emopipe.main(['--help'], standalone_mode=False)\n"
        "except SystemExit: pass\n"
        "heavy = {'keras', 'tensorflow', 'cv2', 'dlib', 'av', 'h5py', 'onnxruntime', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "extract" in result.stdout


@pytest.mark.parametrize("command", [*_COMMANDS])
def test_help_of_every_command_loads_no_keras(command):
    code = (
        "import sys, emopipe_cli.main as m\n"
        f"m.emopipe.main([{command!r}, '--help'], standalone_mode=False)\n"
        "heavy = {'keras', 'tensorflow', 'dlib', 'onnxruntime'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "--help" in result.stdout


def test_no_path_of_a_machine_is_in_the_code():
    for path in [*MODULES, *(ROOT / "data_manifests").rglob("*.json"), *(ROOT / "tests").rglob("*.py")]:
        text = path.read_text()
        for place in ("/" + "home/", "/" + "work/", "/" + "Users/", "C:" + "\\"):
            assert place not in text, f"{path} names {place}"
