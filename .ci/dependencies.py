"""Refuses dependencies from elsewhere than the registry, or under licences that deny.toml does not allow.

The part of cargo-deny that needs no network and no installation. Call it with Cargo.toml files; it reads the lock files beside them.
"""

import json
import re
import subprocess
import sys
import tomllib
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def allows(expression, allowed):
    """Whether an SPDX expression can be met by allowed licences. Crates of old write `/` for OR."""
    tokens = re.findall(r"[()]|[^\s()/]+", expression.replace("/", " OR "))
    at = 0

    def peek():
        return tokens[at] if at < len(tokens) else None

    def take():
        nonlocal at
        at += 1
        return tokens[at - 1]

    def either():
        value = both()
        while peek() == "OR":
            take()
            # Evaluated first, so that the tokens are consumed whatever the left side says.
            value = both() or value
        return value

    def both():
        value = one()
        while peek() == "AND":
            take()
            value = one() and value
        return value

    def one():
        if peek() == "(":
            take()
            value = either()
            if peek() != ")":
                raise ValueError(f"no licence expression: {expression!r}")
            take()
            return value
        if peek() in (None, ")", "AND", "OR", "WITH"):
            raise ValueError(f"no licence expression: {expression!r}")
        name = take()
        if peek() == "WITH":
            take()
            name = f"{name} WITH {take()}"
        return name in allowed

    value = either()
    if at != len(tokens):
        raise ValueError(f"no licence expression: {expression!r}")
    return value


def problems(packages, rules):
    """One sentence for each package that breaks a rule."""
    allowed = set(rules["licenses"]["allow"])
    registries = {f"registry+{url}" for url in rules["sources"]["allow-registry"]}
    for package in packages:
        name = f"{package['name']} {package['version']}"
        # A package of this repository has no source.
        if package["source"] is not None and package["source"] not in registries:
            yield f"{name} comes from {package['source']}"
        if not package["license"]:
            yield f"{name} names no licence"
        elif not allows(package["license"], allowed):
            yield f"{name} is under {package['license']}"


def packages(manifest, rules):
    """Everything that the manifest's workspace is built from, on the targets of the rules."""
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--manifest-path", manifest]
    if rules["graph"]["all-features"]:
        command.append("--all-features")
    for target in rules["graph"]["targets"]:
        command += ["--filter-platform", target]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)["packages"]


class Rules(unittest.TestCase):
    """That the check refuses what it should."""

    RULES = {"licenses": {"allow": ["MIT", "Apache-2.0"]}, "sources": {"allow-registry": ["https://registry"]}}

    def found(self, **changes):
        package = {"name": "a", "version": "1.0.0", "source": "registry+https://registry", "license": "MIT"}
        return list(problems([package | changes], self.RULES))

    def test_a_package_of_the_registry_and_one_of_the_workspace_pass(self):
        self.assertEqual(self.found(), [])
        self.assertEqual(self.found(source=None), [])

    def test_git_and_other_registries_are_refused(self):
        for source in ["git+https://host/a?rev=1", "registry+https://other", "sparse+https://other"]:
            self.assertEqual(self.found(source=source), [f"a 1.0.0 comes from {source}"])

    def test_a_licence_outside_the_list_or_none_is_refused(self):
        self.assertEqual(self.found(license="GPL-3.0-only"), ["a 1.0.0 is under GPL-3.0-only"])
        self.assertEqual(self.found(license=None), ["a 1.0.0 names no licence"])

    def test_expressions_mean_what_spdx_says(self):
        allowed = {"MIT", "Apache-2.0 WITH LLVM-exception"}
        for text in ["MIT", "MIT/GPL", "GPL OR MIT", "(GPL OR MIT) AND MIT", "Apache-2.0 WITH LLVM-exception"]:
            self.assertTrue(allows(text, allowed), text)
        for text in ["GPL", "MIT AND GPL", "Apache-2.0", "MIT WITH x", "(MIT AND GPL) OR GPL"]:
            self.assertFalse(allows(text, allowed), text)
        for text in ["", "MIT OR", "MIT GPL", "(MIT", "AND MIT", "MIT)"]:
            with self.assertRaises(ValueError):
                allows(text, allowed)


def main(manifests):
    if not unittest.TextTestRunner(verbosity=0).run(
        unittest.defaultTestLoader.loadTestsFromTestCase(Rules)
    ).wasSuccessful():
        return 1
    rules = tomllib.loads((ROOT / "deny.toml").read_text())
    found = sorted({line for manifest in manifests for line in problems(packages(manifest, rules), rules)})
    for line in found:
        print(f"error: {line}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
