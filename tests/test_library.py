"""The library as a whole: light to import, thin, and open about what it holds."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rar_lib.book.profiles import FILE, load
from rar_lib.book.study import Study
from rar_lib.book.tables import cell, published, show, table
from rar_lib.cli.app import app
from rar_lib.core.stats import Interval

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(ROOT.glob("rar_lib/**/*.py"))
#: Never imported by the library, only run.
PROGRAMS = ("rar_lib.models.supervisor",)
#: They compute, and are loaded by the functions that need them.
ALLOWED = (
    "rar_lib.models.convert",
    "rar_lib.training.decode",
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
#: Counts, probabilities, indices and numbers; and a variable of types.
MATHEMATICS = set("npkijxyzT_")


def bound(tree: ast.AST) -> dict[str, int]:
    """Every name that a module gives, with a line of it."""
    found: dict[str, int] = {}
    for node in ast.walk(tree):
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


@pytest.mark.parametrize("path", HELD, ids=from_root)
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


@pytest.mark.parametrize("path", HELD, ids=from_root)
def test_dense_is_not_short(path: Path) -> None:
    """A comprehension holds no other one, and the formatter lays out every line."""
    text = path.read_text(encoding="utf-8")
    assert "fmt: skip" not in text
    for outer in ast.walk(ast.parse(text)):
        if isinstance(outer, COMPREHENSIONS):
            inside = [n.lineno for n in ast.walk(outer) if isinstance(n, COMPREHENSIONS)]
            assert len(inside) == 1, f"{path.name}, line {outer.lineno}"


@pytest.mark.parametrize("name", tomllib.loads(FILE.read_text(encoding="utf-8")))
def test_every_profile_builds_its_trainer_configuration(name: str, tmp_path: Path) -> None:
    settings = load(name).training
    # bf16 on a device that is not there is refused by transformers; the values are what counts.
    settings = settings.model_copy(update={"device": "cpu"})
    from rar_lib.training.trainer import grpo_config

    config = grpo_config(settings, tmp_path, seed=3)
    assert config.num_generations == settings.rollouts
    assert config.generation_batch_size == settings.rollouts * settings.prompts_per_step
    assert config.per_device_train_batch_size == settings.rollouts
    assert config.gradient_accumulation_steps == settings.prompts_per_step
    assert config.max_completion_length == settings.max_completion
    assert config.learning_rate == settings.learning_rate
    assert config.max_steps == settings.steps
    assert config.warmup_steps == settings.steps // 10
    assert config.beta == 0.0
    assert config.seed == 3


def test_the_gpu_profile_samples_as_the_paper_does() -> None:
    gpu = load("gpu").training
    assert (gpu.rollouts, gpu.steps, gpu.context) == (16, 300, 3584)
    assert gpu.temperature == 1.0
    assert gpu.rollouts * gpu.prompts_per_step == 96


def test_tables_say_what_is_missing_and_keep_text_harmless() -> None:
    assert cell(None) == "–"
    assert cell(0.126) == "0.13"
    assert cell(True) == "yes"
    assert cell(Interval(0.5, 0.25, 0.75, 9)) == "0.50 [0.25, 0.75]"
    html = table([{"response": "<script>alert(1)</script>\x1b[31m", "n": 0.5}])._repr_html_()
    assert "<script" not in html
    assert "\x1b" not in html
    assert "<td>0.50</td>" in html


def test_model_text_is_shown_as_wrapped_plain_text(capsys: pytest.CaptureFixture[str]) -> None:
    show("word " * 60 + "\x1b[31m\u202e<b>")
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 74
    assert "\x1b" not in out
    assert "\u202e" not in out


@pytest.mark.parametrize(
    "name",
    ["training", "main_results", "rubric_source", "rubric_elements", "judge_size", "data_audit"],
)
def test_quoted_tables_name_their_source(name: str) -> None:
    frame = published(name)
    assert len(frame) > 1
    assert frame.attrs["source"]


def test_a_study_has_both_domains_and_keeps_to_its_profile(tmp_path: Path) -> None:
    study = Study.open("smoke", tmp_path)
    assert sorted(t.domain for t in study.train_tasks) == ["medicine", "science"]
    assert len(study.test_tasks) == study.profile.test_tasks
    assert not {t.id for t in study.train_tasks} & {t.id for t in study.test_tasks}
    study.save("x", {"a": 1})
    assert study.load("x") == {"a": 1}


def test_a_missing_earlier_chapter_says_what_to_run(tmp_path: Path) -> None:
    from rar_lib.core.errors import DataError

    with pytest.raises(DataError, match="make reproduce PROFILE=smoke"):
        Study.open("smoke", tmp_path).load("grpo")


def test_the_command_line_explains_itself_and_its_errors() -> None:
    runner = CliRunner()
    shown = runner.invoke(app, ["--help"]).output
    assert all(word in shown for word in ("reproduce", "book", "serve", "fetch"))
    wrong = runner.invoke(app, ["reproduce", "--profile", "huge"])
    assert wrong.exit_code == 1
    assert "huge" in wrong.output
    assert "Traceback" not in wrong.output
    started = time.perf_counter()
    assert runner.invoke(app, ["fetch", "gpt-5"]).exit_code == 1
    assert time.perf_counter() - started < 5


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


@pytest.mark.parametrize("path", [*MODULES, *SCRIPTS], ids=from_root)
def test_the_formatter_is_never_switched_off(path: Path) -> None:
    assert not re.search(r"# fmt: ?(skip|off)", path.read_text(encoding="utf-8"))
