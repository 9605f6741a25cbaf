"""Rubrics as Rewards (arXiv 2507.17746), executable.

    from rar_lib import Chat, Judge, RubricReward, dataset_of, load_tasks

    judge = Judge(Chat("http://127.0.0.1:8000/v1", "my-judge"))   # any OpenAI-compatible URL
    reward = RubricReward(judge, "implicit")                      # async, TRL's signature
    data = dataset_of(load_tasks("tasks.jsonl"))
    trainer = GRPOTrainer(..., reward_funcs=reward, train_dataset=data)

These are the public names; each is loaded when it is first used, from its one home. The rooms, from
bottom to top: core, data and judging, rubrics, models and evaluation, training, book, cli.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # for editors and type checkers; nothing is loaded by it
    from rar_lib.book.card import model_card as model_card
    from rar_lib.book.card import save_card as save_card
    from rar_lib.book.report import write_report as write_report
    from rar_lib.book.study import Study as Study
    from rar_lib.core.errors import DataError as DataError
    from rar_lib.core.errors import JudgeFault as JudgeFault
    from rar_lib.core.errors import RarError as RarError
    from rar_lib.core.scoring import PAPER_WEIGHTS as PAPER_WEIGHTS
    from rar_lib.core.scoring import UNIFORM_WEIGHTS as UNIFORM_WEIGHTS
    from rar_lib.core.scoring import explicit_score as explicit_score
    from rar_lib.core.types import Category as Category
    from rar_lib.core.types import Criterion as Criterion
    from rar_lib.core.types import Grade as Grade
    from rar_lib.core.types import MultipleChoice as MultipleChoice
    from rar_lib.core.types import Pair as Pair
    from rar_lib.core.types import Polarity as Polarity
    from rar_lib.core.types import Price as Price
    from rar_lib.core.types import Rubric as Rubric
    from rar_lib.core.types import Task as Task
    from rar_lib.core.types import Usage as Usage
    from rar_lib.core.types import Verdict as Verdict
    from rar_lib.data.choices import load_choices as load_choices
    from rar_lib.data.formats import convert_tasks as convert_tasks
    from rar_lib.data.formats import read_format as read_format
    from rar_lib.data.healthbench import load_healthbench as load_healthbench
    from rar_lib.data.labels import load_labels as load_labels
    from rar_lib.data.questions import Response as Response
    from rar_lib.data.questions import load_questions as load_questions
    from rar_lib.data.questions import load_responses as load_responses
    from rar_lib.data.questions import load_split as load_split
    from rar_lib.data.questions import save_responses as save_responses
    from rar_lib.data.rar import load_rar as load_rar
    from rar_lib.data.tasks import load_mini as load_mini
    from rar_lib.data.tasks import load_mini_pairs as load_mini_pairs
    from rar_lib.data.tasks import load_pairs as load_pairs
    from rar_lib.data.tasks import load_tasks as load_tasks
    from rar_lib.data.tasks import save_tasks as save_tasks
    from rar_lib.data.tasks import split_tasks as split_tasks
    from rar_lib.evaluation.alignment import grade_pairs as grade_pairs
    from rar_lib.evaluation.grading import grade_responses as grade_responses
    from rar_lib.evaluation.grading import load_grades as load_grades
    from rar_lib.evaluation.grading import save_grades as save_grades
    from rar_lib.evaluation.held_out import evaluate as evaluate
    from rar_lib.evaluation.trust import align_judges as align_judges
    from rar_lib.judging.cassette import Cassette as Cassette
    from rar_lib.judging.chat import Chat as Chat
    from rar_lib.judging.dialect import DIALECTS as DIALECTS
    from rar_lib.judging.dialect import Dialect as Dialect
    from rar_lib.judging.guard import GuardedJudge as GuardedJudge
    from rar_lib.judging.judge import Judge as Judge
    from rar_lib.judging.judge import grade_many as grade_many
    from rar_lib.judging.messages import JudgeMessages as JudgeMessages
    from rar_lib.judging.messages import Messages as Messages
    from rar_lib.models.server import local_chat as local_chat
    from rar_lib.models.server import serve as serve
    from rar_lib.rubrics.synthesis import synthesize as synthesize
    from rar_lib.rubrics.synthesis import write_rubrics as write_rubrics
    from rar_lib.training.policy import Likelihoods as Likelihoods
    from rar_lib.training.policy import Policy as Policy
    from rar_lib.training.policy import write_responses as write_responses
    from rar_lib.training.rewards import RubricReward as RubricReward
    from rar_lib.training.rewards import VerifiableReward as VerifiableReward
    from rar_lib.training.rewards import dataset_of as dataset_of
    from rar_lib.training.run import Run as Run
    from rar_lib.training.settings import Settings as Settings
    from rar_lib.training.train import Job as Job
    from rar_lib.training.train import Watch as Watch
    from rar_lib.training.train import train as train

__version__ = "0.1.0"
_HOME = {
    "write_report": "book.report",
    "Study": "book.study",
    "DataError": "core.errors",
    "JudgeFault": "core.errors",
    "RarError": "core.errors",
    "PAPER_WEIGHTS": "core.scoring",
    "UNIFORM_WEIGHTS": "core.scoring",
    "explicit_score": "core.scoring",
    "Category": "core.types",
    "Criterion": "core.types",
    "Grade": "core.types",
    "MultipleChoice": "core.types",
    "Pair": "core.types",
    "Polarity": "core.types",
    "Price": "core.types",
    "Rubric": "core.types",
    "Task": "core.types",
    "Usage": "core.types",
    "Verdict": "core.types",
    "load_choices": "data.choices",
    "convert_tasks": "data.formats",
    "read_format": "data.formats",
    "load_healthbench": "data.healthbench",
    "load_labels": "data.labels",
    "Response": "data.questions",
    "load_questions": "data.questions",
    "load_responses": "data.questions",
    "load_split": "data.questions",
    "save_responses": "data.questions",
    "load_rar": "data.rar",
    "load_mini": "data.tasks",
    "load_mini_pairs": "data.tasks",
    "load_pairs": "data.tasks",
    "load_tasks": "data.tasks",
    "save_tasks": "data.tasks",
    "split_tasks": "data.tasks",
    "grade_pairs": "evaluation.alignment",
    "grade_responses": "evaluation.grading",
    "load_grades": "evaluation.grading",
    "save_grades": "evaluation.grading",
    "evaluate": "evaluation.held_out",
    "align_judges": "evaluation.trust",
    "Cassette": "judging.cassette",
    "Chat": "judging.chat",
    "DIALECTS": "judging.dialect",
    "Dialect": "judging.dialect",
    "GuardedJudge": "judging.guard",
    "Judge": "judging.judge",
    "grade_many": "judging.judge",
    "JudgeMessages": "judging.messages",
    "Messages": "judging.messages",
    "local_chat": "models.server",
    "serve": "models.server",
    "synthesize": "rubrics.synthesis",
    "write_rubrics": "rubrics.synthesis",
    "model_card": "book.card",
    "save_card": "book.card",
    "Likelihoods": "training.policy",
    "Policy": "training.policy",
    "write_responses": "training.policy",
    "RubricReward": "training.rewards",
    "VerifiableReward": "training.rewards",
    "dataset_of": "training.rewards",
    "Settings": "training.settings",
    "Job": "training.train",
    "Run": "training.run",
    "Watch": "training.train",
    "train": "training.train",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"rar_lib has no {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"rar_lib.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
