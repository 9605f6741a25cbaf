"""The library as a whole: light to import, thin, and open about what it holds."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Collection, Iterator
from functools import cache
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


@cache
def parsed(path: Path) -> ast.Module:
    """A file is parsed once: a dozen rules look at hundreds of them."""
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module", autouse=True)
def _kept_no_longer_than_needed() -> Iterator[None]:
    yield
    parsed.cache_clear()


def from_root(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


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


def test_modules_explain_themselves() -> None:
    assert [from_root(path) for path in MODULES if not ast.get_docstring(parsed(path))] == []


def test_a_module_is_one_noun() -> None:
    """What the first line of a docstring joins by "and" is two modules."""
    heads = {path: (ast.get_docstring(parsed(path)) or "").partition("\n")[0] for path in MODULES}
    two = re.compile(r"\band\b", re.IGNORECASE)
    assert {from_root(path): head for path, head in heads.items() if two.search(head)} == {}


def unsafe(tree: ast.AST) -> set[str]:
    """What would run code that came with data: imports, calls and arguments."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None) or ""
            imported = {alias.name for alias in node.names} | {module}
            found |= imported & {"pickle", "cloudpickle", "dill", "joblib", "shelve"}
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            found |= {node.func.id} & {"eval", "exec"}
        if isinstance(node, ast.keyword):
            found |= {node.arg or ""} & {"trust_remote_code"}
    return found


def test_nothing_is_pickled_evaluated_or_run_from_the_hub() -> None:
    faults = {from_root(path): unsafe(parsed(path)) for path in MODULES}
    assert {name: found for name, found in faults.items() if found} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "x = eval(y)",
        "exec(y)",
        "f(trust_remote_code=1)",
    ],
)
def test_what_would_run_foreign_code_is_found(source: str) -> None:
    assert len(unsafe(ast.parse(source))) == 1


def third_party(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom) and not node.level:
            found.add(str(node.module).partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"rar_lib"}


def test_one_module_imports_unsloth_and_none_vllm() -> None:
    """Unsloth has parts under the AGPL; vLLM is a program that is started."""
    imports = {from_root(path): third_party(path) for path in MODULES}
    assert [name for name, found in imports.items() if "vllm" in found] == []
    unsloth = [name for name, found in imports.items() if "unsloth" in found]
    assert unsloth == ["rar_lib/training/policy.py"]


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


def letters(names: dict[str, int]) -> dict[str, int]:
    """Of the names those of one letter that are not of mathematics."""
    short = {name: line for name, line in names.items() if len(name) == 1}
    return {name: line for name, line in short.items() if name not in MATHEMATICS}


def test_one_letter_is_for_mathematics() -> None:
    faults = {from_root(path): letters(bound(parsed(path))) for path in HELD}
    assert {name: found for name, found in faults.items() if found} == {}


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


def test_one_letter_in_a_test_lives_for_a_line() -> None:
    trees = {from_root(path): parsed(path) for path in TESTS}
    faults = {name: letters(bound(tree, brief(tree))) for name, tree in trees.items()}
    assert {name: found for name, found in faults.items() if found} == {}


def pairs(tree: ast.AST) -> list[int]:
    """Lines that set several names at once and do not swap them."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple):
            values = {ast.unparse(value) for value in node.value.elts}
            for target in node.targets:
                names = target.elts if isinstance(target, ast.Tuple) else []
                if names and {ast.unparse(name) for name in names} != values:
                    found.append(node.lineno)
    return found


def test_a_line_sets_one_thing() -> None:
    """Names on both sides of one sign hide which is which; a swap has no other way."""
    faults = {from_root(path): pairs(parsed(path)) for path in [*HELD, *TESTS]}
    assert {name: found for name, found in faults.items() if found} == {}


COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def nested(tree: ast.AST) -> list[int]:
    """Lines of comprehensions that hold another one."""
    found = []
    for outer in ast.walk(tree):
        if isinstance(outer, COMPREHENSIONS):
            inside = [node for node in ast.walk(outer) if isinstance(node, COMPREHENSIONS)]
            found += [outer.lineno] * (len(inside) > 1)
    return found


def test_dense_is_not_short() -> None:
    """A comprehension holds no other one."""
    faults = {from_root(path): nested(parsed(path)) for path in [*HELD, *TESTS]}
    assert {name: found for name, found in faults.items() if found} == {}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("a, b = 1, 2", [True, False, False]),
        ("a, b = b, a", [False, False, False]),
        ("a = b = 1, 2", [False, False, False]),
        ("x = [y for y in [z for z in k]]", [False, True, False]),
        ("x = [y for y in k] + [z for z in k]", [False, False, False]),
        ("q = 1", [False, False, True]),
        ("def f(q): ...", [False, False, True]),
    ],
)
def test_what_is_dense_is_found(source: str, found: list[bool]) -> None:
    tree = ast.parse(source)
    named = {name: line for name, line in bound(tree).items() if name not in ("a", "b")}
    assert [bool(pairs(tree)), bool(nested(tree)), bool(letters(named))] == found


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


def test_the_formatter_is_never_switched_off() -> None:
    texts = {from_root(path): path.read_text(encoding="utf-8") for path in [*HELD, *TESTS]}
    off = re.compile(r"# fmt: ?(skip|off)")
    assert [name for name, text in texts.items() if off.search(text)] == []


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
    return len(parsed(path).body) > 1


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
    for node in ast.walk(parsed(path)):
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


def test_requests_that_fan_out_end_together() -> None:
    """``asyncio.gather`` leaves the others running when one raises; a group cancels them."""
    files = [*MODULES, *SCRIPTS, *CHAPTERS]
    texts = {from_root(path): path.read_text(encoding="utf-8") for path in files}
    apart = re.compile(r"asyncio\.(gather|wait)\(")
    assert [name for name, text in texts.items() if apart.search(text)] == []
