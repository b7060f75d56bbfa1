"""One candidate in its runtime: does it reproduce the float student, and how good is it?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgedistill import accuracy, parity, perplexity, shift
from edgedistill.accuracy import Questions, Taken
from edgedistill.artifacts import Candidate, Candidates
from edgedistill.engine import open_file
from edgedistill.errors import CannotRun, IntegrityError
from edgedistill.files import write_rows
from edgedistill.parity import Parity
from edgedistill.sections import ValidateConfig
from edgedistill.stages import reference
from edgedistill.stages.reference import Reference

Quality = dict[str, Any]
"""`accuracy`, `text`, `lm_eval` and what moved, in the report's schema."""

_UNKNOWN: Quality = {"accuracy": None, "kl_mean": None, "kl_p99": None, "same_top1": None}
"""Of a file that cannot be asked, or for which the student's token ids are others."""


@dataclass(frozen=True)
class Trial:
    """What every candidate has to go through, the same for all."""

    out: Path
    candidates: Candidates
    held: Reference
    questions: Questions
    config: ValidateConfig

    def run(self, candidate: Candidate) -> tuple[Parity, Quality]:
        """Parity, then accuracy and shift. What its runtime cannot load or run fails, and the others go on.

        Leaves  parity/<name>.jsonl; answers/<name>.jsonl and its like
        Raises  IntegrityError when the file is not what was exported
        """
        return self._asked(candidate, wants_quality=True)

    def parity(self, candidate: Candidate) -> Parity:
        """Parity alone, of a file that the others were made of."""
        return self._asked(candidate, wants_quality=False)[0]

    def _asked(self, candidate: Candidate, *, wants_quality: bool) -> tuple[Parity, Quality]:
        file, quality = self.candidates.whole_file(candidate), _UNKNOWN
        try:
            with open_file(file, candidate.format, context=self.held.context) as engine:
                found = self._parity(engine, candidate)
                if wants_quality:
                    quality = self._quality(engine, candidate, found)
        except (CannotRun, IntegrityError) as error:
            found, quality = parity.failed(self.held.golden, error.problem), _UNKNOWN
        write_rows(self.out / "parity" / f"{candidate.name}.jsonl", found.rows())
        return found, quality

    def _parity(self, engine: Any, candidate: Candidate) -> Parity:
        held, config, kind = self.held, self.config, parity.coarsest(candidate.tensor_types)
        found = parity.check(held.golden, engine, kind, config.first_token_kl_max, config.max_tokens)
        if held.reading and found.has_same_ids:
            found = replace(found, beside=perplexity.ids_difference(held.reading, engine))
        if not found.has_same_ids:
            return found
        return parity.check_answers(found, held.along, engine, kind, config.answer_kl_max)

    def _quality(self, engine: Any, candidate: Candidate, found: Parity) -> Quality:
        """What fails parity will not ship, so of its accuracy only the free answers are taken: they show what the fault
        does. Where token ids differ, the student's own are not fed to it.
        """
        if not found.has_prompts:
            return _UNKNOWN
        name = candidate.name
        moved = shift.line(self.held.held_out, engine) if found.has_same_ids else _UNKNOWN
        if not self.questions.items:
            reads = self.held.reading if found.has_same_ids else None
            return {**moved, "accuracy": None, "text": perplexity.line(reads, engine) if reads else None}
        answered = self._taken(name, engine, found)
        gate = self.config.gate if answered.likelihood else "generation"
        line = accuracy.candidate_line(self.held.taken, answered, self.questions.tasks, gate)
        public = reference.public(self.out, name, engine, self.config) if found.passed else {}
        return {**moved, "accuracy": line, "lm_eval": public}

    def _taken(self, name: str, engine: Any, found: Parity) -> Taken:
        if found.passed:
            return reference.taken(self.out, name, engine, self.questions, self.config)
        return Taken(accuracy.answer(self.out, name, engine, self.questions))
