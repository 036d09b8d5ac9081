"""What a method adds to a classifier, and the model that trains with it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, ClassVar

import keras
from keras import ops

from keras_wsol.cam.split import node_of
from keras_wsol.models.parts import Logits, check_class_names
from keras_wsol.models.splice import derive_seed

_SIDES = "head_sides"


@dataclass(frozen=True, kw_only=True)
class Trunk:
    """A backbone while its classifier is being built, for the hooks of a method.

    Attributes:
        outputs: Name of each layer that has been called to its output.
        places: Names of the layers after which the method acts.
        num_classes, class_names, seed: As in `build_classifier`.
        sides: Name to tensor: what hooks put there for `Method.loss` and score maps.
        copy_stage: Function of a place, a tensor and a prefix: calls copies of the
            layers after the place, up to the last features, on the tensor. They start
            with the weights of their originals where those carry over.
    """

    outputs: Mapping[str, Any]
    places: tuple[str, ...]
    num_classes: int
    class_names: Any
    seed: int
    sides: dict[str, Any] = field(default_factory=dict)
    copy_stage: Callable[[str, Any, str], Any]

    def only_place(self) -> str:
        """The place of a method that acts after one layer."""
        return self.exact_places("one layer", 1)[0]

    def exact_places(self, expected: str, count: int) -> tuple[str, ...]:
        """The places of a method that acts after so many layers."""
        if len(self.places) != count:
            needs = f"`drop_after` must name {expected} for this method"
            raise ValueError(
                f"{needs if count else 'This method takes no `drop_after`'}. Received: "
                f"drop_after={list(self.places)}."
            )
        return self.places

    def conv(
        self, name: str, filters: int, size: int = 3, **arguments: Any
    ) -> keras.layers.Layer:
        """Makes a convolution that keeps the size, its weights drawn by its name."""
        draw = derive_seed(self.seed, name)
        initializer = keras.initializers.HeNormal(draw)
        arguments = {"kernel_initializer": initializer, "padding": "same", **arguments}
        return keras.layers.Conv2D(filters, size, name=name, **arguments)

    def logits(self, name: str = "head_logits", units: int | None = None) -> Logits:
        """Makes a float32 `Dense` layer, of one unit a class unless told."""
        draw = derive_seed(self.seed, name.removesuffix("_logits"))
        return Logits(
            self.num_classes if units is None else units,
            class_names=self.class_names if units is None else None,
            kernel_initializer=keras.initializers.GlorotUniform(draw),
            dtype="float32",
            name=name,
        )

    def pooled(self, maps: Any, name: str = "head_pool") -> Any:
        """Averages maps over their cells, in float32."""
        pool = keras.layers.GlobalAveragePooling2D(name=name, dtype="float32")
        return pool(maps)


@dataclass(frozen=True, kw_only=True)
class Truth:
    """The labels of a batch, for the losses of a method.

    Attributes:
        class_ids: Integers `(B,)`.
        cross_entropy: Function of logits `(B, num_classes)` to the loss that the model
            was compiled with, a number for each image.
        shuffled: Function of integers `(B,)` to the truth of the images in this order.
    """

    class_ids: Any
    cross_entropy: Callable[[Any], Any]
    shuffled: Callable[[Any], "Truth"]

    def channel(self, values: Any) -> Any:
        """Of values `(B, ..., num_classes)` those of the true class, `(B, ...)`."""
        ids = ops.reshape(self.class_ids, (-1, *[1] * (len(values.shape) - 1)))
        return ops.squeeze(ops.take_along_axis(values, ids, axis=-1), axis=-1)


class Method:
    """Base of the methods: what is done beside the plain classifier, by four hooks.

    A method is a frozen dataclass. Each hook is optional. Methods that only insert a
    layer need no class: `build_classifier` takes the layer.

    Attributes:
        reads: Names of the sides that `loss` is given, beside `"logits"`.
        keeps: Names of those that the score map reads; the rest is for training alone.
        head_convolutions: Number of 3x3x1024 convolutions in front of the head; None,
            that of the backbone's row.

    Example:
    >>> from keras_wsol.models import build_classifier
    >>> @keras.saving.register_keras_serializable(package="mine")
    ... @dataclass(frozen=True)
    ... class Sparse(Method):
    ...     weight: float = 0.1
    ...     reads = ("features",)
    ...     def head(self, trunk, features):
    ...         trunk.sides["features"] = features
    ...         return super().head(trunk, features)
    ...     def loss(self, model, sides, truth):
    ...         size = ops.mean(ops.abs(sides["features"]), axis=(1, 2, 3))
    ...         return self.weight * size
    >>> model = build_classifier("mobilenet", Sparse(), 5, weights=None,
    ...                          input_shape=(64, 96, 3),
    ...                          backbone_options={"alpha": 0.25})
    >>> loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    >>> model.compile("sgd", loss)
    """

    reads: ClassVar[tuple[str, ...]] = ()
    keeps: ClassVar[tuple[str, ...]] = ()
    head_convolutions: ClassVar[int | None] = None

    def images(self, trunk: Trunk, images: Any) -> Any:
        """Changes normalized images; training only, as a layer sees to."""
        return images

    def following(self, trunk: Trunk, place: str) -> list[Any]:
        """Functions that make the layers which follow a place."""
        return []

    def head(self, trunk: Trunk, features: Any) -> Any:
        """Turns the last features into logits `(B, num_classes)`."""
        return trunk.logits()(trunk.pooled(features))

    def loss(self, model: "MethodModel", sides: Mapping[str, Any], truth: Truth) -> Any:
        """Returns what is added to the compiled loss, a number for each image."""
        return ops.zeros_like(truth.class_ids, dtype="float32")

    def score_map(self) -> Any:
        """The score map that the method's authors read, or its name."""
        return "cam"

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Method":
        """Makes the method of a configuration."""
        lists = {name: tuple(v) for name, v in config.items() if isinstance(v, list)}
        return cls(**{**config, **lists})


