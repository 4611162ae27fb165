"""The image's recipe: pinned, unprivileged, and of this version; hadolint finds nothing."""

import importlib.metadata
import re
import shutil
import subprocess
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deploy.files import OVERLAYS, ROOT, rendered, sidecar
from tests.deploy.kustomize import pod_template
from wxproxy import __version__, cli

DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
LOCKS = {name: ROOT / "deploy" / "image" / f"{name}.lock" for name in ("requirements", "build")}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
# The last FROM begins what is shipped.
SHIPPED = DOCKERFILE.rpartition("\nFROM ")[2]

every_lock = pytest.mark.parametrize("lock", LOCKS)


def pins(lock: str) -> dict[str, str]:
    """Name and version of each package of a lock file."""
    lines = re.findall(r"^([\w.-]+)==([\w.]+)", LOCKS[lock].read_text("utf-8"), re.M)
    return {canonicalize_name(name): version for name, version in lines}


@every_lock
def test_every_pin_has_hashes_and_no_lock_names_an_index(lock: str) -> None:
    """pip --require-hashes can take the file, from whatever index is configured."""
    text = re.sub(r"^ *#.*\n", "", LOCKS[lock].read_text("utf-8"), flags=re.M)
    entries = text.replace("\\\n", " ").splitlines()

    assert entries
    for entry in entries:
        assert re.fullmatch(r"[\w.-]+==[\w.]+( ; [^@]+?)?( +--hash=sha256:[0-9a-f]{64})+", entry)


def test_the_lock_has_all_that_the_program_needs() -> None:
    """Each requirement, and theirs in turn, is pinned to a version that it allows."""
    pinned = pins("requirements")
    waiting = [Requirement(text) for text in PROJECT["project"]["dependencies"]]
    seen = set()
    while waiting:
        requirement = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        name = canonicalize_name(requirement.name)
        assert pinned[name] in requirement.specifier, requirement
        # What another version than the pinned one requires says nothing about the lock.
        if name not in seen and importlib.metadata.version(name) == pinned[name]:
            seen.add(name)
            waiting += map(Requirement, importlib.metadata.requires(name) or ())


def test_the_build_lock_has_the_build_backend() -> None:
    """What builds the wheel is pinned too."""
    (backend,) = (Requirement(text) for text in PROJECT["build-system"]["requires"])

    assert pins("build")["setuptools"] in backend.specifier


def test_the_image_is_of_this_version() -> None:
    """Label, manifests and program name one version."""
    assert f"ARG VERSION={__version__}\n" in SHIPPED
    for overlay in OVERLAYS:
        (workload,) = (one for one in rendered(overlay) if pod_template(one))
        assert sidecar(workload)["image"] == f"registry.example/wxproxy:{__version__}"


def test_the_image_runs_as_the_user_of_the_manifests() -> None:
    """By number, as kubelet's runAsNonRoot wants it, and the same as in the pods."""
    (workload,) = (one for one in rendered(OVERLAYS[0]) if pod_template(one))
    security = sidecar(workload)["securityContext"]

    assert f"USER {security['runAsUser']}:{security['runAsGroup']}\n" in SHIPPED


def test_nothing_is_run_in_the_shipped_stage() -> None:
    """It is the base, a copied environment and metadata: no compiler, no cache, no shell."""
    instructions = set(re.findall(r"^([A-Z]+) ", SHIPPED, re.M))

    assert instructions <= {
        *("ARG", "LABEL", "COPY", "ENV", "USER", "WORKDIR"),
        *("HEALTHCHECK", "ENTRYPOINT", "CMD"),
    }


def test_commands_of_the_image_are_commands_of_the_program(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Start and health check are in exec form, and wxproxy knows them with their flags."""
    health = re.findall(r'CMD \["wxproxy", "(\w+)", "(--\w+)"', SHIPPED)
    (serve,) = re.findall(r'^CMD \["(\w+)"\]$', SHIPPED, re.M)

    assert 'ENTRYPOINT ["wxproxy"]' in SHIPPED
    for command, flag in [*health, (serve, "--config")]:
        with pytest.raises(SystemExit) as left:
            cli.run([command, "--help"])
        assert left.value.code == 0
        assert flag in capsys.readouterr().out


def test_only_what_is_copied_goes_to_the_builder() -> None:
    """.dockerignore lets in what the Dockerfile copies, and nothing else."""
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    allowed = {line.removeprefix("!") for line in lines if line.startswith("!")}
    copied = [
        word
        for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.M)
        for word in line.split()
    ]

    assert "*" in lines
    assert {re.sub(r"deploy/image/\w+\.lock", "deploy/image/*.lock", one) for one in copied} == (
        allowed
    )


def test_hadolint_finds_nothing() -> None:
    """Part of make deploy-check, which installs it."""
    hadolint = shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("no hadolint: make deploy-check installs it")
    ended = subprocess.run(
        [hadolint, str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False
    )

    assert ended.returncode == 0, ended.stdout
