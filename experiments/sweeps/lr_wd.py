"""Learning rate x weight decay of the quickstart's network on handwritten digits, 3 seeds, poor runs stopped early.

36 runs of 10 epochs. From the sixth epoch on a run is stopped whose validation accuracy is below the median of those before it at the
same epoch (the median rule of Golovin et al. 2017); it is listed in the report, and counts in no mean.

Run:      python launch.py sweep --study=experiments/sweeps/lr_wd.py --workdir=runs/lr_wd --parallel=2
Result:   docs/results/lr_wd.md; 5 minutes of two CPU cores
"""

from cvjax.config import load
from cvjax.search import Choice, Search
from cvjax.study import Study


def get_study(arg=""):
    base = load("experiments/digits.py")
    with base.unlocked():
        base.train.update(duration="10 epochs", eval_every="1 epochs", checkpoint_every="10 epochs")
    space = {"seed": Choice((0, 1, 2)), "optim.lr": Choice((0.01, 0.03, 0.1, 0.3)), "optim.weight_decay": Choice((0.0, 1e-4, 1e-2))}
    search = Search(space, goals={"val/top1": "max"}, sampler="grid", pruner="median", warmup=5)
    return Study(base, search=search, measured=("test/top1", "val/top1"))
