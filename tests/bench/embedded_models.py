"""What the embedded teacher and student can do: prints the tables of the model cards. Run by hand, minutes long.

python tests/bench/embedded_models.py teacher          # answers, questions, styles
python tests/bench/embedded_models.py student          # zero-shot, value of an example, reliability of the score
python tests/bench/embedded_models.py tuned            # gain from training on teacher-written rows
"""

from __future__ import annotations

import gzip
import json
import os
import re
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random

# Rows of changing length make glibc map and unmap all the time; keeping the memory trains and decodes up to 4x as fast.
_KEEP = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "MALLOC_TOP_PAD_": "268435456",
    "MALLOC_ARENA_MAX": "1",
}
if __name__ == "__main__" and any(os.environ.get(key) != value for key, value in _KEEP.items()):
    os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | _KEEP)

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from edgedistill.prompts import (
    STYLES,
    Example,
    extract_answer,
    plain_prompt,
    question_prompt,
    styled_prompt,
)
from edgedistill.tagged_questions import parse
from recipes.quickstart.make import families, home

RECIPE = ROOT / "recipes" / "quickstart"
STYLE_MARKS = {
    "home": {
        "procedure": r"^action: ",
        "rules": r"^Rule: ",
        "bare": r"^It is ",
        "elimination": r"^Not \S+, not \S+, but ",
    },
    "family": {
        "procedure": r"^Parts: ",
        "rules": r"^Rule: ",
        "bare": r"^(?!Parts:|Rule:)(?!.* Not \S+ <ans>)",
        "elimination": r" Not \S+ <ans>",
    },
}


