"""Token-level divergences: by hand, against plain Python, and what must not leak into them."""

from __future__ import annotations

import math
from random import Random

import pytest

pytestmark = pytest.mark.slow

KINDS = ("forward", "reverse", "jsd")


def kl(p: list[float], q: list[float]) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def slow(student: list[float], teacher: list[float], kind: str, beta: float) -> float:
    if kind == "forward":
        return kl(teacher, student)
    if kind == "reverse":
        return kl(student, teacher)
    middle = [beta * t + (1 - beta) * s for s, t in zip(student, teacher, strict=True)]
    return beta * kl(teacher, middle) + (1 - beta) * kl(student, middle)


def softmax(row: list[float]) -> list[float]:
    total = sum(map(math.exp, row))
    return [math.exp(value) / total for value in row]


def rows(count: int, size: int, seed: int) -> list[list[float]]:
    draw = Random(seed)
    return [[draw.gauss(0, 2) for _ in range(size)] for _ in range(count)]


def top(probs: list[float], kept: int) -> tuple[list[int], list[float]]:
    """The likeliest tokens, and their probabilities with the rest."""
    ids = sorted(range(len(probs)), key=lambda token: -probs[token])[:kept]
    own = [probs[token] for token in ids]
    return ids, [*own, 1 - sum(own)]


