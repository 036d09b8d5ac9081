import numpy as np
import pytest
from PIL import Image, ImageDraw

from keras_wsol.viz.captions import HIT_COLOR, MISS_COLOR, Lettering

LETTERS = Lettering(14)


def canvas(draw_on):
    image = Image.new("RGB", (200, 40), (255, 255, 255))
    draw_on(ImageDraw.Draw(image))
    return np.array(image)


def test_text_that_fits_is_kept():
    assert LETTERS.fit("Cardinal", 200, tail=" (0.90)") == "Cardinal (0.90)"
    assert LETTERS.fit("", 0) == ""


@pytest.mark.parametrize("width", [60, 90, 110, 130, 150, 170])
def test_long_text_is_cut_as_little_as_needed_and_the_tail_kept(width):
    name, dots = "Black-throated Blue Warbler", "\N{HORIZONTAL ELLIPSIS}"
    fitting = [
        name[:length].rstrip() + dots + " (0.31)"
        for length in range(len(name))
        if LETTERS.width(name[:length].rstrip() + dots + " (0.31)") <= width
    ]
    assert LETTERS.fit(name, width, tail=" (0.31)") == fitting[-1]


def test_accents_and_line_breaks_are_left_out():
    def draw(text):
        return canvas(lambda on: LETTERS.draw(on, 100, 5, text, (0, 0, 0)))

    np.testing.assert_array_equal(draw("Müller\n  Élan"), draw("Muller Elan"))
    assert (draw("Müller") != 255).any()


def test_a_font_file_is_used():
    with pytest.raises(OSError, match="cannot open resource"):
        Lettering(14, "no_such_font.ttf")


def test_text_is_centred():
    got = canvas(lambda on: LETTERS.draw(on, 100, 5, "HHHHHH", (0, 0, 0)))
    columns = np.flatnonzero((got != 255).any(axis=(0, 2)))
    assert abs((columns[0] + columns[-1]) / 2 - 100) <= 1.5


@pytest.mark.parametrize(("hit", "color"), [(True, HIT_COLOR), (False, MISS_COLOR)])
def test_hit_and_miss_differ_in_colour_and_in_shape(hit, color):
    got = canvas(lambda on: LETTERS.draw_verdict(on, 100, 5, "", hit))
    inked = (got == color).all(axis=-1)
    assert inked.any()
    rows, columns = np.nonzero(inked)
    mark = inked[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    # Of the four corners a cross has all, a tick only the upper right one.
    upper_left = mark[:3, :3].any()
    assert upper_left == (not hit)
    assert mark[:3, -3:].any()


def test_unknown_gets_no_mark():
    plain = canvas(lambda on: LETTERS.draw(on, 100, 5, "IoU", (40, 40, 40)))
    got = canvas(lambda on: LETTERS.draw_verdict(on, 100, 5, "IoU", None))
    np.testing.assert_array_equal(got, plain)
