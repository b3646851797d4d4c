//! A module that does what a module must not do: a policy module and a sanitizer in one. Its configuration says what it does; with any
//! other one it allows everything and hides nothing.
//!
//! The tests of the host go through [`PolicyDeed`] and [`SanitizerDeed`] with a `match`, so that a deed without a test does not compile.
//! What no compiler makes, such as text that is no UTF-8, is in `raw/`: core modules as text, one for each bad behaviour.

#[cfg(target_family = "wasm")]
mod component;
#[cfg(target_family = "wasm")]
mod policy;
#[cfg(target_family = "wasm")]
mod sanitizer;

/// An enum of deeds, each with the word for it in the configuration.
macro_rules! deeds {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $deed:ident = $word:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$doc])* $deed,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &[$name] = &[$($name::$deed,)*];

            /// What the configuration says.
            pub fn word(self) -> &'static str {
                match self {
                    $($name::$deed => $word,)*
                }
            }

            /// The deed of this configuration, which is JSON.
            pub fn of(document: &str) -> Option<Self> {
                let word = document.trim_matches('"');
                Self::ALL.iter().copied().find(|deed| deed.word() == word)
            }
        }
    };
}

deeds! {
    /// What a policy module may do to its host.
    PolicyDeed {
        /// Refuses its configuration, in words that act on a terminal.
        Refuse = "refuse",
        /// Traps in `configure`.
        TrapAtStart = "trap at start",
        /// Traps in `decide`.
        Trap = "trap",
        /// Never ends.
        Loop = "loop",
        /// Calls itself without end.
        Recurse = "recurse",
        /// Takes memory without end.
        FillTheMemory = "fill the memory",
        /// Denies with a rule of 100,000 bytes.
        AnswerAtLength = "answer at length",
        /// Grants a hundred thousand keys.
        GrantTooMany = "grant too many",
        /// Grants a key that nobody asked for.
        GrantAnotherKey = "grant another key",
        /// Grants nothing, but says yes.
        GrantNoKey = "grant no key",
        /// Grants a second.
        GrantASecond = "grant a second",
        /// Denies, in words that act on a terminal.
        Deny = "deny",
        /// Denies, with lines that look like those of the host.
        Forge = "forge",
        /// Asks.
        Ask = "ask",
        /// Denies with the keys it was told of.
        TellKeys = "tell keys",
        /// Denies with the keys it was told of and their tags.
        TellTags = "tell tags",
        /// Asks with a question of 100,000 bytes.
        AskAtLength = "ask at length",
        /// Denies with what it finds of files, variables, arguments and standard input.
        TellSurroundings = "tell surroundings",
        /// Denies with what the clocks say, before and after a wait of an hour.
        TellTheTime = "tell the time",
        /// Denies with random numbers.
        TellRandomNumbers = "tell random numbers",
        /// Denies with what comes of a connection and of a name to look up.
        Connect = "connect",
        /// Writes a mebibyte to its standard output, with words that act on a terminal, and says yes.
        WriteAMebibyte = "write a mebibyte",
        /// Asks for 4 GiB of random bytes.
        TakeRandomBytes = "take random bytes",
        /// Begins waits without end.
        HoardWaits = "hoard waits",
        /// Ends the program.
        Exit = "exit",
    }
}

deeds! {
    /// What a sanitizer may do to its host.
    SanitizerDeed {
        /// Refuses its configuration, in words that act on a terminal.
        Refuse = "refuse",
        /// Traps in `start`.
        TrapAtStart = "trap at start",
        /// Its legend has a subject that looks like a marker.
        ForgeAMarker = "forge a marker",
        /// Its legend has a million pairs.
        NameTooMuch = "name too much",
        /// Hides all, with the number of secrets it was given as subject.
        TellSecrets = "tell secrets",
        /// Traps in `push`.
        Trap = "trap",
        /// Traps in `finish`.
        TrapAtTheEnd = "trap at the end",
        /// Never ends.
        Loop = "loop",
        /// Takes memory without end.
        FillTheMemory = "fill the memory",
        /// Hides what has not been written yet.
        HideTheFuture = "hide the future",
        /// Hides a range without bytes.
        HideNothingAtAll = "hide nothing at all",
        /// Settles what has not been written yet.
        SettleTheFuture = "settle the future",
        /// Never settles anything.
        SettleNothing = "settle nothing",
        /// Hides as a subject that its legend does not have.
        NameNobody = "name nobody",
        /// Hides all.
        HideAll = "hide all",
        /// Hides each `s`.
        HideS = "hide 's'",
        /// Answers with two million ranges.
        AnswerAtLength = "answer at length",
        /// Goes back behind what it settled.
        HideThePast = "hide the past",
    }
}
