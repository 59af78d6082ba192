"""What the launcher's verbs do, a function each. They import what they need when it is needed: JAX is not, to tell a mistake.

Each takes the launcher's flags, the words behind the verb, and the `--config.key=value` assignments.
"""

import dataclasses
import os
import signal
import sys
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from cvjax import environment
from cvjax.config import load, read
from cvjax.errors import Interrupted, UserError
from cvjax.schema import assign

Assignments = list[tuple[str, str]]
METHODS = ("attention", "rollout", "gradcam", "queries")  # of explain


def train(flags: Any, words: list[str], assignments: Assignments) -> None:
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):  # until the loop takes them: nothing to save yet, run me again
        signal.signal(number, lambda number, _: os._exit(Interrupted.exit_code))
    workdir, config = Path(_needed(flags, "workdir", "train")), _experiment(flags, "train", assignments)
    environment.prepare()
    from cvjax import parallel, train

    parallel.start()
    parallel.check_devices()
    try:
        train.train(config, workdir)
    except Interrupted:
        environment.deaf()
        raise


def eval(flags: Any, words: list[str], assignments: Assignments) -> None:
    if flags.config and flags.workdir:
        raise UserError("eval measures a run (--workdir) or weights (--config with --init), not both")
    if flags.config:
        config = _experiment(flags, "eval", assignments)
        _wake()
        from cvjax import predict

        predict.evaluate_weights(config, flags.split, Path(flags.out) if flags.out else None)
        return
    if flags.out:
        raise UserError("eval of a run writes into the run, RUN/eval and RUN/images; --out is for weights (--config with --init)")
    workdir, config = _run(flags, "eval", assignments)
    from cvjax import predict

    predict.evaluate_run(config, workdir, flags.split, flags.checkpoint)


def predict(flags: Any, words: list[str], assignments: Assignments) -> None:
    workdir, config = _run(flags, "predict", assignments)
    from cvjax import predict

    predict.predict_files(config, workdir, words, flags.checkpoint, Path(flags.out or workdir / "predictions"))


def generate(flags: Any, words: list[str], assignments: Assignments) -> None:
    workdir, config = _run(flags, "generate", assignments)
    from cvjax import generate

    print(generate.generate(config, workdir, flags.checkpoint, flags.prompt, flags.length, flags.temperature, flags.seed))


def explain(flags: Any, words: list[str], assignments: Assignments) -> None:
    if not flags.method:
        raise UserError(f"explain needs --method={'|'.join(METHODS)}; queries is the one for detectors, and for them alone")
    workdir, config = _run(flags, "explain", assignments)
    from cvjax import explain

    out = Path(flags.out or workdir / "explanations" / flags.method)
    explain.explain_files(config, workdir, words, flags.method, flags.checkpoint, out)


def check(flags: Any, words: list[str], assignments: Assignments) -> None:
    config = _experiment(flags, "check", assignments)
    _wake()
    from cvjax import check

    check.check(config, Path(flags.workdir) if flags.workdir else None)


def describe(flags: Any, words: list[str], assignments: Assignments) -> None:
    folders = [Path(folder) if folder else None for folder in (flags.workdir, flags.out)]
    if flags.all and (flags.config or flags.rerun or assignments):
        raise UserError("--all describes every network there is; --config and --rerun describe one")
    if not flags.all and (words or flags.workdir or flags.out or flags.seconds is not None):
        raise UserError("names of networks, --workdir, --out and --seconds are for describe --all")
    config = None if flags.all else _experiment(flags, "describe", assignments)
    _wake()
    if config is not None:
        from cvjax import measure

        measure.network(config, flags.batch_sizes)
        return
    from cvjax import complexity

    seconds = 1.0 if flags.seconds is None else flags.seconds
    complexity.compare(Path(sys.argv[0]).parent / "experiments", folders[0], words, flags.batch_sizes, seconds, folders[1])


def verify(flags: Any, words: list[str], assignments: Assignments) -> None:
    workdir = Path(_needed(flags, "workdir", "verify"))
    _experiment(flags, "verify", assignments)
    _wake()
    from cvjax import verify

    given = [f"--{name}={getattr(flags, name)}" for name in ("config", "rerun", "init") if getattr(flags, name)]
    settings = [f"--config.{key}={value}" for key, value in assignments]
    verify.verify([sys.executable, sys.argv[0], "train", *given, *settings], workdir)


def replay(flags: Any, words: list[str], assignments: Assignments) -> None:
    workdir, config = _run(flags, "replay", assignments)
    from cvjax import nonfinite

    nonfinite.replay(config, workdir)


def report(flags: Any, words: list[str], assignments: Assignments) -> None:
    from cvjax import report

    folder = Path(_needed(flags, "workdir", "report"))
    written = report.report([folder], out=flags.out)
    if summary := report.summary(folder):
        print(summary)
    print(written)


def list_(flags: Any, words: list[str], assignments: Assignments) -> None:
    from cvjax import listing

    print(listing.listing())


