"""llama.cpp: what runs on the device, so parity and the candidates' accuracy are measured with it.

Rendering uses the chat template inside the GGUF file, and llama.cpp's own tokenizer, the way its server does it: BOS is
taken off the rendered text when the file says that the tokenizer adds one, so that it stands there once. What the text
and the ids are in the end is what parity compares with the float student's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from edgedistill import components
from edgedistill.context import check_lengths
from edgedistill.engine import Likeliest, Messages
from edgedistill.errors import UsageError
from edgedistill.files import sha256_of
from edgedistill.locks import held
from edgedistill.models import Model
from edgedistill.toolchain import gguf_head
from edgedistill.toolchain.llama_cpp import SHA256, cache_folder

if TYPE_CHECKING:
    from edgedistill.ml.llama_runtime import Sequences

VERSION = 2
FORMAT = "gguf"
PACKAGES = ("llama-cpp-python",)

SIDE_BY_SIDE = 32
"""Sequences that decode together, each with a cache of its own."""
SHARING = 24
"""Sequences that decode together in one cache, behind a beginning that they share. Each token looks through the cells
of all, if only to find that they are hidden, so more of them are slower."""
CACHED_TOKENS = 65_536
"""Tokens of all sequences together that the cache has room for; fewer sequences when they are long."""


def open_engine(model: Model) -> Engine:
    """The GGUF file in a model's folder; without one, the folder in 16-bit floats, exported on first use and kept."""
    found = sorted(model.path.glob("*.gguf"))
    if len(found) > 1:
        raise UsageError(
            f"engine `llama` needs one GGUF file, {model.path} has {len(found)}",
            "leave the one that is meant, or none, to have the folder exported in 16-bit floats",
        )
    return open_file(found[0] if found else _exported(model), context=None)


def open_file(path: Path, *, context: int | None, threads: int | None = None) -> Engine:
    """A GGUF file, for conversations of at most `context` tokens, answer included.

    context  None: what the model was trained for.
    threads  None: OMP_NUM_THREADS, or as many as this process has cores.
    Raises   CannotRun when llama.cpp cannot load the file, IntegrityError for one that it should not even see.
    """
    if path.is_file():
        gguf_head.check(path)
    return Engine(path, context, threads)


def _exported(model: Model) -> Path:
    """The float GGUF of a folder in Hugging Face layout, in the user's cache, named by what is in the folder."""
    exporter = components.load("exporters", "gguf")
    digest = hashlib.sha256(f"{SHA256} {exporter.VERSION}".encode())
    for part in model.files():
        digest.update(f" {part.name} {sha256_of(part)}".encode())
    file = cache_folder() / "float-gguf" / f"{digest.hexdigest()[:32]}.gguf"
    with held(file.with_suffix(".lock"), "the same model"):
        if not file.is_file():
            exporter.export_float(model, file)
    return file


