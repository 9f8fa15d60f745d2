#!/usr/bin/env python3
"""Takes each check, effect and bound of the contracts away, one at a time: a test of forge must fail.

All mutants are in one copy of the contracts, which is compiled once: each stands behind a switch, and the environment says which one is on.
So a mutant costs a second. Mutants: a check that is left out; a statement that is left out; a comparison that holds, or does not, at equality; a
function without the lock; a word that is left out of what the point `x` is drawn from.

usage: mutations.py [--list] [NUMBER...]        (all of them, or those)
"""

import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
CRATE = ROOT / "verifier-contracts"
VARIABLE = "MUTANT"
# Interfaces, and what a generator wrote.
SKIPPED_FILES = {"IRollup.sol", "IVerifier.sol", "IPoseidon.sol", "Field.sol", "Poseidon.sol"}
# Their bounds are on gas or code, which the switches take too.
SKIPPED_CONTRACTS = "CostsTest|InvariantsTest"
SKIPPED_TESTS = "stays_within_its_budget|within_its_budget"

# Mutants that change nothing that anybody could see, with the reason.
EQUIVALENT = {}

SWITCH = """// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @dev Whether this mutant is on: forge says so, by an environment variable.
function mutant(uint256 number) pure returns (bool) {
    function(uint256) view returns (bool) look = _look;
    function(uint256) pure returns (bool) pretend;
    assembly {
        pretend := look
    }
    return pretend(number);
}

function _look(uint256 wanted) view returns (bool found) {
    bytes32 selector = bytes4(keccak256("envOr(string,uint256)"));
    assembly ("memory-safe") {
        let at := mload(0x40)
        mstore(at, selector)
        mstore(add(at, 4), 0x40)
        mstore(add(at, 36), 0)
        mstore(add(at, 68), 6)
        mstore(add(at, 100), "MUTANT")
        if iszero(staticcall(gas(), 0x7109709ECfa91a80626fF3989D68f67F5b1DD12D, at, 132, 0, 32)) { invalid() }
        found := eq(mload(0), wanted)
    }
}

/// @dev OpenZeppelin's lock, with a switch on each function.
abstract contract Lock {
    error ReentrancyGuardReentrantCall();
    bool private transient _locked;

    modifier nonReentrantBut(uint256 number) {
        if (!mutant(number)) _lock();
        _;
        if (!mutant(number)) _locked = false;
    }

    function _lock() private {
        if (_locked) revert ReentrancyGuardReentrantCall();
        _locked = true;
    }
}
"""

OPERAND = r"\w+(?:\.\w+|\((?:[^()]|\([^()]*\))*\)|\[[^\]]*\])*"
SUM = rf"{OPERAND}(?: [+\-] {OPERAND})*"
COMPARISON = re.compile(rf"({SUM}) (<=|>=|<|>) ({SUM})")
AT_EQUALITY = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
DECLARATION = re.compile(
    r"(u?int\d*|bool|address|bytes\d*|string|bytes|mapping|I[A-Z]\w*|[A-Z]\w*(\.\w+)?)(\[\w*\])* "
    r"(storage |memory |calldata |private |public |internal |constant |immutable )*\w+"
)
NO_STATEMENTS = ("return", "revert", "using ", "import ", "error ", "event ", "pragma ", "continue", "break", "type ", "mapping(")


class Mutants:
    """The mutants of a file, which are numbered through all files."""

    def __init__(self):
        self.names = []

    def new(self, path, line, what):
        self.names.append(f"{path.name}:{line}: {what}")
        return len(self.names)


def closing(text, start):
    """Where the bracket that opens at `start` is closed."""
    depth = 0
    for at in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        if depth == 0:
            return at
    raise ValueError(f"no end of the bracket at {start}")


def one_line(text):
    return " ".join(text.split())


def comparisons(text, number):
    """A condition with a switch at each of its comparisons."""

    def switched(match):
        left, operator, right = match.groups()
        other = f"{left} {AT_EQUALITY[operator]} {right}"
        return f"(mutant({number(other)}) ? {other} : {left} {operator} {right})"

    return COMPARISON.sub(switched, text)


