//! The resource types the server knows.

/// One served resource type.
#[derive(Debug, PartialEq, Eq)]
pub struct ResourceType {
    /// Position in [`TYPES`]; the store keeps one collection per position.
    pub index: usize,
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Version within the group.
    pub version: &'static str,
    /// `group/version`, or the version alone in the core group, as objects carry it.
    pub api_version: &'static str,
    /// Plural name, as in paths.
    pub plural: &'static str,
    /// Kind, as objects carry it.
    pub kind: &'static str,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Whether `.status` is written through the `/status` subresource only.
    pub has_status: bool,
    /// Whether an update without a resource version replaces whatever is stored.
    pub unconditional_update: bool,
    /// Whether an update creates a missing object.
    pub create_on_update: bool,
}

impl ResourceType {
    /// A namespaced type without a status. Its position is filled in by [`numbered`].
    const fn new(api_version: &'static str, plural: &'static str, kind: &'static str) -> Self {
        let (group, version) = split_group(api_version);
        ResourceType {
            index: 0,
            group,
            version,
            api_version,
            plural,
            kind,
            namespaced: true,
            has_status: false,
            unconditional_update: true,
            create_on_update: false,
        }
    }

    const fn with_status(mut self) -> Self {
        self.has_status = true;
        self
    }

    const fn in_cluster_scope(mut self) -> Self {
        self.namespaced = false;
        self
    }

    const fn with_conditional_update(mut self) -> Self {
        self.unconditional_update = false;
        self
    }

    const fn with_create_on_update(mut self) -> Self {
        self.create_on_update = true;
        self
    }

    /// A type that a custom resource definition defines.
    const fn custom(plural: &'static str, kind: &'static str) -> Self {
        ResourceType::new("example.com/v1", plural, kind)
            .with_status()
            .with_conditional_update()
    }

    /// `kind.group`, or the kind alone in the core group, as messages name a type.
    pub fn qualified_kind(&self) -> String {
        join_group(self.kind, self.group)
    }

    /// `plural.group`, or the plural alone in the core group, as messages name a type.
    pub fn qualified_plural(&self) -> String {
        join_group(self.plural, self.group)
    }
}

fn join_group(name: &str, group: &str) -> String {
    if group.is_empty() {
        name.to_owned()
    } else {
        format!("{name}.{group}")
    }
}

/// Splits `group/version`; a version alone is in the core group.
const fn split_group(api_version: &'static str) -> (&'static str, &'static str) {
    let mut position = 0;
    while position < api_version.len() {
        if api_version.as_bytes()[position] == b'/' {
            let (group, rest) = api_version.split_at(position);
            return (group, rest.split_at(1).1);
        }
        position += 1;
    }
    ("", api_version)
}

/// Gives each type its position.
const fn numbered<const N: usize>(mut types: [ResourceType; N]) -> [ResourceType; N] {
    let mut position = 0;
    while position < N {
        types[position].index = position;
        position += 1;
    }
    types
}

/// Every type that the server knows.
pub static TYPES: [ResourceType; 12] = numbered([
    ResourceType::new("v1", "configmaps", "ConfigMap"),
    ResourceType::new("v1", "secrets", "Secret"),
    ResourceType::new("v1", "services", "Service"),
    ResourceType::new("v1", "namespaces", "Namespace").in_cluster_scope(),
    ResourceType::new("apps/v1", "statefulsets", "StatefulSet").with_status(),
    ResourceType::new("batch/v1", "cronjobs", "CronJob").with_status(),
    ResourceType::new("batch/v1", "jobs", "Job").with_status(),
    ResourceType::new("coordination.k8s.io/v1", "leases", "Lease")
        .with_conditional_update()
        .with_create_on_update(),
    ResourceType::new("events.k8s.io/v1", "events", "Event").with_create_on_update(),
    ResourceType::custom("databases", "Database"),
    ResourceType::custom("backups", "Backup"),
    ResourceType::new(
        "apiextensions.k8s.io/v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
    )
    .in_cluster_scope()
    .with_status()
    .with_conditional_update(),
]);

/// The type at a path: group, version and plural.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static ResourceType> {
    TYPES
        .iter()
        .find(|ty| ty.group == group && ty.version == version && ty.plural == plural)
}

/// The type with this plural; plurals are unique among the served types.
pub fn by_plural(plural: &str) -> Option<&'static ResourceType> {
    TYPES.iter().find(|ty| ty.plural == plural)
}

/// The type with this plural, which a test names.
///
/// # Panics
///
/// If there is none.
pub fn known(plural: &str) -> &'static ResourceType {
    by_plural(plural).unwrap_or_else(|| panic!("no type has the plural {plural:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_is_the_position_and_plurals_are_unique() {
        for (position, ty) in TYPES.iter().enumerate() {
            assert_eq!(ty.index, position);
            assert_eq!(by_plural(ty.plural), Some(ty));
            assert_eq!(find(ty.group, ty.version, ty.plural), Some(ty));
            let joined = match ty.group {
                "" => ty.version.to_owned(),
                group => format!("{group}/{}", ty.version),
            };
            assert_eq!(ty.api_version, joined);
        }
    }
}
