"""The log: what is appended stays, in order, and the database itself refuses the rest."""


def test_append(filled):
    assert filled.size == 11
    assert [r.number for r in filled.read()] == list(range(1, 12))
