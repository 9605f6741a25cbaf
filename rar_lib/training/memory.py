"""Does training fit the memory of its device? Arithmetic from shapes, nothing loaded.

    budget = memory(load("gpu"), room=80e9)
    print(budget)          # one line a part: formula with numbers, bytes, what is assumed
    budget.check()         # PlanError with what to change, if it does not fit

GB is 10^9 bytes. Everything is counted at its longest. Counts of parameters are exact: a test
compares them with the weight files of this project and with the totals that the hub publishes.
What is assumed about other people's code says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from rar_lib.book.profiles import Profile
from rar_lib.core.errors import DataError, PlanError
from rar_lib.models.catalogue import MODELS
from rar_lib.models.vllm import OVERHEAD_GB

BF16, FP32 = 2, 4


@dataclass(frozen=True)
class Shape:
    """Sizes from a model's ``config.json``; ``qkv_bias`` is Qwen2's, ``tied`` shares the
    embedding with the output layer."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head: int
    intermediate: int
    vocabulary: int
    tied: bool = False
    qkv_bias: bool = True

    @property
    def projections(self) -> tuple[tuple[int, int], ...]:
        """(outputs, inputs) of query, key, value, output, gate, up and down of one layer."""
        d, q, kv, i = self.hidden, self.heads * self.head, self.kv, self.intermediate
        return (q, d), (kv, d), (kv, d), (d, q), (i, d), (i, d), (d, i)

    @property
    def kv(self) -> int:
        """Width of the keys of one token in one layer."""
        return self.kv_heads * self.head

    @property
    def projected(self) -> int:
        """Parameters of the projection matrices: what is quantised."""
        return self.layers * sum(o * i for o, i in self.projections)

    @property
    def parameters(self) -> int:
        """All parameters as stored: tied embeddings once."""
        bias = self.heads * self.head + 2 * self.kv if self.qkv_bias else 0
        norms = (2 * self.layers + 1) * self.hidden
        embedding = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return self.projected + self.layers * bias + norms + embedding

    @property
    def token_bytes(self) -> int:
        """Bytes of the keys and values of one token in bf16."""
        return 2 * self.layers * self.kv * BF16

    def adapter(self, rank: int) -> int:
        """Parameters of a LoRA adapter on every projection."""
        return self.layers * sum(rank * (o + i) for o, i in self.projections)

    def int8_bytes(self) -> int:
        """Bytes of the tensors of an int8 conversion: one fp32 scale an output channel."""
        scales = self.layers * sum(o for o, _ in self.projections)
        return self.projected + scales * FP32 + (self.parameters - self.projected) * BF16


