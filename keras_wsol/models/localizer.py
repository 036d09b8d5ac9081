"""From images to classes, score maps and boxes."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from keras_wsol.arguments import check_choice, check_integer, check_number, check_texts
from keras_wsol.boxes import largest_boxes, top_boxes
from keras_wsol.cam import score_maps
from keras_wsol.cam.by_class import check_classes
from keras_wsol.cam.score_map import Evidence, look, own_threshold, score_map_of
from keras_wsol.data.images import check_view
from keras_wsol.models import localizer_batches as batches
from keras_wsol.models.localizer_batches import probabilities
from keras_wsol.models.methods.method import as_read
from keras_wsol.models.tune import (
    TunedThreshold,
    best_threshold,
    check_not_test,
    ious_by_image,
    tuned_on,
)


@keras.saving.register_keras_serializable(package="keras_wsol")
class Localizer(keras.Model):
    """Reads classes, score maps and boxes from a trained classifier.

    The score map of each class is resized to the model's input size, scaled to [0, 1]
    and cut at `cam_threshold`; the box is that of the largest 8-connected component.
    All arguments but `model` can be set again as attributes. A new `score_map` drops
    the notes; it moves `cam_threshold` to its own if it was the own one of the map
    before. `predict`, `predict_on_batch` and `evaluate` take batches as the call does.

    Args:
        model: A functional classifier with a fixed input size. Without a `layer`, score
            maps need it to end in global average pooling and one `Dense` layer. One
            logit of `build_classifier(num_classes=1)` will do for a score map that is
            the same for every class: the class is then 0, its score 1.
        cam_threshold: Float in [0, 1), or None. Cells above this share of the maximum
            belong to the object; see `tune`. Default None, that of the score map: a
            `ValueError` if it has none, such as with `relu=False`.
        top_k: Integer. How many classes to localize when none are given. Default 1.
        score_map: A score map of `keras_wsol.cam`, or its name in `cam.SCORE_MAPS`.
            Default None, that of the method that the model trains with, or `"cam"`.
        max_boxes: Integer. How many connected components have boxes. Default 1.
        min_share: Float in [0, 1]. Components beside the largest one have boxes from
            this share of its cells on. Default 0.3 [ours].
        notes: Mapping of strings, saved and exported: how the threshold was chosen
            (`"threshold"`, by `tune`), and what else there is to know.
        **kwargs: Passed on to `keras.Model` (`name`).

    Call arguments:
        inputs: Images `(B, H, W, 3)` of any size in [0, 255]; or a dictionary with
            `"images"` and, optionally, `"class_ids"`. Other keys are ignored.
        class_ids: Optional integers `(B,)` or `(B, K)`. Classes to localize instead of
            the predicted ones; one that does not exist has an empty map and score 0.
        cam_threshold: Optional scalar, instead of the localizer's own.
        training: Ignored: the classifier always runs in inference mode.
        static_shapes: Boolean. Whether boxes come from the algorithm of
            `boxes.largest_boxes` that XLA, LiteRT and ONNX can have. Default False.

    Returns:
        A dictionary: `"class_ids"` `(B, K)`, best first; `"scores"` `(B, K)`, softmax;
        `"boxes"` `(B, K, 4)`, x0, y0, x1, y1 in pixels of the given images, far edge
        exclusive; `"score_maps"` `(B, K, h, w)`; `"valid"` `(B, K)`, false where the
        map is empty and the box zero; `"logits"` `(B, num_classes)`. With `max_boxes`
        above 1, also `"component_boxes"` `(B, K, max_boxes, 4)`, largest first, padded
        with zeros, `"component_scores"` `(B, K, max_boxes)`, the class's score times
        the component's share of the largest one's cells, and `"num_components"`
        `(B, K)`, how many of these boxes are filled.

    Example:
    >>> from keras_wsol.models import build_classifier
    >>> model = build_classifier("mobilenet", "cam", 5, weights=None,
    ...                          input_shape=(64, 96, 3),
    ...                          backbone_options={"alpha": 0.25})
    >>> out = Localizer(model, top_k=2)({"images": keras.ops.zeros((1, 40, 50, 3))})
    >>> tuple(out["boxes"].shape), tuple(out["score_maps"].shape)
    ((1, 2, 4), (1, 2, 64, 96))
    """

    # What can be set again, beside `score_map`, and how it is checked.
    _settings: ClassVar[dict[str, Callable[..., Any]]] = {
        "cam_threshold": lambda own, name, value: check_share_below_1(
            name, own_threshold(own.score_map) if value is None else value
        ),
        "top_k": lambda own, *given: check_integer(*given, high=own.num_classes),
        "max_boxes": lambda _, *given: check_integer(*given),
        "min_share": lambda _, *given: check_number(*given),
        "notes": lambda _, *given: check_texts(*given),
    }

    def __init__(
        self,
        model: keras.Model,
        cam_threshold: float | None = None,
        top_k: int = 1,
        score_map: Any = None,
        max_boxes: int = 1,
        min_share: float = 0.3,
        notes: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        # Images in [0, 255] do not survive a cast to float16 on the way in.
        super().__init__(**{"name": "localizer", **kwargs, "dtype": "float32"})
        self.model, self.score_map = as_read(model, score_map)
        self.cam_threshold = cam_threshold
        self.top_k = top_k
        self.max_boxes = max_boxes
        self.min_share = min_share
        self.notes = notes
        self._measures: list[keras.metrics.Metric] = []
        self.built = True
        if keras.backend.backend() == "tensorflow":
            # There, boxes come from an algorithm whose shapes depend on the values,
            # which XLA cannot compile; Keras would try on a GPU.
            self.supports_jit = False

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "model" and "_split" in vars(self):
            raise AttributeError(
                "`model` cannot be set again: make a new "
                f"{type(self).__name__}. Received: model={value!r}."
            )
        if name == "score_map":
            value = score_map_of(value)
            split = value.split(self.model)
            if "_split" in vars(self):
                if self.cam_threshold == self.score_map.cam_threshold:
                    self.cam_threshold = own_threshold(value)
                self.notes = None
            self._split = split
        elif name in self._settings:
            value = self._settings[name](self, name, value)
        if name == "score_map" or name in self._settings:
            # What `predict` and `evaluate` have compiled holds the value before.
            self.predict_function = self.test_function = None
        if name == "cam_threshold" and "threshold" in getattr(self, "notes", {}):
            self.notes = {k: v for k, v in self.notes.items() if k != "threshold"}
        super().__setattr__(name, value)

    @property
    def num_classes(self) -> int:
        return self._split.num_classes

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the score maps, the input size of the classifier."""
        return self._split.input_size

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        return super().__call__(batches.called_with(inputs), *args, **kwargs)

    def call(
        self,
        inputs: Any,
        class_ids: Any = None,
        cam_threshold: Any = None,
        training: bool = False,
        static_shapes: bool = False,
    ) -> dict[str, Any]:
        images = inputs["images"] if isinstance(inputs, Mapping) else inputs
        if isinstance(inputs, Mapping) and class_ids is None:
            class_ids = inputs.get("class_ids")
        images, count = ops.convert_to_tensor(images), None
        if not (images.shape[0] or static_shapes):
            count = ops.shape(images)[0]
            images, class_ids = batches.not_empty(images), batches.not_empty(class_ids)
        found = self.find_maps(images, class_ids, static_shapes)
        chosen, exists = self._existing(found["class_ids"])
        scores = ops.take_along_axis(probabilities(found["logits"]), chosen, axis=1)
        found["scores"] = ops.where(exists, scores, 0.0)
        cut = self.cam_threshold if cam_threshold is None else cam_threshold
        found |= self._boxes(found, images, cut, static_shapes)
        return {name: value[:count] for name, value in found.items()}

    def find_maps(
        self, images: Any, class_ids: Any = None, static_shapes: bool = False
    ) -> dict[str, Any]:
        """Returns the call's `"logits"`, `"class_ids"`, `"score_maps"`: no boxes."""
        evidence = self._look(images, static_shapes)
        if class_ids is None:
            class_ids = ops.top_k(evidence.logits, self.top_k)[1]
        elif self.num_classes == 1:  # for such a model, all objects are of one class
            class_ids = ops.minimum(class_ids, 0)
        class_ids = ops.cast(class_ids, "int32")
        if len(class_ids.shape) == 1:
            class_ids = class_ids[:, None]
        chosen, exists = self._existing(class_ids)
        # Repeats a map that is the same for all classes.
        maps = ops.where(exists[..., None, None], self._maps(evidence, chosen), 0.0)
        return {"logits": evidence.logits, "class_ids": class_ids, "score_maps": maps}

    def _look(self, images: Any, static_shapes: bool) -> Evidence:
        return look(self._split, images)

    def _maps(self, evidence: Evidence, class_ids: Any) -> Any:
        """Score maps `(B, K, h, w)` in [0, 1], or `(B, 1, h, w)`."""
        maps = self.score_map.maps(replace(evidence, class_ids=class_ids))
        return score_maps(maps, self.input_size)

    def _existing(self, class_ids: Any) -> tuple[Any, Any]:
        """Class ids with 0 for those out of range, and which of them exist."""
        # Not by `clip`: between 0 and 6 LiteRT's converter takes it for a ReLU6.
        exists = ops.logical_and(class_ids >= 0, class_ids < self.num_classes)
        return ops.where(exists, class_ids, 0), exists

    def _boxes(
        self, found: Any, images: Any, cam_threshold: Any, static_shapes: bool
    ) -> dict[str, Any]:
        """Boxes in pixels of the images, also of components if asked for several."""
        maps = found["score_maps"]
        count, *size = maps.shape[1:]
        _, height, width, _ = ops.shape(images)
        x = ops.cast(width, "float32") / size[1]
        y = ops.cast(height, "float32") / size[0]
        scale = ops.stack([x, y, x, y])
        flat = ops.reshape(maps, (-1, *size))
        several: dict[str, Any] = {}
        if self.max_boxes > 1:
            each = (-1, count, self.max_boxes)
            options = {"min_share": self.min_share, "static_shapes": static_shapes}
            top = top_boxes(flat, cam_threshold, self.max_boxes, **options)
            boxes, areas = top["boxes"][:, 0], ops.cast(top["areas"], "float32")
            shares = ops.reshape(areas / ops.maximum(areas[:, :1], 1.0), each)
            several = {
                "component_boxes": ops.reshape(top["boxes"], (*each, 4)) * scale,
                "component_scores": found["scores"][..., None] * shares,
                "num_components": ops.reshape(top["counts"], (-1, count)),
            }
        else:
            boxes = largest_boxes(flat, cam_threshold, static_shapes=static_shapes)
        boxes = ops.reshape(boxes, (-1, count, 4))
        valid = boxes[..., 2] > boxes[..., 0]
        return {"boxes": boxes * scale, "valid": valid, **several}

    def tune(
        self,
        held_out: Any,
        criterion: str = "mean_iou",
        *,
        view: str = "whole",
        batch_size: int = 32,
        num_thresholds: int = 1000,
        draws: int = 1000,
        seed: int = 0,
        allow_test: bool = False,
        verbose: bool | str = "auto",
    ) -> TunedThreshold:
        """Chooses `cam_threshold` on a few images with boxes, and sets it.

        At each threshold, the box of the true class is compared with the true boxes of
        its image. About 30 images are a beginning, 100 are better.

        Args:
            held_out: An `ImageDataset` with boxes, or batches as `evaluate` takes. None
                of the images may be measured on later.
            criterion: `"mean_iou"`, which wavers less with few images, or
                `"gt_known_loc"`. Default `"mean_iou"`.
            view: `"whole"` or `"center_crop"`, as in `evaluation.evaluate`. Batches are
                taken to show the whole image. Default `"whole"`.
            batch_size: Integer. Default 32.
            num_thresholds: Integer. How many thresholds in [0, 1). Default 1000.
            draws: Integer. How often the bootstrap draws. Default 1000.
            seed: Integer. Seed of the bootstrap. Default 0.
            allow_test: Boolean. Whether to accept a split called "test". Default False.
            verbose: Boolean. Whether to show a progress bar. Default `"auto"`, in a
                terminal or notebook.

        Returns:
            The threshold and how well it is known.

        Raises:
            ValueError: The classes of a data set are not those of the model, and the
                score map needs them, or it is of a test split.
        """
        check_choice("criterion", criterion, ("mean_iou", "gt_known_loc"))
        check_view(view)
        check_integer("num_thresholds", num_thresholds)
        check_integer("draws", draws)
        if not allow_test:
            check_not_test(held_out, "thresholds")
        if self.score_map.needs_class:
            check_classes(held_out, self.model, self.num_classes)
        thresholds = np.linspace(0, 1, num_thresholds, endpoint=False, dtype="float32")
        ious = ious_by_image(self, held_out, thresholds, view, batch_size, verbose)
        tuned = best_threshold(ious, thresholds, criterion, draws, seed)
        self.cam_threshold = tuned.cam_threshold
        self.notes = {**self.notes, "threshold": tuned_on(held_out, tuned)}
        return tuned

    def export(self, *_: Any, **__: Any) -> None:
        """Refuses Keras' export, whose files are broken or give other boxes."""
        raise NotImplementedError("Export by `export_saved_model` of keras_wsol.export")

    def compile(
        self, metrics: Sequence[keras.metrics.Metric] = (), **kwargs: Any
    ) -> None:
        """Sets the metrics of `evaluate`, which are not saved.

        Args:
            metrics: Metrics of `keras_wsol.metrics`, or others whose `update_state`
                takes a batch and the output of a localizer for its images and true
                `class_ids`.
            **kwargs: Passed on to `keras.Model.compile` (`run_eagerly`).
        """
        self._measures = batches.checked_metrics(metrics, self.num_classes)
        super().compile(**{"optimizer": None, **kwargs})

    def get_compile_config(self) -> dict[str, Any]:
        return {}

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The metrics of `compile`; there is no loss."""
        return list(self._measures)

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        return ops.zeros(())

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        if self.num_classes == 1:
            x = {**x, "class_ids": ops.minimum(x["class_ids"], 0)}
        for metric in self._measures:
            metric.update_state(x, y_pred)
        return self.get_metrics_result()

    def evaluate(self, x: Any, **kwargs: Any) -> Any:
        """Measures batches, such as `test.batches(32, with_boxes=True)`.

        Args:
            x: Batches, any iterable of dictionaries with `"images"`, `"class_ids"` and
                `"boxes"`; or one such dictionary of arrays that hold the whole split.
            **kwargs: Passed on to `keras.Model.evaluate` (`verbose`, `return_dict`).

        Returns:
            One number a metric, by name with `return_dict=True`.
        """
        if not self.compiled:  # on PyTorch, Keras would miss the optimizer instead
            raise ValueError("You must call `compile()` before `evaluate()`.")
        return super().evaluate(batches.cleaned(x, batches.measured_with), **kwargs)

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Localizes images or a dictionary as in the call, or batches of either."""
        return super().predict(batches.cleaned(x, batches.called_with), *args, **kwargs)

    def predict_on_batch(self, x: Any) -> dict[str, Any]:
        """Localizes one batch of images, or one dictionary as in the call."""
        return super().predict_on_batch(batches.called_with(x))

    def get_config(self) -> dict[str, Any]:
        model = keras.saving.serialize_keras_object(self.model)
        # A localizer does not train: whoever loads it needs no optimizer of ours.
        model.pop("compile_config", None)
        return {
            "name": self.name,
            "model": model,
            "cam_threshold": self.cam_threshold,
            "top_k": self.top_k,
            "score_map": keras.saving.serialize_keras_object(self.score_map),
            "max_boxes": self.max_boxes,
            "min_share": self.min_share,
            "notes": dict(self.notes),
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> "Localizer":
        objects = {
            name: keras.saving.deserialize_keras_object(
                config[name], custom_objects=custom_objects
            )
            for name in ("model", "score_map")
        }
        return cls(**{**config, **objects})


def check_share_below_1(name: str, value: Any) -> float:
    """Returns `value` if it is a number in [0, 1): no cell is above the maximum."""
    below_1 = math.nextafter(1.0, 0.0)
    return check_number(name, value, high=below_1, expected="a number in [0, 1)")
