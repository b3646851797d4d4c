//! What a guest may use, and the clock that ends its calls.
//!
//! Every call is bounded by a deadline in real time, in others' modules by fuel (instructions), and in linear memory, tables and
//! instances.
//! Whatever is exceeded traps, and a trap is an answer that never widens anything.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use wasmtime::{Engine, EngineWeak, Store, StoreLimits, StoreLimitsBuilder};
use wasmtime_wasi::{WasiCtxView, WasiView};

use super::config::Author;
use super::wasi::Empty;
use super::{Loaded, ModuleError};

/// Length of an epoch. Deadlines are a whole number of them, so one may be overrun by this much.
const EPOCH: Duration = Duration::from_millis(50);
/// Epochs without a call before the clock stops: calls follow each other, and to wake a thread takes as long as many a call.
const IDLE_EPOCHS: u32 = 10;
/// Tables of all core modules of a component together, in elements: a component of 1 MB has a few thousand functions.
pub(super) const TABLE_ELEMENTS_MAX: usize = 100_000;
/// Core instances, memories and tables of a component: adapters, an interpreter and its libraries.
pub(super) const INSTANCES_MAX: usize = 64;

/// Bounds of the calls into one module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Instructions of one call, roughly, where they are counted.
    pub(crate) fuel: u64,
    /// Real time of one call, in epochs of 50 ms.
    pub(crate) deadline_epochs: u64,
    /// Linear memory, in bytes.
    pub(crate) memory_bytes: usize,
}

/// What a store holds for a guest.
pub(crate) struct Guest {
    limits: StoreLimits,
    /// Whether instructions are counted.
    metered: bool,
    /// Made when it is first used: most modules never do.
    wasi: Option<Box<Empty>>,
}

impl Guest {
    /// What a module that imports WASI finds there.
    pub(super) fn wasi(&mut self) -> &mut Empty {
        self.wasi.get_or_insert_with(|| Box::new(Empty::new()))
    }

    /// What the module wrote to its standard streams.
    pub(super) fn take_log(&self) -> String {
        (self.wasi.as_ref()).map_or_else(String::new, |wasi| wasi.take_log())
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.wasi().ctx()
    }
}

/// A store that enforces the limits of memory and tables; `arm` bounds each call.
pub(super) fn store(module: &Loaded, limits: Limits) -> Store<Guest> {
    let bounds = StoreLimitsBuilder::new()
        .memory_size(limits.memory_bytes)
        .table_elements(TABLE_ELEMENTS_MAX)
        .instances(INSTANCES_MAX)
        .memories(INSTANCES_MAX)
        .tables(INSTANCES_MAX)
        .trap_on_grow_failure(true)
        .build();
    let guest = Guest {
        limits: bounds,
        metered: module.place.author == Author::Anybody,
        wasi: None,
    };
    let mut store = Store::new(&module.place.engine, guest);
    store.limiter(|guest| &mut guest.limits);
    store
}

/// Gives the next call its fuel and its deadline.
pub(crate) fn arm(store: &mut Store<Guest>, limits: Limits) -> Result<(), ModuleError> {
    if store.data().metered {
        store.set_fuel(limits.fuel).map_err(ModuleError::host)?;
    }
    store.set_epoch_deadline(limits.deadline_epochs);
    Ok(())
}

/// Advances the epochs of engines while calls run, and stops when there are none for a while.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
}

struct Shared {
    calls: Mutex<Calls>,
    begun: Condvar,
    engines: Mutex<Vec<EngineWeak>>,
}

#[derive(Default)]
struct Calls {
    running: usize,
    /// Epochs since the last one began or ran.
    idle: u32,
    stopped: bool,
}

impl Shared {
    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn engines(&self) -> MutexGuard<'_, Vec<EngineWeak>> {
        self.engines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that is running; the epoch advances until it is dropped.
pub(crate) struct Call<'a> {
    shared: &'a Shared,
}

impl Ticker {
    /// Starts the clock. Its thread ends with the ticker.
    pub(crate) fn start() -> Result<Self, ModuleError> {
        let shared = Arc::new(Shared {
            calls: Mutex::default(),
            begun: Condvar::new(),
            engines: Mutex::default(),
        });
        let watched = Arc::downgrade(&shared);
        thread::Builder::new()
            .name("epoch".to_owned())
            .spawn(move || tick(&watched))
            .map_err(ModuleError::host)?;
        Ok(Self { shared })
    }

    /// Advances this engine's epochs from now on, as long as it is there.
    pub(super) fn advance(&self, engine: &Engine) {
        self.shared.engines().push(engine.weak());
    }

    /// Marks the beginning of a call.
    pub(crate) fn call(&self) -> Call<'_> {
        let mut calls = self.shared.calls();
        calls.running += 1;
        calls.idle = 0;
        if calls.stopped {
            self.shared.begun.notify_one();
        }
        drop(calls);
        Call {
            shared: &self.shared,
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.shared.calls().running -= 1;
    }
}

fn tick(watched: &Weak<Shared>) {
    while let Some(shared) = watched.upgrade() {
        let mut calls = shared.calls();
        if calls.running > 0 {
            calls.idle = 0;
        } else if calls.idle < IDLE_EPOCHS {
            calls.idle += 1;
        } else {
            // Woken by the next call; looks every second whether the ticker is gone.
            calls.stopped = true;
            let waited = shared.begun.wait_timeout(calls, Duration::from_secs(1));
            let (mut calls, _) = waited.unwrap_or_else(PoisonError::into_inner);
            calls.stopped = false;
            continue;
        }
        drop(calls);
        drop(shared);
        thread::sleep(EPOCH);
        let Some(shared) = watched.upgrade() else {
            return;
        };
        let mut engines = shared.engines();
        engines.retain(|engine| match engine.upgrade() {
            Some(engine) => {
                engine.increment_epoch();
                true
            }
            None => false,
        });
    }
}
