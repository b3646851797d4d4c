//! When a session is over by itself.

use std::time::Duration;

/// Difference between the two clocks that is sleep of the machine, and no slowness.
const SLEEP_MIN: Duration = Duration::from_secs(1);

/// Two clocks at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    /// Since the machine was started, its sleep included.
    pub(super) all: Duration,
    /// The same without its sleep.
    pub(super) awake: Duration,
}

impl Reading {
    /// The machine's own.
    #[cfg(target_os = "linux")]
    pub(super) fn now() -> Self {
        use rustix::time::ClockId;
        // Not at one moment, but the sleep that is looked for is longer than anything between the two.
        Self {
            awake: clock(ClockId::Monotonic),
            all: clock(ClockId::Boottime),
        }
    }

    /// Where there is no such pair of clocks, sleep is not seen.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn now() -> Self {
        let now = clock(rustix::time::ClockId::Monotonic);
        Self {
            all: now,
            awake: now,
        }
    }

    fn asleep(&self) -> Duration {
        self.all.saturating_sub(self.awake)
    }
}

fn clock(id: rustix::time::ClockId) -> Duration {
    let time = rustix::time::clock_gettime(id);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// The limits of a session, and what was seen of it. All moments are given by who asks.
#[derive(Debug)]
pub(super) struct Watch {
    idle: Duration,
    ends: Duration,
    used: Duration,
    asleep: Duration,
}

impl Watch {
    pub(super) fn new(ttl: Duration, idle: Duration, now: Reading) -> Self {
        Self {
            idle,
            ends: now.all.saturating_add(ttl),
            used: now.all,
            asleep: now.asleep(),
        }
    }

    /// Whether the session goes on: neither has its time run out nor has the machine slept since the last look.
    pub(super) fn goes_on(&mut self, now: Reading) -> bool {
        let slept = now.asleep().saturating_sub(self.asleep);
        self.asleep = now.asleep();
        let unused = now.all.saturating_sub(self.used);
        slept <= SLEEP_MIN && now.all < self.ends && unused < self.idle
    }

    /// Takes note that a key is used.
    pub(super) fn used(&mut self, now: Reading) {
        self.used = now.all;
    }

    /// New limits from now on.
    pub(super) fn extend(&mut self, ttl: Duration, idle: Duration, now: Reading) {
        *self = Self::new(ttl, idle, now);
    }

    /// How long the session lasts at most.
    pub(super) fn left(&self, now: Reading) -> Duration {
        self.ends.saturating_sub(now.all)
    }

    pub(super) fn idle(&self) -> Duration {
        self.idle
    }

    #[cfg(test)]
    pub(super) fn last_used(&self) -> Duration {
        self.used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(all: u64, slept: u64) -> Reading {
        Reading {
            all: Duration::from_secs(all),
            awake: Duration::from_secs(all - slept),
        }
    }

    fn watch() -> Watch {
        Watch::new(Duration::from_secs(100), Duration::from_secs(10), at(50, 5))
    }

    #[test]
    fn a_session_ends_at_its_time_however_much_it_is_used() {
        let mut watch = watch();
        for second in 50..150 {
            assert!(watch.goes_on(at(second, 5)), "{second}");
            watch.used(at(second, 5));
        }
        assert_eq!(watch.left(at(149, 5)), Duration::from_secs(1));
        assert!(!watch.goes_on(at(150, 5)));
    }

    #[test]
    fn a_session_ends_that_nobody_uses() {
        let mut watch = watch();
        assert!(watch.goes_on(at(59, 5)));
        assert!(!watch.goes_on(at(60, 5)));
    }

    #[test]
    fn a_session_ends_when_the_machine_has_slept() {
        let mut watch = watch();
        assert!(watch.goes_on(at(52, 6)));
        assert!(!watch.goes_on(at(56, 8)));
    }

    #[test]
    fn an_extended_session_has_its_new_limits() {
        let mut watch = watch();
        watch.extend(
            Duration::from_secs(1000),
            Duration::from_secs(20),
            at(55, 5),
        );
        assert!(watch.goes_on(at(74, 5)));
        watch.used(at(74, 5));
        assert_eq!(watch.left(at(74, 5)), Duration::from_secs(981));
        assert!(!watch.goes_on(at(94, 5)));
    }
}
