"""What does a label for every pixel cost? A window slid over the picture against convolutions of all of it.

Patch classifiers with windows of 14 and 32 pixels (Ciresan et al. 2012, Farabet et al. 2013) on ISBI's slices, trained as convolutions;
then the probe "sliding" labels squares of 8 to 64 pixels both ways with the same weights (Long et al. 2015, arXiv:1411.4038, section 3.1).
There is no larger study: windows cost what they cost. Budget: 20 CPU-minutes.

Run:      python launch.py compare --study=experiments/comparisons/sliding_window_cost.py:root=isbi_membrane --workdir=runs/sliding
Result:   the same scores 97 (32 pixels) and 63 times as fast for 64 x 64 pixels; 18 CPU-minutes; docs/results/sliding_window_cost.md
"""

from cvjax.config import load
from cvjax.study import Claim, Paper, Study

PAPER = Paper(
    citation="Long et al. 2015, section 3.1",
    protocol="AlexNet on a GPU: 10 x 10 outputs in 22 ms at once, 1.2 ms for each alone",
    numbers={"times_faster": {"patch32": 5.0}},
    differs="64 x 64 outputs at stride 1, where windows share more than at the paper's stride of 32",
)


def get_study(arg=""):
    base = load("experiments/unet_isbi.py", arg)
    with base.unlocked():
        base.model = dict(name="patchnet", variant="patch32")
        base.image.size = 96
        base.data.batch_size = 8
        base.train.update(duration="100 steps", eval_every="100 steps", checkpoint_every="100 steps", probes=("sliding",))
    return Study(
        base,
        arms={variant: {"model.variant": variant} for variant in ("patch14", "patch32")},
        seeds=(0, 1, 2),
        measured=("times_faster", "times_fewer_multiply_adds", "scores_apart", "val/pixel_acc", "val/mIoU"),
        claims=(
            Claim("the scores are the same", "scores_apart", "patch32 < 0.0001"),
            Claim("convolutions are more than five times as fast", "times_faster", "patch32 > 5"),
            Claim("with the small window too", "times_faster", "patch14 > 5"),
            Claim("the larger the window, the more they save", "times_faster", "patch32 > patch14"),
        ),
        paper=PAPER,
    )
