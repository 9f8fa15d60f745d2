#!/usr/bin/env bash
# The whole GPU check, from an unpacked bundle (gpu-bundle.sh), on a machine without Rust. See --help.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: gpu-check.sh [options] [-- OPTIONS OF gpu-check]

Checks the device through ICICLE, proves on it, times it, and lets the peer prove the same if the bundle has it.
Exits with 1 if anything failed. Everything goes into one folder:

  machine.txt       what the machine is, and what it lacks
  gpu-check.json    the report of every step; gpu-check.log what was said meanwhile
  gpu-usage.csv     the GPU's memory, load and power, each second (where nvidia-smi is there)
  peer-*.json       what the peer did
  summary.txt       a table of it all

  --out DIR           the folder (default: gpu-check-results)
  --device NAME       icicle, icicle:N, icicle-cpu or cpu (default: icicle, the first GPU)
  --icicle-dir DIR    ICICLE (default: the bundle's, else ICICLE_BACKEND_INSTALL_DIR, else /opt/icicle)
  --preset NAME       sizes of the circuits: tiny, ci, server or gpu (default: ci)
  --keys-dir DIR      where keys are kept and made, gigabytes (default: rollup-prover-keys in the temporary folder)
  --seconds N         time for everything (default: 590)
  --peer-seconds N    of that, time for the peer (default: 120)
  --no-peer           leave the peer out
  --help              this text
TEXT
}

fail() { echo "gpu-check: $*" >&2; exit 1; }

out=gpu-check-results device=icicle icicle='' preset=ci seconds=590 peer_seconds=120 with_peer=true
keys=${ROLLUP_PROVER_KEYS:-${TMPDIR:-/tmp}/rollup-prover-keys}
while (($#)); do
  case $1 in
    --out | --device | --icicle-dir | --preset | --keys-dir | --seconds | --peer-seconds)
      (($# >= 2)) || fail "$1 takes a value"
      case $1 in
        --out) out=$2 ;;
        --device) device=$2 ;;
        --icicle-dir) icicle=$2 ;;
        --preset) preset=$2 ;;
        --keys-dir) keys=$2 ;;
        --seconds) seconds=$2 ;;
        --peer-seconds) peer_seconds=$2 ;;
      esac
      shift 2
      ;;
    --no-peer) with_peer=false; shift ;;
    --help | -h) usage; exit 0 ;;
    --) shift; break ;;
    *) usage >&2; fail "unknown option $1" ;;
  esac
done
[[ $seconds =~ ^[0-9]+$ && $peer_seconds =~ ^[0-9]+$ ]] || fail "seconds are whole numbers"

bundle=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[[ -x $bundle/bin/gpu-check && -f $bundle/bundle.txt ]] || fail "$bundle is no bundle; gpu-bundle.sh makes one"
[[ -x $bundle/bin/peer ]] || with_peer=false
# Other devices are not the peer's.
[[ $device =~ ^icicle(:[0-9]+)?$ ]] || with_peer=false
$with_peer || peer_seconds=0
((seconds > peer_seconds)) || fail "no time is left beside the peer's"
if [[ -z $icicle && -d $bundle/icicle ]]; then icicle=$bundle/icicle; fi
icicle=${icicle:-${ICICLE_BACKEND_INSTALL_DIR:-/opt/icicle}}
libraries=$bundle/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
mkdir -p "$out" "$keys"
out=$(cd "$out" && pwd)
rm -f "$out"/{machine.txt,gpu-check.json,gpu-check.log,gpu-usage.csv,summary.txt} "$out"/peer-*.{json,log}

value() { sed -n "s/^$1=//p" "$bundle/bundle.txt"; }
BENCHES_COMMIT=$(value commit)
export BENCHES_COMMIT

