"""What racing saves and what it changes against the exact mode: student tokens, and chosen and rejected drafts.

    python tests/bench/racing.py --drafts RUNS/elicit/KEY --preferences RUNS/prefer/KEY

The two folders are those of a build with `prefer.budget` at 1, e.g. of `edgedistill build --until prefer`. Races are
run on the exact mode's own answers, which a greedy student would give again, with several seeds per budget.

    tokens   of examples and exam questions as the student's tokenizer counts them; an answer of the student is taken
             to be as long as the example's rationale. An example is read once per round
    same     one decision is who is chosen, or who is rejected, of a question (or, on question level, whether a chosen
             question is chosen at all). It is the same when it is the same draft, or one with the same exact score.
             Only pairs count whose exact gap is at least --gap
    order    any two drafts of a question, as far apart, that are found in the same order
    gap kept the exact gap of the pairs that the race makes, as a share of the exact mode's

Above the races stands how the exact mode agrees with itself in the same figures: with what it would have found on other
items like its own, drawn from them with replacement. Nobody's decisions are more certain than that.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from random import Random
from statistics import fmean

from edgedistill import pairs, racing, scoring, task
from edgedistill.artifacts import Draft, Drafts, Preferences
from edgedistill.files import read_rows

REPO = Path(__file__).resolve().parent.parent.parent
QUICKSTART = REPO / "recipes/quickstart"


class Exact:
    """The answers of the exact mode for one task: drafts x items."""

    def __init__(self, drafts: list[Draft], rows: dict[str, list[float]], items: list[task.Item], count) -> None:
        self.drafts = [draft for draft in drafts if draft.id in rows]
        self.rows = [rows[draft.id] for draft in self.drafts]
        self.costs = scoring.costs(self.drafts, items)
        tokens = {text: count(text) for text in {*(d.rationale for d in drafts), *(d.question for d in drafts)}}
        self.tokens = racing.Costs(
            example=[tokens[draft.question] + tokens[draft.rationale] for draft in self.drafts],
            answer=[tokens[draft.rationale] for draft in self.drafts],
            item=[count(item.question) for item in items],
        )
        place = {draft.id: number for number, draft in enumerate(self.drafts)}
        self.questions = [[place[d.id] for d in own] for own in pairs.by_question(self.drafts).values()]
        self.scores = [fmean(row) for row in self.rows]

    def race(self, budget: float, seed: int) -> tuple[list[float], float, float]:
        """Estimated scores, share of tokens, share of answers."""
        tokens = answers = 0

        def ask(name: str, drafts: list[int], items: list[int]) -> list[list[float]]:
            nonlocal tokens, answers
            tokens += sum(self.tokens.of(draft, items) for draft in drafts)
            answers += len(drafts) * len(items)
            return [[self.rows[draft][item] for item in items] for draft in drafts]

        raced = racing.race(self.questions, self.costs, budget, seed, ask)
        found = [estimate.score for estimate in racing.estimates(raced.credits)]
        return found, tokens / self.tokens.whole, answers / sum(map(len, self.rows))

    def on_other_items(self, seed: int) -> list[float]:
        """Scores on as many items, drawn from the exam's own with replacement."""
        items = len(self.rows[0])
        drawn = Random(seed).choices(range(items), k=items)
        return [fmean(row[item] for item in drawn) for row in self.rows]

    def rationale_level(self, found: list[float], gap: float) -> tuple[int, int, list[float]]:
        """Decisions that are the same, decisions, and the share of each gap that is kept."""
        same, total, kept = 0, 0, []
        for drafts in self.questions:
            exact = [self.scores[draft] for draft in drafts]
            if max(exact) - min(exact) < gap - 1e-9:
                continue
            best = self.scores[max(drafts, key=lambda draft: found[draft])]
            worst = self.scores[min(drafts, key=lambda draft: found[draft])]
            same, total = same + (best == max(exact)) + (worst == min(exact)), total + 2
            kept.append((best - worst) / (max(exact) - min(exact)))
        return same, total, kept

    def order(self, found: list[float], gap: float) -> tuple[int, int]:
        """Of two drafts of a question whose exact gap is at least `gap`: is the better one found to be better?"""
        pairs_apart = [
            (better, worse)
            for drafts in self.questions
            for better in drafts
            for worse in drafts
            if self.scores[better] - self.scores[worse] >= gap - 1e-9
        ]
        return sum(found[better] > found[worse] for better, worse in pairs_apart), len(pairs_apart)

    def question_level(self, found: list[float], gap: float, wanted: int) -> tuple[int, int]:
        """The same of questions: is a chosen one of the exact mode chosen, and a rejected one rejected?"""
        exact = [fmean([self.scores[d] for d in drafts]) for drafts in self.questions]
        raced = [fmean([found[d] for d in drafts]) for drafts in self.questions]
        order = sorted(range(len(exact)), key=lambda question: -exact[question])
        count = min(wanted, len(order) // 2)
        ranked = sorted(raced)
        same = total = 0
        for number in range(count):
            best, worst = order[number], order[-1 - number]
            if exact[best] - exact[worst] < gap - 1e-9:
                break
            same += (raced[best] >= ranked[-count]) + (raced[worst] <= ranked[count - 1])
            total += 2
        return same, total


def load(drafts: Path, preferences: Path, folder: Path, model: Path) -> dict[str, Exact]:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    scores = {score.draft_id: score for score in Preferences(preferences).scores()}
    exam = list(read_rows(preferences / "exam.jsonl"))
    found = {}
    for name in dict.fromkeys(row["task"] for row in exam):
        items = {item.id: item for item in task.load(folder / name).validation}
        own = [draft for draft in Drafts(drafts).rows() if draft.task == name]
        rows = {draft.id: [float(credit or 0) for credit in scores[draft.id].credits] for draft in own}
        asked = [items[row["id"]] for row in exam if row["task"] == name]
        found[name] = Exact(own, rows, asked, lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drafts", type=Path, required=True, help="folder with drafts.jsonl")
    parser.add_argument("--preferences", type=Path, required=True, help="folder with scores.jsonl and exam.jsonl")
    parser.add_argument("--tasks", type=Path, default=QUICKSTART, help="folder that holds the task folders")
    parser.add_argument("--student", type=Path, default=QUICKSTART / "models/student", help="for its tokenizer")
    parser.add_argument("--budgets", type=float, nargs="+", default=[0.2, 0.25, 0.35, 0.5])
    parser.add_argument("--gap", type=float, default=0.15)
    parser.add_argument("--seeds", type=int, default=12)
    given = parser.parse_args()
    print("task          budget   tokens   answers   same (rationales)    order            gap kept   same (questions)")
    for name, exact in load(given.drafts, given.preferences, given.tasks, given.student).items():
        again = [exact.on_other_items(seed) for seed in range(given.seeds)]
        print(f"{name:12}  itself   1.000    1.000     {agreement(exact, again, given.gap)}")
        for budget in given.budgets:
            try:
                racing.check(exact.costs, budget)
            except ValueError as too_small:
                print(f"{name:12}  {budget:<6g}   {too_small}")
                continue
            raced = [exact.race(budget, seed) for seed in range(given.seeds)]
            share, answers = fmean([tokens for _, tokens, _ in raced]), fmean([asked for _, _, asked in raced])
            agreed = agreement(exact, [found for found, _, _ in raced], given.gap)
            print(f"{name:12}  {budget:<6g}   {share:.3f}    {answers:.3f}     {agreed}")


def agreement(exact: Exact, scores: list[list[float]], gap: float) -> str:
    """The figures of several estimates of the scores against the exact ones, all together."""
    levels = [exact.rationale_level(found, gap) for found in scores]
    questions = [exact.question_level(found, gap, 50) for found in scores]
    orders = [exact.order(found, gap) for found in scores]
    right, apart = sum(one for one, _ in orders), sum(total for _, total in orders)
    same, total = sum(level[0] for level in levels), sum(level[1] for level in levels)
    kept = fmean([share for level in levels for share in level[2]] or [1.0])
    others, of = sum(same for same, _ in questions), sum(total for _, total in questions)
    cells = [
        f"{same / max(1, total):.3f} of {total:<5}      ",
        f"{right / max(1, apart):.3f} of {apart:<5}  ",
        f"{kept:.3f}     ",
        f"{others / max(1, of):.3f} of {of}",
    ]
    return " ".join(cells)


if __name__ == "__main__":
    main()
