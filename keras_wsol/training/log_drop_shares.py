"""What the inserted layers drop, epoch by epoch."""

from typing import Any

import keras

from keras_wsol.models import drop_shares, inserted_layers


class LogDropShares(keras.callbacks.Callback):
    """Adds to the logs of each epoch what the inserted layers drop.

    The shares are those of a few fixed images, taken with one forward pass at the end
    of an epoch; training steps are as fast as without it. The logs get
    `"{layer}/cells_dropped"` and `"{layer}/channels_dropped"`, in [0, 1], for each
    layer that `models.drop_shares` knows; callbacks that come after this one
    (`CSVLogger`, `TensorBoard`) write them, and `History` keeps them.

    Args:
        images: `(B, H, W, 3)` in [0, 255], as for `models.drop_shares`. Some 32 will
            do.

    Raises:
        ValueError: Training begins, and the model has no such layer.

    Example:
        model.fit(train, callbacks=[LogDropShares(images), CSVLogger("log.csv")])
    """

    def __init__(self, images: Any) -> None:
        super().__init__()
        self.images = images

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if not any(hasattr(x, "drop_shares") for x in inserted_layers(self.model)):
            raise ValueError(
                f"`{self.model.name}` has no layer that says what it drops, such as "
                "ADL or DGDM. Layers inside a model that is a layer are not seen."
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs is None:
            return
        for name, shares in drop_shares(self.model, self.images).items():
            for kind, share in shares.items():
                logs[f"{name}/{kind}_dropped"] = share
