"""Does llama.cpp split text as the Hugging Face tokenizer does? Asked by behaviour, over texts that tell rules apart.

llama.cpp does not read a tokenizer's splitting rule from the model; it has some sixty of its own, chosen by a name in
the file. The converter knows that name for published tokenizers, by hash, and refuses every other.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TEXTS = (
    "Hello, world! It's 5 o'clock; we'll see, they've said, I'M SURE she'D go, don't you?",
    "1 12 123 1234 12345 123456 1234567 12345678 3.14 1,000,000 0x1F 50% $9.99 №5 ½ ² ٣٤ १२३",
    "a  b   c    d\tTab\t\ttabs \n newline\n\ntwo\n\n\nthree\r\nCRLF\r\n  indented\n    more   \n",
    " leading and trailing  ",
    "\n \n\n \n\n\n \t \t\t \t\n  \n   \n    \n",
    "def f(x: int) -> str:\n    return f\"{x!r}\" if x >= 0 else '-'  # note\n\n\nclass A_b(C):\n\t__slots__ = ()\n",
    '{"intent": "iot_hue_lightdim", "house_place": "living room", "n": [1, -2.5e10, null]}',
    "<ans>42</ans> <|not_special|> [INST] ## Title\n- item\n* item\n1. item\n> quote `code` ```py\n```",
    "https://example.org/a/b?c=d&e=%20#f me@example.org C:\\dir\\file ../up ~/home a/b-c_d.e",
    "!!! ??? ... ---- ==== **bold** __init__ && || != <= => -> :: /* */ // #!/bin/sh $HOME @user",
    "camelCase PascalCase snake_case SCREAMING_CASE kebab-case HTTPServer iPhone15Pro v2.0-rc1 mRNA",
    "Ünïcödé naïve café ﬁ œuvre Ångström ÇA ß ẞ İstanbul ı ﬀ",
    "Привет, мир! Ёлка. Γειά σου Κόσμε. שלום עולם. مرحبا بالعالم! नमस्ते दुनिया สวัสดีชาวโลก ខ្មែរ ქართული Հայ",
    "你好，世界！今天是2024年1月1日。こんにちは世界、カタカナ。안녕하세요 세계! 我想在apple工作1314151天～",
    "🚀 😶\u200d🌫️ ✅ 👩\u200d👩\u200d👧\u200d👦 🇩🇪🇫🇷 👍🏽 ❤️ ☎️ ™ © → ∑∫√∞ ≠ ≤ ½ 𝒳𝔘",
    "a\u00a0b\u2003c\u200bd\u2028e\u3000f\ufeffg \u00ad \u2026 \u2018x\u2019 \u201cy\u201d \u2013 \u2014",
    "'s 't 're 've 'm 'll 'd 'S 'T 'RE 'VE 'M 'LL 'D we'RE x's\u2019s '' ''' 'a' \"b\" I'd've",
    "turn the lights in the living room down to 40 percent please, uh, wake me at 6:30 am",
    "x=1;y=x+2;if(x>y){return;}\n\n\t\tfor (int i=0;i<10;++i)\n\t\t\ta[i]+=b[i]*c;   \n",
    "word\n\n\n  word \n  \n word\t\n\tword   123  456\n789",
)
"""Languages, code, digits, emoji, and every kind of white space: where splitting rules differ. All in Unicode's
composed form (NFC): many tokenizers compose before they split, llama.cpp never does, and no rule mends that."""

DECOMPOSED = "cafe\u0301 nai\u0308ve A\u030angstro\u0308m"
"""What tells such a tokenizer. An app that takes text from elsewhere should compose it first."""

PROBED = "5Ü—你👍\n"
"""A digit, a letter, a sign, a word, an emoji and a line break: has a tokenizer tokens for all of them?"""

_READINGS = 4
"""Where a character is left out, two spaces may meet, which the next reading merges."""
_OWN_TEXTS, _TOKENS_PER_TEXT = 40, 100

LIKELY = ("gpt-2", "smollm", "qwen2", "llama-bpe", "gpt-4o", "tekken", "deepseek-llm", "default")
"""Tried first: the rules of most small students."""


class Vocabulary:
    """The vocabulary of a GGUF file, in llama.cpp."""

    def __init__(self, handle: Any, library: Any) -> None:
        self._handle, self._library = handle, library

    def token_ids(self, text: str) -> list[int]:
        """Without BOS and EOS; special tokens that the text spells out are taken as such."""
        raw = text.encode()
        room = len(raw) + 8
        buffer = (self._library.llama_token * room)()
        count = self._library.llama_tokenize(self._handle, raw, len(raw), buffer, room, False, True)
        return list(buffer[:count])


@contextmanager
def opened(path: Path) -> Iterator[Vocabulary | None]:
    """The vocabulary of a file, without its weights; None where llama.cpp refuses it."""
    import llama_cpp

    settings = llama_cpp.llama_model_default_params()
    settings.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), settings)
    if not model:
        yield None
        return
    try:
        yield Vocabulary(llama_cpp.llama_model_get_vocab(model), llama_cpp)
    finally:
        llama_cpp.llama_model_free(model)


@dataclass(frozen=True)
class Difference:
    """A text that llama.cpp does not read as the Hugging Face tokenizer does."""

    text: str
    why: str = ""
    """What llama.cpp does in place of giving ids; empty where these are others."""

    def __str__(self) -> str:
        shown = repr(self.text if len(self.text) <= 60 else self.text[:57] + "...")
        return f"{shown} ({self.why})" if self.why else shown


def first_difference(path: Path, expected: dict[str, list[int]]) -> Difference | None:
    """The first text whose ids in llama.cpp are not the expected ones; None when all are equal.

    In a forked process, because llama.cpp ends the whole process where a rule does not suit a vocabulary, and where a
    vocabulary without bytes lacks a character.
    """
    found = _compared(path, expected)
    texts = list(expected)
    if "?" in found:
        return Difference(texts[0], "llama.cpp refuses the vocabulary")
    if "!" in found:
        return Difference(texts[found.index("!")])
    return Difference(texts[len(found)], "llama.cpp ends the whole process on it") if len(found) < len(texts) else None


def _compared(path: Path, expected: dict[str, list[int]]) -> str:
    """One `=` or `!` per text, as far as llama.cpp came; `?` alone where it refuses the vocabulary."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        with opened(path) as vocabulary:
            if vocabulary is None:
                os.write(writing, b"?")
            else:
                for text, ids in expected.items():
                    os.write(writing, b"=" if vocabulary.token_ids(text) == ids else b"!")
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as results:
        found = results.read()
    os.waitpid(process, 0)
    return found


