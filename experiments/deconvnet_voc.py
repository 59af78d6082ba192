"""DeconvNet on PASCAL VOC (Noh, Hong & Han 2015, arXiv:1505.04366), from torchvision's VGG-16 with BatchNorm.

SGD with momentum 0.9, 64 crops of 224 pixels, learning rate 0.01 divided by 10 twice, weight decay 5e-4: the paper's section 4.2. The paper
learns from crops around objects, then from proposals, and pastes 50 proposals a picture together; here crops are drawn from anywhere at
half to twice the size, and a picture is seen as a whole. The data lie as experiments/fcn_voc.py says.

Run:      python launch.py train --config=experiments/deconvnet_voc.py --workdir=runs/deconvnet --init=torchvision:vgg16_bn.pth
Needs:    VOC 2012 and SBD's labels, and a GPU
Expected: not run here (VOC is not at hand); the paper's mIoU on VOC 2012 test with proposals: 69.6 %
Smoke:    python launch.py train --config=experiments/deconvnet_voc.py:smoke --workdir=runs/deconvnet_smoke
"""

from cvjax.config import args, experiment, load, smoke


def get_config(arg=""):
    a = args(arg, root="voc", unpool="switches", smoke=False)
    voc = load("experiments/fcn_voc.py", f"root={a.root}")
    config = experiment(
        seed=0,
        task=dict(name="segmentation"),
        model=dict(name="deconvnet", unpool=a.unpool, dtype="bfloat16"),
        data={**voc.data, "batch_size": 64},
        image=dict(size=32 if a.smoke else 224),
        augment=dict(flip=True, zoom=(0.5, 2.0)),
        optim=dict(name="sgd", lr=0.01, momentum=0.9, weight_decay=5e-4, schedule="step", boundaries=("20000 steps", "40000 steps")),
        train=dict(
            duration="60000 steps", log_every="20 steps", eval_every="2000 steps", checkpoint_every="2000 steps", monitor="val/mIoU"
        ),
    )
    return smoke(config, variant="tiny") if a.smoke else config