# What the machine is. What it lacks is said, and then seen by the check itself.
lacks() { echo "lacks: $*"; }
machine() {
  echo "commit: $BENCHES_COMMIT"
  echo "system: $(uname -srm)"
  echo "processors: $(nproc), $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)"
  echo "memory: $(sed -n 's/^MemTotal: *//p' /proc/meminfo)"
  echo "free for keys: $(df -h --output=avail "$keys" | tail -n 1 | tr -d ' ') in $keys"
  (cd "$bundle" && sha256sum --check --quiet SHA256SUMS) || lacks "files of the bundle as they were packed"
  local needed found library missing
  needed=$(value glibc)
  found=$(getconf GNU_LIBC_VERSION 2>/dev/null | cut -d' ' -f2) || found=''
  echo "glibc: ${found:-unknown}; the bundle needs $needed"
  if [[ -n $found && $(printf '%s\n' "$needed" "$found" | sort -V | head -n 1) != "$needed" ]]; then
    lacks "glibc $needed"
  fi
  if [[ $device == icicle* ]]; then
    echo "ICICLE: $icicle"
    for library in device field_bn254 curve_bn254; do
      [[ -f $icicle/lib/libicicle_$library.so || -f $icicle/libicicle_$library.so ]] || lacks "libicicle_$library.so"
    done
  fi
  while read -r library; do
    [[ $library != "$bundle/bin/peer" ]] || $with_peer || continue
    # ICICLE's libraries find each other by what was loaded before.
    missing=$(LD_LIBRARY_PATH=$libraries ldd "$library" 2>/dev/null | sed -n 's/^\s*\(\S*\) => not found.*/\1/p' | grep -v '^libicicle_' || true)
    [[ -z $missing ]] || lacks "$(tr '\n' ' ' <<<"$missing")for $(basename "$library")"
  done < <(find -L "$bundle/bin" "$icicle" -type f \( -path "$bundle/bin/*" -o -name 'libicicle*.so' \) 2>/dev/null)
  if command -v nvidia-smi >/dev/null; then
    nvidia-smi || lacks "a driver that answers nvidia-smi"
  elif [[ $device =~ ^icicle(:[0-9]+)?$ ]]; then
    lacks "nvidia-smi"
  fi
}
machine 2>&1 | tee "$out/machine.txt"

watcher=''
if command -v nvidia-smi >/dev/null; then
  nvidia-smi --query-gpu=timestamp,index,memory.used,utilization.gpu,power.draw --format=csv --loop=1 \
    >"$out/gpu-usage.csv" 2>&1 &
  watcher=$!
fi
trap '[[ -z $watcher ]] || kill "$watcher" 2>/dev/null || true' EXIT

status=0
"$bundle/bin/gpu-check" --device "$device" --icicle-dir "$icicle" --preset "$preset" --keys-dir "$keys" \
  --deadline-seconds $((seconds - peer_seconds)) --json "$out/gpu-check.json" "$@" \
  >"$out/summary.txt" 2> >(tee "$out/gpu-check.log" >&2) || status=$?

if $with_peer; then
  index=${device#icicle}
  export CUDA_VISIBLE_DEVICES=${index#:}
  [[ -n $CUDA_VISIBLE_DEVICES ]] || export CUDA_VISIBLE_DEVICES=0
  for circuit in shard aggregation; do
    # What the check left of its time is the peer's too.
    left=$((seconds - SECONDS))
    ((left > 0)) || left=1
    code=0
    LD_LIBRARY_PATH=$libraries timeout --kill-after=5 "$left" "$bundle/bin/peer" --circuit "$circuit" --preset "$preset" --keys-dir "$keys" \
      --json "$out/peer-$circuit.json" >>"$out/summary.txt" 2> >(tee "$out/peer-$circuit.log" >&2) || code=$?
    if ((code)); then
      status=1
      echo "peer $circuit: failed with status $code, see peer-$circuit.log" >>"$out/summary.txt"
    fi
  done
elif [[ -x $bundle/bin/peer ]]; then
  echo "peer: left out" >>"$out/summary.txt"
else
  echo "peer: not in the bundle" >>"$out/summary.txt"
fi

echo
grep '^lacks: ' "$out/machine.txt" || true
cat "$out/summary.txt"
echo "$SECONDS s; results in $out"
exit "$status"
