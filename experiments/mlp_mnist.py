"""Sigmoid perceptrons on MNIST by the book's recipe (Nielsen 2015, "Neural Networks and Deep Learning", chapter 5).

1 to 5 hidden layers of 30 units (`variant`), learning rate 0.1, batches of 10, weight decay 5 / 50,000 on the weights, 30 epochs; 50,000
images train and 10,000 validate. More layers do not help, because the first ones hardly learn: `--probe=gradients` shows it. `layer` is
"sigmoid", "relu", "batch_norm" or "residual".

Run:      python launch.py train --config=experiments/mlp_mnist.py:variant=3 --workdir=runs/mlp3 --probe=gradients
Expected: not run in full here; experiments/comparisons/vanishing_gradients.py measures the gradients
Paper:    validation accuracy 96.48 % (1 hidden layer), 96.90 (2), 96.57 (3), 96.53 (4), one run each
Smoke:    python launch.py train --config=experiments/mlp_mnist.py:smoke --workdir=runs/mlp_smoke
"""

from cvjax.config import args, experiment, smoke


def get_config(arg=""):
    a = args(arg, variant=2, layer="sigmoid", smoke=False)
    config = experiment(
        seed=0,
        task=dict(name="classification", label_smoothing=0.0),
        model=dict(name="mlp", variant=a.variant, layer=a.layer),
        data=dict(
            name="tfds",
            dataset="mnist",
            train="train[:50000]",
            val="train[50000:]",
            test="",
            batch_size=16 if a.smoke else 10,
            cache="device",
        ),
        image=dict(size=28, channels=1, crop_fraction=1.0, mean=(0.0,), std=(1.0,)),
        augment=dict(crop="none", flip=False),
        optim=dict(name="sgd", lr=0.1, momentum=0.0, weight_decay=1e-4, decay_vectors=False, schedule="constant"),
        train=dict(duration="30 epochs", log_every="500 steps", eval_every="1 epochs", checkpoint_every="10 epochs"),
    )
    return smoke(config) if a.smoke else config
