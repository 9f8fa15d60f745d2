//! A fuzzer for decoders, on stable Rust and as a plain test: a corpus, changes of it, and what must hold for any bytes.
//!
//! A target's corpus is the folder `fuzz/NAME` of its crate. Files `seed-*` are made by the target's own code, so that they
//! follow the format; a run compares them and says how a change is accepted. All others are findings, named by what they
//! showed, and stay. Every file is run, then as many changed ones as the target says, from a fixed seed.
//!
//! What has a new effect is changed further: a verdict that no input had before, numbers and quoted text aside. So a decoder
//! whose errors tell cause and place leads the fuzzer through itself, without instrumentation.
//!
//! `FUZZ_SECONDS=600 cargo test --release -p CRATE fuzz -- --nocapture` runs each target so long, with another seed each
//! time (`FUZZ_SEED` names one). An input that fails is kept in `target/fuzz`.
//!
//! While a target runs, its thread's memory is counted: a decoder must not take more than its stated multiple of the input.

mod mutation;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::HashSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Inputs of a short run, unless the target says otherwise.
const RUNS: u64 = 4_000;
/// Most inputs that are kept to be changed further.
const POOL_MAX: usize = 512;
/// Most kinds of verdict that are told apart.
const CLASSES_MAX: usize = 1 << 12;
/// Words of a verdict that count.
const CLASS_WORDS_MAX: usize = 24;

/// A decoder under test, with what it starts from and what it may take.
pub struct Target {
    name: &'static str,
    crate_folder: &'static str,
    folder: PathBuf,
    seeds: Vec<(String, Vec<u8>)>,
    words: Vec<Vec<u8>>,
    runs: u64,
    bytes_max: usize,
    memory: Memory,
}

/// Bytes that a run may hold at one time.
#[derive(Clone, Copy)]
struct Memory {
    always: u64,
    per_byte: u64,
}

/// What a decoder said of an input: whether it took it, and if not, why. A verdict unlike all others makes an input worth
/// changing further.
pub type Verdict = Result<(), String>;

impl Target {
    /// The target of that name, with its corpus in `fuzz/NAME` under the crate's folder (`env!("CARGO_MANIFEST_DIR")`).
    pub fn new(crate_folder: &'static str, name: &'static str) -> Self {
        Self {
            name,
            crate_folder,
            folder: Path::new(crate_folder).join("fuzz").join(name),
            seeds: Vec::new(),
            words: Vec::new(),
            runs: RUNS,
            bytes_max: 1 << 14,
            memory: Memory {
                always: 1 << 16,
                per_byte: 64,
            },
        }
    }

    /// An input that the decoder takes, kept as `seed-NAME`.
    pub fn seed(mut self, name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.seeds.push((format!("seed-{name}"), bytes.into()));
        self
    }

    /// Bytes that mean something to the decoder, to be written over parts of inputs.
    pub fn word(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.words.push(bytes.into());
        self
    }

    /// Inputs of a short run.
    pub fn runs(mut self, runs: u64) -> Self {
        self.runs = runs;
        self
    }

    /// Longest input, if not 16 KiB.
    pub fn bytes_max(mut self, bytes_max: usize) -> Self {
        self.bytes_max = bytes_max;
        self
    }

    /// Memory that the target may hold at one time: so much, and so much for each byte of its input.
    pub fn memory(mut self, always: u64, per_byte: u64) -> Self {
        self.memory = Memory { always, per_byte };
        self
    }

