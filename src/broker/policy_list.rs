//! All modules that take part: the built-in ones and those of the policy file, usable or not.

use super::RunError;
use super::policy_door::PolicyDoor;
use crate::policy::{ModuleList, PinnedModule, Place};
use crate::wasm::{self, ModuleFault, Outline, UnusableModule, World};

/// Where a module comes from.
#[derive(Debug)]
pub enum ModuleOrigin {
    /// It is a part of this program.
    BuiltIn,
    /// The policy file names it, here.
    File(Option<Place>),
}

/// A module that takes part, or is meant to.
#[derive(Debug)]
pub struct ListedModule {
    /// Its name; of one in the policy file, its path there.
    pub name: String,
    /// Where it comes from.
    pub origin: ModuleOrigin,
    /// What it is used as.
    pub world: World,
    /// The digest that it has to have, in lower-case hexadecimal.
    pub sha256: String,
    /// What its file says of itself; none where it cannot be read.
    pub outline: Option<Outline>,
    /// What it is configured with, as JSON; none for a built-in one.
    pub config: Option<String>,
    /// Why it cannot be used.
    pub fault: Option<String>,
}

impl PolicyDoor {
    /// The built-in modules.
    pub fn built_in() -> Vec<ListedModule> {
        let worlds = [World::Policy, World::Sanitizer];
        let listed = |((name, outline), world)| {
            let outline: Result<Outline, _> = outline;
            let fault = outline.as_ref().err().map(ToString::to_string);
            let outline = outline.ok();
            ListedModule {
                name,
                origin: ModuleOrigin::BuiltIn,
                world,
                sha256: outline
                    .as_ref()
                    .map_or_else(String::new, |it| it.sha256.clone()),
                outline,
                config: None,
                fault,
            }
        };
        wasm::built_in()
            .into_iter()
            .zip(worlds)
            .map(listed)
            .collect()
    }

    /// The modules of the policy file, in the order in which they are asked. Each is tried once, as a request would.
    pub fn modules(&self) -> Result<Vec<ListedModule>, RunError> {
        let policy = self.judge.policy()?;
        let mut all = Vec::new();
        for list in [ModuleList::Modules, ModuleList::Sanitizers] {
            for (number, pinned) in list.of(&policy).iter().enumerate() {
                let place = self.judge.place(&format!("{}[{number}]", list.key()));
                all.push(self.listed(list, pinned, place));
            }
        }
        Ok(all)
    }

    fn listed(
        &self,
        list: ModuleList,
        pinned: &PinnedModule,
        place: Option<Place>,
    ) -> ListedModule {
        let (world, tried) = match list {
            ModuleList::Modules => (World::Policy, self.judge.try_policy(pinned)),
            ModuleList::Sanitizers => (World::Sanitizer, self.judge.try_sanitizer(pinned)),
        };
        let tried = tried.err();
        // What is not the file that was pinned is not looked into: a path can lead anywhere by mistake.
        let is_pinned = !matches!(
            &tried,
            Some(RunError::Module(UnusableModule {
                fault: ModuleFault::Digest,
                ..
            }))
        );
        let bytes = wasm::read(&self.judge.modules.join(pinned.path()));
        let outline = bytes.ok().filter(|_| is_pinned);
        ListedModule {
            name: pinned.path().to_owned(),
            origin: ModuleOrigin::File(place),
            world,
            sha256: pinned.sha256().to_owned(),
            outline: outline.and_then(|bytes| Outline::of(&bytes).ok()),
            config: Some(pinned.document()),
            fault: tried.map(|error| match error {
                RunError::Module(UnusableModule { fault, .. }) => fault.to_string(),
                other => other.to_string(),
            }),
        }
    }
}
