//! What happens before the program runs: errors that name the reason, and the file that runs.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use secretctl_runner::{
    Cancel, Cause, FileId, Outcome, Runner, Stage, StartError, Stdin, WorkingDirectory,
};

use crate::support::{EXITED_0, Scratch, plan, run, sh, tests, try_run, variable};

tests![
    a_missing_program_is_not_found,
    a_file_without_execute_permission_is_not_executable,
    a_directory_is_not_executable,
    a_missing_interpreter_is_not_a_missing_program,
    a_script_without_an_interpreter_is_not_given_to_a_shell,
    an_argument_list_too_long_for_the_kernel_is_named,
    an_argument_list_too_long_for_the_helper_is_named,
    the_longest_variable_passes_and_a_longer_one_is_named_without_its_value,
    plans_that_cannot_run_are_refused_with_the_reason,
    a_required_layer_that_does_not_hold_is_refused_before_anything_runs,
    a_missing_working_directory_is_named,
    the_judged_file_runs_and_no_other,
    a_judged_script_runs,
    a_missing_helper_is_named,
    a_helper_that_does_not_answer_is_named,
    a_helper_started_by_hand_says_so,
];

fn refused(plan: secretctl_runner::Plan) -> StartError {
    match try_run(plan) {
        Ok(run) => panic!("started: {:?}", run.report),
        Err(error) => error,
    }
}

fn error(stage: Stage, cause: Cause) -> StartError {
    StartError { stage, cause }
}

fn a_missing_program_is_not_found() {
    let missing = error(Stage::Program, Cause::NotFound);
    assert_eq!(refused(plan("/nonexistent/program", &[])), missing);
    assert_eq!(refused(plan("/bin/sh/program", &[])), missing);
    assert_eq!(missing.to_string(), "cannot start, program: no such file");
}

fn a_file_without_execute_permission_is_not_executable() {
    let scratch = Scratch::new();
    let file = scratch.file("data", "#!/bin/sh\n", 0o644);
    assert_eq!(
        refused(plan(file.to_str().unwrap(), &[])),
        error(Stage::Program, Cause::NotExecutable)
    );
}

fn a_directory_is_not_executable() {
    assert_eq!(
        refused(plan("/usr", &[])),
        error(Stage::Program, Cause::NotExecutable)
    );
}

fn a_missing_interpreter_is_not_a_missing_program() {
    let scratch = Scratch::new();
    let file = scratch.file("script", "#!/nonexistent/interpreter\n", 0o755);
    assert_eq!(
        refused(plan(file.to_str().unwrap(), &[])),
        error(Stage::Program, Cause::NoInterpreter)
    );
}

fn a_script_without_an_interpreter_is_not_given_to_a_shell() {
    let scratch = Scratch::new();
    let file = scratch.file("script", "echo ran\n", 0o755);
    assert_eq!(
        refused(plan(file.to_str().unwrap(), &[])),
        error(Stage::Program, Cause::UnknownFormat)
    );
}

fn an_argument_list_too_long_for_the_kernel_is_named() {
    let argument = "x".repeat(100_000);
    assert_eq!(
        refused(plan("/bin/true", &[argument.as_str(); 70])),
        error(Stage::Program, Cause::TooLong)
    );
}

fn an_argument_list_too_long_for_the_helper_is_named() {
    let argument = "x".repeat(100_000);
    assert_eq!(
        refused(plan("/bin/true", &[argument.as_str(); 100])),
        error(Stage::Plan, Cause::TooLarge)
    );
}

fn the_longest_variable_passes_and_a_longer_one_is_named_without_its_value() {
    let with = |length: usize| {
        let mut plan = sh("echo ${#SECRET}");
        plan.environment
            .push(variable("SECRET", &"s".repeat(length)));
        plan
    };
    let longest = 131_071 - "SECRET=".len();
    assert_eq!(run(with(longest)).text(), format!("{longest}\n"));
    let error = refused(with(longest + 1));
    assert_eq!(
        error,
        StartError {
            stage: Stage::Plan,
            cause: Cause::VariableTooLong("SECRET".into())
        }
    );
    assert_eq!(
        error.to_string(),
        "cannot start, plan: the variable SECRET is too long for the kernel"
    );
}

