"""TFDS sets on the road a user takes: prepared directories, read without TensorFlow."""

import importlib.util
import io
import itertools
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from cvjax.data import _pipeline
from cvjax.data import tfds as source
from cvjax.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the protobuf that TFDS brings


def png(pixels):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    out.seek(0)
    return out


def image(split, i):
    return np.random.default_rng([split == "test", i]).integers(0, 256, (5, 7, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """A small set "shades" with the configs "plain" and "renamed", and "nothing" that has no label."""
    import tensorflow_datasets as tfds

    root = tmp_path_factory.mktemp("tfds")
    features = tfds.features

    class Shades(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        name, VERSION, pkg_dir_path = "shades", tfds.core.Version("1.2.0"), root
        BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in ("plain", "renamed")]
        keys = {"plain": ("image", "label"), "renamed": ("photo", "kind")}

        def _info(self):
            picture, label = self.keys[self.builder_config.name]
            content = {
                "id": features.Text(),
                picture: features.Image(shape=(5, 7, 3)),
                label: features.ClassLabel(names=["dark", "light", "mid"]),
            }
            keys = (picture, label) if self.builder_config.name == "plain" else None
            return tfds.core.DatasetInfo(
                builder=self, features=features.FeaturesDict(content), supervised_keys=keys, disable_shuffling=True
            )

        def _split_generators(self, _):
            return {"train": self._generate_examples("train", 20), "test": self._generate_examples("test", 6)}

        def _generate_examples(self, split, count):
            picture, label = self.keys[self.builder_config.name]
            for i in range(count):
                yield i, {"id": str(i), picture: png(image(split, i)), label: i % 3}

    class Nothing(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        name, VERSION, pkg_dir_path = "nothing", tfds.core.Version("1.0.0"), root

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=features.FeaturesDict({"image": features.Image(shape=(5, 7, 3))}))

        def _split_generators(self, _):
            return {"train": iter([(0, {"image": png(image("train", 0))})])}

        def _generate_examples(self):
            raise NotImplementedError

    for builder in (lambda **kw: Shades(config="plain", **kw), lambda **kw: Shades(config="renamed", **kw), Nothing):
        builder(data_dir=str(root), file_format="array_record").download_and_prepare()
    return root


@pytest.mark.parametrize("dataset", ["shades/plain", "shades/renamed", "shades/plain:1.2.0", "shades/plain:1.*.*"])
def test_records_come_back_as_they_were_written(prepared, dataset):
    shades = source.load("train", dataset=dataset, data_dir=str(prepared))
    assert shades.info.classes == ("dark", "light", "mid")
    assert (len(shades), shades.info.image_size, shades.info.task) == (20, (5, 7), "classification")
    for i in (0, 13, 19):
        np.testing.assert_array_equal(shades[i]["image"], image("train", i))
        assert shades[i]["label"] == i % 3


def test_slices_and_sums_of_splits(prepared):
    def labels(split):
        shades = source.load(split, dataset="shades/plain", data_dir=str(prepared))
        return [shades[i]["label"] for i in range(len(shades))]

    assert labels("train[:90%]") == [i % 3 for i in range(18)]
    assert labels("train[-2:]+test") == [0, 1] + [i % 3 for i in range(6)]


def test_the_environment_names_the_folder(prepared, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared))
    assert len(source.load("test", dataset="shades/plain")) == 6


def test_threads_and_processes_read_it(prepared):
    shades = source.load("train", dataset="shades/plain", data_dir=str(prepared))
    data, _ = _pipeline.whole(shades, dict)
    np.testing.assert_array_equal(data["image"], [image("train", i) for i in range(20)])
    batch = next(iter(_pipeline.eval_batches(shades, dict, batch_size=20, workers=1, kind="process")))
    np.testing.assert_array_equal(batch["image"], data["image"])


@pytest.mark.parametrize(
    ("dataset", "split", "message"),
    [
        ("coco/2017", "train", r"'coco/2017' is not prepared in .*: tfds build coco/2017 --file_format=array_record --data_dir="),
        ("shades/plain:9.0.0", "train", "not prepared.*there: .*shades/plain"),
        ("shades/plain", "val", r"cannot give split 'val'; have: train \(20 examples\), test \(6 examples\)"),
        ("shades/plain", "trian", "did you mean 'train'"),
        ("shades/plain", "train[:21]", "incompatible with 20 examples"),
        ("shades/plain", "train[:0]", "it is empty"),
        ("nothing", "train", "does not say which of its features"),
    ],
)
def test_what_is_wrong_is_said_with_the_remedy(prepared, dataset, split, message):
    with pytest.raises(UserError, match=message):
        source.load(split, dataset=dataset, data_dir=str(prepared))


def test_a_folder_that_is_not_there_names_the_command(tmp_path):
    with pytest.raises(UserError, match="tfds build mnist --file_format=array_record"):
        source.load("train", dataset="mnist", data_dir=str(tmp_path / "none"))


def test_a_set_prepared_as_tfrecord_names_the_conversion(prepared, tmp_path):
    old = tmp_path / "shades" / "plain" / "1.2.0"
    old.mkdir(parents=True)
    for path in (prepared / "shades" / "plain" / "1.2.0").glob("*.json"):
        content = json.loads(path.read_text())
        if path.name == "dataset_info.json":
            content["fileFormat"] = "tfrecord"
        (old / path.name).write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"prepared as tfrecord.*tfds convert_format --dataset_version_dir=.*1\.2\.0 "):
        source.load("train", dataset="shades/plain", data_dir=str(tmp_path))


def test_real_digits_prepared_by_the_tools_of_a_user(dev_data, tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("prepare_tfds", dev_data / "prepare_tfds.py")
    prepare = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(prepare)
    every = prepare.Mnist._generate_examples
    monkeypatch.setattr(prepare.Mnist, "_generate_examples", lambda self: itertools.islice(every(self), 200))
    prepare.Mnist(data_dir=str(tmp_path), file_format="array_record").download_and_prepare()
    mnist = source.load("train[:50%]", dataset="mnist", data_dir=str(tmp_path))
    assert (len(mnist), mnist.info.classes, mnist.info.image_size) == (100, tuple("0123456789"), (28, 28))
    assert [mnist[i]["label"] for i in range(5)] == [5, 0, 4, 1, 9]  # the first of the training set, known to everybody
    assert mnist[0]["image"].shape == (28, 28, 3) and (mnist[0]["image"][..., 0] == mnist[0]["image"][..., 1]).all()


@pytest.mark.parametrize("damage", ["cut", "lost"])
def test_a_file_that_is_cut_short_or_lost_is_named_before_anything_is_read(prepared, tmp_path, damage):
    shutil.copytree(prepared, tmp_path / "tfds")
    path = next((tmp_path / "tfds" / "shades" / "plain").rglob("*train.array_record*"))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    if damage == "lost":
        path.unlink()
    with pytest.raises(UserError, match=rf"{path.name} \(.*\) should hold 20 records, but .* prepare it again"):
        source.load("train[:50%]", dataset="shades/plain", data_dir=str(tmp_path / "tfds"))
    assert len(source.load("test", dataset="shades/plain", data_dir=str(tmp_path / "tfds"))) == 6
