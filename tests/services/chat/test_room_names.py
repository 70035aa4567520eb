"""Names in the room of a chat: to which member each belongs, and its colour."""

import pytest

from netd.testing import NOW
from tests.services.chat.members import Mailer, Talker, chat
from tests.support.services import service


def test_a_name_may_be_required() -> None:
    room = chat(name_required=True, announce=True)
    listener, alex, bob = Talker(room), Talker(room), Mailer(room)
    alex.say("hello", "alex :", "hello")
    bob.send("hi")
    bob.send("bob : hi")
    assert alex.read()[:1] == bob.read()[:1] == ["* say who you are, as in NAME : hello"]
    assert listener.read() == ["* alex has joined", "alex : hello", "* bob has joined", "bob : hi"]


def test_name_and_its_colour_belong_to_one_member_at_a_time() -> None:
    room = chat(colors={"alex": {"fg": "red", "bg": "white"}})
    seer, listener = Talker(room), Talker(room)
    listener.say("/color off")
    listener.read()
    alex, eve, mailed = Talker(room), Talker(room), Mailer(room, port=9)
    alex.say("alex : hello")
    eve.say("alex: me", "ALEX : me", "\uff41lex :", "eve : me", "alex : me")
    mailed.send("alex : me")
    mailed.send("eve :")
    taken = "* that name is taken"
    assert [line for line in eve.read() if line.startswith("*")] == [taken] * 4
    assert [line for line in mailed.read() if line.startswith("*")] == [taken] * 2
    assert listener.read() == [
        "alex : hello",
        "192.0.2.7:5353 : me",
        "192.0.2.7:5353 : me",
        "eve : me",
        "eve : me",
        "192.0.2.7:9 : me",
    ]
    alex.say("Alex : still I")
    assert listener.read() == ["Alex : still I"]
    assert [line for line in seer.read() if line.startswith("\x1b[31;47m")] == ["\x1b[31;47malex\x1b[0m : hello"]


@pytest.mark.parametrize("way", ["q", "end", "reset", "rename", "idle", "mailed q"])
def test_name_is_free_after_its_member_has_left(way: str) -> None:
    now = [NOW]
    room = service("chat", clock=lambda: now[0], idle="60s", announce=False)
    listener, talker, mailed, next_one = Talker(room), Talker(room), Mailer(room), Talker(room)
    if way in ("idle", "mailed q"):
        mailed.send("alex : hello")
    else:
        talker.say("alex : hello")
    next_one.say("alex :")
    assert next_one.read() == ["alex : hello", "* that name is taken"]
    match way:
        case "q":
            talker.say("q")
        case "rename":
            talker.say("eve :")
        case "end":
            talker.end()
        case "reset":
            talker.reset()
        case "idle":
            now[0] += 60
        case "mailed q":
            mailed.send("q")
    next_one.say("alex : me")
    assert listener.read() == ["alex : hello", "alex : me"]
    assert next_one.read() == []


def test_the_same_source_is_the_same_member_and_keeps_its_name() -> None:
    room = chat()
    listener = Talker(room)
    for port in (1, 2):
        Mailer(room, local_port=port).send("bob : hi")
    assert listener.read() == ["bob : hi", "bob : hi"]


@pytest.mark.parametrize("guest", [False, True])
def test_a_program_that_has_another_port_each_time_keeps_its_name(guest: bool) -> None:
    now = [NOW]
    room = service("chat", clock=lambda: now[0], idle="60s")
    listener, first, second = Talker(room), Mailer(room, guest=guest, port=1), Mailer(room, guest=guest, port=2)
    first.send("bob : hi")
    now[0] += 30
    second.send("bob : it is me")
    now[0] += 30
    second.send("I am still here")
    first.send("and I?")
    joined = [] if guest else ["* bob has joined"]
    again = [] if guest else ["* 192.0.2.7:1 has joined"]
    shown = [*joined, "bob : hi", "bob : it is me", "bob : I am still here", *again, "192.0.2.7:1 : and I?"]
    assert listener.read() == shown


def test_a_guest_keeps_no_name_from_a_member() -> None:
    room = chat()
    listener, guest, other, alex = (
        Talker(room),
        Mailer(room, guest=True),
        Mailer(room, guest=True, host="192.0.2.8"),
        Talker(room),
    )
    guest.send("alex : I")
    other.send("alex : me")
    alex.say("alex : no, I")
    guest.send("alex : I")
    alex.end()
    guest.send("alex : I")
    assert listener.read() == [
        "alex : I",
        "192.0.2.8:5353 : me",
        "alex : no, I",
        "192.0.2.7:5353 : I",
        "alex : I",
    ]
    assert other.read() == ["* that name is taken"]
    assert guest.read()[1:] == ["* that name is taken", "ok"]


def test_member_that_asks_for_a_name_in_use_is_asked_for_another() -> None:
    room = chat(name_required=True)
    listener, mailed = Talker(room), Mailer(room, port=9)
    alex = Talker(room)
    alex.say("alex : hello")
    mailed.send("alex : me")
    mailed.send("alexa : me")
    assert listener.read() == ["alex : hello", "alexa : me"]
    assert mailed.read() == ["* that name is taken; say another, as in NAME : hello", "ok"]


def test_names_have_colours_for_members_that_enable_them() -> None:
    room = chat(colors={"alex": {"fg": "yellow", "bg": "green"}, "bob": {"bg": "bright_black"}})
    alex, bob, eve = Talker(room), Talker(room), Talker(room)
    eve.say("/color off")
    alex.say("alex : hello")
    bob.say("bob : hi")
    assert eve.read() == ["* colors are off", "alex : hello", "bob : hi"]
    assert bob.read() == ["\x1b[33;42malex\x1b[0m : hello"]
    assert alex.read() == ["\x1b[100mbob\x1b[0m : hi"]
    eve.say("/color on", "/color", "/color maybe", "eve : x")
    assert eve.read() == ["* colors are on", *["* expected /color on or /color off"] * 2]
    assert alex.read() == bob.read()


@pytest.mark.parametrize(("color", "colors", "shown"), [("auto", {}, False), ("on", {}, True), (True, {}, True)])
def test_whether_there_are_colours(color: object, colors: object, *, shown: bool) -> None:
    room = chat(color=color, colors=colors)
    listener = Talker(room)
    Talker(room).say("somebody : hello")
    [line] = listener.read()
    assert ("\x1b[" in line) == shown


def test_the_colour_of_a_name_is_always_the_same() -> None:
    room = chat(color="on")
    listener, alex = Talker(room), Talker(room)
    alex.say("alex : hello", "bob : hello", "eve : hello", "me : hello")
    assert listener.read() == [
        "\x1b[33malex\x1b[0m : hello",
        "\x1b[33mbob\x1b[0m : hello",
        "\x1b[31meve\x1b[0m : hello",
        "\x1b[31mme\x1b[0m : hello",
    ]
