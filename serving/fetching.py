"""Clips at addresses that clients give: public ones only, of bounded size.

Every connection, also one of a redirect, is checked by the address that it really goes to, so that neither a name nor a
redirect can lead into a private network.
"""

import ipaddress
import socket
import tempfile
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

import aiohttp

from serving.settings import Refused
from serving.spool import Basket, Clip
from utils.errors import shown

PORTS = (80, 443)
CHUNK = 1 << 16
REDIRECTS = 3


class _Private(OSError):
    """The address is not a public one."""


def public_only(info: tuple) -> socket.socket:
    """A socket for an address as getaddrinfo tells it. Raises OSError unless anybody on the internet may reach it."""
    family, kind, protocol, _, address = info
    found = ipaddress.ip_address(address[0].partition("%")[0])
    found = getattr(found, "ipv4_mapped", None) or found
    if not found.is_global or found.is_multicast or address[1] not in PORTS:
        raise _Private(f"{found} port {address[1]} is not public")
    return socket.socket(family, kind, protocol)


async def fetch(url: str, basket: Basket) -> Clip:
    """The clip at an http(s) address. Raises Refused."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Refused(400, f"'{shown(url)}' is no address; expected http:// or https://")
    name = unquote(PurePosixPath(parts.path).name) or parts.hostname
    settings = basket.spool.settings
    timeout = aiohttp.ClientTimeout(total=settings.upload_limit, connect=10)
    connector = aiohttp.TCPConnector(socket_factory=public_only, force_close=True)
    handle, path = tempfile.mkstemp(dir=basket.folder)
    try:
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as session:
            with open(handle, "wb") as file:
                async with session.get(url, max_redirects=REDIRECTS) as answer:
                    if answer.status != 200:
                        raise Refused(400, f"'{shown(name)}': its server answers {answer.status}; check the address")
                    async for chunk in answer.content.iter_chunked(CHUNK):
                        basket.hold(len(chunk), settings.upload_bytes)
                        file.write(chunk)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        # One sentence for all: what is reachable inside is nobody's business.
        raise Refused(400, f"'{shown(name)}' cannot be fetched; give a public http(s) address of a video") from error
    return Clip(type(basket.folder)(path), name)