    /// Runs the decoder on the corpus and its changes.
    ///
    /// # Panics
    /// When a seed is refused or its file is outdated, when `decode` panics, and when it takes too much memory.
    pub fn run(self, mut decode: impl FnMut(&[u8]) -> Verdict) {
        let mut pool = self.corpus();
        // A first run fills what is made once in a process, which counts for none.
        let _ = pool.first().map(|input| decode(input));
        let mut known = HashSet::new();
        for (name, bytes) in &self.seeds {
            let verdict = self.try_one(bytes, &mut decode, "a seed");
            assert_eq!(verdict, Ok(()), "{}: {name} is refused", self.name);
        }
        for input in &pool {
            known.insert(class(&self.try_one(input, &mut decode, "the corpus")));
        }
        let (seed, until) = plan();
        if until.is_some() {
            eprintln!("{}: FUZZ_SEED={seed}", self.name);
        }
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let origin = format!("changes under FUZZ_SEED={seed}");
        let mut runs = 0;
        while until.map_or(runs < self.runs, |until| Instant::now() < until) {
            let input = mutation::change(&mut rng, &pool, &self.words, self.bytes_max);
            let class = class(&self.try_one(&input, &mut decode, &origin));
            if known.len() < CLASSES_MAX && known.insert(class) {
                if pool.len() < POOL_MAX {
                    pool.push(input);
                } else {
                    let at = rng.gen_range(0..pool.len());
                    pool[at] = input;
                }
            }
            runs += 1;
        }
        if until.is_some() {
            eprintln!("{}: {runs} inputs, {} verdicts", self.name, known.len());
        }
    }

    /// The files of the corpus. Seeds are first written or compared.
    fn corpus(&self) -> Vec<Vec<u8>> {
        for (name, bytes) in &self.seeds {
            golden::check(self.crate_folder, &format!("fuzz/{}/{name}", self.name), bytes);
        }
        let entries = fs::read_dir(&self.folder).unwrap_or_else(|error| {
            panic!("{}: {error}; a target needs a seed", self.folder.display());
        });
        let mut paths: Vec<PathBuf> = entries
            .map(|entry| entry.expect("an entry of the corpus").path())
            .collect();
        paths.sort();
        let stray = paths.iter().find(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("seed-") && self.seeds.iter().all(|(seed, _)| *seed != name)
        });
        assert!(stray.is_none(), "nothing makes {stray:?} any more");
        let read = |path: &PathBuf| fs::read(path).expect("a file of the corpus");
        paths.iter().map(read).collect()
    }

    fn try_one(&self, input: &[u8], decode: &mut impl FnMut(&[u8]) -> Verdict, origin: &str) -> Verdict {
        let mut verdict = None;
        let mut run = || verdict = Some(decode(input));
        // Nothing of the decoder is used after a panic.
        let outcome = catch_unwind(AssertUnwindSafe(|| allocation_counter::measure(&mut run)));
        let memory = match outcome {
            Ok(memory) => memory.bytes_max,
            Err(panic) => {
                self.report(input, origin, "it panicked");
                resume_unwind(panic);
            }
        };
        let memory_max = self.memory.always + self.memory.per_byte * input.len() as u64;
        if memory > memory_max {
            self.report(
                input,
                origin,
                &format!("{memory} bytes of memory, at most {memory_max}"),
            );
            panic!(
                "{}: {memory} bytes of memory for {} bytes",
                self.name,
                input.len()
            );
        }
        verdict.expect("the target ran to its end")
    }

    /// Keeps an input that failed and says where.
    fn report(&self, input: &[u8], origin: &str, what: &str) {
        let workspace = self
            .folder
            .ancestors()
            .filter(|folder| folder.join("Cargo.lock").is_file());
        let folder = workspace.last().unwrap_or(&self.folder).join("target/fuzz");
        let path = folder.join(self.name);
        let kept = fs::create_dir_all(&folder).and_then(|()| fs::write(&path, input));
        let shown = hex::encode(&input[..input.len().min(256)]);
        eprintln!(
            "{}: {what}, on {} bytes of {origin}: {shown}",
            self.name,
            input.len()
        );
        match kept {
            Ok(()) => eprintln!(
                "they are in {}; mended, they belong into {}",
                path.display(),
                self.folder.display()
            ),
            Err(error) => eprintln!("they could not be kept: {error}"),
        }
    }
}

/// The seed, and until when a long run goes.
fn plan() -> (u64, Option<Instant>) {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let seconds = number("FUZZ_SECONDS");
    let drawn = || {
        if seconds.is_some() {
            rand::thread_rng().r#gen()
        } else {
            0
        }
    };
    let seed = number("FUZZ_SEED").unwrap_or_else(drawn);
    (
        seed,
        seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds)),
    )
}

