"""CamVid: street scenes from a moving car, every pixel of one of 11 classes (Brostow, Fauqueur, Cipolla 2009).

The selection and the classes of SegNet (Badrinarayanan et al. 2017, arXiv:1511.00561), as its tutorial lays them out: folders "train" and
"val" (and "test") of images, "trainannot" and "valannot" of label PNGs. 367 images train and 101 validate; at half resolution 240 x 180.
"""

from pathlib import Path

from cvjax.data._labels import table
from cvjax.data._pairs import Reading, folder, pairs, source
from cvjax.data._source import Source, select

CLASSES = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist")
VOID = 11  # what the annotators could not name


def load(split: str, *, root: str) -> Source:
    """Splits "train" and "val", and "test" where it is there, sliced as TFDS does. `root`: the folder that holds "train" and "trainannot".

    Raises:
        UserError: a folder that is not there, an image without its label map, or label maps that do not fit, see `_labels.survey`.
    """
    train = folder(root, "train")
    names = [name for name in ("train", "val", "test") if (Path(train.parent) / name).is_dir()]
    splits = {name: pairs(folder(root, name), folder(root, f"{name}annot")) for name in names}
    reading = Reading(table({k: k for k in range(len(CLASSES))}, (VOID,)))
    return source(select(split, splits), CLASSES, reading)