class Model:
    """A model folder that answers prompts in batches."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager"
        ).eval()

    def say(self, prompts: list[str], longest: int = 160, temperature: float = 0.0, batch: int = 160) -> list[str]:
        """One completion per prompt, greedy unless a temperature is given. Sorted by length, so padding stays small."""
        ids = [self._ids(prompt) for prompt in prompts]
        order = sorted(range(len(ids)), key=lambda at: len(ids[at]))
        said = [""] * len(ids)
        for start in range(0, len(order), batch):
            places = order[start : start + batch]
            for place, text in zip(places, self._batch([ids[at] for at in places], longest, temperature), strict=True):
                said[place] = text
        return said

    def _ids(self, prompt: str) -> list[int]:
        chat = [{"role": "user", "content": prompt}]
        return list(self.tokenizer.apply_chat_template(chat, add_generation_prompt=True)["input_ids"])

    @torch.inference_mode()
    def _batch(self, rows: list[list[int]], longest: int, temperature: float) -> list[str]:
        width = max(len(row) for row in rows)
        ids = torch.tensor([[self.tokenizer.pad_token_id] * (width - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
        how = (
            {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
            if temperature
            else {"do_sample": False}
        )
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = self.model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=longest, **how)
        return [self.tokenizer.decode(row[width:], skip_special_tokens=True) for row in out]


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def action(text: str | None) -> dict[str, str] | None:
    """A JSON object, or None."""
    try:
        parsed = json.loads(text or "")
    except json.JSONDecodeError:
        return None
    return parsed if isinstance(parsed, dict) else None


def home_right(said: str, target: str) -> bool:
    """Exact match of the parsed JSON."""
    got = action(extract_answer(said))
    return got is not None and got == json.loads(target)


def home_figures(said: list[str], rows: list[dict[str, str]]) -> dict[str, float]:
    """Exact match, intent accuracy, slot F1, and the share of answers in the right format."""
    exact = intent = parsed = hits = given = wanted = 0
    for text, row in zip(said, rows, strict=True):
        got, want = action(extract_answer(text)), json.loads(row["answer"])
        parsed += got is not None
        got = got or {}
        exact += got == want
        intent += got.get("intent") == want["intent"]
        ours = {(k, str(v)) for k, v in got.items() if k != "intent"}
        theirs = {(k, v) for k, v in want.items() if k != "intent"}
        hits, given, wanted = hits + len(ours & theirs), given + len(ours), wanted + len(theirs)
    n = len(rows)
    return {
        "exact": exact / n,
        "intent": intent / n,
        "slot_f1": 2 * hits / max(1, given + wanted),
        "parsed": parsed / n,
        "n": n,
    }


def show(title: str, figures: dict[str, float]) -> None:
    """One line of a table."""
    print(
        f"{title:44}"
        + "  ".join(f"{key} {value:.3f}" if key != "n" else f"n {value:.0f}" for key, value in figures.items()),
        flush=True,
    )


def teacher_answers(teacher: Model, limit: int = 1000) -> None:
    """Zero-shot, plain prompt, greedy: home and the five families."""
    print("\nteacher, zero-shot, plain prompt, greedy")
    rows = rows_of(RECIPE / "home/validation.jsonl")[:limit]
    said = teacher.say([plain_prompt(home.DESCRIPTION, row["question"]) for row in rows], 100)
    show("  home validation", home_figures(said, rows))
    styles = Counter(style_of(text, "home") for text in said)
    print(f"    styles under the plain prompt: {dict(styles)}")
    if limit > 240:
        rows = rows_of(RECIPE / "home/test.jsonl")
        said = teacher.say([plain_prompt(home.DESCRIPTION, row["question"]) for row in rows], 100)
        show("  home test (unseen templates and values)", home_figures(said, rows))
    for family in families.FAMILIES:
        rows = rows_of(RECIPE / f"families/{family.name}/validation.jsonl")[:limit]
        said = teacher.say([plain_prompt(family.description, row["question"]) for row in rows], 200)
        right = [extract_answer(text) == row["answer"] for text, row in zip(said, rows, strict=True)]
        show(f"  {family.name} validation", {"exact": sum(right) / len(right), "n": len(right)})


def style_of(text: str, task: str) -> str:
    """Which of the four styles a rationale has, by its marks."""
    found = [
        style for style, mark in STYLE_MARKS["home" if task == "home" else "family"].items() if re.search(mark, text)
    ]
    return found[0] if len(found) == 1 else "none"


def write_questions(
    teacher: Model, task: str, description: str, folder: Path, prompts: int, count: int
) -> tuple[list[tuple[str, str]], int, int]:
    """Questions written from three seeds each at temperature 1: the pairs, how many were asked for, the broken ones."""
    seeds = [(row["question"], row["answer"]) for row in rows_of(folder / "seeds.jsonl")]
    rng = Random(7)
    torch.manual_seed(7)
    asked = [question_prompt(task, description, rng.sample(seeds, 3), count) for _ in range(prompts)]
    said = teacher.say(asked, 300 if task == "home" else 480, temperature=1.0, batch=100)
    parsed = [parse(text) for text in said]
    pairs = [pair for found in parsed for pair in found.pairs]
    return pairs, prompts * count, sum(found.malformed for found in parsed)


def teacher_questions(teacher: Model) -> None:
    """Parse rate, distinctness, and whether the target agrees with the teacher's own worked answer."""
    print("\nteacher, questions from three seeds, temperature 1.0")
    for task, description, folder, prompts, count in _question_jobs():
        pairs, asked, broken = write_questions(teacher, task, description, folder, prompts, count)
        seeds = {row["question"] for row in rows_of(folder / "seeds.jsonl")}
        distinct = {question for question, _ in pairs} - seeds
        worked = teacher.say([plain_prompt(description, question) for question, _ in pairs], 200)
        if task == "home":
            agree = sum(
                home_right(text, target) for text, (_, target) in zip(worked, pairs, strict=True) if action(target)
            )
            on_task = sum(_is_home(question, target) for question, target in pairs)
        else:
            agree = sum(extract_answer(text) == target for text, (_, target) in zip(worked, pairs, strict=True))
            on_task = sum(_marks(question, task) for question, _ in pairs)
        n = max(1, len(pairs))
        show(
            f"  {task}",
            {
                "parsed": len(pairs) / max(1, len(pairs) + broken),
                "of_asked": len(pairs) / asked,
                "distinct": len(distinct) / n,
                "on_task": on_task / n,
                "target_agrees": agree / n,
                "n": asked,
            },
        )


def _question_jobs() -> list[tuple[str, str, Path, int, int]]:
    jobs = [("home", home.DESCRIPTION, RECIPE / "home", 40, 5)]
    return jobs + [
        (f.name, f.description, RECIPE / "families" / f.name, 20, 2 if "track" in f.name else 5)
        for f in families.FAMILIES
    ]


def _is_home(question: str, target: str) -> bool:
    """A known intent, known slots, and every value word for word in the utterance."""
    got = action(target) or {}
    return got.get("intent") in home.INTENTS and all(
        key in home.slot_names() and value in question for key, value in got.items() if key != "intent"
    )


