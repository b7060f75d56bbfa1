"""Engine `openai`: a model that any server with OpenAI's chat/completions answers for, e.g. llama-server or vLLM.

Text comes back, so such a model can draft questions and write data, but it cannot be aligned. A server that also echoes
prompts with their log probabilities, as vLLM does, teaches token by token too (`likeliest`). Several requests are under
way at a time (`requests:` in the recipe), each with its own seed.
"""

from __future__ import annotations

import difflib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from fnmatch import fnmatchcase
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

from edgedistill.answered import Answered
from edgedistill.engine import Likeliest, Messages
from edgedistill.errors import StageFailed, UsageError
from edgedistill.log import say
from edgedistill.models import Model
from edgedistill.sections import ModelConfig
from edgedistill.server import Server
from edgedistill.server_address import CHAT
from edgedistill.shards import seed_of

VERSION = 1


def open_engine(model: Model, answered: Path | None = None) -> OpenAiEngine:
    """A server's model, which must be on the server's list where there is one.

    answered  file where every answer is kept as it comes, and looked up before it is asked for
    Raises    UsageError when the key is missing or refused, nobody answers, or the server has no such model
    """
    config = model.server
    if config is None or config.base_url is None:
        raise UsageError("engine `openai` asks a server, and this model is a folder", "use `engine: hf`")
    server = Server(config.base_url, _key(config), config.requests)
    _check_name(config.model, server)
    return OpenAiEngine(server, config, Answered(answered))


def _key(config: ModelConfig) -> str | None:
    if config.api_key_env is None:
        return None
    key = os.environ.get(config.api_key_env, "").strip()
    if not key:
        raise UsageError(
            f"environment variable {config.api_key_env} is not set; it is to hold the key of {config.base_url}",
            f"`export {config.api_key_env}=…`, or mend `api_key_env`",
        )
    if not (key.isascii() and key.isprintable()):  # http.client would repeat it in its message
        raise UsageError(f"environment variable {config.api_key_env} holds signs that no key has", "set it again")
    return key


def _check_name(name: str, server: Server) -> None:
    """A server with one model often answers to any name: then the lineage would name a model that was not asked."""
    listed = server.get("/models")
    entries = listed.get("data") if isinstance(listed, dict) else None
    known = [str(entry["id"]) for entry in entries or () if isinstance(entry, dict) and "id" in entry]
    if known and not any(fnmatchcase(name, pattern) or name == pattern for pattern in known):
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        guess = f" (did you mean `{near[0]}`?)" if near else ""
        shown = server.shown(", ".join(known[:10])) + (f" and {len(known) - 10} more" if len(known) > 10 else "")
        raise UsageError(f"{server.address} has no model `{name}`{guess}; it has: {shown}", "mend `model`")


