"""Scripts for a device's shell: what is put around each of them, and the short ones. POSIX sh, also busybox's.

Because the exit code of the program that reaches the device may be its own, a script prints the code of its command as
the last words of stderr; where they are missing, the connection was cut. What the login shell prints ends at a mark.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from typing import IO, Literal, NamedTuple

_READ = 1 << 20
_BEGUN, _ENDED = "edgedistill-begins\n", "\nedgedistill-ends:"

# Its file in groups/ is how a script is found when it has to be ended. It is removed in the folder where the script
# began, which may have another name by then. Not `: >FILE`, of which most shells end at once when it fails.
_AROUND = """\
umask 077
code=
trap 'code=143' TERM
cd {work} 2>/dev/null || {{ printf '{ended}gone\\n' >&2; exit 1; }}
true >{work}/groups/{number}.$$ || {{ printf '{ended}full\\n' >&2; exit 1; }}
printf '{begun}'
printf '{begun}' >&2
if [ -z "$code" ]; then
(
{body}
)
code=$?
fi
rm -f groups/{number}.$$
printf '{ended}%s\\n' $code >&2
"""

# Asked twice: a shell that is just about to start its command loses the first signal.
_END = """\
for file in groups/{number}.*; do
    [ -e "$file" ] || continue
    group=${{file##*.}} turn=0
    kill -TERM -$group
    while [ -e "$file" ] && kill -0 -$group 2>/dev/null && [ $turn -lt {turns} ]; do
        sleep 0.2 2>/dev/null || sleep 1
        turn=$((turn + 1))
        [ $turn -eq 2 ] && kill -TERM -$group 2>/dev/null
    done
    kill -KILL -$group 2>/dev/null
    rm -f "$file"
done
:"""
_SAMPLE = """\
for path in {paths}; do
    if text=$(cat "$path" 2>/dev/null); then printf '\\036+%s' "$text"; else printf '\\036-'; fi
done"""


def begun(stream: IO[bytes]) -> Iterator[bytes]:
    """The output of a wrapped script as it comes, without what is before our mark."""
    said, mark = b"", _BEGUN.encode()
    while mark not in said and (read := os.read(stream.fileno(), _READ)):
        said += read
    yield said.partition(mark)[2]
    while read := os.read(stream.fileno(), _READ):
        yield read


class Unwrapped(NamedTuple):
    """What a wrapped script left."""

    end: int | Literal["full", "cut"]
    """The exit code; `full` when nothing could be written, `cut` when it did not come to its end."""
    out: bytes
    err: bytes


def wrapped(body: str, work: str, number: int) -> str:
    """A script that runs in the work folder, can be ended by its number, and tells its exit code."""
    marks = {"begun": _BEGUN.replace("\n", "\\n"), "ended": _ENDED.replace("\n", "\\n")}
    return _AROUND.format(work=shlex.quote(work), number=number, body=body, **marks)


def unwrapped(out: bytes, err: bytes) -> Unwrapped:
    """Output without our marks."""
    said, ended, code = err.rpartition(_ENDED.encode())
    if code.strip() == b"full":
        return Unwrapped("full", b"", said)
    if not ended or not code.strip().isdigit():
        return Unwrapped("cut", out, err)
    begun = _BEGUN.encode()
    return Unwrapped(int(code), out.partition(begun)[2], said.partition(begun)[2])


def ending(number: int, grace_s: float) -> str:
    """Ends the processes of a script: asked first, then forced."""
    return _END.format(number=number, turns=max(1, round(grace_s / 0.2)))


def sampling(paths: Sequence[str]) -> str:
    """Prints files, each behind 0x1e and `+`, or `-` for one that cannot be read."""
    return _SAMPLE.format(paths=shlex.join(paths))
