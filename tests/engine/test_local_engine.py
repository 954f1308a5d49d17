"""The local engine: in order, one at a time, errors as they are."""

import pytest

from martensite.core.errors import ModelError
from martensite.engine import LocalEngine


def test_results_come_in_the_order_of_the_pieces():
    assert list(LocalEngine().map(lambda piece: piece * piece, range(5))) == [0, 1, 4, 9, 16]
    assert list(LocalEngine().map(str, [])) == []


def test_a_result_is_there_before_the_next_piece_starts():
    log = []

    def pieces():
        for piece in range(3):
            log.append(f"take {piece}")
            yield piece

    def work(piece):
        log.append(f"work {piece}")
        return piece

    for result in LocalEngine().map(work, pieces()):
        log.append(f"done {result}")
    assert log == [f"{what} {piece}" for piece in range(3) for what in ("take", "work", "done")]


def test_an_error_comes_through_where_it_happened():
    def work(piece):
        if piece == 2:
            raise ModelError("the third piece")
        return piece

    results = LocalEngine().map(work, range(5))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ModelError, match="third"):
        next(results)
