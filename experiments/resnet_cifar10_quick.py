"""ResNet-20 on CIFAR-10 in half an hour on two CPU cores: the paper's network, a one-cycle schedule of 7 epochs.

One-cycle learning rate (Smith & Topin 2017, arXiv:1708.07120) with Nesterov momentum, stronger weight decay than He et al.'s,
their augmentation. 45,000 images train, 5,000 validate.

Run:      python launch.py train --config=experiments/resnet_cifar10_quick.py --workdir=runs/r20_quick
Expected: 85.5 % of the validation images (one seed), about half an hour and 51 CPU-minutes on two cores (2026-11-22)
Smoke:    python launch.py train --config=experiments/resnet_cifar10_quick.py:smoke --workdir=runs/r20_quick_smoke
"""

from cvjax.config import args, experiment, smoke


def get_config(arg=""):
    a = args(arg, variant=20, smoke=False)
    config = experiment(
        seed=0,
        task=dict(name="classification", label_smoothing=0.0),
        model=dict(name="resnet", variant=a.variant),
        data=dict(name="tfds", dataset="cifar10", train="train[:45000]", val="train[45000:]", batch_size=64, cache="device"),
        image=dict(size=32, mean=(0.4914, 0.4822, 0.4465), std=(0.247, 0.2435, 0.2616)),
        augment=dict(crop="pad", pad=4, flip=True),
        optim=dict(name="sgd", lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4, schedule="onecycle", warmup="2 epochs"),
        train=dict(duration="7 epochs", log_every="100 steps", eval_every="1 epochs", checkpoint_every="1 epochs"),
    )
    return smoke(config, variant=8) if a.smoke else config
