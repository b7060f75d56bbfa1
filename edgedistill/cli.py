"""The command line. Options are stated here, the work is in commands/: only click is imported before a command runs."""

from __future__ import annotations

import errno
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from edgedistill.errors import EdgeDistillError

STAGES = (
    *("elicit", "prefer", "align", "tailor", "teach", "distill"),
    *("calibrate", "package", "evaluate", "validate", "bundle"),
)
INTERRUPTED = 130
READER_GONE = 141
"""As shells count a process that writes to `head` after it has ended: 128 + SIGPIPE."""

_OF_THE_USER = {
    errno.EACCES: "check who may read and write there",
    errno.EPERM: "check who may read and write there",
    errno.EROFS: "choose another folder with `--runs` or `--dist`",
    errno.ENOTDIR: "a file lies where a folder should be",
    errno.EEXIST: "a file lies where a folder should be",
    errno.ENOSPC: "free some space and run the same command again; what is whole is kept",
    errno.EDQUOT: "free some space and run the same command again; what is whole is kept",
}
"""What a user can mend about the file system. Any other error of it is a bug of ours, and shows where."""

_TARGET = click.option("--target", required=True, metavar="NAME|PATH", help="Device: a shipped target or a YAML file.")
_RECIPE = click.option("--recipe", metavar="NAME|PATH", help="What to make. Default: the target's own, `quickstart`.")
_STUDENT = click.option(
    "--student", metavar="PATH|HUB_ID", help="Package this model as it is; a hub id is pinned as org/name@COMMIT."
)
_TEMPLATE = click.option(
    "--chat-template",
    metavar="FILE|FOLDER|plain",
    help="With --student, for a model without one: a Jinja file, another model's folder, or bare text.",
)
_TEXT = click.option("--text", metavar="FILE", help="With --student: compare on this text. Default: a built-in one.")
_SET = click.option("--set", "overrides", multiple=True, metavar="A.B=VALUE", help="Change one value of the recipe.")
_TEST_ITEMS = click.option(
    "--test-items",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Ask the test items of the files in this folder, e.g. a public benchmark's, instead of the tasks' own.",
)
_RUNS = click.option("--runs", default="runs", show_default=True, type=click.Path(path_type=Path), help="Work folder.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(context_settings=_SETTINGS, invoke_without_command=True)
@click.version_option(package_name="edgedistill", message="edgedistill %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """Distill a large language model into a small one, and ship it to a named device with evidence.

    \b
    Example:  edgedistill build --target rpi5
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@cli.command(epilog="Example:  edgedistill build --target rpi5 --recipe quickstart --set tailor.rows=500")
@_TARGET
@_RECIPE
@_STUDENT
@_TEMPLATE
@_TEXT
@_SET
@click.option("--until", type=click.Choice(STAGES), metavar="STAGE", help="Stop after this stage.")
@click.option("--fresh", type=click.Choice(STAGES), metavar="STAGE", help="Do this stage and all after it again.")
@click.option(
    "--device",
    metavar="ADDRESS",
    help="Run the bundle there when it is built, as `bench` does, e.g. ssh://pi@rpi5.local.",
)
@click.option("--with-runtime", is_flag=True, help="Put llama.cpp's programs for the device into a GGUF bundle, 30 MB.")
@click.option("--require", type=click.Choice(["measured"]), help="Count a budget without measured evidence as missed.")
@_TEST_ITEMS
@_RUNS
@click.option("--dist", default="dist", show_default=True, type=click.Path(path_type=Path), help="Where bundles go.")
@_JSON
def build(**options: Any) -> int:
    """Make a bundle for a device, and the report on it."""
    from edgedistill.commands.build import run

    return run(**options)


@cli.command(epilog="Example:  edgedistill plan --target rpi5")
@_TARGET
@_RECIPE
@_STUDENT
@_TEMPLATE
@_TEXT
@_SET
@click.option(
    "--accelerator", metavar="NAME", help="Estimate hours on this GPU, e.g. `a100-80gb`. Default: the recipe's."
)
@_TEST_ITEMS
@_RUNS
@_JSON
def plan(**options: Any) -> int:
    """Show what would run, what is cached, and whether it fits the device."""
    from edgedistill.commands.plan import run

    return run(**options)


@cli.command(epilog="Example:  edgedistill predict --target rpi5 --params 1.1e9 --bytes 6.4e8 --quant Q4_0")
@click.option("--target", metavar="NAME|PATH", help="Device: a shipped target or a YAML file.")
@click.option("--params", type=click.FloatRange(min=1), metavar="N", help="Weights of the model, e.g. 1.1e9.")
@click.option(
    "--bytes",
    "read_bytes",
    type=click.FloatRange(min=1),
    metavar="N",
    help="Bytes that one token reads: the file, less an untied input embedding and idle experts.",
)
@click.option("--quant", metavar="NAME", help="Quantization, e.g. Q4_K_M, Q8_0, int4.")
@click.option(
    "--active-params",
    type=click.FloatRange(min=1),
    metavar="N",
    help="Weights that one token takes part in, of a mixture of experts. Default: all.",
)
@click.option("--file-bytes", type=click.FloatRange(min=1), metavar="N", help="Size of the file. Default: --bytes.")
@click.option(
    "--kv-bytes",
    type=click.FloatRange(min=0),
    metavar="N",
    help="Cache of one token: 2 x layers x KV heads x head size x 2. Default: a guess.",
)
@click.option("--context", type=click.IntRange(min=1), default=2048, show_default=True, help="Tokens of the cache.")
@click.option("--prompt-tokens", type=click.IntRange(min=1), default=128, show_default=True, help="Before the answer.")
@click.option("--threads", type=click.IntRange(min=1), help="Default: the target's, its big cores.")
@click.option("--backend", type=click.Choice(["cpu", "gpu", "npu"]), help="Default: the target's.")
@click.option("--runtime", default="llama.cpp", show_default=True, help="What runs the model.")
@click.option(
    "--rows",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Predict every row of a CSV table, with the columns of published measurements.",
)
@_JSON
def predict(**options: Any) -> int:
    """Foretell speed and memory of a model that need not exist, with 80% intervals."""
    from edgedistill.commands.predict import run

    return run(**options)


@cli.command(epilog="Example:  edgedistill arms --recipe bbh-mini --seeds 3")
@click.option("--recipe", required=True, metavar="NAME|PATH", help="What to compare on.")
@_SET
@click.option("--seeds", type=click.IntRange(min=1), help="Runs of everything, each with its own seed. Default: 3.")
@_TEST_ITEMS
@_RUNS
@_JSON
def arms(**options: Any) -> int:
    """Compare ARTE with its ablations, with intervals.

    Each arm trains the same student on other data: of the original teacher, of the aligned one, or of both.
    """
    from edgedistill.commands.arms import run

    return run(**options)


@cli.command(epilog="Example:  edgedistill methods --recipe quickstart")
@click.option("--recipe", required=True, metavar="NAME|PATH", help="What to compare on.")
@_SET
@click.option("--seeds", type=click.IntRange(min=1), help="Runs of everything, each with its own seed. Default: 3.")
@click.option(
    "--test-items",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Grade on the files of this folder too, e.g. real users' words: TASK.jsonl with id, question, answer. For"
    " quickstart, `python tests/bench/real_utterances.py --as-test-items DIR` makes it.",
)
@_RUNS
@_JSON
def methods(**options: Any) -> int:
    """Compare training methods, ways of pairing and signals, with intervals and costs.

    Every arm gets the same data or drafts. Methods are trained again with other rows until the student reads as many
    tokens, give or take 5%; the table says what is left of the difference. An arm that fails is reported as such.
    """
    from edgedistill.commands.methods import run

    return run(**options)


@cli.command(epilog="Example:  edgedistill report 20261121-101500-quickstart-rpi5")
@click.argument("build", required=False, metavar="[BUILD]")
@_RUNS
@_JSON
def report(build: str | None, runs: Path, as_json: bool) -> int:
    """Print the report of an earlier build.

    BUILD is a build id, the start of one, or a bundle. Without it: the last build.
    """
    from edgedistill.commands.report import run

    return run(build, runs, as_json)


@cli.command(epilog="Example:  edgedistill bench dist/quickstart-rpi5 --device ssh://pi@rpi5.local")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--device",
    metavar="ADDRESS",
    help="Where: local, ssh://[user@]host[:port], adb://SERIAL, qemu://CPU. Default: this machine, for its own target.",
)
@click.option("--quick", is_flag=True, help="20 requests or 10 s, not 100 or 60 s, and no 5 minutes under load.")
@click.option("--keep", is_flag=True, help="Leave runtime and model on the device for the next run.")
@click.option("--anyway", is_flag=True, help="Measure a device that other processes keep busy too, and mark the run.")
@_JSON
def bench(**options: Any) -> int:
    """Run a bundle on its device: right first, then how fast. Grade its budgets by that.

    The runtime is built for the device if need be. Raw measurements are kept, so a run that was cut goes on.
    """
    from edgedistill.commands.bench import run

    return run(**options)


@cli.command(epilog="Example:  edgedistill verify dist/quickstart-rpi5")
@click.argument("bundle", type=click.Path(path_type=Path))
@_JSON
def verify(bundle: Path, as_json: bool) -> int:
    """Check every file of a bundle against its manifest."""
    from edgedistill.commands.bundles import verify_files

    return verify_files(bundle, as_json)


@cli.command("run", epilog='Example:  edgedistill run dist/quickstart-rpi5 "dim the lights in the kitchen"')
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("prompt")
@_JSON
def run_(bundle: Path, prompt: str, as_json: bool) -> int:
    """Ask the model of a bundle, on this machine."""
    from edgedistill.commands.bundles import ask

    return ask(bundle, prompt, as_json)


@cli.command(epilog="Example:  edgedistill doctor")
@_RUNS
@_JSON
def doctor(runs: Path, as_json: bool) -> int:
    """Check that this machine can build; say what to do where not."""
    from edgedistill.commands.doctor import run

    return run(runs, as_json)


def _shelf(kind: str, what: str, example: str) -> click.Group:
    """`targets` and `recipes` have the same four commands."""

    @click.group(kind, invoke_without_command=True, help=f"{what} List, show, copy or check them.")
    @_JSON
    @click.pass_context
    def shelf(context: click.Context, as_json: bool) -> int | None:
        return show_list(as_json) if context.invoked_subcommand is None else None

    def show_list(as_json: bool) -> int:
        from edgedistill.commands import shelf

        return shelf.list_all(kind, as_json)

    @shelf.command("list", help=f"Name and title of all shipped {kind}.")
    @_JSON
    def list_(as_json: bool) -> int:
        return show_list(as_json)

    @shelf.command("show", help="Print the file.", epilog=f"Example:  edgedistill {kind} show {example}")
    @click.argument("name")
    @_JSON
    def show(name: str, as_json: bool) -> int:
        from edgedistill.commands import shelf

        return shelf.show(kind, name, as_json)

    @shelf.command("copy", help="Copy the file to change it.", epilog=f"Example:  edgedistill {kind} copy {example} my")
    @click.argument("name")
    @click.argument("to", type=click.Path(path_type=Path), default=Path())
    def copy(name: str, to: Path) -> int:
        from edgedistill.commands import shelf

        return shelf.copy(kind, name, to)

    if kind == "targets":
        _add_new(shelf)

    @shelf.command("check", help="Report every problem.", epilog=f"Example:  edgedistill {kind} check {example}")
    @click.argument("names", nargs=-1)
    @_JSON
    def check_(names: tuple[str, ...], as_json: bool) -> int:
        from edgedistill.commands import check

        return check.run(kind, names, as_json)

    return shelf


def _add_new(shelf: click.Group) -> None:
    """Only devices can be drafted from what is there."""

    @shelf.command(
        "new", help="Draft a target from a live device.", epilog="Example:  edgedistill targets new --device local mine"
    )
    @click.option("--device", required=True, metavar="ADDRESS", help="Where it is, e.g. ssh://pi@rpi5.local.")
    @click.argument("to", type=click.Path(path_type=Path), required=False)
    def new(device: str, to: Path | None) -> int:
        from edgedistill.commands.new_target import run

        return run(device, to)


@cli.group("toolchain", invoke_without_command=True)
@_JSON
@click.pass_context
def toolchain(context: click.Context, as_json: bool) -> int | None:
    """What builds need beside this package's own environment. List or install it."""
    from edgedistill.commands import toolchain as tools

    return tools.list_all(as_json) if context.invoked_subcommand is None else None


@toolchain.command("list", help="Every tool, and whether it is installed.")
@_JSON
def toolchain_list(as_json: bool) -> int:
    from edgedistill.commands import toolchain as tools

    return tools.list_all(as_json)


@toolchain.command("install", epilog="Example:  edgedistill toolchain install --target rpi5")
@click.argument("names", nargs=-1, type=click.Choice(["converter", "compilers", "optimum"]), metavar="[TOOL]…")
@click.option(
    "--target",
    "built_for",
    multiple=True,
    metavar="NAME|PATH",
    help="Build llama-server, llama-bench and llama-cli for this device's processor; `host` is this machine.",
)
@click.option("--jobs", type=click.IntRange(min=1), help="Compilers at a time. Default: cores, as memory holds.")
def toolchain_install(names: tuple[str, ...], built_for: tuple[str, ...], jobs: int | None) -> int:
    """Fetch a tool into the user's cache folder, or build the programs that run on a device.

    TOOL is `converter` (76 MB), `compilers` (130 MB) or `optimum` (about 1 GB).
    """
    from edgedistill.commands import toolchain as tools

    if not names and not built_for:
        raise click.UsageError("name a tool, or a device with --target")
    return tools.install(names, built_for, jobs)


cli.add_command(_shelf("targets", "The devices that a bundle can be built for.", "rpi5"))
cli.add_command(_shelf("recipes", "What can be built.", "quickstart"))


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command and end the process with its exit code; a mistake of the user's never shows a traceback."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:  # as `nohup` and shells set it for what runs behind
            signal.signal(number, _interrupt)
    sys.exit(_run(arguments))


def _run(arguments: list[str] | None) -> int:
    try:
        code = cli.main(arguments, prog_name="edgedistill", standalone_mode=False)
    except EdgeDistillError as error:
        return _fail(error.problem, error.hint, error.exit_code)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f"`{context.command_path} --help` lists the options" if context else ""
        return _fail(error.format_message(), hint, 2)
    except (KeyboardInterrupt, click.Abort) as error:  # click turns the first into the second
        return _fail("interrupted", "\n".join(getattr(error.__cause__ or error, "__notes__", ())), INTERRUPTED)
    except SystemExit:  # click's way out when nobody reads any more (EPIPE); its 1 would mean a missed budget here
        return READER_GONE
    except OSError as error:
        if error.errno not in _OF_THE_USER:
            raise
        return _fail(f"{error.filename or 'writing'}: {error.strerror}", _OF_THE_USER[error.errno], 2)
    return code if isinstance(code, int) else 0


def _fail(problem: str, hint: str, code: int) -> int:
    print(f"error: {problem}", file=sys.stderr)
    if hint:
        print(f"\nhint: {hint}", file=sys.stderr)
    return code


class _Interrupted(KeyboardInterrupt):
    """Unlike the plain one: a KeyboardInterrupt inside `exec`, by which libraries make classes as they are imported,
    lets Python end by the signal in the end, whatever exit code was given."""


def _interrupt(number: int, frame: Any) -> NoReturn:
    """SIGTERM ends a build as Ctrl-C does."""
    raise _Interrupted


if __name__ == "__main__":
    main()
