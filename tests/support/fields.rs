//! A secret with several fields.

use std::fs;

use serde_json::Value;

use super::{Answer, Sandbox};

/// Runs the program to its end.
pub(crate) fn run(sandbox: &Sandbox, args: &[&str], stdin: impl Into<Vec<u8>>) -> Answer {
    sandbox.secretctl(args).stdin(stdin).answer()
}

/// All of a secret but its times.
pub(crate) fn whole(sandbox: &Sandbox, key: &str) -> Value {
    let mut whole = run(sandbox, &["get", key, "--json"], "").succeeded().json();
    let object = whole.as_object_mut().expect("an object");
    for time in ["created_at", "updated_at"] {
        object.remove(time).expect("a time");
    }
    whole
}

/// A vault with a database in it: two plain fields, two sensitive ones, of which one is bound.
pub(crate) fn with_database() -> Sandbox {
    let sandbox = Sandbox::new();
    let args = [
        "set",
        "db/prod",
        "--field",
        "host=db.example",
        "--field",
        "port=5432",
        "--field",
        "password",
        "--field-file",
        "admin=admin.txt",
        "--plain",
        "host,port",
        "--binding",
        "PGHOST=host",
        "--binding",
        "PGPORT=port",
        "--binding",
        "PGPASSWORD=password",
    ];
    fs::write(sandbox.home().join("admin.txt"), "admin-Secret-7").expect("written");
    run(&sandbox, &args, "s3cret-Pass-word\n").is(0, "", "Stored db/prod.\n");
    sandbox
}
