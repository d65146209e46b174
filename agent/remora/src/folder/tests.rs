//! Places that are fine, taken, missing, refusing and full.

use super::*;
use std::process::Command;

const FILES: [Artifact; 0] = [];

fn files(size: usize) -> Vec<Artifact> {
    ["report.json", "cpu.svg"]
        .map(|name| Artifact {
            name,
            bytes: vec![b'x'; size],
        })
        .to_vec()
}

fn entries(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn prepare(path: &Path) -> Result<Folder, FolderError> {
    Folder::prepare(Some(path), "unused")
}

fn refusal(path: &Path) -> String {
    prepare(path).unwrap_err().to_string()
}

#[test]
fn a_prepared_folder_leaves_nothing_until_it_is_written() {
    let home = tempfile::tempdir().unwrap();
    let folder = prepare(&home.path().join("out")).unwrap();
    assert_eq!(entries(home.path()), [""; 0]);
    let written = folder.write(&files(10)).unwrap();
    assert_eq!(written.folder, home.path().join("out"));
    assert_eq!(written.refused, []);
    assert_eq!(entries(home.path()), ["out"]);
    assert_eq!(entries(&written.folder), ["cpu.svg", "report.json"]);
    assert_eq!(fs::read(&written.files[0]).unwrap(), [b'x'; 10]);
}

#[test]
fn an_empty_folder_is_taken_through_a_link_too() {
    let home = tempfile::tempdir().unwrap();
    let (real, link) = (home.path().join("real"), home.path().join("link"));
    fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let written = prepare(&link).unwrap().write(&files(1)).unwrap();
    assert_eq!(written.folder, real.canonicalize().unwrap());
    assert_eq!(entries(&link), ["cpu.svg", "report.json"]);
}

#[test]
fn what_is_taken_or_missing_is_refused_before_the_capture() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("file");
    fs::write(&file, "mine").unwrap();
    assert!(refusal(&file).contains("is not a folder: name another with --out"));
    assert!(refusal(home.path()).contains("is not empty"));
    assert!(refusal(&home.path().join("a/b")).contains("a does not exist: create it"));
    let under_a_file = refusal(&file.join("out"));
    assert!(under_a_file.contains("cannot write in"), "{under_a_file}");
    assert!(!under_a_file.contains(".partial-"), "{under_a_file}");
    assert!(refusal(Path::new("/")).contains("is not empty"));
    let current = std::env::current_dir().unwrap();
    assert!(refusal(&current).contains("not empty"));
    assert!(!refusal(&home.path().join("x".repeat(300))).contains('\n'));
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    assert_eq!(entries(home.path()), ["file"]);
}

#[test]
fn a_place_that_was_filled_meanwhile_is_kept_and_a_fallback_named() {
    let (home, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut folder = prepare(&home.path().join("out")).unwrap();
    fs::write(home.path().join("out"), "in the way").unwrap();
    folder.fallbacks = vec![home.path().to_owned(), other.path().to_owned()];
    let written = folder.write(&files(1)).unwrap();
    assert_eq!(written.folder, other.path().join("out"));
    assert_eq!(
        written.refused.len(),
        1,
        "the same place is not tried twice"
    );
    assert_eq!(written.refused[0].folder, home.path().join("out"));
    assert!(
        written.refused[0].why.contains("Not a directory"),
        "{:?}",
        written.refused
    );
    assert_eq!(entries(home.path()), ["out"]);
    assert_eq!(
        fs::read_to_string(home.path().join("out")).unwrap(),
        "in the way"
    );
}

#[test]
fn no_place_at_all_names_each_in_one_line() {
    let home = tempfile::tempdir().unwrap();
    let mut folder = prepare(&home.path().join("out")).unwrap();
    folder.fallbacks = vec![home.path().join("gone"), PathBuf::from("/proc")];
    fs::create_dir_all(home.path().join("out/full")).unwrap();
    let error = folder.write(&FILES).unwrap_err().to_string();
    for place in ["out: ", "gone/out: ", "/proc/out: "] {
        assert!(error.contains(place), "{error}");
    }
    assert!(!error.contains('\n'));
    assert_eq!(entries(home.path()), ["out"]);
}

/// A small file system in memory, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            remora_testing::skip("only root can mount a small disk");
            return None;
        }
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k,mode=700", "remora-test"])
            .arg(at)
            .output();
        match mount {
            Ok(output) if output.status.success() => Some(Self(at.to_owned())),
            Ok(output) => {
                remora_testing::skip(format_args!(
                    "mount: {}",
                    String::from_utf8_lossy(&output.stderr)
                ));
                None
            }
            Err(error) => {
                remora_testing::skip(format_args!("mount: {error}"));
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.0).status();
        assert!(
            unmounted.is_ok_and(|status| status.success()),
            "the small disk stays mounted"
        );
    }
}

#[test]
fn a_full_disk_costs_the_place_not_the_report() {
    let (home, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let Some(disk) = SmallDisk::mount(home.path()) else {
        return;
    };
    assert!(refusal(&disk.0).contains("is a mount point: name a folder inside it"));
    let mut folder = prepare(&disk.0.join("out")).unwrap();
    folder.fallbacks = vec![other.path().to_owned()];

    // The first file fits, the second does not.
    let written = folder.write(&files(40 << 10)).unwrap();
    assert_eq!(written.folder, other.path().join("out"));
    assert!(
        written.refused[0].why.contains("No space left"),
        "{:?}",
        written.refused
    );
    assert_eq!(entries(&disk.0), [""; 0], "the partial folder is removed");
    assert_eq!(entries(&written.folder), ["cpu.svg", "report.json"]);

    assert_eq!(
        folder.write(&files(10)).unwrap().folder,
        disk.0.join("out"),
        "a small one fits"
    );
}
