"""FCN on a dilated ResNet-50 or 101 on PASCAL VOC, by torchvision's recipe for its own (references/segmentation, fcn_resnet50).

SGD with momentum 0.9, 32 crops of 480 pixels at half to twice the size, flips, weight decay 1e-4, learning rate 0.01 falling to nothing
over 30 epochs (here half a cosine; torchvision's falls by a power of 0.9), scores of the third stage that learn with weight 0.5; from
torchvision's ResNet. The data lie as experiments/fcn_voc.py says. Whole networks come in with `--init=torchvision:fcn_resnet50.pth`.

Run:      python launch.py train --config=experiments/fcn_resnet_voc.py --workdir=runs/fcn_resnet50 --init=torchvision:resnet50.pth
          python launch.py eval --config=experiments/fcn_resnet_voc.py --init=torchvision:fcn_resnet50.pth --split=val
Needs:    VOC 2012, better with SBD's labels, and a GPU
Expected: not run here (VOC is not at hand); torchvision's fcn_resnet50, trained on COCO: 60.5 % mIoU, 91.4 % of the pixels
Smoke:    python launch.py train --config=experiments/fcn_resnet_voc.py:smoke --workdir=runs/fcn_resnet_smoke
"""

from cvjax.config import args, experiment, load, smoke


def get_config(arg=""):
    a = args(arg, root="voc", variant=50, smoke=False)
    voc = load("experiments/fcn_voc.py", f"root={a.root}")
    config = experiment(
        seed=0,
        task=dict(name="segmentation", auxiliary=0.5),
        model=dict(name="fcn_resnet", variant=a.variant, auxiliary=True, dtype="bfloat16"),
        data={**voc.data, "batch_size": 32},
        image=dict(size=32 if a.smoke else 480),
        augment=dict(flip=True, zoom=(0.5, 2.0)),
        optim=dict(name="sgd", lr=0.01, momentum=0.9, weight_decay=1e-4, schedule="cosine"),
        train=dict(duration="30 epochs", log_every="20 steps", eval_every="1 epochs", checkpoint_every="1 epochs", monitor="val/mIoU"),
    )
    return smoke(config, variant=18, width=4) if a.smoke else config
