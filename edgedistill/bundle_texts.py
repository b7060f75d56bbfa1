"""The texts of a bundle that are written from templates: model card, run.sh, Modelfile. And the chat template."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgedistill.chat_template import text_of as template_of
from edgedistill.errors import UsageError
from edgedistill.files import read_json, write_text
from edgedistill.models import Model
from edgedistill.task import Task

_TEMPLATES = Path(__file__).parent / "templates"
_PROGRAMS = {
    "gguf": {"run.sh": "run.sh.j2", "Modelfile": "Modelfile.j2"},
    "onnx_genai": {"run.sh": "run_onnx_genai.sh.j2"},
}
"""Format -> the files that show how to run it, and their templates. Plain ONNX is for an app's own code."""
_MARK = "\u241fprompt\u241f"
"""Stands for the user's text when a chat template is taken apart; no template holds it."""


def write_texts(folder: Path, facts: dict[str, Any], tuned: Model, tasks: list[Task]) -> None:
    """MODEL_CARD.md; run.sh (executable) where a program can run the model; Modelfile of a GGUF. `facts` are the
    manifest's fields but for its files."""
    values = {
        **facts,
        "tasks": tasks,
        "context": facts["conditions"].get("context") or 1024,
        "grammars": sorted(path.name for path in folder.glob("*.gbnf")),
        "parts": prompt_parts(tuned.path),
        "server": next(
            (f"./{path.relative_to(folder)}" for path in folder.glob("runtime/*/llama-server")), "llama-server"
        ),
    }
    for name, template in {"MODEL_CARD.md": "MODEL_CARD.md.j2", **_PROGRAMS.get(facts["chosen"]["format"], {})}.items():
        write_text(folder / name, _rendered(template, values))
    if (folder / "run.sh").is_file():
        (folder / "run.sh").chmod(0o755)


def with_budgets(card: str, budgets: Sequence[dict[str, Any]]) -> str:
    """A model card whose table of budgets says what they are now; the rest stays as it is."""
    rows = {budget["name"]: _budget_row(budget) for budget in budgets}
    lines = card.split("\n")
    return "\n".join(rows.get(line[2:].partition(" ")[0], line) if line.startswith("| ") else line for line in lines)


def _budget_row(budget: dict[str, Any]) -> str:
    """As the template writes it."""
    value = "-" if budget["value"] is None else budget["value"]
    cells = budget["name"], budget["limit"], value, budget["unit"], budget["verdict"], budget["evidence"]
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def chat_template(model: Path) -> str:
    """The chat template of a checked model folder: its own file, or the one in tokenizer_config.json."""
    given = template_of(model)
    if given is None:
        raise UsageError(f"{model} has no default chat template")
    return given


def prompt_parts(model: Path) -> tuple[str, str] | None:
    """What the chat template writes before and after the text of a single user message, generation prompt included.

    None where it does more with the text than put it there, or is not to be rendered without a tokenizer.
    """
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    tokenizer = read_json(model / "tokenizer_config.json")
    special = {name: _text(tokenizer.get(name)) for name in ("bos_token", "eos_token", "pad_token", "unk_token")}
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    conversation = [{"role": "user", "content": _MARK}]
    try:
        template = environment.from_string(chat_template(model))
        text = template.render(messages=conversation, add_generation_prompt=True, **special)
    except jinja2.TemplateError:
        return None
    before, found, after = text.partition(_MARK)
    is_plain = bool(found) and _MARK not in after and not any(sign in text for sign in ('"""', "{{", "}}"))
    return (before, after) if is_plain else None


def _text(token: Any) -> str:
    """A special token is given as text, or as an object with its content."""
    return str(token.get("content", "")) if isinstance(token, dict) else str(token or "")


def _rendered(name: str, values: dict[str, Any]) -> str:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # the results are Markdown, shell and a Modelfile
    )
    return environment.get_template(name).render(values)
