//! Makes sure that the folder of the web UI exists, so that the crate compiles before the UI was built.

fn main() {
    let dist = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../ui/dist");
    std::fs::create_dir_all(&dist).expect("the checkout is writable");
    println!("cargo:rerun-if-changed={}", dist.display());
}
