"""Four ways to attend inside a CNN, and who needs none. Wang et al. 2018 (arXiv:1711.07971), Zhang et al. 2019 (arXiv:1805.08318).

experiments/nonlocal_corners.py with each pairwise form of a non-local block after the second stage, with SAGAN's block, with a convolution
of as many parameters, and without anything: do two signs in opposite corners look the same?
1,000 steps, 3 seeds; pilots with another seed chose the learning rate and the steps. There is no larger study: the question is the same at
any size.

Run:      python launch.py compare --study=experiments/comparisons/nonlocal_forms.py --workdir=runs/nonlocal_forms
Result:   50.0 % without, 49.8 % with a convolution, 99.9 % embedded Gaussian, 99.7 % SAGAN; the other forms between 50 and 100 % by
          seed; 100 CPU-minutes; docs/results/nonlocal_forms.md
"""

from cvjax.config import load
from cvjax.study import Claim, Paper, Study

FORMS = ("gaussian", "embedded_gaussian", "dot_product", "concatenation")
PAPER = Paper(
    citation="Wang et al. 2018, Table 2a",
    protocol="ResNet-50 on Kinetics, one block in the fourth stage, top-1 of videos",
    numbers={"val/top1": {"none": 0.718, "gaussian": 0.725, "embedded_gaussian": 0.727, "dot_product": 0.729, "concatenation": 0.728}},
    differs="Kinetics can be told from parts of a picture, and corners by no part alone",
)


def get_study(arg=""):
    def arm(block):
        return {"model.stages": () if block == "none" else (2,), "model.block": "convolution" if block == "none" else block}

    return Study(
        load("experiments/nonlocal_corners.py"),
        arms={block: arm(block) for block in ("none", "convolution", *FORMS, "sagan")},
        seeds=(0, 1, 2),
        measured=("val/top1", "val/loss", "val/gamma"),
        claims=(
            *(Claim(f"{block} lets corners meet", "val/top1", f"{block} > convolution + 0.1") for block in (*FORMS, "sagan")),
            Claim("a convolution of as many parameters does not", "val/top1", "convolution < 0.55"),
            Claim("nor does the plain network", "val/top1", "none < 0.55"),
            *(Claim(f"{form} is as good as the embedded Gaussian", "val/top1", f"{form} ~ embedded_gaussian + 0.05")
              for form in FORMS if form != "embedded_gaussian"),
        ),
        paper=PAPER,
    )  # fmt: skip
