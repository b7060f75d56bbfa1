"""Addresses, taken apart and refused."""

from __future__ import annotations

import pytest

from edgedistill import components, transport
from edgedistill.errors import UsageError
from edgedistill.transport import Address, parse


@pytest.mark.parametrize(
    "text, address",
    [
        ("local", Address("local")),
        ("ssh://rpi5.local", Address("ssh", "rpi5.local")),
        ("ssh://pi@10.0.0.7:2222", Address("ssh", "10.0.0.7", "pi", 2222)),
        ("ssh://Desk_Pi/", Address("ssh", "Desk_Pi")),
        ("ssh://pi@[fe80::1%eth0]:22", Address("ssh", "fe80::1%eth0", "pi", 22)),
        ("adb", Address("adb")),
        ("adb://R58M123", Address("adb", "R58M123")),
        ("adb://192.168.0.5:5555", Address("adb", "192.168.0.5:5555")),
        ("qemu://cortex-a76", Address("qemu", "cortex-a76")),
        ("replay://tapes/rpi5.tape", Address("replay", "tapes/rpi5.tape")),
        ("replay:///srv/rpi5.tape", Address("replay", "/srv/rpi5.tape")),
        ("replay://tapes/12:30@desk.tape", Address("replay", "tapes/12:30@desk.tape")),
    ],
)
def test_an_address_is_taken_apart(text, address):
    assert parse(text) == address
    assert parse(str(address)) == address


@pytest.mark.parametrize(
    "text, problem",
    [
        ("pi@rpi5", "did you mean `ssh://pi@rpi5`"),
        ("rpi5.local", "did you mean `ssh://rpi5.local`"),
        ("192.168.0.7:22", "did you mean `ssh://192.168.0.7:22`"),
        ("loca", "did you mean `local`"),
        ("shh://rpi5", "did you mean `ssh`"),
        ("local://here", "this machine is just `local`"),
        ("ssh://", "names nothing"),
        ("qemu", "names nothing"),
        ("ssh://-oProxyCommand=touch", "cannot begin with `-`"),
        ("ssh://-l@host", "cannot begin with `-`"),
        ("ssh://pi@-oProxyCommand", "is no host name"),
        ("ssh://a b", "is no host name"),
        ("ssh://$(touch x)", "is no host name"),
        ("ssh://host:port", "`port` is no port"),
        ("ssh://host:99999", "`99999` is no port, a number up to 65535"),
        ("ssh://pi@[fe80::1]:abc", "`abc` is no port"),
        ("ssh://host/folder", "nothing may stand behind"),
    ],
)
def test_what_is_no_address_is_refused(text, problem):
    with pytest.raises(UsageError, match=problem.replace("$", r"\$").replace("(", r"\(")):
        parse(text)


def test_an_ipv6_address_without_brackets_is_told_where_they_go():
    with pytest.raises(UsageError) as raised:
        parse("ssh://fe80::1")
    assert raised.value.hint == "an IPv6 address stands in brackets: ssh://[fe80::1]"


@pytest.mark.parametrize(
    "text",
    [
        "ssh://pi:raspberry@rpi5",
        "ssh://pi:raspberry#1@rpi5",
        "ssh://pi:raspberry@rpi5:ssh",
        "ssh://pi:raspberry@home@rpi5:99999",
        "ssh://pi:rasp/raspberry@[rpi5",
        "shh://pi:raspberry@rpi5",
        "local://pi:raspberry@rpi5",
        "pi:raspberry@rpi5",
        "ssh:pi:raspberry@rpi5",
    ],
)
def test_a_password_is_refused_and_not_repeated(text):
    with pytest.raises(UsageError, match="takes no password") as raised:
        parse(text)
    told = f"{raised.value.problem} {raised.value.hint} {raised.value.__cause__} {raised.value.__context__}"
    assert "raspberry" not in told and "rpi5" not in told


def test_every_transport_opens_addresses():
    found = components.names("transports")
    assert set(found) == {"adb", "local", "qemu", "replay", "ssh"}
    for name in found:
        module = components.load("transports", name)
        assert callable(module.open_device) and module.VERSION >= 1


def test_a_scheme_leads_to_its_file():
    assert type(transport.open_device("local")).__module__ == "edgedistill.transports.local"
