//! The program of a filter: classic BPF, as seccomp(2) takes it.
//!
//! The kernel checks and compiles a program for each run, and asks it about every system call there
//! is to learn which it always allows: so it is short, and finds a call by halving.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET,
    BPF_W, SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS, sock_filter,
};

/// The number of this machine's table of system calls (`AUDIT_ARCH_*` of linux/audit.h).
const ARCHITECTURE: Option<u32> = if cfg!(all(target_arch = "x86_64", target_pointer_width = "64"))
{
    Some(0xC000_003E)
} else if cfg!(all(target_arch = "aarch64", target_endian = "little")) {
    Some(0xC000_00B7)
} else if cfg!(target_arch = "riscv64") {
    Some(0xC000_00F3)
} else {
    None
};

/// Bit of the numbers of the x32 table, which shares the architecture number with the native one.
pub(super) const X32: Option<u32> = if cfg!(target_arch = "x86_64") {
    Some(0x4000_0000)
} else {
    None
};

/// Where the call's number, the architecture's, and the arguments stand in struct seccomp_data
/// (linux/seccomp.h). Of an argument the half is meant that the kernel looks at: the lower one.
const CALL: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
const ARGUMENTS: u32 = 16;

/// What becomes of a call.
#[derive(PartialEq)]
pub(super) enum Answer {
    /// It fails with this number.
    Refused(i32),
    /// It fails with this number if all conditions of one of the rules hold.
    RefusedIf(i32, Vec<Rule>),
}

pub(super) type Rule = Vec<Condition>;

/// Holds or does not, for the lower 32 bits of an argument.
#[derive(PartialEq)]
pub(super) struct Condition {
    pub(super) argument: u8,
    pub(super) test: Test,
}

#[derive(PartialEq)]
pub(super) enum Test {
    /// What the mask leaves is one of these.
    Among(u32, Vec<u32>),
    NotAmong(Vec<u32>),
    /// One of these bits is set.
    AnyOf(u32),
}

pub(super) type Program = Vec<sock_filter>;

/// A filter cannot be had for this machine, or has grown too long for its jumps.
#[derive(Debug)]
pub(super) struct Unsupported;

/// Calls that are not listed are allowed. A call through a foreign table ends the process.
pub(super) fn compile(answers: &BTreeMap<u32, Answer>) -> Result<Program, Unsupported> {
    let mut program = load(ARCHITECTURE_AT);
    program.extend([
        jump(BPF_JEQ, ARCHITECTURE.ok_or(Unsupported)?, 1, 0)?,
        end(SECCOMP_RET_KILL_PROCESS),
    ]);
    program.extend(load(CALL));
    if let Some(bit) = X32 {
        program.extend([jump(BPF_JGE, bit, 0, 1)?, end(SECCOMP_RET_KILL_PROCESS)]);
    }
    // From each of these numbers on this is done, up to the next one.
    let mut parts = BTreeMap::from([(0, None)]);
    for (&call, answer) in answers {
        parts.insert(call, Some(answer));
        parts.entry(call + 1).or_insert(None);
    }
    let mut parts: Vec<_> = parts.into_iter().collect();
    parts.dedup_by(|next, part| next.1 == part.1);
    program.extend(search(&parts)?);
    Ok(program)
}

/// Goes on with the last part whose number is not greater than the call's.
fn search(parts: &[(u32, Option<&Answer>)]) -> Result<Program, Unsupported> {
    if let [(_, answer)] = parts {
        return answer.map_or_else(|| Ok(allowed()), answered);
    }
    let (lower, upper) = parts.split_at(parts.len() / 2);
    let from = upper.first().ok_or(Unsupported)?.0;
    let (lower, upper) = (search(lower)?, search(upper)?);
    let mut program = match jump(BPF_JGE, from, lower.len(), 0) {
        Ok(over) => vec![over],
        Err(_) => vec![jump(BPF_JGE, from, 0, 1)?, far(lower.len())?],
    };
    program.extend(lower);
    program.extend(upper);
    Ok(program)
}

fn answered(answer: &Answer) -> Result<Program, Unsupported> {
    let refused = |number: &i32| end(SECCOMP_RET_ERRNO | number.unsigned_abs());
    match answer {
        Answer::Refused(number) => Ok(vec![refused(number)]),
        Answer::RefusedIf(number, rules) => {
            let mut program = Vec::new();
            for rule in rules {
                program.extend(all_of(rule, refused(number))?);
            }
            program.extend(allowed());
            Ok(program)
        }
    }
}

/// `then`, if all conditions hold; otherwise what follows.
fn all_of(rule: &[Condition], then: sock_filter) -> Result<Program, Unsupported> {
    let mut program = vec![then];
    for condition in rule.iter().rev() {
        let mut before = tested(condition, program.len())?;
        before.append(&mut program);
        program = before;
    }
    Ok(program)
}

/// Goes on if the condition holds, and otherwise leaves out as many instructions more.
fn tested(condition: &Condition, otherwise: usize) -> Result<Program, Unsupported> {
    let low = if cfg!(target_endian = "big") { 4 } else { 0 };
    let mut program = load(ARGUMENTS + 8 * u32::from(condition.argument) + low);
    match &condition.test {
        Test::Among(mask, values) => {
            if *mask != u32::MAX {
                program.push(statement(BPF_ALU | BPF_AND | BPF_K, *mask));
            }
            for (index, value) in values.iter().enumerate() {
                let more = values.len() - 1 - index;
                let other = if more == 0 { otherwise } else { 0 };
                program.push(jump(BPF_JEQ, *value, more, other)?);
            }
        }
        Test::NotAmong(values) => {
            for (index, value) in values.iter().enumerate() {
                let more = values.len() - 1 - index;
                program.push(jump(BPF_JEQ, *value, more + otherwise, 0)?);
            }
        }
        Test::AnyOf(bits) => program.push(jump(BPF_JSET, *bits, 0, otherwise)?),
    }
    Ok(program)
}

fn allowed() -> Program {
    vec![end(SECCOMP_RET_ALLOW)]
}

fn load(at: u32) -> Program {
    vec![statement(BPF_LD | BPF_W | BPF_ABS, at)]
}

fn end(answer: u32) -> sock_filter {
    statement(BPF_RET | BPF_K, answer)
}

/// Leaves out so many instructions if the comparison holds, or does not.
fn jump(
    comparison: u32,
    with: u32,
    holds: usize,
    fails: usize,
) -> Result<sock_filter, Unsupported> {
    let near = |distance: usize| u8::try_from(distance).map_err(|_| Unsupported);
    Ok(sock_filter {
        jt: near(holds)?,
        jf: near(fails)?,
        ..statement(BPF_JMP | comparison | BPF_K, with)
    })
}

fn far(distance: usize) -> Result<sock_filter, Unsupported> {
    let distance = u32::try_from(distance).map_err(|_| Unsupported)?;
    Ok(statement(BPF_JMP | BPF_JA, distance))
}

fn statement(operation: u32, operand: u32) -> sock_filter {
    sock_filter {
        // All operations have eight bits.
        code: (operation & 0xff) as u16,
        jt: 0,
        jf: 0,
        k: operand,
    }
}
