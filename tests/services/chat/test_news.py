"""The messages for a member that is sent nothing but answers: the latest of them, bounded."""

from netd.services.chat.news import News


def test_messages_are_taken_once_and_in_order() -> None:
    news = News()
    assert news(b"one\n")
    assert news(b"two\n")
    assert news.take() == (0, b"one\ntwo\n")
    assert news.take() == (0, b"")


def test_old_messages_make_room_for_new_ones_and_are_counted() -> None:
    news = News()
    for number in range(1000):
        assert news(b"%d\n" % number)
    lost, lines = news.take()
    assert len(lines) <= 896
    assert lines.endswith(b"998\n999\n")
    assert lost + lines.count(b"\n") == 1000
    news(b"again\n")
    assert news.take() == (0, b"again\n")


def test_message_above_the_bound_is_kept_alone() -> None:
    news = News()
    news(b"short\n")
    news(b"x" * 5000)
    assert news.take() == (1, b"x" * 5000)


def test_messages_that_are_put_back_come_first_and_are_bounded() -> None:
    news = News()
    news(b"three\n")
    news.put_back([b"one\n", b"two\n"])
    assert news.take() == (0, b"one\ntwo\nthree\n")
    news.put_back([b"x" * 500, b"y" * 500])
    assert news.take() == (1, b"y" * 500)


def test_lost_messages_are_told_in_every_other_answer_at_most() -> None:
    news = News()
    told = []
    for _ in range(5):
        news.put_back([b"x" * 800, b"y" * 800])
        told.append(news.take()[0])
    assert told == [1, 0, 2, 0, 2]
