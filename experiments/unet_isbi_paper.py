"""The paper's U-Net on the ISBI challenge, for a GPU (Ronneberger, Fischer & Brox 2015, arXiv:1505.04597, sections 3 and 4).

Valid convolutions, tiles of 388 pixels seen through 572, one at a time, SGD with momentum 0.99, dropout at the end of the contracting path,
flips, turns, changes of grey and elastic deformation. The paper gives neither learning rate nor length nor how much is dropped; those are
ours.

Run:      python launch.py train --config=experiments/unet_isbi_paper.py:root=isbi_membrane --workdir=runs/isbi_paper
Needs:    ISBI 2012's slices as experiments/unet_isbi.py reads them, and a GPU
Expected: not run here (no GPU was at hand); the paper's pixel error on the challenge's test slices: 6.1 %
Smoke:    python launch.py train --config=experiments/unet_isbi_paper.py:smoke --workdir=runs/isbi_paper_smoke
"""

from cvjax.config import args, experiment, load, smoke


def get_config(arg=""):
    a = args(arg, root="isbi_membrane", smoke=False)
    small = load("experiments/unet_isbi.py", f"root={a.root}")
    config = experiment(
        seed=0,
        task=dict(name="segmentation"),
        model=dict(name="unet", variant="unet", padding="valid", dropout=0.5),
        data={**small.data, "batch_size": 1},
        image={**small.image, "size": 32 if a.smoke else 388},
        augment=dict(flip=True, rotate=180.0, elastic=10.0, photometric=0.2),
        optim=dict(name="sgd", lr=1e-3, momentum=0.99, weight_decay=0.0, schedule="constant"),
        train=dict(
            duration="30000 steps", log_every="20 steps", eval_every="1000 steps", checkpoint_every="1000 steps", monitor="val/mIoU"
        ),
    )
    if a.smoke:
        config.data.batch_size = 8
        return smoke(config, variant="tiny")
    return config
