fn main() { println!("cargo:rustc-link-arg=--cpu-features=+alu32"); }
