//! Which keys and agents a pattern means.

/// Whether the key pattern means `name`: `*`, `?` and `[…]` do not cross a `/`, `**` does.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    // A leading '!' would turn the pattern round. Names have no '!', so it means nothing.
    !pattern.starts_with('!') && fast_glob::glob_match(pattern, name)
}

/// Whether the key pattern means `name` or a folder above it.
pub(crate) fn covers(pattern: &str, name: &str) -> bool {
    let folders = name.match_indices('/').map(|(end, _)| &name[..end]);
    matches(pattern, name) || folders.into_iter().any(|folder| matches(pattern, folder))
}

/// Whether the agent pattern means `agent`: `*` stands for anything, also for nothing, and every other character for itself.
pub(crate) fn matches_agent(pattern: &str, agent: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == agent;
    };
    let Some(mut remaining) = agent.strip_prefix(first) else {
        return false;
    };
    let mut pieces = rest.split('*');
    let last = pieces.next_back().unwrap_or_default();
    for piece in pieces {
        match remaining.find(piece) {
            Some(at) => remaining = &remaining[at + piece.len()..],
            None => return false,
        }
    }
    remaining.ends_with(last)
}

#[cfg(test)]
mod tests {
    use globset::GlobBuilder;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stars_stay_within_a_folder() {
        assert!(matches("api/*", "api/key"));
        assert!(!matches("api/*", "api/prod/key"));
        assert!(matches("api/**", "api/prod/key"));
        assert!(matches("k?[0-9]", "ka7"));
        assert!(!matches("a[!x]b", "a/b"));
        assert!(!matches("!api/*", "db/key"));
    }

    #[test]
    fn what_is_covered_includes_all_below() {
        assert!(covers("*/prod/*", "team/prod/db"));
        assert!(covers("*/prod/*", "team/prod/db/password"));
        assert!(covers("*/prod", "team/prod/db/password"));
        assert!(covers("prod", "prod/db/password"));
        assert!(!covers("*/prod/*", "team/production/db"));
        assert!(!covers("*/prod/*", "team/prod"));
        assert!(!covers("prod", "production"));
    }

    #[test]
    fn agents_match_over_slashes() {
        for (pattern, agent) in [
            ("*", ""),
            ("claude-*", "claude-"),
            ("claude-*", "claude-a/b"),
            ("a*b*c", "a-b-b-c"),
        ] {
            assert!(matches_agent(pattern, agent), "{pattern} {agent}");
        }
        for (pattern, agent) in [
            ("", "a"),
            ("claude-*", "claude"),
            ("a*a", "a"),
            ("a*b*c", "a-c-b"),
            ("A*", "a"),
        ] {
            assert!(!matches_agent(pattern, agent), "{pattern} {agent}");
        }
    }

    /// The host's matcher, for patterns that it accepts: classes consist of letters, digits and `_`, no part is empty, and `**` is a
    /// part of its own.
    fn host(pattern: &str, name: &str) -> Option<bool> {
        let is_part = |part: &str| part == "**" || !(part.is_empty() || part.contains("**"));
        if pattern.contains(['!', '^']) || !pattern.split('/').all(is_part) {
            return None;
        }
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let is_class = |rest: &str| {
            rest.split_once(']').is_some_and(|(class, _)| {
                class.bytes().next().is_some_and(word)
                    && class.bytes().all(|b| word(b) || b == b'-')
            })
        };
        if !pattern.split('[').skip(1).all(is_class) {
            return None;
        }
        if !pattern.contains(['*', '?', '[']) {
            return Some(pattern == name);
        }
        let glob = GlobBuilder::new(pattern)
            .literal_separator(true)
            .build()
            .ok()?;
        Some(glob.compile_matcher().is_match(name))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn guest_and_host_agree(
            pattern in "(a|b|/|\\*|\\*\\*|/\\*\\*/|\\?|-|\\[ab|\\[a-c\\]|\\[|\\]|!|\\^|\\.){1,8}",
            name in "([ab.c_-]{1,2}/){0,3}[abc._-]{1,2}",
        ) {
            if let Some(host) = host(&pattern, &name) {
                prop_assert_eq!(matches(&pattern, &name), host);
            }
        }

        #[test]
        fn guest_and_host_agree_on_patterns_made_from_names(
            name in "([ab]{1,2}/){0,3}[ab]{1,2}",
            holes in proptest::collection::vec((0usize..8, "\\*|\\*\\*|\\?|\\[a-c\\]"), 1..3),
        ) {
            let mut pattern: Vec<String> = name.chars().map(String::from).collect();
            for (at, hole) in holes {
                let at = at % pattern.len();
                pattern[at] = hole;
            }
            let pattern = pattern.concat();
            if let Some(host) = host(&pattern, &name) {
                prop_assert_eq!(matches(&pattern, &name), host, "{}", pattern);
            }
        }
    }
}
