"""Serve models: a page that classifies the clips dropped on it, and an HTTP API (docs/serving.md).

    python serve.py --weights=checkpoints/STNET_best
    python serve.py --exported=exported/stnet --port=9000
    python serve.py --weights fast=checkpoints/TSN_best --weights good=checkpoints/STNET_best

Prints the address of the page. Needs `pip install -e ".[serve]"`. SIGTERM and Ctrl-C finish what is under way.
"""

import argparse
import logging
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from utils import cli
from utils.errors import ConfigError

if TYPE_CHECKING:
    from serving.measures import Measures
    from serving.models import Served
    from serving.settings import Settings

TOKEN = "ZOO_SERVE_TOKEN"  # environment variable: a command line can be read by other users of the machine


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.Parser(prog="serve.py", description=__doc__)
    parser.add_argument(
        "--weights",
        action="append",
        default=[],
        type=cli.given,
        metavar="[NAME=]PATH",
        help="checkpoint or weights in any form; repeat it for several models",
    )
    parser.add_argument(
        "--exported",
        action="append",
        default=[],
        type=cli.given,
        metavar="[NAME=]DIR",
        help="a model that export.py wrote; may be repeated",
    )
    parser.add_argument("--model_name", help="model of all --weights; or, without them, of the released weights")
    parser.add_argument("--config", type=cli.path, help="YAML or old .txt file; default: the checkpoint's own")
    parser.add_argument("--use_gpu", type=cli.boolean, help="True or False; default: a GPU if Paddle can use one")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="as in infer.py")
    parser.add_argument(
        "-o", "--override", type=cli.assignment, action="append", default=[], metavar="SECTION.key=value"
    )
    add_access(parser)
    add_limits(parser)
    parser.add_argument("--verbose", action="store_true", help="print more")
    parser.add_argument("--debug", action="store_true", help="show the full traceback of an error")
    return cli.arguments(parser, argv)


def add_access(parser: cli.Parser) -> None:
    """Flags of who may ask for what."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine)")
    parser.add_argument("--port", type=cli.at_least(0), default=8866, help="0: any free one (default: 8866)")
    parser.add_argument("--token", type=cli.given, help=f"what requests must bring; or set {TOKEN}")
    parser.add_argument(
        "--no_token", action="count", default=0, help="serve other machines without a token; must be given twice"
    )
    parser.add_argument("--root", type=cli.given, help="folder whose clips requests may name by path")
    parser.add_argument("--allow_urls", action="store_true", help="fetch clips from public addresses for clients")


def add_limits(parser: cli.Parser) -> None:
    """Flags of what a service may use."""
    parser.add_argument("--batch", type=cli.at_least(1), default=8, help="views computed at once (default: 8)")
    parser.add_argument(
        "--max_wait_ms", type=cli.at_least(0), default=10, help="time that a batch waits for more clips (default: 10)"
    )
    parser.add_argument("--queue", type=cli.at_least(1), default=64, help="clips in work or waiting (default: 64)")
    parser.add_argument("--workers", type=cli.at_least(0), default=0, help="decoding processes (default: one a core)")
    parser.add_argument("--time_limit", type=cli.at_least(1), default=60, help="seconds for a clip (default: 60)")
    parser.add_argument("--upload_mb", type=cli.at_least(1), default=256, help="largest upload in MiB (default: 256)")
    parser.add_argument("--temporary", type=cli.given, help="folder of uploads (default: in the system's)")


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    try:
        import uvicorn

        from paddle_video_zoo.version import __version__
        from serving.app import create
        from serving.jobs import Service
    except ImportError as error:
        raise ConfigError(f"serve.py needs '{error.name}': pip install -e '.[serve]'") from error
    logging.getLogger("python_multipart").setLevel(logging.WARNING)  # it tells of every upload
    settings = settings_of(args)
    sources = sources_of(args)
    listening = listen(settings)
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    cli.log.info("http://%s:%d/ (loading)", shown, port)
    service = Service(settings, lambda settings, measures: load(args, sources, settings, measures))
    server = uvicorn.Server(
        uvicorn.Config(
            create(service, lambda: setattr(server, "should_exit", True), __version__),
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=int(settings.grace),
        )
    )
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        cli.log.info("stopped")
    if service.failed:
        raise service.failed
    return 0


def settings_of(args: argparse.Namespace) -> "Settings":
    """The Settings of the flags. Raises ConfigError where others could use the service unasked."""
    from serving.settings import MEGABYTE, Settings

    token = args.token or os.environ.get(TOKEN) or None
    root = Path(args.root) if args.root else None
    if root and not root.is_dir():
        raise ConfigError(f"--root '{root}' is not a folder; name one that is there")
    settings = Settings(
        host=args.host,
        port=args.port,
        token=token,
        root=root,
        allow_urls=args.allow_urls,
        temporary=Path(args.temporary) if args.temporary else None,
        batch=args.batch,
        max_wait=args.max_wait_ms / 1000,
        queue=args.queue,
        workers=args.workers,
        time_limit=args.time_limit,
        upload_bytes=args.upload_mb * MEGABYTE,
    )
    if not settings.on_loopback:
        cli.log.warning("--host '%s': other machines can reach this service", args.host)
        if not token and args.no_token < 2:
            raise ConfigError(
                f"--host '{args.host}' needs --token (or {TOKEN}); to serve everybody, give --no_token twice"
            )
    return settings


def sources_of(args: argparse.Namespace) -> list[tuple[str, str | None, str]]:
    """(flag, name or None, path) of each model; a name that is missing is found when the model is loaded."""
    found = [("weights", text) for text in args.weights] + [("exported", text) for text in args.exported]
    if not found:
        if not args.model_name:
            raise ConfigError("no model; give --weights, --exported, or --model_name for the released weights")
        found = [("weights", "")]
    return [(flag, *named(text)) for flag, text in found]


def named(text: str) -> tuple[str | None, str]:
    """(name or None, path) of `[NAME=]PATH`; a path that exists is never taken apart."""
    name, equals, path = text.partition("=")
    if not equals or os.path.exists(text) or not name.replace("-", "").replace("_", "").isalnum():
        return None, text
    return name, path


def listen(settings: "Settings") -> socket.socket:
    """The socket of the service. Raises ConfigError where it cannot be had."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=256)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"--host '{settings.host}' --port '{settings.port}' cannot be listened on ({reason}); name another port"
        ) from error


def load(
    args: argparse.Namespace, sources: list[tuple[str, str | None, str]], settings: "Settings", measures: "Measures"
) -> list["Served"]:
    """The models in service, warmed up."""
    from engine.predictor import Predictor
    from serving.models import Served

    found = {}
    overrides = dict(args.override)
    for flag, name, path in sources:
        if flag == "exported":
            predictor = Predictor(args.model_name, exported=path, overrides=overrides, use_gpu=args.use_gpu)
        else:
            predictor = Predictor(
                args.model_name, args.config, path or None, overrides, args.use_gpu, precision=args.precision
            )
        name = name or predictor.model.slug
        if name in found:
            raise ConfigError(f"two models are called '{name}'; give them names: --{flag} NAME={path}")
        found[name] = Served(name, predictor, settings, measures)
        found[name].warm()
    for model in found.values():
        cli.log.info("serving %s: %s of %d classes", model.name, model.predictor.model.name, len(model.predictor.names))
    return list(found.values())


if __name__ == "__main__":
    cli.run(main)
