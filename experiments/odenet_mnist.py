"""ODE-Net, RK-Net and their ResNet on MNIST (Chen et al. 2018, arXiv:1806.07366, section 3 and Table 1).

`body=ode`: dopri5 with tolerance 1e-3 and the continuous adjoint; `rk`: the same solver, its steps differentiated (each computed again in
the backward pass: gradient "direct" keeps all of them); `resnet`: six residual blocks; `untied`: six Euler steps with weights of their own.
`stem=conv` or `res`, before any of them. SGD with momentum 0.9, batch 128, learning rate 0.1, divided by 10 at epochs 60, 100 and 140 of
160; 4 pixels of padding and a random crop; pixels 0-1 as they are. These are the choices of torchdiffeq's example, the paper names none.
50,000 images train and 10,000 validate; add --config.data.test=test where the data have one.

Run:      python launch.py train --config=experiments/odenet_mnist.py:body=ode --workdir=runs/odenet
          python launch.py train --config=experiments/odenet_mnist.py:body=ode --workdir=runs/rk4 --config.model.solve.solver=rk4 \
              --config.model.solve.steps=4
Expected: not run in full here; experiments/comparisons/ode_net.py trains short ones
Paper:    test error 0.41 % (ResNet), 0.47 % (RK-Net), 0.42 % (ODE-Net), one run each
Smoke:    python launch.py train --config=experiments/odenet_mnist.py:smoke --workdir=runs/odenet_smoke
"""

from cvjax.config import args, experiment, smoke


def get_config(arg=""):
    a = args(arg, body="ode", stem="conv", smoke=False)
    gradient = "checkpointed" if a.body == "rk" else "adjoint"
    config = experiment(
        seed=0,
        task=dict(name="classification", label_smoothing=0.0),
        model=dict(
            name="odenet",
            variant="ode" if a.body == "rk" else a.body,
            stem=a.stem,
            blocks=6,
            width=64,
            activation="relu",
            solve=dict(solver="dopri5", steps=0, tol=1e-3, gradient=gradient, max_steps=100, control="example"),
        ),
        data=dict(name="tfds", dataset="mnist", train="train[:50000]", val="train[50000:]", test="", batch_size=128, cache="device"),
        image=dict(size=28, channels=1, crop_fraction=1.0, mean=(0.0,), std=(1.0,)),
        augment=dict(crop="pad", pad=4, flip=False),
        optim=dict(
            name="sgd",
            lr=0.1,
            momentum=0.9,
            weight_decay=0.0,
            schedule="step",
            factor=0.1,
            boundaries=("60 epochs", "100 epochs", "140 epochs"),
        ),
        train=dict(duration="160 epochs", log_every="50 steps", eval_every="1 epochs", checkpoint_every="5 epochs"),
    )
    return smoke(config, width=8) if a.smoke else config
