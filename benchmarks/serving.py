"""serve.py under load, by a client on the loopback: speed, overload, hostile uploads.

    python benchmarks/serving.py speed --exported=exported/tsn clips/*.mp4
    python benchmarks/serving.py overload --exported=exported/tsn --seconds=600 clips/*.mp4
    python benchmarks/serving.py hostile --exported=exported/tsn --count=1000 clips/*.mp4

speed: the program and the readers without a service (Predictor.predict for throughput, one clip after the other for
latency), and 16 clients and one client of the service, in turns. overload: requests come at 1.5 times the service's
capacity, whether or not earlier ones are answered. hostile: mutated clips, other files, cut and slow bodies, 64 at
once; every tenth request is a good one. Service and client share the cores.
"""

import argparse
import asyncio
import collections
import contextlib
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

CLIENTS, AT_ONCE = 16, 64


@contextlib.contextmanager
def service(args, uploads):
    """(process, address) of a service that is ready."""
    command = [sys.executable, str(ROOT / "serve.py"), f"--exported={args.exported}", "--port=0"]
    process = subprocess.Popen(
        [*command, f"--temporary={uploads}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT
    )
    address = None
    for line in process.stdout:
        found = re.match(r"(http://\S+)/ ", line)
        address = found[1] if found else address
        if line.startswith("ready"):
            break
    try:
        yield process, address
    finally:
        process.terminate()
        process.communicate(timeout=60)


async def post(session, address, data, name="clip.mp4", timeout=None):
    """(status, seconds) of a request; status 0: no answer."""
    form = aiohttp.FormData()
    form.add_field("file", data, filename=name)
    started = time.perf_counter()
    try:
        async with session.post(f"{address}/v1/classify", data=form, timeout=timeout) as answer:
            await answer.read()
            return answer.status, time.perf_counter() - started
    except (aiohttp.ClientError, TimeoutError, ConnectionError):
        return 0, time.perf_counter() - started


async def closed_loop(address, clips, clients, count):
    """(requests a second, seconds of each) of clients that send the next request when the last is answered."""
    found, left = [], iter(range(count))

    async def client(session):
        for number in left:
            status, seconds = await post(session, address, clips[number % len(clips)])
            assert status == 200, status
            found.append(seconds)

    async with aiohttp.ClientSession() as session:
        started = time.perf_counter()
        await asyncio.gather(*(client(session) for _ in range(clients)))
        return count / (time.perf_counter() - started), found


def bare(args, count):
    """(clips a second of many, median seconds of one) without a service."""
    from engine.predictor import Predictor

    predictor = Predictor(exported=args.exported, overrides={"INFER.batch_size": 8, "INFER.num_reader_threads": 2})
    one = Predictor.of(predictor.network)
    paths = [args.clips[i % len(args.clips)] for i in range(count)]
    predictor.predict(paths[:16])
    started = time.perf_counter()
    predictor.predict(paths)
    rate = count / (time.perf_counter() - started)
    return rate, statistics.median(single(one, path) for path in paths[: count // 4])


def single(predictor, path):
    """Seconds of decoding one clip and of its network."""
    import numpy as np

    from datareader.clips.dataset import ClipDataset

    dataset = ClipDataset.from_paths(predictor.config, "infer", [path])
    started = time.perf_counter()
    buffer = dataset.buffer(1)
    buffer[0] = dataset.read(0, 0)[0]
    predictor.network.run({name: np.ascontiguousarray(array) for name, array in dataset.feed(buffer, [None]).items()})
    return time.perf_counter() - started


def speed(args, uploads):
    from utils import runtime

    runtime.apply()
    clips = [Path(path).read_bytes() for path in args.clips]
    for number in range(args.rounds):
        rate, alone = bare(args, args.count)
        with service(args, uploads) as (_, address):
            asyncio.run(closed_loop(address, clips, CLIENTS, 2 * CLIENTS))
            served, _ = asyncio.run(closed_loop(address, clips, CLIENTS, args.count))
            _, seconds = asyncio.run(closed_loop(address, clips, 1, args.count // 4))
        middle = statistics.median(seconds)
        print(
            f"round {number}: bare {rate:.1f} clips/s, {CLIENTS} clients {served:.1f} ({served / rate:.2f}); "
            f"p50 of one client {1000 * middle:.0f} ms, decoding and network alone {1000 * alone:.0f} ms",
            flush=True,
        )


def memory(pid):
    """MB of resident memory that a process and its children do not share with others."""
    total = 0
    for each in [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]:
        with contextlib.suppress(OSError):
            rollup = Path(f"/proc/{each}/smaps_rollup").read_text()
            total += int(re.search(r"^Pss:\s+(\d+)", rollup, re.M)[1])
    return total / 1024


async def open_loop(pid, address, clips, rate, seconds):
    """(statuses, seconds of each answer, memory by second) of requests that come at a rate."""
    statuses, times, sizes, tasks = collections.Counter(), [], [], set()
    started = time.perf_counter()

    async def one(session, data):
        status, took = await post(session, address, data, timeout=aiohttp.ClientTimeout(90))
        statuses[status] += 1
        times.append(took)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        number = 0
        while (now := time.perf_counter() - started) < seconds:
            while number < now * rate:
                task = asyncio.create_task(one(session, clips[number % len(clips)]))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                number += 1
            if len(sizes) < now:
                sizes.append(memory(pid))
            await asyncio.sleep(0.005)
        await asyncio.gather(*tasks)
    return number, statuses, times, sizes


def overload(args, uploads):
    clips = [Path(path).read_bytes() for path in args.clips]
    with service(args, uploads) as (process, address):
        capacity, _ = asyncio.run(closed_loop(address, clips, CLIENTS, args.count))
        sent, statuses, times, sizes = asyncio.run(open_loop(process.pid, address, clips, 1.5 * capacity, args.seconds))
    half = statistics.median(sizes[55:65] or sizes)
    print(f"capacity {capacity:.1f} clips/s; {sent} requests in {args.seconds} s, answers {dict(statuses)}")
    print(
        f"longest {max(times):.1f} s; memory after a minute {half:.0f} MB, last {sizes[-1]:.0f}, most {max(sizes):.0f}"
    )


def mutated(data, rng):
    """A clip with some bytes changed, cut out or cut off."""
    copy = bytearray(data)
    for _ in range(rng.choice((1, 8, 64))):
        copy[rng.randrange(len(copy))] = rng.randrange(256)
    if rng.random() < 0.3:
        del copy[rng.randrange(len(copy)) :]
    if rng.random() < 0.3:
        start = rng.randrange(len(copy) or 1)
        del copy[start : start + rng.randrange(1, 5000)]
    return bytes(copy)


async def broken_body(address, data, rng, slow):
    """A body that stops in the middle, at once or after some seconds of single bytes; the connection is closed."""
    host, port = re.match(r"http://(.*):(\d+)", address).groups()
    with contextlib.suppress(OSError):
        _, writer = await asyncio.open_connection(host, int(port))
        head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'
        writer.write(
            f"POST /v1/classify HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: multipart/form-data; boundary=x\r\n"
            f"Content-Length: {len(head) + len(data)}\r\n\r\n".encode()
            + head
        )
        for start in range(0, rng.randrange(10, 40)):
            writer.write(data[start : start + 1] if slow else data[start * 100 : start * 100 + 100])
            await writer.drain()
            await asyncio.sleep(0.1 if slow else 0)
        writer.close()
    return -1, 0.0


async def attack(address, clips, count):
    """Statuses by kind of upload."""
    rng, found, room = random.Random(0), collections.Counter(), asyncio.Semaphore(AT_ONCE)
    others = [path.read_bytes() for path in sorted(ROOT.glob("docs/images/*")) + sorted(ROOT.glob("docs/*.md"))]

    async def one(session, number):
        data = rng.choice(clips)
        kind = ("good", "mutated", "mutated", "mutated", "other", "cut", "slow", "random", "empty", "mutated")[
            number % 10
        ]
        async with room:
            if kind in ("cut", "slow"):
                status, _ = await broken_body(address, data, rng, kind == "slow")
            else:
                body = {"other": rng.choice(others), "random": rng.randbytes(20_000), "empty": b"", "good": data}
                status, _ = await post(
                    session, address, body.get(kind) or (b"" if kind == "empty" else mutated(data, rng))
                )
        found[kind, status] += 1

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(one(session, number) for number in range(count)))
        async with session.get(f"{address}/readyz") as answer:
            found["ready afterwards", answer.status] += 1
    return found


def hostile(args, uploads):
    clips = [Path(path).read_bytes() for path in args.clips]
    with service(args, uploads) as (process, address):
        before = memory(process.pid)
        started = time.perf_counter()
        found = asyncio.run(attack(address, clips, args.count))
        took = time.perf_counter() - started
        time.sleep(3)
        left = [path for path in Path(uploads).rglob("*") if path.is_file() and not path.name.startswith(".")]
        after, alive = memory(process.pid), process.poll() is None
    for (kind, status), count in sorted(found.items()):
        print(f"{kind:18} {status:4} {count:5}")
    print(f"{took:.0f} s; alive {alive}; files left {len(left)}; memory {before:.0f} -> {after:.0f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "overload", "hostile"))
    parser.add_argument("clips", nargs="+")
    parser.add_argument("--exported", required=True)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=120)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))
    with tempfile.TemporaryDirectory() as folder:
        {"speed": speed, "overload": overload, "hostile": hostile}[options.what](options, folder)
