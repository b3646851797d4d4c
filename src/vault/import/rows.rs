//! The tables, whichever version they have: a column that a version does not have is null.

use std::collections::{BTreeSet, HashMap};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row};

use super::plain::Plain;
use super::{Foreign, ImportError, Lost, names, times};
use crate::crypto::{self, Key};
use crate::name::SecretName;
use crate::secret::SecretBytes;
use crate::vault::record::{Entry, Fields, check, check_values};

/// Deepest nesting of folders that is followed; the tool itself stops at 10.
const DEPTH_MAX: usize = 64;

/// The version of the tables; the first ones did not say.
pub(super) fn schema_version(connection: &Connection) -> Result<i64, ImportError> {
    if columns(connection, "schema_version")?.is_empty() {
        return Ok(1);
    }
    let query = "SELECT MAX(version) FROM schema_version";
    Ok(connection
        .query_row(query, [], |row| row.get::<_, Option<i64>>(0))?
        .unwrap_or(1))
}

/// What the password unwraps.
pub(super) struct Wrapped {
    pub(super) salt: Option<Vec<u8>>,
    pub(super) wrapped: Vec<u8>,
    pub(super) nonce: Vec<u8>,
}

pub(super) fn keys(connection: &Connection) -> Result<Wrapped, ImportError> {
    let present = columns(connection, "vault_keys")?;
    let query = format!(
        "SELECT {}, encrypted_dek, dek_nonce FROM vault_keys WHERE id = 1",
        column("salt", &present)
    );
    let read = |row: &Row| {
        Ok(Wrapped {
            salt: bytes(row, 0)?,
            wrapped: bytes(row, 1)?.unwrap_or_default(),
            nonce: bytes(row, 2)?.unwrap_or_default(),
        })
    };
    let keys = connection.query_row(&query, [], read).optional()?;
    keys.ok_or(ImportError::Damaged("it has no key"))
}

/// A folder, and what it is in.
struct Folder {
    name: String,
    parent: Option<String>,
}

/// All secrets. Those whose names need no change come first, so that they keep them.
pub(super) fn read_all(
    connection: &Connection,
    dek: &Key,
    now: i64,
) -> Result<Foreign, ImportError> {
    let mut foreign = Foreign::default();
    let folders = folders(connection, &mut foreign)?;
    let (mut problems, mut found, mut used) = (Vec::new(), Vec::new(), BTreeSet::new());
    let query = query(connection)?;
    let mut statement = connection.prepare(&query)?;
    let mut rows = statement.query([])?;
    let mut number = 0;
    while let Some(row) = rows.next()? {
        number += 1;
        match Sealed::from_row(row)?.open(dek, &folders, now, &mut foreign) {
            Ok(one) => {
                used.extend(one.folders.iter().cloned());
                found.push(one);
            }
            Err((None, fact)) => problems.push(format!("secret no. {number}: {fact}")),
            Err((Some(key), fact)) => problems.push(format!("{}: {fact}", key.escape_debug())),
        }
    }
    if !problems.is_empty() {
        return Err(ImportError::Secrets { problems });
    }
    let unused = folders.keys().filter(|id| !used.contains(*id)).count();
    (0..unused).for_each(|_| foreign.lose(Lost::EmptyFolder));
    found.sort_by_key(|one| one.entry.name.as_str() != one.said);
    give_names(found, foreign)
}

/// Two secrets whose names became one are kept apart by a number.
fn give_names(found: Vec<Opened>, mut foreign: Foreign) -> Result<Foreign, ImportError> {
    let mut taken: BTreeSet<SecretName> = BTreeSet::new();
    for Opened {
        mut entry,
        fields,
        said,
        ..
    } in found
    {
        let wanted = entry.name.clone();
        for number in 2.. {
            if taken.insert(entry.name.clone()) {
                break;
            }
            entry.name = names::numbered(&wanted, number).map_err(|error| {
                let problems = vec![format!("{}: {error}", said.escape_debug())];
                ImportError::Secrets { problems }
            })?;
        }
        if entry.name.as_str() != said {
            foreign.renamed.push((said, entry.name.clone()));
        }
        foreign.secrets.push((entry, fields));
    }
    foreign
        .secrets
        .sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
    Ok(foreign)
}

