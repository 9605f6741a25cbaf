"""One chat client for every OpenAI-compatible endpoint: local vLLM, OpenAI, anything else.

chat = Chat("http://127.0.0.1:8000/v1", "qwen-1.5b")
reply = await chat.complete([{"role": "user", "content": "Hello"}], max_tokens=8)
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import threading
import time
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from rar_lib.core.errors import ChatError, JudgeFault
from rar_lib.core.types import Price, Usage
from rar_lib.judging.cassette import Cassette

if TYPE_CHECKING:
    from openai import AsyncOpenAI

T = TypeVar("T")
_Clients = WeakKeyDictionary[asyncio.AbstractEventLoop, "tuple[AsyncOpenAI, asyncio.Semaphore]"]
Message = dict[str, str]
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


@dataclass(frozen=True)
class Reply:
    """What came back: text, why it stopped, and the probabilities of the first token."""

    text: str
    finish_reason: str
    first_token: Mapping[str, float]
    usage: Usage


class Server(Protocol):
    """A server on this machine (:class:`rar_lib.models.server.LocalServer`)."""

    def url(self) -> str:
        """The address that ends in ``/v1``; the first call starts the server.

        Raises:
            ServerError: it did not start.
        """
        ...

    def check(self) -> None:
        """Tell a server that is busy from one that is gone; asked when a request has failed.

        Raises:
            ServerError: it has ended, so that every other request would fail, too.
        """
        ...


@dataclass
class _Pending:
    """A request in flight, and how many wait for its reply."""

    reply: asyncio.Future[Reply]
    waiting: int = 0


@dataclass(frozen=True)
class Chat:
    """A model behind an OpenAI-compatible endpoint.

    Attributes:
        server: its address, which ends in ``/v1``, or a server on this machine that starts with
            the first request which the cassette can't answer.
        model: name by which the server knows the model.
        weights: SHA-256 of the weights where known; part of the judge's identity. Without it the
            address stands for them: a judge that moves is then another one.
        concurrency: most requests in flight at once.
        timeout_s: seconds for one request, counted from when it is sent.
        key_env: environment variable with the API key; loopback servers need none.
        price: puts money on the usage of every reply, on record or new.
        cassette: where replies are recorded and looked up; ``None`` asks every time.
    """

    server: str | Server
    model: str
    weights: str = ""
    concurrency: int = 32
    timeout_s: float = 180.0
    key_env: str = "OPENAI_API_KEY"
    price: Price | None = field(default=None, compare=False)
    cassette: Cassette | None = field(default=None, compare=False)
    _clients: _Clients = field(default_factory=WeakKeyDictionary, repr=False, compare=False)
    _pending: dict[tuple[int, str], _Pending] = field(
        default_factory=dict, repr=False, compare=False
    )

    @property
    def where(self) -> str:
        """The address, or what stands for it before a local server has one."""
        return self.server if isinstance(self.server, str) else f"the local server of {self.model}"

    @property
    def local(self) -> bool:
        """Whether the endpoint is this machine (vLLM's extra parameters are allowed there)."""
        return not isinstance(self.server, str) or urlsplit(self.server).hostname in _LOOPBACK

    async def _client(self) -> tuple[AsyncOpenAI, asyncio.Semaphore]:
        """One client per event loop: TRL runs rewards on a loop of its own."""
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            from openai import AsyncOpenAI, DefaultAsyncHttpxClient

            base_url = (
                self.server
                if isinstance(self.server, str)
                else await asyncio.to_thread(self.server.url)
            )
            key = os.environ.get(self.key_env, "")
            if not key and not self.local:
                raise ChatError(
                    f"no API key for {self.where}: set the environment variable {self.key_env}"
                )
            # The client retries connection errors, 408, 409, 429 and 5xx with jitter and
            # honours Retry-After; everything else is final.
            client = AsyncOpenAI(
                base_url=base_url,
                api_key=key or "not-needed",
                max_retries=4,
                timeout=self.timeout_s,
                # A proxy in the environment is for the outside, never for this machine.
                http_client=DefaultAsyncHttpxClient(trust_env=not self.local),
            )
            # While a server started, another task may have come first: one bound for all.
            self._clients.setdefault(loop, (client, asyncio.Semaphore(self.concurrency)))
        return self._clients[loop]

    async def complete(
        self,
        messages: list[Message],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
        schema: Mapping[str, Any] | None = None,
        top_logprobs: int = 0,
        prefill: str = "",
    ) -> Reply:
        """One reply.

        Args:
            schema: JSON schema that the reply must follow (structured output).
            top_logprobs: how many alternatives of the first token to return, at most 20.
            prefill: start of the assistant's own turn, to be continued (local servers only).

        Raises:
            JudgeFault: this request failed after retries, or was refused for its content.
            ChatError: the endpoint is wrong (key, model, address): every request would fail.
            ServerError: the local server did not start, or has ended since.
        """
        if prefill:
            messages = [*messages, {"role": "assistant", "content": prefill}]
        request: dict[str, Any] = {
            "model": self.model,
            "weights": self.weights or self.where,
            "messages": messages,
            "max_tokens": max_tokens,
            "temperature": temperature,
            "seed": seed,
            "schema": schema,
            "top_logprobs": top_logprobs,
            "prefill": bool(prefill),
        }
        if self.cassette and (stored := self.cassette.look_up(request)):
            return self._priced(Reply(**stored | {"usage": Usage(**stored["usage"])}))
        # An identical request in flight is waited for, not sent again.
        key = (id(asyncio.get_running_loop()), json.dumps(request, sort_keys=True))
        if key not in self._pending:
            self._pending[key] = _Pending(asyncio.ensure_future(self._answer(request)))
        pending = self._pending[key]
        pending.waiting += 1
        try:
            # Shielded: whoever gives up waiting does not take the answer from the others.
            return self._priced(await asyncio.shield(pending.reply))
        finally:
            pending.waiting -= 1
            if not pending.waiting:  # answered, or nobody wants the answer any more
                self._pending.pop(key, None)
                pending.reply.cancel()

    def _priced(self, reply: Reply) -> Reply:
        if self.price is None or not reply.usage.prompt_tokens:
            return reply
        money = self.price.of(reply.usage)
        return replace(reply, usage=reply.usage.model_copy(update={"money": money}))

    async def _answer(self, request: Mapping[str, Any]) -> Reply:
        """Ask, and keep the reply."""
        reply = await self._ask(request)
        # A refusal is the provider's mood, not the model's answer: asked again next time.
        if self.cassette and reply.finish_reason in ("stop", "length"):
            # Without the price: what was read and written is what happened.
            usage = reply.usage.model_dump(exclude={"money"})
            self.cassette.record(request, asdict(reply) | {"usage": usage})
        return reply

    async def _ask(self, request: Mapping[str, Any]) -> Reply:
        """Send one request; the client retries what is worth retrying."""
        import openai

        client, gate = await self._client()
        try:
            async with gate:
                start = time.perf_counter()
                answer = await client.chat.completions.create(
                    model=self.model,
                    messages=request["messages"],
                    max_completion_tokens=request["max_tokens"],
                    temperature=request["temperature"],
                    seed=request["seed"],
                    **_options(request),
                )
                seconds = time.perf_counter() - start
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise ChatError(
                f"{self.where} refused the key in {self.key_env} ({error.status_code}): "
                "check that it is set and may use this model"
            ) from error
        except openai.NotFoundError as error:
            raise ChatError(
                f"{self.where} has no model {self.model!r} (404): "
                "ask it for /v1/models, or correct the address"
            ) from error
        except openai.OpenAIError as error:
            if not isinstance(self.server, str):
                self.server.check()  # gone, or only busy?
            raise JudgeFault(f"{type(error).__name__}: {str(error)[:200]}") from error
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise JudgeFault(f"the reply is not JSON: {str(error)[:200]}") from error
        return _reply(answer, seconds)


def _options(request: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that not every request has."""
    options: dict[str, Any] = {}
    if request["schema"] is not None:
        shape = {"name": "reply", "schema": dict(request["schema"]), "strict": True}
        options["response_format"] = {"type": "json_schema", "json_schema": shape}
    if request["top_logprobs"]:
        options |= {"logprobs": True, "top_logprobs": request["top_logprobs"]}
    if request["prefill"]:
        options["extra_body"] = {"continue_final_message": True, "add_generation_prompt": False}
    return options


def _reply(answer: Any, seconds: float) -> Reply:
    """What the endpoint sent, checked, because the client does not check it.

    Raises:
        JudgeFault: it is off the protocol.
    """
    try:
        if not answer.choices:
            raise JudgeFault("the reply holds no choice")
        choice = answer.choices[0]
        return Reply(
            text=_storable(choice.message.content or ""),
            finish_reason=choice.finish_reason or "",
            first_token=_first_token(choice.logprobs),
            usage=_usage(answer.usage, seconds),
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise JudgeFault(f"the reply is off the protocol: {str(error)[:200]}") from error


def _first_token(logprobs: Any) -> dict[str, float]:
    """Token -> probability for the first generated position; equal spellings are added up."""
    if logprobs is None or not logprobs.content:
        return {}
    mass: dict[str, float] = {}
    for item in logprobs.content[0].top_logprobs:
        if not item.logprob < 0.01:  # not a number, too
            raise JudgeFault(f"the log-probability of {item.token!r} is {item.logprob}")
        token = _storable(item.token)
        mass[token] = mass.get(token, 0.0) + math.exp(item.logprob)
    return mass


def _storable(text: str) -> str:
    """Text with question marks for halves of surrogate pairs, which no file can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _usage(usage: Any, seconds: float) -> Usage:
    if usage is None:
        return Usage(calls=1, seconds=seconds)
    details = usage.prompt_tokens_details
    return Usage(
        calls=1,
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=(details.cached_tokens or 0) if details else 0,
        completion_tokens=usage.completion_tokens,
        seconds=seconds,
    )


async def sample(
    chat: Chat,
    messages: list[Message],
    *,
    n: int,
    max_tokens: int,
    temperature: float = 1.0,
    seed: int = 0,
) -> list[str]:
    """``n`` independent samples of a reply: one GRPO group."""
    replies = await together(
        chat.complete(messages, max_tokens=max_tokens, temperature=temperature, seed=seed + i)
        for i in range(n)
    )
    return [reply.text.strip() for reply in replies]


async def together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of coroutines that run side by side, in their order.

    When one raises, the others are cancelled, so that nothing more is asked of a broken
    endpoint, and its error is raised as it is.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except BaseExceptionGroup as errors:
        raise _first(errors) from None
    return [task.result() for task in tasks]


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def run_sync(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end from a script and from a notebook, where a loop runs already."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    outcome: list[T] = []
    failure: list[BaseException] = []

    def target() -> None:
        try:
            outcome.append(asyncio.run(work))
        except BaseException as error:  # handed to the caller below
            failure.append(error)

    thread = threading.Thread(target=target, name="rar-run-sync")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]
