//! Keeps the program small enough to travel: halo2curves' tables are in it once for each unit that was compiled alone, 2 MB
//! each, until the linker folds them. rust-lld is the toolchain's own on this platform.

fn main() {
    for argument in ["--icf=all", "--ignore-data-address-equality", "--strip-all"] {
        println!("cargo::rustc-link-arg-bins=-Wl,{argument}");
    }
    println!("cargo::rerun-if-changed=build.rs");
}
