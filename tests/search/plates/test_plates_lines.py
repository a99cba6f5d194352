"""Which boxes are tried as one plate, worked out by hand."""

from reid_lightning.search.plates.lines import around, arrangements


def test_a_box_alone_and_nothing():
    assert arrangements([]) == []
    assert arrangements([(0, 0, 50, 10)]) == [(0,)]


def test_neighbours_on_a_line_are_read_from_left_to_right():
    right, left = (60, 0, 110, 20), (0, 1, 50, 20)
    assert arrangements([right, left]) == [(0,), (1,), (1, 0)]
    assert around([right, left], (1, 0)) == (0, 0, 110, 20)


def test_what_is_far_apart_or_of_another_size_is_not_joined():
    first = (0, 0, 50, 20)
    for other in ((95, 0, 145, 20), (60, 15, 110, 35), (60, 0, 160, 60), (-200, 0, -100, 20)):
        assert arrangements([first, other]) == [(0,), (1,)]


def test_narrow_boxes_that_overlap_are_in_one_order_only():
    assert arrangements([(0, 0, 3, 10), (1, 0, 4, 10)]) == [(0,), (1,), (0, 1)]


def test_three_pieces_of_a_line_are_joined_and_no_fourth():
    boxes = [(0, 0, 20, 10), (25, 0, 45, 10), (50, 0, 70, 10), (75, 0, 95, 10)]
    found = arrangements(boxes)
    assert (0, 1, 2) in found and (1, 2, 3) in found and (0, 1, 2, 3) not in found and (0, 2) not in found


def test_the_upper_line_comes_first_whatever_the_order_of_the_boxes():
    upper, lower = (10, 0, 40, 12), (0, 15, 50, 35)
    assert arrangements([lower, upper]) == [(0,), (1,), (1, 0)]
    assert arrangements([upper, lower]) == [(0,), (1,), (0, 1)]


def test_lines_beside_or_far_below_are_no_second_line():
    upper = (0, 0, 50, 20)
    for other in ((60, 25, 110, 45), (0, 60, 50, 80), (0, 25, 150, 75)):
        assert arrangements([upper, other]) == [(0,), (1,)]


def test_an_upper_line_of_two_pieces_and_a_lower_one():
    boxes = [(0, 0, 20, 10), (25, 0, 45, 10), (0, 12, 45, 24)]
    assert (0, 1, 2) in arrangements(boxes)
