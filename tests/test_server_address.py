"""The address of a server: one spelling, nothing secret in it, and no plain http to another machine by accident."""

from __future__ import annotations

import pytest

from edgedistill.server_address import checked, is_loopback


@pytest.mark.parametrize(
    ("text", "spelling"),
    [
        ("http://127.0.0.1:8080/v1", "http://127.0.0.1:8080/v1"),
        (" http://LocalHost:8080/v1/ ", "http://localhost:8080/v1"),
        ("http://[::1]:8080/v1", "http://[::1]:8080/v1"),
        ("https://api.example.com/v1", "https://api.example.com/v1"),
        ("https://gateway.example.com:8443/team/Openai/v1//", "https://gateway.example.com:8443/team/Openai/v1"),
    ],
)
def test_addresses_have_one_spelling(text, spelling):
    assert checked(text) == spelling


@pytest.mark.parametrize("text", ["127.0.0.1:8080", "ftp://127.0.0.1/v1", "", "https:///v1", "localhost:8080/v1"])
def test_what_is_no_web_address_is_refused(text):
    with pytest.raises(ValueError, match="is not an address like http://"):
        checked(text)


@pytest.mark.parametrize("text", ["http://127.0.0.1:port/v1", "http://[::1/v1", "http://127.0.0.1:99999/v1"])
def test_what_cannot_be_taken_apart_is_refused(text):
    with pytest.raises(ValueError, match="is not an address: "):
        checked(text)


@pytest.mark.parametrize("end", ["/v1/chat/completions", "/v1?key=1", "/v1#x"])
def test_more_than_the_address_is_refused(end):
    with pytest.raises(ValueError, match="up to and with /v1"):
        checked(f"http://127.0.0.1:8080{end}")


def test_a_password_is_refused_and_not_repeated():
    with pytest.raises(ValueError, match="holds a user or password") as caught:
        checked("https://me:geheim@example.com/v1")
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("host", ["192.168.1.7:8080", "server.lan", "0.0.0.0:8080", "localhost.example.com"])
def test_plain_http_to_another_machine_needs_leave(host):
    with pytest.raises(ValueError, match="another machine, and over plain http everyone on the way can read"):
        checked(f"http://{host}/v1")
    assert checked(f"http://{host}/v1", is_plain_http_allowed=True) == f"http://{host}/v1"


def test_loopback_is_known_by_name_or_number():
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.8.9.1", "::1", "llama.localhost")))
    assert not any(map(is_loopback, ("example.com", "10.0.0.1", "::2", "notlocalhost")))
