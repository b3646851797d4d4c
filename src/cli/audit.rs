//! `secretctl audit`

mod export;
mod follow;
mod prune;

use serde_json::json;

use super::args::{AuditCommand, AuditFormat, AuditListArgs, WantedArgs};
use super::failure::{Failure, codes};
use super::output;
use super::unlock::Access;
use crate::broker::{
    AuditFilter, AuditModule, AuditOutcome, AuditRecord, AuditRedaction, HeadMark, Verified,
};
use crate::time::{self, Point};

pub(super) fn run(access: &Access, command: &AuditCommand) -> Result<u8, Failure> {
    match command {
        AuditCommand::List(args) => list(access, args),
        AuditCommand::Show { id, json } => show(access, id, *json),
        AuditCommand::Verify { head, json } => verify(access, head.as_ref(), *json),
        AuditCommand::Head => head(access),
        AuditCommand::Export(args) => export::run(access, args),
        AuditCommand::Prune(args) => prune::run(access, args),
        AuditCommand::Retention { kept } => prune::retention(access, *kept),
    }
}

fn filter(wanted: &WantedArgs) -> Result<AuditFilter, Failure> {
    let now = time::now_ns();
    let bound = |point: Option<Point>, of: fn(Point, i64) -> Result<i64, &'static str>| {
        let bound = point.map(|point| of(point, now)).transpose();
        bound.map_err(|fact| Failure::new(fact).with_code(codes::USAGE))
    };
    Ok(AuditFilter {
        since_ns: bound(wanted.since, Point::start_ns)?,
        until_ns: bound(wanted.until, Point::end_ns)?,
        actions: wanted.action.clone(),
        outcome: wanted.result,
        source: wanted.source,
        key: wanted.key.clone(),
        agent: wanted.agent.clone(),
        ..AuditFilter::default()
    })
}

fn list(access: &Access, args: &AuditListArgs) -> Result<u8, Failure> {
    let wanted = filter(&args.wanted)?;
    let denied = args.denied.then_some(AuditOutcome::Denied);
    let filter = AuditFilter {
        limit: Some(args.limit),
        outcome: denied.or(wanted.outcome),
        ..wanted
    };
    let door = access.door()?;
    if args.follow {
        return follow::run(&door, &filter, args.json);
    }
    output::stream(|out| {
        if args.json {
            return export::records(&door, &filter, AuditFormat::Json, out);
        }
        let mut is_empty = true;
        door.audit_each(&filter, |record| -> Result<(), Failure> {
            is_empty = false;
            Ok(out.write_all(line(record).as_bytes())?)
        })?;
        if is_empty {
            output::done("No audit records found.");
        }
        Ok(())
    })
}

