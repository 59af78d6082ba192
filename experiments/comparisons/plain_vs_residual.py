"""Do deeper networks train worse, and do shortcuts mend it? He et al. 2015 (arXiv:1512.03385), section 4.2, Figures 6 and 7, Table 6.

Eight networks, {plain, residual} x {20, 32, 44, 56} layers; a plain network has the very parameters of its residual twin and no shortcuts.
`:small` takes a quarter of the width (4/8/16 channels), 10,000 training images and 4 epochs of a one-cycle schedule with batches of 32
and a learning rate of 0.03; 3 seeds for 20 and 56 layers, 1 for the others. `:paper` is the paper's recipe, 64,000 steps of
128 on CIFAR-10, with 3 seeds.

Run:      python launch.py compare --study=experiments/comparisons/plain_vs_residual.py:small --workdir=runs/plain_vs_residual --parallel=2
          python launch.py compare --study=experiments/comparisons/plain_vs_residual.py:paper --workdir=runs/plain_vs_residual_paper
Result:   docs/results/plain_vs_residual.md; 45 minutes of two CPU cores
"""

from cvjax.config import args, load
from cvjax.study import Claim, Paper, Study

DEPTHS = (20, 32, 44, 56)

PAPER = Paper(
    citation="He, Zhang, Ren & Sun 2015, Table 6 (ResNets; the errors of the plain networks are only drawn, in Figure 6)",
    protocol="CIFAR-10, test error in %, 45,000 training images, 64,000 steps of 128",
    numbers={"val/error": {"res-20": 0.0875, "res-32": 0.0751, "res-44": 0.0717, "res-56": 0.0697}},
)


def get_study(arg=""):
    a = args(arg, small=False, paper=False)  # of the two, paper is what it is without a word
    base = load("experiments/resnet_cifar10.py")
    with base.unlocked():
        base.data.test = ""
        base.train.probes = ("responses",)
        if a.small:
            base.model.width = 4
            base.data.update(train="train[:10000]", batch_size=32)
            base.optim = dict(name="sgd", lr=0.03, momentum=0.9, nesterov=True, weight_decay=1e-4, schedule="onecycle", warmup="1 epochs")
            base.train.update(duration="4 epochs", eval_every="1 epochs", checkpoint_every="4 epochs")
    arms = {f"plain-{n}": {"model.variant": n, "model.shortcut": "none"} for n in DEPTHS}
    arms |= {f"res-{n}": {"model.variant": n, "model.shortcut": "A"} for n in DEPTHS}
    differs = "the small study has a quarter of the width, 10,000 images and 1,248 steps, and measures 5,000 images kept from training"
    return Study(
        base,
        arms,
        seeds={arm: (0, 1, 2) if not a.small or arm.endswith(("-20", "-56")) else (0,) for arm in arms},
        measured=("train/error", "val/error", "layer_response"),
        claims=(
            Claim("plain networks train worse when deeper", "train/error", "plain-56 > plain-20 + 0.01"),
            Claim("residual networks do not", "train/error", "res-56 <= res-20"),
            Claim("the deep residual network is the better one", "val/error", "plain-56 > res-56 + 0.02"),
            Claim("residual functions respond less", "layer_response", "res-56 < plain-56"),
        ),
        paper=Paper(PAPER.citation, PAPER.protocol, PAPER.numbers, differs if a.small else "it tests on images kept from training"),
    )
