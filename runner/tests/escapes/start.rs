//! Cases 53 and 54: what cannot be started is refused with its reason.

use std::fs;

use secretctl_runner::{Cause, Jail, Network, Plan, Stage, StartError};

use crate::support::{Scratch, plan, sh, variable};
use crate::table::{Row, cases, jail, jailed, try_jailed};

cases![
    (
        53,
        "arguments and variables at the kernel's limits",
        [],
        the_kernels_limits_are_named
    ),
    (
        54,
        "programs that are none",
        [],
        each_wrong_program_has_its_own_error
    ),
    (
        54,
        "programs with headers that lie",
        [],
        a_broken_header_is_an_error_like_any_other
    ),
];

/// Why a plan with a secret does not start; the secret is not in the message.
fn refused(mut plan: Plan, jail: &Jail) -> StartError {
    plan.environment.push(variable("TOKEN", "canary"));
    match try_jailed(plan, jail) {
        Ok(run) => panic!("started: {:?} {}", run.report, run.text()),
        Err(error) => {
            assert!(
                !error.to_string().contains("canary") && !format!("{error:?}").contains("canary")
            );
            error
        }
    }
}

fn error(stage: Stage, cause: Cause) -> StartError {
    StartError { stage, cause }
}

fn the_kernels_limits_are_named(row: &mut Row) {
    let jail = jail(Network::None);
    let argument = "x".repeat(100_000);
    assert_eq!(
        refused(plan("/bin/true", &[argument.as_str(); 31]), &jail),
        error(Stage::Program, Cause::TooLong)
    );
    let with = |length: usize| {
        let mut plan = sh("echo ${#SECRET}");
        plan.environment
            .push(variable("SECRET", &"s".repeat(length)));
        plan
    };
    let longest = 131_071 - "SECRET=".len();
    assert_eq!(jailed(with(longest), &jail).text(), format!("{longest}\n"));
    let cause = Cause::VariableTooLong("SECRET".into());
    assert_eq!(refused(with(longest + 1), &jail), error(Stage::Plan, cause));
    row.note("named without the value");
}

fn each_wrong_program_has_its_own_error(row: &mut Row) {
    let scratch = Scratch::new();
    let mut jail = jail(Network::None);
    jail.readable.push(scratch.0.clone());
    let file = |name: &str, text: &str, mode| scratch.file(name, text, mode).display().to_string();
    for (program, stage, cause) in [
        ("true".to_owned(), Stage::Program, Cause::RelativePath),
        ("/nonexistent".to_owned(), Stage::Program, Cause::NotFound),
        (
            "/bin/sh/program".to_owned(),
            Stage::Program,
            Cause::NotFound,
        ),
        ("/usr".to_owned(), Stage::Program, Cause::NotExecutable),
        (
            file("data", "#!/bin/sh\n", 0o644),
            Stage::Program,
            Cause::NotExecutable,
        ),
        (
            file("lost", "#!/nonexistent/interpreter\n", 0o755),
            Stage::Program,
            Cause::NoInterpreter,
        ),
        (
            file("bare", "echo ran\n", 0o755),
            Stage::Program,
            Cause::UnknownFormat,
        ),
        (
            file("empty", "", 0o755),
            Stage::Program,
            Cause::UnknownFormat,
        ),
        ("/bin/true\0".to_owned(), Stage::Plan, Cause::ContainsNul),
    ] {
        assert_eq!(
            refused(plan(&program, &[]), &jail),
            error(stage, cause),
            "{program}"
        );
    }
    let mut nameless = sh("exit 0");
    nameless.argv.clear();
    assert_eq!(
        refused(nameless, &jail),
        error(Stage::Plan, Cause::NoArguments)
    );
    // What the plan does not open is not found, whatever it is.
    let outside = Scratch::new();
    fs::copy("/bin/true", outside.0.join("true")).unwrap();
    let hidden = plan(outside.0.join("true").to_str().unwrap(), &[]);
    match try_jailed(hidden, &jail) {
        Err(refusal) => assert_eq!(refusal, error(Stage::Program, Cause::NotFound)),
        Ok(run) => assert!(!run.report.enforcement.has("files")),
    }
    row.note("distinct errors, no secret in any");
}

/// An ELF header (64 bits, little endian) with one program header for the interpreter.
fn elf(
    interpreter_at: u64,
    length: u64,
    headers_at: u64,
    headers: u16,
    header_size: u16,
) -> Vec<u8> {
    let machine: u16 = if cfg!(target_arch = "x86_64") {
        62
    } else {
        183
    };
    let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    bytes.extend([3, 0]);
    bytes.extend(machine.to_le_bytes());
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend(0_u64.to_le_bytes());
    bytes.extend(headers_at.to_le_bytes());
    bytes.extend(0_u64.to_le_bytes());
    bytes.extend(0_u32.to_le_bytes());
    for field in [64, header_size, headers, 0, 0, 0] {
        bytes.extend(field.to_le_bytes());
    }
    // PT_INTERP, readable.
    bytes.extend(3_u32.to_le_bytes());
    bytes.extend(4_u32.to_le_bytes());
    for field in [interpreter_at, 0, 0, length, length, 1] {
        bytes.extend(field.to_le_bytes());
    }
    bytes.extend(b"/nonexistent/ld.so\0");
    bytes
}

fn a_broken_header_is_an_error_like_any_other(row: &mut Row) {
    let scratch = Scratch::new();
    let mut jail = jail(Network::None);
    jail.readable.push(scratch.0.clone());
    let whole = elf(120, 19, 64, 1, 56);
    let lost = scratch.file("lost", &whole, 0o755);
    assert_eq!(
        refused(plan(lost.to_str().unwrap(), &[]), &jail),
        error(Stage::Program, Cause::NoInterpreter)
    );
    let programs = [
        ("magic", b"\x7fELF".to_vec()),
        ("half", whole[..40].to_vec()),
        ("header", whole[..64].to_vec()),
        ("unfinished", whole[..130].to_vec()),
        ("far", elf(u64::MAX - 3, 19, 64, 1, 56)),
        ("huge", elf(120, u64::MAX, 64, 1, 56)),
        ("none", elf(120, 0, 64, 1, 56)),
        ("endless", elf(120, 18, 64, 1, 56)),
        ("many", elf(120, 19, 64, u16::MAX, 56)),
        ("small", elf(120, 19, 64, 1, 1)),
        ("elsewhere", elf(120, 19, u64::MAX, 1, 56)),
    ];
    for (name, bytes) in programs {
        let path = scratch.file(name, bytes, 0o755);
        let refusal = refused(plan(path.to_str().unwrap(), &[]), &jail);
        assert_eq!(refusal.stage, Stage::Program, "{name}: {refusal:?}");
        // The kernel's own word on the file, as for any other program.
        let known = matches!(
            refusal.cause,
            Cause::UnknownFormat
                | Cause::NoInterpreter
                | Cause::Os(libc::EIO | libc::EINVAL | libc::ELIBBAD)
        );
        assert!(known, "{name}: {refusal:?}");
    }
    row.note("the kernel's answer, whatever the header says");
}