class OpenAiEngine:
    """See `edgedistill.engine.Engine`. The same arguments give the same answers where the server keeps to its seed."""

    def __init__(self, server: Server, config: ModelConfig, answered: Answered) -> None:
        self._server, self._config, self._answered = server, config, answered

    def generate(
        self,
        conversations: Sequence[Messages],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
        stop: str = "",
        on_done: Callable[[int], None] = lambda n: None,
    ) -> list[str]:
        """One answer per conversation.

        `stop` is not sent but cut off here: a server leaves the stop text out and does not say whether it was written,
        and an answer without its end would be taken for one with it, or the other way round.
        """
        requests = [
            {
                "messages": list(messages),
                "max_tokens": max_tokens,
                "temperature": temperature,
                "top_p": top_p,
                "seed": seed_of(seed, number),
            }
            for number, messages in enumerate(conversations)
        ]
        texts = [self._answered.find(request) for request in requests]
        missing = [number for number, text in enumerate(texts) if text is None]
        on_done(len(texts) - len(missing))
        for place, text in self._ask_all([requests[number] for number in missing]):
            texts[missing[place]] = text
            on_done(1)
        return [_cut(text or "", stop) for text in texts]

    def _ask_all(self, requests: list[dict[str, Any]]) -> Iterator[tuple[int, str]]:
        """(place, text) as answers come. After a failure nothing is begun, and what is under way is waited for."""
        ends: Counter[str] = Counter()
        pool = ThreadPoolExecutor(self._config.requests.at_once, "openai")
        try:
            asked = {pool.submit(self._ask, request, ends): place for place, request in enumerate(requests)}
            for future in as_completed(asked):
                yield asked[future], future.result()
        except BaseException as error:
            # An interrupt does not wait for answers; a failure does, since they are paid for.
            self._server.stop(cut=not isinstance(error, Exception))
            raise
        finally:
            pool.shutdown(cancel_futures=True)
        if ends:
            told = ", ".join(f"{count:,} ended by `{reason}`" for reason, count in sorted(ends.items()))
            say(f"warning: {sum(ends.values()):,} of {len(requests):,} answers are empty: {told}")

    def _ask(self, request: dict[str, Any], ends: Counter[str]) -> str:
        how = self._config.requests
        body = {"model": self._config.model, **request, **self._config.extra_body}
        body[how.length_key] = body.pop("max_tokens")
        reply = self._server.post(CHAT, body, request["seed"])
        try:
            choice = reply["choices"][0]
            text = choice["message"].get("content") or ""
        except (LookupError, TypeError, AttributeError):
            raise StageFailed(
                f"{self._server.address} answers in a form that is not OpenAI's: {self._server.shown(str(reply))}",
                "check `base_url`: it must be a server with chat/completions",
            ) from None
        if not isinstance(text, str):
            raise StageFailed(f"{self._server.address} answers with {type(text).__name__}, expected text")
        if not text:  # e.g. `length`: all the room went into thinking
            ends[str(choice.get("finish_reason"))] += 1
        self._answered.keep(request, text)
        return text

    def render(self, messages: Messages) -> str:
        self._has_no("prompt text")

    def token_ids(self, messages: Messages) -> list[int]:
        self._has_no("token ids")

    def first_token_log_probs(self, conversations: Sequence[Messages]) -> Any:
        self._has_no("probabilities")

    def answer_log_probs(
        self,
        conversations: Sequence[Messages],
        answers: Sequence[str],
        *,
        on_done: Callable[[int], None] = lambda n: None,
    ) -> list[list[float]]:
        self._has_no("probabilities")

    def likeliest(
        self,
        prompts: Sequence[Sequence[int]],
        answers: Sequence[Sequence[int]],
        count: int,
        *,
        vocabulary: int | None = None,
        on_done: Callable[[int], None] = lambda n: None,
    ) -> list[Likeliest]:
        """By `/completions` with the ids as the prompt, which the server echoes with log probabilities.

        A server tells its likeliest tokens and no more, so what it gives to padding is not shared out: it is missing.

        Source  vLLM 0.26, entrypoints/openai/completion: `echo` without new tokens, `return_tokens_as_token_ids`
        Raises  StageFailed when the server echoes nothing of the kind
        """
        from edgedistill import echoed

        found: list[Likeliest] = []
        with ThreadPoolExecutor(self._config.requests.at_once, "openai") as pool:
            try:
                asked = [
                    pool.submit(echoed.ask, self._server, self._config, self._answered, prompt, answer, count)
                    for prompt, answer in zip(prompts, answers, strict=True)
                ]
                for future, answer in zip(asked, answers, strict=True):
                    told = echoed.likeliest(future.result(), answer, count, self._server.address)
                    found.append(echoed.without_padding(told, vocabulary) if vocabulary else told)
                    on_done(1)
            except BaseException as error:
                self._server.stop(cut=not isinstance(error, Exception))
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return found

    def _has_no(self, what: str) -> NoReturn:
        raise UsageError(
            f"engine `openai` gives text and no {what}: {self._config.model} answers on {self._server.address}",
            "use a folder or hub id with `engine: hf`, or a signal that reads text, like `icl_accuracy`",
        )

    def close(self) -> None:
        """Nothing is held open between two requests."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _cut(text: str, stop: str) -> str:
    """Up to and with the first stop text."""
    place = text.find(stop) if stop else -1
    return text if place < 0 else text[: place + len(stop)]
