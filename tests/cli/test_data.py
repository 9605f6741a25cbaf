"""`rar data`, `rar convert`, `rar init`: what was read, what was lost, and a complete example."""

from __future__ import annotations

import csv
import errno
import re
import shlex
import tomllib
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from rar_lib.cli import data
from rar_lib.cli.app import app
from rar_lib.core.errors import DataError
from rar_lib.core.scoring import explicit_score
from rar_lib.core.types import Category, Polarity
from rar_lib.data.check import check
from rar_lib.data.questions import load_questions, load_responses
from rar_lib.data.tasks import EXAMPLE, load_mini, load_tasks, save_tasks


def rar(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_data_check_speaks_line_by_line(tmp_path: Path) -> None:
    good = tmp_path / "good.jsonl"
    bad = tmp_path / "bad.jsonl"
    save_tasks(good, load_mini("val"))
    assert rar("data", "check", good).exit_code == 0
    bad.write_text('{"id": "a", "question": "Why?"}\n{"id": "b"}\nnot json\n', encoding="utf-8")
    done = rar("data", "check", bad)
    assert done.exit_code == 1
    assert "2 errors" in done.output
    assert "question" in done.output


def test_data_check_shows_what_a_rubric_looks_like_and_what_mends_it(tmp_path: Path) -> None:
    path = tmp_path / "tasks.jsonl"
    path.write_text('{"question": "Why?", "rubric": "Must be kind."}\n', encoding="utf-8")
    done = rar("data", "check", path)
    assert done.exit_code == 1
    said = " ".join(re.sub(r"[│┃]", " ", done.output).split())
    assert "Must be kind." in said
    assert "two rows that are" in said
    assert "audit" not in done.output


def test_data_check_says_that_points_do_not_weigh(tmp_path: Path) -> None:
    path = tmp_path / "tasks.jsonl"
    path.write_text(
        '{"question": "Why?", "rubric": [{"text": "A.", "weight": 5}]}\n', encoding="utf-8"
    )
    done = rar("data", "check", path)
    assert done.exit_code == 0
    said = " ".join(re.sub(r"[│┃]", " ", done.output).split())
    assert "points of 1 of 1 criteria are kept" in said.replace("- ", "")
    assert done.output.count("points of 1") == 1


def test_data_check_audits_a_file_of_tasks_that_is_in_order(tmp_path: Path) -> None:
    path = tmp_path / "tasks.jsonl"
    save_tasks(path, load_mini("val"))
    said = " ".join(rar("data", "check", path).output.split())
    assert "audit of 16 tasks: 0 without reference, 0 with a question asked before, 0%" in said
    assert re.search(r"multiple choice; \d+% of rubrics state a number of the answer", said)
    assert re.search(r"\d+% of criteria have no content word or number of their task", said)
    assert "not measured" not in said
    path.write_text('{"question": "为什么冰浮在水面上？", "rubric": ["提到晶格结构。"]}\n', "utf-8")
    said = " ".join(rar("data", "check", path).output.split())
    assert "not measured: 1 of 1 criteria, or their tasks: in a script or with accents" in said
    assert "(generic)" not in said
    path.write_text('{"id": "a", "question": "Why?"}\n', "utf-8")
    assert "audit" not in rar("data", "check", path).output


def test_data_show_counts(tmp_path: Path) -> None:
    path = tmp_path / "tasks.jsonl"
    save_tasks(path, load_mini("val"))
    done = rar("data", "show", path)
    assert done.exit_code == 0
    assert "16" in done.output
    assert "domain medicine" in done.output


def test_convert_shows_the_guess_and_counts_what_is_lost(tmp_path: Path) -> None:
    rows = Path(__file__).parents[1] / "fixtures" / "rar_rows.jsonl"
    done = rar("convert", rows, tmp_path / "tasks.jsonl", "--domain", "medicine")
    assert done.exit_code == 3  # a row and criteria are left out
    said = " ".join(done.output.split())
    assert "8 rows read as rar (RaR-Medicine, RaR-Science), for its columns question, ref" in said
    assert "error: line 8, field rubric: no usable criterion" in said
    assert "not held by a task, in rows: question_source 7, rubric 2" in said
    assert "7 rows of tasks, 1 row left out" in said
    assert {task.domain for task in load_tasks(tmp_path / "tasks.jsonl")} == {"medicine"}
    assert max(map(len, done.output.replace(str(tmp_path), "").splitlines())) <= 80


def test_convert_reads_rubrics_of_ones_own_and_says_how(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(
        '{"prompt": "Why?", "rubrics": [{"criterion": "Says A.", "points": 8}]}\n', "utf-8"
    )
    done = rar("convert", path, tmp_path / "tasks.jsonl")
    assert done.exit_code == 0
    said = " ".join(done.output.split())
    assert "1 row read as rubrics (rubrics of your own), for its columns question or prom" in said
    assert "note: where no category is named it follows from the weight: 7 or more Esse" in said
    assert "note: points of 1 of 1 criteria are kept, but the reward weighs by category" in said
    assert said.endswith("1 row of tasks; nothing is lost")
    assert max(map(len, done.output.replace(str(tmp_path), "").splitlines())) <= 80
    path.write_text('{"prompt": "Why?", "rubrics": "Says A."}\n', "utf-8")
    done = rar("convert", path, tmp_path / "other.jsonl")
    assert done.exit_code == 1
    assert EXAMPLE.splitlines()[0] in done.output
    assert not (tmp_path / "other.jsonl").exists()


def test_convert_out_and_in_again_loses_nothing(tmp_path: Path) -> None:
    first, trl, last = (tmp_path / f"{name}.jsonl" for name in ("first", "trl", "last"))
    save_tasks(first, load_mini("val"))
    done = rar("convert", first, trl, "--to", "trl")
    assert done.exit_code == 0
    assert "nothing is lost" in " ".join(done.output.split())
    assert rar("convert", trl, last).exit_code == 0
    assert first.read_bytes() == last.read_bytes()


def test_convert_takes_the_word_of_the_user_for_the_format(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "Why?", "answer": "So."}\n', encoding="utf-8")
    guessed = rar("convert", path, tmp_path / "out.jsonl")
    assert "read as verifiers" in " ".join(guessed.output.split())
    said = rar("convert", path, tmp_path / "out.jsonl", "--from", "trl")
    assert "not held by a task, in rows: answer 1" in " ".join(said.output.split())


def test_convert_refuses_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("Frage\nWarum?\n", encoding="utf-8")
    done = rar("convert", path, tmp_path / "out.jsonl")
    assert done.exit_code == 1
    assert "fit no known format" in done.output
    assert rar("convert", path, path).exit_code == 1
    assert not (tmp_path / "out.jsonl").exists()


ROOT = Path(__file__).parents[2]


NAMES = [
    "README.md",
    "labels.csv",
    "pairs.csv",
    "questions.csv",
    "responses.csv",
    "tasks.jsonl",
]


@pytest.fixture
def example(tmp_path: Path) -> Path:
    folder = tmp_path / "my example"
    assert rar("init", folder).exit_code == 0
    return folder


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_example_is_written_and_the_next_step_shown(tmp_path: Path) -> None:
    done = rar("init", tmp_path / "a b")
    assert done.exit_code == 0
    assert sorted(path.name for path in (tmp_path / "a b").iterdir()) == NAMES
    assert f"next:  cd '{tmp_path}/a b', and read README.md" in done.output


def test_every_file_of_the_example_is_part_of_the_package() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = settings["tool"]["setuptools"]["package-data"]["rar_lib"]
    found = sorted((ROOT / "rar_lib" / "data" / "example").iterdir())
    assert [path.name for path in found] == NAMES
    for path in found:
        inside = path.relative_to(ROOT / "rar_lib").as_posix()
        assert any(fnmatch(inside, pattern) for pattern in patterns), inside
    assert sum(path.stat().st_size for path in found) < 50_000


def test_the_readers_have_nothing_to_say_against_it(example: Path) -> None:
    questions = load_questions(example / "questions.csv")
    tasks = load_tasks(example / "tasks.jsonl")
    assert (len(questions.items), questions.problems, questions.unused) == (5, [], ())
    assert check(example / "tasks.jsonl") == []
    for question, task in zip(questions.items, tasks, strict=True):
        assert (question.id, question.question) == (task.id, task.question)
        assert question.reference == task.reference is not None
    for known in (questions.items, tasks):  # rubrics by a model, and those by hand
        answers = load_responses(example / "responses.csv", known)
        assert (len(answers.items), answers.problems, answers.unused) == (10, [], ("faults",))
        assert set(Counter(answer.task for answer in answers.items).values()) == {2}


def test_labels_cover_every_criterion_of_every_response_once(example: Path) -> None:
    tasks = {task.id: task for task in load_tasks(example / "tasks.jsonl")}
    answers = load_responses(example / "responses.csv", list(tasks.values())).items
    wanted = set[tuple[str, str, str]]()
    for answer in answers:
        rubric = tasks[answer.task].rubric
        assert rubric is not None
        wanted |= {(answer.task, answer.id, criterion.id) for criterion in rubric.criteria}
    labels = table(example / "labels.csv")
    assert list(labels[0]) == ["task", "response", "criterion", "met"]
    given = [(row["task"], row["response"], row["criterion"]) for row in labels]
    assert len(given) == len(set(given)) == 70
    assert set(given) == wanted
    assert {row["met"] for row in labels} == {"yes", "no"}


def test_rubrics_hold_all_categories_and_both_polarities_with_both_outcomes(example: Path) -> None:
    met: dict[tuple[str, str], set[str]] = {}
    for row in table(example / "labels.csv"):
        met.setdefault((row["task"], row["criterion"]), set()).add(row["met"])
    outcomes: dict[Polarity, set[str]] = {polarity: set() for polarity in Polarity}
    pitfalls = set[Polarity]()
    for task in load_tasks(example / "tasks.jsonl"):
        assert task.rubric is not None
        assert {criterion.category for criterion in task.rubric.criteria} == set(Category)
        for criterion in task.rubric.criteria:
            outcomes[criterion.polarity] |= met[task.id, criterion.id]
            if criterion.category is Category.PITFALL:
                pitfalls.add(criterion.polarity)
    assert outcomes == {polarity: {"yes", "no"} for polarity in Polarity}
    assert pitfalls == set(Polarity)


def test_pairs_and_labels_agree_on_which_answer_is_better(example: Path) -> None:
    tasks = {task.id: task for task in load_tasks(example / "tasks.jsonl")}
    answers = load_responses(example / "responses.csv", list(tasks.values())).items
    labels = table(example / "labels.csv")
    by_text = {(answer.task, answer.text): answer.id for answer in answers}
    pairs = table(example / "pairs.csv")
    assert list(pairs[0]) == ["task", "preferred", "rejected"]
    assert {pair["task"] for pair in pairs} == set(tasks)
    used = set[str]()
    for pair in pairs:
        rubric = tasks[pair["task"]].rubric
        assert rubric is not None
        scores = []
        for side in ("preferred", "rejected"):
            name = by_text[pair["task"], pair[side]]
            used.add(name)
            verdicts = {x["criterion"]: x["met"] == "yes" for x in labels if x["response"] == name}
            scores.append(explicit_score(rubric, verdicts) or 0.0)
        assert scores[0] > scores[1] + 0.5
    assert used == {answer.id for answer in answers}


def test_the_better_answer_does_not_always_come_first(example: Path) -> None:
    preferred = {pair["preferred"] for pair in table(example / "pairs.csv")}
    order = [row["response"] in preferred for row in table(example / "responses.csv")]
    assert order[::2] == [True, False, True, False, True]
    assert order[1::2] == [False, True, False, True, False]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_overwritten_and_nothing_else_written(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("mine")
    done = rar("init", tmp_path)
    assert done.exit_code == 1
    assert f"already holds {name}: nothing is overwritten" in done.output
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_a_link_that_leads_nowhere_is_not_replaced_either(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").symlink_to(tmp_path / "elsewhere.csv")
    assert rar("init", tmp_path).exit_code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["labels.csv"]


def test_a_folder_with_other_files_is_used(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert rar("init", tmp_path).exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*NAMES, "notes.txt"])


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    done = rar("init", tmp_path / "file")
    assert done.exit_code == 1
    assert "is a file: name a folder" in done.output


@pytest.mark.parametrize("there", [True, False])
def test_a_full_disk_leaves_nothing_behind(
    there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "new"
    if there:
        folder.mkdir()
    real = data.atomic_write

    def full(path: Path, data: bytes) -> None:
        if path.name == "responses.csv":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        real(path, data)

    monkeypatch.setattr(data, "atomic_write", full)
    with pytest.raises(DataError, match="No space left on device"):
        data.write_example(folder)
    assert list(tmp_path.iterdir()) == ([folder] if there else [])
    assert not there or list(folder.iterdir()) == []


def test_every_command_of_its_readme_is_there_with_its_options(example: Path) -> None:
    """Last, because it looks at commands of every other file."""
    text = (example / "README.md").read_text(encoding="utf-8")
    lines = [
        line
        for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
        for line in block.replace("\\\n", " ").splitlines()
    ]
    assert {line.split()[1] for line in lines} >= {
        *("synthesize", "grade", "align", "train", "respond", "report"),
    }
    known = typer.main.get_command(app)
    wrong: list[str] = []
    for line in lines:
        words = shlex.split(line, comments=True)
        assert words.pop(0) == "rar"
        command = known
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]  # type: ignore[attr-defined]
        options = {name for parameter in command.params for name in parameter.opts}
        given = {word for word in words if word.startswith("-")}
        if command is known or given - options:
            wrong.append(f"{line}: {', '.join(sorted(given - options)) or 'no such command'}")
    assert wrong == []
