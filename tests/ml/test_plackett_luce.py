"""Ranking distributions and PAD's losses: by hand, and against plain Python over all orders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import permutations
from random import Random

import pytest

pytestmark = pytest.mark.slow

Rows = list[list[float]]


def scores(rows: int, n: int, seed: int = 0) -> Rows:
    draw = Random(seed)
    return [[draw.uniform(-2, 0) for _ in range(n)] for _ in range(rows)]


def probability(order: Sequence[int], row: list[float], beta: float) -> float:
    """Draw the responses one after another without putting them back."""
    left = list(range(len(row)))
    found = 1.0
    for place in order:
        found *= math.exp(beta * row[place]) / sum(math.exp(beta * row[other]) for other in left)
        left.remove(place)
    return found


def all_orders(row: list[float], beta: float) -> list[float]:
    return [probability(order, row, beta) for order in permutations(range(len(row)))]


def kl(p: list[float], q: list[float]) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def slow_ppd(student: list[float], teacher: list[float], beta_student: float, beta_teacher: float) -> float:
    ours, theirs = all_orders(student, beta_student), all_orders(teacher, beta_teacher)
    middle = [(a + b) / 2 for a, b in zip(ours, theirs, strict=True)]
    return (kl(ours, middle) + kl(theirs, middle)) / 2


def slow_released(student: Rows, teacher: Rows, beta_student: float, beta_teacher: float) -> list[float]:
    ours = [all_orders(row, beta_student) for row in student]
    theirs = [all_orders(row, beta_teacher) for row in teacher]
    middle = [sum(column) / 2 for column in zip(*ours, *theirs, strict=True)]
    return [(kl(middle, a) + kl(middle, b)) / 2 for a, b in zip(ours, theirs, strict=True)]


def test_three_responses_by_hand() -> None:
    """Odds 4 : 2 : 1. First 4/7, then 2/3 of what is left: 8/21, and so on for the other five orders."""
    import torch

    from edgedistill.ml.plackett_luce import plackett_luce_log_probs, rankings

    row = torch.tensor([[math.log(4), math.log(2), 0.0]])
    found = plackett_luce_log_probs(row, 1.0).exp()[0].tolist()
    by_hand = [4 / 7 * 2 / 3, 4 / 7 * 1 / 3, 2 / 7 * 4 / 5, 2 / 7 * 1 / 5, 1 / 7 * 4 / 6, 1 / 7 * 2 / 6]
    assert rankings(3).tolist() == [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
    assert found == pytest.approx(by_hand, rel=1e-6)


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_every_order_has_the_probability_of_drawing_it(n: int) -> None:
    import torch

    from edgedistill.ml.plackett_luce import plackett_luce_log_probs

    rows = scores(7, n)
    found = plackett_luce_log_probs(torch.tensor(rows), 3.0)
    assert found.shape == (7, math.factorial(n))
    for row, own in zip(rows, found.exp().tolist(), strict=True):
        assert own == pytest.approx(all_orders(row, 3.0), rel=1e-4)
        assert sum(own) == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_losses_agree_with_plain_python_over_all_orders(n: int) -> None:
    import torch

    from edgedistill.ml.plackett_luce import ppd_loss, ppd_released_loss, ranking_entropy, vpd_loss

    student, teacher = scores(6, n, seed=1), scores(6, n, seed=2)
    given = torch.tensor(student), torch.tensor(teacher), 2.0, 3.0
    pairs = list(zip(student, teacher, strict=True))
    assert ppd_loss(*given).tolist() == pytest.approx([slow_ppd(s, t, 2.0, 3.0) for s, t in pairs], rel=1e-4)
    orders = [sorted(range(n), key=lambda place: -t[place]) for t in teacher]
    by_hand = [-math.log(probability(order, s, 2.0)) for order, s in zip(orders, student, strict=True)]
    assert vpd_loss(*given).tolist() == pytest.approx(by_hand, rel=1e-4)
    assert ppd_released_loss(*given).tolist() == pytest.approx(slow_released(student, teacher, 2.0, 3.0), rel=1e-4)
    entropies = [-sum(p * math.log(p) for p in all_orders(row, 3.0)) for row in teacher]
    assert ranking_entropy(given[1], 3.0).tolist() == pytest.approx(entropies, rel=1e-4)


@pytest.mark.parametrize("count", [1, 2, 5, 64])
def test_ppd_is_zero_where_student_and_teacher_agree_whatever_the_batch(count: int) -> None:
    import torch

    from edgedistill.ml.plackett_luce import ppd_loss

    rows = torch.tensor(scores(count, 4))
    assert ppd_loss(rows, rows, 10.0, 10.0).abs().max() < 1e-6
    # The same ranking distribution from scores of another scale and offset.
    assert ppd_loss(rows * 5 + 3, rows, 2.0, 10.0).abs().max() < 1e-5


def test_the_released_loss_is_not_zero_where_they_agree_beyond_one_prompt() -> None:
    """Its mixture has the mass of as many distributions as there are prompts."""
    import torch

    from edgedistill.ml.plackett_luce import plackett_luce_log_probs, ppd_released_loss

    for count in (1, 2, 4):
        rows = torch.tensor(scores(count, 4))
        ours = plackett_luce_log_probs(rows, 10.0)
        mass = (torch.cat([ours, ours]).logsumexp(dim=0).exp() / 2).sum().item()
        found = ppd_released_loss(rows, rows, 10.0, 10.0).mean().item()
        assert mass == pytest.approx(count, rel=1e-5)
        assert found == pytest.approx(0, abs=1e-5) if count == 1 else found > math.log(2)


def test_a_prompts_loss_does_not_depend_on_the_others() -> None:
    import torch

    from edgedistill.ml.plackett_luce import ppd_loss, vpd_loss

    student, teacher = torch.tensor(scores(5, 4, 1)), torch.tensor(scores(5, 4, 2))
    for loss in (ppd_loss, vpd_loss):
        alone = [loss(student[row : row + 1], teacher[row : row + 1], 2.0, 3.0).item() for row in range(5)]
        assert loss(student, teacher, 2.0, 3.0).tolist() == pytest.approx(alone, rel=1e-5)


@pytest.mark.parametrize("n", [3, 4, 5])
def test_the_order_of_the_responses_does_not_matter(n: int) -> None:
    """Also with equal teacher scores, whose order nobody knows."""
    import torch

    from edgedistill.ml.plackett_luce import ppd_loss, ppd_released_loss, vpd_loss

    student, teacher = torch.tensor(scores(4, n, 1)), torch.tensor(scores(4, n, 2))
    teacher[0, 0] = teacher[0, 1]
    order = torch.randperm(n, generator=torch.Generator().manual_seed(n))
    for loss in (ppd_loss, vpd_loss, ppd_released_loss):
        found = loss(student[:, order], teacher[:, order], 2.0, 3.0)
        assert found.tolist() == pytest.approx(loss(student, teacher, 2.0, 3.0).tolist(), rel=1e-4)


def test_equal_teacher_scores_are_every_order_in_turn() -> None:
    """Two responses, alike to the teacher, odds 3 : 1 for the student: (-ln 3/4 - ln 1/4) / 2."""
    import torch

    from edgedistill.ml.plackett_luce import vpd_loss

    found = vpd_loss(torch.tensor([[math.log(3), 0.0]]), torch.tensor([[-1.0, -1.0]]), 1.0)
    assert found.item() == pytest.approx(-(math.log(0.75) + math.log(0.25)) / 2)


@pytest.mark.parametrize("spread", [0.1, 1.0, 100.0])
def test_ppd_is_between_zero_and_ln_2(spread: float) -> None:
    import torch

    from edgedistill.ml.plackett_luce import ppd_loss

    student, teacher = torch.tensor(scores(40, 4, 3)) * spread, torch.tensor(scores(40, 4, 4)) * spread
    found = ppd_loss(student, teacher, 10.0, 10.0)
    assert found.min() >= -1e-6
    assert found.max() <= math.log(2) + 1e-6
    against = ppd_loss(torch.tensor([[100.0, 0.0, -100.0]]), torch.tensor([[-100.0, 0.0, 100.0]]), 1.0, 1.0)
    assert against.item() == pytest.approx(math.log(2), rel=1e-6)


def test_two_responses_are_bradley_terry() -> None:
    """Jensen-Shannon divergence of two coins with heads sigmoid(beta (s_1 - s_2))."""
    import torch

    from edgedistill.ml.plackett_luce import ppd_loss, vpd_loss

    student, teacher = scores(8, 2, 5), scores(8, 2, 6)
    found = ppd_loss(torch.tensor(student), torch.tensor(teacher), 4.0, 7.0).tolist()
    ranked = vpd_loss(torch.tensor(student), torch.tensor(teacher), 4.0).tolist()
    for s, t, divergence, surprise in zip(student, teacher, found, ranked, strict=True):
        p, q = 1 / (1 + math.exp(-4 * (s[0] - s[1]))), 1 / (1 + math.exp(-7 * (t[0] - t[1])))
        m = (p + q) / 2
        by_hand = (kl([p, 1 - p], [m, 1 - m]) + kl([q, 1 - q], [m, 1 - m])) / 2
        assert divergence == pytest.approx(by_hand, rel=1e-4, abs=1e-7)
        assert surprise == pytest.approx(-math.log(p if t[0] > t[1] else 1 - p), rel=1e-5)


@pytest.mark.parametrize("name", ["ppd_loss", "vpd_loss", "ppd_released_loss"])
def test_gradients_are_finite_differences_of_the_plain_python(name: str) -> None:
    import torch

    from edgedistill.ml import plackett_luce

    student, teacher, step = scores(2, 4, 7), scores(2, 4, 8), 1e-5
    given = torch.tensor(student, requires_grad=True)
    getattr(plackett_luce, name)(given, torch.tensor(teacher), 2.0, 3.0).sum().backward()

    def slow(rows: Rows) -> float:
        if name == "ppd_released_loss":
            return sum(slow_released(rows, teacher, 2.0, 3.0))
        if name == "ppd_loss":
            return sum(slow_ppd(s, t, 2.0, 3.0) for s, t in zip(rows, teacher, strict=True))
        orders = [sorted(range(4), key=lambda place: -t[place]) for t in teacher]
        return -sum(math.log(probability(order, s, 2.0)) for order, s in zip(orders, rows, strict=True))

    assert given.grad is not None
    for row in range(2):
        for place in range(4):
            moved = [[own[:] for own in student] for _ in range(2)]
            moved[0][row][place] += step
            moved[1][row][place] -= step
            expected = (slow(moved[0]) - slow(moved[1])) / (2 * step)
            assert given.grad[row, place].item() == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_far_apart_scores_stay_finite() -> None:
    import torch

    from edgedistill.ml.plackett_luce import ppd_loss, vpd_loss

    student = torch.tensor([[0.0, -500.0, -1000.0, -1500.0]], requires_grad=True)
    for loss in (ppd_loss, vpd_loss):
        found = loss(student, -student.detach(), 10.0, 10.0)
        found.sum().backward()
        assert torch.isfinite(found).all()
        assert student.grad is not None and torch.isfinite(student.grad).all()
