"""ResNet-50 (18, 34, 101, 152) on ImageNet, 90 epochs with Inception-style crops (Goyal et al. 2017, arXiv:1706.02677).

The network is He et al.'s (arXiv:1512.03385) with the stride in the 3x3 convolutions (v1.5) and the last gamma of every
block at zero; SGD with Nesterov momentum 0.9, weight decay 1e-4 on matrices only, learning rate 0.1 per 256 images after five
epochs of warm-up, cosine decay, label smoothing 0.1; bfloat16 arithmetic with float32 parameters.

Run:      python launch.py train --config=experiments/resnet_imagenet.py --workdir=runs/r50
Needs:    imagenet2012 prepared by TFDS as array_record under TFDS_DATA_DIR
Expected: not run here (ImageNet is not at hand); torchvision's 90-epoch ResNet-50 reaches 76.13% top-1, without smoothing and cosine.
Smoke:    python launch.py train --config=experiments/resnet_imagenet.py:smoke --workdir=runs/r50_smoke
"""

from cvjax.config import args, experiment, smoke


def get_config(arg=""):
    a = args(arg, variant=50, batch=1024, smoke=False)
    config = experiment(
        seed=0,
        task=dict(name="classification", label_smoothing=0.1),
        model=dict(name="resnet", variant=a.variant, zero_init_gamma=True, dtype="bfloat16"),
        data=dict(name="tfds", dataset="imagenet2012", train="train", val="validation", batch_size=a.batch, workers=0),
        image=dict(size=32 if a.smoke else 224, crop_fraction=0.875),
        augment=dict(crop="resized", scale=(0.08, 1.0), flip=True),
        optim=dict(
            name="sgd",
            lr=0.1 * a.batch / 256,
            momentum=0.9,
            nesterov=True,
            weight_decay=1e-4,
            decay_vectors=False,
            schedule="cosine",
            warmup="5 epochs",
        ),
        train=dict(duration="90 epochs", log_every="100 steps", eval_every="1 epochs", checkpoint_every="1 epochs"),
    )
    return smoke(config, variant=18) if a.smoke else config
