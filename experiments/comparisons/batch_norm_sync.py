"""Does the number of devices decide the result? BatchNorm over the whole batch says no (Ioffe & Szegedy 2015, arXiv:1502.03167).

BatchNorm's mean and variance are those of the whole batch. Taken on each device alone, as data-parallel training often does, 8 devices
of 16 images are another network than one of 128. Here the sums are added over devices, so that 1 device = 8 devices but for the order of
sums. A small ResNet on handwritten digits, 10 epochs, 5 seeds. On a CPU the devices are threads.

Run:      python launch.py compare --study=experiments/comparisons/batch_norm_sync.py --workdir=runs/batch_norm_sync
Result:   docs/results/batch_norm_sync.md; 3 minutes of two CPU cores
"""

from cvjax.config import args, load
from cvjax.study import Claim, Study


def get_study(arg=""):
    a = args(arg, epochs=10)
    base = load("experiments/digits.py")
    with base.unlocked():
        base.train.update(duration=f"{a.epochs} epochs", eval_every="2 epochs", checkpoint_every=f"{a.epochs} epochs")
    return Study(
        base,
        arms={"1-device": {}, "8-devices": {}},
        devices={"1-device": 1, "8-devices": 8},
        seeds=(0, 1, 2, 3, 4),
        measured=("val/loss", "train/loss", "test/error"),
        claims=(
            Claim("the loss that training sees is the same", "train/loss", "1-device ~ 8-devices + 0.02"),
            Claim("the networks are as good", "test/error", "1-device ~ 8-devices + 0.02"),
        ),
    )
