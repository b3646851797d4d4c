//! What a start costs: `cargo bench -p secretctl-runner --bench start`.
//!
//! A program that does nothing is started in every way in turn, round after round, so that the
//! machine's moods meet all of them. Before each start there is the same pause, in which a warm
//! helper gets ready and what the last start left to the kernel is done with; then a bare start
//! that does not count, since a server that starts something has just been busy with the request,
//! and its processor is awake. It reports, and asserts nothing.

#![expect(clippy::print_stdout, reason = "a benchmark reports")]

#[cfg(unix)]
mod report;
#[cfg(unix)]
mod start;

#[cfg(not(unix))]
fn main() {
    println!("nothing can be started on this platform");
}

#[cfg(unix)]
fn main() -> std::process::ExitCode {
    // Started as its own helper program.
    if std::env::args_os().len() <= 1 && std::env::vars_os().next().is_none() {
        return secretctl_runner::jail::main();
    }
    match measure() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            println!("not measured: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

#[cfg(unix)]
fn measure() -> start::Result<()> {
    use std::hint::black_box;
    use std::thread;
    use std::time::Duration;

    /// Rounds with one size of the heap before it is the other one's turn.
    const ROUNDS: usize = 50;
    /// Turns of each size.
    const TURNS: usize = 5;
    /// Many times what a warm helper takes to get ready. It says nothing when it is, since nobody
    /// but a benchmark would listen.
    const PAUSE: Duration = Duration::from_millis(15);
    /// Sizes of this process's heap, in MiB.
    const HEAPS_MIB: [usize; 2] = [0, 512];

    let starter = start::Starter::new()?;
    let ways = starter.ways();
    let mut series: Vec<Vec<report::Series>> = HEAPS_MIB
        .map(|_| ways.iter().map(|_| report::Series::default()).collect())
        .into();
    for turn in 0..TURNS * HEAPS_MIB.len() {
        let heap = turn % HEAPS_MIB.len();
        // Not zero, so that every page is written to and there.
        let memory = black_box(vec![1_u8; HEAPS_MIB[heap] << 20]);
        for _ in 0..ROUNDS {
            for (way, series) in ways.iter().zip(&mut series[heap]) {
                let ahead = starter.prepare(*way)?;
                thread::sleep(PAUSE);
                starter.start(start::Way::Bare)?;
                series.add(ahead, starter.start(*way)?);
            }
        }
        drop(black_box(memory));
    }
    println!("{}", starter.describe()?);
    // Others at work make everything slower, and what takes several processes most of all.
    if let Ok(load) = std::fs::read_to_string("/proc/loadavg") {
        println!(
            "Load: {} at the end.\n",
            load.split(' ').next().unwrap_or_default()
        );
    }
    println!("Medians of {} starts each.\n", ROUNDS * TURNS);
    let results = HEAPS_MIB.into_iter().zip(series);
    report::print(&ways, &results.collect::<Vec<_>>());
    Ok(())
}
