# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""Chromium's WebSocket against a node that echoes, over ws and wss, with and
without compression, which it always offers."""

import base64
import hashlib
import subprocess

import pytest

from harness import PATIENCE, ROOT, TEST_PATIENCE, has_tls

SCRIPT = (ROOT / "tests" / "conformance" / "echo.js").read_text() + """
const done = arguments[arguments.length - 1];
run(() => new WebSocket(arguments[0])).then(done, (e) => done(String(e)));
"""


def pin_of(certificate):
    """What Chromium calls the key that it shall trust."""
    pem = subprocess.check_output(
        ["openssl", "x509", "-in", f"{certificate}.pem", "-pubkey", "-noout"],
        timeout=PATIENCE, text=True)
    der = base64.b64decode("".join(pem.splitlines()[1:-1]))
    return base64.b64encode(hashlib.sha256(der).digest()).decode()


@pytest.mark.parametrize("compression", ["plain", "deflate"])
@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_echo(cluster, browser, scheme, compression):
    flags, certificate = [], None
    if scheme == "wss":
        if not has_tls():
            pytest.skip("this build has no TLS")
        certificate = cluster.certificate()
        flags = ["--ignore-certificate-errors-spki-list=" +
                 pin_of(certificate)]
    options = ["--compress"] if compression == "deflate" else []
    node = cluster.node(None, "--mode", "echo", *options,
                        certificate=certificate)
    driver = browser(*flags)
    # A page from the node itself: of another origin it would be refused.
    page = "http" + scheme[2:] + f"://{node.address}/healthz"
    driver.get(page)
    driver.set_script_timeout(TEST_PATIENCE)
    end = driver.execute_async_script(SCRIPT, node.url("alice"))
    assert isinstance(end, dict), end
    assert end["code"] == 4001 and end["clean"]
    assert ("permessage-deflate" in end["extensions"]) == \
        (compression == "deflate")
    compressed = node.metrics()["clusterpush_compressed_total"]
    assert (compressed > 0) == (compression == "deflate")
