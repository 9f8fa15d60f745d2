#!/usr/bin/env bash
# Makes the bundle with which gpu-check.sh checks a GPU on a machine without Rust. See --help.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: benches/gpu-bundle.sh [options]

Builds gpu-check, and packs it with gpu-check.sh into one archive for a machine that has neither Rust nor a network.

  --out FILE          the archive (default: target/gpu-bundle.tar.gz)
  --icicle-dir DIR    take along an installation of ICICLE v4: its front end for BN254 and those of its backends' files
                      that serve BN254. Its licence is for you to look at; nothing is downloaded.
  --reference         instead, take along the reference library of the tests, to try the bundle without a GPU:
                      gpu-check.sh --device icicle-cpu
  --peer FILE         take along the program of benches/peer, built where there is a CUDA compiler
  --max-mib N         fail if the archive is larger (default: 60)
  --help              this text

On the machine with the GPU:

  tar xzf gpu-bundle.tar.gz && gpu-bundle/gpu-check.sh --out results
TEXT
}

fail() { echo "gpu-bundle: $*" >&2; exit 1; }

out='' icicle='' reference=false peer='' max_mib=60
while (($#)); do
  case $1 in
    --out | --icicle-dir | --peer | --max-mib)
      (($# >= 2)) || fail "$1 takes a value"
      case $1 in
        --out) out=$(realpath -m -- "$2") ;;
        --icicle-dir) icicle=$(realpath -e -- "$2") || fail "no folder $2" ;;
        --peer) peer=$(realpath -e -- "$2") || fail "no file $2" ;;
        --max-mib) max_mib=$2 ;;
      esac
      shift 2
      ;;
    --reference) reference=true; shift ;;
    --help | -h) usage; exit 0 ;;
    *) usage >&2; fail "unknown option $1" ;;
  esac
done
[[ $max_mib =~ ^[0-9]+$ ]] || fail "--max-mib takes a number"
[[ -z $icicle || $reference == false ]] || fail "either --icicle-dir or --reference"

cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
out=${out:-$target/gpu-bundle.tar.gz}

# halo2curves' tables are in the program once for each unit that was compiled alone, 2 MB each, and gzip does not see so
# far back. The linker folds them; rust-lld is the toolchain's own on this platform.
cargo rustc --release --locked -p benches --bin gpu-check -- \
  -C strip=symbols -C link-arg=-Wl,--icf=all -C link-arg=-Wl,--ignore-data-address-equality

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
bundle=$folder/gpu-bundle
mkdir -p "$bundle/bin"
install -m 755 "$target/release/gpu-check" "$bundle/bin/gpu-check"
install -m 755 benches/gpu-check.sh "$bundle/gpu-check.sh"
if [[ -n $peer ]]; then
  install -m 755 "$peer" "$bundle/bin/peer"
  # CUDA's runtime, where the peer is not linked to it statically. The driver is the machine's.
  while read -r library path; do
    [[ $path == /* ]] || fail "the peer needs $library; put its folder into LD_LIBRARY_PATH"
    install -D -m 755 "$path" "$bundle/lib/$library"
  done < <(ldd "$peer" | sed -n 's/^\s*\(libcudart\S*\) => \(\S*\).*/\1 \2/p')
fi

# Copies the files of an installation that are named on standard input, links resolved.
copy_from() {
  local file
  while read -r file; do
    install -D -m 755 "$1/$file" "$bundle/icicle/lib/$file"
  done
}

if [[ -n $icicle ]]; then
  lib=$icicle/lib
  [[ -d $lib ]] || lib=$icicle
  for name in device field_bn254 curve_bn254; do
    [[ -f $lib/libicicle_$name.so ]] || fail "no libicicle_$name.so in $lib"
    echo "libicicle_$name.so" | copy_from "$lib"
  done
  if [[ -d $lib/backend ]]; then
    (cd "$lib" && find -L backend -type f \( -name '*_device.so' -o -name '*_bn254.so' \)) | copy_from "$lib"
  fi
elif $reference; then
  cargo build --release --locked -p icicle-reference
  mkdir -p "$bundle/icicle/lib"
  install -m 755 "$target/release/libicicle_reference.so" "$bundle/icicle/lib/"
  for name in device field_bn254 curve_bn254; do
    ln -s libicicle_reference.so "$bundle/icicle/lib/libicicle_$name.so"
  done
fi

# The newest glibc of which a program or library asks for a symbol.
glibc=$(find "$bundle" -type f \( -path '*/bin/*' -o -name '*.so' \) -exec objdump -T {} + 2>/dev/null |
  grep -o 'GLIBC_[0-9.]*' | cut -d_ -f2 | sort -Vu | tail -n 1)
commit=$(git describe --always --dirty --abbrev=12 2>/dev/null || echo unknown)
printf 'commit=%s\nglibc=%s\n' "$commit" "$glibc" >"$bundle/bundle.txt"
(cd "$bundle" && find . -type f ! -name SHA256SUMS -print0 | sort -z | xargs -0 sha256sum >SHA256SUMS)

mkdir -p "$(dirname "$out")"
tar -C "$folder" --owner=0 --group=0 -cf - gpu-bundle | gzip -9 >"$out"

echo "commit $commit, needs glibc $glibc; bytes before compression:"
(cd "$bundle" && find . -type f -size +63k -printf '%10s  %P\n' | sort -rn)
size=$(stat -c %s "$out")
echo "$size bytes in $out"
((size <= max_mib << 20)) || fail "larger than $max_mib MiB"
