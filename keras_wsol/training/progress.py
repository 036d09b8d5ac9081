"""How far a training has come: whole epochs, and steps of the one begun."""

from keras_wsol.arguments import check_integer


class Progress(int):
    """The number of whole epochs that are done, and how much of the next one is.

    It is an integer, the number of epochs, as `fit` wants its `initial_epoch`; but true
    if anything is done, a step of the first epoch, too.

    Args:
        epochs: Integer >= 0, whole epochs that are done.
        steps: Integer >= 0, steps that are done of the epoch after these.

    Example:
    >>> done = Progress(3, steps=20)
    >>> done.start_step(steps_per_epoch=100)
    320
    >>> done == 3
    True
    """

    def __new__(cls, epochs: int = 0, steps: int = 0) -> "Progress":
        """Checks the numbers."""
        self = super().__new__(cls, check_integer("epochs", epochs, 0))
        self.steps = check_integer("steps", steps, 0)
        return self

    @property
    def epochs(self) -> int:
        """Whole epochs that are done."""
        return int(self)

    def start_step(self, steps_per_epoch: int) -> int:
        """Returns the number of all steps that are done: where the batches go on.

        Args:
            steps_per_epoch: Integer, the number of steps in an epoch.

        Returns:
            Integer, the `start_step` of `ImageDataset.batches`.

        Raises:
            ValueError: More steps of the epoch are done than it has, so that it must
                have been of other batches.
        """
        steps_per_epoch = check_integer("steps_per_epoch", steps_per_epoch)
        if self.steps and self.steps >= steps_per_epoch:
            raise ValueError(
                f"{self.steps} steps of the epoch are done; `steps_per_epoch` must be "
                f"larger. Received: steps_per_epoch={steps_per_epoch}. Was the run "
                "begun with another batch size, or with other images?"
            )
        return self.epochs * steps_per_epoch + self.steps

    def __bool__(self) -> bool:
        return self.epochs > 0 or self.steps > 0

    def __repr__(self) -> str:
        return f"Progress({self.epochs}, steps={self.steps})"

    __str__ = int.__repr__  # as the integer that it is
