"""Does training fit the memory of its device? Arithmetic from shapes, nothing loaded.

    budget = memory(settings, judges, room=80e9)
    print(budget)          # one line a part: formula with numbers, bytes, what is assumed
    budget.check()         # PlanError with what to change, if it does not fit

:func:`apart` is the same for judges, and for the rollouts' server, on devices of their own.

GB is 10^9 bytes. Everything is counted at its longest. Counts of parameters are exact: a test
compares them with the weight files of this project and with the totals that the hub publishes.
What is assumed about other people's code says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from rar_lib.core.errors import DataError, PlanError
from rar_lib.models.catalogue import MODELS
from rar_lib.models.llama import BESIDE_GB
from rar_lib.models.processor import cpu_dtype, engine
from rar_lib.models.vllm_args import KV_CACHE_GB, overhead_gb
from rar_lib.training.settings import Settings

BF16 = 2
FP32 = 4
_FORMAT = {BF16: "bf16", FP32: "float32"}


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
        hidden = self.hidden
        queries = self.heads * self.head
        kv = self.kv
        inside = self.intermediate
        return (
            (queries, hidden),
            (kv, hidden),
            (kv, hidden),
            (hidden, queries),
            (inside, hidden),
            (inside, hidden),
            (hidden, inside),
        )

    @property
    def kv(self) -> int:
        """Width of the keys of one token in one layer."""
        return self.kv_heads * self.head

    @property
    def projected(self) -> int:
        """Parameters of the projection matrices: what is quantised."""
        return self.layers * sum(outputs * inputs for outputs, inputs in self.projections)

    @property
    def parameters(self) -> int:
        """All parameters as stored: tied embeddings once."""
        bias = self.heads * self.head + 2 * self.kv if self.qkv_bias else 0
        norms = (2 * self.layers + 1) * self.hidden
        embedding = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return self.projected + self.layers * bias + norms + embedding

    def token_bytes(self, width: int = BF16) -> int:
        """Bytes of the keys and values of one token; ``width`` is that of a number in bytes."""
        return 2 * self.layers * self.kv * width

    def adapter(self, rank: int) -> int:
        """Parameters of a LoRA adapter on every projection."""
        return self.layers * sum(rank * (outputs + inputs) for outputs, inputs in self.projections)

    def int8_bytes(self, width: int = BF16) -> int:
        """Bytes of the tensors of an int8 conversion: one fp32 scale an output channel.

        Args:
            width: bytes of a number that is not converted.
        """
        scales = self.layers * sum(outputs for outputs, _ in self.projections)
        return self.projected + scales * FP32 + (self.parameters - self.projected) * width


def _qwen(
    layers: int, hidden: int, intermediate: int, *, heads: tuple[int, int], vocabulary: int = 152064
) -> Shape:
    """``heads``: of queries, and of keys and values."""
    queries, keys = heads
    return Shape(layers, hidden, queries, keys, hidden // queries, intermediate, vocabulary)


_3B = Shape(36, 2048, 16, 2, 128, 11008, 151936, tied=True)
_7B = _qwen(28, 3584, 18944, heads=(28, 4))
_14B = _qwen(48, 5120, 13824, heads=(40, 8))
_32B = _qwen(64, 5120, 27648, heads=(40, 8))
#: From config.json of the repository of that name on the hub; of a local model, from that of
#: its converted folder (its GGUF file holds the output layer apart from the embedding).
SHAPES = {
    "smollm2-135m": Shape(30, 576, 9, 3, 64, 1536, 49152, tied=True, qkv_bias=False),
    "qwen-0.5b": _qwen(24, 896, 4864, heads=(14, 2), vocabulary=151936),
    "qwen-1.5b": _qwen(28, 1536, 8960, heads=(12, 2), vocabulary=151936),
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
            f"rar_lib/training/memory.py, or choose from: {', '.join(SHAPES)}"
        )
    return SHAPES[name]


Backend = Literal["unsloth", "transformers"]
#: While a policy trains, or afterwards, while the grader that waited reads what it said at looks.
Moment = Literal["training", "looks"]
#: Bytes of one adapter weight in training: fp32 weight, gradient and AdamW's two moments.
_TRAINED = 4 * FP32
#: bitsandbytes nf4 with double quantisation: 4 bits, and a scale of 8 bits for 64 weights
#: with one of 32 bits for 256 of those.
_NF4_BITS = 4 + 8 / 64 + 32 / (64 * 256)
#: Tokens and words of the pieces in which TRL 1.15 computes log-probabilities on a GPU.
_TILE = (4096, 32768)
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
        name: what is planned, for messages.
        room: bytes of the device.
        advice: what to change if it does not fit, in words.
    """

    name: str
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
        rows = [f"{_gb(line.size):>9}  {line.what}: {line.formula}" for line in self.lines]
        notes = [f"  - {line.what}: {line.assumed}" for line in self.lines if line.assumed]
        verdict = "fits" if self.fits else "does not fit"
        total = f"{_gb(self.total):>9}  in all, of {_gb(self.room)}: {verdict}"
        return "\n".join([*rows, total, "assumed, not measured:", *notes])

    def check(self) -> None:
        """Refuse what cannot fit.

        Raises:
            PlanError: the sum is above the memory; the message says what to change.
        """
        if not self.fits:
            largest = max(self.lines, key=lambda line: line.size)
            raise PlanError(
                f"{self.name} needs {_gb(self.total)} of memory, "
                f"{_gb(self.total - self.room)} more than the {_gb(self.room)} of the device; "
                f"the largest part is {largest.what} with {_gb(largest.size)}. "
                f"Change one of these: {'; '.join(self.advice)}"
            )


