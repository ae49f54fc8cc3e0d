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
}

impl ResourceType {
    /// Whether the type is defined by a custom resource definition.
    pub fn is_custom(&self) -> bool {
        self.group == "example.com"
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

/// Every served type.
pub static TYPES: [ResourceType; 6] = [
    ResourceType {
        index: 0,
        group: "",
        version: "v1",
        api_version: "v1",
        plural: "configmaps",
        kind: "ConfigMap",
        namespaced: true,
        has_status: false,
    },
    ResourceType {
        index: 1,
        group: "",
        version: "v1",
        api_version: "v1",
        plural: "services",
        kind: "Service",
        namespaced: true,
        has_status: false,
    },
    ResourceType {
        index: 2,
        group: "",
        version: "v1",
        api_version: "v1",
        plural: "namespaces",
        kind: "Namespace",
        namespaced: false,
        has_status: false,
    },
    ResourceType {
        index: 3,
        group: "apps",
        version: "v1",
        api_version: "apps/v1",
        plural: "statefulsets",
        kind: "StatefulSet",
        namespaced: true,
        has_status: true,
    },
    ResourceType {
        index: 4,
        group: "example.com",
        version: "v1",
        api_version: "example.com/v1",
        plural: "databases",
        kind: "Database",
        namespaced: true,
        has_status: true,
    },
    ResourceType {
        index: 5,
        group: "apiextensions.k8s.io",
        version: "v1",
        api_version: "apiextensions.k8s.io/v1",
        plural: "customresourcedefinitions",
        kind: "CustomResourceDefinition",
        namespaced: false,
        has_status: true,
    },
];

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_is_the_position_and_plurals_are_unique() {
        for (position, ty) in TYPES.iter().enumerate() {
            assert_eq!(ty.index, position);
            assert_eq!(by_plural(ty.plural), Some(ty));
            assert_eq!(find(ty.group, ty.version, ty.plural), Some(ty));
        }
    }
}
