//! Records in the forms in which programs read them, one by one: memory does not grow with the log.

use std::io::Write;
use std::path::Path;

use serde::ser::{SerializeSeq, Serializer};

use super::super::args::{AuditExportArgs, AuditFormat};
use super::super::failure::Failure;
use super::super::unlock::Access;
use super::super::{new_file, output};
use crate::broker::{AuditFilter, AuditOutcome, AuditRecord, PersonDoor};
use crate::text::is_unseen;

pub(super) fn run(access: &Access, args: &AuditExportArgs) -> Result<u8, Failure> {
    let filter = super::filter(&args.wanted)?;
    let door = access.door()?;
    let write = |out: &mut dyn Write| records(&door, &filter, args.format, out);
    match &args.output {
        Some(path) => {
            not_into_the_vault(access, path)?;
            new_file::write(path, args.force, write)
        }
        None => output::stream(|out| write(out)),
    }
}

/// With `--force`, an export could take the place of the vault itself.
fn not_into_the_vault(access: &Access, path: &Path) -> Result<(), Failure> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    let dir = dir.unwrap_or(Path::new(".")).canonicalize();
    let (Ok(dir), Ok(vault)) = (dir, access.dir()?.canonicalize()) else {
        return Ok(());
    };
    match dir.starts_with(vault) {
        true => Err(Failure::new(format!(
            "{} is in the vault's directory",
            path.display()
        ))),
        false => Ok(()),
    }
}

/// Writes the records that are wanted.
pub(super) fn records(
    door: &PersonDoor,
    filter: &AuditFilter,
    format: AuditFormat,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    match format {
        AuditFormat::Json => {
            let mut serializer = serde_json::Serializer::pretty(&mut *out);
            let mut array = serializer.serialize_seq(None).map_err(Failure::new)?;
            door.audit_each(filter, |record| {
                array
                    .serialize_element(&record.export())
                    .map_err(Failure::new)
            })?;
            array.end().map_err(Failure::new)?;
            Ok(out.write_all(b"\n")?)
        }
        AuditFormat::Jsonl => door.audit_each(filter, |record| json_line(record, out)),
        AuditFormat::Csv => {
            let mut writer = csv::Writer::from_writer(out);
            writer.write_record(COLUMNS).map_err(Failure::new)?;
            door.audit_each(filter, |record| {
                writer.write_record(cells(record)).map_err(Failure::new)
            })?;
            Ok(writer.flush()?)
        }
    }
}

pub(super) fn json_line(record: &AuditRecord, out: &mut dyn Write) -> Result<(), Failure> {
    let mut line = serde_json::to_vec(&record.export()).map_err(Failure::new)?;
    line.push(b'\n');
    Ok(out.write_all(&line)?)
}

const COLUMNS: [&str; 14] = [
    "timestamp",
    "action",
    "source",
    "keys",
    "command",
    "success",
    "result",
    "agent",
    "rule",
    "reason",
    "exit_code",
    "sequence",
    "id",
    "authentic",
];

fn cells(record: &AuditRecord) -> [String; COLUMNS.len()] {
    let keys: Vec<&str> = record.keys.iter().map(|key| key.as_str()).collect();
    let detail = &record.detail;
    let success = record.result == AuditOutcome::Success.as_str();
    let exit_code = detail.exit_code.map(|code| code.to_string());
    [
        record.timestamp(),
        record.action.clone(),
        record.source.clone(),
        keys.join(" "),
        record.command().unwrap_or_default(),
        success.to_string(),
        record.result.clone(),
        detail.agent.clone().unwrap_or_default(),
        detail.rule.clone().unwrap_or_default(),
        detail.reason.clone().unwrap_or_default(),
        exit_code.unwrap_or_default(),
        record.sequence.to_string(),
        record.id.clone(),
        record.is_authentic.to_string(),
    ]
    .map(inert)
}

/// What makes a spreadsheet take a cell as a formula, in all widths.
const FORMULA: [char; 14] = [
    '=', '+', '-', '@', '＝', '＋', '－', '＠', '﹦', '﹢', '﹣', '﹫', '−', '⁼',
];

/// A cell that a spreadsheet takes as text: what it could take as a formula gets an apostrophe in front. What stands in front
/// of that and is not seen may be skipped by it.
fn inert(cell: String) -> String {
    let seen = cell.trim_start_matches(|c: char| c.is_whitespace() || is_unseen(c));
    if seen.starts_with(FORMULA) || cell.starts_with(['\t', '\r']) {
        format!("'{cell}")
    } else {
        cell
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::broker::AuditDetail;

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            "[ \t\r\n\u{a0}\u{3000}\u{feff}\u{200b}]{0,3}[=+@＝＋－＠−'\"-]{0,2}[a-z(),;\"\r\n]{0,9}",
        ]
    }

    /// A record in which every text is somebody else's choice.
    fn record() -> impl Strategy<Value = AuditRecord> {
        let texts = prop::collection::vec(text(), 8);
        (texts, any::<i64>(), any::<Option<i32>>()).prop_map(|(texts, number, exit_code)| {
            let text = |index: usize| texts[index].clone();
            AuditRecord {
                sequence: number,
                id: text(0),
                time_ns: number,
                action: text(1),
                source: text(2),
                result: text(3),
                keys: Vec::new(),
                detail: AuditDetail {
                    argv: vec![text(4)],
                    agent: Some(text(5)),
                    rule: Some(text(6)),
                    reason: Some(text(7)),
                    exit_code,
                    ..AuditDetail::default()
                },
                is_authentic: true,
            }
        })
    }

    proptest! {
        #[test]
        fn no_cell_is_a_formula_and_none_is_lost(record in record()) {
            let mut csv = csv::Writer::from_writer(Vec::new());
            csv.write_record(cells(&record)).expect("written");
            let csv = csv.into_inner().expect("written");
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(&*csv);
            let row = reader.records().next().expect("a row").expect("CSV");
            let back = |index: usize| row[index].strip_prefix('\'').unwrap_or(&row[index]).to_owned();
            for cell in &row {
                let first = cell.trim_start().chars().find(|c| !is_unseen(*c));
                prop_assert!(!first.is_some_and(|c| "=+-@＝＋－＠−".contains(c)), "{cell:?}");
                prop_assert!(!cell.starts_with(['\t', '\r']), "{cell:?}");
            }
            let detail = &record.detail;
            let texts = [
                (1, &record.action),
                (2, &record.source),
                (4, &detail.argv[0]),
                (6, &record.result),
                (7, detail.agent.as_ref().expect("given")),
                (8, detail.rule.as_ref().expect("given")),
                (9, detail.reason.as_ref().expect("given")),
                (12, &record.id),
            ];
            for (column, text) in texts {
                // An apostrophe of the text's own stays when none was put in front.
                prop_assert!(row[column] == **text || back(column) == **text, "{text:?}");
            }
        }
    }

    #[test]
    fn what_looks_like_a_formula_is_text() {
        for cell in [
            "=1",
            "+1",
            "-1",
            "@a",
            "\t1",
            "\r1",
            " =1",
            "\u{a0}+1",
            "\u{feff}=1",
            "＝1",
            "\n@a",
        ] {
            assert_eq!(inert(cell.to_owned()), format!("'{cell}"));
        }
        for cell in ["", "a=1", "'", "1-1", " a", "\n"] {
            assert_eq!(inert(cell.to_owned()), cell);
        }
    }
}
