"""A real S3 server in one process: OpenStack Swift's s3api over its own account, container and object servers.

It verifies signatures and expiry dates for real, which the usual in-memory doubles do not. Runs in the
environment that `scripts/bootstrap-swift` makes; `tests/services.py` starts it. Everything listens on 127.0.0.1.
"""

import eventlet

eventlet.monkey_patch()

import argparse  # noqa: E402
import os  # noqa: E402
import socket  # noqa: E402
import sys  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from eventlet import wsgi  # noqa: E402
from swift.common import utils  # noqa: E402

MAX_OBJECT_BYTES = 5 * 1024**3
HEADER = "[swift-hash]\nswift_hash_path_suffix = tests\n"


def listen(port: int = 0) -> socket.socket:
    return eventlet.listen(("127.0.0.1", port))


def serve(sock: socket.socket, app: Callable[..., Any]) -> None:
    from swift.common.http_protocol import SwiftHttpProtocol

    with Path(os.devnull).open("w") as quiet:
        wsgi.server(sock, app, log=quiet, log_output=False, protocol=SwiftHttpProtocol, max_size=256)


def write_rings(folder: Path, ports: dict[str, int]) -> None:
    """One ring a server kind, each with the one device `d1`."""
    from swift.common.ring import RingBuilder

    for kind, port in ports.items():
        builder = RingBuilder(part_power=1, replicas=1, min_part_hours=0)
        builder.add_dev(
            {"id": 0, "region": 1, "zone": 1, "ip": "127.0.0.1", "port": port, "device": "d1", "weight": 1.0}
        )
        builder.rebalance()
        builder.get_ring().save(str(folder / f"{kind}.ring.gz"))


def storage_conf(folder: Path) -> dict[str, str]:
    return {
        "devices": str(folder / "devices"),
        "swift_dir": str(folder),
        "mount_check": "false",
        "log_requests": "false",
        "log_level": "ERROR",
        "node_timeout": "30",
        "conn_timeout": "5",
        "fallocate_reserve": "0",
        "disable_fallocate": "true",
    }


def start_storage(folder: Path) -> None:
    """Account, container and object servers as green threads of this process, and the rings that name them."""
    from swift.account.server import AccountController
    from swift.container.server import ContainerController
    from swift.obj.server import ObjectController

    sockets = {kind: listen() for kind in ("account", "container", "object")}
    write_rings(folder, {kind: sock.getsockname()[1] for kind, sock in sockets.items()})
    conf = storage_conf(folder)
    controllers = {"account": AccountController, "container": ContainerController, "object": ObjectController}
    for kind, controller in controllers.items():
        eventlet.spawn(serve, sockets[kind], controller(conf))


def proxy_app(folder: Path, access_key: str, secret_key: str, region: str) -> Callable[..., Any]:
    from swift.common.middleware import catch_errors, copy, gatekeeper, listing_formats, slo, tempauth
    from swift.common.middleware.s3api import s3api
    from swift.proxy.server import Application

    account, user = access_key.split(":")
    quiet = {"log_level": "ERROR", "swift_dir": str(folder)}
    patience = {"node_timeout": "30", "conn_timeout": "5"}
    # CORS as a bucket for browser uploads needs it: anybody may ask, the signature in the link decides.
    cors = {"cors_allow_origin": "*", "strict_cors_mode": "false"}
    app: Callable[..., Any] = Application(quiet | patience | cors | {"account_autocreate": "true"})
    app.check_config()  # type: ignore[attr-defined]
    s3_conf = {"location": region, "auth_pipeline_check": "false", "cors_preflight_allow_origin": "*"}
    filters = [
        (slo.filter_factory, {}),
        (copy.filter_factory, {}),
        (tempauth.filter_factory, {f"user_{account}_{user}": f"{secret_key} .admin"}),
        (s3api.filter_factory, s3_conf),
        (listing_formats.filter_factory, {}),
        (gatekeeper.filter_factory, {}),
        (catch_errors.filter_factory, {}),
    ]
    for factory, conf in filters:
        app = factory(quiet, **conf)(app)
    return app


def configure(folder: Path) -> None:
    """Swift reads one global file; point it at ours before its modules load their policies."""
    (folder / "devices" / "d1").mkdir(parents=True, exist_ok=True)
    (folder / "swift.conf").write_text(HEADER + "[storage-policy:0]\nname = one\ndefault = yes\n")
    utils.SWIFT_CONF_FILE = str(folder / "swift.conf")
    utils.validate_hash_conf()
    from swift.common.storage_policy import reload_storage_policies

    reload_storage_policies()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--region", default="us-east-1")
    arguments = parser.parse_args()
    try:
        access_key, secret_key = os.environ["S3_ACCESS_KEY"], os.environ["S3_SECRET_KEY"]
    except KeyError as missing:
        sys.exit(f"swift_s3.py: set {missing.args[0]} in the environment.")
    configure(arguments.folder)
    start_storage(arguments.folder)
    app = proxy_app(arguments.folder, access_key, secret_key, arguments.region)
    serve(listen(arguments.port), app)


if __name__ == "__main__":
    main()
