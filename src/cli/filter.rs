//! `secretctl filter`

use std::io::{self, Read};

use zeroize::Zeroizing;

use super::args::FilterArgs;
use super::failure::Failure;
use super::output;
use super::unlock::Access;

/// Bytes read at once: a pipe's capacity.
const CHUNK_BYTES: usize = 64 * 1024;

pub(super) fn run(access: &Access, args: &FilterArgs) -> Result<u8, Failure> {
    let door = access.door()?;
    let mut filtering = door
        .filter(&args.keys)
        .map_err(|error| Failure::of(error, &door))?;
    filtering.short().iter().for_each(output::warn_of_short);
    let mut stdin = io::stdin().lock();
    let mut chunk = Zeroizing::new(vec![0; CHUNK_BYTES]);
    loop {
        let length = stdin.read(&mut chunk)?;
        if length == 0 {
            break;
        }
        output::result(filtering.push(&chunk[..length])?.as_bytes())?;
    }
    output::result(filtering.finish()?.as_bytes())
}