fn plans_that_cannot_run_are_refused_with_the_reason() {
    assert_eq!(
        refused(plan("sh", &[])),
        error(Stage::Program, Cause::RelativePath)
    );
    assert_eq!(
        refused(plan("/bin/sh", &["a\0b"])),
        error(Stage::Plan, Cause::ContainsNul)
    );
    let changed = |change: fn(&mut secretctl_runner::Plan)| {
        let mut plan = sh("exit 0");
        change(&mut plan);
        refused(plan)
    };
    assert_eq!(
        changed(|plan| plan.argv.clear()),
        error(Stage::Plan, Cause::NoArguments)
    );
    assert_eq!(
        changed(|plan| plan.environment.push(variable("A", "secret\0"))),
        error(Stage::Plan, Cause::ContainsNul)
    );
    for name in ["", "A=B"] {
        let mut plan = sh("exit 0");
        plan.environment.push(variable(name, "secret"));
        assert_eq!(refused(plan), error(Stage::Plan, Cause::VariableName));
    }
    assert_eq!(
        changed(|plan| plan.environment.push(variable("PATH", "secret"))),
        error(Stage::Plan, Cause::VariableRepeated(OsString::from("PATH")))
    );
    assert_eq!(
        changed(|plan| plan.working_directory = WorkingDirectory::At(PathBuf::from("tmp"))),
        error(Stage::WorkingDirectory, Cause::RelativePath)
    );
}

fn a_required_layer_that_does_not_hold_is_refused_before_anything_runs() {
    let mut held = sh("exit 3");
    held.require = vec!["session".to_owned(), "descriptors".to_owned()];
    assert_eq!(run(held).outcome(), Outcome::Exited { code: 3 });
    for layer in ["system_calls", "no such layer"] {
        let mut open = sh("exit 3");
        open.require = vec!["session".to_owned(), layer.to_owned()];
        let cause = Cause::LayerMissing(layer.to_owned());
        assert_eq!(refused(open), error(Stage::Confinement, cause));
    }
}

fn a_missing_working_directory_is_named() {
    let mut plan = sh("exit 0");
    plan.working_directory = WorkingDirectory::At(PathBuf::from("/nonexistent"));
    let not_found = io::Error::from(rustix::io::Errno::NOENT)
        .raw_os_error()
        .unwrap();
    assert_eq!(
        refused(plan),
        error(Stage::WorkingDirectory, Cause::Os(not_found))
    );
}

fn the_judged_file_runs_and_no_other() {
    let judged = FileId::from(&fs::metadata("/bin/sh").unwrap());
    let mut plan = sh("echo $0 ran");
    plan.expect = Some(judged);
    assert_eq!(run(plan).text(), "/bin/sh ran\n");

    let scratch = Scratch::new();
    let other = scratch.0.join("sh");
    fs::copy("/bin/sh", &other).unwrap();
    let mut plan = sh("echo $0 ran");
    plan.program = other;
    plan.expect = Some(judged);
    assert_eq!(refused(plan), error(Stage::Program, Cause::Replaced));
}

fn a_judged_script_runs() {
    let scratch = Scratch::new();
    let file = scratch.file("script", "#!/bin/sh\necho script $1\n", 0o755);
    let mut plan = plan(file.to_str().unwrap(), &["ran"]);
    plan.expect = Some(FileId::from(&fs::metadata(&file).unwrap()));
    let run = run(plan);
    assert_eq!((run.outcome(), run.text()), (EXITED_0, "script ran\n"));
}

fn start_with(helper: &str) -> StartError {
    let runner = Runner::at(PathBuf::from(helper));
    let run = runner.run(sh("exit 0"), Stdin::Null, &Cancel::new(), &mut |_, _| {
        unreachable!("no output")
    });
    run.unwrap_err()
}

fn a_missing_helper_is_named() {
    assert_eq!(
        start_with("/nonexistent/helper"),
        error(Stage::Helper, Cause::NotFound)
    );
}

fn a_helper_that_does_not_answer_is_named() {
    assert_eq!(start_with("/bin/true"), error(Stage::Helper, Cause::Died));
}

fn a_helper_started_by_hand_says_so() {
    let helper = Command::new(std::env::current_exe().unwrap())
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(helper.status.code(), Some(125));
    assert_eq!(helper.stdout, b"");
    assert_eq!(
        helper.stderr,
        b"this program is started by secretctl and does nothing by itself\n"
    );
}