fn folders(
    connection: &Connection,
    foreign: &mut Foreign,
) -> Result<HashMap<String, Folder>, ImportError> {
    const TEXT: ImportError = ImportError::Damaged("the name of a folder");
    let present = columns(connection, "folders")?;
    let mut folders = HashMap::new();
    if present.is_empty() {
        return Ok(folders);
    }
    let [icon, color] = ["icon", "color"].map(|name| column(name, &present));
    let query = format!("SELECT id, name, parent_id, {icon}, {color} FROM folders");
    let mut statement = connection.prepare(&query)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let text = |column| Ok(bytes(row, column)?.map(String::from_utf8));
        let text = |column| {
            let text: Result<_, ImportError> = text(column);
            text?.transpose().map_err(|_| TEXT)
        };
        let id = text(0)?.ok_or(TEXT)?;
        let name = text(1)?.ok_or(TEXT)?;
        let parent = text(2)?;
        let looks = [bytes(row, 3)?, bytes(row, 4)?].into_iter().flatten();
        looks.for_each(|_| foreign.lose(Lost::FolderLook));
        folders.insert(id, Folder { name, parent });
    }
    Ok(folders)
}

/// The query for all secrets, whatever columns there are.
fn query(connection: &Connection) -> Result<String, ImportError> {
    let present = columns(connection, "secrets")?;
    let names = [
        "encrypted_key",
        "encrypted_value",
        "encrypted_fields",
        "encrypted_bindings",
        "encrypted_metadata",
        "folder_id",
        "tags",
        "expires_at",
        "created_at",
        "updated_at",
    ];
    let list = names.map(|name| column(name, &present)).join(", ");
    Ok(format!("SELECT {list} FROM secrets ORDER BY rowid"))
}

/// A row of `secrets`.
struct Sealed {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    fields: Option<Vec<u8>>,
    bindings: Option<Vec<u8>>,
    metadata: Option<Vec<u8>>,
    folder: Option<Vec<u8>>,
    tags: Option<Vec<u8>>,
    /// Expiry, creation and last change.
    times: [Option<Vec<u8>>; 3],
}

/// A secret, and what it was called.
struct Opened {
    entry: Entry,
    fields: Fields,
    said: String,
    /// The ids of all folders around it.
    folders: Vec<String>,
}

/// The key, as far as it is known, and what is wrong.
type Fault = (Option<String>, String);

impl Sealed {
    fn from_row(row: &Row) -> rusqlite::Result<Self> {
        Ok(Self {
            key: bytes(row, 0)?,
            value: bytes(row, 1)?,
            fields: bytes(row, 2)?,
            bindings: bytes(row, 3)?,
            metadata: bytes(row, 4)?,
            folder: bytes(row, 5)?,
            tags: bytes(row, 6)?,
            times: [bytes(row, 7)?, bytes(row, 8)?, bytes(row, 9)?],
        })
    }

    fn open(
        self,
        dek: &Key,
        folders: &HashMap<String, Folder>,
        now: i64,
        foreign: &mut Foreign,
    ) -> Result<Opened, Fault> {
        let unnamed = |fact: String| (None, fact);
        let key = unseal(dek, self.key.as_deref(), "name").map_err(unnamed)?;
        let key = key.map(|key| String::from_utf8(key.expose().to_vec()));
        let key = match key {
            Some(Ok(key)) => key,
            _ => return Err(unnamed("it has no name".to_owned())),
        };
        let around = around(self.folder.as_deref(), folders, foreign);
        let opened =
            around.and_then(|around| self.open_named(dek, &key, around, folders, now, foreign));
        opened.map_err(|fact| (Some(key), fact))
    }