def _marks(question: str, family: str) -> bool:
    marks = {
        "boolean_expressions": r"^[a-zTF() ]+ is$",
        "navigate": r"^If you follow.*Options:\n- Yes\n- No$",
        "object_counting": r"^I have .* do I have\?$",
        "web_of_lies": r"^Question: .* tell the truth\?$",
        "tracking_shuffled_objects": r"Finally, .*Options:\n\(A\) .*\n\(B\) .*\n\(C\) ",
    }
    return re.search(marks[family], question, re.DOTALL) is not None


def teacher_styles(teacher: Model) -> None:
    """Each style asked for by its prompt: how often it comes, and how often the answer is right."""
    print("\nteacher, styled prompts, greedy")
    for task, description, folder, _, _ in _question_jobs():
        rows = rows_of(folder / "validation.jsonl")[:60]
        for style in STYLES:
            said = teacher.say([styled_prompt(description, row["question"], style) for row in rows], 200)
            kept = sum(style_of(text, task) == style.name for text in said) / len(rows)
            right = sum(
                home_right(t, r["answer"]) if task == "home" else extract_answer(t) == r["answer"]
                for t, r in zip(said, rows, strict=True)
            ) / len(rows)
            show(f"  {task}: {style.name}", {"in_style": kept, "exact": right, "n": len(rows)})


def student_zero_shot(student: Model, title: str = "student") -> None:
    """Zero-shot on the test, plain prompt, greedy."""
    print(f"\n{title}, zero-shot, plain prompt, greedy")
    for split in ("validation", "test"):
        rows = rows_of(RECIPE / f"home/{split}.jsonl")
        show(
            f"  home {split}",
            home_figures(student.say([plain_prompt(home.DESCRIPTION, row["question"]) for row in rows], 80), rows),
        )


def draft_scores(student: Model, drafts: list[Example], exam: list[dict[str, str]]) -> list[list[bool]]:
    """Per draft, which exam items the student gets right with that draft as its one example."""
    table = []
    for place, draft in enumerate(drafts):
        said = student.say([plain_prompt(home.DESCRIPTION, row["question"], (draft,)) for row in exam], 70)
        table.append([home_right(text, row["answer"]) for text, row in zip(said, exam, strict=True)])
        if place % 20 == 19:
            print(f"    {place + 1} drafts", file=sys.stderr, flush=True)
    return table


def spearman(first: list[float], second: list[float]) -> float:
    """Rank correlation with mean ranks for ties; 0 when one side is all ties, for it tells nothing."""
    if len(set(first)) == 1 or len(set(second)) == 1:
        return 0.0
    return float(torch.corrcoef(torch.tensor([_ranks(first), _ranks(second)]))[0, 1])


def _ranks(numbers: list[float]) -> list[float]:
    order = sorted(numbers)
    return [(order.index(x) + len(order) - 1 - order[::-1].index(x)) / 2 for x in numbers]


