import tracemalloc

import numpy as np
import pytest

from keras_wsol.metrics import MaxBoxAcc, MaxBoxAccV2, PxAP


def peak(metric, count):
    """Bytes allocated at once while `count` batches come."""
    rng = np.random.default_rng(0)
    tracemalloc.start()
    for _ in range(count):
        maps = rng.random((3, 5, 7)).astype("float32").repeat(8, 1).repeat(8, 2)
        if isinstance(metric, PxAP):
            metric.update_state(maps > 0.5, maps)
        else:
            metric.update_state(np.array([[[3.0, 4, 40, 30]]] * 3), maps)
    metric.result()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


@pytest.mark.parametrize("metric_class", [MaxBoxAcc, MaxBoxAccV2, PxAP])
def test_does_not_grow_with_the_data(metric_class):
    metric = metric_class(num_thresholds=50)
    peak(metric, 2)  # compiles
    few, many = peak(metric, 10), peak(metric, 40)
    # 90 kept maps of float32 would be 800 kB; how many threads meet varies.
    assert many < few + 200_000
