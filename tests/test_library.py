"""The library as a whole: light to import, thin, and open about what it holds."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Collection
from pathlib import Path

import pytest

import rar_lib

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(ROOT.glob("rar_lib/**/*.py"))
#: Never imported by the library, only run.
PROGRAMS = ("rar_lib.models.supervisor",)
#: They compute, and are loaded by the functions that need them.
ALLOWED = (
    "rar_lib.models.convert",
    "rar_lib.training.decode",
    "rar_lib.training.logprobs",
    "rar_lib.training.trainer",
)
HEAVY = (
    "torch",
    "transformers",
    "peft",
    "unsloth",
    "vllm",
    "openai",
    "trl",
    "datasets",
    "matplotlib",
)
ROOMS = ("core", "data", "judging", "rubrics", "models", "evaluation", "training", "book", "cli")


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.strip()


def test_no_module_loads_anything_heavy_when_imported() -> None:
    dotted = [".".join(p.relative_to(ROOT).with_suffix("").parts) for p in MODULES]
    light = [name.removesuffix(".__init__") for name in dotted if name not in (*PROGRAMS, *ALLOWED)]
    scanned = {name.split(".")[1] for name in light if name.count(".") > 1}
    assert scanned == set(ROOMS)
    code = (
        "import sys, importlib\n"
        f"for name in {light!r}: importlib.import_module(name)\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    assert run(code) == "[]"


def test_importing_the_package_is_quick() -> None:
    code = "import time; t = time.perf_counter(); import rar_lib; print(time.perf_counter() - t)"
    assert min(float(run(code)) for _ in range(3)) < 0.3


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.stem)
def test_modules_explain_themselves(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.stem)
def test_a_module_is_one_noun(path: Path) -> None:
    """What the first line of a docstring joins by "and" is two modules."""
    said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    assert not re.search(r"\band\b", said.partition("\n")[0], re.IGNORECASE)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.stem)
def test_nothing_is_pickled_evaluated_or_run_from_the_hub(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None) or ""
            imported = {alias.name for alias in node.names} | {module}
            assert not imported & {"pickle", "cloudpickle", "dill", "joblib", "shelve"}
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"eval", "exec"}
        if isinstance(node, ast.keyword):
            assert node.arg != "trust_remote_code"


def third_party(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom) and not node.level:
            found.add(str(node.module).partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"rar_lib"}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.stem)
def test_one_module_imports_unsloth_and_none_vllm(path: Path) -> None:
    """Unsloth has parts under the AGPL; vLLM is a program that is started."""
    imported = third_party(path)
    assert "vllm" not in imported
    only = path == ROOT / "rar_lib" / "training" / "policy.py"
    assert ("unsloth" in imported) == only


def test_what_grades_needs_no_extra() -> None:
    """Tables of Parquet and published sets ask for an extra by name; nothing else here does."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    core = {re.split(r"[^\w-]", line)[0] for line in project["dependencies"]}
    by_name = {"scikit-learn": "sklearn"}
    installed = {by_name.get(name, name) for name in core} | {"datasets", "pyarrow"}
    for room in ("data", "judging", "rubrics", "evaluation"):
        for path in (ROOT / "rar_lib" / room).glob("*.py"):
            assert third_party(path) <= installed, path.name


#: What measures, and what makes the environment: held to the same rules of density.
SCRIPTS = sorted([*ROOT.glob("results/**/*.py"), *ROOT.glob("env/**/*.py")])
HELD = [*MODULES, *SCRIPTS]
TESTS = sorted(ROOT.glob("tests/**/*.py"))
#: Counts, probabilities, indices and numbers; and a variable of types.
MATHEMATICS = set("npkijxyzT_")


def bound(tree: ast.AST, besides: Collection[ast.AST] = ()) -> dict[str, int]:
    """Every name that a module gives, some nodes left out, with a line of it."""
    found: dict[str, int] = {}
    for node in (node for node in ast.walk(tree) if node not in besides):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found[node.id] = node.lineno
        if isinstance(node, ast.arg):
            found[node.arg] = node.lineno
        if isinstance(node, ast.ExceptHandler | ast.MatchAs) and node.name:
            found[node.name] = node.lineno
    return found


def from_root(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", HELD, ids=from_root)
def test_one_letter_is_for_mathematics(path: Path) -> None:
    names = bound(ast.parse(path.read_text(encoding="utf-8")))
    letters = {name: line for name, line in names.items() if len(name) == 1}
    assert {name: line for name, line in letters.items() if name not in MATHEMATICS} == {}


def brief(tree: ast.AST) -> set[ast.AST]:
    """What a comprehension, a lambda or a loop of one line names."""
    found: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.comprehension):
            found |= set(ast.walk(node.target))
        if isinstance(node, ast.Lambda):
            found |= set(ast.walk(node.args))
        if isinstance(node, ast.For | ast.AsyncFor) and node.body[0].lineno == node.end_lineno:
            found |= set(ast.walk(node.target))
    return found


@pytest.mark.parametrize("path", TESTS, ids=from_root)
def test_one_letter_in_a_test_lives_for_a_line(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = bound(tree, brief(tree))
    letters = {name: line for name, line in names.items() if len(name) == 1}
    assert {name: line for name, line in letters.items() if name not in MATHEMATICS} == {}


@pytest.mark.parametrize("path", [*HELD, *TESTS], ids=from_root)
def test_a_line_sets_one_thing(path: Path) -> None:
    """Names on both sides of one sign hide which is which; a swap has no other way."""
    faults = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple):
            values = {ast.unparse(value) for value in node.value.elts}
            for target in node.targets:
                names = target.elts if isinstance(target, ast.Tuple) else []
                if names and {ast.unparse(name) for name in names} != values:
                    faults.append(node.lineno)
    assert faults == []


COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@pytest.mark.parametrize("path", [*HELD, *TESTS], ids=from_root)
def test_dense_is_not_short(path: Path) -> None:
    """A comprehension holds no other one."""
    for outer in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(outer, COMPREHENSIONS):
            inside = [n.lineno for n in ast.walk(outer) if isinstance(n, COMPREHENSIONS)]
            assert len(inside) == 1, f"{path.name}, line {outer.lineno}"


def test_what_lies_beside_the_modules_is_in_the_package() -> None:
    """The files that the repository holds are those that the patterns of the package take."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = settings["tool"]["setuptools"]["package-data"]["rar_lib"]
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "rar_lib"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    if listed.returncode:
        pytest.skip("not a checkout: what is part of the repository can't be asked")
    names = [name.removeprefix("rar_lib/") for name in listed.stdout.split("\0") if name]
    data = {name for name in names if not name.endswith(".py")}
    taken = {
        path.relative_to(ROOT / "rar_lib").as_posix()
        for pattern in patterns
        for path in (ROOT / "rar_lib").glob(pattern)
    }
    assert "models/step_times.jsonl" in data
    assert data - taken == set(), "add a pattern to [tool.setuptools.package-data]"
    assert taken - data == set(), "in the wheel, and not in the repository"


def test_the_rooms_are_the_whole_house() -> None:
    found = {p.parent.name for p in ROOT.glob("rar_lib/*/__init__.py")}
    assert found == set(ROOMS)
    assert [p.name for p in ROOT.glob("rar_lib/*.py")] == ["__init__.py"]
    for room in ROOMS:
        inside = (ROOT / "rar_lib" / room).iterdir()
        modules = [
            path.name
            for path in inside
            if (path.suffix == ".py" and path.name != "__init__.py")
            or (path / "__init__.py").exists()
        ]
        assert len(modules) <= 12, room


@pytest.mark.parametrize("room", ROOMS)
def test_the_front_door_of_a_room_is_a_paragraph(room: str) -> None:
    tree = ast.parse((ROOT / "rar_lib" / room / "__init__.py").read_text(encoding="utf-8"))
    assert len(tree.body) == 1
    assert ast.get_docstring(tree)


@pytest.mark.parametrize("path", [*HELD, *TESTS], ids=from_root)
def test_the_formatter_is_never_switched_off(path: Path) -> None:
    assert not re.search(r"# fmt: ?(skip|off)", path.read_text(encoding="utf-8"))


# --- tests mirror the rooms

#: Tests in the folder of a room that are not of one module, and of what they are.
OF_THEIR_OWN = {
    "data/test_mini.py": "the data in rar_lib/data/mini",
    "training/test_accelerate.py": "two processes: launcher, trainer, rewards and server at once",
}
#: Folders of tests that are of a room as a whole.
OF_THE_WHOLE = {"book/built": "the book that readers get, whichever module made it"}
#: A module that is tested through another one -> that one.
THROUGH = {
    "rar_lib.data.jsonl": "rar_lib.data.tasks",  # by whose readers people's files are read
}


def has_code(path: Path) -> bool:
    """Whether a module is more than a docstring, as the front door of a room is not."""
    return len(ast.parse(path.read_text(encoding="utf-8")).body) > 1


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def mirror(path: Path) -> Path:
    """Where the tests of a module are; a package that holds code itself counts as one."""
    named = path.parent if path.name == "__init__.py" else path
    folder = named.parent.relative_to(ROOT / "rar_lib")
    return ROOT / "tests" / folder / f"test_{named.stem}.py"


MIRRORED = {
    mirror(path): path for path in MODULES if path.parent.name != "rar_lib" and has_code(path)
}


def taken_from(path: Path) -> set[str]:
    """The modules of the library from which a file takes names, those of its face at home."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [alias.name for alias in node.names]
            found |= {node.module, *(f"{node.module}.{name}" for name in names)}
            if node.module == "rar_lib":
                homes = [rar_lib._HOME[name] for name in names if name in rar_lib._HOME]
                found |= {f"rar_lib.{home}" for home in homes}
    return found


@pytest.mark.parametrize("test", MIRRORED, ids=from_root)
def test_every_module_has_tests_that_are_about_it(test: Path) -> None:
    """A command is tested as it is typed, through the app."""
    module = dotted(MIRRORED[test])
    assert test.is_file(), f"nothing tests {module}: write {from_root(test)}"
    typed = "rar_lib.cli.app" if module.startswith("rar_lib.cli.") else module
    used = taken_from(test)
    assert used & {module, typed, THROUGH.get(module)}, f"{from_root(test)} does not use {module}"
    assert not (module in THROUGH and module in used), f"{module} is tested by itself now"
    assert "\ndef test_" in test.read_text(encoding="utf-8")


def test_every_test_in_the_folder_of_a_room_is_of_a_module() -> None:
    folders = [ROOT / "tests" / room for room in ROOMS]
    found = {path for folder in folders for path in folder.rglob("test_*.py")}
    strangers = {path.relative_to(ROOT / "tests").as_posix() for path in found - set(MIRRORED)}
    inside = {name for name in strangers if str(Path(name).parent) in OF_THE_WHOLE}
    assert strangers - inside == set(OF_THEIR_OWN)
    assert {str(Path(name).parent) for name in inside} == set(OF_THE_WHOLE)


CHAPTERS = sorted(ROOT.glob("notebooks/*.ipynb"))


@pytest.mark.parametrize("path", [*MODULES, *SCRIPTS, *CHAPTERS], ids=from_root)
def test_requests_that_fan_out_end_together(path: Path) -> None:
    """``asyncio.gather`` leaves the others running when one raises; a group cancels them."""
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"asyncio\.(gather|wait)\(", text)
