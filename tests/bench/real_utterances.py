"""How good is a bundle of `quickstart` on real people's words? Prints intent accuracy and exact match with intervals.

    python tests/bench/real_utterances.py [BUNDLE] [FILE.jsonl.gz]
    python tests/bench/real_utterances.py --as-test-items DIR

The second writes them as DIR/home.jsonl, for `edgedistill methods --recipe quickstart --test-items DIR`.
BUNDLE is dist/quickstart-rpi5 when it is not named. The utterances were never trained on and are not part of the
project: FILE is `test-public.jsonl.gz` of the home NLU data (Liu et al. 2019, arXiv:1903.05566, CC BY 4.0), by default
the copy beside the repository. Only the intents that the recipe knows are asked; slots count as annotated there.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

from edgedistill import task
from edgedistill.engine import user
from edgedistill.engines.llama import open_file
from edgedistill.files import write_rows
from edgedistill.prompts import extract_answer, plain_prompt
from edgedistill.statistics import wilson

REPO = Path(__file__).resolve().parents[2]
BUNDLE = REPO / "dist/quickstart-rpi5"
DATA = REPO.parent / "shared/data/home_nlu/test-public.jsonl.gz"
INTENTS = frozenset(
    "iot_cleaning iot_coffee iot_hue_lightchange iot_hue_lightdim iot_hue_lightoff iot_hue_lighton iot_hue_lightup "
    "iot_wemo_off iot_wemo_on audio_volume_mute audio_volume_up audio_volume_down alarm_query alarm_remove alarm_set "
    "lists_createoradd lists_query lists_remove weather_query datetime_query play_music".split()
)


def main(bundle: Path, data: Path) -> None:
    home = task.load(REPO / "recipes/quickstart/home")
    rows = known(data)
    with open_file(bundle / "model.gguf", context=512) as engine:
        asked = [user(plain_prompt(home.info.description, row["utterance"])) for row in rows]
        given = [extract_answer(text) for text in engine.generate(asked, max_tokens=96)]
    expected = [answer(row) for row in rows]
    print(f"{bundle.name} on {data.name}, {len(INTENTS)} intents\n\nfigure            value   95% interval    n")
    exact = sum(home.grader.is_right(one, right) for one, right in zip(given, expected, strict=True))
    intents = sum(_intent(one) == row["intent"] for one, row in zip(given, rows, strict=True))
    for name, hits in (("intent accuracy", intents), ("exact match", exact)):
        interval = wilson(hits, len(rows))
        print(f"{name:16}  {hits / len(rows):.3f}   {interval.low:.3f}-{interval.high:.3f}    {len(rows)}")
    for name, value in home.grader.details(given, expected).items():
        print(f"{name:16}  {value:.3f}")
    for row, one, right in zip(rows, given, expected, strict=True):
        if "--wrong" in sys.argv and not home.grader.is_right(one, right):
            print(f"  {row['utterance']}\n    given    {one}\n    expected {right}")


def known(data: Path) -> list[dict[str, Any]]:
    """The utterances whose intent the recipe knows."""
    with gzip.open(data, "rt", encoding="utf-8") as lines:
        return [row for row in map(json.loads, lines) if row["intent"] in INTENTS]


def answer(row: dict[str, Any]) -> str:
    """The annotation as the action that the student is to give."""
    return json.dumps({"intent": row["intent"], **{slot["slot"]: slot["value"] for slot in row["slots"]}})


def as_test_items(data: Path, folder: Path) -> None:
    """Leaves home.jsonl: id, question, answer."""
    items = [{"id": f"real-{row['id']}", "question": row["utterance"], "answer": answer(row)} for row in known(data)]
    print(f"{write_rows(folder / 'home.jsonl', items)}: {len(items)} utterances")


def _intent(answer: str | None) -> str | None:
    try:
        action = json.loads(answer or "")
    except ValueError:
        return None
    return action.get("intent") if isinstance(action, dict) else None


if __name__ == "__main__":
    if "--as-test-items" in sys.argv:
        sys.exit(as_test_items(DATA, Path(sys.argv[sys.argv.index("--as-test-items") + 1])))
    paths = [Path(argument) for argument in sys.argv[1:] if not argument.startswith("--")]
    paths += [BUNDLE, DATA][len(paths) :]
    missing = [path for path in (paths[0] / "model.gguf", paths[1]) if not path.is_file()]
    if missing:
        sys.exit(
            "\n".join(f"error: {path} is missing" for path in missing)
            + "\n\nhint: `make quickstart` makes the bundle; a second argument names the utterances"
        )
    main(*paths)
