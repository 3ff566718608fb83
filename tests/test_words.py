"""Numbers and lists as people read them."""

from useg.words import bounds, count, duration, figure, listing, percent


def test_numbers_in_words() -> None:
    assert [figure(v) for v in (0.12345, None, float("nan"))] == ["0.123", "–", "–"]
    assert [percent(v) for v in (0.0, 0.001, 0.5, 0.999, 1.0)] == ["0 %", "< 1 %", "50 %", "> 99 %", "100 %"]
    assert [duration(s) for s in (1.25, 59.96, 245.4, 7380.0)] == ["1.2 s", "1 min 00 s", "4 min 05 s", "2 h 03 min"]
    assert [count(n, "image") for n in (0, 1, 2)] == ["0 images", "1 image", "2 images"]
    assert [listing(list("abcdef")[:n]) for n in (0, 1, 2, 4, 6)] == [
        "",
        "a",
        "a and b",
        "a, b, c and d",
        "a, b, c and 3 more",
    ]
    assert bounds((0.1, 0.2)) == "0.100 to 0.200"
