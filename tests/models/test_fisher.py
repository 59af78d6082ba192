"""A fitted model: what scikit-learn fits is what the network says, through the one loop; mistakes before the fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.svm import LinearSVC

from cvjax import checkpoint
from cvjax import config as configs
from cvjax.build import build, initial_state
from cvjax.check import check_builds
from cvjax.errors import UserError
from cvjax.files import lines
from cvjax.models import fisher
from cvjax.train import train


def images(n=40, seed=0):
    """Two classes: stripes across or along, in noise."""
    draw = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    stripes = np.sin(np.arange(16) * 1.3)[:, None] * np.ones((16, 16))
    pixels = np.stack([stripes.T if label else stripes for label in labels]) + draw.normal(0, 0.5, (n, 16, 16))
    return jnp.asarray(np.repeat(pixels[..., None], 3, -1), jnp.float32), labels


@pytest.mark.parametrize("variant", fisher.VARIANTS)
def test_fitted_scores_are_the_machines_of_scikit_learn(variant):
    pixels, labels = images()
    model = fisher.Model(num_classes=2, variant=variant, words=2, dims=4, cells=(2,), step=4, pyramid=("1x1", "2x1"))
    start = model.init(jax.random.key(0), {"image": pixels[:1]}, train=False)["params"]
    batches = [{"image": pixels[i : i + 8], "label": labels[i : i + 8], "valid": np.ones(8, bool)} for i in range(0, 40, 8)]
    found = fisher.fit(model, {"image": pixels[:1]}, 40, samples=400)(start, lambda: iter(batches), 0)
    out = model.apply({"params": found}, {"image": pixels}, train=False)
    x = np.asarray(out["features"], float)
    x /= np.sqrt(np.square(x).sum(1).mean())
    for k in range(2):
        theirs = LinearSVC(C=0.3, tol=1e-3, random_state=0, dual=True).fit(x, labels == k)
        np.testing.assert_allclose(out["logits"][:, k], theirs.decision_function(x), atol=2e-2)
    assert (out["logits"].argmax(-1) == labels).all()


def test_pca_is_scikit_learns():
    x = np.random.default_rng(0).normal(size=(300, 128)).astype(np.float32)
    model = fisher.Model(num_classes=2, variant="bow", words=2, dims=4)
    found, theirs = fisher._words(model, x, 10, 0), PCA(4).fit(x)
    np.testing.assert_allclose((x[:9] - found["pca_mean"][None]) @ found["pca_components"].T, theirs.transform(x[:9]), atol=1e-3)


def test_a_pyramids_cells_are_its_rows_of_columns_and_each_has_length_1():
    image = jnp.zeros((1, 32, 32, 3)).at[:, 22:, :9].set(jax.random.uniform(jax.random.key(1), (1, 10, 9, 3)))  # below, on the left
    model = fisher.Model(num_classes=2, variant="bow", words=3, dims=4, cells=(2,), step=4, pyramid=("2x2",), norm="l2")
    variables = model.init(jax.random.key(0), {"image": image}, train=False)
    cells = model.apply(variables, {"image": image}, train=False)["features"].reshape(4, 3)
    np.testing.assert_allclose(jnp.linalg.norm(cells, axis=-1), 1, rtol=1e-5)
    flat = model.apply(variables, {"image": jnp.zeros((1, 32, 32, 3))}, train=False)["features"].reshape(4, 3)
    assert [bool(jnp.allclose(a, b)) for a, b in zip(cells, flat, strict=True)] == [True, True, False, True]


def test_padding_of_the_last_batch_is_no_example():
    pixels, labels = images()
    model = fisher.Model(num_classes=2, variant="bow", words=2, dims=4, cells=(2,), step=4)
    start = model.init(jax.random.key(0), {"image": pixels[:1]}, train=False)["params"]
    valid = np.arange(40) < 33
    whole = {"image": pixels[:33], "label": labels[:33], "valid": valid[:33]}
    padded = {"image": pixels, "label": np.where(valid, labels, 1), "valid": valid}
    fit = fisher.fit(model, {"image": pixels[:1]}, 33, samples=400)
    one, other = (fit(start, lambda batch=batch: iter([batch]), 0) for batch in (whole, padded))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), one, other)


def test_another_seed_is_another_fit(tmp_path):
    one, other = (fits(seed, tmp_path / str(seed)) for seed in (0, 1))
    assert not np.array_equal(one["means"], other["means"])


def fits(seed, folder):
    config = smoke()
    with config.unlocked():
        config.seed = seed
    train(config, folder)
    e = build(config)
    return checkpoint.restore_for_inference(folder, initial_state(e, restoring=True)[0], "latest")[0].params


def smoke(**model):
    config = configs.load("experiments/fisher_cifar10.py", "smoke")
    with config.unlocked():
        config.model.update(model)
    return config


def test_a_fit_is_one_step_and_a_finished_run_does_nothing(tmp_path):
    final = train(smoke(), tmp_path)
    rows = [row for row in lines(tmp_path / "metrics.jsonl") if "train/fit_seconds" in row]
    assert [row["step"] for row in rows] == [1] and rows[0]["train/top1"] > 0.2
    assert train(smoke(), tmp_path) == final


@pytest.mark.parametrize(
    "model, message",
    [
        (dict(variant="sift"), "no variant 'sift'"),
        (dict(norm="l1"), "no norm 'l1'"),
        (dict(dims=200), "PCA keeps from 1 to 128"),
        (dict(pyramid=("2",)), "write rows and columns as '2x2'"),
        (dict(pyramid=()), "pyramid is empty"),
        (dict(pyramid=("16x16",)), "a cell of pyramid '16x16' has no descriptor"),
        (dict(cells=(20,)), "needs 80 pixels, the image has 32"),
        (dict(words=10**6), "cannot be fitted to"),
    ],
)
def test_mistakes_before_the_fit(model, message):
    with pytest.raises(UserError, match=message):
        check_builds(build(smoke(**model)))


def test_probes_of_steps_are_refused():
    config = smoke()
    with config.unlocked():
        config.train.probes = ("gradients",)
    with pytest.raises(UserError, match="probe gradients looks at steps of training, but models/fisher.py is fitted in one"):
        build(config)


def test_what_a_fitted_model_has_no_use_for():
    config = smoke()
    with config.unlocked():
        config.train.duration = "3 epochs"
    with pytest.raises(UserError, match="is fitted in one step"):
        build(config)


def test_a_class_without_examples_is_told():
    with pytest.raises(ValueError, match="class number 2 has 0 of 4"):
        fisher._one_against_the_rest(np.array([0, 1, 1, 0]), 3)
