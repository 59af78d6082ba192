#!/usr/bin/env python3
"""cvjax: train, measure and compare image-understanding networks.

    python launch.py train    --config=experiments/digits.py --workdir=runs/digits [--config.optim.lr=0.1 ...]
    python launch.py eval     --workdir=runs/digits [--checkpoint=best] [--split=val] [--config.data.val=...]
    python launch.py predict  --workdir=runs/digits photo.jpg folder/
    python launch.py generate --workdir=runs/gpt --prompt="To be" --length=100     goes on with a text
    python launch.py explain  --workdir=runs/digits --method=gradcam photo.jpg folder/    pictures of where it looks
    python launch.py sweep    --workdir=runs/lr --config=... --sweep="optim.lr=[0.1,0.03] seed=range(3)"
    python launch.py compare  --workdir=runs/plain_vs_residual --study=experiments/comparisons/plain_vs_residual.py:small
    python launch.py cascade  --workdir=runs/cascade runs/small runs/large    ensembles and cascades of finished runs
    python launch.py score    --truth=instances.json --results=detections.json [--iou=segm]    COCO's scores of any detections
    python launch.py status   --workdir=...               how the runs of a study stand
    python launch.py report   --workdir=runs              tables, curves and one HTML page out of finished runs
    python launch.py list                                experiments, models, tasks and data sources
    python launch.py check    --config=...                tries everything that can fail, in seconds
    python launch.py describe --config=...                layers, parameters, multiply-adds, memory, speed
    python launch.py describe --all [NAMES] --out=...     all networks side by side, with charts
    python launch.py verify   --config=... --workdir=...  proves exact resume, and that seeds and devices do what they should
    python launch.py replay   --workdir=...               what was not finite in a run that stopped for it

Exit codes: 0 done, 1 training failed, 2 your mistake, 75 state saved: run me again.
"""

import os
import sys

try:
    from absl import flags
except ModuleNotFoundError:
    sys.exit("cvjax: error: this Python has none of the libraries; after `make setup` use .venv/bin/python, or `. .venv/bin/activate`")

from cvjax.errors import Interrupted, TrainingFailed, UserError, did_you_mean
from cvjax.search import ADAPTIVE, LISTED, PRUNERS
from cvjax.verbs import METHODS, VERBS

FLAGS = flags.FLAGS
OURS = {name for _, names in VERBS.values() for name in names}

flags.DEFINE_string("config", None, "Experiment file with its arguments: experiments/resnet_cifar10.py:variant=56,smoke")
flags.DEFINE_string("workdir", None, "Folder of the run; a run that is there is continued.")
flags.DEFINE_string("rerun", None, "Folder of a run whose config train starts again, in another --workdir.")
flags.DEFINE_string("init", None, "Weights to begin from, a run's folder or torchvision:FILE; the same as --config.init.")
flags.DEFINE_list("probe", [], "Probes that look into the network: gradients,responses while it trains; ode,responses once it is trained.")
flags.DEFINE_boolean("all", False, "describe every network there is, or those named: --all resnet18 'vgg*'.")
flags.DEFINE_float("seconds", None, "How long describe --all measures each batch size of a network (1); 0 does not.")
flags.DEFINE_list("batch_sizes", ["1", "8", "32"], "Batch sizes at which describe measures.")
flags.DEFINE_string("study", None, "Study file to sweep or compare, as experiments/comparisons/plain_vs_residual.py:small.")
flags.DEFINE_string("sweep", None, "Arms of a quick sweep of --config: 'optim.lr=[1e-3,3e-4] seed=range(3)'.")
flags.DEFINE_enum("executor", "local", ["local", "vmap", "slurm"], "Where runs of a study run: processes, one program, Slurm.")
flags.DEFINE_string("slurm", "", "Options of sbatch for --executor=slurm: partition=main,time=4:00:00,gpus-per-node=1.")
flags.DEFINE_integer("parallel", None, "Runs of a study at a time, each on its share of the GPUs or cores (1); with vmap and slurm all.")
flags.DEFINE_enum("sampler", None, [*LISTED, *ADAPTIVE], "How a search draws its arms; as the study says when not given.")
flags.DEFINE_enum("pruner", None, PRUNERS, "What stops trials of a search that look poor.")
flags.DEFINE_integer("trials", None, "How many arms a search draws.")
flags.DEFINE_string("storage", "", "URL of an Optuna storage that several machines share; a journal in the workdir when not given.")
flags.DEFINE_integer("retries", 1, "How often a run of a study that failed is started again.")
flags.DEFINE_boolean("dry_run", False, "Print the runs of a study, start none and touch nothing.")
flags.DEFINE_enum("checkpoint", "latest", ["latest", "best"], "Which checkpoint eval, predict, explain, generate and cascade use.")
flags.DEFINE_enum("method", None, METHODS, "How explain finds where a network looks; queries is for detectors, the others are not.")
flags.DEFINE_string("target", "", "What a cascade is chosen for: accuracy:0.9 or compute:40e6, average multiply-adds.")
flags.DEFINE_enum("confidence", "max_probability", ["max_probability", "margin", "entropy"], "What a cascade stops by.")
flags.DEFINE_string("truth", None, "File of true objects that score compares with, in COCO's form (instances_val2017.json).")
flags.DEFINE_string("results", None, "File of detections that score measures, in COCO's form: [{image_id, category_id, bbox, score}, ...].")
flags.DEFINE_enum("iou", "bbox", ["bbox", "segm"], "What must overlap for score: boxes or masks.")
flags.DEFINE_string("prompt", "\n", "What the text begins with that generate goes on with (the start of a line).")
flags.DEFINE_integer("length", 100, "How many tokens generate writes.")
flags.DEFINE_float("temperature", 1.0, "How freely generate draws: 1 as the network says, 0 the likeliest token each time.")
flags.DEFINE_integer("seed", 0, "What generate draws by.")
flags.DEFINE_string("split", "val", "Which split of config.data eval measures: train, val or test.")
flags.DEFINE_string(
    "out",
    None,
    "Where predict and explain draw, report writes its page (all in the workdir when not given), describe --all what it found, and eval "
    "of weights keeps what they say.",
)


