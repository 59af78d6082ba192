"""Your own boxes: DETR-R50 with public weights, fine-tuned on a COCO json (Carion et al. 2020, arXiv:2005.12872).

    mine/annotations/instances_train.json  mine/annotations/instances_val.json  mine/train/*.jpg  mine/val/*.jpg

Class names and numbers come from the json; the last layer begins anew, everything else as trained on COCO. The same `root` may hold YOLO's
txt files, `--config.data.name=yolo_txt`, or PASCAL VOC's xml, `--config.data.name=voc --config.data.classes=cat,dog`, as those files of
cvjax/data say. First of all learn eight pictures by heart (`:overfit`): what does not reach AP 0.9 there is wrong in the data or the
settings, and more pictures do not mend it.

Run:      python launch.py check --config=experiments/detr_finetune.py:root=mine --init=huggingface:detr-resnet-50.safetensors
          python launch.py train --config=experiments/detr_finetune.py:root=mine,overfit --init=... --workdir=runs/overfit
          python launch.py train --config=experiments/detr_finetune.py:root=mine --init=... --workdir=runs/mine
          python launch.py predict --workdir=runs/mine new.jpg folder/
Needs:    facebook/detr-resnet-50's model.safetensors, and a GPU
Expected: depends on the pictures; AP is low for the first epochs, since the classes are new
Smoke:    python launch.py train --config=experiments/detr_finetune.py:smoke --workdir=runs/detr_finetune_smoke
"""

from cvjax.config import args, experiment, overfit, smoke


def get_config(arg=""):
    a = args(arg, root="mine", epochs=50, size=800, smoke=False, overfit=False)
    config = experiment(
        seed=0,
        task=dict(name="detection", box=5.0, giou=2.0, no_object=0.1, auxiliary=True),
        model=dict(name="detr", variant="resnet50", dtype="bfloat16"),
        data=dict(name="coco", root=a.root, train="train", val="val", batch_size=8),
        image=dict(size=64, longest=0) if a.smoke else dict(size=a.size, longest=5 * a.size // 3),
        augment=dict(flip=True, crop="detr"),
        optim=dict(
            name="adamw", lr=1e-4, weight_decay=1e-4, clip=0.1, schedule="cosine", warmup="1 epochs",
            slower=(("stem|stage", 0.1),), freeze="stem|stage1",
        ),
        train=dict(
            duration=f"{a.epochs} epochs", log_every="20 steps", eval_every="2 epochs", checkpoint_every="2 epochs", monitor="val/coco/AP"
        ),
    )  # fmt: skip
    if a.smoke:
        with config.unlocked():
            config.optim.update(slower=(), freeze="")
        return smoke(config, variant="tiny")
    return overfit(config) if a.overfit else config
