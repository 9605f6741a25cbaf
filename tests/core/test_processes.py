"""What a process does alone, and what it takes from its launcher; several are in
tests/training/test_accelerate.py."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from rar_lib.core import processes
from rar_lib.core.errors import DataError

LAUNCHED = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in LAUNCHED.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LAUNCHED:
        monkeypatch.delenv(name, raising=False)


def test_a_process_alone_does_everything_itself() -> None:
    assert (processes.launched(), processes.count(), processes.index()) == (1, 1, 0)
    assert processes.is_first()
    marker = object()  # no JSON: nothing is sent
    assert processes.once(lambda: marker) is marker
    assert processes.first_then_others(lambda: marker) is marker
    assert processes.gathered(marker) == [marker]
    with pytest.raises(DataError, match="as it is"):
        processes.gathered(error=DataError("as it is"))
    assert processes.to_be_said(DataError("x"))


def test_a_process_alone_imports_no_torch() -> None:
    program = (
        "import sys; from rar_lib.core import processes; processes.join(cpu=True); "
        "print(processes.count(), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == ["1", "False"], done.stderr


@pytest.mark.parametrize(
    ("bound", "each"), [(32, 8), (33, 8), (35, 8), (8, 2), (4, 1), (3, 1), (1, 1)]
)
def test_a_bound_of_the_machine_is_shared(launched: None, bound: int, each: int) -> None:
    assert processes.fair_share(bound) == each


def test_only_processes_of_one_machine_share(
    launched: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")  # two machines of two
    assert processes.fair_share(32) == 16


@pytest.mark.parametrize("name", ["WORLD_SIZE", "LOCAL_WORLD_SIZE"])
@pytest.mark.parametrize("value", ["", "many", "0"])
def test_nonsense_in_the_environment_is_one_process(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert processes.fair_share(32) == 32
    assert processes.launched() == 1


def test_a_number_without_a_place_is_no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "8")  # left over in a shell
    assert processes.launched() == 1
    assert processes.is_first()


def test_what_the_first_one_says_is_enough(
    launched: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with processes.first_speaks():
        print("an estimate")
        print("a row left out", file=sys.stderr)
    with pytest.raises(ValueError, match="raised all the same"), processes.first_speaks():
        raise ValueError("raised all the same")
    assert capsys.readouterr() == ("", "")
    assert not processes.to_be_said(DataError("said by the first one, too"))


def test_a_server_is_not_told_the_place_of_its_owner(launched: None) -> None:
    told = ["RANK", "LOCAL_RANK", "MASTER_PORT", "TORCHELASTIC_RUN_ID", "ACCELERATE_USE_CPU"]
    kept = ["PATH", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "HF_HOME", "RANKING"]
    assert [name for name in told + kept if processes.of_launcher(name)] == told


def test_without_a_launcher_a_server_has_the_whole_environment() -> None:
    assert not processes.of_launcher("ACCELERATE_USE_CPU")


def test_work_side_by_side_gathers_in_the_order_in_which_it_began() -> None:
    """The second is done first here, and in another process perhaps last."""
    order: list[str] = []

    async def work(name: str, seconds: float) -> None:
        async with processes.in_turn() as turn:
            await asyncio.sleep(seconds)
            if name == "fails":
                raise ValueError(name)
            await turn()
            order.append(name)

    async def all_of_them() -> None:
        slow = work("slow", 0.05)
        fails = work("fails", 0.01)
        quick = work("quick", 0.0)
        await asyncio.gather(slow, fails, quick, return_exceptions=True)

    asyncio.run(all_of_them())
    assert order == ["slow", "quick"]
