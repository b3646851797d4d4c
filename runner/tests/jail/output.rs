//! Output is complete, in order and streamed, and whoever stops listening ends the run.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::ops::ControlFlow;
use std::os::fd::AsFd;

use secretctl_runner::{Cancel, Channel, Outcome, Stdin, Stop};

use crate::support::{EXITED_0, Scratch, alive, marker, run, run_with, runner, sh, tests};

tests![
    output_before_the_end_is_never_lost,
    large_output_on_both_channels_is_complete_and_in_order,
    single_bytes_arrive_as_they_are,
    a_channel_closed_early_does_not_end_the_run,
    a_reader_that_says_stop_ends_the_run_and_hears_no_more,
    standard_input_is_at_its_end,
    standard_input_can_be_given,
    a_stuck_reader_does_not_lose_what_waits_in_the_pipe,
];

fn output_before_the_end_is_never_lost() {
    let whole: String = (1..=200_000).map(|number| format!("{number}\n")).collect();
    for _ in 0..20 {
        let run = run(sh("exec seq 1 200000"));
        assert_eq!(run.outcome(), EXITED_0);
        assert!(
            run.text() == whole,
            "{} of {} bytes",
            run.stdout.len(),
            whole.len()
        );
    }
}

fn large_output_on_both_channels_is_complete_and_in_order() {
    let run = run(sh("seq 1 300000 & seq 300000 600000 >&2 & wait"));
    let lines = |from: u32, to: u32| {
        (from..=to)
            .map(|number| format!("{number}\n"))
            .collect::<String>()
    };
    assert!(run.stdout == lines(1, 300_000).as_bytes());
    assert!(run.stderr == lines(300_000, 600_000).as_bytes());
    assert!(!run.report.leaked && !run.report.survivors);
}

fn single_bytes_arrive_as_they_are() {
    let run = run(sh(
        "i=0; while [ $i -lt 2000 ]; do printf '\\377'; i=$((i+1)); done",
    ));
    assert_eq!(run.stdout, [0xff; 2000]);
}

fn a_channel_closed_early_does_not_end_the_run() {
    let run = run(sh("exec 1>&-; echo still >&2; exec 2>&-; exit 3"));
    assert_eq!(run.outcome(), Outcome::Exited { code: 3 });
    assert_eq!(
        (run.stdout.as_slice(), run.stderr.as_slice()),
        (&b""[..], &b"still\n"[..])
    );
}

fn a_reader_that_says_stop_ends_the_run_and_hears_no_more() {
    let marker = marker();
    let mut calls = 0;
    let plan = sh(&format!("sleep {marker} & while :; do echo more; done"));
    let report = runner().run(plan, Stdin::Null, &Cancel::new(), &mut |channel, bytes| {
        assert_eq!(channel, Channel::Stdout);
        assert!(bytes.starts_with(b"more\n"));
        calls += 1;
        ControlFlow::Break(Stop)
    });
    assert_eq!((report.unwrap().outcome, calls), (Outcome::Stopped, 1));
    assert_eq!(alive(&marker), 0);
}

fn standard_input_is_at_its_end() {
    let run = run(sh("cat; read line || echo end"));
    assert_eq!((run.outcome(), run.text()), (EXITED_0, "end\n"));
}

fn standard_input_can_be_given() {
    let scratch = Scratch::new();
    let mut file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(scratch.0.join("input"))
        .unwrap();
    file.write_all(b"from the caller").unwrap();
    file.rewind().unwrap();
    let run = run_with(
        sh("cat"),
        Stdin::Inherit(file.as_fd()),
        &Cancel::new(),
        |_, _| {},
    )
    .unwrap();
    assert_eq!((run.outcome(), run.text()), (EXITED_0, "from the caller"));
    // The caller's descriptor is still its own.
    assert_eq!(file.read(&mut [0]).unwrap(), 0);
}

fn a_stuck_reader_does_not_lose_what_waits_in_the_pipe() {
    let marker = marker();
    let plan = sh(&format!("seq 1 10000; : {marker}"));
    let mut waited = false;
    let run = run_with(plan, Stdin::Null, &Cancel::new(), |_, _| {
        if !waited {
            waited = true;
            crate::support::eventually("the program has ended", || alive(&marker) == 0);
        }
    });
    let whole: String = (1..=10_000).map(|number| format!("{number}\n")).collect();
    assert!(run.unwrap().text() == whole);
}
