"""Street scenes, every pixel one of 11 classes: a small U-Net on CamVid at half resolution (Ronneberger et al. 2015, arXiv:1505.04597).

A fourth of the paper's width with padded convolutions and BatchNorm, crops of 160 pixels at 0.75 to 1.5 times the size, flips, changes of
colour; AdamW, half a cosine. Rare classes weigh more: without weights, poles, signs, fences, people and bicycles were never said in 24
epochs, and mIoU was 41.7 %.

Run:      python launch.py train --config=experiments/unet_camvid.py:root=camvid --workdir=runs/camvid
Expected: 55.4 % mIoU over 11 classes, 87.6 % of the pixels of the 101 validation images (seed 0), 17 minutes of a CPU core
Smoke:    python launch.py train --config=experiments/unet_camvid.py:smoke --workdir=runs/camvid_smoke
"""

from cvjax.config import args, experiment, smoke

# roots of the median share of pixels over each class's own: half of the pixels are road and building, a hundredth poles or pedestrians
WEIGHTS = {"sky": 0.52, "building": 0.44, "pole": 2.1, "road": 0.38, "pavement": 1.0, "tree": 0.68, "sign": 2.0, "fence": 2.0, "car": 0.87,
           "pedestrian": 2.7, "bicyclist": 3.9}  # fmt: skip


def get_config(arg=""):
    a = args(arg, root="camvid", smoke=False)
    config = experiment(
        seed=0,
        task=dict(name="segmentation", class_weights=() if a.smoke else tuple(WEIGHTS.values())),
        model=dict(name="unet", variant="small", batch_norm=True),
        data=dict(name="camvid", root=a.root, train="train", val="val", batch_size=8),
        image=dict(size=32 if a.smoke else 160, mean=(0.29, 0.32, 0.33), std=(0.22, 0.24, 0.25)),
        augment=dict(flip=True, zoom=(0.75, 1.5), photometric=0.3),
        optim=dict(name="adamw", lr=3e-3, weight_decay=1e-3, schedule="cosine", warmup="1 epochs", clip=1.0),
        train=dict(duration="30 epochs", log_every="10 steps", eval_every="5 epochs", checkpoint_every="5 epochs", monitor="val/mIoU"),
    )
    return smoke(config, variant="tiny") if a.smoke else config