@dataclass(frozen=True)
class Judges:
    """The judges of a run.

    Attributes:
        rewarding: the one that gives the reward; empty without any on the device.
        watching: those that could be the hold-out judge; the first one is.
        served: further models that are up all the time.
        kv_cache_gb: GB that each server reserves for keys and values.
        later: whether the hold-out judge is asked when training is done
            (:class:`rar_lib.training.train.Watch`), when the one that rewards has made room for it:
            neither is up beside the other, unless it is served.
    """

    rewarding: str
    watching: tuple[str, ...] = ()
    served: tuple[str, ...] = ()
    kv_cache_gb: float = KV_CACHE_GB
    later: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, each once."""
        return tuple(dict.fromkeys([*self.up("training"), *self.up("looks")]))

    @property
    def waiting(self) -> str:
        """The hold-out judge, if its server starts when training is done; else empty."""
        return next(iter(set(self.up("looks")) - set(self.up("training"))), "")

    def up(self, moment: Moment) -> tuple[str, ...]:
        """Those that are up together, each once."""
        asked = [self.rewarding, *self.watching[:1]]
        if self.later and self.watching:
            asked = asked[:1] if moment == "training" else asked[1:]
        named = [*self.served, *asked]
        return tuple(dict.fromkeys(name for name in named if name))


def memory(
    settings: Settings,
    judges: Judges,
    *,
    room: float,
    name: str = "training",
    backend: Backend = "unsloth",
    longest: int = 0,
    width: int = 0,
    moment: Moment = "training",
) -> Budget:
    """The memory of the device that trains: policy, rollouts and every judge that is up meanwhile.

    Where a judge waits (``judges.waiting``) the device must also hold what is up when it reads
    (``moment="looks"``): the larger of the two is what is needed.

    Args:
        room: bytes of the device.
        name: what is planned, for messages.
        backend: as in training; on a CPU both take the same, and where a server writes the rollouts
            it is always ``transformers``.
        longest: tokens of the longest prompt with its response, if known; else the context.
        width: bytes of a number, 2 (bf16) or 4 (float32); by itself that in which the models
            compute on this device.
        moment: ``looks`` counts no update and, on a CPU, no cache of rollouts: both are given back.

    Raises:
        DataError: a model's shape is not known.
    """
    longest = min(longest or settings.context, settings.context)
    chosen: Backend = "transformers" if settings.rollout_server else backend
    load = _Load(settings, judges, chosen, longest, width or _width(settings.device), moment)
    lines = tuple(_lines(load))
    short = sum(line.size for line in lines) > room
    return Budget(name, lines, room, tuple(_advice(load, room)) if short else ())


def apart(
    settings: Settings,
    judges: Judges,
    *,
    room: float,
    backend: Backend = "unsloth",
    longest: int = 0,
) -> tuple[Budget, ...]:
    """The memory of every device where each model has one of its own, that of the training first.

    Then come the judges in the order of ``judges.names``, and the server that writes the rollouts
    where the settings name one. Several processes train on as many devices like the first.

    Args:
        room: bytes of each device.
        backend, longest: as for :func:`memory`.

    Raises:
        DataError: a model's shape is not known, or the settings are those of a CPU.
    """
    if settings.device == "cpu":
        raise DataError("the settings train on the CPU, whose memory all models share: plan it so")
    alone = replace(judges, rewarding="", watching=(), served=())
    name = f"training {settings.policy}"
    found = [memory(settings, alone, room=room, name=name, backend=backend, longest=longest)]
    for judge in judges.names:
        lines = [*_judge(judge, judges.kv_cache_gb, BF16, "cuda"), _contexts(1)]
        found.append(_of_one(f"judge {judge}", lines, room))
    if settings.rollout_server:
        longest = min(longest or settings.context, settings.context)
        lines = [*_writer(settings, longest), _contexts(1)]
        found.append(_of_one(f"rollouts of {settings.policy}", lines, room))
    return tuple(found)


def _of_one(name: str, lines: list[Line], room: float) -> Budget:
    """A device with one model, for which nothing can be advised but more memory."""
    return Budget(
        name, tuple(lines), room, (f"a device of {_gb(sum(line.size for line in lines))}",)
    )


@dataclass(frozen=True)
class _Load:
    settings: Settings
    judges: Judges
    backend: Backend
    longest: int
    width: int = BF16
    moment: Moment = "training"

    @property
    def up(self) -> tuple[str, ...]:
        return self.judges.up(self.moment)

    @property
    def cuda(self) -> bool:
        return self.settings.device == "cuda"


def _width(device: str) -> int:
    """On a processor without bf16 products models are widened when they are loaded."""
    return FP32 if device == "cpu" and cpu_dtype() == "float32" else BF16


def _lines(load: _Load) -> list[Line]:
    judges = [_of_judge(name, load) for name in load.up]
    trained = [*_policy(load), *_update(load)] if load.moment == "training" else _left(load)
    lines = [*trained, *(line for parts in judges for line in parts)]
    processes = len(judges)
    if load.cuda:
        return [*lines, _contexts(1 + processes)]
    servers = sum(
        _program(name, parts[0], load) for name, parts in zip(load.up, judges, strict=True)
    )
    programs = Line(
        "programs",
        f"{_TRAINER_GB} GB trainer + {servers:.1f} GB in {processes} servers",
        (_TRAINER_GB + servers) * 1e9,
        f"what servers hold is measured, the trainer's {_TRAINER_GB} GB are not",
    )
    return [*lines, programs]


def _contexts(processes: int) -> Line:
    return Line(
        "CUDA contexts, graphs and workspaces",
        f"{processes} x {_CUDA_GB} GB",
        processes * _CUDA_GB * 1e9,
        f"{_CUDA_GB} GB in each process",
    )


def _policy(load: _Load) -> list[Line]:
    """Weights of the policy, and the keys and values of its rollouts and answers."""
    settings = load.settings
    token = shape(settings.policy).token_bytes(load.width)
    answers = Line(
        "keys and values of held-out answers",
        f"{settings.answers_at_once} answers x {load.longest:,} tokens x {token:,} bytes",
        settings.answers_at_once * load.longest * token,
        "that many are written at once, however many tasks there are" + _beside(settings),
    )
    return [_held(load), *_rollouts(load), answers]


def _rollouts(load: _Load) -> list[Line]:
    """Keys and values of the rollouts, where they are written beside the policy."""
    settings = load.settings
    cuda = load.cuda
    if settings.rollout_server:
        return []
    token = shape(settings.policy).token_bytes(load.width)
    rows = settings.rollouts * (1 if cuda else settings.prompts_per_step)
    cache = Line(
        "keys and values of rollouts",
        f"{rows} rollouts x {load.longest:,} tokens x {token:,} bytes",
        rows * load.longest * token,
        "one group at full length at once, the other groups of a step wait for it; vLLM takes "
        "more where memory is free"
        if cuda
        else "all rollouts of a step at once, each as long as the longest",
    )
    return [cache]


def _left(load: _Load) -> list[Line]:
    """What training may leave in memory: the weights, and on a GPU what vLLM keeps."""
    held = _held(load)
    held = replace(held, assumed="; ".join(filter(None, (held.assumed, "still there"))))
    return [held, *_rollouts(load)] if load.cuda else [held]


def _beside(settings: Settings) -> str:
    if settings.rollout_server:
        return ""
    why = "though it is before, between and after them"
    if settings.device == "cuda":
        why = "whose room vLLM keeps"
    return f"; counted beside the rollouts, {why}"


def _held(load: _Load) -> Line:
    """The policy's weights, as often as they are there."""
    settings = load.settings
    name = load.settings.policy
    made = shape(name)
    n = made.parameters
    rest = n - made.projected
    if load.cuda and load.backend == "unsloth":
        return Line(
            f"policy {name}, 4 bits",
            f"{made.projected:,} x {_NF4_BITS:.3f} / 8 + {rest:,} x {BF16} bytes",
            made.projected * _NF4_BITS / 8 + rest * BF16,
            "nf4 with double quantisation for the projections, bf16 for the rest; vLLM shares "
            "these weights and takes the adapter beside them",
        )
    copies = 2 if load.cuda and not settings.rollout_server else 1
    return Line(
        f"policy {name}, {_FORMAT[load.width]}" + (", and vLLM's own copy" if copies > 1 else ""),
        f"{n:,} x {load.width} bytes" + (f" x {copies}" if copies > 1 else ""),
        n * load.width * copies,
    )


