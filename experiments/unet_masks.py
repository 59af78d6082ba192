"""Your own label maps: a folder of images beside a folder of label PNGs, and a small U-Net (Ronneberger et al. 2015, arXiv:1505.04597).

    mine/images/train/*.jpg  mine/labels/train/*.png  mine/images/val/... mine/labels/val/...  mine/classes.txt

With pictures that are not divided, set `split_fraction=0.2`. With 24 pictures and a batch of 8 an epoch is three steps, so the length is
in steps. Rare classes that are never said want `--config.task.class_weights='(1,1,5)'`, one for each class; pictures that
may be turned, `--config.augment.rotate=180`.

Run:      python launch.py train --config=experiments/unet_masks.py:root=mine --workdir=runs/mine
          python launch.py predict --workdir=runs/mine new.jpg folder/
Expected: depends on the pictures; compare with a run of seed 1 before believing a difference
Smoke:    python launch.py train --config=experiments/unet_masks.py:smoke --workdir=runs/mine_smoke
"""

from cvjax.config import args, experiment, smoke


def get_config(arg=""):
    a = args(arg, root="mine", split_fraction=0.0, size=128, smoke=False)
    config = experiment(
        seed=0,
        task=dict(name="segmentation", class_weights=(), dice=0.0),
        model=dict(name="unet", variant="small", batch_norm=True),
        data=dict(name="masks", root=a.root, split_fraction=a.split_fraction, train="train", val="val", batch_size=8),
        image=dict(size=32 if a.smoke else a.size),
        augment=dict(flip=True, zoom=(0.75, 1.5), rotate=0.0, photometric=0.3),
        optim=dict(name="adamw", lr=2e-3, weight_decay=1e-3, schedule="cosine", warmup="20 steps", clip=1.0),
        train=dict(duration="500 steps", log_every="10 steps", eval_every="100 steps", checkpoint_every="100 steps", monitor="val/mIoU"),
    )
    return smoke(config, variant="tiny") if a.smoke else config
