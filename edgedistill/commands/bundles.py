"""`verify` and `run`: what can be done with a bundle on the machine where it lies."""

from __future__ import annotations

import json
from pathlib import Path

import click

from edgedistill import bundle_manifest
from edgedistill.engine import open_file, user
from edgedistill.prompts import plain_prompt

CONTEXT = 2048
"""Tokens for prompt and answer together."""


def verify_files(folder: Path, as_json: bool) -> int:
    """Every file against the manifest; IntegrityError (exit code 4) where one differs."""
    manifest = bundle_manifest.open_bundle(folder)
    total = sum(file.bytes for file in manifest.files.values())
    if as_json:
        click.echo(json.dumps({"bundle": str(folder), "files": len(manifest.files), "bytes": total, "holds": True}))
    else:
        click.echo(f"{manifest.name}: all {len(manifest.files)} files hold, {total / 2**20:.2f} MiB")
    return 0


def ask(folder: Path, prompt: str, as_json: bool) -> int:
    """Answer one prompt with the bundle's model, the way it was validated: greedy, in the words of its training."""
    manifest = bundle_manifest.open_bundle(folder)
    data = manifest.lineage.data
    # Of several tasks none can be guessed; the prompt is then taken as it is.
    text = plain_prompt(data[0].description, prompt) if len(data) == 1 else prompt
    with open_file(folder / manifest.model, manifest.chosen["format"], context=CONTEXT) as engine:
        answer = engine.generate([user(text)], max_tokens=CONTEXT // 2)[0]
    click.echo(json.dumps({"prompt": text, "answer": answer}, ensure_ascii=False) if as_json else answer)
    return 0
