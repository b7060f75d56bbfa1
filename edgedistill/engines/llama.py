"""llama.cpp: what runs on the device, so parity and the candidates' accuracy are measured with it.

Rendering uses the chat template inside the GGUF file, and llama.cpp's own tokenizer, the way its server does it: BOS is
taken off the rendered text when the file says that the tokenizer adds one, so that it stands there once. What the text
and the ids are in the end is what parity compares with the float student's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from edgedistill.engine import Messages
from edgedistill.errors import UsageError
from edgedistill.models import Model

if TYPE_CHECKING:
    from edgedistill.ml.llama_runtime import Sequences

VERSION = 1

SIDE_BY_SIDE = 32
"""Sequences that decode together."""
CACHED_TOKENS = 65_536
"""Tokens of all sequences together that the cache has room for; fewer sequences when they are long."""
_DEFAULT_CONTEXT = 4096


def open_engine(model: Model) -> Engine:
    """The GGUF file in a model's folder. A model without one is exported by `package` first."""
    found = sorted(model.path.glob("*.gguf"))
    if len(found) != 1:
        raise UsageError(
            f"engine `llama` needs one GGUF file, {model.path} has {len(found)}",
            "use `engine: hf` for a folder in Hugging Face layout",
        )
    return open_gguf(found[0], context=_DEFAULT_CONTEXT)


def open_gguf(path: Path, *, context: int, threads: int | None = None) -> Engine:
    """A GGUF file, for conversations of at most `context` tokens, answer included.

    threads  None: OMP_NUM_THREADS, or as many as this process has cores.
    Raises   UsageError when llama.cpp cannot load the file.
    """
    return Engine(path, context, threads)


