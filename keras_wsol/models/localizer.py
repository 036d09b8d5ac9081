"""From images to classes, score maps and boxes."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import ops

from keras_wsol.arguments import check_bool, check_integer, check_number, plain
from keras_wsol.boxes import largest_boxes, top_boxes
from keras_wsol.cam import score_maps
from keras_wsol.cam.split import Head, SplitModel
from keras_wsol.models.map_edges import check_guided_filter, follow_edges
from keras_wsol.models.score_map_table import SCORE_MAPS, Evidence, find_source
from keras_wsol.models.second_look import (
    ObjectCrop,
    check_second_look,
    mean_of_two_looks,
)


def resize_to_input(images: Any, size: tuple[int, int]) -> Any:
    """Resizes images, bilinear with half-pixel centres, antialiased."""
    images = ops.cast(images, "float32")
    if tuple(images.shape[1:3]) == tuple(size):
        return images
    return ops.image.resize(
        images,
        size,
        interpolation="bilinear",
        antialias=True,
        data_format="channels_last",
    )


def pixels_a_cell(images: Any, size: tuple[int, int]) -> Any:
    """Returns the scale from cells of a score map to pixels of the images."""
    _, height, width, _ = ops.shape(images)
    x = ops.cast(width, "float32") / size[1]
    y = ops.cast(height, "float32") / size[0]
    return ops.stack([x, y, x, y])


def map_boxes(
    maps: Any,
    cam_threshold: Any,
    max_boxes: int,
    scale: Any,
    static_shapes: bool = False,
) -> dict[str, Any]:
    """Finds the box of each map, and those of its components if asked for several."""
    count, *size = maps.shape[1:]
    flat = ops.reshape(maps, (-1, *size))
    several: dict[str, Any] = {}
    if max_boxes > 1:
        top = top_boxes(flat, cam_threshold, max_boxes, static_shapes=static_shapes)
        boxes = top["boxes"][:, 0]
        each = (-1, count, max_boxes)
        several = {
            "component_boxes": ops.reshape(top["boxes"], (*each, 4)) * scale,
            "component_scores": ops.reshape(top["mean_scores"], each),
            "num_components": ops.reshape(top["counts"], (-1, count)),
        }
    else:
        boxes = largest_boxes(flat, cam_threshold, static_shapes=static_shapes)
    boxes = ops.reshape(boxes, (-1, count, 4))
    valid = boxes[..., 2] > boxes[..., 0]
    return {"boxes": boxes * scale, "valid": valid, **several}


def _check_cam_threshold(localizer: Any, value: Any) -> int | float:
    """Returns the threshold as a number of Python, if it is one in [0, 1)."""
    value = check_number("cam_threshold", value)
    if value == 1:  # above the maximum there is no cell
        raise ValueError(
            "`cam_threshold` must be a number in [0, 1). Received: cam_threshold=1."
        )
    return value


def _check_top_k(localizer: Any, value: Any) -> int:
    """Returns how many classes to localize, if the localizer has as many."""
    most = localizer.head.num_classes
    expected = f"an integer of at least 1 and at most {most}, the number of classes"
    return check_integer("top_k", value, high=most, expected=expected)


def _check_max_boxes(localizer: Any, value: Any) -> int:
    """Returns how many boxes to give of each map, if it is at least one."""
    return check_integer("max_boxes", value, expected="an integer of at least 1")


# Each takes the localizer and a value, and returns the value to keep or raises.
_CHECKS: dict[str, Callable[[Any, Any], Any]] = {
    "cam_threshold": _check_cam_threshold,
    "top_k": _check_top_k,
    "max_boxes": _check_max_boxes,
}


def changeable(name: str) -> property:
    """Returns a setting that can be set again."""
    check = _CHECKS[name]

    def change(localizer: Any, value: Any) -> None:
        setattr(localizer, f"_{name}", check(localizer, value))
        # What `predict` and `evaluate` have compiled holds the value before. Keras
        # makes both anew, on each backend from functions that are new themselves.
        localizer.predict_function = localizer.test_function = None

    return property(_reader(name), change)


def fixed(name: str) -> property:
    """Returns a setting that is given once, as much else is made of it."""

    def refuse(localizer: Any, value: Any) -> None:
        raise AttributeError(
            f"`{name}` of a localizer cannot be changed: make another one, "
            f"`Localizer(model, {name}=...)`. Received: {name}={value!r}."
        )

    return property(_reader(name), refuse)


def _reader(name: str) -> Callable[[Any], Any]:
    def read(localizer: Any) -> Any:
        value = getattr(localizer, f"_{name}")
        # A copy: what is written into it would be neither checked nor used.
        return dict(value) if isinstance(value, dict) else value

    return read


@keras.saving.register_keras_serializable(package="keras_wsol")
class Localizer(keras.Model):
    """Reads classes, score maps and boxes from a trained classifier.

    The class activation map of each chosen class, or another map, is resized to the
    model's input size (bilinear), scaled to [0, 1], cut at `cam_threshold`, and the
    bounding box of the largest 8-connected component is the box, in pixels of the
    given images.

    A saved localizer is loaded by `keras.saving.load_model` once this room has been
    imported (`from keras_wsol import models`), which tells Keras its classes.

    Each argument but `model` is an attribute. `cam_threshold`, `top_k` and `max_boxes`
    can be set again; for another of the rest, make another localizer.

    Args:
        model: A functional classifier with a fixed input size. If its last layers are
            global average pooling and one `Dense`, as in those of
            `build_classifier`, every map can be read without a `layer`.
        cam_threshold: Float in [0, 1). Cells of the score map above this share of
            its maximum belong to the object. Default 0.2 [paper of CAM]. Tune it
            on a few images with boxes: it matters more than the method.
        top_k: Integer, how many classes to localize when none are given.
        score_map: What the map is made of; each is a function of `cam` with its paper.
            Class weights of the head: `"cam"`. Gradients: `"grad_cam"`,
            `"grad_cam_pp"`, `"x_grad_cam"`, `"layer_cam"`, `"hires_cam"`: the deeper
            the layer the cheaper; exported, SavedModel only. A thousand or more masked
            images through the network for each image: `"score_cam"`. Features alone,
            one map for all classes: `"eigen_cam"`, `"channel_mean"` (SCDA), `"ddt"`,
            `"foreground"`.
        max_boxes: Integer. Above 1, the boxes of that many components are given,
            too.
        layer: Name of the layer whose features are read, for every map but `"cam"`;
            also one inside a model that is a layer. Default: what the pooling of the
            head reads.
        map_options: Options of the map: `"relu"` where it has one;
            `"negative_weights"` of `"cam"`; `"batch_size"` and `"baseline"` of
            `"score_cam"`; `"component"` of `"ddt"`, which `fit_component` finds;
            `"discriminant"` of `"foreground"`, which `fit_foreground` finds.
        second_look: Boolean. Whether classes and scores are of the mean of two
            softmaxes, of the image at the model's input size and of the crop of the
            box found in it (of the most probable class), as in Hu et al., 2019
            ("coarse-to-fine"). Maps and boxes are those of the image. Twice the time.
            Default false. On CUB-40 it took Top-1 Loc of three MobileNetV1, read by
            their foreground map at 256 px, from 61.8 to 64.3 (+2.5, 95 % interval +0.1
            to +4.9), and of three frozen MobileNetV2 from 67.2 to 67.3 (rows
            `...-second-look` of `examples/results/study-cub40.csv`).
        second_look_options: `"cam_threshold"` (0.2), where the box of the crop is cut
            whatever the localizer's `cam_threshold` is, and `"margin"` (0.1), the share
            of its sides that is added on each side.
        guided_filter: Boolean. Whether each score map becomes its mean with its
            `cam.guided_filter`, so that its edges follow those of the image. Tune
            `cam_threshold` anew with it. Default false. On CUB-40 it took MaxBoxAccV2
            of three MobileNetV1, read by their foreground map at 256 px with
            `relu=False`, from 79.7 to 82.7, Top-1 Loc from 62.6 to 64.0 (+1.4, -0.6 to
            +3.5; with `relu=True` and without it, 61.8). A frozen MobileNetV2 lost 1.4
            (-3.1 to +0.3; rows `...-guided` of the same file), and class activation
            maps did not gain on held-out images. A call takes 1.15 times as long (8
            images of 224 px, MobileNetV1, two CPU cores).
        guided_filter_options: `"strength"` (0.5), the share of the filtered map, and
            `"radius"`, `"epsilon"` and `"step"` of `cam.guided_filter`.
        **kwargs: Passed on to `keras.Model` (`name`).

    Call arguments:
        images: `(B, H, W, 3)` in [0, 255], floats or unsigned bytes, of any size:
            they are resized inside (bilinear, antialiased).
        class_ids: Optional integers `(B,)` or `(B, K)`: the classes to localize
            instead of the `top_k` predicted ones. A class that does not exist, such as
            the -1 of an unreadable image, gets an empty map and score 0.
        cam_threshold: Optional scalar, instead of the model's own.
        training: Ignored: the classifier always runs in inference mode.
        static_shapes: Boolean. Whether boxes come from the algorithm of
            `boxes.largest_boxes` that XLA and LiteRT can compile. Default false.

    Returns:
        A dictionary with `K` classes an image, best first:
        `"class_ids"` `(B, K)` int32; `"scores"` `(B, K)` softmax probability;
        `"boxes"` `(B, K, 4)` float32 x0, y0, x1, y1 in pixels of the given images,
        far edge exclusive; `"score_maps"` `(B, K, h, w)` float32 in [0, 1] at the
        model's input size; `"valid"` `(B, K)` boolean, false where the map is
        empty and the box zero. With `max_boxes` above 1 also `"component_boxes"`
        `(B, K, max_boxes, 4)`, largest first, padded with zeros,
        `"component_scores"` `(B, K, max_boxes)`, the mean of the score map over
        the component, and `"num_components"` `(B, K)` int32, how many of these
        boxes are filled.

    Raises:
        TypeError: An argument has another type than it must have.
        ValueError: The model has no such head or layer, no fixed input size, or an
            argument is out of range.

    Example:
    >>> from keras_wsol.models import build_classifier
    >>> model = build_classifier("mobilenet", "cam", 5, weights=None,
    ...                          input_shape=(64, 96, 3),
    ...                          backbone_options={"alpha": 0.25})
    >>> out = Localizer(model, top_k=2)(keras.ops.zeros((1, 40, 50, 3)))
    >>> tuple(out["boxes"].shape), tuple(out["score_maps"].shape)
    ((1, 2, 4), (1, 2, 64, 96))
    """

    cam_threshold = changeable("cam_threshold")
    top_k = changeable("top_k")
    max_boxes = changeable("max_boxes")
    score_map = fixed("score_map")
    layer = fixed("layer")
    map_options = fixed("map_options")
    second_look = fixed("second_look")
    second_look_options = fixed("second_look_options")
    guided_filter = fixed("guided_filter")
    guided_filter_options = fixed("guided_filter_options")

    def __init__(
        self,
        model: keras.Model,
        cam_threshold: float = 0.2,
        top_k: int = 1,
        score_map: str = "cam",
        max_boxes: int = 1,
        layer: str | None = None,
        map_options: Mapping[str, Any] | None = None,
        second_look: bool = False,
        second_look_options: Mapping[str, float] | None = None,
        guided_filter: bool = False,
        guided_filter_options: Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        # Images in [0, 255] do not survive a cast to float16 on the way in.
        super().__init__(**{"name": "localizer", **kwargs, "dtype": "float32"})
        options = dict(map_options or {})
        map_options = {name: plain(value) for name, value in options.items()}
        self._source = find_source(model, score_map, layer, map_options)
        check_bool("second_look", second_look)
        look = check_second_look(second_look_options)
        check_bool("guided_filter", guided_filter)
        self.model = model
        self.cam_threshold = cam_threshold
        self.top_k = top_k
        self.max_boxes = max_boxes
        self._score_map = score_map
        self._layer = layer
        self._map_options = map_options
        self._second_look = second_look
        self._second_look_options = look
        self._guided_filter = guided_filter
        self._guided_filter_options = check_guided_filter(guided_filter_options)
        # Not made where it is not used: XLA leaves out every model that holds one.
        self._crop = ObjectCrop(**look) if second_look else None
        self.input_size = tuple(model.input_shape[1:3])
        self.built = True
        if keras.backend.backend() == "tensorflow":
            # There, boxes come from an algorithm whose shapes depend on the values,
            # which XLA cannot compile; Keras would try on a GPU.
            self.jit_compile = False

    @property
    def head(self) -> Head | SplitModel:
        """Where features and logits come from, and the number of classes."""
        return self._source

    def call(
        self,
        images: Any,
        class_ids: Any = None,
        cam_threshold: Any = None,
        training: bool = False,
        static_shapes: bool = False,
    ) -> dict[str, Any]:
        images = ops.convert_to_tensor(images)
        found = self.find_maps(images, class_ids, static_shapes)
        maps = found["score_maps"]
        class_ids, exists = self._existing(found["class_ids"])
        scores = ops.take_along_axis(ops.softmax(found["logits"]), class_ids, axis=1)
        return {
            "class_ids": found["class_ids"],
            "scores": ops.where(exists, scores, 0.0),
            "score_maps": maps,
            **map_boxes(
                maps,
                self.cam_threshold if cam_threshold is None else cam_threshold,
                self.max_boxes,
                pixels_a_cell(images, self.input_size),
                static_shapes,
            ),
        }

    def find_maps(
        self,
        images: Any,
        class_ids: Any = None,
        static_shapes: bool = False,
        second_look: bool = True,
    ) -> dict[str, Any]:
        """Returns logits and score maps; boxes are found for a second look alone.

        Args:
            images: As in the call.
            class_ids: As in the call.
            static_shapes: As in the call.
            second_look: Boolean. Whether to take a second look, if the localizer takes
                one: the maps of given classes do not need it.

        Returns:
            A dictionary: `"logits"` `(B, num_classes)`, with a second look the
            logarithm of the mean of both softmaxes, `"class_ids"` `(B, K)` int32 and
            `"score_maps"` `(B, K, h, w)`.
        """
        images, features, logits, around = self._forward(images)

        def maps_of(class_ids: Any) -> Any:
            seen = Evidence(
                source=self._source,
                images=images,
                features=features,
                around=around,
                class_ids=class_ids,
            )
            cams = SCORE_MAPS[self.score_map].maps(seen, **self.map_options)
            maps = score_maps(cams, self.input_size)
            if not self.guided_filter:
                return maps
            return follow_edges(maps, images, **self.guided_filter_options)

        if self.second_look and second_look:
            best = ops.cast(ops.argmax(logits, axis=1, keepdims=True), "int32")
            crops = self._crop(images, maps_of(best)[:, 0], static_shapes=static_shapes)
            logits = mean_of_two_looks(logits, self._forward(crops)[2])
        if class_ids is None:
            class_ids = ops.top_k(logits, self.top_k)[1]
        class_ids = ops.cast(class_ids, "int32")
        if len(class_ids.shape) == 1:
            class_ids = class_ids[:, None]
        chosen, exists = self._existing(class_ids)
        # Repeats a map that is the same for all classes.
        maps = ops.where(exists[..., None, None], maps_of(chosen), 0.0)
        return {"logits": logits, "class_ids": class_ids, "score_maps": maps}

    def features(self, images: Any) -> tuple[Any, Any]:
        """Returns what score maps are read from, and looks for none.

        Args:
            images: As in the call.

        Returns:
            Features `(B, h, w, C)` and logits `(B, num_classes)` of the first look,
            both float32.
        """
        _, features, logits, _ = self._forward(images)
        return ops.cast(features, "float32"), logits

    def _forward(self, images: Any) -> tuple[Any, Any, Any, list[Any]]:
        images = ops.convert_to_tensor(images)
        images = resize_to_input(images, self.input_size)
        features, logits, *around = self._source.network(images, training=False)
        return images, features, ops.cast(logits, "float32"), around

    def _existing(self, class_ids: Any) -> tuple[Any, Any]:
        """Class ids with 0 for those out of range, and which of them exist."""
        # Not by `clip`: between 0 and 6 LiteRT's converter takes it for a ReLU6.
        exists = ops.logical_and(class_ids >= 0, class_ids < self._source.num_classes)
        return ops.where(exists, class_ids, 0), exists

    def get_config(self) -> dict[str, Any]:
        model = keras.saving.serialize_keras_object(self.model)
        # A localizer does not train: whoever loads it needs no optimizer of ours.
        model.pop("compile_config", None)
        return {
            "name": self.name,
            "model": model,
            "cam_threshold": self.cam_threshold,
            "top_k": self.top_k,
            "score_map": self.score_map,
            "max_boxes": self.max_boxes,
            "layer": self.layer,
            "map_options": keras.saving.serialize_keras_object(self.map_options),
            "second_look": self.second_look,
            "second_look_options": self.second_look_options,
            "guided_filter": self.guided_filter,
            "guided_filter_options": self.guided_filter_options,
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> "Localizer":
        objects = {
            name: keras.saving.deserialize_keras_object(
                config[name], custom_objects=custom_objects
            )
            for name in ("model", "map_options")
            if name in config  # files of the first version have no options
        }
        return cls(**{**config, **objects})
