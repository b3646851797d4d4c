//! The name that was probably meant.

use std::collections::BTreeSet;

/// How similar a name has to be to be suggested; 1 is the same.
const NEAR: f64 = 0.6;
/// Most names that are suggested: a list to choose from, and not to search.
const NEAR_MAX: usize = 3;

/// Longest text that is compared, in bytes: longer than any name, and comparing takes time and memory by its length.
const WANTED_MAX_BYTES: usize = 256;

/// Those of `known` that `wanted` may have meant, the nearest first. Case makes no difference: it is what people and models forget.
pub fn near<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    if wanted.len() > WANTED_MAX_BYTES {
        return Vec::new();
    }
    let lower = wanted.to_lowercase();
    let similar = |name: &str| strsim::normalized_damerau_levenshtein(&lower, &name.to_lowercase());
    let known: BTreeSet<&str> = known.into_iter().collect();
    let mut found: Vec<(f64, &str)> = known
        .into_iter()
        .map(|name| (similar(name), name))
        .filter(|(similarity, name)| *similarity >= NEAR && *name != wanted)
        .collect();
    // Stable: of two as near, the first by name comes first.
    found.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let nearest = found.into_iter().take(NEAR_MAX);
    nearest.map(|(_, name)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_names_come_first_and_others_not_at_all() {
        let known = ["API_KEY", "API_KEY_2", "aws/access_key", "db/password"];
        assert_eq!(near("api_kye", known), ["API_KEY", "API_KEY_2"]);
        assert_eq!(near("aws/acces_key", known), ["aws/access_key"]);
        assert_eq!(near("API_KEY", ["API_KEY"]), Vec::<String>::new());
        assert_eq!(near("zzz", known), Vec::<String>::new());
        let alike = ["name4", "name3", "name2", "name1"];
        assert_eq!(near("name", alike), ["name1", "name2", "name3"]);
        let long = "a".repeat(WANTED_MAX_BYTES);
        assert_eq!(near(&long, [&*format!("{long}b")]).len(), 1);
        assert_eq!(near(&format!("{long}a"), [&*long]), Vec::<String>::new());
    }
}
