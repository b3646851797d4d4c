//! The engines: for each world one for our modules and one for others'.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wasmtime::{Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::ModuleError;
use super::config::{Author, engine_config};
use super::limits::{INSTANCES_MAX, TABLE_ELEMENTS_MAX, Ticker};

/// Most linear memories of an instance in a pool. Each is 4 GiB of addresses, and takes memory as far as it is used.
const POOLED_MEMORIES_MAX: u32 = 8;
/// Memory that a pool keeps for the next instance instead of giving it back, in bytes: about what a small module writes to. Sixteen times
/// as much took half as long again, as it has to be overwritten.
const KEPT_BYTES: usize = 64 * 1024;
/// What wasmtime keeps of an instance itself, in bytes.
const INSTANCE_MAX_BYTES: usize = 4 * 1024 * 1024;

/// An engine, and who may have an instance in it.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) engine: Engine,
    pub(super) author: Author,
    /// A pool has room for one instance.
    room: Option<Arc<Mutex<()>>>,
}

impl Place {
    /// For modules that live as long as a command: their memory may hold secrets, and goes back to the system with them.
    pub(super) fn of_its_own(author: Author, clock: &Ticker) -> Result<Self, ModuleError> {
        let config = engine_config(author).map_err(ModuleError::host)?;
        let engine = Engine::new(&config).map_err(ModuleError::host)?;
        clock.advance(&engine);
        Ok(Self {
            engine,
            author,
            room: None,
        })
    }

    /// For modules that live for one decision and know no secret: making room for them anew would take as long as the decision. Each
    /// instance begins with the memory that its module says, whatever the one before it left there.
    pub(super) fn pooled(author: Author, clock: &Ticker) -> Result<Self, ModuleError> {
        let mut config = engine_config(author).map_err(ModuleError::host)?;
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool()));
        // Where so many addresses are not to be had, it takes longer.
        let Ok(engine) = Engine::new(&config) else {
            return Self::of_its_own(author, clock);
        };
        clock.advance(&engine);
        Ok(Self {
            engine,
            author,
            room: Some(Arc::default()),
        })
    }

    /// Waits until there is room for an instance, and keeps it.
    pub(super) fn enter(&self) -> Option<MutexGuard<'_, ()>> {
        let room = self.room.as_ref()?;
        Some(room.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Room for one instance, as large as `limits` has it.
fn pool() -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    let instances = u32::try_from(INSTANCES_MAX).unwrap_or(u32::MAX);
    pool.total_component_instances(1)
        .total_stacks(1)
        .total_core_instances(instances)
        .max_core_instances_per_component(instances)
        .total_tables(instances)
        .max_tables_per_component(instances)
        .max_tables_per_module(instances)
        .table_elements(TABLE_ELEMENTS_MAX)
        .total_memories(POOLED_MEMORIES_MAX)
        .max_memories_per_component(POOLED_MEMORIES_MAX)
        .max_memories_per_module(POOLED_MEMORIES_MAX)
        .max_component_instance_size(INSTANCE_MAX_BYTES)
        .max_core_instance_size(INSTANCE_MAX_BYTES)
        .linear_memory_keep_resident(KEPT_BYTES)
        .table_keep_resident(KEPT_BYTES);
    pool
}

#[cfg(test)]
mod tests {
    use std::thread;

    use crate::policy::{Decision, Moment, Policy, Purpose, Request};
    use crate::wasm::Host;

    #[test]
    fn decisions_at_once_wait_for_room() {
        let host = Host::new(None).expect("the modules load");
        let policy = Policy::parse(b"version: 1\n").expect("a policy");
        let request = Request {
            purpose: Purpose::Reference,
            agent: String::new(),
            keys: Vec::new(),
            command: None,
            directory: None,
            timeout: None,
            time: Moment {
                unix_seconds: 0,
                utc_offset_minutes: 0,
            },
        };
        let decide = || {
            for _ in 0..200 {
                let module = host.policy().expect("it loads");
                let decided = module.decide(policy.guest_document(), &request);
                assert!(matches!(decided, Ok(Decision::Allow(_))), "{decided:?}");
            }
        };
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(decide);
            }
        });
    }
}