/// `number  time  source  action  result  keys  command  (why)`
fn line(record: &AuditRecord) -> String {
    let keys: Vec<&str> = record.keys.iter().map(|key| key.as_str()).collect();
    let detail = &record.detail;
    let exit = detail.exit_code.map(|code| format!("exit {code}"));
    // An exit code says by itself how the command ended.
    let ended = detail.ended.as_ref().filter(|_| exit.is_none());
    let why = detail.reason.as_ref().or(ended);
    let kept = detail.retention.as_ref();
    let parts = [
        Some(record.sequence.to_string()),
        Some(record.timestamp()),
        Some(record.source.clone()),
        Some(record.action.clone()),
        Some(record.result.clone()),
        detail.agent.clone(),
        (!keys.is_empty()).then(|| keys.join(",")),
        record.command(),
        exit,
        detail.pruned.as_ref().map(prune::range),
        kept.map(|kept| format!("records are kept: {kept}")),
        why.map(|why| format!("({why})")),
        (!record.is_authentic).then(|| "NOT AUTHENTIC".to_owned()),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    format!(
        "{}\n",
        output::printable(&parts.join("  ")).replace('\n', " ")
    )
}

fn show(access: &Access, id: &str, as_json: bool) -> Result<u8, Failure> {
    let sequence = id.parse().ok();
    let filter = AuditFilter {
        sequence,
        id: sequence.is_none().then(|| id.to_owned()),
        ..AuditFilter::default()
    };
    let records = access.door()?.audit_list(&filter)?;
    let Some(record) = records.first() else {
        return Err(
            Failure::new(format!("there is no record {}", output::printable(id)))
                .next("secretctl audit list prints the numbers of the newest records")
                .with_code(codes::NOT_FOUND),
        );
    };
    if as_json {
        return output::json(&record.export());
    }
    output::result(details(record).as_bytes())
}

/// What would allow a denied run.
const REMEDY: &str = "to allow it";
/// Goes on below the text of a line.
const NEXT_LINE: &str = "\n              ";

/// A line for each thing that is known of a record.
fn details(record: &AuditRecord) -> String {
    let detail = &record.detail;
    let keys: Vec<&str> = record.keys.iter().map(|key| key.as_str()).collect();
    let module = |module: &AuditModule| format!("{} {}", module.name, module.sha256);
    let hidden = |found: &AuditRedaction| format!("{} ({}) {}", found.key, found.form, found.count);
    let modules: Vec<String> = detail.modules.iter().map(module).collect();
    let redactions: Vec<String> = detail.redactions.iter().map(hidden).collect();
    let exit_code = detail.exit_code.map(|code| code.to_string());
    let duration = detail.duration_ms.map(|duration| format!("{duration} ms"));
    let text = |text: &Option<String>| text.clone().into_iter().collect();
    let one = |text: String| vec![text];
    let all: [(&str, Vec<String>); 21] = [
        ("record", one(record.sequence.to_string())),
        ("id", one(record.id.clone())),
        ("time", one(record.timestamp())),
        ("source", one(record.source.clone())),
        ("agent", text(&detail.agent)),
        ("action", one(record.action.clone())),
        ("result", one(record.result.clone())),
        ("command", text(&record.command())),
        ("directory", text(&detail.directory)),
        ("environment", text(&detail.environment)),
        ("keys", keys.into_iter().map(str::to_owned).collect()),
        ("rule", text(&detail.rule)),
        ("reason", text(&detail.reason)),
        (REMEDY, text(&detail.remedy)),
        ("ended", text(&detail.ended)),
        ("exit code", text(&exit_code)),
        ("duration", text(&duration)),
        ("hidden", redactions),
        ("removed", text(&detail.pruned.as_ref().map(prune::range))),
        ("kept", text(&detail.retention)),
        ("modules", modules),
    ];
    let layers = [
        ("enforced", &detail.enforced),
        ("not enforced", &detail.not_enforced),
    ];
    let layers = layers.map(|(name, layers)| (name, layers.join(" ")));
    let layers = layers.into_iter().filter(|(_, layers)| !layers.is_empty());
    let mut lines: String = all
        .into_iter()
        .flat_map(|(name, texts)| texts.into_iter().map(move |text| (name, text)))
        .chain(layers)
        .map(|(name, text)| {
            // A remedy has lines to be pasted.
            let break_line = if name == REMEDY { NEXT_LINE } else { " " };
            let text = output::printable(&text).replace('\n', break_line);
            format!("{name:13} {text}\n")
        })
        .collect();
    if !record.is_authentic {
        lines.push_str("NOT AUTHENTIC: nothing above can be relied upon\n");
    }
    lines
}

/// Opens a log of which nobody knows yet whether something is wrong with it.
fn verify(access: &Access, head: Option<&HeadMark>, as_json: bool) -> Result<u8, Failure> {
    let door = access.inspecting_door()?;
    let Verified {
        records,
        pruned,
        mut problems,
        ..
    } = door.verify()?;
    let found = head.map(|head| door.compare(head)).transpose()?;
    if let Some(wrong) = found.as_ref().filter(|found| !found.is_fine()) {
        problems.push(wrong.to_string());
    }
    let code = if problems.is_empty() {
        codes::DONE
    } else {
        codes::TAMPERED
    };
    if as_json {
        output::json(
            &json!({ "valid": problems.is_empty(), "records": records, "pruned": pruned, "problems": problems }),
        )?;
        return Ok(code);
    }
    if !problems.is_empty() {
        let fact = format!("the vault was tampered with:\n  {}", problems.join("\n  "));
        return Err(Failure::new(fact).with_code(code));
    }
    let before = match pruned {
        0 => String::new(),
        pruned => format!("{pruned} records were pruned before them\n"),
    };
    let mut text =
        format!("{records} records verified\n{before}Chain integrity: OK\nNo gaps detected\n");
    if let Some(found) = found {
        text.push_str(&format!("Head: {found}\n"));
    }
    output::result(text.as_bytes())
}

fn head(access: &Access) -> Result<u8, Failure> {
    output::result(format!("{}\n", access.door()?.audit_head()?).as_bytes())
}
