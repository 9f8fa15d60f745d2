"""Runs slither over the contracts, and refuses each finding that verifier-contracts/slither.toml does not explain.

A place that is explained and not found any more is refused too. Slither comes from PyPI, pinned, into target/; compiler and
libraries are those that the program fetches for itself, so one of its commands that needs them must have run.
"""

import hashlib
import json
import posixpath
import re
import shutil
import subprocess
import sys
import tomllib
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CRATE = ROOT / "verifier-contracts"
TARGET = ROOT / "target"
REQUIREMENTS = ROOT / ".ci" / "slither.txt"


def environment():
    """A folder with slither, made once for each state of the list."""
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:16]
    ready = TARGET / f"slither-{digest}"
    if not ready.exists():
        # Packages name the folder they were made in, so it is made where it stays and marked when it is whole.
        made = TARGET / f"slither-{digest}.partial"
        shutil.rmtree(made, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", made], check=True)
        pip = [made / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", REQUIREMENTS], check=True)
        made.rename(ready)
    return ready


def tools():
    """The folder with npm's solc and OpenZeppelin."""
    found = [path.parent for path in TARGET.glob("tools/*/solc.js")]
    lock = (CRATE / "package-lock.json").read_bytes()
    found = [path for path in found if (path / "package-lock.json").read_bytes() == lock]
    if not found:
        sys.exit("error: the contracts' tools are missing: run `cargo run --release -p verifier-contracts --bin forge -- --version` first")
    return found[0]


def imports(name, text):
    """Names of the files that a source imports, as the compiler names them."""
    for path in re.findall(r'^import\s[^;]*?"([^"]+)"', text, re.MULTILINE):
        yield posixpath.normpath(posixpath.join(posixpath.dirname(name), path)) if path.startswith(".") else path


def standard_json(folder):
    """The compiler's input: every contract and what it imports."""
    sources = {}
    waiting = [f"contracts/{path.name}" for path in sorted((folder / "contracts").glob("*.sol"))]
    while waiting:
        name = waiting.pop()
        if name not in sources:
            content = (folder / name).read_text()
            sources[name] = {"content": content}
            waiting += imports(name, content)
    wanted = ["abi", "metadata", "devdoc", "userdoc", "evm.bytecode", "evm.deployedBytecode", "evm.methodIdentifiers"]
    settings = {
        "optimizer": {"enabled": True, "runs": 1000},
        "evmVersion": "cancun",
        "outputSelection": {"*": {"*": wanted, "": ["ast"]}},
    }
    return json.dumps({"language": "Solidity", "sources": sources, "settings": settings})


def run():
    """What slither finds, as (check, place)."""
    made, found = environment(), tools()
    folder = TARGET / "slither"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copytree(CRATE / "contracts", folder / "contracts")
    shutil.copytree(found / "node_modules" / "@openzeppelin", folder / "@openzeppelin")
    (folder / "input.json").write_text(standard_json(folder))
    solc = folder / "solc"
    solc.write_text(f'#!/bin/sh\nexec node --stack-size=8000 "{found / "solc.js"}" "$@"\n')
    solc.chmod(0o755)
    python = made / "bin" / "python"
    # slither's own command names the folder that it was installed in, which was moved.
    command = [python, "-m", "slither", "input.json", "--compile-force-framework", "solc-json", "--solc", solc]
    command += ["--filter-paths", "@openzeppelin", "--json", "found.json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    report = folder / "found.json"
    if not report.exists() or not json.loads(report.read_text())["success"]:
        sys.exit(f"error: slither did not run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return {(finding["check"], place(finding)) for finding in json.loads(report.read_text())["results"]["detectors"]}


def place(finding):
    """Where a finding is: contract and function, event or variable's function."""
    for element in finding["elements"]:
        if element["type"] in ("function", "event"):
            return f"{element['type_specific_fields']['parent']['name']}.{element['name']}"
    for element in finding["elements"]:
        parent = element.get("type_specific_fields", {}).get("parent")
        if parent and parent["type"] == "function":
            return f"{parent['type_specific_fields']['parent']['name']}.{parent['name']}"
    return finding["elements"][0]["name"] if finding["elements"] else ""


def differences(found, explained):
    """What is found and not explained, and the other way round, a line each."""
    lines = [f"not explained: {check} at {where}" for check, where in sorted(found - explained)]
    return lines + [f"explained and not found: {check} at {where}" for check, where in sorted(explained - found)]


def explanations(text):
    """The explained (check, place) of the file."""
    table = tomllib.loads(text)
    explained = set()
    for entry in table["explained"]:
        if not entry["why"].strip():
            sys.exit(f"error: {entry['check']} is explained by nothing")
        explained |= {(entry["check"], where) for where in entry["where"]}
    return explained


class Tests(unittest.TestCase):
    def test_both_differences_are_lines(self):
        self.assertEqual(differences({("a", "F.g")}, {("a", "F.g")}), [])
        self.assertEqual(differences({("a", "F.g")}, set()), ["not explained: a at F.g"])
        self.assertEqual(differences(set(), {("b", "F.h")}), ["explained and not found: b at F.h"])

    def test_imports_are_named_as_the_compiler_names_them(self):
        text = 'import {A} from "./A.sol";\nimport {\n  B\n} from "@x/b/B.sol";\n// import "no.sol"\n'
        self.assertEqual(list(imports("contracts/C.sol", text)), ["contracts/A.sol", "@x/b/B.sol"])


def main():
    if not unittest.main(argv=[sys.argv[0]], exit=False, verbosity=0).result.wasSuccessful():
        sys.exit(1)
    found = run()
    lines = differences(found, explanations((CRATE / "slither.toml").read_text()))
    for line in lines:
        print(line, file=sys.stderr)
    if lines:
        sys.exit(1)
    print(f"slither: {len(found)} places, each explained")


if __name__ == "__main__":
    main()
