//! The program that attacks: makes one attempt and prints `ok` or the error's name. What it prints
//! besides stands in the attempt.

mod files;
mod network;
mod processes;

use std::io;
use std::process::ExitCode;

use crate::observer;

pub(crate) fn main(words: &[String]) -> ExitCode {
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    if words.first() == Some(&"unprivileged") {
        observer::give_up_capabilities();
        words.remove(0);
    }
    let answer = files::attempt(&words)
        .or_else(|| network::attempt(&words))
        .or_else(|| processes::attempt(&words));
    match answer {
        Some(Ok(())) => println!("ok"),
        Some(Err(error)) => println!("{}", name(&error)),
        None => {
            println!("no such attempt: {words:?}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// The error as the manual pages call it.
pub(crate) fn name(error: &io::Error) -> String {
    macro_rules! names {
        ($($name:ident),* $(,)?) => {
            match error.raw_os_error() {
                $(Some(libc::$name) => stringify!($name).to_owned(),)*
                _ => error.to_string(),
            }
        };
    }
    names![
        EPERM,
        ENOENT,
        ESRCH,
        EIO,
        ENXIO,
        ENOEXEC,
        EBADF,
        EAGAIN,
        ENOMEM,
        EACCES,
        EFAULT,
        EBUSY,
        EEXIST,
        EXDEV,
        ENODEV,
        ENOTDIR,
        EISDIR,
        EINVAL,
        EMFILE,
        ENOTTY,
        EFBIG,
        ENOSPC,
        EROFS,
        ENOSYS,
        EOPNOTSUPP,
        EPROTONOSUPPORT,
        ESOCKTNOSUPPORT,
        EAFNOSUPPORT,
        EADDRNOTAVAIL,
        ENETDOWN,
        ENETUNREACH,
        EHOSTUNREACH,
        ETIMEDOUT,
        ECONNREFUSED,
        EINPROGRESS,
        EDESTADDRREQ,
        ENOTCONN,
        ENOKEY,
    ]
}
