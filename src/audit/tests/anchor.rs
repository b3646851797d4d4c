//! The anchor of the log.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

struct Scene {
    _dir: TempDir,
    path: PathBuf,
    state: PathBuf,
    connection: Connection,
}

impl Scene {
    fn new() -> Self {
        let (dir, path) = new_file();
        let (connection, state) = (open(&path), dir.path().join("state/secretctl"));
        let scene = Self {
            _dir: dir,
            path,
            state,
            connection,
        };
        scene.append(5);
        scene
    }

    fn log(&self) -> Log {
        log().with_anchor(Some(Anchor::of(&self.state, [9; 16])))
    }

    fn append(&self, records: usize) {
        (0..records).for_each(|_| _ = record(&self.log(), &self.connection, &entry("c")));
    }

    fn file(&self) -> PathBuf {
        self.log().anchor().expect("an anchor").path().to_owned()
    }

    fn state(&self) -> AnchorState {
        self.log()
            .anchor_state(&self.connection)
            .expect("readable")
            .expect("an anchor")
    }

    #[track_caller]
    fn holds(&self, expected: i64) {
        match self.state() {
            AnchorState::Holds(known) => assert_eq!(known.sequence, expected),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_anchor_follows_each_record() {
    let scene = Scene::new();
    scene.holds(5);
    scene.append(1);
    scene.holds(6);
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o7777;
    assert_eq!((mode(&scene.file()), mode(&scene.state)), (0o600, 0o700));
}

#[test]
fn a_change_of_several_records_is_followed_to_the_last() {
    let scene = Scene::new();
    let behavior = TransactionBehavior::Immediate;
    let begun = rusqlite::Transaction::new_unchecked(&scene.connection, behavior).expect("begun");
    let entries = [entry("first"), entry("second")];
    let written = scene.log().record_all(Change(begun), &entries);
    written.expect("recorded");
    scene.holds(7);
}

#[test]
fn a_changed_file_stays_until_somebody_was_told() {
    let scene = Scene::new();
    let mut bytes = fs::read(scene.file()).expect("readable");
    bytes.extend_from_slice(b"more");
    fs::write(scene.file(), bytes).expect("written");
    assert!(matches!(scene.state(), AnchorState::Changed));
    scene.append(1);
    assert!(matches!(scene.state(), AnchorState::Changed));
    let written = scene.log().write_anchor(&scene.connection);
    assert!(written.expect("readable").is_ok());
    scene.holds(6);
}

#[test]
fn it_is_never_set_back() {
    let scene = Scene::new();
    let log = scene.log();
    let head = Head::read(&scene.connection, &log.keys).expect("readable");
    let earlier = Anchored::at(
        &Head {
            sequence: 3,
            ..head
        },
        0,
    );
    log.anchor()
        .expect("an anchor")
        .advance(&log.keys, &earlier)
        .expect("kept");
    scene.holds(5);
}

#[test]
fn writers_in_threads_leave_the_last_record() {
    let scene = Scene::new();
    let (log, path) = (&scene.log(), &scene.path);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let connection = open(path);
                (0..20).for_each(|_| _ = record(log, &connection, &entry("c")));
            });
        }
    });
    scene.holds(85);
}

#[test]
fn an_older_log_is_noticed() {
    let scene = Scene::new();
    let old = scene._dir.path().join("old.db");
    let save = format!("VACUUM INTO '{}'", old.display());
    scene.connection.execute_batch(&save).expect("saved");
    scene.append(2);
    let connection = open(&old);
    let state = |connection| scene.log().anchor_state(connection).expect("readable");
    match state(&connection) {
        Some(AnchorState::Contradicts { known, last }) => {
            assert_eq!((known.sequence, last.0, last.1.is_some()), (7, 5, true));
        }
        other => panic!("{other:?}"),
    }
    // It goes on without its anchor, past the record that the anchor knows.
    (0..3).for_each(|_| _ = record(&log(), &connection, &entry("other")));
    match state(&connection) {
        Some(AnchorState::Contradicts { known, last }) => {
            assert_eq!((known.sequence, last.0), (7, 8));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_wrong_with_the_file_is_told_apart() {
    let scene = Scene::new();
    let good = fs::read(scene.file()).expect("readable");
    for byte in 0..good.len() {
        let mut changed = good.clone();
        changed[byte] ^= 1;
        fs::write(scene.file(), changed).expect("written");
        assert!(matches!(scene.state(), AnchorState::Changed), "byte {byte}");
    }
    for changed in [
        &good[..good.len() - 1],
        &[good.as_slice(), b"x"].concat(),
        b"x",
    ] {
        fs::write(scene.file(), changed).expect("written");
        assert!(matches!(scene.state(), AnchorState::Changed));
    }
    fs::write(scene.file(), b"").expect("written");
    assert!(matches!(scene.state(), AnchorState::Missing));
    fs::remove_file(scene.file()).expect("removed");
    assert!(matches!(scene.state(), AnchorState::Missing));
    let log = scene.log();
    assert!(
        log.write_anchor(&scene.connection)
            .expect("readable")
            .is_ok()
    );
    scene.holds(5);
    let other = Log::new(Keys {
        anchor: key(9).into(),
        ..keys(1)
    })
    .with_anchor(log.anchor().cloned());
    let state = other.anchor_state(&scene.connection).expect("readable");
    assert!(matches!(state, Some(AnchorState::Changed)), "{state:?}");
    // A process with keys that are no more leaves alone what those in their place have written.
    let written = fs::read(scene.file()).expect("readable");
    let head = Head::read(&scene.connection, &log.keys).expect("readable");
    let late = Anchored::at(
        &Head {
            sequence: 99,
            ..head
        },
        0,
    );
    let anchor = other.anchor().expect("an anchor");
    anchor.advance(&other.keys, &late).expect("left alone");
    assert_eq!(fs::read(scene.file()).expect("readable"), written);
    anchor.renew(&other.keys, &late).expect("written");
    assert_ne!(fs::read(scene.file()).expect("readable"), written);
}

/// Nothing is written through a link, and nothing waits for a pipe.
#[test]
fn a_file_that_is_none_is_left_alone() {
    let scene = Scene::new();
    let (file, target) = (scene.file(), scene.state.join("target"));
    let make_pipe = || {
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        let made = rustix::fs::mknodat(rustix::fs::CWD, &file, rustix::fs::FileType::Fifo, mode, 0);
        made.expect("a pipe");
    };
    let makers: [&dyn Fn(); 4] = [
        &|| symlink(&target, &file).expect("a link"),
        &|| fs::hard_link(&target, &file).expect("a link"),
        &|| fs::create_dir(&file).expect("a directory"),
        &make_pipe,
    ];
    for (place, make) in makers.into_iter().enumerate() {
        let _ = fs::remove_file(&file);
        let _ = fs::remove_dir(&file);
        fs::write(&target, "of somebody else").expect("written");
        make();
        assert!(
            matches!(scene.state(), AnchorState::Unreadable(_)),
            "{place}"
        );
        scene.append(1);
        assert!(
            scene
                .log()
                .write_anchor(&scene.connection)
                .expect("readable")
                .is_err()
        );
        assert_eq!(
            fs::read(&target).expect("readable"),
            b"of somebody else",
            "{place}"
        );
    }
}
