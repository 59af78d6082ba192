"""Support vector machines on Fisher vectors, CIFAR-10 (Perronnin, Sanchez & Mensink 2010), what came before networks.

Dense SIFT in three sizes every 2 pixels, PCA to 64 numbers, a mixture of 64 Gaussians, Fisher vectors with signed square root and length
1, one linear SVM a class. `encoding=vlad` and `encoding=bow` (with, say, `words=1024`) put VLAD and the bag of words in their place. The
model is fitted, so there is no `train.duration` and `optim` is what `fit` in cvjax/models/fisher.py takes. Pixels are grey values 0-1.

Run:      python launch.py train --config=experiments/fisher_cifar10.py --workdir=runs/fisher
Expected: not run in full here; experiments/comparisons/fisher_vectors.py fits on 5,000 images
Smoke:    python launch.py train --config=experiments/fisher_cifar10.py:smoke --workdir=runs/fisher_smoke
"""

from cvjax.config import args, experiment, smoke


def get_config(arg=""):
    a = args(arg, encoding="fisher", words=64, smoke=False)
    config = experiment(
        seed=0,
        task=dict(name="classification", label_smoothing=0.0),
        model=dict(name="fisher", variant=a.encoding, words=a.words, dims=64, norm="power+l2", pyramid=("1x1",), cells=(2, 3, 4), step=2),
        data=dict(name="tfds", dataset="cifar10", train="train[:45000]", val="train[45000:]", test="", batch_size=128, cache="none"),
        image=dict(size=32, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
        augment={},
        optim=dict(C=0.3, samples=100_000, iterations=100, tolerance=1e-3),
        train=dict(log_every="1 steps"),
    )
    return smoke(config, words=2, dims=4, cells=(2,), step=4) if a.smoke else config
