//! Packs the kernels' PTX for the binary: 1.0 MB of text become 0.2. The text that is committed stays text, so that people and
//! `ops/kernels/build.py --check` can read it.

use std::env;
use std::fs;
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::ZlibEncoder;

const BUILT: &str = "kernels/built";

fn main() {
    println!("cargo::rerun-if-changed={BUILT}");
    let out = env::var("OUT_DIR").expect("cargo gives a folder");
    for entry in fs::read_dir(BUILT).expect("the folder of PTX") {
        let path = entry.expect("a file").path();
        let (name, text) = (path.file_name().expect("a name"), fs::read(&path).expect("PTX"));
        let mut packed = ZlibEncoder::new(Vec::new(), Compression::best());
        packed.write_all(&text).expect("memory takes everything");
        fs::write(Path::new(&out).join(name), packed.finish().expect("memory takes everything")).expect("room");
    }
}
