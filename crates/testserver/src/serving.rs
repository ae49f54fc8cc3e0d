//! Which types are served: all, but for those whose definition is missing.

use super::resource::{ResourceType, TYPES};
use super::store::Store;

impl Store {
    /// Stops serving a type until a definition of it is created. Its objects stay.
    pub fn unserve(&mut self, ty: &ResourceType) {
        self.unserved.insert(ty.index);
    }

    /// Whether a type is served.
    pub fn serves(&self, ty: &ResourceType) -> bool {
        !self.unserved.contains(&ty.index)
    }

    /// All types that are served, in the order of the table.
    pub fn served(&self) -> Vec<&'static ResourceType> {
        TYPES.iter().filter(|ty| self.serves(ty)).collect()
    }

    /// Serves the type that a definition of this name (`plural.group`) defines.
    pub(super) fn serve_defined(&mut self, name: &str) {
        let defined = TYPES.iter().find(|ty| ty.qualified_plural() == name);
        if let Some(ty) = defined {
            self.unserved.remove(&ty.index);
        }
    }
}