@keras.saving.register_keras_serializable(package="keras_wsol")
class Sides(keras.layers.Layer):
    """Passes logits on, and keeps in the graph what a method computes beside them."""

    passes_logits = True  # for who reads the graph backwards

    def __init__(
        self, names: Any, method: Any = None, class_names: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(**{"name": _SIDES, **kwargs, "dtype": "float32"})
        self.names, self.method = tuple(names), method
        needed = () if method is None else (*method.reads, *method.keeps)
        if missing := set(needed) - {*self.names, "images", "logits"}:
            raise ValueError(
                f"The hooks of {type(method).__name__} must put all that it `reads` or "
                f"`keeps` into `trunk.sides`. Received: {list(self.names)}, without "
                f"{sorted(missing)}."
            )
        self.class_names = class_names
        self._convert_input_args = False  # they keep their dtype

    def call(self, inputs: Any) -> Any:
        return inputs[0]

    def build(self, input_shape: Any) -> None:
        if self.class_names is not None:
            count = input_shape[0][-1]
            self.class_names = check_class_names(self.class_names, count)

    def compute_output_spec(self, inputs: Any) -> Any:
        return keras.KerasTensor(inputs[0].shape, inputs[0].dtype)

    def get_config(self) -> dict[str, Any]:
        method = keras.saving.serialize_keras_object(self.method)
        config = {"names": self.names, "method": method}
        return {**super().get_config(), **config, "class_names": self.class_names}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Sides":
        method = keras.saving.deserialize_keras_object(config["method"])
        return cls(**{**config, "method": method})


@keras.saving.register_keras_serializable(package="keras_wsol")
class MethodModel(keras.Model):
    """A classifier that trains with the losses of its method, by `compile` and `fit`.

    Its call gives logits; with `training=True`, a dictionary of `"logits"` and what the
    losses read.
    """

    def __init__(
        self, inputs: Any, outputs: Any, name: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(inputs, outputs, name=name, **kwargs)
        if self.outputs[0].shape[-1] == 1:
            raise ValueError(
                "A method with losses needs one logit a class; for one class and the "
                "rest, train with two outputs. Received: num_classes=1."
            )

    @property
    def method(self) -> Method:
        return self.get_layer(_SIDES).method

    @cached_property
    def _inner(self) -> "_Inner":
        return _Inner(self)

    def part(self, start: str, end: str) -> keras.Model:
        """The model from one side, or `"images"`, to another, or to `"logits"`."""
        return self._inner.part(start, end)

    def for_inference(self) -> keras.Model:
        """The functional model of what score maps read, on the same layers."""
        tensors, keeps = self._inner.tensors, self.method.keeps
        sides = Sides(keeps, class_names=self.get_layer(_SIDES).class_names)
        logits = sides([tensors["logits"], *[tensors[name] for name in keeps]])
        return keras.Model(self.inputs[0], logits, name=self.name)

    def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        if not training:
            return super().call(inputs, training=training, mask=mask)
        return self._inner.network(inputs, training=True)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        if not isinstance(y_pred, dict):
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        logits = y_pred["logits"]
        loss = super().compute_loss(x, y, logits, sample_weight, training)
        added = self.method.loss(self, y_pred, self._truth(y, logits.shape[-1]))
        # As a loss of Keras, so that it counts once where there are several devices.
        reduction = getattr(self._compiled_loss(), "reduction", "sum_over_batch_size")
        return loss + _AsItIs("added", reduction)(added, added, sample_weight)

    def _compiled_loss(self) -> Any:
        """The loss given to `compile`, alone, or in a list or dictionary of one."""
        losses = keras.tree.flatten(self.loss)
        if len(losses) != 1:
            raise ValueError(
                f"`compile` must be given one loss. Received: loss={self.loss!r}."
            )
        return keras.losses.get(losses[0])

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        y_pred = y_pred["logits"] if isinstance(y_pred, dict) else y_pred
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def _truth(self, y: Any, num_classes: int) -> Truth:
        y = ops.convert_to_tensor(y)
        one_hot = len(y.shape) == 2 and y.shape[-1] == num_classes > 1
        ids = ops.argmax(y, axis=-1) if one_hot else ops.reshape(y, (-1,))
        loss = self._compiled_loss()
        # Of a loss object, the function: its reduction would leave one number.
        function = loss.call if isinstance(loss, keras.losses.Loss) else loss
        return Truth(
            class_ids=ops.cast(ids, "int32"),
            cross_entropy=lambda logits: function(y, logits),
            shuffled=lambda order: self._truth(ops.take(y, order, 0), num_classes),
        )


class _Inner:
    """Models on parts of another's graph, which Keras is not to track as layers."""

    def __init__(self, model: MethodModel) -> None:
        node = node_of(model.outputs[0])
        names = node.operation.names
        self.tensors = dict(zip(("logits", *names), node.parents, strict=True))
        self.tensors["images"] = model.inputs[0]
        given = ("logits", *node.operation.method.reads)
        self.network = keras.Model(
            model.inputs[0], {name: self.tensors[name] for name in given}
        )
        self._parts: dict[tuple[str, str], keras.Model] = {}

    def part(self, start: str, end: str) -> keras.Model:
        if (start, end) not in self._parts:
            part = keras.Model(self.tensors[start], self.tensors[end])
            self._parts[start, end] = part
        return self._parts[start, end]


def as_read(model: Any, score_map: Any) -> tuple[Any, Any]:
    """A classifier as it is read, and the score map, by default that of its method."""
    if isinstance(model, MethodModel):
        score_map = model.method.score_map() if score_map is None else score_map
        model = model.for_inference()
    return model, "cam" if score_map is None else score_map


class _AsItIs(keras.losses.Loss):
    """A loss that is a number for each image already."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return y_pred


def call_frozen(model: keras.Model, inputs: Any, training: bool = True) -> Any:
    """Calls a model whose weights get no gradient, and keep their statistics."""
    weights = [
        [ops.stop_gradient(ops.convert_to_tensor(each)) for each in some]
        for some in (model.trainable_variables, model.non_trainable_variables)
    ]
    outputs, _ = model.stateless_call(*weights, inputs, training=training)
    return outputs