def as_read(tokenizer: Any, text: str) -> str:
    """The text as a Hugging Face tokenizer gives it back: Unicode composed (Qwen2), spaces merged, characters that it
    has no token for left out. No runtime of ours does any of this, so this is what can be compared, and what an app
    should send. The text itself where giving back comes to no end, e.g. for a tokenizer that adds spaces.
    """
    read = text
    for _ in range(_READINGS):
        before, read = read, _given_back(tokenizer, read)
        if read == before:
            return read
    return text


def _given_back(tokenizer: Any, text: str) -> str:
    ids = tokenizer.encode(text, add_special_tokens=False, verbose=False)
    known = [token_id for token_id in ids if token_id != tokenizer.unk_token_id]
    given: str = tokenizer.decode(known, clean_up_tokenization_spaces=False)
    return given


def habits(read: Callable[[str], str]) -> dict[str, str]:
    """What a tokenizer does to text that llama.cpp does not: name -> sentence. `read` gives a text back, as above."""
    found = {}
    composed = unicodedata.normalize("NFC", DECOMPOSED)
    if read(DECOMPOSED) == read(composed) and read(composed) == composed:
        found["unicode"] = (
            "composed (NFC) by the student's tokenizer; a runtime that does not compose needs composed text"
        )
    if read("a  b") == "a b":
        found["spaces"] = "merged by the student's tokenizer; a runtime that does not needs text with single spaces"
    if lost := "".join(sign for sign in PROBED if read(f"a{sign}b") != f"a{sign}b"):
        found["characters"] = (
            f"unknown to the student's tokenizer, among them {lost!r}; leave out what it has no token for: llama.cpp "
            "may end the whole process on it"
        )
    return found


def texts_of_tokens(tokenizer: Any) -> list[str]:
    """Texts put together from a tokenizer's own tokens, evenly over the vocabulary: rules that agree on the usual texts
    can differ where this vocabulary has a token that another lacks."""
    special = set(tokenizer.all_special_ids)
    ids = [token_id for token_id in sorted(tokenizer.get_vocab().values()) if token_id not in special]
    step = max(1, len(ids) // (_OWN_TEXTS * _TOKENS_PER_TEXT))
    pieces = [tokenizer.decode([token_id]) for token_id in ids[::step]][: _OWN_TEXTS * _TOKENS_PER_TEXT]
    whole = [piece for piece in pieces if not any(_is_odd(character) for character in piece)]
    texts = ["".join(whole[n : n + _TOKENS_PER_TEXT]) for n in range(0, len(whole), _TOKENS_PER_TEXT)]
    return [unicodedata.normalize("NFC", text) for text in texts]


def _is_odd(character: str) -> bool:
    """Part of a character only, or a control character: libraries differ on which of those are white space."""
    return character == "\ufffd" or (unicodedata.category(character) == "Cc" and character not in "\n\t\r")


def splitting_rules(sources: Path, folder: Path) -> list[str]:
    """One name for each splitting rule of the pinned llama.cpp, read from its source; likely ones for the tokenizer in
    `folder` first."""
    text = (sources / "src" / "llama-vocab.cpp").read_text(encoding="utf-8")
    begin, end = text.index('tokenizer_pre == "default"'), text.index("unknown pre-tokenizer type")
    found: list[str] = []
    for branch in text[begin:end].split("pre_type =")[:-1]:
        names = re.findall(r'tokenizer_pre == "([^"]+)"', branch)
        found += [name for name in names if name in LIKELY] or names[:1]
    # Where no token tells two rules apart, the one that is made like the tokenizer is the better name.
    splits_digits = '"individual_digits":true' in "".join((folder / "tokenizer.json").read_text("utf-8").split())
    likely = ("smollm", *LIKELY) if splits_digits else LIKELY
    return list(dict.fromkeys([*(name for name in likely if name in found), *found]))
