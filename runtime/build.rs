//! Makes cargo notice a new migration: the macro that embeds them sees only the files it has seen before.

fn main() {
    println!("cargo:rerun-if-changed=../migrations");
}
