"""ResNet on CIFAR-10, the paper's recipe (He et al. 2015, arXiv:1512.03385, section 4.2 and Table 6).

Variants 20, 32, 44, 56, 110 and 1202; `shortcut=none` is the plain twin with the same parameters. SGD with momentum 0.9,
weight decay 1e-4, batch 128, learning rate 0.1, divided by 10 at 32k and 48k of 64k steps; 4 pixels of padding, random crop
and flip. ResNet-110 and 1202 start with 400 steps at 0.01 (until the training error is below 80%).
45,000 images train and 5,000 validate, as in the paper's choice of the schedule; the test images are touched once, at the end.
We subtract a mean per channel, the paper one per pixel.

Run:      python launch.py train --config=experiments/resnet_cifar10.py:variant=56 --workdir=runs/r56
          (a prepared cifar10 that has no test split: add --config.data.test=)
Expected: not run in full here; the first epochs are in benchmarks/RESULTS.md
Paper:    test error 8.75% (20), 7.51 (32), 7.17 (44), 6.97 (56), 6.61 +- 0.16 (110), 7.93 (1202)
Smoke:    python launch.py train --config=experiments/resnet_cifar10.py:smoke --workdir=runs/r20_smoke
"""

from cvjax.config import args, experiment, smoke


def get_config(arg=""):
    a = args(arg, variant=20, shortcut="A", smoke=False)
    deep = a.variant >= 110
    config = experiment(
        seed=0,
        task=dict(name="classification", label_smoothing=0.0),
        model=dict(name="resnet", variant=a.variant, shortcut=a.shortcut, dtype="float32"),
        data=dict(name="tfds", dataset="cifar10", train="train[:45000]", val="train[45000:]", test="test", batch_size=128, cache="device"),
        image=dict(size=32, crop_fraction=1.0, mean=(0.4914, 0.4822, 0.4465), std=(0.247, 0.2435, 0.2616)),
        augment=dict(crop="pad", pad=4, flip=True),
        optim=dict(
            name="sgd",
            lr=0.1,
            momentum=0.9,
            weight_decay=1e-4,
            schedule="step",
            factor=0.1,
            boundaries=("32000 steps", "48000 steps"),
            warmup="400 steps" if deep else "0 steps",
            warmup_lr=0.01 if deep else 0.0,
            warmup_shape="constant",
        ),
        train=dict(duration="64000 steps", log_every="100 steps", eval_every="5 epochs", checkpoint_every="5 epochs"),
    )
    return smoke(config, variant=8) if a.smoke else config