def test_two_bins_by_hand() -> None:
    """0.8 ln(0.8/0.5) + 0.2 ln(0.2/0.5) = 0.1927 nats one way, 0.5 ln(0.5/0.8) + 0.5 ln(0.5/0.2) = 0.2231 the other."""
    import torch

    from edgedistill.ml.losses import forward_kl, generalized_jsd, reverse_kl

    student, teacher = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.8, 0.2]]).log()
    assert forward_kl(student, teacher).item() == pytest.approx(0.19274, abs=1e-5)
    assert reverse_kl(student, teacher).item() == pytest.approx(0.22314, abs=1e-5)
    # M = 0.65, 0.35: half of 0.8 ln(0.8/0.65) + 0.2 ln(0.2/0.35) + 0.5 ln(0.5/0.65) + 0.5 ln(0.5/0.35)
    assert generalized_jsd(student, teacher, 0.5).item() == pytest.approx(0.05067, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_top_k_with_rest_agrees_with_plain_python(kind: str) -> None:
    """N 5, V 11, K 3: the vocabulary is 4 bins for both."""
    import torch

    from edgedistill.ml.losses import top_kd_loss, with_rest

    logits, others = rows(5, 11, 0), rows(5, 11, 1)
    picked = [top(softmax(row), 3) for row in others]
    ids = torch.tensor([ids for ids, _ in picked])
    teacher = with_rest(torch.tensor([probs[:3] for _, probs in picked]).log())
    found = top_kd_loss(torch.tensor(logits), ids, teacher, kind, 0.3)  # type: ignore[arg-type]
    expected = []
    for row, (own, probs) in zip(logits, picked, strict=True):
        kept = [softmax(row)[token] for token in own]
        expected.append(slow([*kept, 1 - sum(kept)], probs, kind, 0.3))
    assert found.shape == (5,)
    assert found.tolist() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_with_the_whole_vocabulary_it_is_exact_and_bins_never_exceed_it(kind: str) -> None:
    import torch

    from edgedistill.ml.losses import top_kd_loss, with_rest

    logits, teacher = torch.tensor(rows(6, 9, 2)), torch.tensor(rows(6, 9, 3)).log_softmax(dim=-1)
    order = teacher.argsort(dim=-1, descending=True)
    whole = top_kd_loss(logits, order, teacher.gather(-1, order), kind, 0.5)  # type: ignore[arg-type]
    by_hand = [slow(softmax(s), t, kind, 0.5) for s, t in zip(logits.tolist(), teacher.exp().tolist(), strict=True)]
    assert whole.tolist() == pytest.approx(by_hand, rel=1e-4)
    for kept in (1, 4, 8):
        ids = order[:, :kept]
        binned = top_kd_loss(logits, ids, with_rest(teacher.gather(-1, ids)), kind, 0.5)  # type: ignore[arg-type]
        assert (binned >= -1e-6).all()
        assert (binned <= whole * 1.001 + 1e-5).all()  # the teacher's rest is 1 minus a sum, and rounded


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kept", [2, 7])
def test_equal_distributions_cost_nothing_and_teach_nothing(kind: str, kept: int) -> None:
    import torch

    from edgedistill.ml.losses import top_kd_loss, with_rest

    logits = torch.tensor(rows(4, 7, 4), requires_grad=True)
    teacher = logits.detach().log_softmax(dim=-1)
    ids = teacher.topk(kept).indices
    own = teacher.gather(-1, ids)
    found = top_kd_loss(logits, ids, own if kept == 7 else with_rest(own), kind)  # type: ignore[arg-type]
    found.sum().backward()
    assert found.abs().max() < 1e-5
    assert logits.grad is not None and logits.grad.abs().max() < 1e-5


def test_jsd_lies_between_its_limits() -> None:
    """beta near 0, divided by it: forward KL; near 1, divided by 1 - beta: reverse KL; at 1/2 at most ln 2."""
    import torch

    from edgedistill.ml.losses import forward_kl, generalized_jsd, reverse_kl

    student, teacher = (torch.tensor(rows(5, 6, seed), dtype=torch.float64).log_softmax(-1) for seed in (5, 6))
    little = 1e-4
    assert (generalized_jsd(student, teacher, little) / little).tolist() == pytest.approx(
        forward_kl(student, teacher).tolist(), rel=0.02
    )
    assert (generalized_jsd(student, teacher, 1 - little) / little).tolist() == pytest.approx(
        reverse_kl(student, teacher).tolist(), rel=0.02
    )
    assert generalized_jsd(student * 100, teacher * 100, 0.5).max() <= math.log(2) + 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_finite_differences(kind: str) -> None:
    import torch

    from edgedistill.ml.losses import top_kd_loss

    draw, step = rows(1, 6, 7)[0], 1e-5
    ids, probs = top(softmax(rows(1, 6, 8)[0]), 2)
    logits = torch.tensor([draw], requires_grad=True)
    teacher = torch.tensor([probs]).log()
    top_kd_loss(logits, torch.tensor([ids]), teacher, kind, 0.3).sum().backward()  # type: ignore[arg-type]

    def at(row: list[float]) -> float:
        kept = [softmax(row)[token] for token in ids]
        return slow([*kept, 1 - sum(kept)], probs, kind, 0.3)

    assert logits.grad is not None
    for token in range(6):
        up, down = draw[:], draw[:]
        up[token] += step
        down[token] -= step
        expected = (at(up) - at(down)) / (2 * step)
        assert logits.grad[0, token].item() == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_a_student_that_is_nearly_sure_has_a_finite_gradient() -> None:
    """The rest is e^-60 for the student, far below what 1 minus the sum could tell."""
    import torch

    from edgedistill.ml.losses import top_kd_loss, with_rest

    logits = torch.tensor([[60.0, 0.0, 0.0, 0.0]], requires_grad=True)
    teacher = with_rest(torch.tensor([[0.5]]).log())
    found = top_kd_loss(logits, torch.tensor([[0]]), teacher, "forward")
    found.sum().backward()
    assert found.item() == pytest.approx(0.5 * math.log(0.5) + 0.5 * (math.log(0.5) + 60 - math.log(3)), rel=1e-4)
    # Softmax minus target: all of the teacher's other half pulls at the three others.
    assert logits.grad is not None
    assert logits.grad[0].tolist() == pytest.approx([0.5, -1 / 6, -1 / 6, -1 / 6], rel=1e-4)


def test_the_sampled_gradient_is_that_of_the_reverse_kl_in_the_mean() -> None:
    """Weighed by how often the student draws each token, over all 4 tokens."""
    import torch

    from edgedistill.ml.losses import reverse_kl, sampled_reverse_kl

    teacher = torch.tensor(rows(1, 4, 9)[0]).log_softmax(-1)
    exact = torch.tensor(rows(1, 4, 10)[0], requires_grad=True)
    reverse_kl(exact.log_softmax(-1)[None], teacher[None]).sum().backward()
    drawn = exact.detach().clone().requires_grad_()
    student = drawn.log_softmax(-1)
    (student.detach().exp() * sampled_reverse_kl(student, teacher)).sum().backward()
    assert exact.grad is not None and drawn.grad is not None
    assert drawn.grad.tolist() == pytest.approx(exact.grad.tolist(), abs=1e-6)


def test_the_mean_of_a_response_leaves_the_mask_out() -> None:
    """R 3, T 4. What is masked may be anything, not a number too; a response without tokens is 0."""
    import torch

    from edgedistill.ml.losses import mean_log_probs

    nan = math.nan
    given = torch.tensor([[-1.0, -2.0, -6.0, nan], [nan, -4.0, -100.0, nan], [nan] * 4], requires_grad=True)
    mask = torch.tensor([[True, True, True, False], [False, True, False, False], [False] * 4])
    found = mean_log_probs(given, mask)
    found.sum().backward()
    assert found.tolist() == pytest.approx([-3.0, -4.0, 0.0])
    third = 1 / 3
    assert given.grad is not None
    assert given.grad.tolist() == [pytest.approx(r) for r in ([third] * 3 + [0.0], [0.0, 1.0, 0.0, 0.0], [0.0] * 4)]
