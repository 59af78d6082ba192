"""What a DETR needs (Carion et al. 2020, arXiv:2005.12872, section 4.2): layers of the encoder, parts of the loss, knowledge of places.

The small network of experiments/detr_shapes.py, with 10 queries, on the easiest drawn shapes (`difficulty` 0: up to three); every arm lacks
one thing. 1,000 steps, the last 150 at a tenth of the rate, as the paper lowers it; 3 seeds. Budget: 3 CPU-hours.

Result:   AP 58 %; 31 without auxiliary losses, 39 without places, 67 without an encoder; docs/results/detr_ablations.md
Run:      python launch.py compare --study=experiments/comparisons/detr_ablations.py --workdir=runs/detr_ablations
"""

from cvjax.config import load
from cvjax.study import Claim, Paper, Study

ALL = "all"
ARMS = {
    ALL: {},
    "encoder-1": {"model.encoder": 1},
    "encoder-0": {"model.encoder": 0},
    "no-GIoU": {"task.giou": 0.0},
    "no-L1": {"task.box": 0.0},
    "no-auxiliary": {"task.auxiliary": False},
    "no-places": {"model.position": "none"},
    "places-at-input": {"model.position": "sine_at_input"},
    "learned-places": {"model.position": "learned"},
}
WORSE = ("no-GIoU", "no-L1", "no-auxiliary", "no-places", "places-at-input")
AP = "val/coco/AP"
PAPER = Paper(
    numbers={AP: {ALL: 0.406, "encoder-0": 0.367, "no-GIoU": 0.358, "no-L1": 0.399, "no-places": 0.328, "places-at-input": 0.392,
                  "learned-places": 0.396}},
    protocol="COCO 2017 val, R50, 300 epochs, one run each; 6 layers in the encoder",
    citation="Carion et al. 2020, tables 2 to 4",
    differs="drawn shapes of 96 pixels, 3 layers in the encoder, a small ResNet from random weights, a few minutes of training",
)  # fmt: skip


def get_study(arg=""):
    base = load("experiments/detr_shapes.py", f"difficulty=0.0,steps=1000,{arg}")
    with base.unlocked():
        base.optim.update(schedule="step", boundaries=("850 steps",), factor=0.1)
        base.model.queries = 10
    return Study(
        base,
        arms=ARMS,
        seeds=(0, 1, 2),
        measured=(AP, "val/coco/AP50", "val/same_box"),
        claims=(
            Claim("an encoder helps", AP, f"{ALL} > encoder-0"),
            Claim("more of it helps more", AP, f"{ALL} >= encoder-1"),
            *(Claim(f"{arm} is worse", AP, f"{ALL} > {arm}") for arm in WORSE),
            Claim("GIoU matters more than L1", AP, "no-L1 > no-GIoU"),
            Claim("learned places do nearly as well as sines", AP, f"learned-places ~ {ALL} + 0.02"),
        ),
        paper=PAPER,
    )
