"""DETR on COCO 2017 as the paper trains it (Carion et al. 2020, arXiv:2005.12872): R50, R101 and their dilated forms.

AdamW at 1e-4, the backbone at 1e-5, clipped gradients, 300 epochs (a tenth of the rate in the last third) of 64 pictures; shorter sides
of 480 to 800 pixels, half of the pictures cropped before. The backbone begins with ImageNet's weights; its stem, first stage and
BatchNorms stay as they are. `root` is a folder with annotations/ and train2017/, val2017/ as the archives make it.

Run:      python launch.py train --config=experiments/detr_coco.py:root=coco --init=torchvision:resnet50.pth --workdir=runs/detr_r50
          python launch.py eval --config=experiments/detr_coco.py:root=coco,holes --init=huggingface:detr.safetensors    public weights
Needs:    COCO 2017, and GPUs
Expected: not run here (COCO is not at hand); the paper's AP: R50 40.6 with 300 epochs; 500 (:epochs=500) R50 42.0, DC5 43.3, R101 43.5
Smoke:    python launch.py train --config=experiments/detr_coco.py:smoke --workdir=runs/detr_coco_smoke
"""

from cvjax.config import args, experiment, overfit, smoke


def get_config(arg=""):
    a = args(arg, root="coco", variant="resnet50", epochs=300, holes=False, smoke=False, overfit=False)
    config = experiment(
        seed=0,
        task=dict(name="detection", box=5.0, giou=2.0, no_object=0.1, auxiliary=True),
        model=dict(name="detr", variant=a.variant, dtype="bfloat16"),
        data=dict(name="coco", root=a.root, holes=a.holes, train="train2017", val="val2017", batch_size=64),
        image=dict(size=64, longest=0) if a.smoke else dict(size=800, longest=1333),
        augment=dict(flip=True, crop="detr"),
        optim=dict(
            name="adamw", lr=1e-4, weight_decay=1e-4, clip=0.1, schedule="step", boundaries=(f"{2 * a.epochs / 3:g} epochs",), factor=0.1,
            slower=(("stem|stage", 0.1),), freeze="stem|stage1",
        ),
        train=dict(
            duration=f"{a.epochs} epochs", log_every="50 steps", eval_every="10 epochs", checkpoint_every="1 epochs", monitor="val/coco/AP"
        ),
    )  # fmt: skip
    if a.smoke:
        with config.unlocked():
            config.optim.update(slower=(), freeze="")
        return smoke(config, variant="tiny")
    return overfit(config, lr=1e-4) if a.overfit else config
