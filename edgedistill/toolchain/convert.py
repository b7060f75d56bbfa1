"""Hugging Face folder -> GGUF in 16-bit floats, by llama.cpp's own converter. Runs in a process of its own.

Around the weights, three things are set by what the Hugging Face tokenizer does, not by what its files are named:
the splitting rule (tokenization.py), the stop tokens, and whether a beginning-of-sequence token is added. What
llama.cpp assumes of a Gemma's attention instead of reading it is set in attention.py.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgedistill import gguf_file, models
from edgedistill.errors import UsageError
from edgedistill.toolchain import attention, subprocesses, tokenization

_PRE = "tokenizer.ggml.pre"


def convert(request: dict[str, Any]) -> dict[str, Any]:
    """`{sources, model, out, name, rows}` -> `{pre, warning, is_tied}`; the file lies at `out`.

    `rows` may be left out: texts of the recipe, on which the tokenizer is tried beside the built-in ones.

    Raises  UsageError for an architecture that the converter does not know, and for a tokenizer whose ids llama.cpp
            cannot reproduce
    """
    sources, folder, out = Path(request["sources"]), Path(request["model"]), Path(request["out"])
    sys.path[:0] = [str(sources), str(sources / "gguf-py")]
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    with torch.inference_mode():
        converter = Converter(folder, request["name"], tokenizer)
        vocabulary = out.with_name(f".{out.name}.vocabulary.tmp")
        try:
            converter.write_vocabulary(vocabulary)
            warning = _choose_splitting_rule(converter, vocabulary, sources, request.get("rows", ()))
        finally:
            vocabulary.unlink(missing_ok=True)
        converter.make(out).write()
    return {"pre": converter.pre, "warning": warning, "is_tied": converter.is_tied}


class Converter:
    """The converter's class for one architecture, with our choices laid over it."""

    def __init__(self, folder: Path, name: str, tokenizer: Any) -> None:
        from conversion import ModelBase, ModelType, get_model_architecture, get_model_class  # type: ignore[import-not-found]

        config = ModelBase.load_hparams(folder, False)
        if "n_positions" in config:
            config.setdefault("n_ctx", config["n_positions"])  # GPT-2: transformers 5 no longer saves both names
        architecture = get_model_architecture(config, ModelType.TEXT)
        inner = config.get("text_config") or {}
        self.is_tied: bool | None = inner.get("tie_word_embeddings", config.get("tie_word_embeddings"))
        try:
            self._class = get_model_class(architecture)
        except NotImplementedError:
            raise UsageError(
                f"llama.cpp's converter does not know the architecture {architecture}",
                "choose another student or another exporter",
            ) from None
        self.folder, self.name, self.tokenizer = folder, name, tokenizer
        _hide_tokens_beyond(tokenizer, inner.get("vocab_size", config.get("vocab_size")))
        self.pre, self.is_recognized = "default", True
        self.has_sentencepiece = (folder / "tokenizer.model").is_file() and find_spec("sentencepiece") is not None
        self._config = config
        self._own_way: Callable[[Any], None] = self._class.set_vocab
        self._way = self._own_way
        self._lay_over()
        attention.lay_over(self._class, architecture, config)

    def _lay_over(self) -> None:
        recognize = self._class.get_vocab_base_pre

        def pre(model: Any, tokenizer: Any) -> str:
            if self.is_recognized:
                try:
                    self.pre = recognize(model, tokenizer)
                except NotImplementedError:
                    self.is_recognized = False
            return self.pre

        def set_vocab(model: Any) -> None:
            self._way(model)
            if self._way is self._class._set_vocab_llama_hf:
                model.gguf_writer.add_add_space_prefix(_puts_a_space_first(self.tokenizer))
            _set_special_tokens(model.gguf_writer, self.folder, self.tokenizer)

        self._class.get_vocab_base_pre = pre
        self._class.set_vocab = set_vocab
        if not self.has_sentencepiece:
            self._class._set_vocab_sentencepiece = _no_sentencepiece
        _score_by_merges(self.folder)

    def make(self, out: Path) -> Any:
        import gguf

        model = self._class(
            self.folder, gguf.LlamaFileType.MOSTLY_F16, out, model_name=self.name, hparams=dict(self._config)
        )
        for name in models.buffers_of(self.folder):
            model.model_tensors.pop(name, None)  # the GPT-2 class means to leave masks out, and stops at their names
        if self.is_tied:
            # transformers ignores a stored head where the config ties it to the embedding; the converter would use it.
            model.model_tensors.pop("lm_head.weight", None)
        return model

    def write_vocabulary(self, out: Path) -> None:
        """A file without weights, in the first way that can read the tokenizer."""
        for way in self._ways():
            self._way = way
            try:
                self.make(out).write_vocab()
                return
            except (FileNotFoundError, TypeError, ValueError) as error:  # Phi-3: a ValueError for a missing file
                reason = error
        raise UsageError(f"llama.cpp's converter cannot read the tokenizer: {reason}")

    def _ways(self) -> list[Callable[[Any], None]]:
        """The class's own way, and the two that read tokenizer.json. Classes of models with a SentencePiece tokenizer
        insist on `tokenizer.model`, which transformers 5 no longer saves, or without it take every tokenizer for a
        byte-level one (Gemma 3)."""
        ways = [self._own_way, self._class._set_vocab_llama_hf, self._class._set_vocab_gpt2]
        if not self.has_sentencepiece and _falls_back_to_bytes(self.folder):
            ways[:2] = reversed(ways[:2])
        return ways

    def expected(self, rows: Sequence[str]) -> dict[str, list[int]]:
        """Text -> ids of the Hugging Face tokenizer: one rendered conversation, the test texts, the recipe's own rows,
        and for a tokenizer that is not known by hash, texts made of its own tokens. Each as the tokenizer reads it."""
        own = [] if self.is_recognized else tokenization.texts_of_tokens(self.tokenizer)
        read = [tokenization.as_read(self.tokenizer, text) for text in (*tokenization.TEXTS, *rows, *own)]
        texts = (_rendered(self.tokenizer), *read)
        return {text: self.tokenizer.encode(text, add_special_tokens=False) for text in texts if text}

    def warnings(self) -> list[str]:
        """What the Hugging Face tokenizer does to text, and llama.cpp does not."""
        found = tokenization.habits(lambda text: tokenization.as_read(self.tokenizer, text))
        return [f"{name}: {habit}" for name, habit in found.items()]


