"""TFDS sets with label maps, prepared in small under TFDS's own schemas, read without TensorFlow."""

import io

import numpy as np
import pytest
from PIL import Image

from cvjax.data import _pipeline, _tfds_masks, tfds
from cvjax.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the protobuf that TFDS brings

TRIMAP = np.array([[1, 2, 3, 1], [3, 3, 2, 2]], np.uint8)
STREET = np.array([[7, 8, 33, 0], [29, 26, 33, 3]], np.uint8)
SCENE = np.array([[0, 1, 150, 13], [13, 2, 3, 0]], np.uint8)


def file(pixels):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    out.seek(0)
    return out


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    import tensorflow_datasets as tfds

    root, features = tmp_path_factory.mktemp("tfds_masks"), tfds.features
    picture = np.full((2, 4, 3), 9, np.uint8)

    def prepare(dataset, content, records, keys=None):
        class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
            name, VERSION, pkg_dir_path = dataset.split("/")[0], tfds.core.Version("1.0.0"), root
            BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=config) for config in dataset.split("/")[1:]]

            def _info(self):
                return tfds.core.DatasetInfo(
                    builder=self, features=features.FeaturesDict(content), supervised_keys=keys, disable_shuffling=True
                )

            def _split_generators(self, _):
                return {"train": enumerate(records)}

            def _generate_examples(self):
                raise NotImplementedError

        Builder(data_dir=str(root), file_format="array_record").download_and_prepare()

    def image(**kw):
        return features.Image(**kw)

    pets = {
        "image": image(encoding_format="jpeg"),
        "label": features.ClassLabel(names=["Abyssinian", "boxer"]),
        "species": features.ClassLabel(names=["Cat", "Dog"]),
        "segmentation_mask": image(shape=(None, None, 1), use_colormap=True),
    }
    pet = {"image": file(picture), "label": 1, "species": 1, "segmentation_mask": file(TRIMAP)}
    prepare("oxford_iiit_pet", pets, [pet], ("image", "label"))
    street = {
        "image_id": features.Text(),
        "image_left": image(shape=(2, 4, 3), encoding_format="png"),
        "segmentation_label": image(shape=(2, 4, 1), encoding_format="png", use_colormap=True),
    }
    records = [{"image_id": str(k), "image_left": file(picture), "segmentation_label": file(STREET)} for k in range(3)]
    prepare("cityscapes/semantic_segmentation", street, records)
    stereo = {"image_left": street["image_left"], "disparity_map": street["segmentation_label"]}
    prepare("cityscapes/stereo_disparity", stereo, [{"image_left": file(picture), "disparity_map": file(STREET)}])
    scenes = {"image": image(encoding_format="jpeg"), "annotation": image(encoding_format="png")}
    objects = np.stack([np.array([[0, 4, 100, 1]] * 2, np.uint8), np.array([[0, 1, 2, 3]] * 2, np.uint8), np.zeros((2, 4), np.uint8)], -1)
    maps = (SCENE, SCENE[..., None].repeat(3, -1), objects, objects * 0)
    prepare("scene_parse150", scenes, [{"image": file(picture), "annotation": file(pixels)} for pixels in maps], ("image", "annotation"))
    kinds = {"image": image(encoding_format="png"), "annotation": image(shape=(None, None, 1), encoding_format="png")}
    prepare("other_maps", kinds, [{"image": file(picture), "annotation": file(TRIMAP)}])
    return str(root)


def test_pets_are_classes_or_label_maps_as_asked(prepared):
    breeds = tfds.load("train", dataset="oxford_iiit_pet", data_dir=prepared)
    assert (breeds.info.task, breeds[0]["label"], breeds.info.largest) == ("classification", 1, None)
    pets = tfds.load("train", dataset="oxford_iiit_pet", data_dir=prepared, labels="segmentation_mask")
    assert (pets.info.task, pets.info.classes, pets.info.ignore) == ("segmentation", ("foreground", "background", "outline"), None)
    assert pets[0]["labels"].dtype == np.uint8 and (pets[0]["labels"] == TRIMAP - 1).all() and pets.info.largest == (2, 4)


def test_cityscapes_has_the_nineteen_classes_that_are_evaluated(prepared):
    street = tfds.load("train", dataset="cityscapes/semantic_segmentation", data_dir=prepared)
    classes = street.info.classes
    assert len(classes) == 19 and (classes[0], classes[1], classes[13], classes[18]) == ("road", "sidewalk", "car", "bicycle")
    assert street[2]["labels"].tolist() == [[0, 1, 18, 255], [255, 13, 18, 255]] and street.info.ignore == 255
    with _pipeline.eval_batches(street, dict, batch_size=3) as batches:
        assert (next(batches)["labels"][1] == street[2]["labels"]).all()


def test_scenes_of_150_classes_whichever_way_they_were_prepared(prepared):
    scenes = tfds.load("train", dataset="scene_parse150", data_dir=prepared)
    classes = scenes.info.classes
    assert len(classes) == len(set(classes)) == 150 and (classes[0], classes[12], classes[149]) == ("wall", "person", "flag")
    whole = [[255, 0, 149, 12], [12, 1, 2, 255]]
    assert scenes[0]["labels"].tolist() == scenes[1]["labels"].tolist() == whole
    # annotations_instance, which TFDS takes: red numbers 100 classes of objects, of which 4 is person, 100 flag and 1 bed
    assert scenes[2]["labels"].tolist() == [[255, 12, 149, classes.index("bed")]] * 2
    assert (scenes[3]["labels"] == 255).all()  # no objects: not an error where nobody can take it out


def test_the_hundred_objects_are_those_of_the_benchmark():
    names = _tfds_masks.MAPS["scene_parse150"].classes
    known = {1: "bed", 4: "person", 16: "fence", 32: "case", 50: "bus", 62: "bannister", 76: "ball", 85: "screen", 99: "clock", 100: "flag"}
    assert len(_tfds_masks._OBJECTS) == 101
    assert {k: names[_tfds_masks._OBJECTS[k] - 1] for k in known} == known


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dataset": "oxford_iiit_pet", "labels": "trimap"}, "no class list is known for 'trimap' of 'oxford_iiit_pet'; have: oxford"),
        ({"dataset": "other_maps", "labels": "annotation"}, r"no class list is known for 'annotation' of 'other_maps'.*data 'masks' reads"),
        ({"dataset": "other_maps"}, "does not say which of its features"),
        ({"dataset": "cityscapes/stereo_disparity"}, "has no feature 'segmentation_label'; has: .*disparity_map"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_the_remedy(prepared, settings, message):
    with pytest.raises(UserError, match=message):
        tfds.load("train", data_dir=prepared, **settings)


def test_values_outside_the_table_are_counted(prepared, monkeypatch):
    street = _tfds_masks.MAPS["cityscapes"]
    monkeypatch.setitem(_tfds_masks.MAPS, "cityscapes", street._replace(table=np.where(np.arange(65536) == 29, 254, street.table)))
    with pytest.raises(
        UserError, match=r"outside the class list: 29 \(3 pixels\), first in cityscapes/semantic_segmentation train, record 0"
    ):
        tfds.load("train", dataset="cityscapes/semantic_segmentation", data_dir=prepared)
