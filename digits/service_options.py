"""The flags of the service, whose defaults the environment can set."""

import argparse
import os

MODEL = "mnist_dnn.h5"


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Return the flags; the environment can set their defaults."""
    parser = argparse.ArgumentParser(
        description="Read digits over HTTP.",
        epilog="Defaults come from MNIST_HOST, MNIST_PORT or PORT, MNIST_MODEL, "
        "MNIST_ALLOW_ORIGIN and MNIST_COLLECT in the environment.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    default = os.environ.get
    flag = parser.add_argument
    flag("--host", default=default("MNIST_HOST", "127.0.0.1"), help="address to listen on")
    port = default("MNIST_PORT") or default("PORT") or 5000
    flag("--port", default=port, type=int, help="port to listen on")
    flag("--model", default=default("MNIST_MODEL", MODEL), help="trained network to read with")
    flag("--workers", default=1, type=int, help="processes, each with a copy of the model")
    flag("--allow-origin", nargs="+", default=default("MNIST_ALLOW_ORIGIN", "").split(),
        metavar="URL", help="sites whose pages may use the API, * for all")  # fmt: skip
    flag("--trusted-hosts", nargs="+", default=default("MNIST_TRUSTED_HOSTS", "").split(),
        metavar="NAME", help="names of this host to answer to, otherwise to all")  # fmt: skip
    flag("--trust-saved-model", action="store_true",
        help="serve a SavedModel folder, which is a program and may do anything")  # fmt: skip
    flag("--collect", default=default("MNIST_COLLECT", ""), metavar="FOLDER",
        help="keep the digits that people correct in this folder, to train on")  # fmt: skip
    return _checked(parser, parser.parse_args(argv))


def _checked(parser, args):
    if not 0 < args.port < 2**16:
        parser.error("--port is 1 to 65535")
    if args.workers < 1:
        parser.error("--workers is 1 or more")
    return args


def as_environment(args: argparse.Namespace) -> dict[str, str]:
    """Return the variables by which workers, and `create_app`, are told the flags."""
    return {
        "MNIST_MODEL": args.model,
        "MNIST_ALLOW_ORIGIN": " ".join(args.allow_origin),
        "MNIST_TRUSTED_HOSTS": " ".join(args.trusted_hosts),
        "MNIST_TRUST_SAVED_MODEL": "1" if args.trust_saved_model else "",
        "MNIST_COLLECT": args.collect,
    }
