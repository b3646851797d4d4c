//! The example modules of other languages than Rust, built by the commands of their README.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use build_modules::sha256;

/// An example, and the programs that it cannot do without.
pub(crate) struct Example {
    pub(crate) name: &'static str,
    /// Shell commands that succeed where its toolchain is.
    pub(crate) needs: &'static [&'static str],
}

pub(crate) const JAVASCRIPT: Example = Example {
    name: "refuse-arguments",
    needs: &["npm --version"],
};
pub(crate) const PYTHON: Example = Example {
    name: "change-freeze",
    needs: &["python3 -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))'"],
};
pub(crate) const C: Example = Example {
    name: "few-keys",
    needs: &["clang --version", "wasm-ld --version"],
};

/// The module, whose own tests pass; none where there is no toolchain for it. What is downloaded and built is kept until the example
/// changes.
pub(crate) fn built(example: &Example) -> Option<Vec<u8>> {
    let dir = directory().join(example.name);
    let missing = example.needs.iter().find(|probe| !succeeds(&dir, probe));
    if let Some(probe) = missing {
        super::missing(&format!("`{probe}` fails"));
        return None;
    }
    let sources = copy(example, &dir);
    let module = dir.join(format!("{}.wasm", example.name));
    let stamp = dir.join("built");
    if fs::read_to_string(&stamp).is_ok_and(|made| made == sources) {
        return Some(fs::read(module).expect("a module"));
    }
    let readme = fs::read_to_string(dir.join("README.md")).expect("a text");
    for step in steps(&readme) {
        if succeeds(&dir, step) {
            continue;
        }
        let log = fs::read_to_string(dir.join("log")).expect("a log");
        if step.contains(" install") {
            super::missing(&format!("nothing can be downloaded: {step}\n{log}"));
            return None;
        }
        panic!("{}: {step}\n{log}", example.name);
    }
    fs::write(&stamp, sources).expect("written");
    Some(fs::read(module).expect("a module"))
}

/// Beside the folder of this build's profile.
pub(crate) fn directory() -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("languages");
    fs::create_dir_all(&dir).expect("a directory");
    dir
}

/// The commands of a README up to those of secretctl itself.
pub(crate) fn steps(readme: &str) -> impl Iterator<Item = &str> {
    let (_, block) = readme.split_once("```sh\n").expect("a block of commands");
    let (block, _) = block.split_once("```").expect("its end");
    let own = |line: &&str| !line.starts_with("secretctl ");
    block.lines().take_while(own)
}

/// Makes a project of an example: its files and the interface. Gives their digest.
fn copy(example: &Example, to: &Path) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = files(&root.join("examples/modules").join(example.name));
    files.sort();
    fs::create_dir_all(to.join("wit")).expect("a directory");
    let interface = root.join("policy-modules/wit/policy.wit");
    let interface = (PathBuf::from("wit/policy.wit"), interface);
    let mut all = Vec::new();
    for (name, file) in files.into_iter().chain([interface]) {
        let bytes = fs::read(file).expect("a file");
        fs::write(to.join(&name), &bytes).expect("written");
        all.extend(format!("{} {}\n", sha256(&bytes), name.display()).bytes());
    }
    sha256(&all)
}

/// The files in a directory: their names, and where they are.
fn files(dir: &Path) -> Vec<(PathBuf, PathBuf)> {
    let entries = fs::read_dir(dir).expect("a directory");
    entries
        .map(|entry| entry.expect("an entry"))
        .filter(|entry| entry.file_type().expect("a type").is_file())
        .map(|entry| (entry.file_name().into(), entry.path()))
        .collect()
}

/// Whether a shell command succeeds in a directory. What it says is in the file `log` there.
pub(crate) fn succeeds(dir: &Path, command: &str) -> bool {
    fs::create_dir_all(dir).expect("a directory");
    let log = fs::File::create(dir.join("log")).expect("a new file");
    let status = Command::new("sh")
        .args(["-c", command])
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log)
        .status();
    status.expect("a shell").success()
}
