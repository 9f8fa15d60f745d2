//! Compiles sppark's templates for BN254 for the GPU named by CUDA_ARCH, or for that of this machine.

use std::env;
use std::process::Command;

fn main() {
    for variable in ["CUDA_ARCH", "CUDA_LIB_DIR"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=cuda/sums.cu");

    let arch = env::var("CUDA_ARCH").map_or("native".to_owned(), |arch| format!("sm_{arch}"));
    let mut build = cc::Build::new();
    build.cuda(true).flag(format!("-arch={arch}"));
    build.flag("-Xcompiler").flag("-Wno-unused-function");
    // Errors come with what failed.
    build.define("TAKE_RESPONSIBILITY_FOR_ERROR_MESSAGE", None);
    for variable in ["DEP_SPPARK_ROOT", "DEP_BLST_C_SRC"] {
        let folder =
            env::var_os(variable).expect("sppark and blst tell their dependents where their headers are");
        build.include(folder);
    }
    build.file("cuda/sums.cu").compile("sums");

    if let Ok(folder) = env::var("CUDA_LIB_DIR") {
        println!("cargo::rustc-link-search=native={folder}");
    }
    // As for peer: they keep the program small enough to travel.
    for argument in ["--icf=all", "--ignore-data-address-equality", "--strip-all"] {
        println!("cargo::rustc-link-arg-bins=-Wl,{argument}");
    }
    println!("cargo::rustc-env=COMMIT={}", commit());
}

fn commit() -> String {
    let git = Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=12"])
        .output();
    let found = git.ok().filter(|git| git.status.success());
    let text = found.and_then(|git| String::from_utf8(git.stdout).ok());
    text.map_or("unknown".to_owned(), |text| text.trim().to_owned())
}
