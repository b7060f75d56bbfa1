"""The address of a server that speaks OpenAI's protocol: checked before anything is sent there."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

CHAT = "/chat/completions"
COMPLETIONS = "/completions"
"""What engines/openai.py adds to the address."""


def checked(text: str, is_plain_http_allowed: bool = False) -> str:
    """The address in one spelling: `http://127.0.0.1:8080/v1`. ValueError says what is wrong with it.

    Over plain http everyone on the way can read prompts, answers and the key, and change them; on this machine's own
    address there is nobody on the way.
    """
    try:
        parts = urlsplit(text.strip())
        host, port = parts.hostname or "", parts.port
    except ValueError as error:  # a port that is no number, brackets that do not close
        raise ValueError(f"is not an address: {error}") from None
    if parts.username is not None or parts.password is not None:
        # Not repeated here: what stands before the @ is a secret.
        raise ValueError("holds a user or password; leave it out, and name the key's variable in `api_key_env`")
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError(f"`{text}` is not an address like http://127.0.0.1:8080/v1")
    if parts.query or parts.fragment or parts.path.rstrip("/").endswith(CHAT):
        raise ValueError(f"give it up to and with /v1, without `{CHAT}` and without a query")
    if parts.scheme == "http" and not is_plain_http_allowed and not is_loopback(host):
        raise ValueError(
            f"{parts.scheme}://{host} is another machine, and over plain http everyone on the way can read prompts, "
            "answers and the key; use https, or a tunnel to 127.0.0.1, or `plain_http: true` in a network you trust"
        )
    named = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{named}{'' if port is None else f':{port}'}{parts.path.rstrip('/')}"


def is_loopback(host: str) -> bool:
    """Whether a host is this machine: by its name or number, without asking anybody."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
