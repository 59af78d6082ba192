"""The plain ViT-S/16 on ImageNet, 90 epochs (Beyer, Zhai & Kolesnikov 2022, "Better plain ViT baselines", arXiv:2205.01580).

Average pooling, fixed sines and cosines for places, a hidden layer before the head; batches of 1,024, RandAugment(2, 10), Mixup 0.2,
Inception-style crops; AdamW with 10,000 steps of warm-up, cosine decay, clipped gradients and weight decay 0.1 of matrices, which is the
authors' 1e-4 where decay is not multiplied by the learning rate; bfloat16 arithmetic with float32 parameters.

Run:      python launch.py train --config=experiments/vit_imagenet.py --workdir=runs/vit_s16
Needs:    imagenet2012 prepared by TFDS as array_record under TFDS_DATA_DIR
Expected: not run here (ImageNet is not at hand); the authors report 76.5 % top-1 after 90 epochs, 80.0 % after 300
Smoke:    python launch.py train --config=experiments/vit_imagenet.py:smoke --workdir=runs/vit_s16_smoke
"""

from cvjax.config import args, experiment, smoke


def get_config(arg=""):
    a = args(arg, variant="S/16", batch=1024, smoke=False)
    config = experiment(
        seed=0,
        task=dict(name="classification", label_smoothing=0.0),
        model=dict(name="vit", variant=a.variant, pool="average", position="sincos_2d", prelogits=True, dtype="bfloat16"),
        data=dict(name="tfds", dataset="imagenet2012", train="train[:99%]", val="validation", batch_size=a.batch, workers=0),
        image=dict(size=32 if a.smoke else 224, crop_fraction=0.875, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        augment=dict(crop="resized", scale=(0.05, 1.0), flip=True, randaugment=(2, 10), mixup=0.2),
        optim=dict(name="adamw", lr=1e-3, weight_decay=0.1, decay_vectors=False, schedule="cosine", warmup="10000 steps", clip=1.0),
        train=dict(duration="90 epochs", log_every="100 steps", eval_every="1 epochs", checkpoint_every="1 epochs"),
    )
    return smoke(config, variant="mu/8") if a.smoke else config
