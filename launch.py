#!/usr/bin/env python3
"""cvjax: train, measure and compare image-understanding networks.

    python launch.py train   --config=experiments/digits.py --workdir=runs/digits [--config.optim.lr=0.1 ...]
    python launch.py eval    --workdir=runs/digits [--checkpoint=best] [--split=val] [--config.data.val=...]
    python launch.py predict --workdir=runs/digits photo.jpg folder/
    python launch.py report  --workdir=runs            tables, curves and one HTML page out of finished runs
    python launch.py list                              experiments, models, tasks and data sources

Exit codes: 0 done, 1 training failed, 2 your mistake, 75 state saved: run me again.
"""

import sys
from pathlib import Path

from absl import flags

from cvjax import environment
from cvjax.config import UserError, did_you_mean, load, override, read
from cvjax.schema import check_names, forget_leftovers

VERBS = ("train", "eval", "predict", "report", "list")
FLAGS = flags.FLAGS

flags.DEFINE_string("config", None, "Experiment file with its arguments: experiments/resnet_cifar10.py:variant=56,smoke")
flags.DEFINE_string("workdir", None, "Folder of the run; a run that is there is continued.")
flags.DEFINE_string("init", None, "Run whose weights to begin from; the same as --config.init.")
flags.DEFINE_enum("checkpoint", "latest", ["latest", "best"], "Which checkpoint eval and predict use.")
flags.DEFINE_string("split", "val", "Which split of config.data eval measures: train, val or test.")
flags.DEFINE_string("out", None, "Where predict draws its pictures and report writes its page; in the workdir when not given.")


def main(argv: list[str]) -> int:
    try:
        words, assignments = parse(argv)
        if not words:
            raise UserError(f"no verb; write: python launch.py {'|'.join(VERBS)} ... (--help explains)")
        verb, *rest = words
        if verb not in VERBS:
            raise UserError(f"unknown verb '{verb}'{did_you_mean(verb, VERBS)}; have: {', '.join(VERBS)}")
        if rest and verb != "predict":
            raise UserError(f"stray word '{rest[0]}': {verb} takes flags only")
        return run(verb, rest, assignments)
    except UserError as error:
        print(f"cvjax: error: {error}", file=sys.stderr)
        return 2


def parse(argv: list[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Splits a command line into words and `--config.key=value` assignments; the other flags go to absl."""
    assignments = [arg[len("--config.") :].partition("=") for arg in argv[1:] if arg.startswith("--config.")]
    for key, equals, _ in assignments:
        if not equals:
            raise UserError(f"--config.{key} needs a value: --config.{key}=...")
    rest = [arg for arg in argv if not arg.startswith("--config.")]
    if {"--help", "-h", "help"} & set(rest[1:2]) or "--help" in rest:
        print(f"{__doc__}\n{FLAGS.main_module_help()}")
        sys.exit(0)
    try:
        return FLAGS(rest)[1:], [(key, value) for key, _, value in assignments]
    except flags.Error as error:
        raise UserError(" ".join(str(error).replace("FATAL Flags parsing error: ", "").split())) from None


def run(verb: str, words: list[str], assignments: list[tuple[str, str]]) -> int:
    """One verb, one function of cvjax. JAX is imported by those that need it, after the environment is set."""
    if verb == "list":
        from cvjax.listing import listing

        print(listing())
        return 0
    workdir = Path(needed("workdir", verb))
    if verb == "report":
        from cvjax.report import report

        print(report([workdir], out=FLAGS.out))
        return 0
    environment.prepare()
    if verb == "train":
        path, _, arg = needed("config", verb).partition(":")
        config = load(path, arg)
        override(config, assignments + ([("init", FLAGS.init)] if FLAGS.init else []))
        forget_leftovers(config, assignments)
        check_names(config)
        from cvjax import parallel
        from cvjax.train import Interrupted, TrainingFailed, train

        parallel.start()
        try:
            train(config, workdir)
        except (TrainingFailed, Interrupted) as reason:
            print(f"cvjax: {reason}", file=sys.stderr)
            return 75 if isinstance(reason, Interrupted) else 1
        except KeyboardInterrupt:
            print("cvjax: stopped at once; the same command continues from the last checkpoint", file=sys.stderr)
            return 75
        return 0
    config = read(workdir)
    override(config, assignments)
    check_names(config)
    from cvjax import predict

    if verb == "eval":
        predict.evaluate_run(config, workdir, FLAGS.split, FLAGS.checkpoint)
    else:
        predict.predict_files(config, workdir, words, FLAGS.checkpoint, Path(FLAGS.out) if FLAGS.out else workdir / "predictions")
    return 0


def needed(flag: str, verb: str) -> str:
    value = FLAGS[flag].value
    if not value:
        raise UserError(f"{verb} needs --{flag}=...")
    return str(value)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
