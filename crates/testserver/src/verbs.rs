//! The verbs that write, by the rules of Kubernetes.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::apply::{self, Managers};
use super::meta;
use super::patch::Patch;
use super::resource::ResourceType;
use super::rules::{
    bump_generation, check_identity, check_may_create, check_no_new_finalizers,
    check_preconditions, claimant, declared, establish,
};
use super::status::{Cause, Status};
use super::store::{Deletion, Key, Object, Preconditions, Store, Target};
use super::validate::{self, quantities};

impl Store {
    /// Creates an object in a namespace (empty for cluster-scoped types).
    pub fn create(
        &mut self,
        ty: &'static ResourceType,
        namespace: &str,
        object: Value,
        now: Timestamp,
    ) -> Result<Arc<Object>, Status> {
        validate::shape(ty, &object)?;
        quantities::check(ty, &object).map_err(|unreadable| unreadable.in_body(ty))?;
        let key = Key::new(namespace, meta::text(&object, "name"));
        if key.name.is_empty() {
            let cause = Cause::required("metadata.name", "name is required");
            return Err(Status::invalid(ty, "", &[cause]));
        }
        check_identity(&key, &object)?;
        if !meta::text(&object, "resourceVersion").is_empty() {
            let message = "resourceVersion should not be set on objects to be created";
            return Err(Status::bad_request(message));
        }
        self.insert(ty, key, object, Managers::default(), now)
    }

    fn insert(
        &mut self,
        ty: &'static ResourceType,
        key: Key,
        mut object: Value,
        managers: Managers,
        now: Timestamp,
    ) -> Result<Arc<Object>, Status> {
        self.check_lifecycle(ty, &key)?;
        if ty.has_status {
            meta::set_status(&mut object, Value::Null);
        }
        // A new object has no server-written metadata, so this removes what the client sent.
        meta::keep_server_fields(&mut object, &Value::Null);
        meta::tidy(&mut object, ty);
        meta::set(&mut object, "name", key.name.clone());
        if ty.namespaced {
            meta::set(&mut object, "namespace", key.namespace.clone());
        }
        validate::values(ty, &key, &object)?;
        self.check_review(ty, &key, None, &object)?;
        self.check_quota(ty, &key)?;
        if self.objects(ty).contains_key(&key) {
            return Err(Status::already_exists(ty, &key.name));
        }
        meta::set(&mut object, "uid", self.next_uid());
        meta::set(&mut object, "creationTimestamp", format!("{now:.0}"));
        meta::set(&mut object, "generation", 1);
        if ty.kind == "CustomResourceDefinition" {
            establish(&mut object);
            self.serve_defined(&key.name);
        }
        Ok(self.put(ty, key, None, object, managers))
    }

    /// Replaces an object, or its status. True when the update created the object.
    pub fn update(
        &mut self,
        target: &Target,
        object: Value,
        now: Timestamp,
    ) -> Result<(bool, Arc<Object>), Status> {
        let (ty, name) = (target.ty, &target.key.name);
        validate::shape(ty, &object)?;
        quantities::check(ty, &object).map_err(|unreadable| unreadable.in_body(ty))?;
        let Some(old) = self.objects(ty).get(&target.key).cloned() else {
            if !ty.create_on_update || target.status {
                return Err(Status::not_found(ty, name));
            }
            check_identity(&target.key, &object)?;
            check_may_create(target, &object)?;
            // A stale resource version is not looked at here: only a uid guards against the recreation of an
            // object that was deleted.
            return self
                .insert(ty, target.key.clone(), object, Managers::default(), now)
                .map(|object| (true, object));
        };
        if !ty.unconditional_update && meta::text(&object, "resourceVersion").is_empty() {
            let cause = Cause::invalid(
                "metadata.resourceVersion",
                &0.into(),
                "must be specified for an update",
            );
            return Err(Status::invalid(ty, name, &[cause]));
        }
        let managers = old.managers.clone();
        self.replace(target, &old, object, managers)
            .map(|object| (false, object))
    }

    /// Patches an object, or its status. True when an apply created the object.
    pub fn patch(
        &mut self,
        target: &Target,
        patch: &Patch,
        now: Timestamp,
    ) -> Result<(bool, Arc<Object>), Status> {
        if let Patch::Apply {
            manager,
            force,
            config,
        } = patch
        {
            return self.apply(target, manager, *force, config, now);
        }
        let old = self.get(target.ty, &target.key)?;
        let mut object = old.value.clone();
        match patch {
            Patch::Json(operations) => json_patch::patch(&mut object, operations)
                .map_err(|error| Status::patch_does_not_fit(error.to_string()))?,
            Patch::Merge(patch) => json_patch::merge(&mut object, patch),
            Patch::Apply { .. } => {}
        }
        let (ty, name) = (target.ty, &target.key.name);
        quantities::check(ty, &object)
            .map_err(|unreadable| unreadable.in_patched(ty, name, &object))?;
        let managers = old.managers.clone();
        self.replace(target, &old, object, managers)
            .map(|object| (false, object))
    }

