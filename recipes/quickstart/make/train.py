"""The tokenizer and the two models: made here from generated text alone, in the layout of Hugging Face.

The models are small Llamas. Rows hold whole documents of like length, so nothing is padded much and no document sees
another. Hidden matrices are trained with Muon, the rest with AdamW.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM

from .documents import Document, Manners, student_documents, teacher_documents

SPECIAL = ("<|pad|>", "<|begin|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
PAD, BEGIN, END = range(3)
CHAT_TEMPLATE = (
    "{{ '<|begin|>' }}{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Plan:
    """How one model is shaped and trained."""

    name: str
    lessons: str
    """Whose documents: the teacher's or the student's."""
    layers: int
    steps: int
    batch_tokens: int
    seed: int
    copies: float = 0.08
    """Share of plain copying among the teacher's documents."""
    starts_from: str = ""
    """Another plan, whose `kept_layers` this model begins with; empty: it begins from the seed alone."""
    kept_layers: tuple[int, ...] = ()
    families: tuple[int, ...] = (3, 4, 3, 2, 3)
    """How often each family comes among the teacher's documents."""
    muon_lr: float = 0.01
    adamw_lr: float = 2e-3


# Both models grow from one base. The teacher is the base, trained on; the student keeps four of its six layers.
PLANS = (
    Plan("base", "teacher", layers=6, steps=1400, batch_tokens=4096, seed=1, copies=0.3),
    Plan(
        "student",
        "student",
        layers=4,
        steps=1000,
        batch_tokens=6144,
        seed=2,
        starts_from="base",
        kept_layers=(0, 1, 3, 5),
    ),
    Plan(
        "teacher",
        "teacher",
        layers=6,
        steps=2400,
        batch_tokens=6144,
        seed=3,
        starts_from="base",
        kept_layers=(0, 1, 2, 3, 4, 5),
        families=(2, 3, 4, 3, 4),
    ),
)