def _qwen(
    layers: int, hidden: int, heads: int, kv_heads: int, intermediate: int, vocabulary: int = 152064
) -> Shape:
    return Shape(layers, hidden, heads, kv_heads, hidden // heads, intermediate, vocabulary)


_3B = Shape(36, 2048, 16, 2, 128, 11008, 151936, tied=True)
_7B, _14B = _qwen(28, 3584, 28, 4, 18944), _qwen(48, 5120, 40, 8, 13824)
_32B = _qwen(64, 5120, 40, 8, 27648)
#: From config.json of the repository of that name on the hub; of a local model, from that of
#: its converted folder (its GGUF file holds the output layer apart from the embedding).
SHAPES = {
    "smollm2-135m": Shape(30, 576, 9, 3, 64, 1536, 49152, tied=True, qkv_bias=False),
    "qwen-0.5b": _qwen(24, 896, 14, 2, 4864, 151936),
    "qwen-1.5b": _qwen(28, 1536, 12, 2, 8960, 151936),
    "Qwen/Qwen2.5-3B": _3B,
    "Qwen/Qwen2.5-3B-Instruct": _3B,
    "Qwen/Qwen2.5-7B": _7B,
    "Qwen/Qwen2.5-7B-Instruct": _7B,
    "Qwen/Qwen2.5-14B": _14B,
    "Qwen/Qwen2.5-14B-Instruct": _14B,
    "Qwen/Qwen2.5-32B": _32B,
    "Qwen/Qwen2.5-32B-Instruct": _32B,
}


def shape(model: str) -> Shape:
    """The shape of a model by its name; int8 has that of the model it is made from.

    Raises:
        DataError: its config.json has not been entered here.
    """
    name = MODELS[model].base or model if model in MODELS else model
    if name not in SHAPES:
        raise DataError(
            f"the shape of {model!r} is not known: add its config.json to SHAPES in "
            f"rar_lib/shapes.py, or choose from: {', '.join(SHAPES)}"
        )
    return SHAPES[name]


Backend = Literal["unsloth", "transformers"]
#: Bytes of one adapter weight in training: fp32 weight, gradient and AdamW's two moments.
_TRAINED = 4 * FP32
#: bitsandbytes nf4 with double quantisation: 4 bits, and a scale of 8 bits for 64 weights
#: with one of 32 bits for 256 of those.
_NF4_BITS = 4 + 8 / 64 + 32 / (64 * 256)
#: GB of a CUDA context, compiled graphs and workspaces, for each process with a model.
_CUDA_GB = 2.5
#: GB of Python, torch and the trainer on a CPU.
_TRAINER_GB = 1.5


@dataclass(frozen=True)
class Line:
    """One part of the memory: what, its arithmetic in words, bytes, and what is assumed."""

    what: str
    formula: str
    size: float
    assumed: str = ""


@dataclass(frozen=True)
class Budget:
    """Everything that lies in the memory of the device at once.

    Attributes:
        room: bytes of the device.
        advice: what to change if it does not fit, in words.
    """

    profile: str
    lines: tuple[Line, ...]
    room: float
    advice: tuple[str, ...] = ()

    @property
    def total(self) -> float:
        """Bytes of all lines."""
        return sum(line.size for line in self.lines)

    @property
    def fits(self) -> bool:
        """Whether the sum is within the device."""
        return self.total <= self.room

    def __str__(self) -> str:
        rows = [f"{_gb(x.size):>9}  {x.what}: {x.formula}" for x in self.lines]
        notes = [f"  - {x.what}: {x.assumed}" for x in self.lines if x.assumed]
        verdict = "fits" if self.fits else "does not fit"
        total = f"{_gb(self.total):>9}  in all, of {_gb(self.room)}: {verdict}"
        return "\n".join([*rows, total, "assumed, not measured:", *notes])

    def check(self) -> None:
        """Refuse what cannot fit.

        Raises:
            PlanError: the sum is above the memory; the message says what to change.
        """
        if not self.fits:
            largest = max(self.lines, key=lambda x: x.size)
            raise PlanError(
                f"profile {self.profile!r} needs {_gb(self.total)} of memory, "
                f"{_gb(self.total - self.room)} more than the {_gb(self.room)} of the device; "
                f"the largest part is {largest.what} with {_gb(largest.size)}. "
                f"Change one of these: {'; '.join(self.advice)}"
            )


def memory(
    profile: Profile, *, room: float, backend: Backend = "unsloth", longest: int = 0
) -> Budget:
    """The memory of training: policy, rollouts and every judge that is up meanwhile.

    Args:
        room: bytes of the device.
        backend: as in training; on a CPU both take the same.
        longest: tokens of the longest prompt with its response, if known; else the profile's
            context.

    Raises:
        DataError: a model's shape is not known.
    """
    job = _Job(profile, backend, min(longest or profile.context, profile.context))
    lines = tuple(_lines(job))
    short = sum(line.size for line in lines) > room
    return Budget(profile.name, lines, room, tuple(_advice(job, room)) if short else ())


def graders(profile: Profile) -> tuple[str, ...]:
    """The judges that are up while a policy trains: the rewarding one, and the hold-out judge,
    which is the last of the others (chapter 6)."""
    others = [m for m in profile.judges if m != profile.judge]
    return tuple(dict.fromkeys([*profile.servers, profile.judge, *others[-1:]]))


@dataclass(frozen=True)
class _Job:
    profile: Profile
    backend: Backend
    longest: int


def _lines(job: _Job) -> list[Line]:
    profile = job.profile
    lines = [*_policy(job), *_update(job)]
    for name in graders(profile):
        lines += _judge(name, profile)
    processes = len(graders(profile))
    if profile.device == "cuda":
        lines.append(
            Line(
                "CUDA contexts, graphs and workspaces",
                f"{1 + processes} processes x {_CUDA_GB} GB",
                (1 + processes) * _CUDA_GB * 1e9,
                f"{_CUDA_GB} GB each",
            )
        )
    else:
        lines.append(
            Line(
                "programs",
                f"{_TRAINER_GB} GB trainer + {processes} servers x {OVERHEAD_GB} GB",
                (_TRAINER_GB + processes * OVERHEAD_GB) * 1e9,
                f"{OVERHEAD_GB} GB of a server is measured, the trainer's {_TRAINER_GB} GB are not",
            )
        )
    return lines


def _policy(job: _Job) -> list[Line]:
    """Weights of the policy, and the keys and values of its rollouts."""
    profile, backend = job.profile, job.backend
    s, name = shape(profile.policy), profile.policy
    n, rest, cuda = s.parameters, s.parameters - s.projected, profile.device == "cuda"
    if cuda and backend == "unsloth":
        weights = Line(
            f"policy {name}, 4 bits",
            f"{s.projected:,} x {_NF4_BITS:.3f} / 8 + {rest:,} x {BF16} bytes",
            s.projected * _NF4_BITS / 8 + rest * BF16,
            "nf4 with double quantisation for the projections, bf16 for the rest; vLLM shares "
            "these weights and takes the adapter beside them",
        )
    else:
        copies = 2 if cuda else 1
        weights = Line(
            f"policy {name}, bf16" + (", and vLLM's own copy" if cuda else ""),
            f"{n:,} x {BF16} bytes" + (f" x {copies}" if cuda else ""),
            n * BF16 * copies,
        )
    rows = profile.rollouts * (1 if cuda else profile.prompts_per_step)
    cache = Line(
        "keys and values of rollouts",
        f"{rows} rollouts x {job.longest:,} tokens x {s.token_bytes:,} bytes",
        rows * job.longest * s.token_bytes,
        "one group at full length at once, the other groups of a step wait for it; vLLM takes "
        "more where memory is free"
        if cuda
        else "all rollouts of a step at once, each as long as the longest",
    )
    return [weights, cache]


def _update(job: _Job) -> list[Line]:
    """Adapter, optimiser, activations and logits of one micro-batch."""
    profile, backend = job.profile, job.backend
    s, rank, cuda = shape(profile.policy), profile.lora_rank, profile.device == "cuda"
    n, unsloth = s.adapter(rank), cuda and backend == "unsloth"
    rows = 1 if unsloth else profile.rollouts
    kept = 2 * (8 * s.hidden + 4 * s.kv + 4 * s.intermediate)
    tokens = rows * job.longest
    where = f"{rows} x {job.longest:,} tokens"
    if unsloth:
        formula = f"{where} x ({s.layers} layers x {s.hidden:,} x {BF16} + {kept:,}) bytes"
        activations = tokens * (s.layers * s.hidden * BF16 + kept)
        note = "input of each layer and the inside of one layer; Unsloth trains on as few as one "
        note += "rollout at a time and on more where memory is free; "
    else:
        formula = f"{where} x {s.layers} layers x {kept:,} bytes"
        activations = tokens * s.layers * kept
        note = "no gradient checkpointing; "
    chunk = job.longest // 4 if cuda else 64
    return [
        Line(
            f"adapter of rank {rank}, gradient, AdamW",
            f"{n:,} x {_TRAINED} bytes (fp32 weight, gradient, two moments)",
            n * _TRAINED,
        ),
        Line(
            "activations",
            formula,
            activations,
            note + "2 x (8 hidden + 4 key + 4 inner width) bytes inside a layer for a token",
        ),
        Line(
            "logits",
            f"{chunk:,} tokens x {s.vocabulary:,} x 2 x {FP32} bytes (with their gradient)",
            chunk * s.vocabulary * 2 * FP32,
            "computed in pieces: " + ("a quarter of a rollout" if cuda else "64 tokens"),
        ),
    ]


def _judge(name: str, profile: Profile) -> list[Line]:
    s, int8 = shape(name), name in MODELS and bool(MODELS[name].base)
    cache = float(profile.server["kv_cache_gb"]) * 1e9
    formula = f"{s.parameters:,} x {BF16} bytes"
    if int8:
        formula = f"{s.projected:,} x 1 byte and scales, the rest x {BF16}"
    weights = s.int8_bytes() if int8 else s.parameters * BF16
    reserved = f"reserved; holds {int(cache // s.token_bytes):,} tokens of {s.token_bytes:,} bytes"
    return [
        Line(f"judge {name}", formula, weights),
        Line(f"its keys and values ({name})", reserved, cache),
    ]


def _advice(job: _Job, room: float) -> list[str]:
    """Changes each of which alone makes it fit."""
    profile, found = job.profile, list[str]()

    def fits(backend: Backend = job.backend, **changes: object) -> bool:
        changed = replace(job, backend=backend, profile=profile.model_copy(update=changes))
        return sum(line.size for line in _lines(changed)) <= room

    if job.backend == "transformers" and fits("unsloth"):
        found.append("--backend unsloth")
    fewer = [m for m in profile.judges if m == profile.judge or m not in graders(profile)]
    if fewer != list(profile.judges) and fits(judges=tuple(fewer)):
        gone = [m for m in profile.judges if m not in fewer]
        found.append(f"judges without the hold-out judge {', '.join(gone)}")
    judges = [m for m in SHAPES if "Instruct" in m or (m in MODELS and profile.device == "cpu")]
    smaller = [m for m in judges if shape(m).parameters < shape(profile.judge).parameters]
    for name in sorted(smaller, key=lambda m: -shape(m).parameters):
        if fits(judge=name, judges=(name,), servers=(name,)):
            found.append(f"{name} as the only judge")
            break
    lines = _lines(job)
    total = sum(line.size for line in lines)
    if total - sum(x.size for m in graders(profile) for x in _judge(m, profile)) <= room:
        found.append("judges behind an API or on another machine")
    return [*found, f"a device of {_gb(total)}"]


def _gb(size: float) -> str:
    return f"{size / 1e9:,.2f} GB"