def main(argv: list[str]) -> int:
    try:
        verb, words, assignments = parse(argv)
        function, _ = VERBS[verb]
        function(FLAGS, words, assignments)
        return 0
    except (UserError, TrainingFailed, Interrupted) as reason:
        print(f"cvjax: {'error: ' * isinstance(reason, UserError)}{reason}", file=sys.stderr)
        return reason.exit_code
    except BrokenPipeError:  # what reads our output has gone: `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("cvjax: stopped at once; a training run continues from its last checkpoint with the same command", file=sys.stderr)
        return Interrupted.exit_code


def parse(argv: list[str]) -> tuple[str, list[str], list[tuple[str, str]]]:
    """The verb, what it works on, and the `--config.key=value` assignments; the other flags go to absl."""
    assignments = [arg[len("--config.") :].partition("=") for arg in argv[1:] if arg.startswith("--config.")]
    for key, equals, _ in assignments:
        if not equals:
            raise UserError(f"--config.{key} needs a value: --config.{key}=...")
    rest = [arg for arg in argv if not arg.startswith("--config.")]
    if {"--help", "-h", "help"} & set(rest[1:2]) or "--help" in rest:
        print(f"{__doc__}\n{FLAGS.main_module_help()}")
        sys.exit(0)
    try:
        verb, *words = FLAGS(rest)[1:] or [""]
    except flags.UnrecognizedFlagError as error:
        raise UserError(f"unknown flag --{error.flagname}; a setting of the experiment is --config.KEY=..., see --help") from None
    except flags.Error as error:
        raise UserError(" ".join(str(error).split())) from None
    if verb not in VERBS:
        problem = f"unknown verb '{verb}'{did_you_mean(verb, VERBS)}" if verb else "no verb"
        raise UserError(f"{problem}; have: {', '.join(VERBS)} (--help explains)")
    _, taken = VERBS[verb]
    for name in sorted(flag for flag in OURS if FLAGS[flag].present and flag not in taken):
        raise UserError(f"--{name} is not for {verb}, which takes {', '.join(f'--{flag}' for flag in taken) or 'no flag'}")
    if words and verb not in ("predict", "explain", "cascade", "describe"):
        raise UserError(f"stray word '{words[0]}': {verb} takes flags only")
    return verb, words, [(key, value) for key, _, value in assignments]


if __name__ == "__main__":
    sys.exit(main(sys.argv))