def train_tokenizer(folder: Path, vocab_size: int = 2048) -> None:
    """Byte-level BPE on generated text, cut up as SmolLM does it: digits one by one, then GPT-2's pattern.

    llama.cpp has this pre-tokenizer under the name `smollm`. The chat template writes the begin token itself, so the
    tokenizer adds none: no doubled begin token, in any runtime.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_tokenizer_text(), trainer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 2048,
        "clean_up_tokenization_spaces": False,
        "add_bos_token": False,
        "add_eos_token": False,
        "bos_token": SPECIAL[BEGIN],
        "eos_token": SPECIAL[END],
        "pad_token": SPECIAL[PAD],
    }
    tokens = {"bos_token": SPECIAL[BEGIN], "eos_token": SPECIAL[END], "pad_token": SPECIAL[PAD]}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    (folder / "special_tokens_map.json").write_text(json.dumps(tokens, indent=2) + "\n")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)


def _tokenizer_text() -> Iterator[str]:
    """Documents of both kinds, without odd values: those should cost several tokens.

    The manners are fixed here: a change of the student's lessons keeps the tokenizer.
    """
    nothing: frozenset[str] = frozenset()
    manners = Manners(style_weights=(5, 3, 2, 1), real_slots=())
    sources = (
        teacher_documents(Random("words"), nothing, ["word"], odd_values=0.0),
        student_documents(Random("words"), nothing, ["word"], odd_values=0.0, manners=manners),
    )
    for documents in sources:
        for document in islice(documents, 20_000):
            yield "".join(text for text, weight in document if weight)


def new_model(plan: Plan, vocab_size: int) -> LlamaForCausalLM:
    """A freshly initialized model."""
    torch.manual_seed(plan.seed)
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=plan.layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=True,
        bos_token_id=BEGIN,
        eos_token_id=END,
        pad_token_id=PAD,
        attn_implementation="eager",  # short rows: about 1.4 times as fast to train on a CPU as the fused kernel
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(bos_token_id=BEGIN, eos_token_id=END, pad_token_id=PAD)
    return model


@torch.no_grad()
def give_head_start(model: LlamaForCausalLM) -> None:
    """Start two heads of the first two layers as an "induction" pair, so that copying need not be discovered.

    Heads 0 and 1 of layer 0 look one token back: a direction that all embeddings share gives them the same query and
    key everywhere, and the rotation of positions does the rest. Heads 0 and 1 of layer 1 look for the place whose
    token before was the present one. All of it is ordinary weight from here on, and trained like the rest. A teacher
    without it, and without lessons in copying, could hardly copy after 5 million tokens; which of the two mattered
    more was not tried.
    """
    embedding = model.model.embed_tokens.weight  # (V, H)
    hidden, size = embedding.shape[1], model.config.head_dim
    shared = torch.where(torch.rand(hidden) < 0.5, -1.0, 1.0) * 0.02
    embedding.add_(shared)
    along = shared / shared.norm()
    strength = 5.5 / (math.sqrt(hidden) * float(shared.norm() / embedding.norm(dim=1).mean()))
    half = size // 2
    angles = torch.tensor([10000 ** (-i / half) for i in range(5)])  # the five quickest rotations tell neighbors apart
    key, query = torch.zeros(size), torch.zeros(size)
    key[:5] = 1.0
    query[:5], query[half : half + 5] = torch.cos(angles), -torch.sin(angles)
    slow = (torch.arange(size) % half >= 14).float()[:, None]  # (D, 1)  rotations too slow to blur a match far away
    first, second = model.model.layers[0].self_attn, model.model.layers[1].self_attn

    def directions() -> Tensor:
        free = torch.randn(hidden, size)
        return torch.linalg.qr(free - torch.outer(along, along @ free))[0]  # (H, D), orthonormal, none along `shared`

    for head in (0, 1):
        at = slice(head * size, (head + 1) * size)
        read, write, copy = directions(), directions(), directions()
        first.q_proj.weight[at] = strength * torch.outer(query, along)
        first.k_proj.weight[at] = strength * torch.outer(key, along)
        first.v_proj.weight[at] = read.T * 0.1
        first.o_proj.weight[:, at] = write * 0.3
        second.q_proj.weight[at] = read.T * slow * 1.4
        second.k_proj.weight[at] = write.T * slow * 1.4
        second.v_proj.weight[at] = copy.T * 0.1
        second.o_proj.weight[:, at] = copy * 3.0


def inherit(model: LlamaForCausalLM, parent: LlamaForCausalLM, kept_layers: tuple[int, ...]) -> None:
    """Begin with the embedding, the last norm and some layers of a trained model, which can read and copy already."""
    model.model.embed_tokens.load_state_dict(parent.model.embed_tokens.state_dict())
    model.model.norm.load_state_dict(parent.model.norm.state_dict())
    for layer, kept in zip(model.model.layers, kept_layers, strict=True):
        layer.load_state_dict(parent.model.layers[kept].state_dict())


def save_model(model: LlamaForCausalLM, folder: Path) -> None:
    """Weights in bf16. The tokenizer files beside them stay as they are."""
    copy = LlamaForCausalLM(model.config).to(torch.bfloat16)
    copy.load_state_dict(model.state_dict())
    copy.generation_config = model.generation_config
    copy.config.dtype = torch.bfloat16
    copy.save_pretrained(folder)


class Encoder:
    """Documents to token ids and weights per token."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.vocab_size = self._tokenizer.get_vocab_size()
        spaced = (piece[1:] for piece in self._tokenizer.get_vocab() if piece.startswith("Ġ"))
        self.words = sorted(piece for piece in spaced if piece.isascii() and piece.isalpha())

    def encode(self, documents: list[Document]) -> list[tuple[list[int], list[float]]]:
        """Ids and weights of whole documents. A token has the weight of the stretch in which it ends."""
        texts = ["".join(text for text, _ in document) for document in documents]
        rows = []
        for document, encoding in zip(
            documents, self._tokenizer.encode_batch(texts, add_special_tokens=False), strict=True
        ):
            ends, at = [], 0
            for text, weight in document:
                at += len(text)
                ends.append((at, weight))
            weights, place = [], 0
            for _, end in encoding.offsets:
                while ends[place][0] < end:
                    place += 1
                weights.append(ends[place][1])
            rows.append((encoding.ids, weights))
        return rows


