//! WASI 0.2 for others' modules, with nothing in it.
//!
//! What compilers and interpreters put into a module imports WASI whether the module uses it or not. So all of it is there, and
//! none of it gives anything: no files, no variables, no arguments, no network, a clock that stands still, the same random numbers
//! for each request. The time of a request comes in the request. What a module writes to its standard streams is kept as text.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock;
use wasmtime_wasi::p2::{self, DynPollable, OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{
    Deterministic, HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxView, WasiView,
};

use super::limits::Guest;

/// Interfaces that a module may import, by the beginnings of their names. `wasi:http` is not among them.
const IMPORTABLE: [&str; 6] = [
    "wasi:cli/",
    "wasi:clocks/",
    "wasi:filesystem/",
    "wasi:io/",
    "wasi:random/",
    "wasi:sockets/",
];
/// Most that is kept of what a module writes in a call, in bytes. What is beyond is dropped, which the module does not notice.
const LOG_MAX_BYTES: usize = 4096;
/// Most that one write may bring: the host allocates it.
const WRITE_MAX_BYTES: usize = 64 * 1024;
/// Most random bytes of one call: the host allocates them.
const RANDOM_MAX_BYTES: u64 = 64 * 1024;
/// Most resources (streams, waits) at the same time: the host keeps them.
const RESOURCES_MAX: usize = 1000;

/// Whether a module may import what has this name.
pub(super) fn is_importable(name: &str) -> bool {
    IMPORTABLE.iter().any(|start| name.starts_with(start))
}

/// Adds all of WASI.
pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    p2::add_to_linker_sync(linker)?;
    // WASI's own waits in real time, and no deadline of ours reaches into a wait.
    linker.allow_shadowing(true);
    monotonic_clock::add_to_linker::<Guest, NoWait>(linker, |guest| {
        NoWaitView(guest.wasi().ctx().table)
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

/// What a guest that imports WASI finds there.
pub(super) struct Empty {
    context: WasiCtx,
    resources: ResourceTable,
    log: Log,
}

impl Empty {
    pub(super) fn new() -> Self {
        let log = Log::default();
        let mut resources = ResourceTable::new();
        resources.set_max_capacity(RESOURCES_MAX);
        // No files, variables, arguments or addresses unless they are added here.
        let context = WasiCtx::builder()
            .stdout(log.clone())
            .stderr(log.clone())
            .wall_clock(Stopped)
            .monotonic_clock(Stopped)
            .secure_random(fixed_numbers())
            .insecure_random(fixed_numbers())
            .insecure_random_seed(0)
            .max_random_size(RANDOM_MAX_BYTES)
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .build();
        Self {
            context,
            resources,
            log,
        }
    }

    /// What it wrote since this was asked last.
    pub(super) fn take_log(&self) -> String {
        let written = std::mem::take(&mut *self.log.lock());
        String::from_utf8_lossy(&written).into_owned()
    }
}

impl WasiView for Empty {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.context,
            table: &mut self.resources,
        }
    }
}

/// The same for every instance, and long enough that programs which draw until a number suits them come to an end.
fn fixed_numbers() -> Deterministic {
    let numbers = (0..=u8::MAX).map(|number| number.wrapping_mul(167) ^ 0x5A);
    Deterministic::new(numbers.collect())
}

/// 1970-01-01, always.
struct Stopped;

impl HostWallClock for Stopped {
    fn resolution(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn now(&self) -> Duration {
        Duration::ZERO
    }
}

impl HostMonotonicClock for Stopped {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        0
    }
}

/// A clock on which every wait is over at once.
struct NoWait;

struct NoWaitView<'a>(&'a mut ResourceTable);

impl HasData for NoWait {
    type Data<'a> = NoWaitView<'a>;
}

impl NoWaitView<'_> {
    fn over(&mut self) -> wasmtime::Result<Resource<DynPollable>> {
        let wait = self.0.push(Over)?;
        p2::subscribe(self.0, wait)
    }
}

impl monotonic_clock::Host for NoWaitView<'_> {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(HostMonotonicClock::now(&Stopped))
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(HostMonotonicClock::resolution(&Stopped))
    }

    fn subscribe_instant(&mut self, _when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        self.over()
    }

    fn subscribe_duration(&mut self, _length: u64) -> wasmtime::Result<Resource<DynPollable>> {
        self.over()
    }
}

struct Over;

#[wasmtime_wasi::async_trait]
impl Pollable for Over {
    async fn ready(&mut self) {}
}

/// The beginning of what was written to both streams.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IsTerminal for Log {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Log {
    /// Of WASI 0.3, which is not linked.
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for Log {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut written = self.lock();
        let room = LOG_MAX_BYTES.saturating_sub(written.len());
        written.extend(bytes.iter().take(room));
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_MAX_BYTES)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Log {
    async fn ready(&mut self) {}
}
