//! The pages are carried inside the program: when `web/dist` changes, the program is built again.
fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=../web/dist");
}