def batches(documents: Iterator[Document], encoder: Encoder, batch_tokens: int, rng: Random, longest: int = 1024):
    """Endless batches of about `batch_tokens`, each of documents of like length, in random order of length.

    Yields   ids (B, T) int64, weights (B, T) float, padded on the right with weight 0
    """
    while True:
        rows = [row for row in encoder.encode(list(islice(documents, 2048))) if len(row[0]) <= longest]
        rows.sort(key=lambda row: len(row[0]))
        groups, group = [], []
        for row in rows:
            if (len(group) + 1) * len(row[0]) > batch_tokens:
                groups.append(group)
                group = []
            group.append(row)
        rng.shuffle(groups)
        for group in groups:
            length = max(len(ids) for ids, _ in group)
            ids = torch.full((len(group), length), PAD, dtype=torch.int64)
            weights = torch.zeros(len(group), length)
            for place, (row_ids, row_weights) in enumerate(group):
                ids[place, : len(row_ids)] = torch.tensor(row_ids)
                weights[place, : len(row_ids)] = torch.tensor(row_weights)
            yield ids, weights


def loss_of(model: LlamaForCausalLM, ids: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean cross-entropy. Padding is on the right and attention is causal, so no mask is needed.

    Shapes   ids (B, T) int64, weights (B, T) float: how much position t counts as a target; returns ()
    """
    hidden = model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state  # (B, T-1, H)
    targets, weights = ids[:, 1:], weights[:, 1:]
    counted = weights > 0
    logits = model.lm_head(hidden[counted]).float()  # (N, V): only positions that count
    losses = F.cross_entropy(logits, targets[counted], reduction="none")
    return (losses * weights[counted]).sum() / weights[counted].sum()


def optimizers(model: LlamaForCausalLM, plan: Plan) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for embedding and norms."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "layers" in name]
    rest = [p for name, p in model.named_parameters() if not (p.ndim == 2 and "layers" in name)]
    return [
        torch.optim.Muon(matrices, lr=plan.muon_lr, momentum=0.95, weight_decay=0.01, adjust_lr_fn="original"),
        torch.optim.AdamW(rest, lr=plan.adamw_lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def schedule(step: int, steps: int) -> float:
    """Share of the full learning rate: a short warm-up, a plateau, and a straight line to zero over the last 45%."""
    return min(1.0, (step + 1) / 20, max(0.0, (steps - step) / (0.45 * steps)))


def train(
    plan: Plan, models: Path, avoid: frozenset[str], log: Callable[[str], Any] = print, save_every: int = 200
) -> None:
    """Train one model and leave it in `models`, in the folder of its name, where the tokenizer already is."""
    folder = models / plan.name
    encoder = Encoder(folder)
    model = new_model(plan, encoder.vocab_size)
    if plan.starts_from:
        inherit(model, LlamaForCausalLM.from_pretrained(models / plan.starts_from), plan.kept_layers)
    else:
        give_head_start(model)
    rng = Random(f"train/{plan.lessons}/{plan.seed}")
    if plan.lessons == "teacher":
        documents = teacher_documents(rng, avoid, encoder.words, plan.copies, plan.families)
    else:
        documents = student_documents(rng, avoid, encoder.words)
    optims = optimizers(model, plan)
    rates = [optim.param_groups[0]["lr"] for optim in optims]
    log(f"{plan.name}: {sum(p.numel() for p in model.parameters()):,} parameters")
    begin, tokens, recent = time.time(), 0, []
    for step, (ids, weights) in enumerate(islice(batches(documents, encoder, plan.batch_tokens, rng), plan.steps)):
        for optim, rate in zip(optims, rates, strict=True):
            optim.param_groups[0]["lr"] = rate * schedule(step, plan.steps)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = loss_of(model, ids, weights)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optim in optims:
            optim.step()
            optim.zero_grad(set_to_none=True)
        tokens += ids.numel()
        recent.append(loss.item())
        assert math.isfinite(recent[-1]), "the loss is no number any more"
        if (step + 1) % 25 == 0:
            spent = time.time() - begin
            log(
                f"{plan.name} step {step + 1}/{plan.steps}  loss {sum(recent) / len(recent):.4f}  "
                f"{tokens / 1e6:.2f}M tokens  {tokens / spent:.0f} tok/s  {spent / 60:.1f} min"
            )
            recent = []
        if (step + 1) % save_every == 0:
            save_model(model, folder)
    save_model(model, folder)


def check_tokenizer(folder: Path) -> None:
    """The chat template and the tokenizer agree with what training wrote."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], add_generation_prompt=True)
    assert tokenizer.decode(ids["input_ids"]) == "<|begin|><|user|>\nhi<|end|>\n<|assistant|>\n"
