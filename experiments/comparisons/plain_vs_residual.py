"""Do deeper networks train worse, and do shortcuts mend it? He et al. 2015 (arXiv:1512.03385), section 4.2, Figure 6 and Table 6."""

from cvjax.config import args, load
from cvjax.study import Claim, Paper, Study

DEPTHS = (20, 32, 44, 56)
SMALL = dict(width=8, images=20000, epochs=6, batch=64)


def get_study(arg=""):
    a = args(arg, small=False, width=4, images=20000, epochs=6, batch=64)
    base = load("experiments/resnet_cifar10.py")
    with base.unlocked():
        base.model.width = a.width
        base.data.update(train=f"train[:{a.images}]", val="train[45000:]", test="", batch_size=a.batch)
        base.optim = dict(name="sgd", lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4, schedule="onecycle", warmup="1 epochs")
        base.train.update(duration=f"{a.epochs} epochs", eval_every="1 epochs", checkpoint_every=f"{a.epochs} epochs")
    arms = {f"plain-{n}": {"model.variant": n, "model.shortcut": "none"} for n in DEPTHS}
    arms |= {f"res-{n}": {"model.variant": n, "model.shortcut": "A"} for n in DEPTHS}
    return Study(base, arms)