class Engine:
    """See `edgedistill.engine.Engine`."""

    def __init__(self, path: Path, context: int | None, threads: int | None) -> None:
        from edgedistill.ml import llama_runtime
        from edgedistill.ml.threads import default_threads

        self.path = path
        self.threads = threads or default_threads()
        self._weights = llama_runtime.Weights(path)
        self.context = context or self._weights.trained_context
        self._formatter: Any = None

    def render(self, messages: Messages) -> str:
        """The prompt text after the template in the file. Raises UsageError when there is none or it refuses."""
        import jinja2

        try:
            text: str = self._template()(messages=list(messages)).prompt
        except (jinja2.TemplateError, ValueError) as error:
            raise UsageError(f"the chat template in {self.path.name} refuses the conversation: {error}") from error
        return text

    def _template(self) -> Any:
        if self._formatter is None:
            import llama_cpp
            from llama_cpp.llama_chat_format import Jinja2ChatFormatter

            template = self._weights.chat_template()
            if template is None:
                raise UsageError(f"{self.path.name} holds no chat template")
            vocab, text = self._weights.vocab, self._weights.token_text
            self._formatter = Jinja2ChatFormatter(
                template,
                eos_token=text(llama_cpp.llama_vocab_eos(vocab)),
                bos_token=text(llama_cpp.llama_vocab_bos(vocab)),
            )
        return self._formatter

    def token_ids(self, messages: Messages) -> list[int]:
        """What llama-server feeds the model with: common/chat.cpp, `common_chat_template_direct_apply_impl`."""
        import llama_cpp

        text, vocab = self.render(messages), self._weights.vocab
        if llama_cpp.llama_vocab_get_add_bos(vocab):
            text = text.removeprefix(self._weights.token_text(llama_cpp.llama_vocab_bos(vocab)))
        if llama_cpp.llama_vocab_get_add_eos(vocab):
            text = text.removesuffix(self._weights.token_text(llama_cpp.llama_vocab_eos(vocab)))
        return self._weights.tokenize(text, add_special=True)

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
        """One answer per conversation; an answer ends early when the context is full."""
        from edgedistill.ml.sampling import cut, picker

        pick = picker(len(conversations), temperature, seed, top_p)
        answers = self._answers(conversations, max_tokens, pick, stop, on_done)
        return [cut(self.text_of(answer), stop) for answer in answers]

    def answer_ids(self, conversations: Sequence[Messages], *, max_tokens: int) -> list[list[int]]:
        """Greedy answers as token ids, without the one that ends them."""
        from edgedistill.ml.sampling import picker

        return self._answers(conversations, max_tokens, picker(0, 0.0, 0), "", lambda n: None)

    def generate_within(
        self,
        grammar: str,
        conversations: Sequence[Messages],
        *,
        max_tokens: int,
        on_done: Callable[[int], None] = lambda n: None,
    ) -> list[str]:
        """Greedy answers of which every token is the likeliest that a grammar (GBNF) allows."""
        from edgedistill.ml.llama_grammar import Grammar

        states = [Grammar(self._weights, grammar) for _ in conversations]

        def pick(logits: Any, numbers: list[int]) -> list[int]:
            return [states[number].choose(row) for number, row in zip(numbers, logits, strict=True)]

        try:
            answers = self._answers(conversations, max_tokens, pick, "", on_done)
        finally:
            for state in states:
                state.close()
        return [self.text_of(answer) for answer in answers]

    def keeps_to(self, grammar: str, texts: Sequence[str]) -> list[bool]:
        """Whether each text keeps to a grammar, and ends where it may."""
        from edgedistill.ml.llama_grammar import Grammar

        state, found = Grammar(self._weights, grammar), []
        for text in texts:
            state.reset()
            found.append(state.fits(self._weights.tokenize(text, add_special=False)))
        state.close()
        return found

    def text_of(self, answer: Sequence[int]) -> str:
        """The text of answer ids, without special tokens."""
        return self._weights.detokenize(answer)

    def _answers(
        self,
        conversations: Sequence[Messages],
        max_tokens: int,
        pick: Callable[[Any, list[int]], list[int]],
        stop: str,
        on_done: Callable[[int], None],
    ) -> list[list[int]]:
        prompts = [self._fitting(messages) for messages in conversations]
        rooms = [min(max_tokens, self.context - len(prompt)) for prompt in prompts]
        answers: list[list[int]] = [[] for _ in prompts]
        enders = self._weights.tokens_with(stop[-1]) if stop else frozenset()
        for group, sequences, first in self._groups(prompts, max_tokens):
            slots, numbers, logits = list(range(len(group))), group, first
            while slots:
                tokens = pick(logits, numbers)
                places = [
                    place
                    for place, (number, token) in enumerate(zip(numbers, tokens, strict=True))
                    if self._goes_on(answers[number], token, rooms[number], stop if token in enders else "")
                ]
                if len(places) < len(slots):
                    on_done(len(slots) - len(places))
                    slots, numbers, tokens = ([row[place] for place in places] for row in (slots, numbers, tokens))
                if slots:
                    logits = sequences.step(slots, tokens)
        return answers

    def _goes_on(self, answer: list[int], token: int, room: int, stop: str) -> bool:
        """Append the token, unless it ends the answer; whether another one follows."""
        if token in self._weights.end_ids:
            return False
        answer.append(token)
        # A token is at least one byte, so the stop text lies within this many of the last ones.
        is_stopped = bool(stop) and stop in self.text_of(answer[-len(stop.encode()) - 1 :])
        return len(answer) < room and not is_stopped

    def first_token_log_probs(self, conversations: Sequence[Messages]) -> Any:
        """(conversations, vocabulary) float32"""
        import numpy as np

        from edgedistill.ml.sampling import log_softmax

        prompts = [self._fitting(messages) for messages in conversations]
        found = np.zeros((len(prompts), self._weights.size), np.float32)
        for numbers, _, logits in self._groups(prompts, 0):
            found[numbers] = log_softmax(logits)
        return found

    def answer_log_probs(
        self,
        conversations: Sequence[Messages],
        answers: Sequence[str],
        *,
        on_done: Callable[[int], None] = lambda n: None,
    ) -> list[list[float]]:
        from edgedistill.ml import llama_likelihood
        from edgedistill.ml.forks import each_once

        prompts = each_once(conversations, lambda distinct: [self._fitting(messages) for messages in distinct])
        ids = [self._weights.tokenize(answer, add_special=False) for answer in answers]
        self._check_lengths([len(prompt) + len(answer) - 1 for prompt, answer in zip(prompts, ids, strict=True)])
        return llama_likelihood.answer_log_probs(self._weights, self.threads, prompts, ids, on_done)

    def as_read(self, text: str) -> str:
        ids = self.text_ids(text)
        return self.text_of(ids)

    def text_ids(self, text: str) -> list[int]:
        return self._weights.tokenize(text, add_special=False)

    def begin_ids(self) -> list[int]:
        import llama_cpp

        begin = llama_cpp.llama_vocab_bos(self._weights.vocab)
        return [begin] if llama_cpp.llama_vocab_get_add_bos(self._weights.vocab) else []

    def piece(self, token_id: int) -> str:
        return self._weights.detokenize([token_id], special=True)

    def added_ids(self) -> frozenset[int]:
        return self._weights.added_ids

    def unknown_ids(self) -> frozenset[int]:
        """None: where its vocabulary lacks a sign, llama.cpp gives no ids at all."""
        return frozenset()

    def stop_ids(self) -> frozenset[int]:
        return self._weights.end_ids

    def next_log_probs(self, ids: Sequence[int]) -> Any:
        """(ids, vocabulary) float32 log probabilities of what follows each of the ids; no template, no begin token."""
        from edgedistill.ml.llama_runtime import Sequences
        from edgedistill.ml.sampling import log_softmax

        sequences = Sequences(self._weights, 1, len(ids), self.threads, outputs=len(ids))
        try:
            return log_softmax(sequences.feed_all(0, ids))
        finally:
            sequences.close()

    def likeliest(
        self,
        prompts: Sequence[Sequence[int]],
        answers: Sequence[Sequence[int]],
        count: int,
        *,
        vocabulary: int | None = None,
        on_done: Callable[[int], None] = lambda n: None,
    ) -> list[Likeliest]:
        self._check_lengths([len(prompt) + len(answer) for prompt, answer in zip(prompts, answers, strict=True)])
        from edgedistill.ml.sampling import likeliest, log_softmax

        found = []
        for prompt, answer in zip(prompts, answers, strict=True):
            log_probs = log_softmax(self._step_log_probs(prompt, answer[:-1])[:, :vocabulary])
            found.append(likeliest(log_probs, answer, count))
            on_done(1)
        return found

    def step_log_probs(self, messages: Messages, answer: Sequence[int]) -> Any:
        """(answer + 1, vocabulary) float32 log probabilities at each position of an answer, and of what follows it."""
        return self._step_log_probs(self._fitting(messages), answer)

    def _step_log_probs(self, prompt: Sequence[int], answer: Sequence[int]) -> Any:
        from edgedistill.ml.llama_runtime import Sequences
        from edgedistill.ml.sampling import log_softmax

        room = len(prompt) + len(answer)
        sequences = Sequences(self._weights, 1, room, self.threads, outputs=len(answer) + 1)
        try:
            if len(prompt) > 1:
                sequences.feed([(0, prompt[:-1])])
            return log_softmax(sequences.feed_all(0, [prompt[-1], *answer]))
        finally:
            sequences.close()

    def sequences(self, count: int, cells: int, *, is_unified: bool = False) -> Sequences:
        """Bare sequences, with room for `cells` tokens each, or all together when `is_unified`."""
        from edgedistill.ml.llama_runtime import Sequences

        return Sequences(self._weights, count, cells, self.threads, is_unified=is_unified)

    def _fitting(self, messages: Messages) -> list[int]:
        prompt = self.token_ids(messages)
        self._check_lengths([len(prompt)])
        return prompt

    def _check_lengths(self, lengths: Sequence[int]) -> None:
        check_lengths(lengths, self.context)

    def _groups(self, prompts: list[list[int]], max_tokens: int) -> Iterator[tuple[list[int], Sequences, Any]]:
        """Yields (numbers, sequences, logits after each prompt), some prompts at a time, each in its own sequence.

        What prompts have in common at their start is decoded once and copied.
        """
        from edgedistill.ml.prefixes import group_by_prefix

        if not prompts:
            return
        groups = group_by_prefix(prompts)
        shared = max(group.shared for group in groups)
        rooms = [min(max(len(prompts[n]) for n in group.rows) + max_tokens, self.context) for group in groups]
        own = max(room - group.shared for room, group in zip(rooms, groups, strict=True)) if shared else max(rooms)
        most = max(len(group.rows) for group in groups)
        count = _even(most, max(1, min(SHARING if shared else SIDE_BY_SIDE, CACHED_TOKENS // own)))
        sequences = self.sequences(count, shared + count * own if shared else own, is_unified=shared > 0)
        try:
            for group in groups:
                sequences.start(prompts[group.rows[0]][: group.shared])
                for begin in range(0, len(group.rows), count):
                    if begin:
                        sequences.rewind(group.shared)
                    part = list(group.rows[begin : begin + count])
                    rows = [(slot, prompts[number][group.shared :]) for slot, number in enumerate(part)]
                    yield part, sequences, sequences.feed(rows)
        finally:
            sequences.close()

    def close(self) -> None:
        self._weights.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _even(rows: int, most: int) -> int:
    """Rows at a time, at most `most`, so that the last ones are about as many as the others: 40 by 24 are 20 and 20."""
    return -(-rows // -(-rows // most))
