//! A tenant is deleted as its platform would: protection off, wait until it says that it may be deleted, delete.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use crate::kube;
use crate::lab::Lab;

/// Until a tenant may be deleted.
const LEAVES: Duration = Duration::from_secs(60);

/// Until one that is deleted is gone, with all that it had: on a busy machine its database alone takes a minute to end.
pub const GONE: Duration = Duration::from_secs(300);

/// Deletes a tenant and waits until it is gone. `policy` says what becomes of the data.
pub fn delete(lab: &Lab, tenant: &str, policy: &str) -> Result<()> {
    end(lab, tenant, policy, &format!("--timeout={}s", GONE.as_secs()))
}

/// Deletes a tenant with all that it has, and doesn't wait for that.
pub fn begin_to_delete(lab: &Lab, tenant: &str) -> Result<()> {
    end(lab, tenant, "Delete", "--wait=false")
}

fn end(lab: &Lab, tenant: &str, policy: &str, wait: &str) -> Result<()> {
    if kube::get(lab, &["tenant", tenant]).is_err() {
        return Ok(());
    }
    release(lab, tenant, policy)?;
    kube::kubectl(lab, &["delete", "tenant", tenant, "--ignore-not-found", wait]).map(drop)
}

/// Switches the protection off and waits until the tenant says that it may be deleted.
pub fn release(lab: &Lab, tenant: &str, policy: &str) -> Result<()> {
    unprotect(lab, tenant, policy)?;
    kube::until(&format!("tenant {tenant} to be Deletable"), LEAVES, || {
        let object = kube::get(lab, &["tenant", tenant])?;
        let current = object["status"]["observedGeneration"] == object["metadata"]["generation"];
        let over = kube::condition(&object, "Deletable") == "True"
            || !object["metadata"]["deletionTimestamp"].is_null();
        Ok((current && over).then_some(()))
    })
}

/// Switches the protection off.
pub fn unprotect(lab: &Lab, tenant: &str, policy: &str) -> Result<()> {
    let patch = json!({"spec": {"deletionProtection": false, "deletionPolicy": policy}}).to_string();
    kube::kubectl(lab, &["patch", "tenant", tenant, "--type=merge", "-p", &patch]).map(drop)
}
