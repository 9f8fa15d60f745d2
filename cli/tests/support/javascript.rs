//! The JavaScript client and example as a user has them after `npm ci` and `npm run build`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use sha2::{Digest, Sha256};

use super::{run, workspace};

/// What is missing where Node.js or npm fail.
pub const ADVICE: &str =
    "This test needs Node.js 18 or later with npm, and npm's access to a package registry.";
/// What is made in the client's folder, and no source.
const MADE: [&str; 3] = ["node_modules", "dist", "gen"];

/// The client's folder, built beside the .proto files under the target directory; once for each state of both.
pub fn client() -> PathBuf {
    static BUILT: LazyLock<PathBuf> = LazyLock::new(build);
    BUILT.join("clients/javascript")
}

fn build() -> PathBuf {
    let source = workspace().join("proto");
    let mut files = vec![source.join("buf.yaml")];
    list(&source.join("zkrollup"), &mut files);
    list(&source.join("clients/javascript"), &mut files);
    files.sort();
    let mut digest = Sha256::new();
    for file in &files {
        let name = file.strip_prefix(&source).unwrap().to_str().unwrap();
        digest.update(format!("{name}\n"));
        digest.update(fs::read(file).unwrap());
    }
    let built = workspace().join(format!(
        "target/javascript-{}",
        hex::encode(&digest.finalize()[..8])
    ));
    if !built.exists() {
        let partial = built.with_extension(std::process::id().to_string());
        for file in &files {
            let copy = partial.join(file.strip_prefix(&source).unwrap());
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            fs::copy(file, copy).unwrap();
        }
        let client = partial.join("clients/javascript");
        symlink(
            packages(&source.join("clients/javascript")),
            client.join("node_modules"),
        )
        .unwrap();
        // The code that is generated, and TypeScript's judgement of it and of the client.
        run(
            Command::new("npm")
                .args(["run", "--silent", "build"])
                .current_dir(client),
            ADVICE,
        );
        fs::rename(&partial, &built).unwrap();
    }
    built
}

/// The pinned packages; fetched once for each state of the lock file.
fn packages(source: &Path) -> PathBuf {
    let lock = fs::read(source.join("package-lock.json")).unwrap();
    let digest = hex::encode(&Sha256::digest(lock)[..8]);
    let packages = workspace().join(format!("target/npm-{digest}"));
    if !packages.exists() {
        let partial = packages.with_extension(std::process::id().to_string());
        fs::create_dir(&partial).unwrap();
        for file in ["package.json", "package-lock.json"] {
            fs::copy(source.join(file), partial.join(file)).unwrap();
        }
        let mut npm = Command::new("npm");
        // No package needs its scripts: they build faster code, which falls back on what is there.
        npm.args(["ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"])
            .current_dir(&partial);
        run(&mut npm, ADVICE);
        fs::rename(&partial, &packages).unwrap();
    }
    packages.join("node_modules")
}

/// The files below a folder, but for what is made there.
fn list(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_dir() {
            files.push(path);
        } else if !MADE.iter().any(|made| path.ends_with(made)) {
            list(&path, files);
        }
    }
}
