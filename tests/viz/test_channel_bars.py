import numpy as np

from keras_wsol.viz.channel_bars import BAR_COLOR, PICKED_COLOR, channel_bars

BACKGROUND = (245, 245, 245)


def column(picture, x):
    return [tuple(int(v) for v in pixel) for pixel in picture[:, x]]


def test_bars_stand_from_the_largest_to_the_smallest_over_a_strip():
    # 16 rows: 13 for bars, a white one, 2 of the strip. Two columns a channel.
    got = channel_bars([2.0, 8.0, 4.0], [True, False, False], 16, 6)
    assert got.dtype == np.uint8
    assert got.shape == (16, 6, 3)
    for x, color, height in (
        *((0, BAR_COLOR, 13), (1, BAR_COLOR, 13)),
        *((2, BAR_COLOR, 6), (3, BAR_COLOR, 6)),  # half of 13, to even
        *((4, PICKED_COLOR, 3), (5, PICKED_COLOR, 3)),
    ):
        expected = [BACKGROUND] * (13 - height) + [color] * height
        assert column(got, x) == [*expected, (255, 255, 255), color, color]


def test_channels_that_share_a_column_show_the_highest_and_any_that_is_picked():
    got = channel_bars([8.0, 7.0, 2.0, 1.0], [False, True, False, False], 8, 2)
    # 6 rows of bars: the first full, the second a quarter.
    assert column(got, 0)[:6] == [PICKED_COLOR] * 6
    assert column(got, 1)[:6] == [BACKGROUND] * 4 + [BAR_COLOR] * 2
    uneven = channel_bars([3.0, 2.0, 1.0], [False, False, True], 8, 2)
    assert [column(uneven, x)[-1] for x in (0, 1)] == [BAR_COLOR, PICKED_COLOR]


def test_one_of_two_thousand_is_seen():
    picked = np.zeros(2048, bool)
    picked[77] = True
    got = channel_bars(np.arange(2048.0), picked, 40, 64)
    assert sum(column(got, x)[-1] == PICKED_COLOR for x in range(64)) == 1


def test_channels_without_a_bar_have_their_colour_in_the_strip():
    got = channel_bars([0.0, -1.0, 0.0], [True, False, False], 9, 3)
    assert (got[:7] == 245).all()
    # Equals stand together, the picked one last; -1 is the smallest.
    assert [column(got, x)[-1] for x in range(3)] == [
        *(BAR_COLOR, PICKED_COLOR, BAR_COLOR)
    ]