def mutate(path, mutants):
    """The file with all its mutants, each behind its switch."""
    lines = path.read_text().split("\n")
    text = "\n".join("" if line.strip().startswith(("//", "/*", "*")) else line.split(" // ")[0] for line in lines)
    # Assembly is held by vectors of another program; nothing in it is changed.
    place = re.search(r"^(abstract )?(contract|library) ", text, re.M).start()
    out, at = [text[:place]], place
    depth = 0

    def line_of(position):
        return text.count("\n", 0, position) + 1

    while at < len(text):
        rest = text[at:]
        if match := re.match(r"assembly [^{]*\{", rest):
            end, level = at + match.end(), 1
            while level:
                level += {"{": 1, "}": -1}.get(text[end], 0)
                end += 1
            out.append(text[at:end])
            at = end
        elif match := re.match(r"(?:if|while) \(", rest):
            start = at + match.end() - 1
            end = closing(text, start)
            condition = text[start + 1 : end]
            number = lambda what, line=line_of(at): mutants.new(path, line, one_line(what))
            changed = comparisons(condition, number)
            if match.group().startswith("if") and re.match(r"\)\s*\{?\s*revert ", text[end:]):
                changed = f"!mutant({number('without: if (' + condition + ')')}) && ({changed})"
            out.append(f"{match.group()}{changed}")
            at = end
        elif match := re.match(r"for \(", rest):
            end = closing(text, at + match.end() - 1)
            out.append(text[at:end])
            at = end
        elif depth >= 2 and (match := re.match(r"(?<=\s)?[A-Za-z_(][^;{}]*;", rest)) and text[at - 1].isspace():
            out.append(statement(path, line_of(at), match.group(), mutants))
            at += match.end()
        elif depth == 1 and (match := re.match(r"nonReentrant\b", rest)):
            function = re.findall(r"function (\w+)|constructor", text[:at])[-1]
            out.append(f"nonReentrantBut({mutants.new(path, line_of(at), f'{function} without the lock')})")
            at += match.end()
        else:
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            out.append(text[at])
            at += 1
    result = "".join(out).replace("ReentrancyGuardTransient {", "Lock {")
    result = re.sub(r"import \{ReentrancyGuardTransient\}[^\n]*\n", "", result)
    head = 'import {Lock, mutant} from "./Mutant.sol";\n'
    return re.sub(r"(pragma [^\n]*\n)", rf"\1{head}", result, count=1)


def statement(path, line, text, mutants):
    """A statement with its switches; a declaration and what ends a function have none but those of their comparisons."""
    number = lambda what: mutants.new(path, line, one_line(what))
    if path.name == "Streams.sol" and "abi.encode(" in text:
        words = re.compile(r"(?<=\n)(\s+)(\w+(?:\.\w+)?(?:\([\w.]+\))?)(,?)(?=\n)")

        def word(match):
            indent, value, comma = match.groups()
            kind = "bytes32(0)" if value == "DOMAIN" or value.startswith("keccak256") else "uint256(0)"
            other = "uint256(1)" if value == "DA_CALLDATA" else kind
            return f"{indent}mutant({number('x without ' + value)}) ? {other} : {value}{comma}"

        return words.sub(word, text)
    if text.startswith(NO_STATEMENTS) or DECLARATION.match(text) or text.startswith("("):
        if "<" in text or ">" in text:
            return comparisons(text, number)
        if text.startswith("(") and "=" in text and not re.match(r"\([A-Za-z0-9.]+ \w", text):
            return f"if (!mutant({number('without: ' + text)})) {text}"
        return text
    if (assigned := re.match(r"(\w+) = ", text)) and re.search(rf"storage {assigned[1]}\b", path.read_text()):
        # The compiler takes no reference that may be none.
        return text
    return f"if (!mutant({number('without: ' + text)})) {text}"


def forge(arguments, project, **environment):
    command = os.environ.get("FORGE", "").split() or [
        "cargo", "run", "--release", "--locked", "--quiet", "-p", "verifier-contracts", "--bin", "forge", "--",
    ]
    return subprocess.run(
        command + arguments + ["--root", str(project)],
        cwd=ROOT,
        env={**os.environ, "FORGE_SNAPSHOT_CHECK": "false", "FOUNDRY_FUZZ_RUNS": "16", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test(project, number):
    """The tests with one mutant; 0 is none. Whether they pass, and what was said."""
    done = forge(
        ["test", "--fail-fast", "--no-match-contract", SKIPPED_CONTRACTS, "--no-match-test", SKIPPED_TESTS],
        project,
        **{VARIABLE: str(number)},
    )
    ran = re.search(r"(\d+) tests passed, (\d+) failed", done.stdout)
    if not ran:
        raise SystemExit(f"forge ran no tests with mutant {number}:\n{done.stdout[-4000:]}")
    return ran.group(2) == "0", done.stdout


def copy(project):
    mutants = Mutants()
    for folder in ["contracts", "test"]:
        shutil.copytree(CRATE / folder, project / folder)
    for path in sorted((project / "contracts").glob("*.sol")):
        if path.name not in SKIPPED_FILES:
            path.write_text(mutate(path, mutants))
    (project / "contracts" / "Mutant.sol").write_text(SWITCH)
    settings = (CRATE / "foundry.toml").read_text()
    settings = settings.replace('"../target/', '"./target/').replace('deny = "warnings"', "code_size_limit = 1000000")
    (project / "foundry.toml").write_text(settings)
    return mutants.names


def main():
    with tempfile.TemporaryDirectory() as folder:
        project = pathlib.Path(folder)
        names = copy(project)
        asked = [int(word) for word in sys.argv[1:] if word.isdigit()] or range(1, len(names) + 1)
        if "--list" in sys.argv:
            print("\n".join(f"{number} {names[number - 1]}" for number in asked))
            return
        passed, said = test(project, 0)
        if not passed:
            raise SystemExit(f"the tests fail without any mutant:\n{said}")
        survived = []
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for number, (passed, _) in zip(asked, pool.map(lambda number: test(project, number), asked)):
                if passed and names[number - 1].split(": ", 1)[1] not in EQUIVALENT:
                    survived.append(f"{number} {names[number - 1]}")
                    print(survived[-1], flush=True)
        print(f"{len(asked)} mutants, {len(survived)} that no test notices")
        if survived:
            raise SystemExit(1)


if __name__ == "__main__":
    main()
