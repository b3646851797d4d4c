//! `secretctl filter`

use std::io::{self, Read};

use super::args::FilterArgs;
use super::failure::Failure;
use super::output;
use super::unlock::Access;
use crate::broker::Channel;

/// Bytes read at once: a pipe's capacity.
const CHUNK_BYTES: usize = 64 * 1024;

pub(super) fn run(access: &Access, args: &FilterArgs) -> Result<u8, Failure> {
    let door = access.door()?;
    let mut sanitizer = door
        .filter(&args.keys)
        .map_err(|error| Failure::of(error, &door))?;
    let mut stdin = io::stdin().lock();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let length = stdin.read(&mut chunk)?;
        if length == 0 {
            break;
        }
        let shown = sanitizer
            .push(Channel::Stdout, &chunk[..length])
            .map_err(Failure::new)?;
        output::result(shown.as_bytes())?;
    }
    output::result(
        sanitizer
            .finish(Channel::Stdout)
            .map_err(Failure::new)?
            .as_bytes(),
    )
}