class Engine:
    """See `edgedistill.engine.Engine`."""

    def __init__(self, path: Path, context: int, threads: int | None) -> None:
        from edgedistill.ml import llama_runtime

        self.path = path
        self.context = context
        self.threads = threads or llama_runtime.default_threads()
        self._weights = llama_runtime.Weights(path)
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
        seed: int = 0,
        stop: str = "",
        on_done: Callable[[int], None] = lambda n: None,
    ) -> list[str]:
        """One answer per conversation; an answer ends early when the context is full."""
        answers = self._answers(
            conversations, max_tokens, _picker(len(conversations), temperature, seed), stop, on_done
        )
        return [_cut(self.text_of(answer), stop) for answer in answers]

    def answer_ids(self, conversations: Sequence[Messages], *, max_tokens: int) -> list[list[int]]:
        """Greedy answers as token ids, without the one that ends them."""
        return self._answers(conversations, max_tokens, _picker(0, 0.0, 0), "", lambda n: None)

    def text_of(self, answer: Sequence[int]) -> str:
        """The text of answer ids, without special tokens."""
        return self._weights.detokenize(answer)

    def _answers(
        self,
        conversations: Sequence[Messages],
        max_tokens: int,
        pick: Callable[[Any, int], int],
        stop: str,
        on_done: Callable[[int], None],
    ) -> list[list[int]]:
        prompts = [self._fitting(messages) for messages in conversations]
        answers: list[list[int]] = [[] for _ in prompts]
        for group, sequences, first in self._groups(prompts, max_tokens):
            active, logits = list(enumerate(group)), first
            while active:
                going_on = []
                for (slot, number), row in zip(active, logits, strict=True):
                    room = min(max_tokens, self.context - len(prompts[number]))
                    if self._goes_on(answers[number], pick(row, number), room, stop):
                        going_on.append((slot, number))
                on_done(len(active) - len(going_on))
                active = going_on
                if active:
                    logits = sequences.feed([(slot, answers[number][-1:]) for slot, number in active])
        return answers

    def _goes_on(self, answer: list[int], token: int, room: int, stop: str) -> bool:
        """Append the token, unless it ends the answer; whether another one follows."""
        if self._weights.ends(token):
            return False
        answer.append(token)
        # A token is at least one byte, so the stop text lies within this many of the last ones.
        is_stopped = bool(stop) and stop in self.text_of(answer[-len(stop.encode()) - 1 :])
        return len(answer) < room and not is_stopped

    def first_token_log_probs(self, conversations: Sequence[Messages]) -> Any:
        """(conversations, vocabulary) float32"""
        import numpy as np

        prompts = [self._fitting(messages) for messages in conversations]
        found = [logits for _, _, logits in self._groups(prompts, 0)]
        return _log_softmax(np.concatenate(found)) if found else np.zeros((0, self._weights.size), np.float32)

    def answer_log_probs(self, messages: Messages, answer: Sequence[int]) -> Any:
        """(answer + 1, vocabulary) float32 log probabilities at each position of an answer, and of what follows it."""
        from edgedistill.ml.llama_runtime import Sequences

        prompt = self._fitting(messages)
        room = len(prompt) + len(answer)
        sequences = Sequences(self._weights, 1, room, self.threads, outputs=len(answer) + 1)
        try:
            if len(prompt) > 1:
                sequences.feed([(0, prompt[:-1])])
            return _log_softmax(sequences.feed_all(0, [prompt[-1], *answer]))
        finally:
            sequences.close()

    def sequences(self, count: int, room: int) -> Sequences:
        """Bare sequences, for timing."""
        from edgedistill.ml.llama_runtime import Sequences

        return Sequences(self._weights, count, room, self.threads)

    def _fitting(self, messages: Messages) -> list[int]:
        prompt = self.token_ids(messages)
        if not 0 < len(prompt) < self.context:
            raise UsageError(
                f"a prompt of {len(prompt)} tokens does not fit into a context of {self.context}",
                "raise `validate.context`, or shorten the question",
            )
        return prompt

    def _groups(self, prompts: list[list[int]], max_tokens: int) -> Any:
        """Yields (numbers, sequences, logits after each prompt), some prompts at a time, each in its own sequence.

        What all prompts have in common at their start is decoded once and copied.
        """
        if not prompts:
            return
        room = min(max(map(len, prompts)) + max_tokens, self.context)
        count = max(1, min(SIDE_BY_SIDE, len(prompts), CACHED_TOKENS // room))
        common = _common_start(prompts)
        sequences = self.sequences(count, room)
        try:
            if common:
                sequences.feed([(0, prompts[0][:common])])
                sequences.share(0)
            for begin in range(0, len(prompts), count):
                group = list(range(begin, min(begin + count, len(prompts))))
                for slot in range(count):
                    sequences.cut(slot, common)
                yield group, sequences, sequences.feed([(s, prompts[n][common:]) for s, n in enumerate(group)])
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


def _picker(count: int, temperature: float, seed: int) -> Callable[[Any, int], int]:
    """(logits, number of the conversation) -> token. Each conversation has random numbers of its own."""
    import numpy as np

    if temperature == 0:
        return lambda logits, number: int(logits.argmax())
    random = [np.random.default_rng([seed, number]) for number in range(count)]

    def pick(logits: Any, number: int) -> int:
        # Gumbel-max: the largest of logit/T plus noise is a draw from the softmax at T.
        return int((logits / temperature + random[number].gumbel(size=logits.shape)).argmax())

    return pick


def _cut(text: str, stop: str) -> str:
    """Up to the end of the first stop text."""
    return text[: text.index(stop) + len(stop)] if stop and stop in text else text


def _common_start(prompts: list[list[int]]) -> int:
    """Tokens that all prompts share at their start; at least one is left to each. 0 for a single prompt."""
    if len(prompts) < 2:
        return 0
    first, last = min(prompts), max(prompts)
    limit = min(len(first), len(last)) - 1
    common = next((place for place in range(limit) if first[place] != last[place]), limit)
    return min(common, min(map(len, prompts)) - 1)


def _log_softmax(logits: Any) -> Any:
    """Over the last axis, without overflow."""
    import numpy as np

    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
