import keras
import numpy as np
import pytest
from keras import ops

from keras_wsol import models, viz
from keras_wsol.layers import ADL, DGDM
from keras_wsol.viz.channel_bars import PICKED_COLOR
from keras_wsol.viz.mask_cells import RAISED_COLOR, paint_mask
from tests.models.small import small_classifier

# Its longer side is the cell's, so that it is shown as it is.
IMAGE = np.random.default_rng(0).integers(1, 256, (40, 64, 3)).astype(np.uint8)


def place(picture, patch):
    """The one (row, column) at which `patch` lies in `picture`."""
    height, width = patch.shape[:2]
    candidates = np.argwhere((picture == patch[0, 0]).all(axis=-1))
    found = [
        (int(y), int(x))
        for y, x in candidates
        if np.array_equal(picture[y : y + height, x : x + width], patch)
    ]
    assert len(found) == 1, found
    return found[0]


def pooled_model(*layers, size=(40, 64)):
    """Means over 8 x 8 pixels, divided by 255, and then the layers."""
    images = keras.Input((*size, 3))
    x = keras.layers.AveragePooling2D(8)(keras.layers.Rescaling(1 / 255)(images))
    for layer in layers:
        x = layer(x)
    return keras.Model(images, x, name="pooled")


def pooled_attention(image):
    return image.reshape(5, 8, 8, 8, 3).mean(axis=(1, 3, 4)) / 255


def close_overlay(picture, corner, scores):
    """Whether the overlay of `scores` lies at a corner, to within one level."""
    expected = viz.overlay(IMAGE, scores, 0.55).astype(int)
    y, x = corner
    return np.abs(picture[y : y + 40, x : x + 64] - expected).max() <= 1


def test_columns_are_image_attention_importance_mask_and_output():
    got = viz.show_masks(pooled_model(ADL(drop_threshold=0.9)), IMAGE, cell_size=64)
    assert got.dtype == np.uint8
    attention = pooled_attention(IMAGE)
    kept = attention < 0.9 * attention.max()
    assert 1 < (~kept).sum() < 40
    top, left = place(got, IMAGE)
    # A column is a cell of 64 and a gap of a sixteenth of it.
    assert left == 4
    assert got.shape[1] == 6 * 68 + 4
    assert place(got, paint_mask(IMAGE, kept)) == (top, left + 3 * 68)
    assert close_overlay(got, (top, left + 68), attention / attention.max())
    importance = 2 / (1 + np.exp(-attention)) - 1
    assert close_overlay(got, (top, left + 2 * 68), importance)
    sharp = np.kron(kept * attention / attention.max(), np.ones((8, 8)))
    assert close_overlay(got, (top, left + 4 * 68), sharp)
    # ADL drops no channels.
    assert (got[top : top + 40, left + 5 * 68 : left + 5 * 68 + 64] == 245).all()


def test_rows_are_layers_in_order():
    one = pooled_model(ADL(drop_threshold=0.9))
    two = pooled_model(ADL(drop_threshold=0.9), ADL(drop_threshold=0.95))
    attention = pooled_attention(IMAGE)
    got = viz.show_masks(two, IMAGE, cell_size=64)
    first, second = (
        place(got, paint_mask(IMAGE, attention < share * attention.max()))
        for share in (0.9, 0.95)
    )
    assert first[0] + 40 < second[0]
    assert first[1] == second[1]
    step = second[0] - first[0]
    assert len(got) == len(viz.show_masks(one, IMAGE, cell_size=64)) + step


def test_words_name_the_layer_and_stay_within_the_page():
    long = "a_name_that_is_far_too_long_for_the_page_" * 5
    plain, named = (
        viz.show_masks(pooled_model(ADL(name=name)), IMAGE, cell_size=64)
        for name in ("a", long)
    )
    rows, columns = np.nonzero((plain != named).any(axis=-1))
    assert rows.max() < place(plain, IMAGE)[0]
    assert 4 <= columns.min() < columns.max() < plain.shape[1] - 4
    # Text in each caption, the columns apart from each other.
    below = plain[place(plain, IMAGE)[0] + 40 :][:14]
    for column in range(6):
        left = 4 + 68 * column
        assert (below[:, left : left + 64] < 200).any()
        assert (below[:, left + 65 : left + 67] == 255).all()


@pytest.mark.parametrize("method", ["adl", "cagd", "dfm", "dgdm", "sagd"])
def test_every_method_and_the_same_twice_with_the_model_as_it_was(method):
    model = small_classifier(method=method)
    variables = [ops.convert_to_numpy(v).copy() for v in model.variables]
    first, second = (viz.show_masks(model, IMAGE, cell_size=64) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    for before, after in zip(variables, model.variables, strict=True):
        np.testing.assert_array_equal(before, ops.convert_to_numpy(after))
    # The legend speaks of what is shown alone.
    legend = first[-20:]
    assert (legend == PICKED_COLOR).all(axis=-1).any() == (
        method in ("cagd", "dgdm", "dfm")
    )
    assert (legend == RAISED_COLOR).all(axis=-1).any() == (method == "dfm")
    localizer = models.Localizer(model)
    np.testing.assert_array_equal(viz.show_masks(localizer, IMAGE, cell_size=64), first)


def test_images_of_any_size_are_resized_for_the_model_and_kept_in_proportion():
    # Constant down each column, so that twice as high is the same to the model.
    image = np.broadcast_to(IMAGE[:1], (40, 64, 3))
    tall = np.broadcast_to(IMAGE[:1], (80, 64, 3))
    model = pooled_model(ADL(drop_threshold=0.9))
    got = viz.show_masks(model, tall, cell_size=80)
    attention = pooled_attention(image)
    kept = attention < 0.9 * attention.max()
    # 64 pixels wide in a column of 80.
    assert place(got, paint_mask(tall, kept))[1] == 5 + 8 + 3 * 85
    wide = viz.show_masks(model, image, cell_size=64)
    assert place(wide, paint_mask(image, kept))[1] == 4 + 3 * 68


def test_floats_are_as_good_as_bytes():
    model = pooled_model(DGDM())
    np.testing.assert_array_equal(
        viz.show_masks(model, IMAGE.astype("float64"), cell_size=64),
        viz.show_masks(model, IMAGE, cell_size=64),
    )


def test_models_without_such_layers_are_refused():
    message = "at least one layer of keras_wsol.layers, such as ADL. Received: a model"
    with pytest.raises(ValueError, match=message):
        viz.show_masks(pooled_model(), IMAGE)
    images = keras.Input((40, 64, 3))
    nested = keras.Model(images, pooled_model(ADL())(images))
    with pytest.raises(ValueError, match="Layers inside a model"):
        viz.show_masks(nested, IMAGE)
    with pytest.raises(ValueError, match="must be a functional Keras model"):
        viz.show_masks(keras.Sequential([ADL()]), IMAGE)


@pytest.mark.parametrize("shape", [(40, 64), (40, 64, 1), (40, 64, 4), (1, 40, 64, 3)])
def test_images_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"`image` must have shape \(H, W, 3\). Rec"):
        viz.show_masks(pooled_model(ADL()), np.zeros(shape))


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="finite numbers"):
        viz.show_masks(pooled_model(ADL()), np.full((40, 64, 3), np.nan))


@pytest.mark.parametrize("cell_size", [63, 64.0, True, "64"])
def test_cell_size_is_an_integer_from_64(cell_size):
    with pytest.raises(ValueError, match="`cell_size` must be an integer from 64"):
        viz.show_masks(pooled_model(ADL()), IMAGE, cell_size=cell_size)
