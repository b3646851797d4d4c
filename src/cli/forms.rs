//! Kinds of secrets whose fields are known, for `set --template`.

use super::args::Kind;

/// A field that a kind of secret has.
pub(super) struct FormField {
    pub(super) name: &'static str,
    /// The variable that gets it; none for one that is named after the secret and the field.
    pub(super) variable: Option<&'static str>,
    pub(super) is_required: bool,
    pub(super) typed: Typed,
}

/// How a person gives the value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Typed {
    /// Seen on the screen, since it is not sensitive.
    Plain,
    /// Unseen.
    Hidden,
    /// As the path of a file: it has several lines.
    File,
}

const fn field(name: &'static str, typed: Typed, is_required: bool) -> FormField {
    FormField {
        name,
        variable: None,
        is_required,
        typed,
    }
}

/// libpq reads its variables without being told; nothing else here has names that everybody agrees on.
const fn libpq(name: &'static str, variable: &'static str, form: FormField) -> FormField {
    FormField {
        name,
        variable: Some(variable),
        ..form
    }
}

const REQUIRED: FormField = field("", Typed::Plain, true);
const OPTIONAL: FormField = field("", Typed::Plain, false);

const LOGIN: &[FormField] = &[
    field("username", Typed::Plain, true),
    field("password", Typed::Hidden, true),
];
const DATABASE: &[FormField] = &[
    libpq("host", "PGHOST", REQUIRED),
    libpq("port", "PGPORT", OPTIONAL),
    libpq("username", "PGUSER", REQUIRED),
    libpq("password", "PGPASSWORD", field("", Typed::Hidden, true)),
    libpq("database", "PGDATABASE", OPTIONAL),
];
const API: &[FormField] = &[
    field("api_key", Typed::Hidden, true),
    field("api_secret", Typed::Hidden, false),
    field("endpoint", Typed::Plain, false),
];
const SSH: &[FormField] = &[
    field("host", Typed::Plain, true),
    field("port", Typed::Plain, false),
    field("username", Typed::Plain, true),
    field("private_key", Typed::File, true),
    field("passphrase", Typed::Hidden, false),
];

/// The fields of a kind, in the order in which they are asked for.
pub(super) fn form(kind: Kind) -> &'static [FormField] {
    match kind {
        Kind::Login => LOGIN,
        Kind::Database => DATABASE,
        Kind::Api => API,
        Kind::Ssh => SSH,
    }
}
