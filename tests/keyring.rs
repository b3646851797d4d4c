//! The master password in a real keyring: GNOME's, on a session bus of its own.
#![cfg(target_os = "linux")]
#![allow(clippy::expect_used, reason = "tests")]

mod support;

use std::fs;

use support::{Answer, Invocation, PASSWORD, SECRETCTL, Sandbox, is_installed};

/// What begins a script with an unlocked keyring.
const KEYRING: &str = "printf %s password | gnome-keyring-daemon --unlock --components=secrets --daemonize > keyring.log 2>&1; ";
/// What is said once it has the password.
const REMEMBERED: &str = "The system's keyring has the master password. Every program of yours can ask for it while the keyring is unlocked.\n";
const NEW: &str = "another horse battery";

/// A vault with one secret; none where there is no keyring.
fn vault() -> Option<Sandbox> {
    let are_installed = ["dbus-run-session", "gnome-keyring-daemon"].map(is_installed);
    if are_installed != [true; 2] {
        return None;
    }
    let sandbox = Sandbox::new();
    sandbox.set("KEY", "the value");
    Some(sandbox)
}

/// Runs a script on a bus of its own, where `$S` is the program and there is no terminal and no password but `$P`.
fn on_a_bus(sandbox: &Sandbox, script: &str) -> Answer {
    fs::create_dir_all(sandbox.home().join(".run")).expect("made");
    let shell = Invocation::new("setsid", sandbox.home());
    let shell = shell.args(["--wait", "dbus-run-session", "--", "sh", "-euc", script]);
    let shell = shell.env("S", SECRETCTL).env("P", PASSWORD).env("NEW", NEW);
    shell.answer()
}

#[test]
fn a_remembered_password_unlocks_until_it_is_forgotten() {
    let Some(sandbox) = vault() else { return };
    let script = "SECRETCTL_PASSWORD=$P \"$S\" password remember 2>&1
        \"$S\" get KEY; echo
        SECRETCTL_PASSWORD='of no vault' \"$S\" get KEY 2>&1; echo
        SECRETCTL_NEW_PASSWORD=$NEW \"$S\" password change 2>&1
        \"$S\" get KEY; echo
        \"$S\" password forget 2>&1
        \"$S\" password forget 2>&1
        \"$S\" get KEY 2>&1 || echo $?";
    let answer = on_a_bus(&sandbox, &format!("{KEYRING}{script}"));
    let forgotten = "The system's keyring no longer has the master password.\n\
         The system's keyring did not have the master password.\n";
    let locked = "error: there is no terminal to ask for the password\n  \
         use --password-file, --password-fd or --password-command, or in a terminal: secretctl unlock\n3\n";
    let expected = format!(
        "{}{REMEMBERED}the value\nthe value\nChanged the master password.\nthe value\n{forgotten}{locked}",
        support::ENVIRONMENT_NOTE
    );
    assert_eq!(answer.text(), expected, "{answer}");
}

#[test]
fn a_wrong_password_is_not_remembered() {
    let Some(sandbox) = vault() else { return };
    let script = "SECRETCTL_PASSWORD='of no vault' \"$S\" password remember 2>&1 || \"$S\" password forget 2>&1";
    let answer = on_a_bus(&sandbox, &format!("{KEYRING}{script}"));
    let said =
        "error: wrong master password\nThe system's keyring did not have the master password.\n";
    assert_eq!(
        answer.text(),
        format!("{}{said}", support::ENVIRONMENT_NOTE),
        "{answer}"
    );
}

#[test]
fn a_keyring_that_is_not_there_is_told_and_the_next_source_is_tried() {
    let Some(sandbox) = vault() else { return };
    let remember = "SECRETCTL_PASSWORD=$P \"$S\" password remember";
    on_a_bus(&sandbox, &format!("{KEYRING}{remember}")).succeeded();
    // Without a bus.
    let answer = sandbox.secretctl(["get", "KEY"]).answer();
    assert_eq!(&*answer.stdout, b"the value", "{answer}");
    assert!(
        answer
            .stderr
            .starts_with("warning: there is no keyring here: "),
        "{answer}"
    );
    assert_eq!(answer.stderr.lines().count(), 1, "{answer}");
    // A source of the command line comes first, and asks no keyring.
    let file = sandbox.home().join("password");
    fs::write(&file, PASSWORD).expect("written");
    let by_file = sandbox
        .secretctl(["get", "KEY", "--password-file"])
        .args([&file]);
    by_file.answer().is(0, "the value", "");
    let refused = on_a_bus(&sandbox, remember);
    assert!(
        refused.code == 1 && refused.stderr.contains("keyring"),
        "{refused}"
    );
}

#[test]
fn an_old_password_in_the_keyring_is_tried_once() {
    let Some(sandbox) = vault() else { return };
    let script = "SECRETCTL_PASSWORD=$P \"$S\" password remember
        XDG_STATE_HOME=$HOME/other SECRETCTL_PASSWORD=$P SECRETCTL_NEW_PASSWORD=$NEW \"$S\" password change
        \"$S\" get KEY || SECRETCTL_PASSWORD=$NEW \"$S\" get KEY";
    let answer = on_a_bus(&sandbox, &format!("{KEYRING}{script}"));
    let said = "error: wrong master password\n  \
         the keyring has an old one, and is not asked again until: secretctl password remember\n";
    assert!(answer.stderr.contains(said), "{answer}");
    assert_eq!((answer.code, answer.text()), (0, "the value"), "{answer}");
}
