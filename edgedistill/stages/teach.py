"""A teacher writes down its distributions over the tailored rows, once for every student and epoch."""

from __future__ import annotations

from pathlib import Path

from edgedistill import vocabulary
from edgedistill.artifacts import Hints, Tailored
from edgedistill.engine import Engine, user
from edgedistill.files import write_json
from edgedistill.learning import HintsConfig
from edgedistill.log import progress
from edgedistill.models import Model
from edgedistill.shards import on_demand
from edgedistill.stages.distill import plain_rows
from edgedistill.store import stage
from edgedistill.task import Task
from edgedistill.vocabulary import Wording


@stage(version=2)  # v2: padding of the teacher is left out, it was part of the rest
def teach(
    out: Path, tailored: Tailored, teacher: Model, wording: Wording, tasks: list[Task], config: HintsConfig
) -> Hints:
    """The teacher's likeliest tokens at each token of the rows' answers, with the probability of all others.

    wording  the student's tokenizer and template: the rows' token ids are those that the student learns. The prompt is
             shown in the teacher's own template

    Leaves  hints/NNNN.safetensors, counts.json with bytes_per_token; no hints where the vocabularies differ and
            `vocabulary: text` allows it
    Raises  UsageError where the vocabularies differ and it does not
    """
    if not vocabulary.learns_tokens(teacher, wording.model, config.vocabulary):
        write_json(out / "counts.json", {"rows": 0, "is_text_only": True, "summary": "another vocabulary, text only"})
        return Hints(out)
    from edgedistill.ml import hint_shards
    from edgedistill.ml.turns import end_ids, load_tokenizer, turns

    rows = plain_rows(tasks, tailored)
    tokenizer = load_tokenizer(wording.model.path)
    encoded = turns(tokenizer, end_ids(wording.model.path, tokenizer), rows)
    size = vocabulary.rows_of(wording.model)
    kept = min(config.top_k, size)
    made = Hints(out)
    starts = range(0, len(rows), hint_shards.ROWS)
    done = sum(hint_shards.path_of(made.folder, n).is_file() for n in range(len(starts))) * hint_shards.ROWS
    with on_demand(teacher, out) as opened, progress("teach", len(rows), min(done, len(rows))) as advance:
        for number, start in enumerate(starts):
            if (path := hint_shards.path_of(made.folder, number)).is_file():
                continue
            part = range(start, min(start + hint_shards.ROWS, len(rows)))
            fitting = [row for row in part if len(encoded[row]) <= config.max_tokens]
            prompts = [_prompt(opened(), teacher, rows[row][0], encoded[row].prompt_ids) for row in fitting]
            answers = [encoded[row].completion_ids for row in fitting]
            said = opened().likeliest(prompts, answers, kept, vocabulary=size, on_done=advance)
            found = dict(zip(fitting, said, strict=True))
            hint_shards.write(path, [found.get(row) for row in part], kept, size)
            advance(len(part) - len(fitting))
    tokens = sum(len(turn.completion_ids) for turn in encoded if len(turn) <= config.max_tokens)
    each = hint_shards.bytes_per_token(kept, size)
    summary = f"{tokens:,} tokens, {each} bytes each"
    counts = {"rows": len(rows), "tokens": tokens, "kept": kept, "bytes_per_token": each, "summary": summary}
    write_json(out / "counts.json", {**counts, "is_text_only": False})
    return made


def _prompt(engine: Engine, teacher: Model, prompt: str, as_student: list[int]) -> list[int]:
    """In the teacher's own template; a server's is not known, so the student's stands for it."""
    return as_student if teacher.server else engine.token_ids(user(prompt))
