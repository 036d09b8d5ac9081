from keras_wsol.viz.layout import GalleryLayout

# Margin 100 / 16 -> 6, gap 5, text 22 high, 2 of it above the letters.
LAYOUT = GalleryLayout(
    heights=[70, 100, 30], columns=2, cell_size=100, line_height=10, title_height=15
)


def test_columns_are_a_cell_and_a_gap_apart():
    assert LAYOUT.centers == [56, 161]


def test_each_row_is_as_high_as_its_picture_and_its_text():
    # 6 + 15; then 70 + 22 + 5 further on; then 100 + 22 + 5.
    assert LAYOUT.tops == [21, 118, 245]
    assert [LAYOUT.caption_top(row) for row in range(3)] == [93, 220, 277]


def test_legend_and_size():
    assert LAYOUT.legend_top == 245 + 30 + 22 + 5
    assert LAYOUT.size == (6 + 100 + 5 + 100 + 6, 302 + 10 + 6)
