//! Copies of the Foundry project in which mutants are tested.

use std::{
    ffi::OsStr,
    fs,
    io::{self, BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, bail, ensure};
use verifier_contracts::tools::Tools;

use crate::find::{Mutant, is_generated};

/// Tests that are left out. Gas is not what mutants are about, and they are compiled without the optimizer. The invariants and the
/// many claims find much, and slowly: each rule has a test of its own that states it.
const LEFT_OUT: [&str; 3] = ["Costs.t.sol", "Invariants.t.sol", "ManyClaims.t.sol"];

/// The compiler that stays.
const COMPILER: &str = include_str!("compiler.js");
/// Compilations after which it is started anew, since it never gives memory back.
const COMPILATIONS_MAX: u32 = 60;

/// What became of a mutant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// This test failed.
    Killed(String),
    /// No test failed.
    Survived,
    /// The compiler refused it.
    Refused,
}

/// The contracts that are written by hand, by their files' names.
pub(crate) fn contracts() -> anyhow::Result<Vec<(String, String)>> {
    let folder = root().join("contracts");
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let source = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !is_generated(&source) {
            found.push((name.into_owned(), source));
        }
    }
    found.sort();
    Ok(found)
}

/// This crate's Foundry project.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A copy of the project, with what forge made of it before.
pub(crate) struct Project {
    folder: PathBuf,
    tools: Tools,
    compiler: Compiler,
}

impl Project {
    /// The copy with this number under cargo's target directory, as the project is now.
    pub(crate) fn copy(tools: &Tools, number: usize) -> anyhow::Result<Self> {
        // Two below `target`, as foundry.toml has its paths.
        let folder = root().join(format!("../target/mutants/{number}/project"));
        for part in ["contracts", "test"] {
            let copy = folder.join(part);
            match fs::remove_dir_all(&copy) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => copy_files(&root().join(part), &copy)?,
            }
        }
        for test in LEFT_OUT {
            fs::remove_file(folder.join("test").join(test)).context(test)?;
        }
        fs::copy(root().join("foundry.toml"), folder.join("foundry.toml"))?;
        Ok(Self {
            compiler: Compiler::start(tools, &folder)?,
            folder,
            tools: tools.clone(),
        })
    }

    /// Tests the contracts as they are.
    ///
    /// # Errors
    /// A test fails, or none ran: nothing could be said of mutants then.
    pub(crate) fn test_unchanged(&mut self) -> anyhow::Result<()> {
        let said = match self.run()? {
            (Outcome::Survived, said) if said.contains("[PASS]") => return Ok(()),
            (_, said) => said,
        };
        bail!("the contracts fail without any mutant:\n{said}");
    }

    /// Tests a mutant of the contract with this source.
    pub(crate) fn test(&mut self, mutant: &Mutant, source: &str) -> anyhow::Result<Outcome> {
        let path = self.folder.join("contracts").join(&mutant.file);
        fs::write(&path, mutant.apply(source))?;
        let outcome = self.run();
        fs::write(&path, source)?;
        Ok(outcome?.0)
    }

    fn run(&mut self) -> anyhow::Result<(Outcome, String)> {
        if self.compiler.compilations == COMPILATIONS_MAX {
            self.compiler = Compiler::start(&self.tools, &self.folder)?;
        }
        self.compiler.compilations += 1;
        let output = self
            .forge()
            .output()
            .with_context(|| format!("running {}", self.tools.forge().display()))?;
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let said = said.concat();
        let outcome = if output.status.success() {
            Outcome::Survived
        } else if let Some(test) = failed(&said) {
            Outcome::Killed(test)
        } else {
            ensure!(said.contains("Compiler run failed"), "forge did not test: {said}");
            Outcome::Refused
        };
        Ok((outcome, said))
    }

    /// forge, so that it does as little as it can for each mutant: without the optimizer, and without compiling a contract's tests
    /// again. With a filter of tests it would read all of them twice.
    fn forge(&self) -> Command {
        let mut forge = self.tools.forge_in(&self.folder);
        forge.args(["test", "--fail-fast"]).envs([
            ("FOUNDRY_SOLC", self.compiler.program.as_os_str()),
            ("MUTATE_COMPILER", OsStr::new(&self.compiler.port)),
            ("FOUNDRY_OPTIMIZER", OsStr::new("false")),
            ("FOUNDRY_DYNAMIC_TEST_LINKING", OsStr::new("true")),
            // What is not optimized is longer than a contract may be.
            ("FOUNDRY_CODE_SIZE_LIMIT", OsStr::new("1000000")),
            // A mutant has parameters that it does not use.
            ("FOUNDRY_DENY", OsStr::new("never")),
            ("FOUNDRY_FUZZ_RUNS", OsStr::new("32")),
            ("NO_COLOR", OsStr::new("1")),
        ]);
        forge
    }
}