    fn apply(
        &mut self,
        target: &Target,
        manager: &str,
        force: bool,
        config: &Value,
        now: Timestamp,
    ) -> Result<(bool, Arc<Object>), Status> {
        validate::shape(target.ty, config)?;
        check_identity(&target.key, config)?;
        let old = self.objects(target.ty).get(&target.key).cloned();
        match &old {
            Some(old) => check_preconditions(target, &old.value, config)?,
            None => check_may_create(target, config)?,
        }
        let (empty, no_managers) = (json!({}), Managers::default());
        let (live, managers) = old
            .as_ref()
            .map_or((&empty, &no_managers), |old| (&old.value, &old.managers));
        let (object, managers) = apply::apply(
            live,
            managers,
            &claimant(target, manager),
            &declared(target, config),
            force,
        )
        .map_err(|conflicts| Status::apply_conflict(&conflicts))?;
        let ty = target.ty;
        quantities::check(ty, &object).map_err(|unreadable| unreadable.in_applied(ty))?;
        match old {
            Some(old) => self
                .replace(target, &old, object, managers)
                .map(|object| (false, object)),
            None => self
                .insert(target.ty, target.key.clone(), object, managers, now)
                .map(|object| (true, object)),
        }
    }

    /// Stores `new` in place of `old`. All changes of existing objects go through here.
    fn replace(
        &mut self,
        target: &Target,
        old: &Arc<Object>,
        mut new: Value,
        managers: Managers,
    ) -> Result<Arc<Object>, Status> {
        let (ty, name) = (target.ty, &target.key.name);
        validate::shape(ty, &new)?;
        check_identity(&target.key, &new)?;
        check_preconditions(target, &old.value, &new)?;
        if target.status {
            let status = new["status"].take();
            new = old.value.clone();
            meta::set_status(&mut new, status);
        } else if ty.has_status {
            meta::set_status(&mut new, old.value["status"].clone());
        }
        meta::set(&mut new, "name", name.clone());
        if ty.namespaced {
            meta::set(&mut new, "namespace", target.key.namespace.clone());
        }
        meta::keep_server_fields(&mut new, &old.value);
        meta::tidy(&mut new, ty);
        validate::values(ty, &target.key, &new)?;
        validate::update(ty, name, &old.value, &new)?;
        let deleting = meta::is_deleting(&old.value);
        if deleting {
            check_no_new_finalizers(target, &old.value, &new)?;
        }
        self.check_review(ty, &target.key, Some(old), &new)?;
        if new == old.value {
            return Ok(self.touch(target, old, managers));
        }
        if meta::spec_differs(&old.value, &new) {
            bump_generation(&mut new);
        }
        if deleting && meta::finalizers(&new).next().is_none() {
            return Ok(self.remove(ty, &target.key, old, new));
        }
        Ok(self.put(ty, target.key.clone(), Some(old), new, managers))
    }

    /// A write without a change: no new version and no event, but possibly new claims.
    fn touch(&mut self, target: &Target, old: &Arc<Object>, managers: Managers) -> Arc<Object> {
        if managers == old.managers {
            return old.clone();
        }
        let object = Object::new(old.value.clone(), managers);
        let collection = &mut self.collections[target.ty.index];
        collection
            .objects
            .insert(target.key.clone(), object.clone());
        object
    }

    /// Deletes an object, or marks it as deleted while it has finalizers.
    pub fn delete(
        &mut self,
        ty: &'static ResourceType,
        key: &Key,
        preconditions: &Preconditions,
        now: Timestamp,
    ) -> Result<Deletion, Status> {
        let old = self.get(ty, key)?;
        for (field, wanted) in [
            ("uid", &preconditions.uid),
            ("resourceVersion", &preconditions.resource_version),
        ] {
            let found = meta::text(&old.value, field);
            if let Some(wanted) = wanted.as_deref().filter(|wanted| *wanted != found) {
                let why = format!("Precondition failed: {field} is {found}, not {wanted}");
                return Err(Status::conflict(ty, &key.name, &why));
            }
        }
        if preconditions.orphan {
            self.release_dependents(meta::text(&old.value, "uid"));
        }
        if meta::finalizers(&old.value).next().is_none() {
            let last = old.value.clone();
            return Ok(Deletion::Removed(self.remove(ty, key, &old, last)));
        }
        if meta::is_deleting(&old.value) {
            return Ok(Deletion::Pending(old));
        }
        let mut object = old.value.clone();
        meta::set(&mut object, "deletionTimestamp", format!("{now:.0}"));
        meta::set(&mut object, "deletionGracePeriodSeconds", 0);
        // As in Kubernetes, the deletion mark counts as a change of the desired state.
        bump_generation(&mut object);
        let managers = old.managers.clone();
        Ok(Deletion::Pending(self.put(
            ty,
            key.clone(),
            Some(&old),
            object,
            managers,
        )))
    }
}
