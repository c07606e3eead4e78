from __future__ import annotations

from rotator.ui.sessions import SECONDS, Sessions, cookie


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def test_a_session_stands_for_its_token_for_a_while() -> None:
    """For half an hour, whatever is done with it; another number stands for nothing."""
    clock = Clock()
    sessions = Sessions(clock)
    number = sessions.open("token")

    assert (sessions.token(number), sessions.token(f"{number}x"), sessions.token("")) == ("token", "", "")
    clock.now = SECONDS - 1
    assert sessions.token(number) == "token"
    clock.now = SECONDS
    assert sessions.token(number) == ""


def test_a_closed_session_stands_for_nothing() -> None:
    """Signing out ends this session and no other."""
    sessions = Sessions()
    first, second = sessions.open("one"), sessions.open("two")
    sessions.close(first)

    assert (sessions.token(first), sessions.token(second)) == ("", "two")


def test_sessions_do_not_pile_up() -> None:
    """The oldest makes room."""
    sessions = Sessions()
    numbers = [sessions.open("token") for _ in range(1001)]

    assert (sessions.token(numbers[0]), sessions.token(numbers[1])) == ("", "token")


def test_nothing_of_a_session_is_shown() -> None:
    """Neither a token nor the number in a cookie is in what a log could show of it."""
    sessions = Sessions()
    number = sessions.open("secret-token")

    assert "secret-token" not in repr(vars(sessions))
    assert number not in repr(vars(sessions))


def test_a_cookie_is_for_this_host_and_no_script() -> None:
    """Secure, HttpOnly, SameSite=Strict; signing out has browsers forget it."""
    assert cookie("n") == "__Host-keyferry=n; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=1800"
    assert cookie("").endswith("Max-Age=0")