    fn open_named(
        &self,
        dek: &Key,
        key: &str,
        around: Vec<String>,
        folders: &HashMap<String, Folder>,
        now: i64,
        foreign: &mut Foreign,
    ) -> Result<Opened, String> {
        let parts: Vec<&str> = around.iter().map(|id| folders[id].name.as_str()).collect();
        let name = names::secret_name(&parts, key).map_err(|error| error.to_string())?;
        let fields = unseal(dek, self.fields.as_deref(), "fields")?;
        let bindings = unseal(dek, self.bindings.as_deref(), "bindings")?;
        let metadata = unseal(dek, self.metadata.as_deref(), "notes and URL")?;
        let plain = Plain {
            value: unseal(dek, self.value.as_deref(), "value")?,
            fields: fields.as_ref().map(SecretBytes::expose),
            bindings: bindings.as_ref().map(SecretBytes::expose),
            metadata: metadata.as_ref().map(SecretBytes::expose),
            tags: self.tags.as_deref(),
        };
        let (mut metadata, fields) = plain.read(foreign)?;
        let [expires_at, created_at, updated_at] = &self.times;
        metadata.expires_at = moment(expires_at, "time of expiry")?;
        let created_at = moment(created_at, "time of creation")?.unwrap_or(now);
        let updated_at = moment(updated_at, "time of its last change")?.unwrap_or(created_at);
        check(&metadata).map_err(|rule| rule.to_string())?;
        let values = fields.iter().map(|field| (&field.name, &field.value));
        check_values(values).map_err(|rule| rule.to_string())?;
        let said = [&parts[..], &[key]].concat().join("/");
        Ok(Opened {
            entry: Entry {
                name,
                metadata,
                created_at,
                updated_at,
            },
            fields,
            said,
            folders: around,
        })
    }
}

/// The ids of the folders around a secret, outermost first.
fn around(
    folder: Option<&[u8]>,
    folders: &HashMap<String, Folder>,
    foreign: &mut Foreign,
) -> Result<Vec<String>, String> {
    let mut next = folder.map(|id| String::from_utf8_lossy(id).into_owned());
    let mut around = Vec::new();
    while let Some(id) = next.take().filter(|id| !id.is_empty()) {
        let Some(folder) = folders.get(&id) else {
            foreign.lose(Lost::MissingFolder);
            break;
        };
        if around.len() == DEPTH_MAX {
            return Err("its folders are nested without end".to_owned());
        }
        around.push(id);
        next.clone_from(&folder.parent);
    }
    around.reverse();
    Ok(around)
}

fn unseal(dek: &Key, blob: Option<&[u8]>, what: &str) -> Result<Option<SecretBytes>, String> {
    let blob = blob.filter(|blob| !blob.is_empty());
    let opened = blob.map(|blob| crypto::open_without_place(dek, blob));
    opened
        .transpose()
        .map_err(|_| format!("its {what} is damaged"))
}

fn moment(text: &Option<Vec<u8>>, what: &str) -> Result<Option<i64>, String> {
    let Some(text) = text.as_ref().filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let text = std::str::from_utf8(text).ok();
    match text.and_then(times::unix_seconds) {
        Some(seconds) => Ok(Some(seconds)),
        None => Err(format!("its {what} cannot be read")),
    }
}

/// The columns of a table; none for a table that is not there.
fn columns(connection: &Connection, table: &str) -> Result<BTreeSet<String>, ImportError> {
    let mut statement = connection.prepare("SELECT name FROM pragma_table_info(?1)")?;
    let names = statement.query_map([table], |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}

fn column(name: &str, present: &BTreeSet<String>) -> String {
    if present.contains(name) {
        name.to_owned()
    } else {
        format!("NULL AS {name}")
    }
}

/// A text or a blob. A number in its place becomes its digits, which nothing takes for what it should be.
fn bytes(row: &Row, column: usize) -> rusqlite::Result<Option<Vec<u8>>> {
    Ok(match row.get_ref(column)? {
        ValueRef::Null => None,
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(bytes.to_vec()),
        ValueRef::Integer(number) => Some(number.to_string().into_bytes()),
        ValueRef::Real(number) => Some(number.to_string().into_bytes()),
    })
}
