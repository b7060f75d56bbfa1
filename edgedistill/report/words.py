"""How numbers and names of a report read: the same in terminal, Markdown and HTML."""

from __future__ import annotations

from edgedistill.report.schema import (
    Accuracy,
    Alignment,
    BudgetLine,
    CandidateLine,
    Fitted,
    Latency,
    Memory,
    Parity,
    PublicTask,
    Report,
)

BUDGETS = {
    "first_token_ms": "first token",
    "decode_tok_s": "decode",
    "memory_mib": "memory",
    "package_mib": "file",
    "accuracy_drop": "accuracy",
    "perplexity_ratio": "perplexity",
    "kl_mean": "mean KL",
}
"""Budget -> the word on the screen."""

AT_LEAST = ("decode_tok_s",)
"""Budgets that are a lowest value; all others are a highest one."""


def duration(seconds: float) -> str:
    """Two units at most: `0.4s`, `12s`, `3m 05s`, `1h 12m`."""
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    minutes = round(seconds / 60)
    return f"{minutes // 60}h {minutes % 60:02d}m"


def when(report: Report) -> str:
    """`2026-11-21 10:15 UTC`"""
    return f"{report.started[:10]} {report.started[11:16]} UTC"


def size(count: int) -> str:
    """Bytes as MiB, the unit of the budgets."""
    mib = count / 2**20
    return f"{mib:,.0f} MiB" if mib >= 100 else f"{mib:.2f} MiB"


