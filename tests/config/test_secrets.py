"""Secrets: each in a file of its own, that nobody else can read or change."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from anycast_agent.config import load
from tests.support.configs import DNS, LEAF, changed, problems, written


def test_a_secret_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """The file's mode is looked at; its content never shows."""
    secret = tmp_path / "leaf.secret"
    secret.write_text("hunter2")
    secret.chmod(0o644)
    assert f"{secret} can be read by others: chmod 600 {secret}" in problems(
        tmp_path, ((*LEAF, "password_file"), str(secret))
    )
    secret.chmod(0o600)
    loaded = load(written(tmp_path, changed(((*LEAF, "password_file"), str(secret)))))
    assert "hunter2" not in repr(loaded)
    before = loaded.config.neighbors["leaf4"]
    secret.write_text("other")
    assert load(tmp_path / "agent.yaml").config.neighbors["leaf4"] != before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_secret_of_another_user_is_refused(tmp_path: Path) -> None:
    """Who owns the file could change the password."""
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    secret.chmod(0o600)
    os.chown(secret, 65534, 65534)
    said = problems(tmp_path, ((*LEAF, "password_file"), str(secret)))
    assert any("belongs to another user" in line for line in said)


@pytest.mark.parametrize("text", ["", "\n", "one\ntwo\n", "x" * 81, "pass\u00e4"])
def test_a_password_file_that_exabgp_could_not_use(tmp_path: Path, text: str) -> None:
    """Said before the configuration is taken, and not by the speaker afterwards. The content is not."""
    secret = tmp_path / "secret"
    secret.write_text(text)
    secret.chmod(0o600)
    (said,) = problems(tmp_path, ((*LEAF, "password_file"), str(secret)))
    assert said.endswith("holds the password alone: 1 to 80 printable ASCII characters on one line")


def test_a_tls_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """It is a secret as a password is."""
    key = tmp_path / "key.pem"
    key.write_text("key")
    key.chmod(0o644)
    check = {"type": "http", "cert_file": str(key), "key_file": str(key)}
    assert problems(tmp_path, ((*DNS, "checks"), {"x": check})) == [f"{key} can be read by others: chmod 600 {key}"]
