//! What a person at a terminal sees: hidden prompts, questions, and results that stay apart from both.
//!
//! The terminal is a real one, made by script(1).
#![allow(clippy::expect_used, reason = "tests")]

mod support;

use std::fs;
use support::go_vault::{GO_PASSWORD, GoSecret, GoVault};
use support::terminal::Terminal;
use support::{PASSWORD, Sandbox};

#[test]
fn passwords_and_values_are_typed_unseen() {
    let sandbox = Sandbox::empty();
    let mut terminal = Terminal::start(&sandbox, "$S init");
    terminal.shows("New master password: ");
    terminal.types_hidden(PASSWORD);
    terminal.shows("\nThe same again: ");
    terminal.types_hidden("something else");
    terminal.shows("\nerror: the two passwords differ\n");
    terminal.ends(1);
    assert!(!sandbox.vault().exists());

    let mut terminal = Terminal::start(&sandbox, "$S init");
    terminal.shows("New master password: ");
    terminal.types_hidden(PASSWORD);
    terminal.shows("\nThe same again: ");
    terminal.types_hidden(PASSWORD);
    let place = sandbox.vault();
    terminal.shows(&format!(
        "\nCreated a vault in {}. The master password cannot be recovered: keep it safe.\n",
        place.display()
    ));
    terminal.ends(0);

    let mut terminal = Terminal::start(&sandbox, "$S set KEY");
    terminal.shows("Master password: ");
    terminal.types_hidden(PASSWORD);
    terminal.shows("\nValue of KEY: ");
    terminal.types_hidden("sk-typed-by-hand");
    terminal.shows("\nStored KEY.\n");
    terminal.ends(0);
    sandbox
        .secretctl(["get", "KEY"])
        .answer()
        .is(0, "sk-typed-by-hand", "");
}

#[test]
fn a_redirected_result_has_no_prompt_in_it() {
    let sandbox = Sandbox::new();
    sandbox.set("KEY", "value");
    let mut terminal = Terminal::start(&sandbox, "$S get KEY < /dev/null > result 2> errors");
    terminal.shows("Master password: ");
    terminal.types_hidden(PASSWORD);
    terminal.shows("\n");
    terminal.ends(0);
    assert_eq!(
        fs::read(sandbox.home().join("result")).expect("a file"),
        b"value"
    );
    assert_eq!(
        fs::read(sandbox.home().join("errors")).expect("a file"),
        b""
    );
}

#[test]
fn on_a_terminal_a_value_ends_its_line_and_a_list_is_a_table() {
    let sandbox = Sandbox::new();
    sandbox.set("KEY", "value");
    sandbox.set("aws/access_key", "value");
    let tag = sandbox.secretctl(["set", "KEY", "--tags", "a,b", "--expires", "2090-06-30"]);
    tag.answer().succeeded();
    let script = format!(
        "printf %s '{PASSWORD}' > pw; export SECRETCTL_PASSWORD_FILE=pw; $S get KEY; $S list"
    );
    let mut terminal = Terminal::start(&sandbox, &script);
    terminal.shows("value\nKEY             a,b  expires 2090-07-01T00:00:00Z\naws/access_key\n");
    terminal.ends(0);
}

#[test]
fn deleting_asks_first() {
    let sandbox = Sandbox::new();
    sandbox.set("KEY", "value");
    // What is piped in answers no question: only the person at the terminal does.
    let script = format!(
        "printf %s '{PASSWORD}' > pw; export SECRETCTL_PASSWORD_FILE=pw; echo y | $S delete KEY"
    );
    for no in ["", "n", "yep"] {
        let mut terminal = Terminal::start(&sandbox, &script);
        terminal.shows("Delete KEY? [y/N] ");
        terminal.types(no);
        terminal.shows("error: nothing was deleted\n");
        terminal.ends(1);
    }
    let mut terminal = Terminal::start(&sandbox, &script);
    terminal.shows("Delete KEY? [y/N] ");
    terminal.types("y");
    terminal.shows("Deleted KEY.\n");
    terminal.ends(0);
    sandbox
        .secretctl(["list"])
        .answer()
        .is(0, "", "No secrets found.\n");
}