def _falls_back_to_bytes(folder: Path) -> bool:
    """Whether tokenizer.json holds a SentencePiece kind of BPE: unknown characters become bytes."""
    path = folder / "tokenizer.json"
    return path.is_file() and bool(json.loads(path.read_text(encoding="utf-8"))["model"].get("byte_fallback"))


def _puts_a_space_first(tokenizer: Any) -> bool:
    """Llama 2 reads `a` as ` a`; Gemma as it is."""
    (first, *_) = tokenizer.tokenize("a")
    return str(first).startswith("\u2581")


def _hide_tokens_beyond(tokenizer: Any, rows: int | None) -> None:
    """transformers adds tokens of its own to some tokenizers (Qwen2: `<|endoftext|>`). Where the model has no row,
    the converter would stop; no text of the model's own can hold it."""
    kind = type(tokenizer)
    get_vocab = kind.get_vocab
    kind.get_vocab = lambda self: {t: n for t, n in get_vocab(self).items() if rows is None or n < rows}


def _no_sentencepiece(model: Any, add_to_gguf: bool = True) -> None:
    # The converter imports the library before it looks for the file, and knows how to go on only without the file.
    raise FileNotFoundError("no tokenizer.model, or the package sentencepiece is not installed")


def _choose_splitting_rule(converter: Converter, vocabulary: Path, sources: Path, rows: Sequence[str]) -> str:
    """Set `converter.pre`; what the user should know, empty when there is nothing.

    A tokenizer that the converter knows by hash has a rule that was made for it. Where that one differs on a text, or
    there is none, the rule that gives the ids of every text is taken.

    Raises  UsageError where no rule does
    """
    differing = None
    if converter.is_recognized:
        differing = tokenization.first_difference(vocabulary, converter.expected(rows))
        converter.is_recognized = differing is None
    if not converter.is_recognized and gguf_file.read(vocabulary).metadata["tokenizer.ggml.model"] == "gpt2":
        converter.pre = _fitting_rule(vocabulary, converter.expected(rows), sources, converter.folder)
    elif differing:
        raise UsageError(
            f"llama.cpp cannot reproduce this tokenizer: its token ids differ first on {differing}",
            "put the model's original tokenizer.model beside tokenizer.json, or choose another student",
        )
    return "; ".join(converter.warnings())


