"""One exception type per boundary.

Every message names the thing, the value and the fix.
"""

from __future__ import annotations


def first_line(error: BaseException) -> str:
    """What another library's error says, in a line of at most 200 characters."""
    return next(iter(str(error).strip().splitlines()), "no message")[:200]


class RarError(Exception):
    """Base of everything this library raises on purpose."""


class DataError(RarError):
    """A task, rubric or pair file does not follow the schema."""


class ArtifactError(RarError):
    """Model weights could not be fetched, verified or converted."""


class ServerError(RarError):
    """The judge server did not start, or it died."""


class ChatError(RarError):
    """The endpoint refused the request for good (bad key, wrong model, bad request)."""


class CassetteError(RarError):
    """A file of recorded calls is missing, of another version, damaged, or can't be written."""


class CassetteMiss(CassetteError):
    """Replaying, and the request was never recorded."""


class CheckpointError(RarError):
    """A training run can't be written, or another process is writing it."""


class PlanError(RarError):
    """What was asked for does not fit the device."""


class UnscoredError(RarError):
    """Too many responses could not be scored to go on honestly."""


class ReproduceError(RarError):
    """A notebook did not run to its end."""


class JudgeFault(RarError):
    """One judgement failed (endpoint busy, reply unreadable): it becomes unscored, not zero."""
