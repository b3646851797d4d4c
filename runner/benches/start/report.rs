//! The table, and how the targets are met.

use std::time::Duration;

use secretctl_runner::Network;

use crate::start::{Sample, Way, word};

/// What a start in the jail may cost beyond a bare one.
const COLD_MAX: Duration = Duration::from_micros(2500);
const WARM_MAX: Duration = Duration::from_micros(1200);
/// What a large heap may add to a start, of its cost: more than chance does.
const HEAP_SHARE_MAX: f64 = 0.1;

/// All starts of one way with one size of the heap.
#[derive(Default)]
pub(crate) struct Series {
    ahead: Vec<Duration>,
    whole: Vec<Duration>,
    program: Vec<Duration>,
}

impl Series {
    pub(crate) fn add(&mut self, ahead: Option<Duration>, sample: Sample) {
        self.ahead.extend(ahead);
        self.whole.push(sample.whole);
        self.program.extend(sample.program);
    }
}

/// The sizes of the heap in MiB, each with a series for each way.
type Results = [(usize, Vec<Series>)];

/// As a table in Markdown, and the targets below it.
pub(crate) fn print(ways: &[Way], results: &Results) {
    println!("| start | network | heap MiB | median ms | p90 ms | over bare ms | of bubblewrap |");
    println!("| --- | --- | ---: | ---: | ---: | ---: | ---: |");
    for (heap, series) in results {
        let medians = Medians { ways, series };
        for (way, series) in ways.iter().zip(series) {
            let (name, network) = name(*way);
            let (median, p90) = (share(&series.whole, 0.5), share(&series.whole, 0.9));
            let over = if *way == Way::Bare {
                "–".to_owned()
            } else {
                ms(medians.over_bare(*way))
            };
            let ratio = match medians.bubblewrap(*way) {
                Some(theirs) => format!("{:.2}", median.as_secs_f64() / theirs.as_secs_f64()),
                None => "–".to_owned(),
            };
            println!(
                "| {name} | {network} | {heap} | {} | {} | {over} | {ratio} |",
                ms(median),
                ms(p90)
            );
        }
    }
    println!();
    parts(ways, results);
    println!();
    targets(ways, results);
}

/// Where the time of our starts goes, as far as it can be told from outside.
fn parts(ways: &[Way], results: &Results) {
    for (heap, series) in results {
        for (way, series) in ways.iter().zip(series) {
            let (name, network) = name(*way);
            let start = format!("{name}, network {network}, heap {heap} MiB");
            if !series.program.is_empty() {
                let program = share(&series.program, 0.5);
                println!(
                    "{start}: {} ms from the program's start to its end",
                    ms(program)
                );
            }
            if !series.ahead.is_empty() {
                println!(
                    "{start}: {} ms ahead to start the helper",
                    ms(share(&series.ahead, 0.5))
                );
            }
        }
    }
}

fn targets(ways: &[Way], results: &Results) {
    for &way in ways {
        let (name, network) = name(way);
        let max = match way {
            Way::Bare | Way::Bubblewrap(_) => continue,
            Way::First(_) | Way::Cold(_) => COLD_MAX,
            Way::Warm(_) => WARM_MAX,
        };
        for (heap, series) in results {
            let medians = Medians { ways, series };
            let over = medians.over_bare(way);
            verdict(
                over <= max,
                format!(
                    "{name}, network {network}, heap {heap} MiB: {} ms over bare, at most {}",
                    ms(over),
                    ms(max)
                ),
            );
            if let Some(theirs) = medians.bubblewrap(way) {
                verdict(
                    medians.of(way) < theirs,
                    format!("{name}, network {network}, heap {heap} MiB: ahead of bubblewrap"),
                );
            }
        }
        let all = results
            .iter()
            .map(|(_, series)| Medians { ways, series }.of(way).as_secs_f64());
        let (least, most) = all.fold((f64::MAX, 0.0), |(least, most): (f64, f64), median| {
            (least.min(median), most.max(median))
        });
        verdict(
            most <= least * (1.0 + HEAP_SHARE_MAX),
            format!(
                "{name}, network {network}: the heap makes a difference of {:.0} %, at most {:.0}",
                (most / least - 1.0) * 100.0,
                HEAP_SHARE_MAX * 100.0
            ),
        );
    }
}

fn verdict(met: bool, target: String) {
    println!("- {}: {target}", if met { "met" } else { "NOT MET" });
}

/// The medians with one size of the heap.
struct Medians<'a> {
    ways: &'a [Way],
    series: &'a [Series],
}

impl Medians<'_> {
    /// Zero for a way that was not measured.
    fn of(&self, way: Way) -> Duration {
        let mut all = self.ways.iter().zip(self.series);
        let series = all.find(|(other, _)| **other == way);
        series.map_or(Duration::ZERO, |(_, series)| share(&series.whole, 0.5))
    }

    fn over_bare(&self, way: Way) -> Duration {
        self.of(way).saturating_sub(self.of(Way::Bare))
    }

    /// What bubblewrap takes with the same network, if it is there to be compared with.
    fn bubblewrap(&self, way: Way) -> Option<Duration> {
        let (Way::First(network) | Way::Cold(network) | Way::Warm(network)) = way else {
            return None;
        };
        let theirs = Way::Bubblewrap(network);
        self.ways.contains(&theirs).then(|| self.of(theirs))
    }
}

fn name(way: Way) -> (&'static str, &'static str) {
    let network = |network: Network| word(network);
    match way {
        Way::Bare => ("bare", "–"),
        Way::Bubblewrap(with) => ("bubblewrap", network(with)),
        Way::First(with) => ("first", network(with)),
        Way::Cold(with) => ("cold", network(with)),
        Way::Warm(with) => ("warm", network(with)),
    }
}

/// The sample below which this share of the samples lies.
fn share(samples: &[Duration], share: f64) -> Duration {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    let index = (sorted.len() as f64 * share) as usize;
    sorted
        .get(index.min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or_default()
}

fn ms(duration: Duration) -> String {
    format!("{:.2}", duration.as_secs_f64() * 1000.0)
}
