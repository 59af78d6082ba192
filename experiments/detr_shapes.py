"""A small DETR finds drawn shapes (Carion et al. 2020, arXiv:2005.12872), from random weights, on a CPU.

The paper's losses and matching; its optimiser with a learning rate that fits a network of a fortieth of the size. The scenes are drawn
when they are asked for, so that no picture need come twice.

Run:      python launch.py train --config=experiments/detr_shapes.py --workdir=runs/detr_shapes
          python launch.py train --config=experiments/detr_shapes.py:overfit --workdir=runs/detr_overfit      learns 8 pictures by heart
Expected: AP50 93.2 %, AP 66.1 % of 500 validation scenes (seed 0), 20 minutes of a CPU core; nearly nothing before step 1,000
Smoke:    python launch.py train --config=experiments/detr_shapes.py:smoke --workdir=runs/detr_smoke
"""

from cvjax.config import args, experiment, overfit, smoke


def get_config(arg=""):
    a = args(arg, size=96, difficulty=0.3, steps=4000, smoke=False, overfit=False)
    config = experiment(
        seed=0,
        task=dict(name="detection", box=5.0, giou=2.0, no_object=0.1, auxiliary=True),
        model=dict(name="detr", variant="small", dropout=0.0),
        data=dict(name="shapes", size=a.size, difficulty=a.difficulty, num_examples=200_000, train="train", val="val[:500]", batch_size=32),
        image=dict(size=a.size),
        augment=dict(),
        optim=dict(name="adamw", lr=5e-4, weight_decay=1e-4, schedule="cosine", warmup=f"{min(500, a.steps // 8)} steps", clip=0.1),
        train=dict(
            duration=f"{a.steps} steps", log_every="50 steps", eval_every="1000 steps", checkpoint_every="1000 steps",
            monitor="val/coco/AP50",
        ),
    )  # fmt: skip
    if a.smoke:
        return smoke(config, variant="tiny")
    return overfit(config) if a.overfit else config