#[test]
fn pruning_asks_first() {
    let sandbox = Sandbox::new();
    let script = format!(
        "printf %s '{PASSWORD}' > pw; export SECRETCTL_PASSWORD_FILE=pw; echo y | $S audit prune --before 2090-07-01T00:00:00Z"
    );
    let question = "Remove records 1 to 1, from before 2090-07-01T00:00:00Z for good? [y/N] ";
    for (answer, said, code) in [
        ("n", "error: nothing was removed\n", 1),
        (
            "y",
            "Removed records 1 to 1, from before 2090-07-01T00:00:00Z.\n",
            0,
        ),
    ] {
        let mut terminal = Terminal::start(&sandbox, &script);
        terminal.shows(question);
        terminal.types(answer);
        terminal.shows(said);
        terminal.ends(code);
    }
}

#[test]
fn a_template_asks_field_by_field() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.home().join("key"), "-----KEY-----\nabc\n").expect("written");
    let mut terminal = Terminal::start(&sandbox, "$S set deploy --template ssh --field port=2222");
    terminal.shows("Master password: ");
    terminal.types_hidden(PASSWORD);
    terminal.shows("\nhost of deploy: ");
    terminal.types("h.example");
    terminal.shows("username of deploy: ");
    terminal.types("me");
    terminal.shows("File with private_key of deploy: ");
    terminal.types("key");
    terminal.shows("passphrase of deploy (may be empty): ");
    terminal.types_hidden("a-Pass-phrase");
    terminal.shows("\nStored deploy.\n");
    terminal.ends(0);
    let mut terminal = Terminal::start(&sandbox, "$S set deploy --template ssh");
    terminal.shows("Master password: ");
    terminal.types_hidden(PASSWORD);
    for (question, answer) in [
        ("\nhost of deploy", ""),
        ("port of deploy", "22"),
        ("username of deploy", ""),
        ("File with private_key of deploy", ""),
    ] {
        terminal.shows(&format!("{question} (empty: keep the present one): "));
        terminal.types(answer);
    }
    terminal.shows("passphrase of deploy (empty: keep the present one): ");
    terminal.types_hidden("");
    terminal.shows("\nUpdated deploy.\n");
    terminal.ends(0);
    let whole = sandbox.secretctl(["get", "deploy", "--json"]).answer();
    let whole = whole.succeeded().json();
    let fields = serde_json::json!({
        "host": "h.example", "port": "22", "username": "me", "private_key": "-----KEY-----\nabc\n", "passphrase": "a-Pass-phrase",
    });
    assert_eq!(whole["fields"], fields);

    let mut terminal = Terminal::start(&sandbox, "$S set deploy --field passphrase --field port");
    terminal.shows("Master password: ");
    terminal.types_hidden(PASSWORD);
    terminal.shows("\npassphrase of deploy: ");
    terminal.types_hidden("another-Pass-phrase");
    terminal.shows("\nport of deploy: ");
    terminal.types_hidden("23");
    terminal.shows("\nUpdated deploy.\n");
    terminal.ends(0);
    // Nothing is asked for where nothing could be meant.
    let mut terminal = Terminal::start(&sandbox, "$S set deploy --tags prod");
    terminal.shows("Master password: ");
    terminal.types_hidden(PASSWORD);
    terminal.shows("\nUpdated deploy.\n");
    terminal.ends(0);
}

#[test]
fn the_password_of_a_vault_to_import_is_asked_for_after_the_own_one() {
    let sandbox = Sandbox::new();
    let dir = sandbox.home().join("other");
    let vault = GoVault::create(&dir, 5);
    vault.secret(&GoSecret {
        value: Some("a value"),
        ..GoSecret::default()
    });
    let mut terminal = Terminal::start(&sandbox, "$S import --from secretctl-go other");
    terminal.shows("Master password: ");
    terminal.types_hidden(PASSWORD);
    terminal.shows("\nPassword of other: ");
    terminal.types_hidden(GO_PASSWORD);
    terminal.shows("\nimported KEY\n1 imported, 0 overwritten, 0 skipped.\n");
    terminal.ends(0);
}