def _fitting_rule(vocabulary: Path, expected: dict[str, list[int]], sources: Path, folder: Path) -> str:
    """The first of llama.cpp's splitting rules that gives the expected ids for every text."""
    rules = tokenization.splitting_rules(sources, folder)
    texts, furthest, closest = list(expected), -1, None
    for rule in rules:
        tried = gguf_file.with_text(vocabulary, _PRE, rule, vocabulary.with_suffix(".rule.tmp"))
        try:
            differing = tokenization.first_difference(tried, expected)
        finally:
            tried.unlink()
        if differing is None:
            return rule
        if texts.index(differing.text) > furthest:
            furthest, closest = texts.index(differing.text), differing
    raise UsageError(
        f"llama.cpp cannot reproduce this tokenizer: none of its {len(rules)} splitting rules gives the Hugging Face "
        f"tokenizer's ids. The closest rule differs first on {closest}",
        "choose a student whose tokenizer llama.cpp supports; a model that reads other token ids on the device is not "
        "the model that was trained",
    )


def _rendered(tokenizer: Any) -> str:
    asked = tokenization.as_read(tokenizer, "Hello, is it 5 o'clock?")
    conversation = [{"role": "user", "content": asked}]
    text: str = tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
    return text


def _set_special_tokens(writer: Any, folder: Path, tokenizer: Any) -> None:
    """BOS, EOS, stop tokens and chat template, as the Hugging Face model behaves.

    BOS is not added where the chat template writes it itself: a runtime that renders, then tokenizes, would double it.
    """
    bare, full = (tokenizer.encode("a", add_special_tokens=add) for add in (False, True))
    added_before = full[: len(full) - len(bare)] if full[-1:] == bare[-1:] else full[:1]
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    template_writes_bos = bos is not None and _rendered(tokenizer).startswith(tokenizer.bos_token)
    writer.add_add_bos_token(bool(bare != full and bos in added_before and not template_writes_bos))
    writer.add_add_eos_token(bool(bare != full and eos is not None and full[-1] == eos))
    if bos is not None:
        writer.add_bos_token_id(bos)
    stops = _stop_tokens(folder, eos)
    if stops:
        writer.add_eos_token_id(stops[0])
    if len(stops) > 1:
        writer.add_eot_token_id(stops[1])
    writer.add_chat_template(tokenizer.get_chat_template())


def _stop_tokens(folder: Path, eos: int | None) -> list[int]:
    """Ids that end an answer, the tokenizer's own first where generation stops on it."""
    stops: list[int] = []
    for name in ("generation_config.json", "config.json"):
        if not stops and (folder / name).is_file():
            given = json.loads((folder / name).read_text(encoding="utf-8")).get("eos_token_id")
            stops = given if isinstance(given, list) else [given] if isinstance(given, int) else []
    if eos is not None and (eos in stops or not stops):
        stops = [eos, *(stop for stop in stops if stop != eos)]
    return stops


def _score_by_merges(folder: Path) -> None:
    """Where only tokenizer.json is at hand for a SentencePiece tokenizer, the converter gives all tokens one score, and
    llama.cpp would merge from left to right. The order of the merges is what the scores stand for."""
    import gguf

    path = folder / "tokenizer.json"
    merges = json.loads(path.read_text(encoding="utf-8"))["model"].get("merges") if path.is_file() else None
    if not merges:
        return
    pairs = [merge.split(" ", 1) if isinstance(merge, str) else merge for merge in merges]
    ranks = {"".join(pair): rank for rank, pair in reversed(list(enumerate(pairs)))}

    def score(vocabulary: Any, token_id: int) -> float:
        token = vocabulary.tokenizer.convert_ids_to_tokens(token_id)
        return -float(ranks.get(token, len(ranks)))

    gguf.LlamaHfVocab.get_token_score = score


if __name__ == "__main__":
    subprocesses.main(convert)
