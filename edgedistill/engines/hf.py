"""Engine `hf`: any Hugging Face causal language model, in torch. float32 on the CPU, bfloat16 on GPUs."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from edgedistill.engine import Likeliest, Messages
from edgedistill.models import Model

if TYPE_CHECKING:
    from edgedistill.ml.decode import Decoder

VERSION = 1


def open_engine(model: Model) -> HfEngine:
    """Load a checked model folder, on one device or over several, as its recipe says (`ModelConfig`)."""
    from edgedistill.ml.decode import Decoder
    from edgedistill.ml.loading import load

    return HfEngine(Decoder(model.path, load(model)))


class HfEngine:
    """See `edgedistill.engine.Engine`."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder: Decoder | None = decoder

    @property
    def decoder(self) -> Decoder:
        assert self._decoder is not None, "the engine is closed"
        return self._decoder

    def render(self, messages: Messages) -> str:
        text = self.decoder.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        assert isinstance(text, str)
        return text

    def token_ids(self, messages: Messages) -> list[int]:
        return self._ids([messages])[0]

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
        return self.decoder.generate(self._ids(conversations), max_tokens, temperature, seed, stop, on_done, top_p)

    def answer_ids(self, conversations: Sequence[Messages], *, max_tokens: int) -> list[list[int]]:
        """Greedy answers as token ids, without the one that ends them."""
        return self.decoder.answer_ids(self._ids(conversations), max_tokens)

    def text_of(self, answer: Sequence[int]) -> str:
        """The text of answer ids, without special tokens."""
        return self.decoder.text(answer)

    def step_log_probs(self, messages: Messages, answer: Sequence[int]) -> Any:
        """(answer + 1, vocabulary) float32 log probabilities at each position of an answer, and of what follows it."""
        return self.decoder.last_logits([*self.token_ids(messages), *answer], len(answer) + 1).log_softmax(1).numpy()

    @property
    def context(self) -> int:
        return self.decoder.context

    def as_read(self, text: str) -> str:
        from edgedistill.toolchain import tokenization

        return tokenization.as_read(self.decoder.tokenizer, text)

    def text_ids(self, text: str) -> list[int]:
        ids: list[int] = self.decoder.tokenizer.encode(text, add_special_tokens=False, verbose=False)
        return ids

    def begin_ids(self) -> list[int]:
        tokenizer = self.decoder.tokenizer
        with_begin = tokenizer.encode("a", add_special_tokens=True)
        return [tokenizer.bos_token_id] if with_begin[:1] == [tokenizer.bos_token_id] else []

    def piece(self, token_id: int) -> str:
        text: str = self.decoder.tokenizer.decode([token_id], clean_up_tokenization_spaces=False)
        return text

    def added_ids(self) -> frozenset[int]:
        return frozenset(self.decoder.tokenizer.added_tokens_decoder)

    def unknown_ids(self) -> frozenset[int]:
        tokenizer = self.decoder.tokenizer
        written = (None, tokenizer.bos_token_id, tokenizer.eos_token_id)  # GPT-2 names one token for everything
        return frozenset({tokenizer.unk_token_id}.difference(written))

    def stop_ids(self) -> frozenset[int]:
        return self.decoder.end_ids

    def next_log_probs(self, ids: Sequence[int]) -> Any:
        return self.decoder.last_logits(ids, len(ids)).log_softmax(1).numpy()

    def first_token_log_probs(self, conversations: Sequence[Messages]) -> Any:
        return self.decoder.first_token_logits(self._ids(conversations)).log_softmax(dim=1).numpy()

    def answer_log_probs(
        self,
        conversations: Sequence[Messages],
        answers: Sequence[str],
        *,
        on_done: Callable[[int], None] = lambda n: None,
    ) -> list[list[float]]:
        from edgedistill.ml.forks import each_once
        from edgedistill.ml.likelihood import answer_log_probs

        if not answers:
            return []
        ids = self.decoder.tokenizer(list(answers), add_special_tokens=False)["input_ids"]
        return answer_log_probs(self.decoder, each_once(conversations, self._ids), ids, on_done)

    def likeliest(
        self,
        prompts: Sequence[Sequence[int]],
        answers: Sequence[Sequence[int]],
        count: int,
        *,
        vocabulary: int | None = None,
        on_done: Callable[[int], None] = lambda n: None,
    ) -> list[Likeliest]:
        from edgedistill.ml.likelihood import likeliest

        return likeliest(self.decoder, prompts, answers, count, vocabulary, on_done)

    def close(self) -> None:
        if self._decoder is not None:
            from edgedistill.ml.memory import give_back

            self._decoder = None
            gc.collect()
            give_back()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ids(self, conversations: Sequence[Messages]) -> list[list[int]]:
        if not conversations:
            return []
        # The template has written the special tokens already; the tokenizer must not add a second begin token.
        texts = [self.render(messages) for messages in conversations]
        ids: list[list[int]] = self.decoder.tokenizer(texts, add_special_tokens=False)["input_ids"]
        return ids
