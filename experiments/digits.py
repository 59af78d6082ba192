"""ResNet-8 on scikit-learn's handwritten digits: 1,797 grey pictures of 8 x 8 pixels that come with the package.

The first experiment of a newcomer: it needs no download and ends within a minute on two CPU cores.

Run:      python launch.py train --config=experiments/digits.py --workdir=runs/digits
Expected: 99% of the 355 test digits (99.4% with seed 0; one seed, two CPU cores, 2026-11-22)
Smoke:    python launch.py train --config=experiments/digits.py:smoke --workdir=runs/digits_smoke
"""

from cvjax.config import args, experiment, smoke


def get_config(arg=""):
    a = args(arg, smoke=False)
    config = experiment(
        seed=0,
        task=dict(name="classification", label_smoothing=0.0),
        model=dict(name="resnet", variant=8),
        data=dict(name="digits", train="train[:90%]", val="train[90%:]", test="test", batch_size=64, cache="device"),
        image=dict(size=8, channels=1, crop_fraction=1.0, mean=(0.305,), std=(0.376,)),
        augment=dict(crop="pad", pad=1, flip=False),
        optim=dict(name="sgd", lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4, schedule="onecycle"),
        train=dict(duration="30 epochs", log_every="20 steps", eval_every="2 epochs", checkpoint_every="10 epochs"),
    )
    return smoke(config) if a.smoke else config