/// The compiler that stays, while this lives.
struct Compiler {
    program: PathBuf,
    port: String,
    compilations: u32,
    process: Child,
}

impl Compiler {
    fn start(tools: &Tools, folder: &Path) -> anyhow::Result<Self> {
        let program = folder.join("compiler.js");
        // What runs cannot be written: the one before is replaced.
        drop(fs::remove_file(&program));
        fs::write(&program, COMPILER)?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        let mut process = Command::new("node")
            .args([&program, &tools.solc().with_file_name("node_modules/solc")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("running node")?;
        let mut port = String::new();
        let output = process.stdout.take().context("stdout was piped")?;
        BufReader::new(output).read_line(&mut port)?;
        ensure!(
            port.trim().parse::<u16>().is_ok(),
            "the compiler did not start: {port:?}"
        );
        let port = port.trim().to_owned();
        Ok(Self {
            program,
            port,
            compilations: 0,
            process,
        })
    }
}

impl Drop for Compiler {
    /// It ends with its standard input.
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// The first test that forge says failed, with its contract.
fn failed(said: &str) -> Option<String> {
    let mut suite = "";
    for line in said.lines() {
        if let Some((_, name)) = line.split_once(" for test/") {
            suite = name.rsplit(':').next().unwrap_or_default();
        }
        if line.starts_with("[FAIL") {
            let name = line.rsplit("] ").next().unwrap_or_default();
            let name = name.split('(').next().unwrap_or_default();
            return Some(format!("{suite}.{name}"));
        }
    }
    None
}

fn copy_files(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let path = entry?.path();
        let copy = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy_files(&path, &copy)?;
        } else {
            fs::copy(&path, &copy).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lexer::{Token, tokens};

    #[test]
    fn the_first_failing_test_is_named_with_its_contract() {
        let said = "Ran 2 tests for test/A.t.sol:FirstTest\n[PASS] test_a() (gas: 1)\n\nRan 1 test for test/B.t.sol:SecondTest\n\
                    [FAIL: Error != expected error: X(1) != Y; counterexample: calldata=0x args=[1, [2]]] test_b(uint8) (runs: 3)\n\
                    Failing tests:\n[FAIL: no] test_c()";
        assert_eq!(failed(said).as_deref(), Some("SecondTest.test_b"));
        assert_eq!(failed("Compiler run failed:\nError: [FAILED]"), None);
    }

    #[test]
    fn generated_contracts_have_no_mutants() {
        let names: Vec<String> = contracts()
            .expect("the contracts")
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert!(names.contains(&"Batches.sol".to_owned()));
        assert!(!names.contains(&"Poseidon.sol".to_owned()));
    }

    /// A test that expects a deployment of its own to revert ends there, as passed, where forge links at run time: a contract that
    /// deploys is called in its place.
    #[test]
    fn no_test_ends_at_a_deployment_that_reverts() {
        let mut expectations = 0;
        for entry in fs::read_dir(root().join("test")).expect("the tests") {
            let path = entry.expect("a test").path();
            if path.extension() != Some(OsStr::new("sol")) {
                continue;
            }
            let source = fs::read_to_string(&path).expect("a test");
            let tokens = tokens(&source);
            let statements: Vec<&[Token<'_>]> = tokens.split(|token| token.text == ";").collect();
            for pair in statements.windows(2) {
                if !pair[0].iter().any(|token| token.text == "expectRevert") {
                    continue;
                }
                expectations += 1;
                let deploys =
                    |two: &[Token<'_>]| two[0].text == "new" && two[1].text.starts_with(char::is_uppercase);
                assert!(!pair[1].windows(2).any(deploys), "{}: {pair:?}", path.display());
            }
        }
        assert!(expectations > 100, "{expectations}");
    }
}