def reliability(table: list[list[bool]], size: int, repeats: int = 200) -> float:
    """Mean split-half Spearman correlation of draft scores, over random exams of `size` items cut into halves."""
    rng = Random(5)
    total = 0.0
    for _ in range(repeats):
        items = rng.sample(range(len(table[0])), size)
        halves = items[: size // 2], items[size // 2 :]
        total += spearman(*([sum(row[at] for at in half) / len(half) for row in table] for half in halves))
    return total / repeats


def student_drafts(student: Model, teacher: Model, questions: int = 30) -> None:
    """How much one example helps, and whether the difference between examples is a signal."""
    print("\nstudent, one example before the question (a draft: a teacher-written question with a rationale)")
    pairs, _, _ = write_questions(teacher, "home", home.DESCRIPTION, RECIPE / "home", 12, 5)
    chosen = [question for question, target in dict(pairs).items() if action(target)][:questions]
    drafts, styles = [], []
    for style in STYLES:
        said = teacher.say([styled_prompt(home.DESCRIPTION, question, style) for question in chosen], 100)
        keep = [(q, s) for q, s in zip(chosen, said, strict=True) if extract_answer(s)]
        drafts += [Example(q, s) for q, s in keep]
        styles += [style.name] * len(keep)
    exam = rows_of(RECIPE / "home/validation.jsonl")[:160]
    begin = time.time()
    table = draft_scores(student, drafts, exam)
    scores = [sum(row) / len(row) for row in table]
    mean = sum(scores) / len(scores)
    print(f"  {len(drafts)} drafts x {len(exam)} items in {time.time() - begin:.0f} s")
    print(
        f"  score: mean {mean:.3f}  sd {torch.tensor(scores).std():.3f}  min {min(scores):.3f}  max {max(scores):.3f}"
    )
    for style in STYLES:
        own = [score for score, name in zip(scores, styles, strict=True) if name == style.name]
        print(f"    {style.name:12} mean {sum(own) / len(own):.3f}  sd {torch.tensor(own).std():.3f}  n {len(own)}")
    for size in (20, 40, 60, 80, 120, 160):
        within = [
            reliability([row for row, name in zip(table, styles, strict=True) if name == style.name], size, 50)
            for style in STYLES
        ]
        whole = reliability(table, size)
        one_style = sum(within) / len(within)
        print(f"  exam of {size:3}: split-half Spearman {whole:.3f}   within one style {one_style:.3f}", flush=True)


def tune(student: Model, teacher: Model, count: int = 1800, epochs: int = 3, rate: float = 1e-3) -> None:
    """Plain supervised training on teacher-written rows, loss on the answer only."""
    begin = time.time()
    pairs, _, _ = write_questions(teacher, "home", home.DESCRIPTION, RECIPE / "home", count * 5 // 4 // 5, 5)
    tests = {row["question"] for split in ("validation", "test") for row in rows_of(RECIPE / f"home/{split}.jsonl")}
    questions = [question for question in dict(pairs) if question not in tests][:count]
    prompts = [plain_prompt(home.DESCRIPTION, question) for question in questions]
    said = teacher.say(prompts, 100)
    rows = [(p, s) for p, s in zip(prompts, said, strict=True) if action(extract_answer(s))]
    print(f"\n{len(rows)} rows written by the teacher in {time.time() - begin:.0f} s")
    end, pad = student.tokenizer.eos_token_id, student.tokenizer.pad_token_id
    encoded = []
    for prompt, answer in rows:
        start = student._ids(prompt)
        encoded.append((start, [*student.tokenizer(answer, add_special_tokens=False)["input_ids"], end]))
    model, rng, batch = student.model.train(), Random(3), 32
    optim = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
    steps, step = epochs * -(-len(encoded) // batch), 0
    for _ in range(epochs):
        rng.shuffle(encoded)
        for at in range(0, len(encoded), batch):
            part = encoded[at : at + batch]
            width = max(len(p) + len(a) for p, a in part)
            ids = torch.tensor([p + a + [pad] * (width - len(p) - len(a)) for p, a in part])
            labels = torch.tensor([[-100] * len(p) + a + [-100] * (width - len(p) - len(a)) for p, a in part])
            optim.param_groups[0]["lr"] = rate * min(1.0, (step + 1) / 20, (steps - step) / steps)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = model(input_ids=ids, labels=labels).loss
            loss.backward()
            optim.step()
            optim.zero_grad()
            step += 1
    model.eval()
    print(f"trained {steps} steps, last loss {loss.item():.3f}, {time.time() - begin:.0f} s in all")


def real_words(model: Model, title: str) -> None:
    """The real utterances of the same intents, where the data lies beside the clone. Never trained on."""
    path = ROOT.parent / "shared/data/home_nlu/test-public.jsonl.gz"
    if not path.exists():
        print("  real utterances: not here")
        return
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        found = [row for row in map(json.loads, lines) if row["intent"] in home.INTENTS]
    rows = [
        {
            "question": row["utterance"],
            "answer": json.dumps({"intent": row["intent"], **{s["slot"]: s["value"] for s in row["slots"]}}),
        }
        for row in found
    ]
    show(
        f"  {title}, real utterances",
        home_figures(model.say([plain_prompt(home.DESCRIPTION, r["question"]) for r in rows], 80), rows),
    )


def main(parts: list[str]) -> None:
    """Print the tables of the named parts."""
    torch.set_num_threads(2)
    teacher = Model(RECIPE / "models/teacher")
    if "quick" in parts:
        teacher_answers(teacher, 60)
    if "teacher" in parts:
        teacher_answers(teacher)
        teacher_questions(teacher)
        teacher_styles(teacher)
        real_words(teacher, "teacher")
    student = Model(RECIPE / "models/student")
    if "zero" in parts or "student" in parts:
        student_zero_shot(student)
    if "student" in parts:
        student_drafts(student, teacher)
    if "tuned" in parts:
        tune(student, teacher)
        student_zero_shot(student, "tuned student")
        real_words(student, "tuned student")


if __name__ == "__main__":
    main(sys.argv[1:] or ["teacher", "student", "tuned"])
