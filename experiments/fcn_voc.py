"""FCN-32s, 16s and 8s on PASCAL VOC (Long, Shelhamer & Darrell 2015, arXiv:1411.4038), from torchvision's VGG-16.

SGD with momentum 0.9, 20 images, weight decay 5e-4, learning rate 1e-4, no augmentation but flips, as the paper's section 4. 16s begins
with 32s, 8s with 16s; the scores of the new skip start at zero, so each begins as what it comes from.

VOC lies as its archive makes it; images and label PNGs of its lists become folders of links, and its 21 classes stand below:

    for s in train val; do mkdir -p voc/images/$s voc/labels/$s; for i in $(cat VOC2012/ImageSets/Segmentation/$s.txt); do
    ln -s $PWD/VOC2012/JPEGImages/$i.jpg voc/images/$s/; ln -s $PWD/VOC2012/SegmentationClass/$i.png voc/labels/$s/; done; done

Run:      python launch.py train --config=experiments/fcn_voc.py:stride=32 --workdir=runs/fcn32s --init=torchvision:vgg16.pth
          python launch.py train --config=experiments/fcn_voc.py:stride=16 --workdir=runs/fcn16s --init=runs/fcn32s
          python launch.py train --config=experiments/fcn_voc.py --workdir=runs/fcn8s --init=runs/fcn16s
Needs:    VOC 2012, better with SBD's 8,498 training labels, and a GPU
Expected: not run here (VOC is not at hand); the paper's mIoU, SBD's labels and VOC 2011: 59.4, 62.4, 62.7 %
Smoke:    python launch.py train --config=experiments/fcn_voc.py:smoke --workdir=runs/fcn_smoke
"""

from cvjax.config import args, experiment, smoke

CLASSES = ("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
           "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor")  # fmt: skip


def get_config(arg=""):
    a = args(arg, root="voc", stride=8, smoke=False)
    config = experiment(
        seed=0,
        task=dict(name="segmentation"),
        model=dict(name="fcn", variant=16, stride=a.stride, dtype="bfloat16"),
        data=dict(name="masks", root=a.root, classes=CLASSES, train="train", val="val", batch_size=20),
        image=dict(size=32 if a.smoke else 512),
        augment=dict(flip=True),
        optim=dict(name="sgd", lr=1e-4, momentum=0.9, weight_decay=5e-4, schedule="constant"),
        train=dict(duration="175 epochs", log_every="20 steps", eval_every="5 epochs", checkpoint_every="5 epochs", monitor="val/mIoU"),
    )
    return smoke(config, variant=11, width=4) if a.smoke else config
