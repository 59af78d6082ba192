"""Blood cells by a small DETR that has learned drawn shapes before (Carion et al. 2020, arXiv:2005.12872).

205 photographs are far too few for a DETR from random weights: it begins with experiments/detr_shapes.py's, but for the classes. The
photographs are halved; `root` is the set's folder, which lies as PASCAL VOC does (JPEGImages/, Annotations/, ImageSets/Main/).

Run:      python launch.py train --config=experiments/detr_bccd.py:root=bccd --init=runs/detr_shapes --workdir=runs/detr_bccd
          python launch.py train --config=experiments/detr_bccd.py:root=bccd,overfit --workdir=runs/bccd_overfit
Expected: AP50 73.3 %, AP 44.7 % of 87 validation photographs (seed 0; white cells 73, red 41, platelets 20), 45 minutes of a CPU core
Smoke:    python launch.py train --config=experiments/detr_bccd.py:smoke --workdir=runs/detr_bccd_smoke
"""

from cvjax.config import args, experiment, overfit, smoke


def get_config(arg=""):
    a = args(arg, root="bccd", size=192, steps=4000, smoke=False, overfit=False)
    config = experiment(
        seed=0,
        task=dict(name="detection", box=5.0, giou=2.0, no_object=0.1, auxiliary=True),
        model=dict(name="detr", variant="small", queries=40, dropout=0.0),
        data=dict(name="voc", root=a.root, classes=("RBC", "WBC", "Platelets"), train="train", val="val", batch_size=16),
        image=dict(size=64, longest=0) if a.smoke else dict(size=a.size, longest=4 * a.size // 3),
        augment=dict(flip=True, zoom=(0.75, 1.25), photometric=0.2),
        optim=dict(name="adamw", lr=3e-4, weight_decay=1e-4, schedule="cosine", warmup=f"{min(200, a.steps // 8)} steps", clip=0.1),
        train=dict(
            duration=f"{a.steps} steps", log_every="20 steps", eval_every="500 steps", checkpoint_every="500 steps", monitor="val/coco/AP50"
        ),
    )
    if a.smoke:
        return smoke(config, variant="tiny", queries=5)
    return overfit(config) if a.overfit else config