/// A verdict without its numbers and quoted text, which differ with every input.
fn class(verdict: &Verdict) -> String {
    let Err(reason) = verdict else {
        return String::new();
    };
    let is_quote = |c: char| matches!(c, '"' | '`' | '\'');
    let plain = match (reason.find(is_quote), reason.rfind(is_quote)) {
        (Some(first), Some(last)) => format!("{}{}", &reason[..first], &reason[last..]),
        _ => reason.clone(),
    };
    let word = |word: &str| {
        let is_number = word.bytes().any(|byte| byte.is_ascii_digit());
        if is_number { "#" } else { word }.to_string()
    };
    let words = plain.split_inclusive([' ', ':', '(', ')', '[', ']', ',']);
    words.take(CLASS_WORDS_MAX).map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    const CRATE: &str = env!("CARGO_MANIFEST_DIR");

    fn target() -> Target {
        Target::new(CRATE, "example").seed("one", b"seed:1".as_slice())
    }

    /// Takes `seed:` and a number.
    fn decode(bytes: &[u8]) -> Verdict {
        let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
        let digits = text.strip_prefix("seed:").ok_or("another beginning")?;
        digits
            .parse::<u8>()
            .map(drop)
            .map_err(|error| format!("{digits:?}: {error}"))
    }

    fn fails(run: impl FnOnce()) -> String {
        let panic = catch_unwind(AssertUnwindSafe(run)).expect_err("it fails");
        match panic.downcast::<String>() {
            Ok(text) => *text,
            Err(panic) => panic.downcast::<&str>().expect("text").to_string(),
        }
    }

    #[test]
    fn a_decoder_that_holds_passes_and_two_runs_are_the_same() {
        let inputs = || {
            let mut inputs = Vec::new();
            target().runs(200).run(|bytes| {
                inputs.push(bytes.to_vec());
                decode(bytes)
            });
            inputs
        };
        let first = inputs();
        assert!(first.len() > 200);
        assert_eq!(first, inputs());
    }

    #[test]
    fn a_panic_behind_two_checks_is_found() {
        let found = fails(|| {
            target().runs(20_000).run(|bytes| {
                let verdict = decode(bytes);
                if verdict.is_ok() && bytes != b"seed:1" {
                    panic!("the defect");
                }
                verdict
            });
        });
        assert_eq!(found, "the defect");
    }

    #[test]
    fn a_length_that_is_believed_is_found() {
        let found = fails(|| {
            target().memory(0, 64).run(|bytes| {
                let length = bytes.last().map_or(0, |byte| usize::from(*byte) << 8);
                drop(std::hint::black_box(Vec::<u8>::with_capacity(length)));
                decode(bytes)
            });
        });
        assert!(found.contains("bytes of memory"), "{found}");
    }

    #[test]
    fn a_seed_that_is_refused_or_outdated_is_an_error() {
        let refused = fails(|| target().run(|_| Err("no".to_string())));
        assert!(refused.contains("seed-one is refused"), "{refused}");
        let outdated = Target::new(CRATE, "example").seed("one", b"seed:2".as_slice());
        let outdated = fails(|| outdated.run(decode));
        assert!(outdated.contains("ACCEPT_GOLDEN=1"), "{outdated}");
        let stray = fails(|| Target::new(CRATE, "example").run(decode));
        assert!(stray.contains("seed-one"), "{stray}");
        let absent = fails(|| Target::new(CRATE, "absent").run(decode));
        assert!(absent.contains("needs a seed"), "{absent}");
    }

    #[test]
    fn verdicts_differ_by_their_words_alone() {
        let class = |text: &str| class(&Err(text.to_string()));
        assert_eq!(class("3 bytes, expected 4"), class("17 bytes, expected 62"));
        assert_eq!(class("found \"a \\\" b\" here"), class("found \"c\" here"));
        assert_ne!(class("at a: 3"), class("at b: 3"));
        assert_eq!(super::class(&Ok(())), "");
    }

    #[test]
    fn changes_stay_within_the_longest_input() {
        let longest = Mutex::new(0);
        target().bytes_max(32).runs(2_000).run(|bytes| {
            let mut longest = longest.lock().unwrap();
            *longest = bytes.len().max(*longest);
            decode(bytes)
        });
        assert_eq!(longest.into_inner().unwrap(), 32);
    }
}