def _writer(settings: Settings, longest: int) -> list[Line]:
    """What a server that writes the rollouts holds: the policy merged with its adapter."""
    made = shape(settings.policy)
    rows = settings.rollouts * settings.prompts_per_step
    token = made.token_bytes()
    return [
        Line(
            f"policy {settings.policy}, bf16",
            f"{made.parameters:,} x {BF16} bytes",
            made.parameters * BF16,
            "merged with the adapter that is sent after every step",
        ),
        Line(
            "keys and values of rollouts",
            f"{rows} rollouts x {longest:,} tokens x {token:,} bytes",
            rows * longest * token,
            "all rollouts of a step at once; with less some wait, and vLLM takes nine tenths of "
            "the device if not told otherwise",
        ),
    ]


def _update(load: _Load) -> list[Line]:
    """Adapter, optimiser, activations and logits of one micro-batch."""
    rank = load.settings.lora_rank
    n = shape(load.settings.policy).adapter(rank)
    adapter = Line(
        f"adapter of rank {rank}, gradient, AdamW",
        f"{n:,} x {_TRAINED} bytes (fp32 weight, gradient, two moments)",
        n * _TRAINED,
    )
    return [adapter, _activations(load), _logits(load)]


def _activations(load: _Load) -> Line:
    """What the forward pass keeps: on a GPU the input of each layer and the inside of one."""
    made = shape(load.settings.policy)
    unsloth = load.cuda and load.backend == "unsloth"
    rows = 1 if unsloth else load.settings.rollouts
    inside = load.width * (8 * made.hidden + 4 * made.kv + 4 * made.intermediate)
    layers = f"{made.layers} layers x {inside:,}"
    kept = made.layers * inside
    note = "all of every layer is kept; "
    if load.cuda:
        layers = f"({made.layers} layers x {made.hidden:,} x {BF16} + {inside:,})"
        kept = made.layers * made.hidden * BF16 + inside
        note = "input of each layer and the inside of one layer, "
        note += (
            "Unsloth trains on as few as one rollout at a time and on more where memory is free; "
            if unsloth
            else "of all responses of a group at once; "
        )
    return Line(
        "activations",
        f"{rows} x {load.longest:,} tokens x {layers} bytes",
        rows * load.longest * kept,
        note
        + f"{load.width} x (8 hidden + 4 key + 4 inner width) bytes inside a layer for a token",
    )


