"""Where are the nuclei? A small U-Net on the Data Science Bowl 2018 (Ronneberger et al. 2015, arXiv:1505.04597)."""

from cvjax.config import args, experiment, smoke


def get_config(arg=""):
    a = args(arg, root="dsb2018", border=0.0, smoke=False)
    config = experiment(
        seed=0,
        task=dict(name="segmentation"),
        model=dict(name="unet", variant="mini", batch_norm=True),
        data=dict(name="dsb2018", root=a.root, border=a.border, train="train", val="val", batch_size=8),
        image=dict(size=128, channels=1, mean=(0.05,), std=(0.055,)),
        augment=dict(flip=True, zoom=(0.75, 1.5), rotate=180.0, photometric=0.3),
        optim=dict(name="adamw", lr=3e-3, weight_decay=1e-3, schedule="cosine", warmup="1 epochs", clip=1.0),
        train=dict(
            duration="20 epochs", log_every="10 steps", eval_every="5 epochs", checkpoint_every="5 epochs", monitor="val/IoU/nucleus"
        ),
    )
    if a.smoke:
        config.train.monitor = "val/mIoU"  # made-up pictures have other classes
        return smoke(config, variant="tiny")
    return config
