//! Attempts to reach somebody.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{self as unix, UnixDatagram, UnixListener, UnixStream};

use rustix::net::{
    AddressFamily, Protocol, SendFlags, SocketAddrUnix, SocketType, bind, connect, listen, sendto,
    socket,
};

use crate::raw;

/// `IPPROTO_MPTCP`
const MPTCP: u32 = 262;

pub(crate) fn attempt(words: &[&str]) -> Option<io::Result<()>> {
    Some(match *words {
        ["socket", family, kind, protocol] => any_socket(family, kind, protocol).map(drop),
        ["tcp", address] => talk(address),
        ["udp", address] => udp(address),
        ["mptcp", address] => mptcp(address),
        ["fast-open", address] => fast_open(address),
        ["fast-open-connect", address] => fast_open_connect(address),
        ["listen"] => listen_unbound(),
        ["bind"] => bind_any(),
        ["unix", path] => UnixStream::connect(path).map(drop),
        ["unix-datagram", path] => {
            UnixDatagram::unbound().and_then(|socket| socket.send_to(b"hello", path).map(drop))
        }
        ["abstract", name] => unix::SocketAddr::from_abstract_name(name)
            .and_then(|address| UnixStream::connect_addr(&address).map(drop)),
        ["abstract-datagram", name] => abstract_datagram(name),
        ["unix-own", path] => unix_own(path),
        ["pair"] => UnixStream::pair().and_then(|(mut one, _other)| one.write_all(b"hello")),
        #[cfg(target_arch = "x86_64")]
        ["socket-of-32-bits"] => raw::socket_of_32_bits(),
        #[cfg(target_arch = "x86_64")]
        ["call-of-x32"] => raw::call_of_x32(),
        _ => return None,
    })
}

fn any_socket(family: &str, kind: &str, protocol: &str) -> io::Result<OwnedFd> {
    let family = AddressFamily::from_raw(family.parse().unwrap());
    let kind = SocketType::from_raw(kind.parse().unwrap());
    let protocol = NonZero::new(protocol.parse().unwrap()).map(Protocol::from_raw);
    Ok(socket(family, kind, protocol)?)
}

fn stream(protocol: Option<Protocol>) -> io::Result<OwnedFd> {
    Ok(socket(AddressFamily::INET, SocketType::STREAM, protocol)?)
}

fn parse(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

fn talk(address: &str) -> io::Result<()> {
    TcpStream::connect(parse(address))?.write_all(b"hello")
}

fn udp(address: &str) -> io::Result<()> {
    let own = if parse(address).is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    UdpSocket::bind(own)?.send_to(b"hello", address).map(drop)
}

fn mptcp(address: &str) -> io::Result<()> {
    let socket = stream(NonZero::new(MPTCP).map(Protocol::from_raw))?;
    Ok(connect(socket, &parse(address))?)
}

fn fast_open(address: &str) -> io::Result<()> {
    let socket = stream(None)?;
    let flags = SendFlags::from_bits_retain(libc::MSG_FASTOPEN as u32);
    sendto(socket, b"hello", flags, &parse(address))?;
    Ok(())
}

fn fast_open_connect(address: &str) -> io::Result<()> {
    let socket = stream(None)?;
    raw::set_option(&socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT)?;
    connect(&socket, &parse(address))?;
    sendto(&socket, b"hello", SendFlags::empty(), &parse(address))?;
    Ok(())
}

fn listen_unbound() -> io::Result<()> {
    Ok(listen(stream(None)?, 1)?)
}

fn bind_any() -> io::Result<()> {
    Ok(bind(stream(None)?, &parse("0.0.0.0:0"))?)
}

fn abstract_datagram(name: &str) -> io::Result<()> {
    let socket = socket(AddressFamily::UNIX, SocketType::DGRAM, None)?;
    let address = SocketAddrUnix::new_abstract_name(name.as_bytes())?;
    sendto(socket, b"hello", SendFlags::empty(), &address)?;
    Ok(())
}

/// A socket in a directory, used from both sides.
fn unix_own(path: &str) -> io::Result<()> {
    let listener = UnixListener::bind(path)?;
    let mut client = UnixStream::connect(path)?;
    let (_server, _) = listener.accept()?;
    client.write_all(b"hello")
}