def _logits(load: _Load) -> Line:
    """Logits are never there all at once."""
    vocabulary = shape(load.settings.policy).vocabulary
    if load.cuda and load.backend == "transformers":
        tokens, words = _TILE
        return Line(
            "logits",
            f"{tokens:,} tokens x {words:,} words x {BF16} bytes",
            tokens * words * BF16,
            "computed in tiles of this size by TRL's kernel, the gradient in their place",
        )
    tokens = load.longest // 4 if load.cuda else 64
    return Line(
        "logits",
        f"{tokens:,} tokens x {vocabulary:,} x 2 x {FP32} bytes (with their gradient)",
        tokens * vocabulary * 2 * FP32,
        "computed in pieces: " + ("a quarter of a rollout" if load.cuda else "64 tokens"),
    )


def _program(name: str, weights: Line, load: _Load) -> float:
    """GB of a server on a CPU beside weights and cache."""
    if engine(name, load.settings.device) == "llama.cpp":
        return BESIDE_GB
    return overhead_gb(weights.size / 1e9, float32=load.width == FP32)


def _of_judge(name: str, load: _Load) -> list[Line]:
    return _judge(name, load.judges.kv_cache_gb, load.width, load.settings.device)


def _judge(name: str, kv_cache_gb: float, width: int, device: str) -> list[Line]:
    made = shape(name)
    cache = kv_cache_gb * 1e9
    if engine(name, device) == "llama.cpp":
        size = MODELS[name].pinned.size
        return [
            Line(f"judge {name}", "its file of 4-bit weights, as it is", size),
            Line(f"earlier prompts ({name})", "at most; their keys and values in 16 bits", cache),
        ]
    int8 = name in MODELS and bool(MODELS[name].base)
    formula = f"{made.parameters:,} x {width} bytes"
    if int8:
        formula = f"{made.projected:,} x 1 byte and scales, the rest x {width}"
    weights = made.int8_bytes(width) if int8 else made.parameters * width
    token = made.token_bytes(width)
    reserved = f"reserved; holds {int(cache // token):,} tokens of {token:,} bytes"
    return [
        Line(f"judge {name}", formula, weights),
        Line(f"its keys and values ({name})", reserved, cache),
    ]


