//! What is said of a fault inside. A panic's own text can quote what was being worked on, so only its place is told.

use std::panic::{self, Location};

use crate::text::say;

/// From now on, panics of this process are told with their place alone, on standard error.
pub(super) fn tell_only_places() {
    panic::set_hook(Box::new(|info| {
        say(&text(info.location()));
    }));
}

fn text(location: Option<&Location<'_>>) -> String {
    let place = location.map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    format!("secretctl: failed inside, at {place}; please report it")
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn a_panic_is_told_without_what_it_quotes() {
        let seen = Arc::new(Mutex::new(String::new()));
        let told = Arc::clone(&seen);
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            *told.lock().expect("no panic in here") = text(info.location());
        }));
        let value = "größe of a secret";
        let cut = panic::catch_unwind(|| value.split_at(3).0.len());
        panic::set_hook(before);
        let payload = cut.expect_err("3 is within a letter");
        let quoted = payload.downcast_ref::<String>().expect("a text");
        assert!(quoted.contains("of a secret"), "{quoted}");
        let told = seen.lock().expect("no panic in here").clone();
        assert!(told.starts_with("secretctl: failed inside, at "), "{told}");
        assert!(!told.contains("of a secret"), "{told}");
    }
}