def number(value: float) -> str:
    """No digits that say nothing: 1,212, 35.4, 6.9, 0.011."""
    if value == round(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 1 else f"{value:.3g}"


def budget_name(budget: BudgetLine) -> str:
    return BUDGETS.get(budget.name, budget.name.replace("_", " "))


def limit(budget: BudgetLine) -> str:
    """`<= 1500 ms`, `>= 8 tok/s`, `drop <= 0.02`"""
    sign = ">=" if budget.name in AT_LEAST else "<="
    if budget.name == "perplexity_ratio":
        return f"ratio {sign} {budget.limit:g}"
    return f"drop {sign} {number(budget.limit)}" if budget.name == "accuracy_drop" else _with_unit(sign, budget)


def _with_unit(sign: str, budget: BudgetLine) -> str:
    return f"{sign} {number(budget.limit)} {budget.unit}".rstrip()


def got(budget: BudgetLine, chosen: CandidateLine | None) -> str:
    """The value with its unit; a prediction and an accuracy with their interval."""
    if budget.value is None:
        return "-"
    if budget.name == "accuracy_drop" and chosen and chosen.accuracy:
        return f"{budget.value:.3f} (at most {chosen.accuracy.worst_drop:.3f})"
    if budget.name == "perplexity_ratio" and chosen and chosen.text:
        return f"{budget.value:.3f} (at most {chosen.text.ratio_ci_high:.3f})"
    low, high = _interval(budget, chosen)
    between = f" ({number(low)} to {number(high)})" if low is not None and high is not None else ""
    return f"{number(budget.value)} {budget.unit}{between}".strip()


def _interval(budget: BudgetLine, chosen: CandidateLine | None) -> tuple[float | None, float | None]:
    if chosen is None or budget.name not in ("first_token_ms", "decode_tok_s", "memory_mib"):
        return None, None
    if budget.name == "memory_mib":
        return (chosen.memory_mib.low, chosen.memory_mib.high) if chosen.memory_mib else (None, None)
    if chosen.latency is None:
        return None, None
    spread = chosen.latency.first_token_ms if budget.name == "first_token_ms" else chosen.latency.decode_tok_s
    return spread.low, spread.high


def headline(report: Report) -> str:
    """`gsm8k-small on rpi5: MISSED (1 of 3)`"""
    where = f"{report.recipe} on {report.target}"
    if report.candidates and report.chosen is None:
        return f"{where}: NOTHING TO SHIP (0 of {len(report.candidates)} candidates)"
    missed, unproven, total = report.count("missed"), report.count("unproven"), len(report.budgets)
    if missed:
        return f"{where}: MISSED ({missed} of {total})"
    if unproven and report.exit_code:
        return f"{where}: UNPROVEN ({unproven} of {total}), and measured evidence is required"
    if unproven:
        return f"{where}: NOTHING MISSED, {unproven} of {total} UNPROVEN"
    return f"{where}: MET ({total} of {total})" if total else f"{where}: no budgets set"


def accuracy(candidate: CandidateLine) -> str:
    """`0.870 (0.840 to 0.895)`"""
    found = candidate.accuracy
    return f"{found.value:.3f} ({found.ci_low:.3f} to {found.ci_high:.3f})" if found else "-"


def quality(candidate: CandidateLine) -> str:
    """Accuracy; of a candidate without a task its perplexity over the float student's: `1.012 (1.004 to 1.020)`."""
    text = candidate.text
    return f"{text.ratio:.3f} ({text.ratio_ci_low:.3f} to {text.ratio_ci_high:.3f})" if text else accuracy(candidate)


def quality_name(report: Report) -> str:
    """What `quality` shows."""
    return "perplexity ratio (95%)" if any(one.text for one in report.candidates) else "accuracy (95%)"


def parity(candidate: CandidateLine) -> str:
    if candidate.parity is None:
        return "-"
    return "passed" if candidate.parity.passed else "FAILED"


def first_tokens(found: Parity) -> str:
    """`23 of 24, 0.98`"""
    if found.top1 is None or found.top_k is None:
        return "-"
    return f"{found.top1} of {found.cases}, {found.top_k:.2f}"


def kl(candidate: CandidateLine) -> str:
    """Mean KL, float student to candidate, in nats; of a float file it may be rounding alone."""
    return f"{candidate.kl_mean:.4f}" if candidate.kl_mean is not None else "-"


def alignment(found: Alignment) -> str:
    """One sentence for each panel of the picture, with where the curve ends."""
    last = found.curve[-1]
    return (
        f"{found.steps:,} steps of DPO. Reward margin: how much more the log-odds of chosen over rejected answers rose"
        f" than the original teacher's, times beta; {last.reward_margin:.3g} at the end. Reward accuracy: share of"
        f" pairs where they rose; {last.reward_accuracy:.3f}. KL: how far the teacher moved from the original on the"
        f" pairs' answers; {last.kl:.3g} nats per token."
    )


def first_token(latency: Latency | None) -> str:
    return f"{_about(latency.evidence)}{number(latency.first_token_ms.p50)} ms" if latency else "-"


def decode(latency: Latency | None) -> str:
    return f"{_about(latency.evidence)}{number(latency.decode_tok_s.p50)} tok/s" if latency else "-"


def answer_time(latency: Latency | None) -> str:
    if latency is None or latency.answer_ms is None:
        return "-"
    return f"{_about(latency.evidence)}{number(latency.answer_ms)} ms"


WAYS = {"generation": "written", "likelihood": "by likelihood", "grammar": "within the grammar"}
"""Way of taking an answer -> the words on the page."""


def ways(report: Report) -> list[str]:
    """Those in which any candidate's answers were taken."""
    return [name for name in WAYS if any(one.accuracy and name in one.accuracy.ways for one in report.candidates)]


def way(candidate: CandidateLine, name: str) -> str:
    """`0.870 (0.840 to 0.895)`"""
    found = candidate.accuracy.ways.get(name) if candidate.accuracy else None
    return f"{found.value:.3f} ({found.ci_low:.3f} to {found.ci_high:.3f})" if found else "-"


def changed(found: Accuracy) -> str:
    """`12, 9`: items lost and gained."""
    return "-" if found.lost is None or found.gained is None else f"{found.lost}, {found.gained}"


def drops(found: Accuracy) -> str:
    """`-0.003 to 0.021; -0.002 to 0.019`: both intervals of the drop."""
    first = (found.drop_ci_low, found.drop_ci_high), (found.bootstrap_low, found.bootstrap_high)
    return "; ".join(f"{low:.3f} to {high:.3f}" for low, high in first if low is not None and high is not None)


def public(report: Report) -> list[str]:
    """The harness's tasks, in their order."""
    return list(dict.fromkeys(task for _, found in public_rows(report) for task in found))


def public_rows(report: Report) -> list[tuple[str, dict[str, PublicTask]]]:
    """Every model that has figures of the harness, the float student first."""
    rows = [("float student", report.student.lm_eval)] if report.student else []
    return [(name, found) for name, found in [*rows, *((one.name, one.lm_eval) for one in report.candidates)] if found]


def public_figure(found: PublicTask | None) -> str:
    """`acc 0.612 ± 0.049, n = 100`"""
    if found is None:
        return "-"
    error = f" ± {found.stderr:.3f}" if found.stderr is not None else ""
    return f"{found.metric} {found.value:.3f}{error}, n = {found.n}"


def kl_positions(report: Report) -> str:
    counts = [one.kl_positions for one in report.candidates if one.kl_positions]
    return f"{counts[0]:,} answer tokens of held-out rows" if counts else "held-out rows"


def memory(found: Memory | None) -> str:
    return f"{_about(found.evidence)}{number(found.peak)} MiB" if found else "-"


def _about(evidence: str) -> str:
    """A prediction never looks like a measurement."""
    return "" if evidence == "measured" else "~"


def outcome(candidate: CandidateLine) -> str:
    if candidate.chosen:
        return "chosen"
    return "; ".join(candidate.rejected_because) or "not chosen"


def types(candidate: CandidateLine) -> str:
    """`Q4_K 12, Q6_K 3, F32 9`: most frequent first."""
    ordered = sorted(candidate.tensor_types.items(), key=lambda entry: (-entry[1], entry[0]))
    return ", ".join(f"{name} {count}" for name, count in ordered)


CONTEST = (
    "Each interval is of one candidate alone. Several are judged on the same items and the best is taken, so that its "
    "drop comes out a little low and one of them may pass by luck; nothing here is corrected for it."
)
"""Said where more than one candidate was measured."""


def is_contest(report: Report) -> bool:
    return sum(one.accuracy is not None for one in report.candidates) > 1


def fitted(report: Report) -> list[str]:
    """A sentence for each mix, whichever way it went."""
    return [_fitted(one, one.fitted) for one in report.candidates if one.fitted]


def _fitted(candidate: CandidateLine, found: Fitted) -> str:
    told = (
        f"{candidate.name}: {found.kl:.4f} nats from the float file at {found.positions:,} held-out answer tokens "
        f"({found.expected_kl:.4f} expected)"
    )
    if found.uniform is None:
        return f"{told}; no mixture of llama.cpp's own is as small."
    verdict = "better than" if found.kl < found.uniform.kl else "NO BETTER than"
    own = f"{found.uniform.quant} of {found.uniform.bits_per_weight:.2f} bits, {found.uniform.kl:.4f}"
    return f"{told}, at {candidate.bits_per_weight:.2f} bits {verdict} {own}."
