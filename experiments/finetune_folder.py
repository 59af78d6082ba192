"""Your own pictures: a folder of class folders, a ResNet-18, a recipe that forgives a small set.

    photos/train/cat/*.jpg  photos/train/dog/*.jpg  photos/val/cat/*.jpg ...    or    photos/cat/*.jpg  photos/dog/*.jpg

With one folder of class folders, set `split_fraction=0.2`: about a fifth of every class is kept for validation.
AdamW, cosine, random-resized crops, label smoothing. A hundred pictures teach random weights little: begin from others with
`--init=torchvision:resnet18.pth` or `--init=runs/other`. With thousands of pictures, add `--config.augment.randaugment='(2,9)'`,
`--config.augment.mixup=0.2` and `--config.optim.ema=0.99`.

Run:      python launch.py train --config=experiments/finetune_folder.py:root=photos --workdir=runs/photos
          python launch.py predict --workdir=runs/photos new.jpg
Expected: depends on the pictures; compare with a run of seed 1 before believing a difference
Smoke:    python launch.py train --config=experiments/finetune_folder.py:smoke --workdir=runs/photos_smoke
"""

from cvjax.config import args, experiment, smoke


def get_config(arg=""):
    a = args(arg, root="photos", split_fraction=0.0, variant=18, size=224, smoke=False)
    config = experiment(
        seed=0,
        task=dict(name="classification", label_smoothing=0.1),
        model=dict(name="resnet", variant=a.variant, zero_init_gamma=True, dtype="float32"),
        data=dict(name="folder", root=a.root, split_fraction=a.split_fraction, train="train", val="val", batch_size=32),
        image=dict(size=32 if a.smoke else a.size, crop_fraction=0.875),
        augment=dict(crop="resized", scale=(0.35, 1.0), flip=True, randaugment=(), mixup=0.0),
        optim=dict(
            name="adamw",
            lr=1e-3,
            weight_decay=0.05,
            decay_vectors=False,
            schedule="cosine",
            warmup="2 epochs",
            clip=1.0,
            ema=0.0,
            freeze="",
            layer_decay=1.0,
        ),
        train=dict(duration="30 epochs", log_every="10 steps", eval_every="1 epochs", checkpoint_every="1 epochs"),
    )
    return smoke(config, variant=18) if a.smoke else config
