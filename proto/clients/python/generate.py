"""Makes `gen/` from the .proto files: messages and stubs with their types. `python generate.py [FOLDER]`"""

import sys
from pathlib import Path

from grpc_tools import protoc

HERE = Path(__file__).resolve().parent
PROTO = HERE.parent.parent


def main(out: Path) -> None:
    out.mkdir(exist_ok=True)
    # The plugins of this Python's environment.
    programs = Path(sys.executable).parent
    plugins = [f"--plugin=protoc-gen-{name}={programs / f'protoc-gen-{name}'}" for name in ("mypy", "mypy_grpc")]
    kinds = ("python", "grpc_python", "mypy", "mypy_grpc")
    files = sorted(str(path.relative_to(PROTO)) for path in PROTO.glob("zkrollup/prover/v1/*.proto"))
    outs = [f"--{kind}_out={'quiet:' if 'mypy' in kind else ''}{out}" for kind in kinds]
    code: int = protoc.main(["protoc", f"-I{PROTO}", *plugins, *outs, *files])
    sys.exit(code)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "gen")
