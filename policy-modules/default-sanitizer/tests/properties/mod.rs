//! Properties that say how many cases they tried: `cargo test -- --nocapture`. `TIMES=20` tries twenty times as many as usual.

use proptest::prelude::*;

pub(crate) fn config(cases: u32) -> ProptestConfig {
    let times = std::env::var("TIMES").map_or(1, |times| times.parse().expect("TIMES is a number"));
    ProptestConfig {
        cases: cases * times,
        max_global_rejects: cases * times,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Where a text is cut.
#[allow(dead_code, reason = "fuzzers cut by themselves")]
pub(crate) fn cuts() -> impl Strategy<Value = Vec<u16>> {
    prop::collection::vec(any::<u16>(), 0..8)
}

/// As `proptest!`, with the number of values that are tried in front of each property. What is counted are the texts that
/// were searched, which may be many for one value.
macro_rules! properties {
    ($($values:literal values: fn $name:ident($($inputs:tt)*) $body:block)*) => {$(
        #[test]
        fn $name() {
            proptest!($crate::properties::config($values), |($($inputs)*)| $body);
            println!("{} cases of {}", $crate::checks::harness::take_cases(), stringify!($name));
        }
    )*};
}
pub(crate) use properties;
