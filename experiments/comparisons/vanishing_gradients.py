"""How fast does the gradient vanish, and what keeps it? Nielsen 2015, "Neural Networks and Deep Learning", chapter 5.

Perceptrons of 2 to 4 hidden layers of 30 units on the first 1,000 images of MNIST, all of them in every step, learning rate 0.1, 500
steps. The gradient of the last hidden layer's biases over that of the first's, at the start, is the measure: with sigmoids it grows with
every layer; with ReLU and He's initialisation, with BatchNorm or with shortcuts it does not. 10 seeds, since one draw is worth little.
There is no larger study: this is the book's, with a softmax instead of ten sigmoids at its end.

Run:      python launch.py compare --study=experiments/comparisons/vanishing_gradients.py --workdir=runs/vanishing_gradients --executor=vmap
Result:   ratios 5.0, 23.5, 125 through 2, 3, 4 sigmoid layers; 11 minutes of two shared cores; docs/results/vanishing_gradients.md
"""

from cvjax.config import load
from cvjax.study import Claim, Paper, Study

RATIO = "start/gradient_ratio"
LAYERS = ("sigmoid", "relu", "batch_norm", "residual")
LEAST = {2: 3, 3: 10, 4: 40}  # depth -> the ratio to be reached

PAPER = Paper(
    citation='Nielsen 2015, "Neural Networks and Deep Learning", chapter 5, and the results stored with its code',
    protocol="first 1,000 training images, full batch, learning rate 0.1, L2 5 / 1,000; one draw of the weights; ten sigmoids at the end",
    numbers={RATIO: {"sigmoid-2": 4.7, "sigmoid-3": 23.9, "sigmoid-4": 95.8}},
    differs="the classes compete in a softmax here, and the book's single draws scatter by a factor of two",
)


def get_study(arg=""):
    base = load("experiments/mlp_mnist.py")
    with base.unlocked():
        base.data.update(train="train[:1000]", batch_size=1000)
        base.optim.weight_decay = 5e-3
        base.train.update(duration="500 steps", log_every="10 steps", eval_every="100 steps", checkpoint_every="500 steps")
        base.train.probes = ("gradients",)
    return Study(
        base,
        arms={f"{layer}-{depth}": {"model.layer": layer, "model.variant": depth} for layer in LAYERS for depth in LEAST},
        seeds=tuple(range(10)),
        measured=(RATIO, "train/gradient_ratio", "train/error", "val/error"),
        claims=(
            *(Claim(f"it vanishes through {depth} sigmoid layers", RATIO, f"sigmoid-{depth} > {least}") for depth, least in LEAST.items()),
            Claim("every sigmoid layer more takes more of it", RATIO, "sigmoid-4 > sigmoid-3"),
            *(Claim(f"{layer} keeps it", RATIO, f"{layer}-4 < 3") for layer in LAYERS[1:]),
            Claim("more layers take no more of it with BatchNorm", RATIO, "batch_norm-4 <= batch_norm-2 + 10"),
        ),
        paper=PAPER,
    )
