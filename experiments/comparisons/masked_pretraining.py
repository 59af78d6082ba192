"""Is it worth guessing hidden patches first? Masked autoencoders (He et al. 2022, arXiv:2111.06377), Table 1 and figure 5.

Two steps: encoders learn from all 45,000 pictures without their labels, one for each share of hidden patches; then ViTs begin with them,
or with nothing, and learn from a few labels, all parameters or (linear) the head alone. `:small` has 3 blocks of 48 channels and patches
of 4x4, 3 epochs without labels, then 400 steps of 64 on 450 (1 %) and 4,500 (10 %) labels, 3 seeds that share an encoder; `:paper` has
the 6 blocks of experiments/mae_cifar10.py, 400 epochs without labels, 8,000 steps.

Run:      python launch.py compare --study=experiments/comparisons/masked_pretraining.py:small,encoders --workdir=runs/encoders
          python launch.py compare --study=experiments/comparisons/masked_pretraining.py:small,of=runs/encoders --workdir=runs/pretraining
Result:   450 labels 34.5 % from nothing, 38.3 % pre-trained; 4,500: 37.3 and 40.7 %; 60 CPU-minutes; docs/results/masked_pretraining.md
"""

from pathlib import Path

from cvjax.config import args, load
from cvjax.study import Claim, Paper, Study

RATIOS = (0.25, 0.5, 0.75)
FEW, MANY, LABELS = "450", "4500", {"450": {"data.train": "train[:450]"}, "4500": {"data.train": "train[:4500]"}}
LINEAR = {**LABELS["4500"], "optim.freeze": "^(embed|encoder|norm)/", "optim.weight_decay": 0.0, "optim.lr": 0.01}
PAPER = Paper(
    citation="He et al. 2022, Table 1 (with a decoder of 8 blocks, pixels not standardised) and figure 5; scratch: their own recipe",
    protocol="ViT-L/16, 800 epochs on ImageNet without labels, then on all labels of ImageNet: fine-tuned, and linear",
    numbers={"val/top1": {"scratch-4500": 0.825, "0.75-4500": 0.849, "linear-0.75": 0.735}},
    differs="of the paper all labels are used; ours are a hundredth and a tenth of CIFAR-10's, for a network 5,000 times cheaper",
)


def get_study(arg=""):
    a = args(arg, small=False, paper=False, encoders=False, of="runs/encoders")  # of the first two, paper is what it is without a word
    variant = "Pi3/4" if a.small else "Pi/4"
    return _encoders(a, variant) if a.encoders else _classifiers(a, variant)


def _encoders(a, variant):
    base = load("experiments/mae_cifar10.py", f"variant={variant}")
    if a.small:
        with base.unlocked():
            base.optim.warmup = "0.5 epochs"
            base.train.update(duration="3 epochs", eval_every="1 epochs", checkpoint_every="3 epochs")
    else:
        with base.unlocked():
            base.train.duration = "400 epochs"
    return Study(base, arms={f"ratio-{ratio}": {"model.ratio": ratio} for ratio in RATIOS}, seeds=(0,), measured=("val/loss",))


def _classifiers(a, variant):
    base = load("experiments/vit_cifar10.py", f"variant={variant},position=sincos_2d")
    with base.unlocked():
        base.optim.update(lr=1e-3, warmup="100 steps", freeze="")
        base.train.update(duration="400 steps" if a.small else "8000 steps", eval_every="400 steps", checkpoint_every="400 steps")

    def begun(ratio):
        """The encoder's run; its place in the study where it is not there, which says so before anything starts."""
        return {"init": str(next(Path(a.of).glob(f"*ratio-{ratio},*"), Path(a.of) / f"ratio-{ratio}"))}

    return Study(
        base,
        arms={
            **{f"scratch-{n}": settings for n, settings in LABELS.items()},
            f"0.75-{FEW}": {**LABELS[FEW], **begun(0.75)},
            **{f"{ratio}-{MANY}": {**LABELS[MANY], **begun(ratio)} for ratio in RATIOS},
            **{f"linear-{ratio}": {**LINEAR, **begun(ratio)} for ratio in (0.25, 0.75)},
        },
        seeds=(0, 1, 2),
        measured=("val/top1",),
        claims=(
            Claim("pre-training helps with 450 labels", "val/top1", f"0.75-{FEW} > scratch-{FEW}"),
            Claim("and with 4,500", "val/top1", f"0.75-{MANY} > scratch-{MANY}"),
            Claim("half or three quarters hidden is the same to who fine-tunes", "val/top1", f"0.75-{MANY} ~ 0.5-{MANY} + 0.02"),
            Claim("to who reads linearly, hiding much is better", "val/top1", "linear-0.75 > linear-0.25"),
        ),
        paper=PAPER,
    )