def _advice(load: _Load, room: float) -> list[str]:
    """Changes each of which alone makes it fit."""
    found: list[str] = []
    judges = load.judges

    def fits(changed: _Load) -> bool:
        return sum(line.size for line in _lines(changed)) <= room

    served = load.settings.rollout_server  # by Unsloth's own otherwise
    if load.backend == "transformers" and not served and fits(replace(load, backend="unsloth")):
        found.append("--backend unsloth")
    fewer = replace(judges, watching=judges.watching[1:])
    if judges.watching and fits(replace(load, judges=fewer)):
        found.append(f"judges without the hold-out judge {judges.watching[0]}")
    for name in _smaller(judges.rewarding, load.cuda) if judges.rewarding else ():
        alone = Judges(name, kv_cache_gb=judges.kv_cache_gb)
        if fits(replace(load, judges=alone)):
            found.append(f"{name} as the only judge")
            break
    lines = _lines(load)
    total = sum(line.size for line in lines)
    graders = [line for name in load.up for line in _of_judge(name, load)]
    if graders and total - sum(line.size for line in graders) <= room:
        found.append("judges behind an API or on another machine")
    return [*found, f"a device of {_gb(total)}"]


def _smaller(judge: str, cuda: bool) -> list[str]:
    """Models that could judge in place of this one, the largest first."""
    judges = [model for model in SHAPES if "Instruct" in model or (model in MODELS and not cuda)]
    smaller = [model for model in judges if shape(model).parameters < shape(judge).parameters]
    return sorted(smaller, key=lambda model: -shape(model).parameters)


def _gb(size: float) -> str:
    return f"{size / 1e9:,.2f} GB"