def _experiment(flags: Any, verb: str, assignments: Assignments) -> ConfigDict:
    """The config of --config, of the run --rerun or of the run in --workdir, with what the command line sets, its names checked."""
    if flags.config and flags.rerun:
        raise UserError("--config and --rerun both say what to run; give one")
    again = verb == "train" and not flags.config and (Path(flags.workdir or ".") / "config.json").is_file()
    if flags.rerun or again:
        config = read(Path(flags.rerun or flags.workdir))
    else:
        path, _, arg = _needed(flags, "config", verb).partition(":")
        config = load(path, arg)
    given: list[tuple[str, Any]] = [("init", flags.init)] if flags.init else []
    given += [("train.probes", tuple(flags.probe))] if flags.probe else []
    return assign(config, [*assignments, *given])


def _run(flags: Any, verb: str, assignments: Assignments) -> tuple[Path, ConfigDict]:
    """The run in --workdir and its config."""
    workdir = Path(_needed(flags, "workdir", verb))
    config = assign(read(workdir), assignments)
    _wake()
    return workdir, config


def _wake() -> None:
    """Lets JAX find its devices, in the environment that the launcher sets."""
    environment.prepare()
    from cvjax import parallel

    parallel.check_devices()


def _needed(flags: Any, name: str, verb: str) -> str:
    value = getattr(flags, name)
    if not value:
        raise UserError(f"{verb} needs --{name}=...")
    return str(value)


def sweep(flags: Any, words: list[str], assignments: Assignments) -> None:
    from cvjax import study, sweeps

    if bool(flags.study) == bool(flags.sweep):
        raise UserError("sweep needs --study=FILE.py, or --config=FILE.py with --sweep='optim.lr=[0.1,0.01] seed=range(3)'; not both")
    if flags.sweep:
        found, source = sweeps.quick(_experiment(flags, "sweep", assignments), flags.sweep), f"{flags.config} {flags.sweep}"
    else:
        if flags.config:
            raise UserError("--study says which experiment to run; leave --config away")
        path, _, arg = flags.study.partition(":")
        found, source = study.load(path, arg), flags.study
        found = dataclasses.replace(found, base=assign(found.base, assignments))
    given = {name: getattr(flags, name) for name in ("sampler", "pruner", "trials") if getattr(flags, name) is not None}
    if given and found.search is None:
        raise UserError(f"--{next(iter(given))} is for a study that searches; this one lists its arms")
    if found.search is not None:
        found = dataclasses.replace(found, search=dataclasses.replace(found.search, **given))
    folder = Path(_needed(flags, "workdir", "sweep"))
    parallel = flags.parallel if flags.parallel is not None else 1 if flags.executor == "local" else 1_000_000
    place = sweeps.Place(flags.executor, flags.slurm, parallel, flags.retries, flags.storage)
    if flags.dry_run:
        sweeps.dry_run(found, folder, place)
    else:
        sweeps.run(found, source, folder, place)


def cascade(flags: Any, words: list[str], assignments: Assignments) -> None:
    if assignments:
        raise UserError(f"--config.{assignments[0][0]} is not for cascade: its members are as they were trained")
    folder = Path(_needed(flags, "workdir", "cascade"))
    _wake()
    from cvjax import cascade

    print(cascade.cascade(words, folder, flags.target, flags.confidence, flags.checkpoint))


def score(flags: Any, words: list[str], assignments: Assignments) -> None:
    if assignments:
        raise UserError(f"--config.{assignments[0][0]} is not for score: it reads two files and no experiment")
    from cvjax import score

    print(score.score(Path(_needed(flags, "truth", "score")), Path(_needed(flags, "results", "score")), flags.iou))


def status(flags: Any, words: list[str], assignments: Assignments) -> None:
    from cvjax import standing

    print(standing.table(Path(_needed(flags, "workdir", "status"))))


# Verb: what does it, and the flags that it takes.
VERBS = {
    "train": (train, ("config", "workdir", "rerun", "init", "probe")),
    "eval": (eval, ("config", "workdir", "init", "checkpoint", "split", "out")),
    "predict": (predict, ("workdir", "checkpoint", "out")),
    "generate": (generate, ("workdir", "checkpoint", "prompt", "length", "temperature", "seed")),
    "explain": (explain, ("workdir", "method", "checkpoint", "out")),
    "check": (check, ("config", "workdir", "rerun", "init")),
    "describe": (describe, ("config", "rerun", "all", "batch_sizes", "seconds", "workdir", "out")),
    "verify": (verify, ("config", "workdir", "rerun", "init")),
    "replay": (replay, ("workdir",)),
    "sweep": (
        sweep,
        (
            "study",
            "config",
            "sweep",
            "workdir",
            "sampler",
            "pruner",
            "trials",
            "storage",
            "executor",
            "slurm",
            "parallel",
            "retries",
            "dry_run",
        ),
    ),
    "compare": (sweep, ("study", "workdir", "executor", "slurm", "parallel", "retries", "dry_run")),
    "cascade": (cascade, ("workdir", "target", "confidence", "checkpoint")),
    "score": (score, ("truth", "results", "iou")),
    "status": (status, ("workdir",)),
    "report": (report, ("workdir", "out")),
    "list": (list_, ()),
}
